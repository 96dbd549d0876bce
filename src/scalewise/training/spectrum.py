"""Training of what tells the spectrum of noise: statistics of noisy images, and their noise."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scalewise.data import ImageSet
from scalewise.networks import NoiseEstimator
from scalewise.networks.spectrum import FAINT, SCALES, SpectrumNetwork
from scalewise.spectrum import Statistics, deviations_of, look_at
from scalewise.training.camera import between, blurred
from scalewise.training.chance import Chance
from scalewise.training.estimator import JPEG, as_stored, made_noisy, one_of
from scalewise.training.variety import other_colours

SIDES, PIXELS = (160, 224, 256), 100_000
"""Sides of the crops, and pixels of a batch, about."""

COLOURS = 0.2
"""Share of the crops that get other colours."""

NEARER, NEAREST = 0.25, (1.3, 2.5)
"""Share of the crops that are enlarged, as pictures of cameras of many pixels look from near, and
by how much, from and to."""

TINTED, TINTS = 0.25, (0.1, 2.2)
"""Share of the crops whose channels are made darker and brighter, so that some are black or white
in large areas; and by how much, from and to."""

PACKED = 0.5
"""Share of the crops without noise that are compressed, which leaves what looks like some."""

SOFT, SOFTEST = 0.4, (0.4, 1.4)
"""Share of the crops that a lens blurs, and the deviation of that in pixels, from and to."""

APART, RATIO, MOST_TIMES = 0.15, 0.9, 4.0
"""Share of the crops whose channels have noise of very different strength; the standard deviation
of the logarithm of that; and how many times as strong it becomes at the most."""

EPOCHS, BATCH, RATE, DECAY, NOT_LESS = 150, 128, 2e-3, 1e-3, 0.02
"""Passes over all examples, examples of a step, learning rate at its highest and weight decay; and
error of a logarithm below which less is no better."""


class Example(NamedTuple):
    """A noisy image, in numbers.

    Attributes:
        seen: statistics of it.
        truth: logarithms of the deviations of its noise, by scale and channel, with `FAINT` added.
    """

    seen: Statistics
    truth: Tensor


def draw_examples(
    images: ImageSet, estimator: NoiseEstimator, generator: torch.Generator
) -> Iterator[Example]:
    """Examples of one batch of crops.

    Some thousands are needed; a core makes about three of RGB images a second.

    Args:
        images: gray or RGB, of at least 160 pixels a side.
        estimator: that looks at places.
        generator: of everything drawn.
    """
    side = one_of(SIDES, images, generator)
    chance = Chance.of(max(2, PIXELS // side**2), generator)
    crops = images.draw(chance.count, side, generator, only=chance.places)[0]
    crops = _soft(crops, chance)
    if images.channels == 3:
        crops = other_colours(crops, COLOURS, chance)
    tinted = chance.uniform(1, 1, 1) < TINTED
    crops = torch.where(tinted, _tinted(crops, chance), crops)
    crops, made, shaped = made_noisy(crops, chance)
    ratios = RATIO * chance.each(
        lambda count, g: torch.randn(count, images.channels, 1, 1, generator=g)
    )
    plain = (made.unseen == 0).flatten(1).all(dim=1) & (crops != crops[:, :1]).flatten(1).any(dim=1)
    apart = (plain & (chance.uniform() < APART)).view(-1, 1, 1, 1)
    noise = torch.where(apart, made.noise * ratios.exp().clamp(max=MOST_TIMES), made.noise)
    clean = (noise == 0).flatten(1).all(dim=1)
    packed = torch.where(clean, PACKED, JPEG * ~shaped)
    noisy = crops + made.unseen + noise
    noisy = as_stored(torch.where(tinted, noisy.clamp(0, 1), noisy), packed, chance)
    for image, wrong in zip(noisy, noise, strict=True):
        seen = look_at(image, estimator)
        if seen is not None:
            yield Example(seen, truth_of(wrong))


def _soft(crops: Tensor, chance: Chance) -> Tensor:
    """Crops (N, C, H, H) of which some are enlarged, and some blurred by a lens."""
    crops, side = crops.clone(), crops.shape[2]
    drawn = zip(*(chance.uniform().tolist() for _ in range(4)), strict=True)
    for index, (near, times, soft, blur) in enumerate(drawn):
        if near < NEARER:
            part = crops[index : index + 1, :, : round(side / between(NEAREST, times))]
            part = part[..., : part.shape[2]]
            larger = F.interpolate(part, (side, side), mode="bicubic", align_corners=False)
            crops[index] = larger[0].clamp(0, 1)
        if soft < SOFT:
            crops[index] = blurred(crops[index], between(SOFTEST, blur))
    return crops


def _tinted(crops: Tensor, chance: Chance) -> Tensor:
    """Crops (N, C, H, W) whose channels are darker or brighter; clipped, as by a camera."""
    least, most = TINTS
    times = least * (most / least) ** chance.uniform(crops.shape[1], 1, 1)
    return (crops * times).clamp(0, 1)


def truth_of(noise: Tensor) -> Tensor:
    """Logarithms of the deviations of noise (C, H, W) at every scale, shape (3, C)."""
    return (deviations_of(noise, SCALES) + FAINT).log().float()


def with_spectrum(
    estimator: NoiseEstimator, values: Tensor, guess: Tensor, truth: Tensor, *, seed: int = 0
) -> NoiseEstimator:
    """An estimator that tells spectra, too, as it learnt from examples.

    Args:
        estimator: that looked at them; it does not change.
        values: statistics of the examples, shape (N, M).
        guess: first guesses, shape (N, 3, C).
        truth: what is to be told, of that shape.
        seed: of the fit.
    """
    generator = torch.Generator().manual_seed(seed)
    settings = {**estimator.settings, "channels": truth.shape[2]}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        told = NoiseEstimator(**settings)
        state = estimator.state_dict().items()
        known = {name: value for name, value in state if not name.startswith("spectrum.")}
        told.load_state_dict(known, strict=False)
        assert told.spectrum is not None
        _fit(told.spectrum, values, guess, truth, generator)
    return told.eval().requires_grad_(False)


def _fit(
    network: SpectrumNetwork,
    values: Tensor,
    guess: Tensor,
    truth: Tensor,
    generator: torch.Generator,
) -> None:
    """Fit a network to examples."""
    known = torch.cat([values, guess.flatten(1)], dim=1)
    network.mean.copy_(known.mean(0))
    network.scale.copy_(known.std(0, correction=0).clamp(min=1e-3))
    optimizer = torch.optim.AdamW(network.parameters(), RATE, weight_decay=DECAY)
    batches = max(1, len(truth) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, RATE, total_steps=EPOCHS * batches + 1
    )
    network.train()
    for _ in range(EPOCHS):
        order = torch.randperm(len(truth), generator=generator)
        for part in order.chunk(batches):
            levels, errors = network(values[part], guess[part])
            wrong = (levels - truth[part]).abs() + NOT_LESS
            loss = (errors + wrong * (-errors).exp()).mean()
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
            schedule.step()

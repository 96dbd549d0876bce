"""Training of the estimator of noise: planes of images plus noise that is known."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from scalewise import processes
from scalewise.data import ImageSet
from scalewise.images import to_channels
from scalewise.networks import NoiseEstimator
from scalewise.training.camera import jpeg
from scalewise.training.chance import Chance
from scalewise.training.structured import Structured, structured_noise
from scalewise.wavelets import GAIN, low_pass, split

SIDES = (128, 160, 224)
"""Sides of the crops, in pixels."""

PIXELS = 196_608
"""Of a batch, about."""

LEAST, MOST, CLEAN = 0.3 / 255, 110 / 255, 0.2
"""Noise levels, log-uniform, and the share of crops without noise."""

STRUCTURED, TAKEN = 0.7, 0.6
"""Share of the crops whose noise is not white; and of those, the share whose noise is a camera's,
which is told hardest."""

LUMA = 0.6
"""Share of the planes that are the luma of an image, not one of its channels."""

COARSER = (0.3, 0.4, 0.3)
"""Shares of batches whose planes are the images themselves, `x_1` and `x_2`."""

SMALLEST = 48
"""Least side in pixels of what the estimator learns from."""

JPEG, QUALITIES = 0.15, (60, 98)
"""Share of the crops that are compressed after noise was added, and how well."""

AROUND = 17
"""Side in coefficients of the squares in which the energy of the noise is the truth."""

PARTS = 4
"""Parts of a plane by brightness, of which each must be estimated well."""

SOFT = 0.4 / 255
"""Level below which errors count as they are, and above which relative to the level."""

RATE, WARMUP, DECAY, GAMMA = 1.5e-3, 100, 0.5, 20


def train_estimator(
    images: ImageSet,
    *,
    minutes: float,
    steps: int | None = None,
    seed: int = 0,
    estimator: NoiseEstimator | None = None,
    callback: Callable[[int, float], object] | None = None,
) -> NoiseEstimator:
    """Train an estimator of noise levels by the relative error of its estimate.

    Planes are the luma of an image, or one of its channels; some are darkened, rounded to 8 bits,
    or compressed, which hides a part of the noise: what is told is the noise before. Of several
    processes each takes a part of the planes.

    Args:
        images: gray or RGB, of at least 128 pixels a side.
        minutes: how long.
        steps: how many at the most.
        seed: of everything drawn, but for the number of steps.
        estimator: one to go on with.
        callback: called after every step with its number and loss.

    Returns:
        The estimator with the running average of its weights, in evaluation mode.
    """
    generator = torch.Generator().manual_seed(seed)
    if estimator is None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            estimator = NoiseEstimator()
    estimator.train().requires_grad_(True)
    optimizer = torch.optim.AdamW(estimator.parameters(), RATE, weight_decay=1e-4)
    average = {name: value.clone() for name, value in estimator.state_dict().items()}
    began, step = time.monotonic(), 0
    while (done := _done(began, minutes, step, steps)) < 1:
        for group in optimizer.param_groups:
            falling = min(1.0, max(0.02, (1 - done) / DECAY))
            group["lr"] = RATE * min(1.0, (step + 1) / WARMUP) * falling
        part = _part_of_loss(estimator, *draw_planes(images, generator, shared=True))
        optimizer.zero_grad()
        loss = processes.backward(part, estimator.parameters())
        torch.nn.utils.clip_grad_norm_(estimator.parameters(), 1.0)
        optimizer.step()
        share = max(0.002, GAMMA / (step + GAMMA))
        for name, value in estimator.state_dict().items():
            average[name].lerp_(value, share)
        step += 1
        if callback:
            callback(step, loss.item())
    estimator.load_state_dict(average)
    return estimator.eval().requires_grad_(False)


def _done(began: float, minutes: float, step: int, steps: int | None) -> float:
    """Share of the training that is over."""
    spent = processes.first_number((time.monotonic() - began) / (60 * minutes))
    return spent if steps is None else max(spent, step / steps)


def draw_planes(
    images: ImageSet, generator: torch.Generator, *, shared: bool = False
) -> tuple[Tensor, Tensor]:
    """Noisy planes (N, 1, h, w), and the deviation of their noise in each place of their details.

    That is given as the deviation of white noise that would be as strong there, shape
    (N, 1, h / 2, w / 2). Where they are shared, those of this process.
    """
    side = one_of(SIDES, images, generator)
    chance = Chance.of(max(3, PIXELS // side**2), generator, shared=shared)
    crops = images.draw(chance.count, side, generator, only=chance.places)[0]
    crops, made, shaped = made_noisy(crops, chance)
    channel = (chance.uniform() * images.channels).long()
    luma = (chance.uniform() < LUMA).view(-1, 1, 1, 1)

    def plane(values: Tensor) -> Tensor:
        one = values[range(len(values)), channel][:, None]
        return torch.where(luma, to_channels(values, 1)[0], one)

    noise, noisy = plane(made.noise), plane(crops + made.unseen + made.noise)
    noisy = as_stored(noisy, JPEG * ~shaped, chance)
    shares = torch.tensor(COARSER if side // 4 >= SMALLEST else COARSER[:2])
    depth = int(torch.multinomial(shares, 1, generator=generator))
    noise, noisy = low_pass(noise, depth, "haar"), low_pass(noisy, depth, "haar")
    energy = split(noise)[1].square().mean(1, keepdim=True)
    around = F.pad(energy, [AROUND // 2] * 4, "replicate")
    return noisy, F.avg_pool2d(around, AROUND, 1).sqrt() / GAIN


def one_of(sides: Sequence[int], images: ImageSet, generator: torch.Generator) -> int:
    """One of those sides that fit in all images."""
    fitting = [side for side in sides if side <= min(images.smallest)]
    return fitting[int(torch.randint(len(fitting), (), generator=generator))]


def made_noisy(crops: Tensor, chance: Chance) -> tuple[Tensor, Structured, Tensor]:
    """Darken some crops, and draw noise for most.

    Args:
        crops: clean, shape (N, C, H, W) in [0, 1].
        chance: of them.

    Returns:
        The crops, their noise, and of which it is not white, bool (N,).
    """
    dark = (0.2 + 0.8 * chance.uniform(1, 1, 1)).where(chance.uniform(1, 1, 1) < 0.15, 1.0)
    crops = crops * dark
    sigma = (math.log(LEAST) + chance.uniform() * math.log(MOST / LEAST)).exp()
    sigma[chance.uniform() < CLEAN] = 0
    sigma, shaped = sigma.view(-1, 1, 1, 1), chance.uniform() < STRUCTURED
    white = chance.white_noise(crops)
    chosen = (shaped & (sigma.flatten() > 0)).view(-1, 1, 1, 1)
    made = structured_noise(crops, white, sigma, chosen, 0, "haar", chance, taken=TAKEN)
    return crops, made, shaped


def as_stored(noisy: Tensor, packed: Tensor, chance: Chance) -> Tensor:
    """Noisy images as files hold them: some of 8 bits, some in JPEG.

    Args:
        noisy: shape (N, C, H, W).
        packed: probability that each is compressed, shape (N,).
        chance: of them.
    """
    if bool(torch.rand((), generator=chance.generator) < 0.3):
        noisy = (noisy * 255).round() / 255
    low, high = QUALITIES
    qualities = (low + chance.uniform() * (high + 1 - low)).long()
    for index in (chance.uniform() < packed).nonzero().flatten().tolist():
        noisy[index] = jpeg(noisy[index], int(qualities[index]))
    return noisy


def _part_of_loss(estimator: NoiseEstimator, noisy: Tensor, deviation: Tensor) -> Tensor:
    """The part that these planes have in the mean loss of those of all processes."""
    errors = _errors(estimator, noisy, deviation)
    here = torch.tensor(float(len(errors)), dtype=torch.float64)
    part = float(here / processes.summed(here))
    return _loss(errors) * part if part else torch.zeros(())


def _loss(errors: list[Tensor]) -> Tensor:
    """Of logarithmic errors, absolute where there is hardly any noise (Huber 1964)."""
    error = torch.stack(errors)
    return F.smooth_l1_loss(error, torch.zeros_like(error), beta=0.03)


def _errors(estimator: NoiseEstimator, noisy: Tensor, deviation: Tensor) -> list[Tensor]:
    """Logarithmic errors of the estimates: of whole planes, and of parts by brightness."""
    errors = []
    for plane, there in zip(noisy, deviation, strict=True):
        found = estimator.places(plane)
        assert found is not None  # all places count
        order = found.brightness.argsort()
        for part in (order, *order.chunk(PARTS)):
            if len(part):
                weights = found.weights[part].softmax(0)
                truth = (weights.detach() * there.flatten()[part]).sum()
                level = (weights * found.levels[part]).sum()
                errors.append(((level + SOFT) / (truth + SOFT)).log())
    return errors

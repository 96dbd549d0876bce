"""Training of the estimator of noise levels: planes of images plus white noise of a known level."""

from __future__ import annotations

import io
import math
import time
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from scalewise.data import ImageSet
from scalewise.images import to_channels
from scalewise.networks import NoiseEstimator

SIDES = (96, 128, 160)
"""Sides of the crops, in pixels."""

PIXELS = 131_072
"""Of a batch, about."""

LEAST, MOST, CLEAN = 0.3 / 255, 110 / 255, 0.1
"""Noise levels, log-uniform, and the share of crops without noise."""

JPEG, QUALITIES = 0.25, (60, 98)
"""Share of the crops that are compressed after noise was added, and how well."""

SOFT = 0.4 / 255
"""Level below which errors count as they are, and above which relative to the level."""

RATE, WARMUP, DECAY, GAMMA = 2e-3, 100, 0.5, 20


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
    or compressed, which hides a part of the noise: what is told is the noise before.

    Args:
        images: gray or RGB, of at least 160 pixels a side.
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
    while (done := (time.monotonic() - began) / (60 * minutes)) < 1 and step != steps:
        for group in optimizer.param_groups:
            falling = min(1.0, max(0.02, (1 - done) / DECAY))
            group["lr"] = RATE * min(1.0, (step + 1) / WARMUP) * falling
        loss = _loss(estimator, *draw_planes(images, generator))
        optimizer.zero_grad()
        loss.backward()
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


def draw_planes(images: ImageSet, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Noisy planes (N, 1, side, side) and their noise levels (N,)."""

    def chance(share: float, count: int) -> Tensor:
        return torch.rand(count, generator=generator) < share

    side = SIDES[int(torch.randint(len(SIDES), (), generator=generator))]
    count = max(4, PIXELS // side**2)
    crops = images.crops(count, side, generator)
    channel = torch.randint(images.channels, (count,), generator=generator)
    planes = crops[torch.arange(count), channel][:, None]
    luma = chance(0.7, count).view(-1, 1, 1, 1)
    planes = torch.where(luma, to_channels(crops, 1)[0], planes)
    dark = 0.2 + 0.8 * torch.rand(count, generator=generator)
    planes = planes * torch.where(chance(0.15, count), dark, torch.ones(())).view(-1, 1, 1, 1)
    places = torch.rand(count, generator=generator)
    sigma = (math.log(LEAST) + places * math.log(MOST / LEAST)).exp()
    sigma[chance(CLEAN, count)] = 0
    noisy = planes + sigma.view(-1, 1, 1, 1) * torch.randn(planes.shape, generator=generator)
    if bool(chance(0.3, 1)):
        noisy = (noisy * 255).round() / 255
    qualities = torch.randint(QUALITIES[0], QUALITIES[1] + 1, (count,), generator=generator)
    for index in chance(JPEG, count).nonzero().flatten().tolist():
        noisy[index, 0] = compressed(noisy[index, 0], int(qualities[index]))
    return noisy, sigma


def compressed(plane: Tensor, quality: int) -> Tensor:
    """A plane (H, W) as JPEG of 8 bits gives it back."""
    file = io.BytesIO()
    levels = (plane * 255).round().clamp(0, 255).to(torch.uint8).numpy()
    Image.fromarray(levels).save(file, "JPEG", quality=quality)
    return torch.from_numpy(np.asarray(Image.open(file)).copy()) / 255


def _loss(estimator: NoiseEstimator, noisy: Tensor, sigma: Tensor) -> Tensor:
    """Relative error of the estimates, absolute where there is hardly any noise (Huber 1964)."""
    error = (estimator(noisy) - sigma) / (sigma + SOFT)
    return F.smooth_l1_loss(error, torch.zeros_like(error), beta=0.03)

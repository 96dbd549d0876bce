"""Measures that several experiments take."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from statistics import stdev

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from scalewise.data import sample_photo
from scalewise.evaluation import psnr
from scalewise.images import to_channels
from scalewise.networks import ConditionalDenoiser, Network
from scalewise.noise import GaussianField
from scalewise.prior import MultiScalePrior
from scalewise.wavelets import GAIN, low_pass, merge

BATCH = 16
"""Images per call of a network."""


def white(images: Tensor, seed: int, level: int = 0) -> Tensor:
    """Standard noise for images (N, C, H, W); that of image `i` depends on (seed, i) alone."""
    count, channels, height, width = images.shape
    field = GaussianField(
        seed, tuple(range(count)), level=level, channels=channels, size=(height, width)
    )
    return field(0).to(images)


@torch.no_grad()
def denoised(prior: MultiScalePrior, noisy: Tensor, sigma: float) -> Tensor:
    """Denoised images, in batches; `sigma` in [0, 1] units, told to networks that want it."""
    return torch.cat([prior.denoise(part, sigma) for part in noisy.split(BATCH)])


@torch.no_grad()
def denoising_psnr(
    prior: MultiScalePrior, images: Tensor, sigmas: tuple[float, ...], seed: int
) -> list[float]:
    """Mean PSNR in dB of denoised images, by noise level in 8-bit units."""
    noise = white(images, seed)
    return [
        float(psnr(images, denoised(prior, images + s / 255 * noise, s / 255)).mean())
        for s in sigmas
    ]


@torch.no_grad()
def low_pass_only_psnr(
    prior: MultiScalePrior, images: Tensor, sigmas: tuple[float, ...], seed: int
) -> list[float]:
    """The same, when the low-pass image is denoised and all details are set to zero."""
    noise, found = white(images, seed), []
    for s in sigmas:
        estimate = low_pass(images + s / 255 * noise, prior.levels, prior.wavelet)
        estimate = prior.low(estimate, s / 255 * GAIN**prior.levels)
        for _ in range(prior.levels):
            estimate = merge(estimate, torch.zeros_like(estimate).repeat(1, 3, 1, 1), prior.wavelet)
        found.append(float(psnr(images, estimate).mean()))
    return found


def mean(values: list[float]) -> float:
    """Arithmetic mean."""
    return sum(values) / len(values)


def plus_minus(values: Sequence[float], form: str = ".2f") -> str:
    """Mean of what several trainings gave, with its standard error where there are several."""
    centre = f"{mean(list(values)):{form}}"
    if len(values) < 2:
        return centre
    return f"{centre} ± {stdev(values) / math.sqrt(len(values)):{form.lstrip('+')}}"


def quantile(values: Tensor, at: float) -> float:
    """One quantile of values (N,)."""
    return float(values.double().quantile(at))


def public_face(side: int = 96) -> Tensor:
    """The head of the astronaut that scikit-image ships, gray, shape (1, 1, side, side)."""
    from skimage.transform import resize

    crop = sample_photo()[:, 0:208, 120:328]
    small = resize(crop.movedim(0, -1).numpy(), (side, side), anti_aliasing=True)
    colour = torch.from_numpy(small.astype("float32")).movedim(-1, 0)[None].clamp(0, 1)
    return to_channels(colour, 1)[0]


def operations(network: Network, side: int) -> int:
    """Multiplications and additions of one call on a side x side image of its scale.

    Counts convolutions and matrices; 2 per weight and place.
    """
    probe = side if network.receptive_field is None else 8
    network.train()  # layer by layer, so that nothing is counted twice
    try:
        with FlopCounterMode(display=False) as counter:
            call(network, probe)
    finally:
        network.eval()
    return counter.get_total_flops() * side**2 // probe**2


def call(network: Network, side: int) -> float:
    """Seconds of one call on a gray image."""
    image = torch.rand(1, 1, side, side)
    began = time.perf_counter()
    with torch.no_grad():
        if isinstance(network, ConditionalDenoiser):
            network(image.repeat(1, 3, 1, 1), image, 0.1)
        else:
            network(image, 0.1)
    return time.perf_counter() - began


def operations_per_pixel(prior: MultiScalePrior, side: int) -> float:
    """Operations of denoising a gray side x side image, each network called once, per pixel."""
    networks: list[Network] = [*prior.conditionals, prior.low]
    sides = [*(side >> level for level in range(1, prior.levels + 1)), side >> prior.levels]
    return sum(map(operations, networks, sides)) / side**2

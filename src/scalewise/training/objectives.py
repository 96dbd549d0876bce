"""What each level's network is trained to do: batches, losses and validation scores."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from scalewise.data import ImageSet
from scalewise.errors import ScalewiseError
from scalewise.images import to_channels
from scalewise.metrics import pooled_psnr
from scalewise.networks import Bands, ConditionalDenoiser, Denoiser
from scalewise.networks.base import overall
from scalewise.noise import LogNormalLevels, NoiseLevels, in_bands
from scalewise.prior import MultiScalePrior
from scalewise.score import Sigma, per_image
from scalewise.training.recipe import Recipe
from scalewise.training.structured import structured_noise
from scalewise.wavelets import GAIN, low_pass, merge, split

VALIDATION_SIGMA = 25 / 255
"""Noise level, in the image, at which validation PSNR is shown."""


def crop_side(images: ImageSet, recipe: Recipe, level: int) -> int:
    """Side in pixels of the crops of a level; `levels + 1` stands for the low-pass image.

    Raises:
        ScalewiseError: the images are too small for the levels.
    """
    if level > recipe.levels:
        stride, wanted = 1 << recipe.levels, recipe.low_crop
        if images.size and images.size[0] == images.size[1] <= 4 * wanted * stride:
            wanted = images.size[0] // stride
    else:
        stride, wanted = 1 << level, recipe.at("crop", level)
    side = min(wanted, min(images.smallest) // stride)
    if side < 8:
        raise ScalewiseError(
            f"the smallest image of {images.name!r} has sides of {images.smallest}, too small for "
            f"{recipe.levels} levels: at least {8 * stride} pixels are needed; train with fewer "
            "levels or larger images"
        )
    return side * stride


def largest_crop(recipe: Recipe) -> int:
    """Side in pixels of the largest crops that a recipe asks for."""
    details = [recipe.at("crop", level) << level for level in range(1, recipe.levels + 1)]
    return max([*details, recipe.low_crop << recipe.levels])


def draw_batch(
    images: ImageSet, recipe: Recipe, level: int, count: int, generator: torch.Generator
) -> Tensor:
    """Draw clean images of the scale that a level starts from: `x_{level-1}`.

    A share `recipe.gray_fraction` of an RGB batch is made gray.
    """
    crops = images.crops(
        count, crop_side(images, recipe, level), generator, flips=True, rotate=recipe.rotate
    )
    grays = round(recipe.gray_fraction * count) if images.channels == 3 else 0
    if grays:
        crops[-grays:] = to_channels(crops[-grays:], 1)[0]
    return low_pass(crops, level - 1, recipe.wavelet)


def normal(images: Tensor, generator: torch.Generator) -> Tensor:
    """Standard normal numbers of the shape of images, drawn on their device."""
    if images.device.type == "cpu":
        return torch.randn(images.shape, generator=generator)
    seed = int(torch.randint(2**62, (), generator=generator))
    there = torch.Generator(images.device).manual_seed(seed)
    return torch.randn(images.shape, generator=there, device=images.device)


def white_noise(images: Tensor, generator: torch.Generator) -> Tensor:
    """Standard white noise for images (N, C, H, W): for gray ones the same in all channels."""
    noise = normal(images, generator)
    gray = (images == images[:, :1]).flatten(1).all(dim=1).view(-1, 1, 1, 1)
    return torch.where(gray, noise[:, :1], noise)


class Objective(nn.Module):
    """A level's loss: `forward(images, generator)`; and its validation scores."""

    network: Denoiser | ConditionalDenoiser

    def __init__(self, recipe: Recipe, level: int, sigma_data: float) -> None:
        super().__init__()
        self.recipe, self.level, self.sigma_data = recipe, level, sigma_data
        scale = GAIN ** (level if level <= recipe.levels else recipe.levels)
        self.removed = LogNormalLevels(
            median=math.exp(recipe.denoising_P_mean) * scale,
            spread=recipe.denoising_P_std,
            low=1e-3 * scale,
            high=2.0 * scale,
        )
        self.sampled = LogNormalLevels(
            median=math.exp(recipe.P_mean) * sigma_data,
            spread=recipe.P_std,
            low=1e-3 * sigma_data,
            high=50 * sigma_data,
        )

    def psnr(self, images: Tensor, generator: torch.Generator) -> float:
        """PSNR in dB of the level's images (N, C, h, w), denoised at `VALIDATION_SIGMA`."""
        raise NotImplementedError

    def noise(
        self, images: Tensor, sigma: Tensor, measured: int, levels: int, generator: torch.Generator
    ) -> tuple[Tensor, Sigma | NoiseLevels]:
        """Noise of deviation `sigma` (N, 1, 1, 1), and what networks are told of it.

        That of the last `measured` images is to be removed: some of it is not white, as the recipe
        says.
        """
        white, count = white_noise(images, generator), len(images) - measured
        structured = round(self.recipe.structured_fraction * measured)
        if structured == 0:
            return sigma * white, sigma.flatten()
        order = torch.randperm(measured, generator=generator) < structured
        chosen = torch.cat([torch.zeros(count, dtype=torch.bool), order]).to(images.device)
        made = structured_noise(
            images,
            white,
            sigma,
            chosen.view(-1, 1, 1, 1),
            levels,
            self.recipe.wavelet,
            generator,
        )
        return made.noise + made.unseen, made.told

    def weighted(self, error: Tensor, sigma: Tensor) -> Tensor:
        """Mean square error, weighted as if the network's raw output were compared.

        Karras et al. 2022, table 1: `1 / sigma^2 + 1 / sigma_data^2`.
        """
        weight = 1 / sigma**2 + 1 / self.sigma_data**2
        return (weight * error.square()).mean()


class LowObjective(Objective):
    """Denoising of the low-pass image, at the levels of sampling and of measured noise."""

    def __init__(self, network: Denoiser, recipe: Recipe, level: int, sigma_data: float) -> None:
        super().__init__(recipe, level, sigma_data)
        self.network = network

    def forward(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Loss of a batch of low-pass images (N, C, h, w)."""
        measured = round(self.recipe.low_denoising_fraction * len(images))
        levels = [self.sampled.draw(len(images) - measured, generator)]
        if measured:
            levels.append(self.removed.draw(measured, generator))
        sigma = per_image(torch.cat(levels).to(images.device), images)
        noise, told = self.noise(images, sigma, measured, 0, generator)
        if isinstance(told, NoiseLevels):
            told = told.whole
            sigma = told.maximum(overall(noise))
        return self.weighted(self.network(images + noise, told) - images, sigma)

    def psnr(self, images: Tensor, generator: torch.Generator) -> float:
        """PSNR in dB of the low-pass images, denoised."""
        sigma = VALIDATION_SIGMA * GAIN**self.recipe.levels
        noisy = images + sigma * white_noise(images, generator)
        return pooled_psnr(images, self.network(noisy, sigma))


class DetailsObjective(Objective):
    """The three uses of a conditional network: sampling, denoising, and least squares.

    Args:
        network: of this level.
        coarser: the prior of the low-pass image, from which estimates of it come. It is not
            trained here.
        recipe: shares and noise levels.
        level: from 1 (finest).
        sigma_data: root mean square of the details.
    """

    def __init__(
        self,
        network: ConditionalDenoiser,
        coarser: MultiScalePrior,
        recipe: Recipe,
        level: int,
        sigma_data: float,
    ) -> None:
        super().__init__(recipe, level, sigma_data)
        self.network = network
        self.estimator = [coarser]  # in a list: not a submodule, so neither trained nor stored

    def forward(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Loss of a batch of images `x_{level-1}` (N, C, h, w)."""
        count = len(images)
        order = torch.randperm(count, generator=generator)
        denoised = (
            round(self.recipe.denoising_fraction * count) if self.network.noise_conditional else 0
        )
        averaged = round(self.recipe.mean_fraction * count) if self.network.noise_conditional else 0
        parts = order.split([denoised, averaged, count - denoised - averaged])
        loss = self._sampling(images[parts[2]], images[parts[1]], generator) * (count - denoised)
        if denoised:
            loss = loss + self._denoising(images[parts[0]], generator) * denoised
        return loss / count

    def _sampling(self, drawn: Tensor, averaged: Tensor, generator: torch.Generator) -> Tensor:
        """Details given the clean low-pass image; of `averaged` nothing else is measured."""
        images = torch.cat([drawn, averaged])
        low, details = split(images, self.recipe.wavelet)
        sigma = per_image(self.sampled.draw(len(drawn), generator).to(images.device), images)
        nothing = torch.full((len(averaged), 1, 1, 1), math.inf, device=images.device)
        sigma = torch.cat([sigma, nothing])
        noisy = torch.where(sigma.isinf(), 0.0, details + sigma * normal(details, generator))
        estimate = self.network(noisy, low, sigma.flatten()).details
        return self.weighted(estimate - details, sigma)

    def _denoising(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Both bands given the noisy ones and the coarser prior's estimate of the low-pass."""
        sigma = per_image(self.removed.draw(len(images), generator).to(images.device), images)
        low, details = split(images, self.recipe.wavelet)
        levels = self.estimator[0].levels + 1
        noise, told = self.noise(images, sigma / GAIN, len(images), levels, generator)
        bands = self._denoise(images + noise, told)
        errors = torch.cat([bands.details - details, bands.low - low], dim=1)
        if isinstance(told, NoiseLevels):
            noise_low, noise_details = split(noise, self.recipe.wavelet)
            fine = per_image(told.details[0], low).maximum(overall(noise_details))
            coarse = told.coarser.whole.maximum(overall(noise_low))
            sigma = torch.cat([*3 * [fine], coarse], dim=1)
        return self.weighted(errors, sigma)

    def _denoise(self, noisy: Tensor, sigma: Sigma | NoiseLevels) -> Bands:
        noisy_low, noisy_details = split(noisy, self.recipe.wavelet)
        sigma_bands, sigma_coarser = in_bands(sigma)
        with torch.no_grad():
            estimate = self.estimator[0]._denoise(noisy_low, sigma_coarser)
        return self.network(noisy_details, estimate, sigma_bands, noisy_low)

    def psnr(self, images: Tensor, generator: torch.Generator) -> float:
        """PSNR in dB of the images `x_{level-1}`, denoised by this level and the coarser ones."""
        sigma = torch.full((len(images), 1, 1, 1), VALIDATION_SIGMA * GAIN ** (self.level - 1))
        sigma = sigma.to(images.device)
        noisy = images + sigma * white_noise(images, generator)
        bands = self._denoise(noisy, sigma.flatten())
        return pooled_psnr(images, merge(bands.low, bands.details, self.recipe.wavelet))

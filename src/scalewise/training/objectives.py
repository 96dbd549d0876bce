"""What each level's network is trained to do: batches, losses and validation scores."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from scalewise.images import to_channels
from scalewise.metrics import pooled_psnr
from scalewise.networks import Bands, ConditionalDenoiser, Denoiser
from scalewise.networks.base import overall
from scalewise.noise import LogNormalLevels, NoiseLevels, in_bands
from scalewise.prior import MultiScalePrior
from scalewise.score import Sigma, per_image
from scalewise.training.batches import Noise
from scalewise.training.chance import Chance
from scalewise.training.recipe import Recipe
from scalewise.training.recorrupted import Recorrupted, recorrupted
from scalewise.training.structured import structured_noise
from scalewise.wavelets import GAIN, merge, split

VALIDATION_SIGMA = 25 / 255
"""Noise level, in the image, at which validation PSNR is shown."""


class Objective(nn.Module):
    """A level's loss: `forward(images, chance, noise)`; and its validation scores.

    Of noisy images, whose `noise` is given, networks learn denoising alone, in recorrupted pairs;
    the loss is then that of clean images and a constant, and PSNR is estimated.

    Of several processes each has some images of a batch: the sum of their losses is that of it.
    """

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

    def psnr(self, images: Tensor, chance: Chance, noise: Noise | None = None) -> float:
        """PSNR in dB of the level's images (N, C, h, w), denoised at `VALIDATION_SIGMA`.

        That of noisy images is estimated, at their noise and somewhat more.
        """
        raise NotImplementedError

    def noise(
        self, images: Tensor, sigma: Tensor, measured: int, levels: int, chance: Chance
    ) -> tuple[Tensor, Sigma | NoiseLevels]:
        """Noise of deviation `sigma` (N, 1, 1, 1), and what networks are told of it.

        That of the last `measured` images of the batch is to be removed: some of it is not white,
        as the recipe says.
        """
        white = chance.white_noise(images)
        structured = round(self.recipe.structured_fraction * measured)
        if structured == 0:
            return sigma * white, sigma.flatten()

        def some_of_the_last(count: int, generator: torch.Generator) -> Tensor:
            order = torch.randperm(measured, generator=generator) < structured
            return torch.cat([torch.zeros(count - measured, dtype=torch.bool), order])

        chosen = chance.each(some_of_the_last).to(images.device).view(-1, 1, 1, 1)
        wavelet = self.recipe.wavelet
        made = structured_noise(images, white, sigma, chosen, levels, wavelet, chance)
        return made.noise + made.unseen, made.told

    def mean(self, chance: Chance, of_ours: Callable[[], Tensor]) -> Tensor:
        """This process's part of a mean over a batch; see `Chance.mean`."""
        return next(self.network.parameters()).new_zeros(()) + chance.mean(of_ours)

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

    def forward(self, images: Tensor, chance: Chance, noise: Noise | None = None) -> Tensor:
        """Loss of a batch of low-pass images (N, C, h, w)."""
        if noise is not None:
            return self.mean(
                chance.both_ways(), lambda: self._paired(recorrupted(images, noise, chance))
            )
        measured = round(self.recipe.low_denoising_fraction * chance.count)

        def levels(count: int, generator: torch.Generator) -> Tensor:
            sampled = self.sampled.draw(count - measured, generator)
            return torch.cat([sampled, self.removed.draw(measured, generator)])

        def loss() -> Tensor:
            sigma = per_image(chance.each(levels).to(images.device), images)
            added, told = self.noise(images, sigma, measured, 0, chance)
            if isinstance(told, NoiseLevels):
                told = told.whole
                sigma = told.maximum(overall(added))
            return self.weighted(self.network(images + added, told) - images, sigma)

        return self.mean(chance, loss)

    def _paired(self, pair: Recorrupted) -> Tensor:
        """Loss of recorrupted pairs, less what the noise of the targets adds."""
        level = overall(pair.told.whole)
        error = self.network(pair.noisy, pair.told.whole) - pair.target
        return self.weighted(error, level) - self.weighted(pair.added, level)

    def psnr(self, images: Tensor, chance: Chance, noise: Noise | None = None) -> float:
        """PSNR in dB of the low-pass images, denoised."""
        if noise is not None:
            pair = recorrupted(images, noise, chance)
            return estimated_psnr(self.network(pair.noisy, pair.told.whole), pair)
        sigma = VALIDATION_SIGMA * GAIN**self.recipe.levels
        noisy = images + sigma * chance.white_noise(images)
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
        coarser: MultiScalePrior | StandIn,
        recipe: Recipe,
        level: int,
        sigma_data: float,
    ) -> None:
        super().__init__(recipe, level, sigma_data)
        self.network = network
        self.estimator = [coarser]  # in a list: not a submodule, so neither trained nor stored

    def forward(self, images: Tensor, chance: Chance, noise: Noise | None = None) -> Tensor:
        """Loss of a batch of images `x_{level-1}` (N, C, h, w)."""
        if noise is not None:
            return self.mean(
                chance.both_ways(), lambda: self._paired(recorrupted(images, noise, chance))
            )
        uses, count = self.network.noise_conditional, chance.count
        denoised = round(self.recipe.denoising_fraction * count) if uses else 0
        averaged = round(self.recipe.mean_fraction * count) if uses else 0
        ours, first = chance.part(0, count - denoised)
        theirs, last = chance.part(count - denoised, count)
        loss = self.mean(first, lambda: self._sampling(images[ours], averaged, first)) * first.count
        rest = self.mean(last, lambda: self._denoising(images[theirs], last)) * last.count
        return (loss + rest) / count

    def _sampling(self, images: Tensor, averaged: int, chance: Chance) -> Tensor:
        """Details given the clean low-pass image; of the last `averaged` nothing else is measured.

        Their noise level is infinite.
        """

        def levels(count: int, generator: torch.Generator) -> Tensor:
            drawn = self.sampled.draw(count - averaged, generator)
            return torch.cat([drawn, torch.full((averaged,), math.inf)])

        low, details = split(images, self.recipe.wavelet)
        sigma = per_image(chance.each(levels).to(images.device), images)
        noisy = torch.where(sigma.isinf(), 0.0, details + sigma * chance.normal(details))
        estimate = self.network(noisy, low, sigma.flatten()).details
        return self.weighted(estimate - details, sigma)

    def _denoising(self, images: Tensor, chance: Chance) -> Tensor:
        """Both bands given the noisy ones and the coarser prior's estimate of the low-pass."""
        sigma = per_image(chance.each(self.removed.draw).to(images.device), images)
        low, details = split(images, self.recipe.wavelet)
        levels = self.recipe.levels - self.level + 1
        noise, told = self.noise(images, sigma / GAIN, chance.count, levels, chance)
        if isinstance(told, NoiseLevels):
            noise_low, noise_details = split(noise, self.recipe.wavelet)
            fine = per_image(told.details[0], low).maximum(overall(noise_details))
            coarse = told.coarser.whole.maximum(overall(noise_low))
            sigma = torch.cat([*3 * [fine], coarse], dim=1)
        bands = self._denoise(images + noise, told)
        errors = torch.cat([bands.details - details, bands.low - low], dim=1)
        return self.weighted(errors, sigma)

    def _paired(self, pair: Recorrupted) -> Tensor:
        """The same of recorrupted pairs, less what the noise of the targets adds."""
        bands = self._denoise(pair.noisy, pair.told)
        low, details = split(pair.target, self.recipe.wavelet)
        errors = torch.cat([bands.details - details, bands.low - low], dim=1)
        added = torch.cat(split(pair.added, self.recipe.wavelet)[::-1], dim=1)
        fine, coarse = (
            overall(per_image(level, low)).expand(-1, low.shape[1], -1, -1)
            for level in (pair.told.details[0], pair.told.coarser.whole)
        )
        sigma = torch.cat([*3 * [fine], coarse], dim=1)
        return self.weighted(errors, sigma) - self.weighted(added, sigma)

    def _denoise(self, noisy: Tensor, sigma: Sigma | NoiseLevels) -> Bands:
        noisy_low, noisy_details = split(noisy, self.recipe.wavelet)
        sigma_bands, sigma_coarser = in_bands(sigma)
        with torch.no_grad():
            coarser = self.estimator[0]
            estimate = (
                coarser(noisy_low, sigma_coarser)
                if isinstance(coarser, StandIn)
                else coarser._denoise(noisy_low, sigma_coarser)
            )
        return self.network(noisy_details, estimate, sigma_bands, noisy_low)

    def psnr(self, images: Tensor, chance: Chance, noise: Noise | None = None) -> float:
        """PSNR in dB of the images `x_{level-1}`, denoised by this level and the coarser ones."""
        if noise is not None:
            pair = recorrupted(images, noise, chance)
            bands = self._denoise(pair.noisy, pair.told)
            return estimated_psnr(merge(bands.low, bands.details, self.recipe.wavelet), pair)
        sigma = torch.full((len(images), 1, 1, 1), VALIDATION_SIGMA * GAIN ** (self.level - 1))
        sigma = sigma.to(images.device)
        noisy = images + sigma * chance.white_noise(images)
        bands = self._denoise(noisy, sigma.flatten())
        return pooled_psnr(images, merge(bands.low, bands.details, self.recipe.wavelet))


class StandIn:
    """Estimates low-pass images in place of coarser levels that are trained elsewhere.

    Low-pass images are images again, so any denoiser of images can: it is told white noise as
    strong as that of the whole image.

    Args:
        prior: that denoises, of RGB or gray images.
    """

    def __init__(self, prior: MultiScalePrior) -> None:
        self.prior = prior

    def __call__(self, noisy: Tensor, sigma: Sigma | NoiseLevels | None) -> Tensor:
        """Denoise low-pass images (N, C, h, w)."""
        whole = sigma.whole if isinstance(sigma, NoiseLevels) else torch.as_tensor(sigma)
        level = overall(per_image(whole, noisy)).flatten()
        images = to_channels(noisy, self.prior.channels)[0]
        return to_channels(self.prior._denoise(images, level), noisy.shape[1])[0]


def estimated_psnr(denoised: Tensor, pair: Recorrupted) -> float:
    """PSNR in dB without the truth: of the errors against targets, less what noise adds to them."""
    error = (denoised - pair.target).square().mean() - pair.added.square().mean()
    error = error - pair.own.whole.square().mean()
    return -10 * math.log10(max(float(error), 1e-10))

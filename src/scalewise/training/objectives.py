"""What each level's network is trained to do: batches, losses and validation scores."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from scalewise import processes
from scalewise.images import to_channels
from scalewise.metrics import pooled_psnr
from scalewise.networks import Bands, ConditionalDenoiser, Denoiser
from scalewise.networks.base import overall
from scalewise.noise import LogNormalLevels, NoiseLevels, in_bands
from scalewise.prior import MultiScalePrior
from scalewise.score import Sigma, per_image
from scalewise.training.batches import Noise, normal, of_each, white_noise
from scalewise.training.recipe import Recipe
from scalewise.training.recorrupted import Recorrupted, recorrupted
from scalewise.training.structured import structured_noise
from scalewise.wavelets import GAIN, merge, split

VALIDATION_SIGMA = 25 / 255
"""Noise level, in the image, at which validation PSNR is shown."""


class Objective(nn.Module):
    """A level's loss: `forward(images, generator, noise)`; and its validation scores.

    Of noisy images, whose `noise` is given, networks learn denoising alone, in recorrupted pairs;
    the loss is then that of clean images and a constant, and PSNR is estimated.

    Of several processes each draws the whole batch, and in training computes its rows of it: the
    sum of their losses is that of the batch.
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

    def psnr(self, images: Tensor, generator: torch.Generator, noise: Noise | None = None) -> float:
        """PSNR in dB of the level's images (N, C, h, w), denoised at `VALIDATION_SIGMA`.

        That of noisy images is estimated, at their noise and somewhat more.
        """
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

    def pairs(self, images: Tensor, noise: Noise, generator: torch.Generator) -> Recorrupted:
        """Recorrupted pairs of noisy images: as many as there are, of the first half of them."""
        half = -(-len(images) // 2)
        first = Noise(noise.levels.over(lambda level: level[:half]), noise.more[:half])
        return recorrupted(images[:half], first, generator)

    def of_rows(self, count: int, before: int, loss: Callable[[slice], Tensor]) -> Tensor:
        """This process's part of a mean over the rows of a part of the batch.

        Args:
            count: rows of the part.
            before: rows of the batch before it.
            loss: the mean over some of the rows.
        """
        rows = processes.share(count, before) if self.network.training else slice(0, count, 1)
        here = len(range(count)[rows])
        if here == 0:
            return torch.zeros((), device=next(self.network.parameters()).device)
        with processes.part(rows, count):
            return loss(rows) * (here / count)

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

    def forward(
        self, images: Tensor, generator: torch.Generator, noise: Noise | None = None
    ) -> Tensor:
        """Loss of a batch of low-pass images (N, C, h, w)."""
        if noise is not None:
            pair = self.pairs(images, noise, generator)
            return self.of_rows(len(pair.noisy), 0, lambda rows: self._paired(pair.rows(rows)))
        measured = round(self.recipe.low_denoising_fraction * len(images))
        levels = [self.sampled.draw(len(images) - measured, generator)]
        if measured:
            levels.append(self.removed.draw(measured, generator))
        sigma = per_image(torch.cat(levels).to(images.device), images)
        added, told = self.noise(images, sigma, measured, 0, generator)
        if isinstance(told, NoiseLevels):
            told = told.whole
            sigma = told.maximum(overall(added))
        noisy = images + added

        def loss(rows: slice) -> Tensor:
            estimate = self.network(noisy[rows], of_each(told, rows))
            return self.weighted(estimate - images[rows], sigma[rows])

        return self.of_rows(len(images), 0, loss)

    def _paired(self, pair: Recorrupted) -> Tensor:
        """Loss of recorrupted pairs, less what the noise of the targets adds."""
        level = overall(pair.told.whole)
        error = self.network(pair.noisy, pair.told.whole) - pair.target
        return self.weighted(error, level) - self.weighted(pair.added, level)

    def psnr(self, images: Tensor, generator: torch.Generator, noise: Noise | None = None) -> float:
        """PSNR in dB of the low-pass images, denoised."""
        if noise is not None:
            pair = self.pairs(images, noise, generator)
            return estimated_psnr(self.network(pair.noisy, pair.told.whole), pair)
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
        coarser: MultiScalePrior | StandIn,
        recipe: Recipe,
        level: int,
        sigma_data: float,
    ) -> None:
        super().__init__(recipe, level, sigma_data)
        self.network = network
        self.estimator = [coarser]  # in a list: not a submodule, so neither trained nor stored

    def forward(
        self, images: Tensor, generator: torch.Generator, noise: Noise | None = None
    ) -> Tensor:
        """Loss of a batch of images `x_{level-1}` (N, C, h, w)."""
        if noise is not None:
            pair = self.pairs(images, noise, generator)
            return self.of_rows(len(pair.noisy), 0, lambda rows: self._paired(pair.rows(rows)))
        count = len(images)
        order = torch.randperm(count, generator=generator)
        denoised = (
            round(self.recipe.denoising_fraction * count) if self.network.noise_conditional else 0
        )
        averaged = round(self.recipe.mean_fraction * count) if self.network.noise_conditional else 0
        parts = order.split([denoised, averaged, count - denoised - averaged])
        loss = images.new_zeros(())
        if denoised < count:
            drawn, unmeasured = images[parts[2]], images[parts[1]]
            loss = self._sampling(drawn, unmeasured, generator) * (count - denoised)
        if denoised:
            before = count - denoised
            loss = loss + self._denoising(images[parts[0]], before, generator) * denoised
        return loss / count

    def _sampling(self, drawn: Tensor, averaged: Tensor, generator: torch.Generator) -> Tensor:
        """Details given the clean low-pass image; of `averaged` nothing else is measured."""
        images = torch.cat([drawn, averaged])
        low, details = split(images, self.recipe.wavelet)
        sigma = per_image(self.sampled.draw(len(drawn), generator).to(images.device), images)
        nothing = torch.full((len(averaged), 1, 1, 1), math.inf, device=images.device)
        sigma = torch.cat([sigma, nothing])
        noisy = torch.where(sigma.isinf(), 0.0, details + sigma * normal(details, generator))

        def loss(rows: slice) -> Tensor:
            estimate = self.network(noisy[rows], low[rows], sigma[rows].flatten()).details
            return self.weighted(estimate - details[rows], sigma[rows])

        return self.of_rows(len(images), 0, loss)

    def _denoising(self, images: Tensor, before: int, generator: torch.Generator) -> Tensor:
        """Both bands given the noisy ones and the coarser prior's estimate of the low-pass."""
        sigma = per_image(self.removed.draw(len(images), generator).to(images.device), images)
        low, details = split(images, self.recipe.wavelet)
        levels = self.recipe.levels - self.level + 1
        noise, told = self.noise(images, sigma / GAIN, len(images), levels, generator)
        if isinstance(told, NoiseLevels):
            noise_low, noise_details = split(noise, self.recipe.wavelet)
            fine = per_image(told.details[0], low).maximum(overall(noise_details))
            coarse = told.coarser.whole.maximum(overall(noise_low))
            sigma = torch.cat([*3 * [fine], coarse], dim=1)
        noisy, clean = images + noise, torch.cat([details, low], dim=1)

        def loss(rows: slice) -> Tensor:
            bands = self._denoise(noisy[rows], of_each(told, rows))
            errors = torch.cat([bands.details, bands.low], dim=1) - clean[rows]
            return self.weighted(errors, sigma[rows])

        return self.of_rows(len(images), before, loss)

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

    def psnr(self, images: Tensor, generator: torch.Generator, noise: Noise | None = None) -> float:
        """PSNR in dB of the images `x_{level-1}`, denoised by this level and the coarser ones."""
        if noise is not None:
            pair = self.pairs(images, noise, generator)
            bands = self._denoise(pair.noisy, pair.told)
            return estimated_psnr(merge(bands.low, bands.details, self.recipe.wavelet), pair)
        sigma = torch.full((len(images), 1, 1, 1), VALIDATION_SIGMA * GAIN ** (self.level - 1))
        sigma = sigma.to(images.device)
        noisy = images + sigma * white_noise(images, generator)
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

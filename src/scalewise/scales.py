"""The networks of a prior, one for each scale: what they are, what they take, and one step of each.

The loops over them, from the coarsest to the finest, are those of `prior`. Steps are unchecked: the
images are those that `checked` gave, of sides that have all levels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from scalewise import windows
from scalewise.checks import check_images, check_sigma, whole_number
from scalewise.errors import UsageError
from scalewise.networks import Bands, BandSigma, ConditionalDenoiser, Denoiser, unit_of
from scalewise.networks.base import transformed
from scalewise.networks.graphs import replayed
from scalewise.networks.strips import suits
from scalewise.networks.torus import on_torus
from scalewise.noise import GaussianField, NoiseLevels, cut, part_of
from scalewise.noise_model import NoiseModel
from scalewise.samplers import Sampler, draw
from scalewise.score import Sigma
from scalewise.wavelets import half, is_haar, merge, split
from scalewise.windows import Window, size_of

ANY_SIZE = (256, 256)
"""Height and width that a stationary prior draws when not told."""

MOST_PIXELS = 50_000_000
"""Pixels of the largest image that is drawn at once."""

TEXTURES = "such as gravel or deep-field"
"""Packaged models that draw images of any size, for sentences."""

Noise = Sigma | NoiseLevels | NoiseModel
"""What a prior may be told of noise: one level, that of each band, or a description of it."""


class Scales(nn.Module):
    """A network for the low-pass image, and one for the details of each level given it.

    Args:
        low: denoiser of the low-pass image `x_J`; with no levels, of the image itself.
        details: denoisers of the details given the low-pass image, level 1 (finest) first.
        wavelet: the orthogonal wavelet between the scales.
        noise_floor: standard deviation of the noise of the images that they learnt from.
        denoises_only: they learnt to remove noise, and nothing of what is drawn or enlarged.
    """

    def __init__(
        self,
        low: Denoiser,
        details: Sequence[ConditionalDenoiser] = (),
        wavelet: str = "haar",
        noise_floor: float = 0.0,
        denoises_only: bool = False,
    ) -> None:
        super().__init__()
        self.low, self.details, self.wavelet = low, nn.ModuleList(details), wavelet
        self.noise_floor, self.denoises_only = noise_floor, denoises_only

    @property
    def levels(self) -> int:
        """Number of wavelet levels J."""
        return len(self.details)

    @property
    def channels(self) -> int:
        """Channels of the images: 1 for grayscale, 3 for RGB."""
        return self.low.channels

    @property
    def conditionals(self) -> list[ConditionalDenoiser]:
        """The networks of the details, level 1 (finest) first."""
        return cast(list[ConditionalDenoiser], list(self.details))

    @property
    def size(self) -> tuple[int, int] | None:
        """Height and width of the images that `sample` draws when not told; None if unknown."""
        low = self.low.size
        if low is None:
            return ANY_SIZE if self.stationary else None
        return low[0] << self.levels, low[1] << self.levels

    @property
    def stationary(self) -> bool:
        """Whether images are alike everywhere, as all networks see a window and know no place.

        Images of any size, and periodic ones, then follow the law that was learnt: a texture's.
        """
        windows = all(network.receptive_field is not None for network in self.conditionals)
        return windows and self.low.stationary

    @property
    def noise_conditional(self) -> bool:
        """Whether any of the networks is told the noise level."""
        return any(network.noise_conditional for network in (self.low, *self.conditionals))

    @property
    def noise_maps(self) -> bool:
        """Whether all networks see how noise differs between channels and places."""
        networks = (self.low, *self.conditionals)
        return all(network.settings.get("noise_maps", False) for network in networks)

    @property
    def homogeneous(self) -> bool:
        """Whether all networks are homogeneous, so that images may be in any unit."""
        return all(network.homogeneous for network in (self.low, *self.conditionals))

    def denoise_low(self, noisy: Tensor, sigma: Sigma | None) -> Tensor:
        """The last step of `denoise`: `E[x_J | noisy]`, unchecked; a large image in windows.

        Args:
            noisy: the noisy low-pass image, shape (N, C, h, w).
            sigma: its noise.
        """
        size = size_of(noisy)
        if self.low.receptive_field is not None or transformed() or torch.compiler.is_compiling():
            return self.low(noisy, sigma)
        if max(size) <= windows.SIDE:
            return self.low(noisy, sigma)

        def look(window: Window) -> Tensor:
            return self.low(noisy[window.place], cut(sigma, window))

        return windows.blended(look, size, Window(0, size[0], 0, size[1]))

    def denoise_finest(self, noisy: Tensor, low: Tensor, sigma: BandSigma | None) -> Tensor:
        """One step of `denoise`: `E[x_0 | noisy]` from the estimate of `x_1`; a large one in parts.

        Args:
            noisy: shape (N, C, 2h, 2w).
            low: the estimate, shape (N, C, h, w).
            sigma: noise of the bands.
        """

        def denoised(noisy: Tensor, low: Tensor, sigma: BandSigma | None) -> Tensor:
            noisy_low, noisy_details = split(noisy, self.wavelet)
            bands = self.details[0](noisy_details, low, sigma, noisy_low)
            return merge(bands.low, bands.details, self.wavelet)

        size, margin = size_of(low), self.margin(1)
        small = size[0] * size[1] <= windows.PART**2
        if small or margin is None or not suits(noisy, low, *self.details[0].parameters()):
            return denoised(noisy, low, sigma)

        def look(window: Window) -> Tensor:
            within = part_of(sigma, window)
            return denoised(noisy[window.times(2).place], low[window.place], within)

        return windows.by_parts(look, size, margin)

    def expect_finest(self, low: Tensor) -> Tensor:
        """One step of `upscale_mean`: `E[x_0 | x_1]`, shape (N, C, 2h, 2w), unchecked.

        Args:
            low: `x_1`, shape (N, C, h, w).
        """
        return merge(low, cast(Tensor, self.conditionals[0].prior_mean(low)), self.wavelet)

    def draw_low(
        self,
        keys: tuple[int, ...],
        seed: int,
        sampler: Sampler,
        size: tuple[int, int],
        origin: tuple[int, int] = (0, 0),
        periodic: bool = False,
    ) -> Tensor:
        """The first step of `sample`: `x_J ~ p(x_J)`, unchecked; as for `refine`."""
        noise = self.noise_field(keys, self.levels + 1, self.channels, size, seed, origin)
        mean = self.low.prior_mean(size)
        look = on_torus(self.low, replayed(self.low)) if periodic else replayed(self.low)
        return draw(look, noise, sampler(self.low), mean=mean)

    def refine(
        self,
        low: Tensor,
        level: int,
        keys: tuple[int, ...],
        seed: int,
        sampler: Sampler,
        origin: tuple[int, int] = (0, 0),
        periodic: bool = False,
    ) -> Tensor:
        """One step of `sample` and `upscale`: `x_{j-1} ~ p(x_{j-1} | x_j)`, unchecked.

        Args:
            low: `x_j`, shape (N, C, h, w).
            level: j.
            keys: numbers of the samples.
            seed: of the samples.
            sampler: how to draw.
            origin: place of the first pixel of `low` in the whole of `x_j`, for parts.
            periodic: whether the ends of the image meet.
        """
        network = self.conditionals[level - 1]
        noise = self.noise_field(keys, level, 3 * self.channels, size_of(low), seed, origin)
        middle = on_torus(network, network.prior_mean) if periodic else network.prior_mean
        look = given(network, low, periodic)
        details = draw(look, noise, sampler(network), mean=middle(low))
        return merge(low, details, self.wavelet)

    def margin(self, level: int) -> int | None:
        """Coefficients of a level that one of its details depends on, to every side; None for all.

        The wavelet of Haar alone never crosses the border of a block.
        """
        field = self.conditionals[level - 1].receptive_field
        return None if field is None or not is_haar(self.wavelet) else field // 2

    def noise_field(
        self,
        keys: tuple[int, ...],
        level: int,
        channels: int,
        size: tuple[int, int],
        seed: int,
        origin: tuple[int, int] = (0, 0),
    ) -> Callable[[int], Tensor]:
        """Position-keyed noise of one level, on the device and in the type of the weights."""
        field = GaussianField(seed, keys, level=level, channels=channels, size=size, origin=origin)
        device, dtype = unit_of(self)
        return lambda step: field(step).to(device, dtype)

    def checked(self, images: Tensor, name: str, sigma: float = 0.0) -> Tensor:
        """Images on the device of the weights, or a sentence that says what is wrong with them."""
        check_images(images, name, self.channels, sigma=sigma)
        return images.to(*unit_of(self))

    def check_noise(self, sigma: Noise, noisy: Tensor) -> float:
        """Check a noise level, or those of all levels; the largest that the image has."""
        if isinstance(sigma, NoiseModel):
            return check_sigma(sigma.sigma, noisy)
        if not isinstance(sigma, NoiseLevels):
            return check_sigma(sigma, noisy)
        if len(sigma.details) != self.levels:
            raise UsageError(
                f"sigma must tell the noise of the model's {self.levels} levels of details, found "
                f"{len(sigma.details)}"
            )
        return max(check_sigma(one, noisy) for one in (sigma.whole, *sigma.details, sigma.low))

    def check_factor(self, factor: int) -> int:
        """Number of levels that a factor of enlargement spans: 1 for 2, 2 for 4, ...

        Raises:
            UsageError: the model does not enlarge by it.
        """
        factor = whole_number(factor, "factor", least=None)
        known = [1 << level for level in range(1, self.levels + 1)]
        if factor not in known:
            raise UsageError(
                f"factor must be a power of two that the model's {self.levels} levels span "
                f"({', '.join(map(str, known)) or 'none'}), found {factor}"
            )
        return known.index(factor) + 1

    def check_size(self, size: tuple[int, int] | None, periodic: bool) -> tuple[int, int]:
        """Height and width to draw, or a sentence that says why this is no model of such images."""
        size = size or self.size
        if size is None:
            raise UsageError("size is needed: this model does not say which it learnt")
        height, width = whole_number(size[0], "size"), whole_number(size[1], "size")
        if height * width > MOST_PIXELS:
            raise UsageError(
                f"size {height}x{width} has {height * width / 1e6:.0f} million pixels, more than "
                f"the {MOST_PIXELS / 1e6:.0f} million that are drawn at once"
            )
        low = half(height, self.levels), half(width, self.levels)
        if self.low.of_whole_images and self.size and low != self.low.size:
            whole = "{}x{}".format(*self.size)
            raise UsageError(
                f"size must be {whole}, found {height}x{width}: this model learnt images of "
                f"{whole} as wholes, and what stands where in them, and knows none of another "
                "size; leave size out and enlarge or cut what is drawn, or take the model of a "
                f"texture ({TEXTURES}), which has no size of its own"
            )
        if not periodic:
            return height, width
        if not self.stationary:
            raise UsageError(
                "periodic needs a stationary model, whose networks see a window around every pixel "
                "and know no border; a network of this one sees whole images, so that nothing "
                f"makes their borders meet; take the model of a texture ({TEXTURES}), or learn one "
                "with the recipe texture"
            )
        multiple = 1 << self.levels
        if height % multiple or width % multiple:
            up = (side + -side % multiple for side in (height, width))
            raise UsageError(
                f"size must have sides that are multiples of {multiple} to be periodic, found "
                f"{height}x{width}; take {'x'.join(map(str, up))}"
            )
        return height, width

    def need_clean(self) -> None:
        """Refuse what only a prior of clean images can do."""
        if self.noise_floor:
            raise UsageError(
                "this model learnt from noisy images alone (standard deviation "
                f"{255 * self.noise_floor:.3g} of 255): it denoises, but knows no clean images to "
                "draw or to compare with; use one that learnt from clean images"
            )

    def need_drawing(self) -> None:
        """Refuse what only a prior can do that learnt to draw clean images."""
        self.need_clean()
        if self.denoises_only:
            raise UsageError(
                "this model learnt to remove noise alone: it denoises, but neither draws, enlarges "
                "nor fills; use one that learnt all of it, such as photos"
            )


def given(
    network: ConditionalDenoiser, low: Tensor, periodic: bool = False
) -> Callable[[Tensor, Tensor], Tensor]:
    """The denoiser of details that a conditional network is, once the low-pass image is given."""
    call = replayed(network)

    def details(noisy: Tensor, low: Tensor, sigma: Tensor) -> Tensor:
        return cast(Bands, call(noisy, low, sigma)).details

    seen = on_torus(network, details) if periodic else details
    return lambda noisy, sigma: seen(noisy, low, sigma)

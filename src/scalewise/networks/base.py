"""The contracts of denoisers, and the scales that precondition a network told its noise level."""

from __future__ import annotations

import math
import os
from typing import Any, ClassVar, NamedTuple, TypeVar

import torch
from torch import Tensor, nn

from scalewise.errors import UsageError
from scalewise.score import Sigma

NOISE_FEATURES = 16
"""How many numbers tell a network its noise level."""


LEAST_SPREAD = 1e-8
"""Least root mean square of data that a network can be scaled to, in float32."""


class Network(nn.Module):
    """What every denoising network declares.

    Attributes:
        settings: the arguments that it was made with, plain JSON values.
        receptive_field: side of the square of inputs that one output depends on; None if global.
        conditional: whether it denoises details given a low-pass image.
        noise_conditional: whether it must be given the noise level (a blind network reads it off).
        homogeneous: whether `f(a * y) = a * f(y)` for `a > 0` in evaluation mode.
        channels: C of the images.
        size: height and width of the images that `sample` draws when not told; None if unknown.
        exact: whether it computes layer by layer, as written, rather than by the forms that are
            faster and equal to rounding; SCALEWISE_EXACT=1 makes that the default.
        precision: in which its convolutions are computed, by autocast; None for that of its
            weights. What comes in and goes out is not rounded.

    Examples:
        >>> network = scalewise.load("photos").low
        >>> network.channels, network.receptive_field, network.noise_conditional
        (3, None, True)
    """

    precision: torch.dtype | None = None
    size: tuple[int, int] | None = None
    channels: int
    receptive_field: int | None = None
    conditional: ClassVar[bool] = False
    noise_conditional: ClassVar[bool] = False
    homogeneous: ClassVar[bool] = False

    def __init__(self, **settings: Any) -> None:
        """Remember the constructor's arguments, from which `store` builds the network again.

        Raises:
            UsageError: `sigma_data` is zero or no size of data, or `dropout` no share.
        """
        super().__init__()
        self.settings = settings
        sigma_data, dropout = settings.get("sigma_data", 1.0), settings.get("dropout", 0.0)
        if not LEAST_SPREAD <= sigma_data <= 1 / LEAST_SPREAD:
            raise UsageError(
                f"sigma_data must be from {LEAST_SPREAD:g} to {1 / LEAST_SPREAD:g}, found "
                f"{sigma_data:g}: images of one colour each, which do not vary, cannot be learnt"
            )
        if not 0 <= dropout < 1:
            raise UsageError(f"dropout must be 0 or more and below 1, found {dropout:g}")
        self.channels = int(settings["channels"])
        size = settings.get("size")
        self.size = None if size is None else (int(size[0]), int(size[1]))
        self.exact = os.environ.get("SCALEWISE_EXACT", "0") not in ("", "0")

    def __call__(self, *inputs: Any, **options: Any) -> Any:
        """Call `forward`, in the chosen precision."""
        if self.precision is None:
            return super().__call__(*inputs, **options)
        place = unit_of(self)[0].type
        with torch.autocast(place, self.precision, cache_enabled=False):
            return super().__call__(*inputs, **options)

    @property
    def sigma_range(self) -> tuple[float, float]:
        """Noise levels from which and to which to sample, in the units of the arrays."""
        return 1.0, 0.01

    def need(self, sigma: Sigma | None) -> Sigma:
        """Return `sigma`, or say that this network cannot do without it.

        Raises:
            UsageError: `sigma` is None.

        Examples:
            >>> from scalewise.networks import BiasFreeDenoiser
            >>> BiasFreeDenoiser(1, [3, 3]).need(0.1)
            0.1
        """
        if sigma is None:
            raise UsageError(
                f"sigma is needed: {type(self).__name__} is told the noise level; "
                "give it, or call the prior's denoise, which estimates it"
            )
        return sigma


class Denoiser(Network):
    """A network `(noisy, sigma) -> image`, the least-squares estimate of the clean image.

    Examples:
        >>> from scalewise.networks import Denoiser, LocalDenoiser
        >>> denoiser: Denoiser = LocalDenoiser(channels=3, receptive_field=9, width=8)
        >>> denoiser(torch.rand(1, 3, 16, 16), 0.1).shape
        torch.Size([1, 3, 16, 16])
    """

    def forward(self, noisy: Tensor, sigma: Sigma | None = None) -> Tensor:
        """Denoise images of shape (N, C, H, W); `sigma` in their units, a number or (N,)."""
        raise NotImplementedError

    @property
    def stationary(self) -> bool:
        """Whether it is the same everywhere, of bounded receptive field and of no size.

        Examples:
            >>> from scalewise.networks import LocalDenoiser, UNet
            >>> LocalDenoiser(channels=1, width=8).stationary, UNet(1, (16, 16), width=8).stationary
            (True, False)
        """
        return self.receptive_field is not None and self.size is None

    @property
    def of_whole_images(self) -> bool:
        """Whether it learnt what stands where in images of one size, and knows no others.

        Examples:
            >>> [scalewise.load(name).low.of_whole_images for name in ("faces", "photos")]
            [True, False]
        """
        return False

    def prior_mean(self, size: tuple[int, int]) -> Tensor | float:
        """What sampling starts around: mid-gray, unless the network knows the mean image.

        Args:
            size: height and width of the images to sample.

        Examples:
            >>> from scalewise.networks import BiasFreeDenoiser
            >>> BiasFreeDenoiser(1, [3, 3]).prior_mean((16, 16))
            0.5
        """
        return 0.5

    def set_mean(self, mean: Tensor) -> None:
        """Learn the mean of the training images, shape (C, H, W), where the network wants it.

        Examples:
            >>> from scalewise.networks import BiasFreeDenoiser
            >>> network = BiasFreeDenoiser(1, [3, 3])
            >>> network.set_mean(torch.rand(1, 16, 16))  # which it does not want
            >>> network.prior_mean((16, 16))
            0.5
        """


AnyNetwork = TypeVar("AnyNetwork", bound=Network)


class Bands(NamedTuple):
    """One level's clean bands: `details` (N, 3C, h, w) and `low` (N, C, h, w).

    Examples:
        >>> from scalewise.networks import Bands
        >>> from scalewise.wavelets import merge
        >>> bands = Bands(details=torch.zeros(1, 9, 8, 8), low=torch.rand(1, 3, 8, 8))
        >>> merge(bands.low, bands.details).shape
        torch.Size([1, 3, 16, 16])
    """

    details: Tensor
    low: Tensor


class BandNoise(NamedTuple):
    """Noise of one level's bands.

    Attributes:
        details: of the details.
        low: of the low-pass image.
        level: root mean square of that of the details over each image, where they are a part of it.

    Examples:
        >>> from scalewise.networks import BandNoise, LocalConditional
        >>> network, low = LocalConditional(channels=1, width=8), torch.rand(1, 1, 8, 8)
        >>> network(torch.rand(1, 3, 8, 8), low, BandNoise(0.1, 0.05), low).details.shape
        torch.Size([1, 3, 8, 8])
    """

    details: Sigma
    low: Sigma
    level: Sigma | None = None


BandSigma = Sigma | BandNoise
"""Noise of one level's bands: one for all, or that of the details and of the low-pass image."""


class ConditionalDenoiser(Network):
    """A network that denoises the details of one level given the low-pass image beside them.

    Examples:
        >>> from scalewise.networks import ConditionalDenoiser, LocalConditional
        >>> network: ConditionalDenoiser = LocalConditional(channels=3, width=8)
        >>> network(torch.rand(1, 9, 16, 16), torch.rand(1, 3, 16, 16), 0.1).details.shape
        torch.Size([1, 9, 16, 16])
    """

    conditional = True

    def forward(
        self,
        noisy: Tensor,
        low: Tensor,
        sigma: BandSigma | None = None,
        noisy_low: Tensor | None = None,
    ) -> Bands:
        """Denoise the details of one level.

        Args:
            noisy: noisy details, shape (N, 3C, h, w).
            low: the low-pass image, shape (N, C, h, w): clean when sampling, an estimate of it
                when denoising.
            sigma: noise standard deviation of `noisy` (and of `noisy_low`): a number, (N,), or a
                map that broadcasts over (N, C, h, w), the same for all three bands; or that of
                each, for `noisy` and for `noisy_low`.
            noisy_low: the noisy low-pass image of which `low` is an estimate, when denoising.

        Returns:
            The estimated clean details, and `low`, corrected by what the details say of it where
            the network can and `noisy_low` is given.
        """
        raise NotImplementedError

    def prior_mean(self, low: Tensor) -> Tensor | float:
        """What sampling starts around: `E[details | low]`, where the network can tell it, or zero.

        A network that is told the noise level gives the mean when told that it is infinite.

        Args:
            low: the clean low-pass image, shape (N, C, h, w).

        Examples:
            >>> network = scalewise.load("photos", device="cpu").conditionals[0]
            >>> network.prior_mean(torch.rand(1, 3, 16, 16)).shape
            torch.Size([1, 9, 16, 16])
        """
        if not self.noise_conditional:
            return 0.0
        return self(torch.zeros_like(low).repeat(1, 3, 1, 1), low, math.inf).details


def precondition(sigma: Tensor, sigma_data: float) -> tuple[Tensor, Tensor, Tensor]:
    """Scales that let a network see and return values of unit size at any noise level.

    `denoised = skip * noisy + out * network(inside * noisy)` (Karras et al. 2022, table 1).

    Args:
        sigma: noise level, any shape, from 0 to infinity.
        sigma_data: root mean square of the clean, centred data.

    Returns:
        `skip`, `out` and `inside`, of the shape of `sigma`.
    """
    inside = (sigma**2 + sigma_data**2).rsqrt()
    skip = (sigma_data * inside) ** 2
    return skip, sigma_data * (1 - skip).clamp(min=0).sqrt(), inside


def noise_features(sigma: Tensor, sigma_data: float, least: float = 0.0) -> Tensor:
    """Fourier features of `log(sigma / sigma_data)`, finite for any sigma.

    Args:
        sigma: one level per image, any shape of N elements.
        sigma_data: root mean square of the clean, centred data.
        least: level below which a network has learnt nothing, which it is told in place of any.

    Returns:
        Shape (N, `NOISE_FEATURES`).
    """
    level = (sigma.flatten().clamp(min=least) / sigma_data).clamp(1e-3, 1e3).log()
    frequencies = torch.linspace(
        0.1, 0.8, NOISE_FEATURES // 2, device=sigma.device, dtype=sigma.dtype
    )
    angles = level[:, None] * frequencies
    return torch.cat([angles.sin(), angles.cos()], dim=1)


def overall(sigma: Tensor) -> Tensor:
    """Root mean square of a noise level over each image: (N or 1, 1, 1, 1) of any map."""
    if sigma[0].numel() == 1:
        return sigma
    return sigma.square().mean(dim=(1, 2, 3), keepdim=True).sqrt()


def relative(sigma: Tensor, level: Tensor, like: Tensor) -> Tensor:
    """What a network sees of a noise map: its logarithm over the overall level, of shape `like`.

    Zero wherever noise is white, and where both levels are zero or infinite; from -3, for where
    there is none, to 3.
    """
    ratio = (sigma / level).log().nan_to_num(0.0).clamp(-3, 3)
    return ratio.expand(like.shape)


def with_noise_maps(network: AnyNetwork) -> AnyNetwork:
    """The same network, ready to learn from noise maps, which count for nothing yet.

    Args:
        network: with an entering convolution `enter`, whose last inputs are the maps.
    """
    if network.settings.get("noise_maps", True):
        return network
    grown = type(network)(**network.settings | {"noise_maps": True})
    state, known = grown.state_dict(), network.state_dict()
    entering = torch.zeros_like(state["enter.weight"])
    entering[:, : known["enter.weight"].shape[1]] = known["enter.weight"]
    grown.load_state_dict(known | {"enter.weight": entering})
    return grown


def in_gray(network: AnyNetwork) -> AnyNetwork:
    """A network of gray images: the mean of what a network makes of them, repeated in its channels.

    Args:
        network: of images of any number of channels, which follow each other in all that its first
            convolution sees and its last one makes; its mean colour, if it has one, is taken for
            gray.

    Examples:
        >>> from scalewise.networks import UNet, in_gray
        >>> in_gray(UNet(channels=3, size=(16, 16), width=8)).channels
        1
    """
    channels = network.channels
    gray = type(network)(**network.settings | {"channels": 1})
    state = {}
    for (name, fewer), tensor in zip(
        gray.state_dict().items(), network.state_dict().values(), strict=True
    ):
        if fewer.shape[:1] != tensor.shape[:1]:
            tensor = tensor.unflatten(0, (-1, channels)).mean(dim=1)
        if fewer.shape[1:2] != tensor.shape[1:2]:
            tensor = tensor.unflatten(1, (-1, channels)).sum(dim=2)
        state[name] = tensor
    gray.load_state_dict(state)
    return gray


def transformed() -> bool:
    """Whether a transform of `torch.func` (jvp, vmap, ...) is at work."""
    return torch._C._functorch.peek_interpreter_stack() is not None


def parameters_of(module: nn.Module) -> int:
    """Count the learned numbers of a network."""
    return sum(parameter.numel() for parameter in module.parameters())


def unit_of(network: nn.Module) -> tuple[torch.device, torch.dtype]:
    """Device and floating-point type that a network's weights are on."""
    weight = next(network.parameters())
    return weight.device, weight.dtype

"""Local convolutional networks with a declared receptive field.

Two forms. The published one is blind and bias-free, hence homogeneous (Mohan et al., "Robust and
interpretable blind image denoising via bias-free convolutional neural networks", ICLR 2020); it
denoises images (`BiasFreeDenoiser`) or details given a clean low-pass image
(`BiasFreeConditional`). Ours (`LocalConditional`) is told the noise level, and for denoising sees
the noisy low-pass image beside the estimate of it and corrects that estimate.
"""

from __future__ import annotations

from itertools import pairwise
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scalewise.errors import UsageError
from scalewise.networks import fast
from scalewise.networks.base import (
    Bands,
    ConditionalDenoiser,
    Denoiser,
    noise_features,
    precondition,
)
from scalewise.score import Sigma, per_image


def spread_kernels(receptive_field: int, depth: int) -> list[int]:
    """Kernel sides (3 or 1) of `depth` layers whose receptive field is the one asked for.

    Args:
        receptive_field: odd, from 1 to `2 * depth + 1`.
        depth: number of convolutions.

    Returns:
        `(receptive_field - 1) / 2` threes spread evenly among the ones, beginning with a three.
    """
    threes = (receptive_field - 1) // 2
    if receptive_field % 2 == 0 or not 0 <= threes <= depth:
        raise UsageError(
            f"receptive_field must be odd and from 1 to {2 * depth + 1} for {depth} layers, "
            f"found {receptive_field}"
        )
    places = {index * depth // threes for index in range(threes)}
    return [3 if place in places else 1 for place in range(depth)]


def field_of(kernels: list[int] | tuple[int, ...]) -> int:
    """Receptive field of convolutions in a row, each of the given side."""
    return 1 + sum(kernel - 1 for kernel in kernels)


class BiasFreeNorm(nn.Module):
    """Divide every channel by its standard deviation, times a learned gain; nothing is subtracted.

    In training the deviation is that of the batch, in evaluation its running mean, so that a
    network of these, bias-free convolutions and ReLU is homogeneous (Mohan et al. 2020).
    """

    running_sd: Tensor

    def __init__(self, channels: int, momentum: float = 0.1, epsilon: float = 1e-5) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(channels))
        self.register_buffer("running_sd", torch.ones(channels))
        self.momentum, self.epsilon = momentum, epsilon

    def forward(self, features: Tensor) -> Tensor:
        """Normalise (N, channels, H, W)."""
        if not self.training:
            return features * self.scale
        whole = torch.float32 if features.dtype in (torch.float16, torch.bfloat16) else None
        mean = features.mean(dim=(0, 2, 3), dtype=whole)  # sums of half precision lose digits
        square = features.square().mean(dim=(0, 2, 3), dtype=whole)  # var() takes several passes
        sd = ((square - mean.square()).clamp(min=0) + self.epsilon).sqrt()
        with torch.no_grad():
            self.running_sd.lerp_(sd, self.momentum)
        return features * (self.gain / sd).to(features.dtype)[:, None, None]

    @property
    def scale(self) -> Tensor:
        """What evaluation multiplies every channel by, shape (channels, 1, 1)."""
        return (self.gain / self.running_sd)[:, None, None]


class BiasFreeCNN(nn.Sequential):
    """The published trunk: bias-free convolutions, normalisations and ReLU in a row.

    Args:
        inputs: channels in.
        outputs: channels out.
        kernels: sides (3 or 1) of the convolutions; the first and last stand alone, linear.
        width: channels between.
    """

    def __init__(self, inputs: int, outputs: int, kernels: list[int], width: int = 64) -> None:
        widths = [inputs] + [width] * (len(kernels) - 1) + [outputs]
        layers: list[nn.Module] = []
        for place, kernel in enumerate(kernels):
            layers.append(_convolution(widths[place], widths[place + 1], kernel, bias=False))
            if 0 < place < len(kernels) - 1:
                layers += [BiasFreeNorm(width), nn.ReLU()]
        super().__init__(*layers)

    def forward(self, features: Tensor) -> Tensor:
        """Map (N, inputs, H, W) to (N, outputs, H, W).

        In evaluation each normalisation is folded into the convolution before it, which is exact.
        """
        if self.training:
            return cast(Tensor, super().forward(features))  # type: ignore[no-untyped-call]
        layers = self._folded()
        if fast.suits(features, *(layer.weight for layer in layers)):
            width, outputs = len(layers[0].weight), len(layers[-1].weight)
            return fast.run(lambda _: layers, features, width, outputs)
        for layer in layers:
            features = F.conv2d(features, layer.weight, padding=layer.margin)
            features = torch.relu(features) if layer.rectified else features
        return features

    def _folded(self) -> list[fast.Layer]:
        """The convolutions, with the normalisations that follow them in their weights."""
        layers = []
        for layer, following in pairwise([*self, None]):
            if isinstance(layer, nn.Conv2d):
                normed = isinstance(following, BiasFreeNorm)
                weight = layer.weight * following.scale[:, None] if normed else layer.weight
                layers.append(fast.Layer(weight, rectified=normed))
        return layers


class BiasFreeDenoiser(Denoiser):
    """Blind, bias-free image denoiser of the published form: `noisy - trunk(noisy)`.

    Args:
        channels: C of the images.
        kernels: sides (3 or 1) of the convolutions.
        width: channels between.
        size: height and width of the images that it learnt, where it is the low-pass network.
    """

    homogeneous = True

    def __init__(
        self,
        channels: int,
        kernels: list[int],
        width: int = 64,
        size: tuple[int, int] | None = None,
    ) -> None:
        super().__init__(channels=channels, kernels=list(kernels), width=width, size=size)
        self.channels, self.receptive_field = channels, field_of(kernels)
        self.size = None if size is None else tuple(size)
        self.trunk = BiasFreeCNN(channels, channels, kernels, width)

    def forward(self, noisy: Tensor, sigma: Sigma | None = None) -> Tensor:
        """Denoise images (N, C, H, W); `sigma` is not looked at."""
        return noisy - self.trunk(noisy)


class BiasFreeConditional(ConditionalDenoiser):
    """Blind, bias-free denoiser of details given a clean low-pass image, of the published form.

    Args:
        channels: C of the images.
        kernels: sides (3 or 1) of the convolutions.
        width: channels between.
    """

    homogeneous = True

    def __init__(self, channels: int, kernels: list[int], width: int = 64) -> None:
        super().__init__(channels=channels, kernels=list(kernels), width=width)
        self.channels, self.receptive_field = channels, field_of(kernels)
        self.trunk = BiasFreeCNN(4 * channels, 3 * channels, kernels, width)

    def forward(
        self,
        noisy: Tensor,
        low: Tensor,
        sigma: Sigma | None = None,
        noisy_low: Tensor | None = None,
    ) -> Bands:
        """Denoise details (N, 3C, h, w); `sigma` and `noisy_low` are not looked at."""
        return Bands(noisy - self.trunk(torch.cat([low, noisy], dim=1)), low)


class LocalConditional(ConditionalDenoiser):
    """Denoiser of details given the low-pass image, told the noise level: our own form.

    One network serves three uses. Sampling: `low` is clean and `noisy_low` absent. Denoising:
    `low` is an estimate, `noisy_low` the measurement of it, and the network also corrects `low`.
    Least-squares super-resolution: `sigma` is infinite, and `noisy` (zeros) says nothing.

    Args:
        channels: C of the images.
        receptive_field: odd, from 5 to `2 * blocks + 5`.
        width: channels between.
        blocks: residual blocks, each a 3x3 (or 1x1) and a 1x1 convolution.
        sigma_data: root mean square of the clean details of this level.
    """

    told_sigma = True

    def __init__(
        self,
        channels: int,
        receptive_field: int = 9,
        width: int = 64,
        blocks: int = 4,
        sigma_data: float = 0.04,
    ) -> None:
        super().__init__(
            channels=channels,
            receptive_field=receptive_field,
            width=width,
            blocks=blocks,
            sigma_data=sigma_data,
        )
        self.channels, self.receptive_field, self.sigma_data = channels, receptive_field, sigma_data
        if receptive_field % 2 == 0 or not 5 <= receptive_field <= 2 * blocks + 5:
            raise UsageError(
                f"receptive_field must be odd and from 5 to {2 * blocks + 5} for {blocks} blocks, "
                f"found {receptive_field}"
            )
        kernels = spread_kernels(receptive_field - 4, blocks)
        self.enter = _convolution(5 * channels, width, 3)
        self.blocks = nn.ModuleList(ModulatedBlock(width, kernel) for kernel in kernels)
        self.leave = _convolution(width, 4 * channels, 3)
        nn.init.zeros_(self.leave.weight)
        self.modulate = nn.Sequential(
            nn.Linear(17, width), nn.SiLU(), nn.Linear(width, 2 * width * blocks)
        )

    def forward(
        self,
        noisy: Tensor,
        low: Tensor,
        sigma: Sigma | None = None,
        noisy_low: Tensor | None = None,
    ) -> Bands:
        """Denoise details (N, 3C, h, w), told `sigma`; see `ConditionalDenoiser.forward`."""
        sigma = per_image(self.need(sigma), noisy)
        skip, out, inside = precondition(sigma, self.sigma_data)
        missing = torch.zeros_like(low) if noisy_low is None else inside * (noisy_low - low)
        seen = torch.cat([inside * noisy, missing, 4 * low - 2], dim=1)
        bands = out * self._trunk(seen, self._told(sigma, noisy_low is not None))
        details = skip * noisy + bands[:, : noisy.shape[1]]
        return Bands(details, low if noisy_low is None else low + bands[:, noisy.shape[1] :])

    @property
    def sigma_range(self) -> tuple[float, float]:
        """From noise that hides the details to noise that nobody sees."""
        return 30 * self.sigma_data, 0.05 * self.sigma_data

    def _told(self, sigma: Tensor, denoising: bool) -> Tensor:
        """What the blocks are told of the noise level and the use: (N or 1, 2 * width * blocks)."""
        use = torch.full_like(sigma.view(-1, 1), float(denoising))
        return self.modulate(torch.cat([noise_features(sigma, self.sigma_data), use], dim=1))

    def _trunk(self, features: Tensor, told: Tensor) -> Tensor:
        """Map (N, 5C, h, w) to (N, 4C, h, w)."""
        if fast.suits(features, told.float(), *self.parameters()):
            told, width, outputs = told.float(), self.enter.out_channels, self.leave.out_channels
            return fast.run(lambda part: self._stages(told, part), features, width, outputs)
        features = self.enter(features)
        for block, (scale, shift) in self._modulated(told):
            features = block(features, scale, shift)
        return self.leave(features)

    def _modulated(self, told: Tensor) -> list[tuple[ModulatedBlock, tuple[Tensor, Tensor]]]:
        """Every block, with its scale and shift, (N or 1, width, 1, 1) each."""
        blocks = cast(list[ModulatedBlock], list(self.blocks))
        values = told[:, :, None, None].chunk(2 * len(blocks), dim=1)
        return list(zip(blocks, zip(values[0::2], values[1::2], strict=True), strict=True))

    def _stages(self, told: Tensor, part: slice) -> list[fast.Stage]:
        """The fast form, for a part of the images."""
        told = told[part] if len(told) > 1 else told
        told = told[:1] if bool((told == told[:1]).all()) else told
        inner = [block.stage(scale, shift) for block, (scale, shift) in self._modulated(told)]
        enter = fast.Layer(self.enter.weight, self.enter.bias)
        return [enter, *inner, fast.Layer(self.leave.weight, self.leave.bias)]


class ModulatedBlock(nn.Module):
    """Residual block whose hidden features are scaled and shifted by what the noise level says."""

    def __init__(self, width: int, kernel: int) -> None:
        super().__init__()
        self.spatial = _convolution(width, width, kernel)
        self.pointwise = _convolution(width, width, 1)
        with torch.no_grad():
            self.pointwise.weight.mul_(0.5)

    def forward(self, features: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
        """Map (N, width, h, w) to the same shape."""
        hidden = torch.relu(self.spatial(features) * (1 + scale) + shift)
        return features + self.pointwise(hidden)

    def stage(self, scale: Tensor, shift: Tensor) -> fast.Residual:
        """The fast form, told (N, width, 1, 1) each, or (1, width, 1, 1) for all images."""
        first = fast.modulated(self.spatial, 1 + scale, shift)
        return fast.Residual(first, fast.Layer(self.pointwise.weight, self.pointwise.bias))


def _convolution(inputs: int, outputs: int, kernel: int, bias: bool = True) -> nn.Conv2d:
    layer = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=bias)
    if not layer.weight.is_meta:  # drawing nothing there imports PyTorch's compiler, for seconds
        nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer

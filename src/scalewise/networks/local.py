"""Our local networks, told the noise level, with a declared receptive field.

That of details corrects the estimate of the low-pass image too, when it denoises: it sees the noisy
low-pass image beside it. That of images is the same network without a condition.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn

from scalewise.errors import UsageError
from scalewise.networks import strips
from scalewise.networks.base import (
    NOISE_FEATURES,
    AnyNetwork,
    BandNoise,
    Bands,
    BandSigma,
    ConditionalDenoiser,
    Denoiser,
    Network,
    noise_features,
    overall,
    precondition,
    relative,
)
from scalewise.networks.convolution import convolution, spread_kernels
from scalewise.score import Sigma, per_image


class Trunk(Network):
    """Residual blocks told the noise level, between an entering and a leaving 3x3 convolution."""

    def __init__(
        self,
        channels: int,
        receptive_field: int,
        *,
        width: int,
        blocks: int,
        sigma_data: float,
        least_sigma: float,
        in_multiple: int,
        out_multiple: int,
        conditioning: int,
        **settings: Any,
    ) -> None:
        """Map `in_multiple * channels` to `out_multiple * channels`, on `conditioning` numbers."""
        super().__init__(
            channels=channels,
            receptive_field=receptive_field,
            width=width,
            blocks=blocks,
            sigma_data=sigma_data,
            least_sigma=least_sigma,
            **settings,
        )
        self.sigma_data, self.least_sigma = sigma_data, least_sigma
        if receptive_field % 2 == 0 or not 5 <= receptive_field <= 2 * blocks + 5:
            raise UsageError(
                f"receptive_field must be odd and from 5 to {2 * blocks + 5} for {blocks} blocks, "
                f"found {receptive_field}"
            )
        kernels = spread_kernels(receptive_field - 4, blocks)
        self.receptive_field = receptive_field
        self.enter = convolution(in_multiple * channels, width, 3)
        self.blocks = nn.ModuleList(ModulatedBlock(width, kernel) for kernel in kernels)
        self.leave = convolution(width, out_multiple * channels, 3)
        nn.init.zeros_(self.leave.weight)
        self.modulate = nn.Sequential(
            nn.Linear(conditioning, width), nn.SiLU(), nn.Linear(width, 2 * width * blocks)
        )

    def _trunk(self, features: Tensor, conditioning: Tensor) -> Tensor:
        """Map (N, inputs, h, w) to (N, outputs, h, w), given (N or 1, numbers)."""
        modulation = self.modulate(conditioning)
        if not self.exact and strips.suits(features, modulation.float(), *self.parameters()):
            modulation, width, outputs = (
                modulation.float(),
                self.enter.out_channels,
                self.leave.out_channels,
            )
            return strips.run(lambda part: self._stages(modulation, part), features, width, outputs)
        features = self.enter(features)
        for block, (scale, shift) in self._modulated(modulation):
            features = block(features, scale, shift)
        return self.leave(features)

    def _modulated(self, modulation: Tensor) -> list[tuple[ModulatedBlock, tuple[Tensor, Tensor]]]:
        """Every block, with its scale and shift, (N or 1, width, 1, 1) each."""
        blocks = cast(list[ModulatedBlock], list(self.blocks))
        values = modulation[:, :, None, None].chunk(2 * len(blocks), dim=1)
        return list(zip(blocks, zip(values[0::2], values[1::2], strict=True), strict=True))

    def _stages(self, modulation: Tensor, part: slice) -> list[strips.Stage]:
        """The fast form, for a part of the images."""
        values = modulation[part] if len(modulation) > 1 else modulation
        values = values[:1] if bool((values == values[:1]).all()) else values
        inner = [block.stage(scale, shift) for block, (scale, shift) in self._modulated(values)]
        enter = strips.Layer(self.enter.weight, self.enter.bias)
        return [enter, *inner, strips.Layer(self.leave.weight, self.leave.bias)]


def deepened(network: AnyNetwork, more: int) -> AnyNetwork:
    """A copy of a local network with more blocks at its end, which add nothing until they learn.

    Each makes the receptive field larger by 2.

    Args:
        network: of ours, whose blocks all have 3x3 convolutions.
        more: blocks to add.

    Raises:
        UsageError: the network is of another kind, or has 1x1 convolutions in their place.

    Examples:
        >>> from scalewise.networks import LocalConditional, deepened
        >>> network = LocalConditional(channels=1, receptive_field=9, width=16, blocks=2)
        >>> deepened(network, 3).receptive_field
        15
    """
    if not isinstance(network, Trunk) or network.receptive_field != 2 * len(network.blocks) + 5:
        raise UsageError("only local networks of 3x3 convolutions throughout can be deepened")
    blocks = len(network.blocks) + more
    deeper = type(network)(
        **network.settings | {"receptive_field": 2 * blocks + 5, "blocks": blocks}
    )
    with torch.no_grad():
        for block in cast(list[ModulatedBlock], list(deeper.blocks))[-more:]:
            block.pointwise.weight.zero_()
        for weight in deeper.modulate.parameters():
            weight.zero_()
    state = deeper.state_dict()
    for name, tensor in network.state_dict().items():
        state[name][: len(tensor)] = tensor
    return deeper


class LocalConditional(Trunk, ConditionalDenoiser):
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
        noise_maps: see how noise differs between channels, places, and the two kinds of bands,
            beside its overall level; without, only that of the details counts.
        least_sigma: level below which it has learnt nothing. What it computes is that of this level
            then, and counts the less the less noise there is.

    Examples:
        >>> from scalewise.networks import LocalConditional
        >>> network = LocalConditional(channels=1, receptive_field=9, width=16)
        >>> noisy, low = torch.rand(1, 3, 16, 16), torch.rand(1, 1, 16, 16)
        >>> network(noisy, low, 0.1, noisy_low=low).low.shape
        torch.Size([1, 1, 16, 16])
    """

    noise_conditional = True

    def __init__(
        self,
        channels: int,
        receptive_field: int = 9,
        *,
        width: int = 64,
        blocks: int = 4,
        sigma_data: float = 0.04,
        noise_maps: bool = False,
        least_sigma: float = 0.0,
    ) -> None:
        super().__init__(
            channels,
            receptive_field,
            width=width,
            blocks=blocks,
            sigma_data=sigma_data,
            least_sigma=least_sigma,
            in_multiple=7 if noise_maps else 5,
            out_multiple=4,
            conditioning=NOISE_FEATURES + 1,
            noise_maps=noise_maps,
        )
        self.noise_maps = noise_maps

    def forward(
        self,
        noisy: Tensor,
        low: Tensor,
        sigma: BandSigma | None = None,
        noisy_low: Tensor | None = None,
    ) -> Bands:
        """Denoise details (N, 3C, h, w), told `sigma`; see `ConditionalDenoiser.forward`."""
        both = sigma if isinstance(sigma, tuple) else (self.need(sigma), self.need(sigma))
        sigma = BandNoise(*both)
        sigma_details, sigma_low = per_image(sigma.details, noisy), per_image(sigma.low, noisy)
        level = overall(sigma_details if sigma.level is None else per_image(sigma.level, noisy))
        if not self.noise_maps:
            sigma_details = sigma_low = level
        _, out_low, inside_low = precondition(sigma_low, self.sigma_data)
        skip, out, inside = (_to_bands(s) for s in precondition(sigma_details, self.sigma_data))
        missing = torch.zeros_like(low) if noisy_low is None else inside_low * (noisy_low - low)
        seen = [inside * noisy, missing, 4 * low - 2]
        if self.noise_maps:
            seen.append(relative(sigma_details, level, low))
            seen.append(
                torch.zeros_like(low) if noisy_low is None else relative(sigma_low, level, low)
            )
        use = self._conditioning(level, noisy_low is not None)
        found = self._trunk(torch.cat(seen, dim=1), use)
        details, correction = found.split([noisy.shape[1], low.shape[1]], dim=1)
        details = torch.addcmul(skip * noisy, out, details)
        return Bands(details, low if noisy_low is None else torch.addcmul(low, out_low, correction))

    @property
    def sigma_range(self) -> tuple[float, float]:
        """From noise that hides the details to noise that nobody sees."""
        return 30 * self.sigma_data, 0.05 * self.sigma_data

    def _conditioning(self, sigma: Tensor, denoising: bool) -> Tensor:
        """What the blocks are conditioned on, noise level and use: (N or 1, numbers)."""
        use = torch.full_like(sigma.view(-1, 1), float(denoising))
        return torch.cat([noise_features(sigma, self.sigma_data, self.least_sigma), use], dim=1)


def _to_bands(scale: Tensor) -> Tensor:
    """Repeat a scale per channel, (N, C, h, w), for the three bands of details."""
    return scale if scale.shape[1] == 1 else scale.repeat(1, 3, 1, 1)


class LocalDenoiser(Trunk, Denoiser):
    """Denoiser of images whose pixels it sees through a window, told the noise level.

    In the pixel domain it is what multi-scale priors are compared with: it differs from
    `LocalConditional` in having no low-pass image beside it, and in nothing else.

    Args:
        channels: C of the images.
        receptive_field: odd, from 5 to `2 * blocks + 5`.
        width: channels between.
        blocks: residual blocks, each a 3x3 (or 1x1) and a 1x1 convolution.
        sigma_data: root mean square of the centred images.
        least_sigma: level below which it has learnt nothing. What it computes is that of this level
            then, and counts the less the less noise there is.

    Examples:
        >>> from scalewise.networks import LocalDenoiser
        >>> prior = scalewise.MultiScalePrior(LocalDenoiser(channels=1, width=16))  # of pixels
        >>> prior.levels, prior.denoise(torch.rand(1, 1, 20, 30), 0.1).shape
        (0, torch.Size([1, 1, 20, 30]))
    """

    noise_conditional = True
    mean: Tensor

    def __init__(
        self,
        channels: int,
        receptive_field: int = 13,
        *,
        width: int = 64,
        blocks: int = 4,
        sigma_data: float = 0.25,
        least_sigma: float = 0.0,
    ) -> None:
        super().__init__(
            channels,
            receptive_field,
            width=width,
            blocks=blocks,
            sigma_data=sigma_data,
            least_sigma=least_sigma,
            in_multiple=1,
            out_multiple=1,
            conditioning=NOISE_FEATURES,
        )
        self.register_buffer("mean", torch.full((channels, 1, 1), 0.5))

    def forward(self, noisy: Tensor, sigma: Sigma | None = None) -> Tensor:
        """Denoise images (N, C, H, W), told `sigma`; see `Denoiser.forward`."""
        sigma = overall(per_image(self.need(sigma), noisy))
        skip, out, inside = precondition(sigma, self.sigma_data)
        centred = noisy - self.mean
        level = noise_features(sigma, self.sigma_data, self.least_sigma)
        return self.mean + skip * centred + out * self._trunk(inside * centred, level)

    @property
    def sigma_range(self) -> tuple[float, float]:
        """From noise that hides everything to noise that nobody sees."""
        return 40 * self.sigma_data, 0.005 * self.sigma_data

    def prior_mean(self, size: tuple[int, int]) -> Tensor:
        """The mean colour, shape (1, C, H, W).

        Examples:
            >>> from scalewise.networks import LocalDenoiser
            >>> LocalDenoiser(channels=3, width=8).prior_mean((16, 16)).shape
            torch.Size([1, 3, 16, 16])
        """
        return self.mean.expand(-1, *size).unsqueeze(0)

    def set_mean(self, mean: Tensor) -> None:
        """Learn the mean colour, that of the mean (C, H, W) of the training images.

        Examples:
            >>> from scalewise.networks import LocalDenoiser
            >>> network = LocalDenoiser(channels=1, width=8)
            >>> network.set_mean(torch.full((1, 16, 16), 0.25))
            >>> network.prior_mean((4, 4)).unique()
            tensor([0.2500])
        """
        self.mean.copy_(mean.mean(dim=(1, 2), keepdim=True))


class ModulatedBlock(nn.Module):
    """Residual block whose hidden features are scaled and shifted by what the noise level says."""

    def __init__(self, width: int, kernel: int) -> None:
        super().__init__()
        self.spatial = convolution(width, width, kernel)
        self.pointwise = convolution(width, width, 1)
        with torch.no_grad():
            self.pointwise.weight.mul_(0.5)

    def forward(self, features: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
        """Map (N, width, h, w) to the same shape."""
        hidden = torch.relu(self.spatial(features) * (1 + scale) + shift)
        return features + self.pointwise(hidden)

    def stage(self, scale: Tensor, shift: Tensor) -> strips.Residual:
        """The fast form, told (N, width, 1, 1) each, or (1, width, 1, 1) for all images."""
        first = strips.modulated(self.spatial, 1 + scale, shift)
        return strips.Residual(first, strips.Layer(self.pointwise.weight, self.pointwise.bias))

"""A small U-Net with a global receptive field, for the low-pass image.

It is told the noise level and works on data centred on their mean image: a homogeneous network
cannot know how bright images are (`docs/architecture.md`, "The low-pass prior"). Skip and output
scales are those of Karras et al., "Elucidating the design space of diffusion-based generative
models", NeurIPS 2022, table 1.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scalewise import processes
from scalewise.networks.base import (
    NOISE_FEATURES,
    Denoiser,
    noise_features,
    overall,
    precondition,
    relative,
    transformed,
)
from scalewise.score import Sigma, per_image


class UNet(Denoiser):
    """Denoiser of low-pass images, told `sigma`, of global receptive field.

    Args:
        channels: C of the images.
        size: height and width of the images that it learns, which `sample` draws.
        width: channels of the finest scale; coarser ones have `width * m` for `m` in `multiples`.
        multiples: one entry per scale, finest first; each scale halves the image.
        blocks: residual blocks per scale on the way down (one more on the way up).
        sigma_data: root mean square of the centred images.
        dropout: share of hidden features left out in training, lest few images be learnt by heart.
        noise_maps: see how noise differs between channels and places, beside its overall level.
        least_sigma: level below which it has learnt nothing. What it computes is that of this level
            then, and counts the less the less noise there is.

    Examples:
        >>> from scalewise.networks import UNet
        >>> network = UNet(channels=3, size=(16, 16), width=16)
        >>> network(torch.rand(2, 3, 16, 16), torch.tensor([0.1, 0.5])).shape
        torch.Size([2, 3, 16, 16])
    """

    receptive_field = None
    noise_conditional = True
    mean: Tensor

    def __init__(
        self,
        channels: int,
        size: tuple[int, int],
        *,
        width: int = 48,
        multiples: tuple[int, ...] = (1, 2, 2),
        blocks: int = 2,
        sigma_data: float = 0.25,
        dropout: float = 0.0,
        noise_maps: bool = False,
        least_sigma: float = 0.0,
    ) -> None:
        super().__init__(
            channels=channels,
            size=list(size),
            width=width,
            multiples=list(multiples),
            blocks=blocks,
            sigma_data=sigma_data,
            dropout=dropout,
            noise_maps=noise_maps,
            least_sigma=least_sigma,
        )
        self.sigma_data, self.least_sigma = sigma_data, least_sigma
        self.noise_maps = noise_maps
        self.register_buffer("mean", torch.full((channels, *size), 0.5))
        embedding = 4 * width
        self.embed = nn.Sequential(
            nn.Linear(NOISE_FEATURES, embedding),
            nn.SiLU(),
            nn.Linear(embedding, embedding),
            nn.SiLU(),
        )
        widths = [width * m for m in multiples]
        self.enter = nn.Conv2d(channels * (1 + noise_maps), width, 3, padding=1)
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        skips, now = [width], width
        for scale, wide in enumerate(widths):
            for _ in range(blocks):
                self.down.append(ResidualBlock(now, wide, embedding, dropout))
                now = wide
                skips.append(now)
            if scale + 1 < len(widths):
                self.down.append(nn.AvgPool2d(2))
                skips.append(now)
        self.middle = ResidualBlock(now, now, embedding, dropout)
        self.attention = SelfAttention(now)
        self.middle_out = ResidualBlock(now, now, embedding, dropout)
        for scale, wide in reversed(list(enumerate(widths))):
            for _ in range(blocks + 1):
                self.up.append(ResidualBlock(now + skips.pop(), wide, embedding, dropout))
                now = wide
            if scale > 0:
                self.up.append(nn.Upsample(scale_factor=2, mode="nearest"))
        self.leave = nn.Sequential(_norm(now), nn.SiLU(), _zero(nn.Conv2d(now, channels, 3, 1, 1)))
        self.stride = 2 ** (len(widths) - 1)

    def forward(self, noisy: Tensor, sigma: Sigma | None = None) -> Tensor:
        """Denoise images.

        Args:
            noisy: shape (N, C, H, W), any H and W.
            sigma: noise standard deviation in the units of `noisy`; a number, shape (N,), or a map
                that broadcasts over `noisy`.

        Returns:
            The least-squares estimate of the clean images, same shape.
        """
        sigma = per_image(self.need(sigma), noisy)
        height, width = noisy.shape[-2:]
        mean, level = self.prior_mean((height, width)), overall(sigma)
        skip, out, inside = precondition(sigma if self.noise_maps else level, self.sigma_data)
        centred = noisy - mean
        seen = inside * centred
        if self.noise_maps:
            seen = torch.cat([seen, relative(sigma, level, noisy)], dim=1)
        correction = self._network(seen, level.expand(noisy.shape[0], 1, 1, 1))
        return mean + skip * centred + out * correction

    @property
    def sigma_range(self) -> tuple[float, float]:
        """From noise that hides everything to noise that nobody sees."""
        return 40 * self.sigma_data, 0.005 * self.sigma_data

    @property
    def of_whole_images(self) -> bool:
        """Whether its mean is an image, while that of crops from anywhere is one colour."""
        return bool((self.mean != self.mean[:, :1, :1]).any())

    def prior_mean(self, size: tuple[int, int]) -> Tensor:
        """Mean of the training images, resized where another size than theirs is asked for.

        Args:
            size: height and width.

        Returns:
            Shape (1, C, H, W).

        Examples:
            >>> from scalewise.networks import UNet
            >>> UNet(channels=3, size=(16, 16), width=16).prior_mean((20, 24)).shape
            torch.Size([1, 3, 20, 24])
        """
        if tuple(size) == self.size:
            return self.mean[None]
        resized = F.interpolate(self.mean[None], size, mode="bilinear", align_corners=False)
        return resized

    def set_mean(self, mean: Tensor) -> None:
        """Learn the mean of the training images, shape (C, H, W).

        Examples:
            >>> from scalewise.networks import UNet
            >>> network = UNet(channels=1, size=(16, 16), width=16)
            >>> network.set_mean(torch.full((1, 16, 16), 0.25))
            >>> network.prior_mean((16, 16)).unique()
            tensor([0.2500])
        """
        self.mean.copy_(mean)

    def _network(self, centred: Tensor, sigma: Tensor) -> Tensor:
        height, width = centred.shape[-2:]
        pad = (0, -width % self.stride, 0, -height % self.stride)
        features = self.enter(F.pad(centred, pad, mode="replicate") if any(pad) else centred)
        level = self.embed(noise_features(sigma, self.sigma_data, self.least_sigma))
        skips = [features]
        for layer in self.down:
            features = (
                layer(features, level) if isinstance(layer, ResidualBlock) else layer(features)
            )
            skips.append(features)
        features = self.middle_out(self.attention(self.middle(features, level)), level)
        for layer in self.up:
            if isinstance(layer, ResidualBlock):
                features = layer(torch.cat([features, skips.pop()], dim=1), level)
            else:
                features = layer(features)
        return self.leave(features)[..., :height, :width]


class ResidualBlock(nn.Module):
    """Two convolutions with group normalisation, scaled and shifted by the noise level."""

    def __init__(self, inputs: int, outputs: int, embedding: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.dropout = dropout
        self.norm1, self.conv1 = _norm(inputs), nn.Conv2d(inputs, outputs, 3, padding=1)
        self.modulate = nn.Linear(embedding, 2 * outputs)
        self.norm2, self.conv2 = _norm(outputs), _zero(nn.Conv2d(outputs, outputs, 3, padding=1))
        self.skip = nn.Conv2d(inputs, outputs, 1) if inputs != outputs else nn.Identity()

    def forward(self, features: Tensor, level: Tensor) -> Tensor:
        """Map (N, inputs, H, W) and the embedded noise level to (N, outputs, H, W)."""
        scale, shift = self.modulate(level)[:, :, None, None].chunk(2, dim=1)
        inner = self.conv1(F.silu(self.norm1(features)))
        inner = F.silu(self.norm2(inner) * (1 + scale) + shift)
        if self.training:
            inner = processes.dropout(inner, self.dropout)
        inner = self.conv2(inner)
        return self.skip(features) + inner


class SelfAttention(nn.Module):
    """Single-head attention over all positions of the coarsest scale."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm, self.qkv = _norm(channels), nn.Conv2d(channels, 3 * channels, 1)
        self.out = _zero(nn.Conv2d(channels, channels, 1))

    def forward(self, features: Tensor) -> Tensor:
        """Return `features` plus what the attention adds; same shape."""
        sequence = self.qkv(self.norm(features)).flatten(2).transpose(1, 2)
        query, key, value = sequence[:, None].chunk(3, dim=-1)  # one head: fused only with its axis
        if transformed():  # the fused form has no forward derivative
            weights = (query @ key.transpose(-1, -2) * key.shape[-1] ** -0.5).softmax(dim=-1)
            mixed = (weights @ value)[:, 0].transpose(1, 2)
        else:
            mixed = F.scaled_dot_product_attention(query, key, value)[:, 0].transpose(1, 2)
        return features + self.out(mixed.reshape_as(features))


class GroupNorm(nn.GroupNorm):
    """PyTorch's, also under `torch.func.vmap`, which its fused form does not know."""

    def forward(self, features: Tensor) -> Tensor:
        """Normalise each group of channels of (N, C, H, W)."""
        if not transformed():
            return super().forward(features)
        groups = features.unflatten(1, (self.num_groups, -1))
        variance, mean = torch.var_mean(groups, dim=(2, 3, 4), correction=0, keepdim=True)
        normed = ((groups - mean) * (variance + self.eps).rsqrt()).flatten(1, 2)
        return normed * self.weight[:, None, None] + self.bias[:, None, None]


def _norm(channels: int) -> nn.GroupNorm:
    """Normalise at most eight groups of at least two channels, so that 1x1 images have a spread."""
    groups = math.gcd(8, channels)
    return GroupNorm(groups if groups < channels else max(1, channels // 2), channels)


def _zero(layer: nn.Conv2d) -> nn.Conv2d:
    """Start a layer at zero, so that a residual branch begins as the identity."""
    nn.init.zeros_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer

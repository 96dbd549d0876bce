"""The published networks as written: the baseline that everything is measured against.

Convolutions without bias in a row, each but the first and last followed by division by a stored
deviation, multiplication by a gain, and ReLU (Mohan et al., ICLR 2020; Kadkhodaie et al., ICLR
2023), with nothing folded, fused or reordered. The weights have the default memory format, and
images go through one at a time. The network returns the noise: `denoised = noisy - network(noisy)`.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TypeVar

import torch
from torch import Tensor, nn

from scalewise.networks import BiasFreeConditional, BiasFreeDenoiser, spread_kernels
from scalewise.networks.bias_free import BiasFreeNorm

WIDTH = 64
DEPTH = 21
"""Convolutions of a network of details; that of the low-pass image has one less, all 3x3."""

CALLS = (5359, 73, 92, 75)
"""Network calls of one published 320x320 sample: low-pass image, then details, coarse to fine."""


Net = TypeVar("Net", BiasFreeConditional, BiasFreeDenoiser)


class PublishedNorm(nn.Module):
    """Division by the deviation of each channel, then multiplication by its gain.

    In training the deviation is that of the batch, and a running mean of it is stored; evaluation
    divides by the stored one.
    """

    running_sd: Tensor

    def __init__(self, channels: int, momentum: float = 0.1, epsilon: float = 1e-5) -> None:
        super().__init__()
        self.gammas = nn.Parameter(torch.ones(1, channels, 1, 1))
        self.register_buffer("running_sd", torch.ones(1, channels, 1, 1))
        self.momentum, self.epsilon = momentum, epsilon

    def forward(self, features: Tensor) -> Tensor:
        """Normalise (N, channels, H, W)."""
        sd = self.running_sd
        if self.training:
            variance = features.var(dim=(0, 2, 3), keepdim=True, unbiased=False)
            sd = torch.sqrt(variance + self.epsilon)
            kept = (1 - self.momentum) * self.running_sd
            self.running_sd = kept + self.momentum * sd.detach()
        return features / sd * self.gammas


class PublishedNetwork(nn.Module):
    """A network of the published form; it returns the noise that it finds.

    Args:
        inputs: channels in.
        outputs: channels out.
        kernels: sides (3 or 1) of the convolutions.
        width: channels between.
    """

    def __init__(self, inputs: int, outputs: int, kernels: list[int], width: int = WIDTH) -> None:
        super().__init__()
        widths = [inputs] + [width] * (len(kernels) - 1) + [outputs]
        self.convolutions = nn.ModuleList(
            nn.Conv2d(before, after, kernel, padding=kernel // 2, bias=False)
            for (before, after), kernel in zip(pairwise(widths), kernels, strict=True)
        )
        self.norms = nn.ModuleList(PublishedNorm(width) for _ in kernels[2:])

    def forward(self, features: Tensor) -> Tensor:
        """Map (N, inputs, H, W) to (N, outputs, H, W)."""
        first, *middle, last = self.convolutions
        features = first(features)
        for convolution, norm in zip(middle, self.norms, strict=True):
            features = torch.relu(norm(convolution(features)))
        return last(features)


def details_network(
    channels: int, receptive_field: int, width: int = WIDTH, depth: int = DEPTH, seed: int = 0
) -> BiasFreeConditional:
    """Make our network of one level's details, of the published shape, with random weights."""
    network = BiasFreeConditional(channels, spread_kernels(receptive_field, depth), width=width)
    return _randomised(network, seed)


def low_network(
    channels: int, size: tuple[int, int], width: int = WIDTH, depth: int = DEPTH, seed: int = 0
) -> BiasFreeDenoiser:
    """Make our network of the low-pass image, of the published shape, with random weights."""
    return _randomised(BiasFreeDenoiser(channels, [3] * (depth - 1), width=width, size=size), seed)


def published_form(network: BiasFreeConditional | BiasFreeDenoiser) -> PublishedNetwork:
    """Make the published form of one of our networks, with copies of its weights.

    Its input is what ours is given, low-pass image first: (N, 4C, h, w) of details, or images.
    """
    convolutions = [layer for layer in network.trunk if isinstance(layer, nn.Conv2d)]
    norms = [layer for layer in network.trunk if isinstance(layer, BiasFreeNorm)]
    kernels = [layer.kernel_size[0] for layer in convolutions]
    inputs, outputs = convolutions[0].in_channels, convolutions[-1].out_channels
    copy = PublishedNetwork(inputs, outputs, kernels, convolutions[0].out_channels)
    for to, layer in zip(copy.convolutions, convolutions, strict=True):
        to.load_state_dict(layer.state_dict())
    for to, norm in zip(copy.norms, norms, strict=True):
        stored = {"gammas": norm.gain, "running_sd": norm.running_sd}
        to.load_state_dict({name: value[None, :, None, None] for name, value in stored.items()})
    return copy.train(network.training)


def flops_per_position(network: nn.Module) -> int:
    """Operations of a network's convolutions at one position: two per weight."""
    convolutions = [layer for layer in network.modules() if isinstance(layer, nn.Conv2d)]
    return 2 * sum(layer.weight.numel() for layer in convolutions)


def _randomised(network: Net, seed: int) -> Net:
    """Draw weights, gains and deviations; the network finds little noise, so sampling is tame."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for layer in network.trunk:
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu", generator=generator)
                last = layer
            elif isinstance(layer, BiasFreeNorm):
                layer.gain.uniform_(0.8, 1.25, generator=generator)
                layer.running_sd.uniform_(0.8, 1.25, generator=generator)
        last.weight.mul_(0.1)
    return network.eval()

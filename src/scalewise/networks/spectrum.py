"""What noise is like at every scale, learnt: from statistics of an image to deviations."""

from __future__ import annotations

import torch
from torch import Tensor, nn

SCALES = 3
"""Scales whose noise is told."""

FAINT = 0.2 / 255
"""Deviation that is added to all others before their logarithm is taken."""

FARTHEST = 4.0
"""Standardised statistics beyond which, in either direction, they count as that."""

ERRORS = (-6.0, 3.0)
"""Logarithms of the least and the largest error that is told."""


def count_of(channels: int) -> int:
    """How many statistics of an image of so many channels there are, first guesses among them."""
    planes, pairs = (1, 0) if channels == 1 else (2 * channels + 1, channels)
    return 4 + SCALES * (10 * planes + pairs + channels)


class SpectrumNetwork(nn.Module):
    """Corrects a first guess of the noise of every scale and channel by statistics of the image.

    Two hidden layers; the last one also says by how much the answer may be wrong, as the absolute
    errors of a Laplacian law, of which training maximises the likelihood.

    Args:
        channels: C of the images, 1 or 3.
        width: of the hidden layers.
        dropout: share of their values that training leaves out.

    Examples:
        >>> from scalewise.networks.spectrum import SpectrumNetwork, count_of
        >>> network = SpectrumNetwork(1, width=8).eval()
        >>> levels, errors = network(torch.zeros(2, count_of(1) - 3), torch.zeros(2, 3, 1))
        >>> levels.shape, errors.shape
        (torch.Size([2, 3, 1]), torch.Size([2, 3, 1]))
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, channels: int, width: int = 64, dropout: float = 0.15) -> None:
        super().__init__()
        self.channels, self.shape = channels, (SCALES, channels)
        count = count_of(channels)
        self.register_buffer("mean", torch.zeros(count))
        self.register_buffer("scale", torch.ones(count))
        layers: list[nn.Module] = []
        for inputs in (count, width):
            layers += [nn.Linear(inputs, width), nn.SiLU(), nn.Dropout(dropout)]
        self.layers = nn.Sequential(*layers, nn.Linear(width, 2 * SCALES * channels))

    def forward(self, statistics: Tensor, guess: Tensor) -> tuple[Tensor, Tensor]:
        """Logarithms of deviations, and of their errors.

        Args:
            statistics: shape (N, M), as `scalewise.spectrum.statistics` finds them.
            guess: logarithms of deviations at every scale and channel, `FAINT` added, shape
                (N, 3, C).

        Returns:
            The same of what they are, and logarithms of the expected absolute error of that, of
            shape (N, 3, C) both.
        """
        known = torch.cat([statistics, guess.flatten(1)], dim=1)
        seen = ((known - self.mean) / self.scale).clamp(-FARTHEST, FARTHEST)
        change, errors = self.layers(seen).unflatten(1, (2, *self.shape)).unbind(1)
        return guess + change, errors.clamp(*ERRORS)

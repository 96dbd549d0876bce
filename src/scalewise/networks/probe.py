"""The true receptive field of a network, found by gradients."""

from __future__ import annotations

from copy import deepcopy

import torch
from torch import Tensor

from scalewise.networks.base import ConditionalDenoiser, Network


def probe_receptive_field(network: Network, *, largest: int = 257) -> int | None:
    """Find the side of the square of inputs that one output truly depends on.

    The output at the centre, all channels together, is differentiated with respect to every input
    (noisy details, low-pass image and its measurement alike), in float64, for a copy of the
    network with random weights: what counts is the structure, and neither a weight that happens
    to be zero nor two paths that cancel can hide a part of it. The input grows until the field no
    longer touches its border.

    Args:
        network: any network; it is not changed.
        largest: side of the largest input tried, in pixels.

    Returns:
        The side, in pixels of the network's own scale; None if the network declares a global
        field, or the field is larger than `largest`.

    Examples:
        >>> from scalewise.networks import LocalConditional, probe_receptive_field
        >>> probe_receptive_field(LocalConditional(channels=1, receptive_field=9, width=8))
        9
    """
    if network.receptive_field is None:
        return None
    generator = torch.Generator().manual_seed(0)
    copy = deepcopy(network).to("cpu", torch.float64).eval()
    side = min(network.receptive_field + 4, largest)
    while True:
        seen = torch.stack([_influence(copy, side, generator) for _ in range(3)]).sum(0)
        if seen[1:-1, 1:-1].count_nonzero() == seen.count_nonzero():
            return _bounding_side(seen)
        if side == largest:
            return None
        side = min(2 * side + 1, largest)


def _influence(network: Network, side: int, generator: torch.Generator) -> Tensor:
    """Sizes of the gradients of the central outputs, summed over channels: (side, side)."""
    _randomise(network, generator)

    def random(channels: int) -> Tensor:
        shape = (1, channels, side, side)
        return torch.rand(shape, generator=generator, dtype=torch.float64).requires_grad_()

    channels, sigma = network.channels, 0.1
    if isinstance(network, ConditionalDenoiser):
        inputs = [random(3 * channels), random(channels), random(channels)]
        outputs = torch.cat(network(inputs[0], inputs[1], sigma, inputs[2]), dim=1)
    else:
        inputs = [random(channels)]
        outputs = network(inputs[0], sigma)
    central = outputs[0, :, side // 2, side // 2]
    weights = torch.randn(central.shape, generator=generator, dtype=torch.float64)
    gradients = torch.autograd.grad(central @ weights, inputs, allow_unused=True)
    return torch.stack([g.abs().sum((0, 1)) for g in gradients if g is not None]).sum(0)


@torch.no_grad()
def _randomise(network: Network, generator: torch.Generator) -> None:
    """Give every weight a random value that keeps signals near unit size."""
    for parameter in network.parameters():
        values = torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)
        if parameter.ndim > 1:
            parameter.copy_(values * (2 / parameter[0].numel()) ** 0.5)
        else:
            parameter.copy_(1 + 0.1 * values)


def _bounding_side(seen: Tensor) -> int:
    """Side of the smallest square that holds all nonzero entries."""
    rows, columns = seen.nonzero(as_tuple=True)
    if len(rows) == 0:
        return 0
    return int(max(rows.max() - rows.min(), columns.max() - columns.min())) + 1

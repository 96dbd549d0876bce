"""Local networks on images that tile the plane, exactly."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from scalewise.networks.base import Network


def wrapped(fields: Tensor, reach: int) -> Tensor:
    """Give fields (N, C, H, W) what lies around them, where they repeat: `reach` on every side.

    Examples:
        >>> from scalewise.networks.torus import wrapped
        >>> wrapped(torch.arange(3.0).view(1, 1, 1, 3), 2)[0, 0, 0]
        tensor([1., 2., 0., 1., 2., 0., 1.])
    """
    for axis in (-2, -1):
        size = fields.shape[axis]
        places = torch.arange(-reach, size + reach, device=fields.device) % size
        fields = fields.index_select(axis, places)
    return fields


def on_torus(network: Network, function: Callable[..., Any]) -> Callable[..., Any]:
    """A function of a local network as if what it is given went on beyond every border.

    The network sees its inputs with as much around them as its receptive field reaches, and what it
    makes of that is cut off again, so no zero beyond a border counts: the result is that of
    periodic convolutions, at every call anew.

    Args:
        network: of bounded receptive field.
        function: takes fields (N, C, H, W) of one size, and numbers, and calls the network once;
            gives one field of that size, or a number.

    Examples:
        >>> from scalewise.networks import LocalDenoiser
        >>> from scalewise.networks.torus import on_torus
        >>> network, noisy = LocalDenoiser(channels=1, width=8), torch.rand(1, 1, 8, 8)
        >>> rolled = on_torus(network, network)(noisy.roll(3, -1), 0.1)
        >>> torch.allclose(rolled, on_torus(network, network)(noisy, 0.1).roll(3, -1), atol=1e-6)
        True
    """
    reach = (network.receptive_field or 1) // 2

    def call(*inputs: Any) -> Any:
        seen = [wrapped(x, reach) if isinstance(x, Tensor) and x.ndim == 4 else x for x in inputs]
        found = function(*seen)
        if not isinstance(found, Tensor):
            return found
        height, width = found.shape[-2] - 2 * reach, found.shape[-1] - 2 * reach
        return found[..., reach : reach + height, reach : reach + width]

    return call

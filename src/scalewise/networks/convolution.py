"""Plain convolutions in a row: their receptive field, and how they begin."""

from __future__ import annotations

from torch import nn

from scalewise.errors import UsageError


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


def convolution(inputs: int, outputs: int, kernel: int, bias: bool = True) -> nn.Conv2d:
    """Make a convolution that keeps the size, with weights drawn for ReLU (He et al. 2015)."""
    layer = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=bias)
    if not layer.weight.is_meta:  # drawing nothing there imports PyTorch's compiler, for seconds
        nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer

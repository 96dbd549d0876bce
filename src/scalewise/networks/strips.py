"""The fast form of local convolutional networks on a CPU: the values of the plain form, in cache.

Layer after layer, the features of a large image leave the cache before the next layer reads them.
Here a strip of rows goes through all layers while it is in cache. A layer of side 3 keeps the last
two rows that it was given until those below them come, so no row is computed twice, and only the
image's own borders are padded. Wide images are cut into columns, with a margin of the receptive
field's radius. Beside input and output, the features of a few strips are all that is held.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from itertools import pairwise
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.forward_ad import unpack_dual

from scalewise.networks.base import transformed

FEATURES = 1 << 20
"""Numbers of a layer's output for one strip: 4 MiB, two of which stay in cache."""

BLOCK = 31 << 20
"""Bytes that are freed once, see `_keep_memory`: under its greatest threshold, 32 MiB."""

COLUMNS = 1024
"""Greatest width of a strip, less its margins."""

_watch: ContextVar[Callable[[int], object] | None] = ContextVar("watch", default=None)


class Layer(NamedTuple):
    """A convolution and what follows it.

    Attributes:
        weight: shape (outputs, inputs, side, side), side odd.
        bias: shape (outputs,).
        scale: factors of the channels, shape (N, outputs, 1, 1), where they differ by image.
        shift: added after that; the same shape.
        rectified: whether negative values become zero.
    """

    weight: Tensor
    bias: Tensor | None = None
    scale: Tensor | None = None
    shift: Tensor | None = None
    rectified: bool = False

    @property
    def margin(self) -> int:
        """Pixels that it looks beyond each output, in every direction."""
        return self.weight.shape[-1] // 2

    def __call__(self, features: Tensor, padding: tuple[int, int]) -> Tensor:
        """Map (N, inputs, H, W) to (N, outputs, ...), with rows and columns of zeros around."""
        features = F.conv2d(features, self.weight, self.bias, padding=padding)
        if self.scale is not None and self.shift is not None:
            features.mul_(self.scale).add_(self.shift)
        return features.relu_() if self.rectified else features


class Residual(NamedTuple):
    """Two layers, the second of side 1, whose output is added to what the first is given."""

    first: Layer
    second: Layer

    @property
    def margin(self) -> int:
        """Pixels that it looks beyond each output, in every direction."""
        return self.first.margin

    def __call__(self, features: Tensor, padding: tuple[int, int]) -> Tensor:
        """Map (N, width, H, W) to (N, width, ...)."""
        correction = self.second(self.first(features, padding), (0, 0))
        lost = self.margin - padding[0]
        return correction.add_(features[:, :, lost : features.shape[2] - lost])


Stage = Layer | Residual


def modulated(convolution: nn.Conv2d, scale: Tensor, shift: Tensor) -> Layer:
    """Scale, shift and rectify what a convolution gives; folded into it if alike for all images.

    Args:
        convolution: its padding keeps the size.
        scale: shape (N, outputs, 1, 1), or (1, outputs, 1, 1) for all.
        shift: the same shape.
    """
    weight, bias = convolution.weight, convolution.bias
    if len(scale) > 1 or bias is None:
        return Layer(weight, bias, scale, shift, rectified=True)
    folded = torch.addcmul(shift.flatten(), bias, scale.flatten())
    return Layer(weight * scale.view(-1, 1, 1, 1), folded, rectified=True)


def suits(*tensors: Tensor) -> bool:
    """Tell whether strips may be used: float32 on the CPU, and nothing differentiated.

    Convolutions may be in bfloat16, by autocast.

    Args:
        tensors: inputs and weights.
    """
    if torch.compiler.is_compiling():
        return False
    if torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu") != torch.bfloat16:
        return False
    if transformed():
        return False
    if any(t.dtype != torch.float32 or t.device.type != "cpu" or not len(t) for t in tensors):
        return False
    if any(unpack_dual(t).tangent is not None for t in tensors):
        return False
    return not (torch.is_grad_enabled() and any(t.requires_grad for t in tensors))


@contextmanager
def watched(callback: Callable[[int], object]) -> Iterator[None]:
    """Call back, in this thread, with the number of pixels of every strip that is done.

    What it raises ends the work.
    """
    token = _watch.set(callback)
    try:
        yield
    finally:
        _watch.reset(token)


def run(
    stages_of: Callable[[slice], Sequence[Stage]], images: Tensor, width: int, channels: int
) -> Tensor:
    """Pass images through a network, a few small ones or a part of a large one at a time.

    Args:
        stages_of: the stages of the network, for a slice of the images.
        images: shape (N, inputs, H, W).
        width: channels between the stages.
        channels: channels of the last stage's output.

    Returns:
        Shape (N, channels, H, W).
    """
    _keep_memory()
    pixels = max(1, FEATURES // width)
    together = max(1, pixels // images[0, 0].numel())
    outputs = images.new_empty(len(images), channels, *images.shape[-2:])
    watch = _watch.get()
    for part in _parts(len(images), together):
        stages = stages_of(part)
        for rows, columns, result in _results(stages, images[part], pixels):
            outputs[part, :, rows, columns] = result
            if watch is not None:
                watch(result[:, 0].numel())
    return outputs


@cache
def _keep_memory() -> None:
    """Have memory that was freed kept for the next strip.

    The allocator of the GNU C library gives what is free at the end of its memory back to the
    system, and new pages cost more than writing to them, until a block of some size was freed
    (`M_MMAP_THRESHOLD` in its manual). From then on it keeps up to twice as much.
    """
    torch.empty(BLOCK, dtype=torch.uint8)


def _results(
    stages: Sequence[Stage], images: Tensor, pixels: int
) -> Iterator[tuple[slice, slice, Tensor]]:
    """Rows, columns and values of the output, strip by strip."""
    margin = sum(stage.margin for stage in stages)
    for columns in _parts(images.shape[-1], COLUMNS):
        left = max(0, columns.start - margin)
        top, passes = 0, [Pass(stage) for stage in stages]
        for strip, last in _cut(images[..., left : columns.stop + margin], pixels, margin):
            result = _through(passes, strip, last)
            if result is not None:
                rows = slice(top, top + result.shape[2])
                yield rows, columns, result[..., columns.start - left : columns.stop - left]
                top = rows.stop


def _through(passes: Sequence[Pass], strip: Tensor, last: bool) -> Tensor | None:
    """Pass a strip through all stages; None where one of them still waits for rows."""
    features: Tensor | None = strip
    for each in passes:
        if features is not None:
            features = each.push(features, last)
    return features


def _cut(images: Tensor, pixels: int, margin: int) -> Iterator[tuple[Tensor, bool]]:
    """Cut images into strips of rows, from top to bottom, and tell which ends the image.

    The last one gains the margin on its way, and is cut shorter by that: memory that strips before
    it gave back would be too small for it, one layer after the other.
    """
    count, _, height, width = images.shape
    most = max(1, pixels // (count * width))
    for part in _parts(height if height <= most else height + margin, most):
        rows = slice(part.start, min(part.stop, height))
        if rows.start < height:
            strip = images[:, :, rows].contiguous(memory_format=torch.channels_last)
            yield strip, rows.stop == height


class Pass:
    """A stage on its way down an image; what comes out lags behind by its margin, but at the end.

    It keeps the last rows and nothing else of a strip, so the next takes the same memory, which is
    in cache.

    Args:
        stage: what every strip goes through.
    """

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.above: Tensor | None = None

    def push(self, strip: Tensor, last: bool) -> Tensor | None:
        """Map the next rows, (N, C, rows, W), channels last; None if they are too few."""
        margin = self.stage.margin
        if margin == 0 or (self.above is None and last):
            return self.stage(strip, (margin, margin))
        border = torch.zeros_like(strip[:, :, :1]).expand(-1, -1, margin, -1)
        above = border if self.above is None else self.above
        rows = torch.cat([above, strip, *([border] if last else [])], dim=2)
        self.above = rows[:, :, -2 * margin :].clone(memory_format=torch.channels_last)
        return self.stage(rows, (0, margin)) if rows.shape[2] > 2 * margin else None


def _parts(length: int, most: int) -> list[slice]:
    """Cut a length into parts of nearly one size, none above `most`."""
    count = -(-length // most)
    edges = [length * place // count for place in range(count + 1)]
    return [slice(*pair) for pair in pairwise(edges)]

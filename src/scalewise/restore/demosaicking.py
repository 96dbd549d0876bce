"""Pictures of the mosaics of sensors: noise and mosaic are taken away in one step."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from scalewise.checks import whole_number
from scalewise.errors import UsageError
from scalewise.images import Mosaic
from scalewise.inverse import DRAWING, STEPS, complete
from scalewise.networks import unit_of
from scalewise.noise import SAMPLES, GaussianField
from scalewise.operators import Demosaicking
from scalewise.prior import MultiScalePrior
from scalewise.restore.developing import Curve, balanced, developed
from scalewise.restore.inverting import Callback, counted
from scalewise.restore.result import Restored, difference_picture
from scalewise.restore.sensing import SensorNoise, find_sensor_noise

TILE, OVERLAP = 1024, 32
"""Side of the parts that are worked on, and how far they look beyond, in pixels."""


class Tile(NamedTuple):
    """A part of a mosaic: `whole` is looked at, of which `inside` is kept, and goes to `core`."""

    whole: tuple[slice, slice]
    inside: tuple[slice, slice]
    core: tuple[slice, slice]


@torch.no_grad()
def demosaic(
    mosaic: Mosaic,
    prior: MultiScalePrior,
    *,
    noise: SensorNoise | None = None,
    steps: int = STEPS,
    samples: int | None = None,
    balance: tuple[float, float, float] | None = None,
    exposure: float = 0.0,
    seed: int = 0,
    callback: Callback | None = None,
) -> Restored:
    """Make a picture of a mosaic of colours, without its noise.

    Camera colours are balanced, and cut where the first of them saturates. A curve like that of
    displays makes the noise of photons even; there the prior finds the three colours of each
    pixel, in tiles. Then come the way back, which is not biased, the matrix of the camera, and the
    curve of sRGB.

    Args:
        mosaic: what a sensor counted.
        prior: of three channels.
        noise: that of the sensor; None to estimate it.
        steps: of the quick way to the mean (`inverse.complete`), two calls of the networks each; 0
            for the slow way, `prior.restore`, of 224.
        samples: how many likely pictures to draw, in the slow way; None for the mean.
        balance: factors of red, green and blue instead of those of the mosaic.
        exposure: of the picture, in stops.
        seed: of the samples.
        callback: called with the share of the work that is done.

    Returns:
        16-bit pictures, upright; with several samples their deviation.

    Raises:
        UsageError: the prior is of gray images, or an argument is out of range.

    Examples:
        >>> from scalewise.images import Mosaic
        >>> mosaic = Mosaic(torch.full((32, 32), 0.2), "RGGB")
        >>> noise = scalewise.restore.SensorNoise(gain=0.001, read=0.002)
        >>> restored = scalewise.restore.demosaic(mosaic, scalewise.load("photos"), noise=noise)
        >>> restored.picture.pixels.shape, restored.picture.depth
        (torch.Size([1, 3, 32, 32]), 'uint16')
    """
    if prior.channels != 3:
        raise UsageError("a mosaic needs a model of RGB images, this one is of gray images")
    if not math.isfinite(exposure):
        raise UsageError(f"exposure must be a number of stops, found {exposure}")
    whole_number(steps, "steps", least=0)
    factors = balanced(mosaic.balance if balance is None else balance)
    found = find_sensor_noise(mosaic, prior.estimator) if noise is None else noise
    curve, operator = Curve(found, factors), Demosaicking(mosaic.pattern)
    colours = operator.A_adjoint(mosaic.values[None, None]) * factors.view(1, 3, 1, 1)
    counts = operator.A(colours).clamp(max=1)
    seen, deviation = curve.forward(counts, operator)
    clean = torch.empty(samples or 1, 3, *mosaic.values.shape)
    tiles = list(_tiles(*mosaic.values.shape))
    calls = steps if steps and samples is None else DRAWING.steps * (samples or 1)
    told = counted(callback, calls * len(tiles))
    for tile in tiles:
        origin = tile.whole[0].start, tile.whole[1].start
        part, spread = (each[(..., *tile.whole)] for each in (seen, deviation))
        if steps and samples is None:
            drawn = _completed(part, spread, prior, operator, steps, seed, origin, told)
        else:
            drawn = prior.restore(
                part, operator, spread, samples=samples, seed=seed, origin=origin, callback=told
            )
        kept = (drawn if samples is None else drawn[:, 0])[(..., *tile.inside)]
        clean[(..., *tile.core)] = kept.cpu()
    blown = -F.max_pool2d(-counts, 3, 1, 1)[0] >= 1  # with all of their neighbours
    pictures = tuple(
        developed(torch.where(blown, 1.0, curve.inverse(each)), mosaic, exposure) for each in clean
    )
    apart = torch.stack([each.pixels for each in pictures]).std(0) if len(pictures) > 1 else None
    return Restored(
        pictures,
        deviation=None if apart is None else difference_picture(pictures[0], apart),
        notes=(*mosaic.notes, found.in_words(mosaic.white - mosaic.black)),
    )


def _completed(
    seen: Tensor,
    deviation: Tensor,
    prior: MultiScalePrior,
    operator: Demosaicking,
    steps: int,
    seed: int,
    origin: tuple[int, int],
    callback: Callable[[int, Tensor, Tensor], None] | None,
) -> Tensor:
    """The quick way to the colours of a tile (1, 1, H, W)."""
    device, dtype = unit_of(prior)
    height, width = seen.shape[-2:]
    field = GaussianField(
        seed, (0,), level=SAMPLES, channels=3, size=(height, width), origin=origin
    )
    return complete(
        prior.denoise,
        seen.to(device, dtype),
        operator,
        deviation.to(device, dtype),
        lambda step: field(step).to(device, dtype),
        steps=steps,
        callback=callback,
    )


def _tiles(height: int, width: int) -> Iterator[Tile]:
    for rows in _spans(height):
        for columns in _spans(width):
            yield Tile(*zip(rows, columns, strict=True))


def _spans(size: int) -> list[tuple[slice, slice, slice]]:
    """Parts of a side: with what is around, what is kept of that, and where it goes."""
    spans = []
    for start in range(0, size, TILE):
        end = min(start + TILE, size)
        low, high = max(0, start - OVERLAP), min(size, end + OVERLAP)
        spans.append((slice(low, high), slice(start - low, end - low), slice(start, end)))
    return spans

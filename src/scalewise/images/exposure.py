"""Which stored values are black and white, where a file does not say it."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil

import numpy as np

from scalewise.images.intensities import Intensities, type_range
from scalewise.images.kinds import Array, Depth, is_float

_BITS = (8, 10, 12, 14, 16)
_POINTS, _MOST_PLANES, _MOST_CHANNELS = 200_000, 100, 16
_TAIL = 1e-4
_DIM, _FLAT = 0.4, 0.2  # least white and least span of a picture, over the range of its type
_DIM_FLOAT, _BRIGHT_FLOAT = 0.25, 1.25
_COUNTS = ("uint16", "uint32", "int16", "int32")


def find_ranges(
    planes: Array,
    depth: Depth,
    *,
    channels: Sequence[int],
    visible: Array | None = None,
    said: tuple[float, float] | None = None,
) -> tuple[Intensities, tuple[str, ...]]:
    """Find black and white, robustly: noise, hot pixels and small highlights do not move them.

    8-bit pictures have the range of their type. So have 16-bit ones, unless they are far darker
    (their white below 0.4 of it) or flatter (0.2), and floats that look like intensities in
    [0, 1]. Of others, counts of 8, 10, 12 or 14 bits are recognised by how far they go; else black
    and white are the lowest and highest values of the picture. Those are measured on medians of
    3x3 pixels, so that a picture has the same range, in its unit, with noise and without.

    Args:
        planes: stored values (P, H, W, C).
        depth: their type.
        channels: for each plane the number of its channel; all planes of one have one range, and
            all of a picture of more than 16 channels.
        visible: alpha (P, H, W); what is 0 there is not looked at. None for all.
        said: black and white of all planes, as the file says; used if the values lie about there.

    Returns:
        The range, and sentences on what was found.
    """
    if depth == "uint8":
        return type_range(depth), ()
    numbers = set(channels)
    if len(numbers) > _MOST_CHANNELS:  # pages that a program counts as channels
        channels, numbers = (0,) * len(planes), {0}
    points = _POINTS // len(numbers)
    groups = {
        number: _medians(
            planes, [i for i, n in enumerate(channels) if n == number], points, visible
        )
        for number in numbers
    }
    if said is not None and all(_within(values, said) for values in groups.values()):
        return Intensities((said[0],), (said[1],), "file"), ()
    ranges = {channel: _range(values, depth) for channel, values in sorted(groups.items())}
    ends = list(dict.fromkeys(ranges.values()))
    if ends == [_type_ends(depth)]:
        return type_range(depth), ()
    chosen = [ranges[channel] for channel in channels] if len(ends) > 1 else ends
    black, white = zip(*chosen, strict=True)
    full = max(white)
    counted = not is_float(depth) and set(black) == {0.0} and full + 1 in (2**b for b in _BITS)
    most = full if counted and float(planes.max()) <= full else None
    return Intensities(black, white, "found", most), tuple(_sentences(ranges, depth))


def _sentences(ranges: dict[int, tuple[float, float]], depth: Depth) -> list[str]:
    counts = {2.0**bits - 1: f"{bits}-bit counts" for bits in _BITS}
    same, notes = len(set(ranges.values())) == 1, []
    for channel, (black, white) in ranges.items():
        kind = counts.get(white) if black == 0 and depth in _COUNTS else None
        name = "" if same else f"channel {channel + 1}: "
        notes.append(
            f"{name}{kind or 'intensities'}: {black:.6g} to {white:.6g} taken for black to white; "
            "black and white set it"
        )
        if same:
            break
    return notes


def _type_ends(depth: Depth) -> tuple[float, float]:
    ends = type_range(depth)
    return ends.black[0], ends.white[0]


def _medians(planes: Array, chosen: Sequence[int], points: int, visible: Array | None) -> Array:
    """Medians of 3x3 pixels around a grid of points of some planes, sorted."""
    chosen = chosen[:: ceil(len(chosen) / _MOST_PLANES)]
    height, width = planes.shape[1:3]
    step = max(1, int(np.sqrt(len(chosen) * height * width / points)))
    rows, columns = (np.arange(step // 2, side, step) for side in (height, width))
    around = [
        np.ix_((rows + i).clip(0, height - 1), (columns + j).clip(0, width - 1))
        for i in (-1, 0, 1)
        for j in (-1, 0, 1)
    ]
    found = []
    for plane in chosen:
        values = np.stack([planes[plane][place] for place in around]).astype(np.float64)
        if visible is None:
            found.append(np.median(values, 0).reshape(-1))
            continue
        seen = np.stack([visible[plane][place] for place in around])[..., None] > 0
        medians = np.median(np.where(seen, values, values[4]), 0)
        found.append(medians[seen[4, ..., 0]].reshape(-1))
    return np.sort(np.concatenate(found))


def _ends(values: Array) -> tuple[float, float]:
    """Lowest and highest of sorted values, but for a tail."""
    tail = int(_TAIL * len(values))
    return float(values[tail]), float(values[-1 - tail])


def _within(values: Array, said: tuple[float, float]) -> bool:
    """Tell whether values lie about where a file says; the words of others may be stale."""
    if not len(values):
        return True
    black, white = said
    low, high = (float(values[int(share * (len(values) - 1))]) for share in (0.05, 0.95))
    margin = 4 * (white - black)
    return low >= black - margin and high <= white + margin


def _range(values: Array, depth: Depth) -> tuple[float, float]:
    """Black and white of one channel."""
    if not len(values):
        return _type_ends(depth)
    low, high = _ends(values)
    if low == high:  # one value, but for few pixels
        low, high = float(values[0]), float(values[-1])
    if is_float(depth):
        if _looks_like_intensities(values, low, high):
            return 0.0, 1.0
    elif low >= 0:
        full = _type_ends(depth)[1]
        if depth == "uint16" and (high >= _DIM * full and high - low >= _FLAT * full):
            return 0.0, full
        for bits in _BITS:
            white = 2.0**bits - 1
            if high <= white < full and high - low >= _DIM * white:
                return 0.0, white
    if low < high:
        return low, high
    return _type_ends(depth) if depth == "uint16" or 0 <= low <= 1 else (min(low, 0), max(low, 1))


def _looks_like_intensities(values: Array, low: float, high: float) -> bool:
    """Tell whether floats are intensities in [0, 1], with noise, overshoot or highlights."""
    least, bright, most = (float(values[int(q * (len(values) - 1))]) for q in (0.01, 0.95, 0.99))
    if least < -_DIM_FLOAT or high < _DIM_FLOAT:
        return False
    return high - low >= _FLAT and (most <= _BRIGHT_FLOAT or bright <= 1)

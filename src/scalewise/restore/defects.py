"""What is no noise, and no network should be asked about: dead pixels, impulses, stripes, bands."""

from __future__ import annotations

from collections.abc import Collection

import torch
import torch.nn.functional as F
from torch import Tensor

from scalewise.errors import UsageError
from scalewise.networks.estimator import spread_crops

DEFECTS = ("impulses", "stripes")
"""What can be recognised and removed."""

OUTLYING = 6.0
"""How many deviations an impulse is from the median of its neighbours, at least."""

APART, ALONE = 0.1, 0.5
"""How far an impulse is from that median, at least, and from its second nearest neighbour in value,
over that."""

IMPULSES = 0.015
"""Share of the pixels that are impulses from which an image is said to have them."""

PASSES = 3
"""Times that impulses are looked for and removed: one may hide another beside it."""

WINDOW = 9
"""Lines among which one that is a stripe stands out."""

STANDING, REPEATED, SMOOTH = 3.0, 0.6, 0.3
"""How many standard errors stripes are above noise, how alike both halves of an image are, and how
alike lines beside each other may be, as those of the picture's own shapes are."""

REDUCED = (1, 2, 3, 4, 6, 8, 12, 16, 24)
"""By how much an image is reduced across lines to see bands of several of them."""

PARTS, FEWEST = 4, 32
"""Parts along lines that show the same bands, and how many bands or so are needed to see them."""

TOGETHER, EVERYWHERE = 0.6, 0.5
"""How alike the parts are in their bands, at least, over all lines and in each half of them."""

UP_AND_DOWN = -0.15
"""How alike steps beside each other may be: shapes that go all the way turn slowly."""

PLAIN = 0.1
"""Root mean square of steps between lines from which they are what the image shows, no bands."""

CLIPPED = 3.0
"""Median deviations beyond which a step between lines counts as no more: edges of shapes."""

FINER = 3
"""How many times finer than bands are seen best their width is looked at."""

REGULAR, NEARLY = 0.3, 0.8
"""How alike steps must be a width of bands further, for that to be told; and how near the best."""


def find_defects(image: Tensor) -> list[str]:
    """Say what is wrong with an image besides noise, a sentence each.

    Args:
        image: shape (C, H, W) in [0, 1].

    Returns:
        Sentences; none where nothing is wrong.

    Examples:
        >>> image = torch.full((1, 64, 64), 0.5)
        >>> image[:, 4::8, 4::8] = 1  # one value in 64
        >>> scalewise.restore.find_defects(image)[0].split(";")[0]
        '1.6 % of the values are impulses, such as dead pixels'
    """
    found, share = [], share_of_impulses(image)
    if share > IMPULSES:
        found.append(
            f"{100 * share:.2g} % of the values are impulses, such as dead pixels; "
            "fix impulses removes them"
        )
    for axis, name in ((1, "rows"), (2, "columns")):
        if stripes(image, axis) is not None:
            found.append(f"the {name} are shifted (stripes); fix stripes removes that")
        elif width := bands(image, axis):
            found.append(
                f"the {name} are shifted in bands of {width} (banding); they are left as they are"
            )
    return found


def share_of_impulses(image: Tensor) -> float:
    """Which part of the values (C, H, W) are impulses."""
    crops = spread_crops(image)  # they are everywhere, and looking for them takes memory
    return sum(float(impulses(crop).float().mean()) for crop in crops) / len(crops)


def remove_defects(image: Tensor, kinds: Collection[str]) -> Tensor:
    """Remove defects of some kinds (`DEFECTS`) where there are any.

    Args:
        image: shape (C, H, W) in [0, 1].
        kinds: which.

    Returns:
        The image, same shape; as it was where it has no such defects.

    Raises:
        UsageError: a kind is not known.

    Examples:
        >>> image = torch.full((1, 64, 64), 0.5)
        >>> image[:, 4::8, 4::8] = 1
        >>> scalewise.restore.remove_defects(image, ["impulses"]).unique()
        tensor([0.5000])
    """
    check_defects(kinds)
    if "impulses" in kinds and min(image.shape[1:]) >= 3:
        for _ in range(PASSES):
            image = torch.where(impulses(image), _neighbours(image).median(0).values, image)
    if "stripes" in kinds:
        for axis in (1, 2):
            shifts = stripes(image, axis)
            image = image if shifts is None else image - shifts
    return image


def check_defects(kinds: Collection[str]) -> None:
    """Refuse kinds of defects that are not known.

    Raises:
        UsageError: one is not.
    """
    for kind in kinds:
        if kind not in DEFECTS:
            raise UsageError(f"fix must name {' or '.join(DEFECTS)}, found {kind!r}")


def impulses(image: Tensor) -> Tensor:
    """Values far from those around them: bool of shape (C, H, W).

    A value counts that is farther from the median of its eight neighbours than `APART`, and than
    `OUTLYING` times both the noise of the image and the spread of the neighbours (medians of
    absolute deviations), and that at most one neighbour comes near: lines and lights are larger.
    """
    if min(image.shape[1:]) < 3:
        return torch.zeros_like(image, dtype=torch.bool)
    around = _neighbours(image)
    middle = around.median(0).values
    apart = (image - middle).abs()
    noise = apart.flatten(1).median(1).values.view(-1, 1, 1)
    outlying = OUTLYING * 1.4826
    found = apart > (outlying * noise).clamp(min=APART)  # few are, and the rest is slow
    there, far = around[:, found], apart[found]
    spread = (there - middle[found]).abs().median(0).values
    alone = (there - image[found]).abs().kthvalue(2, dim=0).values > ALONE * far
    found[found.clone()] = alone & (far > outlying * spread)
    return found


def stripes(image: Tensor, axis: int) -> Tensor | None:
    """What each line of an image lies above those beside it, where that is no chance.

    Args:
        image: shape (C, H, W).
        axis: 1 for rows, 2 for columns.

    Returns:
        Shifts that broadcast over the image; None where there are no stripes.
    """
    lines = image.movedim(axis, 1)  # (C, lines, along)
    if lines.shape[1] < 2 * WINDOW or lines.shape[2] < 32:
        return None
    padded = F.pad(lines.movedim(1, 2), (WINDOW // 2, WINDOW // 2), "replicate")
    apart = lines - F.avg_pool1d(padded, WINDOW, 1).movedim(2, 1)
    half = apart.shape[2] // 2
    first, second = apart[..., :half].median(2).values, apart[..., half:].median(2).values
    shifts = apart.median(2).values
    deviation = 1.4826 * (apart - shifts[..., None]).abs().median()
    error = 1.25 * deviation / apart.shape[2] ** 0.5
    alike = torch.corrcoef(torch.stack([first.flatten(), second.flatten()]))[0, 1]
    beside = torch.corrcoef(torch.stack([shifts[:, 1:].flatten(), shifts[:, :-1].flatten()]))[0, 1]
    standing = float(shifts.std()) > STANDING * float(error)
    if not (standing and float(alike) > REPEATED and float(beside) < SMOOTH):
        return None
    return shifts[..., None].movedim(1, axis)


def bands(image: Tensor, axis: int) -> int | None:
    """How many lines wide bands are that lie above or below those beside them.

    Unlike shapes they go all the way along the lines, by as much everywhere: steps between lines,
    medians along each of several parts, are alike in all parts. Slow waves are bands as well.

    Args:
        image: shape (C, H, W).
        axis: 1 for rows, 2 for columns.

    Returns:
        About their width; None where there are none, or none of one width.
    """
    lines = image.mean(0).movedim(axis - 1, 0)
    for times in REDUCED:
        if len(lines) < (FEWEST + 2) * times or lines.shape[1] < 8 * PARTS:
            return None
        seen = _reduced(lines, times)
        bent = seen[1:-1] - (seen[:-2] + seen[2:]) / 2
        steps = torch.stack([part.median(1).values for part in bent.chunk(PARTS, 1)])
        if float(steps.square().mean()) > PLAIN**2:
            continue
        most = CLIPPED * 1.4826 * steps.abs().median(1, keepdim=True).values
        steps = torch.minimum(torch.maximum(steps, -most), most)
        turning = _alike(torch.stack([steps.mean(0)[1:], steps.mean(0)[:-1]]))
        upper, lower = steps.chunk(2, 1)
        alike = _alike(steps) > TOGETHER and min(_alike(upper), _alike(lower)) > EVERYWHERE
        if alike and turning < UP_AND_DOWN:
            finer = max(1, times // FINER)
            width = _spacing(_reduced(lines, finer).diff(dim=0).median(1).values.abs())
            return None if width is None else finer * width
    return None


def _reduced(lines: Tensor, times: int) -> Tensor:
    """Means of so many lines (L, along) each."""
    return F.avg_pool2d(lines[None], (times, 1))[0]


def _alike(parts: Tensor) -> float:
    """Mean correlation of the rows of a matrix with each other; NaN where one is constant."""
    among = torch.corrcoef(parts)
    return float((among.sum() - among.trace()) / (among.numel() - len(among)))


def _spacing(steps: Tensor) -> int | None:
    """The least lag from 2 at which steps (M,) are about as like themselves as at any."""
    apart = steps - steps.mean()
    energy = float(apart.square().sum()) or 1.0
    lags = range(1, len(steps) // 3)
    alike = [float((apart[lag:] * apart[:-lag]).sum()) / energy for lag in lags]
    peaks = {
        lag: alike[lag - 1]
        for lag in lags[1:-1]
        if alike[lag - 1] > max(alike[lag - 2], alike[lag], REGULAR)
    }
    return next((lag for lag in peaks if peaks[lag] >= NEARLY * max(peaks.values())), None)


def _neighbours(image: Tensor) -> Tensor:
    """The eight values around each, shape (8, C, H, W), mirrored at the borders.

    The border itself is not repeated: a value there would be a neighbour of its own.
    """
    padded = F.pad(image[None], [1] * 4, "reflect")[0]
    height, width = image.shape[1:]
    shifts = [(y, x) for y in range(3) for x in range(3) if (y, x) != (1, 1)]
    return torch.stack([padded[:, y : y + height, x : x + width] for y, x in shifts])

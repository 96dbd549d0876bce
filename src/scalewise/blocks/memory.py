"""How large blocks may be for a run to keep to some memory."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from scalewise.device import free_memory, resident_memory
from scalewise.errors import UsageError

SIDES = (2048, 1024, 512, 256, 128, 64)
"""Sides of blocks, in pixels, that are tried."""

LARGEST = 1024
"""Side of blocks where memory does not matter: larger ones are not faster."""

SPARE = 64 << 20
"""Bytes that are left for what nobody counts."""

FINDING, MOST = 80, 240_000_000
"""Bytes for each value that is looked at to find noise and defects, and at most: more than some
million are looked at in parts."""

REDUCING, NETWORK, DRAWING, GLOBAL = 80, 48, 130, 96 << 20
"""Bytes for each pixel and channel of a block that is reduced, of one that a network passes through
once, of one that is drawn, and of the windows of a network that sees all of an image."""

FEWEST = 10**5
"""Of a number without a unit: up to here the unit was forgotten, more are bytes."""

UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}


class Cost(NamedTuple):
    """What a step takes for a block: bytes for each pixel of the block and of its margin.

    Attributes:
        margin: pixels of the step's output to each side.
        bytes: for each of those pixels.
    """

    margin: int
    bytes: int


def parse_memory(text: str | None) -> int:
    """Bytes that a run may take: of "2GB", "700MB" or "1.5 GiB"; half of what is free for None.

    Raises:
        UsageError: it is no amount of memory.
    """
    if text is None:
        free = free_memory()
        return (4 << 30) if free is None else resident_memory() + free // 2
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]?)(i?)B?\s*", text, re.IGNORECASE)
    least = 0 if found is not None and found[2] else FEWEST
    if found is None or float(found[1]) <= least:
        raise UsageError(f"--max-memory must be an amount such as 2GB or 700MB, found {text!r:.40}")
    unit = UNITS[found[2].upper()]
    if found[3]:
        unit = 1024 ** list(UNITS).index(found[2].upper())
    return int(float(found[1]) * unit)


def block_side(costs: Iterable[Cost], most: int, held: int, multiple: int, before: int = 0) -> int:
    """The largest side of blocks with which no step takes more than there is.

    Args:
        costs: of all steps.
        most: bytes that the process may have in all.
        held: bytes of what stays in memory, and is not there yet.
        multiple: of which the side must be one.
        before: bytes of what is looked at before the first block, and gone then.

    Raises:
        UsageError: not even the smallest fit.
    """
    costs = list(costs)
    left = most - resident_memory() - held - SPARE

    def needed(side: int) -> int:
        return max(cost.bytes * (side + 2 * cost.margin) ** 2 for cost in costs)

    sides = [side for side in SIDES if side % multiple == 0] or [multiple]
    fitting = [side for side in sides if side <= max(LARGEST, multiple) and needed(side) <= left]
    if not fitting or before > left + held:
        least = max(needed(sides[-1]), before - held) + most - left
        raise UsageError(
            f"--max-memory {most / 1e9:.2g}GB is too little for this model and image: at least "
            f"{least / 1e9 + 0.05:.2g}GB are needed"
        )
    return fitting[0]

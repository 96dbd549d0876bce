"""Records of an evaluation: plain values that JSON can hold, one dictionary per measurement."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from torch import Tensor

Record = dict[str, Any]
"""Names and values of one measurement."""

Callback = Callable[[Record], None]
"""Called with every record as soon as it is there."""


def means(records: Iterable[Record], *by: str) -> list[Record]:
    """Average the numbers of records that agree on some names.

    Args:
        records: measurements; values that are no numbers are left out, and so is None.
        by: names whose values tell the groups apart.

    Returns:
        One record per group, in the order of their first records: the names of `by`, the `count`
        of records, and the mean of every number.
    """
    groups: dict[tuple[Any, ...], list[Record]] = {}
    for record in records:
        groups.setdefault(tuple(record[name] for name in by), []).append(record)
    return [
        {**dict(zip(by, key, strict=True)), "count": len(group), **_mean(group, by)}
        for key, group in groups.items()
    ]


def _mean(group: list[Record], by: tuple[str, ...]) -> Record:
    names = {name: None for record in group for name in record if name not in by}
    found = {name: [r[name] for r in group if _is_number(r.get(name))] for name in names}
    return {name: sum(values) / len(values) for name, values in found.items() if values}


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def crop_to_multiple(image: Tensor, multiple: int) -> Tensor:
    """Cut the last rows and columns of (..., H, W) so that `multiple` divides both sides."""
    height, width = image.shape[-2:]
    return image[..., : height - height % multiple, : width - width % multiple]

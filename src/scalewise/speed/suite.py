"""All measurements in one run."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any, Protocol, cast

from pydantic import TypeAdapter

from scalewise import store
from scalewise.data import sample_photo
from scalewise.device import pick_device
from scalewise.speed.agreement import Agreement, best_precision, measure_agreement
from scalewise.speed.forward import Forward, measure_forward
from scalewise.speed.layout import Row
from scalewise.speed.machine import Limits, Setting, facts, limits, rounded
from scalewise.speed.pixels import SMALL, PerPixel, measure_pixels
from scalewise.speed.sampling import Sampling, measure_sampling
from scalewise.speed.start import Packaged, Start, measure_packaged, measure_start
from scalewise.speed.timing import Clock
from scalewise.speed.training import Training, measure_training


class Record(Protocol):
    """What was measured, a frozen dataclass of plain JSON values."""

    def rows(self) -> Iterator[Row]:
        """Lay it out as rows of `HEAD`."""
        ...


Measure = Callable[[Setting], Record]


@dataclass(frozen=True)
class Scope:
    """What is measured, and how often.

    Attributes:
        name: of the scope.
        parts: by the names of the JSON, one measurement or several.
        turns, least, patience, burst: see `Clock`.
        budget: seconds after which every work has one turn, for machines that are slow or busy.
    """

    name: str
    parts: Mapping[str, Measure | Sequence[Measure]]
    turns: int = 5
    least: int = 2
    patience: float = 8.0
    burst: float = 0.2
    budget: float = 110.0


SIDES = (128, 256, 512, 1024, 2048, 4096)

QUICK = Scope(
    "quick",
    {
        "forward_512": measure_forward,
        "sample_320": measure_sampling,
        "training": measure_training,
        "per_pixel": partial(measure_pixels, sides=SIDES[:3]),
        "packaged": measure_packaged,
        "start": measure_start,
    },
)
FULL = Scope(
    "full",
    {
        **QUICK.parts,
        "per_pixel": partial(measure_pixels, sides=SIDES),
        "forward": [
            partial(measure_forward, receptive_field=field, side=side)
            for field in (5, 9, 13, 23, 43)
            for side in (40, 160, 512)
        ],
        "sampling": [
            partial(measure_sampling, batch=batch, channels=channels)
            for channels in (1, 3)
            for batch in (1, 8, 32)
        ],
        "faces": [partial(measure_packaged, batch=batch) for batch in (1, 8, 32)],
        "training_wider": [partial(measure_training, receptive_field=field) for field in (23, 43)],
        "per_pixel_small": partial(measure_pixels, sides=SIDES, model=SMALL, pixels=1 << 20),
    },
    turns=7,
    least=3,
    patience=30.0,
    budget=math.inf,
)

RECORDS: dict[str, type[Record]] = {
    "limits": Limits,
    "agreement": Agreement,
    "forward_512": Forward,
    "forward": Forward,
    "sample_320": Sampling,
    "sampling": Sampling,
    "training": Training,
    "training_wider": Training,
    "per_pixel": PerPixel,
    "per_pixel_small": PerPixel,
    "packaged": Packaged,
    "faces": Packaged,
    "start": Start,
}
"""The kinds of records, by the names of the JSON, in the order in which they are shown."""


def rows(content: Mapping[str, Any]) -> list[Row]:
    """Lay out the JSON values of `run` as rows of `HEAD`; parts that are not there are left out."""
    found: list[Row] = []
    for name, kind in RECORDS.items():
        part = content.get(name, [])
        values = part if isinstance(part, list) else [part]
        for value in values:
            found += TypeAdapter(kind).validate_python(value).rows()
    return found


def run(
    scope: Scope,
    device: str = "auto",
    parts: Collection[str] | None = None,
    callback: Callable[[str, dict[str, Any]], None] | None = None,
) -> dict[str, Any]:
    """Measure.

    Off the CPU, the quality of every precision is checked first, and the fastest that holds is
    measured.

    Args:
        scope: how much.
        device: "auto", "cpu", "cuda" or "mps".
        parts: names of those to measure; all of the scope by default.
        callback: called with the name of each part once it is measured, and all that is so far.

    Returns:
        Plain JSON values: `commit`, `machine`, `versions`, `scope`, `device`, `precision`,
        `limits`, off the CPU `agreement`, and the parts.
    """
    where = pick_device(device)
    deadline = time.perf_counter() + scope.budget
    clock = Clock(where, scope.turns, scope.least, scope.patience, scope.burst, deadline)
    setting = Setting(where, clock)
    content = facts(where) | {"scope": scope.name, "device": str(where)}
    if where.type != "cpu":
        prior = store.load("photos", device="cpu")
        found = measure_agreement(prior, sample_photo()[None, :, :256, :256], where)
        setting = replace(setting, dtype=best_precision(found))
        content["agreement"] = rounded([asdict(agreement) for agreement in found])
    best = limits(setting)
    setting = replace(setting, batch=best.batch, side=best.side)
    content |= {
        "precision": str(setting.dtype).removeprefix("torch."),
        "limits": rounded(asdict(best)),
    }
    for name, part in scope.parts.items():
        if parts is None or name in parts:
            content[name] = rounded(_measured(part, setting))
            if callback:
                callback(name, content)
    return content


def _measured(part: Measure | Sequence[Measure], setting: Setting) -> Any:
    """The record or records of a part, as plain JSON values."""
    if isinstance(part, Sequence):
        return [_measured(each, setting) for each in part]
    return asdict(cast("Any", part(setting)))

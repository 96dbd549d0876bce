"""All measurements in one run."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection
from dataclasses import asdict, dataclass, replace
from typing import Any

from scalewise import store
from scalewise.data import sample_photo
from scalewise.device import pick_device
from scalewise.speed import baseline
from scalewise.speed.agreement import best_precision, measure_agreement
from scalewise.speed.forward import measure_forward
from scalewise.speed.machine import Setting, facts, limits, rounded
from scalewise.speed.pixels import SMALL, measure_pixels
from scalewise.speed.sampling import measure_sampling
from scalewise.speed.start import measure_packaged, measure_start
from scalewise.speed.timing import Clock
from scalewise.speed.training import measure_training

Record = dict[str, Any]


@dataclass(frozen=True)
class Scope:
    """How much is measured, at which sizes.

    Attributes:
        name: of the scope.
        turns, least, patience, burst: see `Clock`.
        budget: seconds after which every work has one turn, for machines that are slow or busy.
        width, depth: of networks of the published form.
        field: receptive field of `forward_512` and `training`.
        wider: receptive fields of `training_wider`.
        side: of the bands of `forward_512`.
        fields: receptive fields of `forward`.
        bands: sides of the bands of `forward`.
        size, levels: of the images of `sample_320`.
        batches: of `sampling`: of gray and of RGB images each.
        batch: of `sample_320`.
        train_batch, crop: of `training`.
        pixel_sides, pixels: of `per_pixel`, with the packaged model of photos; pixels per call.
        small_sides, small_pixels: of `per_pixel_small`, whose networks weigh little.
        photo: side of the photo that is denoised.
        models: packaged models, of photos and of faces.
        faces: faces that are drawn at a time.
    """

    name: str
    turns: int = 5
    least: int = 2
    patience: float = 8.0
    burst: float = 0.2
    budget: float = 110.0
    width: int = baseline.WIDTH
    depth: int = baseline.DEPTH
    field: int = 13
    side: int = 512
    wider: tuple[int, ...] = ()
    fields: tuple[int, ...] = ()
    bands: tuple[int, ...] = ()
    size: int = 320
    levels: int = 3
    batches: tuple[int, ...] = ()
    batch: int = 8
    train_batch: int = 16
    crop: int = 64
    pixel_sides: tuple[int, ...] = (128, 256, 512)
    pixels: int = 1 << 18
    small_sides: tuple[int, ...] = ()
    small_pixels: int = 1 << 20
    photo: int = 512
    models: tuple[str, str] = ("photos", "faces")
    faces: int = 16


QUICK = Scope("quick")
FULL = Scope(
    "full",
    turns=7,
    least=3,
    patience=30.0,
    budget=math.inf,
    wider=(23, 43),
    fields=(5, 9, 13, 23, 43),
    bands=(40, 160, 512),
    batches=(1, 8, 32),
    pixel_sides=(128, 256, 512, 1024, 2048, 4096),
    small_sides=(128, 256, 512, 1024, 2048, 4096),
)


def _forward_512(setting: Setting, scope: Scope) -> Record:
    return asdict(measure_forward(setting, scope.field, scope.side, scope.width, scope.depth))


def _sample_320(setting: Setting, scope: Scope) -> Record:
    shape = scope.levels, scope.batch, 1, scope.width, scope.depth
    return asdict(measure_sampling(setting, scope.size, *shape))


def _training(setting: Setting, scope: Scope) -> Record:
    return _training_of(scope.field, setting, scope)


def _training_wider(setting: Setting, scope: Scope) -> list[Record]:
    return [_training_of(field, setting, scope) for field in scope.wider]


def _training_of(field: int, setting: Setting, scope: Scope) -> Record:
    shape = scope.train_batch, scope.crop, field, scope.width, scope.depth
    return asdict(measure_training(setting, *shape))


def _per_pixel(setting: Setting, scope: Scope) -> Record:
    return asdict(measure_pixels(setting, scope.pixel_sides, scope.models[0], scope.pixels))


def _start(setting: Setting, scope: Scope) -> Record:
    return asdict(measure_start(setting, scope.photo, scope.models[0]))


def _packaged(setting: Setting, scope: Scope) -> Record:
    return asdict(measure_packaged(setting, scope.photo, scope.faces, scope.models))


def _forward(setting: Setting, scope: Scope) -> list[Record]:
    shapes = [(field, side) for field in scope.fields for side in scope.bands]
    return [asdict(measure_forward(setting, *s, scope.width, scope.depth)) for s in shapes]


def _sampling(setting: Setting, scope: Scope) -> list[Record]:
    shapes = [(batch, channels) for channels in (1, 3) for batch in scope.batches]
    network = scope.width, scope.depth
    return [
        asdict(measure_sampling(setting, scope.size, scope.levels, *shape, *network))
        for shape in shapes
    ]


def _faces(setting: Setting, scope: Scope) -> list[Record]:
    return [
        asdict(measure_packaged(setting, scope.photo, batch, scope.models))
        for batch in scope.batches
    ]


def _per_pixel_small(setting: Setting, scope: Scope) -> Record:
    return asdict(measure_pixels(setting, scope.small_sides, SMALL, scope.small_pixels))


PARTS: dict[str, Callable[[Setting, Scope], Any]] = {
    "forward_512": _forward_512,
    "sample_320": _sample_320,
    "training": _training,
    "per_pixel": _per_pixel,
    "packaged": _packaged,
    "start": _start,
}
"""What every run measures, by the names of the JSON."""

MORE: dict[str, Callable[[Setting, Scope], Any]] = {
    "forward": _forward,
    "sampling": _sampling,
    "faces": _faces,
    "training_wider": _training_wider,
    "per_pixel_small": _per_pixel_small,
}
"""What a full run measures besides: mostly lists of records."""


def part_names(scope: Scope) -> list[str]:
    """Names of the parts of a scope."""
    return [*PARTS, *(MORE if scope.name == FULL.name else ())]


def run(
    scope: Scope,
    device: str = "auto",
    parts: Collection[str] | None = None,
    callback: Callable[[str, Record], None] | None = None,
) -> Record:
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
        prior = store.load(scope.models[0], device="cpu")
        found = measure_agreement(prior, sample_photo()[None, :, :256, :256], where)
        setting = replace(setting, dtype=best_precision(found))
        content["agreement"] = rounded([asdict(agreement) for agreement in found])
    best = limits(setting)
    setting = replace(setting, batch=best.batch, side=best.side)
    content |= {
        "precision": str(setting.dtype).removeprefix("torch."),
        "limits": rounded(asdict(best)),
    }
    for name, measure in (PARTS | MORE).items():
        if name in (part_names(scope) if parts is None else parts):
            content[name] = rounded(measure(setting, scope))
            if callback:
                callback(name, content)
    return content

"""Time and memory per pixel, from small images to large ones."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import torch

from scalewise import store
from scalewise.networks import BiasFreeDenoiser, LocalConditional
from scalewise.prior import MultiScalePrior
from scalewise.speed import layout
from scalewise.speed.forward import ready
from scalewise.speed.layout import Row
from scalewise.speed.machine import Setting
from scalewise.speed.memory import peak_bytes
from scalewise.speed.timing import Timing, Work

TASKS = ("denoise", "upscale")
SMALL = "small"
"""The name of `small_prior`, beside those of packaged models."""


@dataclass(frozen=True)
class Size:
    """What one size of image costs.

    Attributes:
        side: height and width of the images; of the outputs, where they are upscaled.
        batch: images per call.
        seconds: of a call, divided by its pixels.
        bytes: peak memory of a call beyond what size does not change, divided by its pixels; None
            where it cannot be told.
        seconds_alone: the same as `seconds` with one image per call.
    """

    side: int
    batch: int
    seconds: float
    bytes: float | None
    seconds_alone: float


@dataclass(frozen=True)
class Task:
    """What one task costs per pixel.

    Attributes:
        spread: greatest over least seconds per pixel, less one.
        spread_bytes: the same of memory; None where it cannot be told for every size.
        sizes: from small to large.
    """

    spread: float
    spread_bytes: float | None
    sizes: list[Size]

    def rows(self, name: str, model: str) -> Iterator[Row]:
        """Lay out the record of the task `name` with `model`."""
        times = [1e6 * size.seconds for size in self.sizes]
        sides = f"{self.sizes[0].side}² to {self.sizes[-1].side}²"
        values = f"{min(times):.3g} to {max(times):.3g} µs"
        shown = f"{name} {sides}, {model} prior: time per pixel, spread"
        yield shown, values, "", layout.percent(self.spread)
        held = [size.bytes for size in self.sizes if size.bytes is not None]
        if self.spread_bytes is not None:
            values = f"{min(held):.0f} to {max(held):.0f} bytes"
            yield "  memory per pixel, spread", values, "", layout.percent(self.spread_bytes)


@dataclass(frozen=True)
class PerPixel:
    """Time and memory per pixel of both tasks.

    Attributes:
        model: `SMALL`, or a packaged model.
        spread: of seconds per pixel, the greater of the two tasks'.
        spread_bytes: of bytes per pixel, likewise.
        denoise: blind denoising.
        upscale: one sample, twice as high and wide.
    """

    model: str
    spread: float
    spread_bytes: float | None
    denoise: Task
    upscale: Task

    def rows(self) -> Iterator[Row]:
        """Lay out the record."""
        yield from self.denoise.rows("denoise", self.model)
        yield from self.upscale.rows("upscale", self.model)


def small_prior() -> MultiScalePrior:
    """Make a small local prior of RGB images, with two levels and random weights."""
    torch.manual_seed(0)
    details = [LocalConditional(3, 9, width=16, blocks=2) for _ in range(2)]
    return MultiScalePrior(BiasFreeDenoiser(3, [3, 3, 3], width=16), details)


def measure_pixels(
    setting: Setting, sides: Sequence[int], model: str = "photos", pixels: int = 1 << 18
) -> PerPixel:
    """Measure denoising and upscaling of square RGB images.

    Args:
        setting: where and how.
        sides: from small to large.
        model: `SMALL`, or the name of a packaged model.
        pixels: per call: small images go in batches, so that what a call costs in itself is the
            same for all.
    """
    prior = _prior(model, setting.device)
    tasks = [_measure_task(setting, task, sides, model, prior, pixels) for task in TASKS]
    known = [task.spread_bytes for task in tasks if task.spread_bytes is not None]
    spread = max(task.spread for task in tasks)
    return PerPixel(model, spread, max(known, default=None), *tasks)


def _measure_task(
    setting: Setting,
    task: str,
    sides: Sequence[int],
    model: str,
    prior: MultiScalePrior,
    pixels: int,
) -> Task:
    batches = {side: max(1, pixels // side**2) for side in sides}
    works: dict[str, Work] = {}
    for side, batch in batches.items():
        works[f"{side}"] = work_on(prior, task, side, batch)
        if batch > 1:
            works[f"{side} alone"] = work_on(prior, task, side, 1)
    with torch.no_grad(), setting.autocast():
        times = setting.clock.compare(works)
    sizes = [_size(setting, task, model, side, batch, times) for side, batch in batches.items()]
    seconds = [size.seconds for size in sizes]
    memory = [size.bytes or 0.0 for size in sizes]
    spread_bytes = max(memory) / min(memory) - 1 if all(memory) else None
    return Task(max(seconds) / min(seconds) - 1, spread_bytes, sizes)


def _size(
    setting: Setting, task: str, model: str, side: int, batch: int, times: dict[str, Timing]
) -> Size:
    count = batch * side**2
    together = times[f"{side}"].seconds / count
    alone = times[f"{side} alone"].seconds / side**2 if batch > 1 else together
    peak = _peak(setting, task, model, side, batch)
    return Size(side, batch, together, None if peak is None else peak / count, alone)


def work_on(prior: MultiScalePrior, task: str, side: int, batch: int) -> Work:
    """Make one call of a task on a batch of images of the given side."""
    generator = torch.Generator().manual_seed(side)
    if task == "denoise":
        return partial(prior.denoise, torch.rand(batch, 3, side, side, generator=generator))
    small = torch.rand(batch, 3, side // 2, side // 2, generator=generator)
    return partial(prior.upscale, small, 2)


def child_works(model: str, task: str, side: int, batch: int) -> tuple[Work, Work]:
    """A call on one small image, and the call whose memory is measured; both on the CPU."""
    prior = _prior(model, torch.device("cpu"))
    return work_on(prior, task, 64, 1), work_on(prior, task, side, batch)


def _peak(setting: Setting, task: str, model: str, side: int, batch: int) -> int | None:
    if setting.device.type == "cpu":
        return peak_bytes(child_works, model, task, side, batch)
    if setting.device.type != "cuda":
        return None
    prior = _prior(model, setting.device)
    before = torch.cuda.memory_allocated(setting.device)
    torch.cuda.reset_peak_memory_stats(setting.device)
    with torch.no_grad(), setting.autocast():
        work_on(prior, task, side, batch)()
    return torch.cuda.max_memory_allocated(setting.device) - before


def _prior(model: str, device: torch.device) -> MultiScalePrior:
    return ready(small_prior(), device) if model == SMALL else store.load(model, device=str(device))

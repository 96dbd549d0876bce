"""One sample, beside the published procedure: its calls counted, one of each timed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from scalewise.prior import MultiScalePrior
from scalewise.speed import baseline, layout
from scalewise.speed.forward import ready
from scalewise.speed.layout import Row
from scalewise.speed.machine import Setting
from scalewise.speed.timing import Work

FIELD = 13
"""Receptive field of the published networks of details for 320x320 images."""


@dataclass(frozen=True)
class Sampling:
    """What one sample costs.

    Attributes:
        size: side of the images.
        channels: 1 for gray, 3 for RGB.
        batch: images drawn at a time by ours; the published procedure draws one.
        ratio_to_published: how many times less ours takes per image.
        seconds: of ours, per image.
        seconds_published: of the published procedure, per image.
        spread: of ours, from quartile to quartile, over the median.
        calls: of each network by our default sampler, counted.
        calls_published: of each network by the published procedure.
        seconds_per_call_published: of each network.
    """

    size: int
    channels: int
    batch: int
    ratio_to_published: float
    seconds: float
    seconds_published: float
    spread: float
    calls: dict[str, int]
    calls_published: dict[str, int]
    seconds_per_call_published: dict[str, float]

    def rows(self) -> Iterator[Row]:
        """Lay out the record."""
        kind = "gray" if self.channels == 1 else "RGB"
        name = f"sample {self.size}×{self.size}, {kind}, in a batch of {self.batch}"
        yield layout.compared(name, self.seconds, self.seconds_published)
        calls = (self.calls, self.calls_published)
        ours, theirs = (" + ".join(map(str, each.values())) for each in calls)
        yield "  network calls, coarse to fine", ours, theirs, ""


def network_names(levels: int) -> list[str]:
    """Names of a prior's networks in the order in which sampling calls them."""
    return ["low", *(f"level {level}" for level in range(levels, 0, -1))]


def published_prior(
    size: int,
    levels: int,
    channels: int = 1,
    width: int = baseline.WIDTH,
    depth: int = baseline.DEPTH,
) -> MultiScalePrior:
    """Make our prior of networks of the published shapes, with random weights."""
    field = min(FIELD, 2 * depth + 1)
    low_side = size >> levels
    return MultiScalePrior(
        baseline.low_network(channels, (low_side, low_side), width, depth),
        [baseline.details_network(channels, field, width, depth, 1 + j) for j in range(levels)],
    )


@contextmanager
def counted(prior: MultiScalePrior) -> Iterator[dict[str, int]]:
    """Count the calls of each network of a prior."""
    names = network_names(prior.levels)
    networks = [prior.low, *reversed(prior.conditionals)]
    calls = dict.fromkeys(names, 0)

    def counter(name: str) -> Any:
        def count(*_: object) -> None:
            calls[name] += 1

        return count

    hooks = [
        network.register_forward_pre_hook(counter(name))
        for name, network in zip(names, networks, strict=True)
    ]
    try:
        yield calls
    finally:
        for hook in hooks:
            hook.remove()


@torch.no_grad()
def measure_sampling(
    setting: Setting,
    size: int = 320,
    levels: int = 3,
    batch: int = 8,
    channels: int = 1,
    width: int = baseline.WIDTH,
    depth: int = baseline.DEPTH,
) -> Sampling:
    """Time a batch of samples of our default sampler, and single calls of the published networks.

    The published time of an image is that of its calls (`baseline.CALLS`, those of the
    coarsest levels where there are fewer than three); its steps between the calls are not counted.
    """
    prior = published_prior(size, levels, channels, width, depth)
    works = _published_calls(prior, size, setting.device)
    ready(prior, setting.device)

    def ours(count: int = batch) -> None:
        with setting.autocast():
            prior.sample(count, size=(size, size), batch=count)

    with counted(prior) as calls:
        ours(1)
    for work in works.values():
        work()
    warm = setting.device.type != "cpu"  # where kernels are chosen or compiled for each shape
    times = setting.clock.compare({**works, "ours": ours}, warm)
    called = dict(zip(works, baseline.CALLS, strict=False))
    seconds = {name: times[name].seconds for name in works}
    total = sum(called[name] * seconds[name] for name in works)
    each = times["ours"].seconds / batch
    spread = times["ours"].spread
    return Sampling(
        size=size,
        channels=channels,
        batch=batch,
        ratio_to_published=total / each,
        seconds=each,
        seconds_published=total,
        spread=spread,
        calls=dict(calls),
        calls_published=called,
        seconds_per_call_published=seconds,
    )


def _published_calls(prior: MultiScalePrior, size: int, device: torch.device) -> dict[str, Work]:
    """One call of each published network on one image, coarse to fine, with our weights."""
    works: dict[str, Work] = {}
    networks: list[Any] = [prior.low, *reversed(prior.conditionals)]
    levels = [prior.levels, *range(prior.levels, 0, -1)]
    for name, network, level in zip(network_names(prior.levels), networks, levels, strict=True):
        plain = baseline.published_form(network).to(device)
        side, channels = size >> level, network.channels * (1 if name == "low" else 4)
        works[name] = partial(plain, torch.randn(1, channels, side, side, device=device))
    return works

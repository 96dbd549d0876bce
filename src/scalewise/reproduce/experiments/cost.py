"""Cost against resolution: a flat network that sees the whole image, and local conditionals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from scalewise.networks import BiasFreeDenoiser, LocalConditional, Network, UNet
from scalewise.networks.base import parameters_of
from scalewise.reproduce.context import Context
from scalewise.reproduce.experiment import Cell, Experiment, Result, Table, Verdict, judge, told
from scalewise.reproduce.figures import curves
from scalewise.reproduce.measure import call, operations

FLAT, MULTI = "flat global", "multi-scale"
SIDES = (40, 80, 160, 320, 640, 1280)
"""Of the images, in pixels."""
BASE, WIDTH, FIELD = 40, 64, 13
"""Side of the low-pass image; channels and receptive field of the published networks."""
STEPS, STEPS_LOW = 10, 40
"""Network calls per sample: of a level of details, and of an image or low-pass image."""
CONSTANT, GROWS = 1.25, 1.8
"""How much operations per pixel may grow per doubling to be constant, and must to be linear."""
LONGEST = 2e11
"""Operations of the largest call that is timed; larger ones are computed from the pace."""


Cost = dict[str, float | int | str]
"""What `Family.measure` finds, by what it is."""

PER_PIXEL, SECONDS = "operations per pixel and call", "seconds per sample"


@dataclass(frozen=True)
class Family:
    """What it takes to draw an image of a size.

    Attributes:
        parts: networks, the side of what each sees, and its calls per sample.
    """

    parts: list[tuple[Network, int, int]]

    def measure(self, side: int) -> Cost:
        """Parameters, operations per pixel and sample, and seconds per sample."""
        seconds, timed = 0.0, True
        for network, own, calls in self.parts:
            weight = operations(network, own)
            if weight <= LONGEST:
                seconds += calls * _seconds(network, own)
            else:
                timed = False
                smaller = max(16, int(own * (LONGEST / weight) ** 0.5 / 2))
                seconds += calls * _seconds(network, smaller) * (own / smaller) ** 2
        per_call = sum(operations(n, own) for n, own, _ in self.parts)
        return {
            "parameters": sum(parameters_of(n) for n, _, _ in self.parts),
            PER_PIXEL: per_call / side**2,
            "operations per sample": sum(c * operations(n, own) for n, own, c in self.parts),
            SECONDS: seconds,
            "timed": "yes" if timed else "from the pace on a part of the image",
        }


def _seconds(network: Network, side: int, repeats: int = 3) -> float:
    """Median seconds of a call, after one to warm up."""
    call(network, side)
    return sorted(call(network, side) for _ in range(repeats))[repeats // 2]


def flat(side: int) -> Family:
    """One network of 3x3 convolutions whose receptive field covers the image."""
    depth = side // 2
    return Family([(BiasFreeDenoiser(1, [3] * depth, width=WIDTH).eval(), side, STEPS_LOW)])


def multi_scale(side: int) -> Family:
    """A U-Net on 40x40 pixels, and a local network for every doubling."""
    parts: list[tuple[Network, int, int]] = [
        (UNet(1, (BASE, BASE), width=48).eval(), BASE, STEPS_LOW)
    ]
    now = BASE
    while now < side:
        parts.append((LocalConditional(1, FIELD, width=WIDTH, blocks=4).eval(), now, STEPS))
        now *= 2
    return Family(parts)


Costs = dict[str, dict[int, Cost]]
"""By family, then by side of the image, from small to large."""


def run(context: Context) -> Result:
    """Cost from 40 pixels to the largest size, of both families."""
    return show(measure(context))


def measure(context: Context) -> Costs:
    """Cost of a sample of every size, of both families."""
    found: Costs = {}
    for name, make in {FLAT: flat, MULTI: multi_scale}.items():
        for side in (s for s in SIDES if s <= context.scale.largest):
            context.say(f"cost of {name}, {side} pixels")
            found.setdefault(name, {})[side] = make(side).measure(side)
    return found


def growth(by_side: Mapping[int, Cost]) -> float:
    """How many times more operations per pixel the last doubling of the side takes."""
    values = [float(cost[PER_PIXEL]) for cost in by_side.values()]
    return values[-1] / values[-2] if len(values) > 1 else 1.0


def decide(multi: float, flat: float) -> tuple[Verdict, dict[str, bool]]:
    """The verdict by the rule, and its parts, from the `growth` of both families."""
    parts = {
        f"operations per pixel of multi-scale at most {CONSTANT:g}-fold per doubling": (
            multi <= CONSTANT
        ),
        f"those of flat global at least {GROWS:g}-fold": flat >= GROWS,
    }
    return judge(parts), parts


def show(found: Costs) -> Result:
    """Verdict, table and curves."""
    grown = {name: growth(by) for name, by in found.items()}
    verdict, parts = decide(grown[MULTI], grown[FLAT])
    last = max(found[MULTI])
    columns = list(found[MULTI][last])
    rows: list[list[Cell]] = [
        [name, side, *cost.values()] for name, by in found.items() for side, cost in by.items()
    ]
    panels = {
        column: {
            name: (list(by), [float(cost[column]) for cost in by.values()])
            for name, by in found.items()
        }
        for column in (PER_PIXEL, SECONDS)
    }
    ratio = float(found[FLAT][last][SECONDS]) / float(found[MULTI][last][SECONDS])
    return Result(
        verdict,
        f"At the last doubling, to {last} pixels, operations per pixel grow "
        f"{grown[FLAT]:.2f}-fold (flat global) and {grown[MULTI]:.2f}-fold (multi-scale); a sample "
        f"of {last} pixels costs {ratio:.0f} times as many seconds flat ({told(parts)}).",
        [Table("Cost of one gray sample", ["family", "side", *columns], rows)],
        [curves("cost", "Cost by side of the image.", panels, "side (pixels)", "", "xy")],
        {name: {str(s): v for s, v in by.items()} for name, by in found.items()},
        [
            f"Flat: 3x3 convolutions of {WIDTH} channels in a row, as many as it takes to see the "
            f"whole image, {STEPS_LOW} calls. Multi-scale: a U-Net on {BASE}x{BASE} pixels, "
            f"{STEPS_LOW} calls, and {FIELD}x{FIELD} conditional networks of {WIDTH} channels, "
            f"{STEPS} calls each. Untrained weights; medians of 3 calls on this machine, one image "
            "at a time, with other work possibly beside.",
        ],
    )


EXPERIMENT = Experiment(
    "cost",
    "Cost against resolution",
    "With local conditionals the cost per pixel does not depend on resolution; a flat network "
    "that sees the whole image grows with it (section 1).",
    f"At the last doubling of the side, operations per pixel and call grow at most "
    f"{CONSTANT:g}-fold for multi-scale and at least {GROWS:g}-fold for the flat global network.",
    run,
)

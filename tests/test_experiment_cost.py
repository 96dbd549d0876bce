"""The experiment on cost: operations counted by hand, seconds of a made-up pace, and its rule."""

from types import SimpleNamespace
from typing import cast

import pytest

from scalewise.networks import BiasFreeDenoiser, Network
from scalewise.reproduce.context import Context
from scalewise.reproduce.experiments import cost
from scalewise.reproduce.experiments.cost import CONSTANT, FLAT, GROWS, MULTI, PER_PIXEL, SECONDS

WIDE = cost.WIDTH


@pytest.fixture
def pace(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A call of `n` x `n` pixels takes `n^2` seconds; the sides that were called."""
    called: list[int] = []

    def call(network: Network, side: int) -> float:
        called.append(side)
        return float(side**2)

    monkeypatch.setattr(cost, "call", call)
    return called


def test_flat_is_deep_enough_to_see_the_image(pace: list[int]) -> None:
    family = cost.flat(40)
    ((network, side, calls),) = family.parts
    assert (side, calls) == (40, 40)
    assert network.receptive_field == 41
    weights = 9 * (2 * WIDE + 18 * WIDE * WIDE)
    found = family.measure(40)
    assert found[PER_PIXEL] == 2 * weights
    assert found["operations per sample"] == 40 * 2 * weights * 40**2
    assert found["parameters"] == weights + 18 * WIDE
    assert (found[SECONDS], found["timed"]) == (40 * 40**2, "yes")


def test_multi_scale_adds_a_local_network_per_doubling(pace: list[int]) -> None:
    parts = cost.multi_scale(160).parts
    assert [(side, calls) for _, side, calls in parts] == [(40, 40), (40, 10), (80, 10)]
    assert [network.receptive_field for network, *_ in parts] == [None, 13, 13]
    assert parts[0][0].size == (40, 40)
    found = cost.multi_scale(160).measure(160)
    assert found[SECONDS] == 40 * 40**2 + 10 * 40**2 + 10 * 80**2


def test_what_is_too_large_is_computed_from_the_pace(
    pace: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    family = cost.Family([(BiasFreeDenoiser(1, [3, 3], width=4).eval(), 200, 3)])
    monkeypatch.setattr(cost, "LONGEST", 2 * 9 * 8 * 200**2 / 4)
    found = family.measure(200)
    assert max(pace) == 50  # half of the side whose operations are the most
    assert found[SECONDS] == pytest.approx(3 * 200**2)
    assert found["timed"] == "from the pace on a part of the image"


def test_a_time_is_the_median_after_a_warm_up(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([100.0, 3.0, 1.0, 2.0])
    monkeypatch.setattr(cost, "call", lambda *_: next(times))
    family = cost.Family([(BiasFreeDenoiser(1, [3, 3], width=4).eval(), 16, 5)])
    assert family.measure(16)[SECONDS] == 10


def test_growth_is_that_of_the_last_doubling(pace: list[int]) -> None:
    told: list[str] = []
    context = SimpleNamespace(scale=SimpleNamespace(largest=160), say=told.append)
    found = cost.measure(cast(Context, context))
    assert {name: list(by) for name, by in found.items()} == {
        FLAT: [40, 80, 160],
        MULTI: [40, 80, 160],
    }
    assert told[0] == "cost of flat global, 40 pixels"
    assert cost.growth(found[FLAT]) == pytest.approx(2, rel=0.05)
    assert cost.growth({40: {PER_PIXEL: 8.0}, 80: {PER_PIXEL: 2.0}, 160: {PER_PIXEL: 3.0}}) == 1.5
    assert cost.growth({40: {PER_PIXEL: 8.0}}) == 1


@pytest.mark.parametrize(
    ("multi", "flat", "verdict"),
    [
        (CONSTANT, GROWS, "holds"),
        (CONSTANT + 0.01, GROWS, "partly"),
        (CONSTANT, GROWS - 0.01, "partly"),
        (CONSTANT + 0.01, GROWS - 0.01, "does not hold"),
    ],
)
def test_the_rule(multi: float, flat: float, verdict: str) -> None:
    assert cost.decide(multi, flat)[0] == verdict


def test_what_is_shown() -> None:
    pytest.importorskip("matplotlib")

    def of(pixel: float, seconds: float) -> cost.Cost:
        return {"parameters": 1, PER_PIXEL: pixel, SECONDS: seconds, "timed": "yes"}

    found = {
        FLAT: {40: of(10, 1), 80: of(20, 16)},
        MULTI: {40: of(8, 1), 80: of(8.8, 4)},
    }
    shown = cost.show(found)
    assert shown.verdict == "holds"
    assert shown.sentence.startswith(
        "At the last doubling, to 80 pixels, operations per pixel grow 2.00-fold (flat global) and "
        "1.10-fold (multi-scale); a sample of 80 pixels costs 4 times as many seconds flat ("
    )
    assert shown.tables[0].rows[1] == [FLAT, 80, 1, 20, 16, "yes"]
    assert shown.numbers[MULTI]["80"][PER_PIXEL] == 8.8

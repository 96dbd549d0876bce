"""The experiment on super-resolution: white fields, whose errors are known, and its rule."""

import math
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from torch import Tensor

from scalewise.exact import gaussian_prior
from scalewise.prior import MultiScalePrior
from scalewise.reproduce.context import LEVELS, Context
from scalewise.reproduce.experiments import upscaling
from scalewise.reproduce.experiments.upscaling import CONSISTENT, OWN, SAMPLES, Measured

SIDE, VARIANCE = 32, 0.01


def white_prior(mean: float = 0.5) -> MultiScalePrior:
    return gaussian_prior(torch.full((SIDE, SIDE), VARIANCE).double(), LEVELS, mean=mean)


def fields(count: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    shape = (count, 1, SIDE, SIDE)
    return 0.5 + math.sqrt(VARIANCE) * torch.randn(shape, generator=generator).double()


def test_errors_of_white_fields_are_those_of_the_details() -> None:
    """The mean is blocks of one value; a sample, its details drawn anew, is off twice as much."""
    found, rows = upscaling.enlarge(white_prior(), fields(16), seed=1)
    lost = VARIANCE * (1 - 1 / 16**2 * 16)
    expected = {"mean": lost, "sample": 2 * lost, "mean of samples": (1 + 1 / SAMPLES) * lost}
    for name, error in expected.items():
        assert found[name] == pytest.approx(-10 * math.log10(error), abs=0.3), name
    assert found["bicubic"] < found["mean"]
    assert found["inconsistency"] < 1e-7
    assert [len(row) for row in rows] == [7] * 4
    small, _, mean, first, second, _, truth = rows[2]
    blocks = small.repeat_interleave(4, 1).repeat_interleave(4, 2)
    torch.testing.assert_close(mean, blocks)
    torch.testing.assert_close(truth, fields(16)[2])
    assert not torch.allclose(first, second)


def test_what_does_not_keep_the_low_pass_image_is_found() -> None:
    class Brighter(MultiScalePrior):
        def upscale(self, *given: Any, **options: Any) -> Tensor:
            samples = super().upscale(*given, **options)
            samples[1, 3] += 0.01
            return samples

    exact = white_prior()
    prior = Brighter(exact.low, exact.conditionals)
    assert upscaling.enlarge(prior, fields(4), 0)[0]["inconsistency"] == pytest.approx(0.01)


class ExactContext:
    seed, scale = 1, SimpleNamespace(fields=(5, 9), packaged=False, images=5)

    def __init__(self) -> None:
        self.faces, self.networks = SimpleNamespace(held_out=fields, colour=None), self

    def multi_scale(self, field: int) -> MultiScalePrior:
        assert field == 9
        return white_prior()

    def say(self, text: str) -> None:
        assert text == "upscaling with own 9x9"


def test_faces_and_the_astronaut_are_enlarged() -> None:
    measured = upscaling.measure(cast(Context, ExactContext()))
    assert list(measured.numbers) == [OWN, "own 9x9, astronaut"]
    assert measured.numbers[OWN] == upscaling.enlarge(white_prior(), fields(5), 1)[0]
    assert len(measured.rows["own 9x9, astronaut"]) == 1
    shown = upscaling.show(measured)
    assert [(f.name, f.private) for f in shown.figures] == [
        ("faces-own", True),
        ("astronaut-own", False),
    ]
    assert shown.figures[1].caption == "The astronaut of scikit-image, own 9x9: x4."


@pytest.mark.parametrize(
    ("changes", "verdict", "failed"),
    [
        ({}, "holds", ""),
        ({"inconsistency": CONSISTENT}, "partly", "low-pass of every output"),
        ({"bicubic": 30.0}, "partly", "the mean beats bicubic"),
        ({"sample": 28.0}, "holds", ""),
        ({"sample": 28.01}, "partly", "a sample is 2 to 4 dB"),
        ({"sample": 26.0}, "holds", ""),
        ({"sample": 25.99}, "partly", "a sample is 2 to 4 dB"),
    ],
)
def test_the_rule(changes: dict[str, float], verdict: str, failed: str) -> None:
    own = {"bicubic": 28.0, "mean": 30.0, "sample": 27.0, "inconsistency": 1e-7} | changes
    found, parts = upscaling.decide({OWN: own, "other": own | {"mean": 0.0}})
    assert found == verdict
    assert [part for part, holds in parts.items() if not holds] == [
        part for part in parts if failed and part.startswith(failed)
    ]


def test_every_prior_must_be_consistent() -> None:
    own = {"bicubic": 28.0, "mean": 30.0, "sample": 27.0, "inconsistency": 1e-7}
    assert upscaling.decide({OWN: own, "other": own | {"inconsistency": 1e-3}})[0] == "partly"


def test_what_is_shown() -> None:
    own = {"bicubic": 28.0, "mean": 30.0, "sample": 27.0, "inconsistency": 1e-7}
    own["mean of samples"] = 29.0
    shown = upscaling.show(Measured({OWN: own, "b": own | {"inconsistency": 2e-7}}, {}))
    assert shown.sentence.startswith(
        "x4, own 9x9 on validation faces: mean 30.00 dB, sample 27.00, bicubic 28.00; largest "
        "inconsistency 2.0e-07 (low-pass"
    )
    assert shown.tables[0].rows[0] == [OWN, 28, 30, 27, 29, 1e-7]

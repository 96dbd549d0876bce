"""The experiment on denoising by receptive field: exact priors, and its rule."""

import math
from types import SimpleNamespace
from typing import cast

import pytest
import torch
from torch import Tensor

from scalewise.exact import gaussian_prior
from scalewise.prior import MultiScalePrior
from scalewise.reproduce.context import Context, published_families
from scalewise.reproduce.experiment import AHEAD
from scalewise.reproduce.experiments import denoising
from scalewise.reproduce.experiments.denoising import LOSS, MORE, Measured
from scalewise.reproduce.measure import low_pass_only_psnr
from scalewise.reproduce.scale import small_field

SIDE, VARIANCE, SIGMAS = 32, 0.02, (10.0, 50.0)


def white_prior(variance: float, levels: int) -> MultiScalePrior:
    return gaussian_prior(torch.full((SIDE, SIDE), variance).double(), levels)


def fields(count: int) -> Tensor:
    shape = (count, 1, SIDE, SIDE)
    noise = torch.randn(shape, generator=torch.Generator().manual_seed(0)).double()
    return 0.5 + math.sqrt(VARIANCE) * noise


class ExactContext:
    """Flat and multi-scale priors that assume too much contrast, the more the smaller the field."""

    seed = 2
    scale = SimpleNamespace(fields=(5, 9, 13), images=8, sigmas=SIGMAS)

    def __init__(self, authors: bool = False) -> None:
        self.faces = self.networks = self
        self.authors = authors

    def held_out(self, count: int) -> Tensor:
        return fields(count)

    def flat(self, field: int) -> MultiScalePrior:
        return white_prior({5: 64, 9: 16, 13: 1}[field] * VARIANCE, 0)

    def multi_scale(self, field: int) -> MultiScalePrior:
        return white_prior({5: 8, 9: 2, 13: 1}[field] * VARIANCE, 2)

    @property
    def retrained(self) -> list[SimpleNamespace]:
        """One more training, in which every field knows the law."""
        return [SimpleNamespace(multi_scale=lambda field: white_prior(VARIANCE, 2))]

    def published(self, name: str) -> MultiScalePrior | None:
        if not self.authors:
            return None
        return white_prior(VARIANCE, 0 if name.startswith("flat") else 2)


def linear_psnr(assumed: float, sigma: float) -> float:
    """Of white fields by the gain of another variance: `(1 - g)^2 v + g^2 s^2`."""
    gain = assumed / (assumed + (sigma / 255) ** 2)
    return -10 * math.log10((1 - gain) ** 2 * VARIANCE + (gain * sigma / 255) ** 2)


def test_of_priors_of_known_gain() -> None:
    measured = denoising.measure(cast(Context, ExactContext()))
    assert (measured.local, measured.images, measured.side) == (9, 8, SIDE)
    for family, contrasts in (("flat", (64, 16, 1)), ("multi-scale", (8, 2, 1))):
        for (_, found), contrast in zip(measured.own[family].items(), contrasts, strict=True):
            expected = [linear_psnr(contrast * VARIANCE, sigma) for sigma in SIGMAS]
            assert found == pytest.approx(expected, abs=0.15)
    lost = denoising.losses(measured.own, 9, 13)
    for family, contrast in (("flat", 16), ("multi-scale", 2)):
        expected = [linear_psnr(VARIANCE, s) - linear_psnr(contrast * VARIANCE, s) for s in SIGMAS]
        assert lost[family] == pytest.approx(expected, abs=0.1)
    (other,) = measured.again
    assert other == {
        "multi-scale": {9: measured.own["multi-scale"][13]} | {13: other["multi-scale"][13]}
    }
    shown = denoising.show(measured)
    mean = sum(lost["multi-scale"]) / len(SIGMAS)
    assert shown.numbers["lost by training"] == pytest.approx([mean, 0])
    assert shown.sentence.startswith(f"9x9 loses {mean / 2:.2f} ± {mean / 2:.2f} dB (multi-scale)")
    best = white_prior(VARIANCE, 2)
    assert measured.low == low_pass_only_psnr(best, fields(8), SIGMAS, 2)
    assert measured.published == {}


def test_only_the_low_pass_image() -> None:
    """Without details, white fields are blocks: of their variance 15 / 16 is lost."""
    found = low_pass_only_psnr(white_prior(VARIANCE, 2), fields(16), (1.0,), seed=0)
    assert found == pytest.approx([-10 * math.log10(VARIANCE * 15 / 16)], abs=0.1)


def test_published_networks_denoise_faces_and_the_astronaut(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("matplotlib")
    sides: list[int] = []

    def public_face(side: int) -> Tensor:
        sides.append(side)
        return fields(1)

    monkeypatch.setattr(denoising, "public_face", public_face)
    context = cast(Context, ExactContext(authors=True))
    families = published_families(context)
    assert {family: list(by) for family, by in families.items()} == {
        "flat": [5, 9, 13, 23, 43],
        "multi-scale": [5, 9, 13, 23, 43],
    }
    measured = denoising.measure(context)
    assert list(measured.published) == ["faces", "astronaut"]
    assert sides == [160]
    assert measured.published["faces"]["flat"][9] == measured.own["flat"][13]
    shown = denoising.show(measured)
    assert "the published networks on the same faces lose 0.00 and 0.00 dB" in shown.sentence
    assert len(shown.tables) == 6
    assert len(shown.figures) == 3


@pytest.mark.parametrize(
    ("multi", "flat", "verdict"),
    [
        (LOSS, LOSS + MORE, "holds"),
        (LOSS + 0.01, LOSS + MORE + 0.02, "partly"),
        (LOSS, LOSS + MORE - 0.01, "partly"),
        (LOSS + 0.01, 0.0, "does not hold"),
        (-AHEAD, 1.0, "holds"),
        (-AHEAD - 0.01, 1.0, "not tested"),
        (0.0, -AHEAD - 0.01, "not tested"),
    ],
)
def test_the_rule(multi: float, flat: float, verdict: str) -> None:
    lost = {"flat": [flat, flat], "multi-scale": [multi, multi]}
    found, doubt, _ = denoising.decide(lost, 9)
    assert found == verdict
    assert bool(doubt) == (verdict == "not tested")


def test_what_is_shown() -> None:
    pytest.importorskip("matplotlib")
    own = {
        "flat": {9: [30.0, 25.0], 43: [31.0, 26.0]},
        "multi-scale": {9: [31.0, 25.9], 43: [31.0, 26.0]},
    }
    shown = denoising.show(Measured(SIGMAS, own, [20.0, 20.0], {}, 9, 4, 128))
    assert shown.verdict == "holds"
    assert shown.sentence.startswith(
        "9x9 loses 0.05 dB (multi-scale) and 1.00 dB (flat) against 43x43, mean over noise levels ("
    )
    assert shown.tables[0].rows[-1] == ["low-pass only", 20, 20]
    assert shown.tables[1].rows[1] == ["multi-scale", 0, pytest.approx(0.1), pytest.approx(0.05)]
    assert "the faces here have 128x128" in shown.notes[1]


def test_the_small_field() -> None:
    assert small_field((5, 9, 13)) == 9
    assert small_field((13, 5)) == 5

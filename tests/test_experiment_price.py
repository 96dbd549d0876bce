"""The experiment on the price of being multi-scale: exact priors, and its rule."""

from types import SimpleNamespace
from typing import cast

import pytest
import torch
from torch import Tensor
from zoo import smooth_spectrum

from scalewise.exact import GaussianDenoiser, gaussian_prior
from scalewise.prior import MultiScalePrior
from scalewise.reproduce.context import Context
from scalewise.reproduce.experiment import AHEAD
from scalewise.reproduce.experiments import price
from scalewise.reproduce.experiments.price import PRICE, Measured
from scalewise.reproduce.measure import denoising_psnr

SPECTRUM = smooth_spectrum((16, 16))
SIGMAS = (10.0, 50.0)


class ExactContext:
    """Every prior assumes another contrast, so that each has a PSNR of its own."""

    seed, reference = 2, None
    scale = SimpleNamespace(fields=(5, 9, 13), images=4, sigmas=SIGMAS)

    def __init__(self) -> None:
        self.faces = self.networks = self

    def held_out(self, count: int) -> Tensor:
        law = GaussianDenoiser(SPECTRUM).law
        return law.draw(count, torch.Generator().manual_seed(0))

    def multi_scale(
        self, field: int, times: int = 1, form: str = "noise-conditional"
    ) -> MultiScalePrior:
        assert field == 9
        contrast = {(2, "noise-conditional"): 1.0, (1, "noise-conditional"): 2.0}
        return gaussian_prior(contrast.get((times, form), 4.0) * SPECTRUM, 2)

    def flat(self, field: int, times: int = 1) -> MultiScalePrior:
        contrast = {(13, 3): 1.5, (13, 1): 8.0, (9, 1): 16.0}[field, times]
        return gaussian_prior(contrast * SPECTRUM, 0)

    def published(self, name: str) -> None:
        return None


def test_priors_of_the_same_total_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(price, "operations_per_pixel", lambda prior, side: prior.levels + side)
    context = ExactContext()
    measured = price.measure(cast(Context, context))
    images = context.held_out(4)

    def expected(contrast: float, levels: int) -> list[float]:
        return denoising_psnr(gaussian_prior(contrast * SPECTRUM, levels), images, SIGMAS, 2)

    assert list(measured.psnr.values()) == [
        expected(1.0, 2),
        expected(2.0, 2),
        expected(4.0, 2),
        expected(1.5, 0),
        expected(8.0, 0),
    ]
    assert measured.small == expected(16.0, 0)
    assert measured.operations[measured.ours] == 18
    assert measured.operations[measured.flat] == 16
    lost = price.prices(measured.psnr, measured.ours, measured.flat)
    assert max(lost) < 0  # ours knows the law
    shown = price.show(measured)
    assert shown.verdict == "holds"


def test_prices_are_flat_less_ours() -> None:
    assert price.prices({"a": [30.0, 20.0], "b": [31.0, 19.0]}, "a", "b") == [1, -1]


@pytest.mark.parametrize(
    ("lost", "ahead", "verdict"),
    [
        ([PRICE, PRICE], 0.0, "holds"),
        ([PRICE, PRICE + 0.01], 0.0, "partly"),
        ([PRICE + 0.01, PRICE + 0.01], AHEAD, "does not hold"),
        ([PRICE, PRICE], AHEAD + 0.01, "not tested"),
    ],
)
def test_the_rule(lost: list[float], ahead: float, verdict: str) -> None:
    found, doubt, parts = price.decide(SIGMAS, lost, ahead)
    assert found == verdict
    assert bool(doubt) == (verdict == "not tested")
    assert list(parts) == [f"σ = {s:g}: at most 0.05 dB under flat" for s in SIGMAS]


def test_what_is_shown() -> None:
    pytest.importorskip("matplotlib")
    ours, flat = price.names(9, 43)
    theirs, whole = price.AUTHORS
    psnr = {ours: [30.0, 20.5], flat: [30.2, 20.0], theirs: [29.0, 19.0], whole: [29.5, 19.5]}
    work = {ours: 40.0, flat: 100.0, theirs: 1.0, whole: 1.0}
    shown = price.show(Measured(SIGMAS, psnr, work, [29.0, 19.0], 9, 43, 8))
    assert shown.verdict == "partly"
    assert shown.sentence == (
        "Multi-scale 9x9 of our form is +0.15 dB from flat 43x43 of the same total budget on the "
        "mean over noise levels, between -0.20 and +0.50, with 40 % of its operations per pixel; "
        "with the authors' weights -0.50."
    )
    assert shown.tables[0].rows[-1][1:3] == [pytest.approx(0.2), -0.5]
    behind = price.show(Measured(SIGMAS, psnr, work, [30.0, 21.0], 9, 43, 8))
    assert behind.verdict == "not tested"

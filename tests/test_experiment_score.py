"""The experiment on the score: white fields, whose score is known, and its rule."""

from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from zoo import smooth_spectrum

from scalewise.data import ImageSet
from scalewise.exact import GaussianDenoiser, gaussian_prior, power_law_spectrum
from scalewise.prior import MultiScalePrior
from scalewise.reproduce.context import Context
from scalewise.reproduce.experiments import score
from scalewise.reproduce.experiments.score import DEVIATION, EXACT, MEAN, SIDE, TRAINED, Measured

VARIANCE = 0.02
WHITE = torch.full((8, 8), VARIANCE).double()


def test_the_true_score_of_white_fields() -> None:
    noisy = torch.rand(3, 1, 8, 8).double()
    expected = -(noisy - MEAN) / (VARIANCE + 0.1**2)
    torch.testing.assert_close(score.true_score(WHITE, noisy, 0.1), expected)


def test_errors_are_relative_squares() -> None:
    """A denoiser that assumes variance `a` has the score of it: off by a known factor."""
    fields = torch.rand(4, 1, 8, 8).double()
    priors = {"right": gaussian_prior(WHITE, 1), "wrong": gaussian_prior(3 * WHITE, 1)}
    found = score.errors(priors, fields, WHITE, (25.5, 51.0))
    assert found["right"] == pytest.approx([0, 0], abs=1e-20)
    for sigma, error in zip((0.1, 0.2), found["wrong"], strict=True):
        factor = (VARIANCE + sigma**2) / (3 * VARIANCE + sigma**2)
        assert error == pytest.approx((factor - 1) ** 2)


def test_coloured_fields_of_two_levels() -> None:
    spectrum = smooth_spectrum((16, 16))
    fields = GaussianDenoiser(spectrum).law.draw(2, torch.Generator().manual_seed(0))
    assert score.relative_error(gaussian_prior(spectrum, 2), fields, spectrum, 0.1) < EXACT


class ExactContext:
    """Networks that know the law of what they were given to learn from."""

    seed, scale = 3, SimpleNamespace(fields=(5, 9), sigmas=(20, 100))

    def trained_on(self, training: ImageSet, validation: ImageSet, tag: str) -> Any:
        assert (len(training), len(validation), tag) == (2048, 64, "gaussian")
        images = torch.stack([*training.images[:512]])
        assert float(images.std()) == pytest.approx(DEVIATION, rel=0.1)
        held = torch.stack(list(validation.images))
        assert not any(torch.equal(held[0], image) for image in training.images)
        self.spectrum = DEVIATION**2 * power_law_spectrum((SIDE, SIDE), corner=1 / 8)
        return self

    def whole(self) -> MultiScalePrior:
        return gaussian_prior(self.spectrum, 0)

    def multi_scale(self, field: int) -> MultiScalePrior:
        assert field == 9
        return gaussian_prior(2 * self.spectrum, 2)


def test_of_exact_priors() -> None:
    measured = score.measure(cast(Context, ExactContext()))
    assert {name: len(values) for name, values in measured.exact.items()} == {
        "exact, 0 levels": 2,
        "exact, 2 levels": 2,
    }
    right, wrong = measured.trained.values()
    assert max(map(max, measured.exact.values())) < EXACT
    assert max(right) < 1e-6
    assert min(wrong) > 1e-3


@pytest.mark.parametrize(
    ("worst", "learnt", "verdict"),
    [
        (EXACT / 2, TRAINED / 2, "holds"),
        (EXACT, TRAINED / 2, "partly"),
        (EXACT / 2, TRAINED, "partly"),
        (EXACT, TRAINED, "does not hold"),
    ],
)
def test_the_rule(worst: float, learnt: float, verdict: str) -> None:
    assert score.decide(worst, {"a": learnt / 2, "b": learnt})[0] == verdict


def test_what_is_shown() -> None:
    pytest.importorskip("matplotlib")
    measured = Measured((3.0, 10.0), {"exact": [1e-9, 2e-9]}, {"trained": [0.01, 0.03]})
    shown = score.show(measured)
    assert shown.verdict == "holds"
    assert shown.sentence.startswith(
        "Largest relative squared error of exact denoisers 2.0e-09; mean over noise levels of "
        "trained: 0.020 (exact denoisers"
    )
    assert shown.tables[0].rows == [["exact", 1e-9, 2e-9], ["trained", 0.01, 0.03]]

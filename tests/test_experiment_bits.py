"""The experiment on bits per dimension: exact priors, sums by hand, and its rule."""

from types import SimpleNamespace
from typing import cast

import pytest
import torch
from zoo import smooth_spectrum

from scalewise.exact import GaussianDenoiser, gaussian_prior
from scalewise.prior import MultiScalePrior
from scalewise.reproduce.context import Context
from scalewise.reproduce.experiments import bits
from scalewise.reproduce.experiments.bits import LOST, Measured

SPECTRUM = smooth_spectrum((8, 8))


class ExactContext:
    """Priors that know less, the smaller their field; the largest knows the law."""

    seed, scale = 4, SimpleNamespace(fields=(5, 9, 13), images=6, packaged=False)

    def __init__(self) -> None:
        self.faces = self.networks = self
        drawn = GaussianDenoiser(SPECTRUM).law.draw(3, torch.Generator().manual_seed(0))
        self.images = drawn

    def held_out(self, count: int) -> torch.Tensor:
        assert count == 3
        return self.images

    def multi_scale(self, field: int) -> MultiScalePrior:
        assert torch.is_grad_enabled()  # where it is trained
        return gaussian_prior({5: 9.0, 9: 2.0, 13: 1.0}[field] * SPECTRUM, 2)

    @property
    def retrained(self) -> list[SimpleNamespace]:
        """One more training, in which every field knows the law."""
        return [SimpleNamespace(multi_scale=lambda field: gaussian_prior(SPECTRUM, 2))]

    def say(self, text: str) -> None:
        assert text.startswith("bits per dimension of")


def test_bits_are_the_priors_and_lost_against_the_largest_field() -> None:
    context = ExactContext()
    measured = bits.measure(cast(Context, context))
    assert list(measured.bits) == [5, 9, 13]
    assert measured.local == 9
    for field, found in measured.bits.items():
        expected = context.multi_scale(field).nll(context.images, seed=4, steps=8).bits
        assert found.equal(expected)
    assert measured.lost[9].equal(measured.bits[9] - measured.bits[13])
    assert measured.local_lost.shape == (2, 3, 3)
    assert measured.local_lost[0].equal(measured.lost[9])
    assert not measured.local_lost[1].any()
    means = [bits.total(measured.lost[field])[0] for field in (5, 9, 13)]
    assert means[0] > means[1] > means[2] == 0


def test_total_is_over_levels_and_its_error_over_images() -> None:
    found = torch.tensor([[1.0, 2.0, 3.0], [0.0, 0.0, 2.0]])
    assert bits.total(found) == pytest.approx((4.0, 8**0.5 / 2**0.5))


@pytest.mark.parametrize(
    ("lost", "verdict", "doubt"),
    [
        (LOST, "holds", ""),
        (LOST + 1e-4, "does not hold", ""),
        (-LOST, "holds", ""),
        (-LOST - 1e-4, "not tested", "The largest network is behind"),
    ],
)
def test_the_rule(lost: float, verdict: str, doubt: str) -> None:
    found, told, parts = bits.decide(lost, 9)
    assert found == verdict
    assert told.startswith(doubt)
    assert list(parts) == ["9x9 loses at most 0.02 bits per dimension"]


def test_what_is_shown() -> None:
    pytest.importorskip("matplotlib")
    found = {
        9: torch.tensor([[0.3, 0.2, 0.1], [0.5, 0.2, 0.1]]),
        43: torch.tensor([[0.2, 0.2, 0.1], [0.2, 0.2, 0.1]]),
    }
    shown = bits.show(Measured(found, 9))
    assert shown.verdict == "does not hold"
    assert shown.sentence.startswith(
        "9x9 loses +0.2000 ± 0.1000 bits per dimension against 43x43 (over images; "
        "level 1 +0.2000, level 2 +0.0000; 9x9 loses"
    )
    again = {9: found[9] - 0.1, 43: found[43]}
    several = bits.show(Measured(found, 9, (again,)))
    assert several.numbers["lost by training"] == pytest.approx([0.2, -0.1])
    assert several.sentence.startswith(
        "9x9 loses +0.0500 ± 0.1000 bits per dimension against 43x43 (over images, "
        "+0.0500 ± 0.1500 over trainings; level 1 +0.1500, level 2 -0.0500; 9x9 loses"
    )
    by_field, lost = shown.tables
    assert by_field.columns == ["field", "level 1", "level 2", "low", "total"]
    assert by_field.rows[0] == ["9x9", *(pytest.approx(v) for v in (0.4, 0.2, 0.1, 0.7))]
    assert [row[0] for row in lost.rows] == ["9x9"]
    assert lost.rows[0][-2:] == [pytest.approx(0.2), pytest.approx(0.1)]
    assert shown.numbers["lost"]["43"] == [0, 0, 0]

"""The experiment on the Markov property: neighbourhoods against dense matrices, and its rule."""

import math

import pytest
import torch
from zoo import dense_covariance, error_of_details

from scalewise.exact import power_law_spectrum
from scalewise.networks import BiasFreeConditional, BiasFreeDenoiser, LocalConditional
from scalewise.reproduce.experiments import markov
from scalewise.reproduce.experiments.markov import Measured, Neighbourhood, Probed

SIDE = 6
SPECTRUM = power_law_spectrum((SIDE, SIDE), corner=1 / 8)


@pytest.fixture(scope="module")
def found() -> list[Neighbourhood]:
    return markov.neighbourhoods(SPECTRUM, 1, (1, 3), 600, seed=4)


class TestMarkov:
    """Theory and simulation of a Gaussian field, receptive fields, and what decides."""

    def test_theory_is_that_of_dense_matrices(self, found: list[Neighbourhood]) -> None:
        everything = list(range((SIDE // 2) ** 2))
        assert {(f.ratio, f.field) for f in found} == {
            (ratio, field) for ratio in markov.RATIOS for field in (1, 3)
        }
        for one in found:
            seen = [0] if one.field == 1 else everything
            left, least = (error_of_details(SPECTRUM, s, one.ratio) for s in (seen, everything))
            assert one.theory == pytest.approx(left / least - 1, rel=1e-6, abs=1e-9)
        assert max(one.theory for one in found) > 0.02

    def test_simulation_is_about_theory_and_its_difference_in_standard_errors(
        self, found: list[Neighbourhood]
    ) -> None:
        """Of squared errors of N places, the deviation of a mean is about sqrt(2 / N) of it."""
        independent = 600 * 3 * (SIDE // 2) ** 2
        for one in found:
            relative = (one.simulated - one.theory) / (1 + one.theory)
            spread = math.sqrt(2 / independent)
            assert abs(one.off) < 4.5
            assert 0.5 * spread < relative / one.off < 2 * spread

    def test_levels_are_counted_from_the_finest(self) -> None:
        """White noise stays white at every level, and there a neighbourhood adds nothing."""
        white = markov.neighbourhoods(torch.ones(8, 8).double(), 2, (1,), 200, seed=0)
        assert [(one.level, one.ratio) for one in white] == [
            (level, ratio) for level in (1, 2) for ratio in markov.RATIOS
        ]
        for one in white:
            assert one.theory == pytest.approx(0, abs=1e-12)
            assert abs(one.off) < 4.5
        coloured = markov.neighbourhoods(power_law_spectrum((8, 8), 1 / 8), 2, (1,), 8, seed=0)
        finest, coarse = (
            next(one.theory for one in coloured if (one.level, one.ratio) == (level, 1.0))
            for level in (1, 2)
        )
        assert finest != pytest.approx(coarse, rel=0.01)

    def test_seeds_draw_other_fields(self) -> None:
        """Compared where only the low-pass image is seen, so that noise cannot tell them apart."""
        first, again, other = (
            markov.neighbourhoods(SPECTRUM, 1, (1,), 8, seed=seed)[-1] for seed in (1, 1, 2)
        )
        assert first == again
        assert first.simulated != other.simulated
        assert first.theory == other.theory

    @pytest.mark.parametrize("sigma", [0.25, 1.0])
    def test_pixels_against_dense_matrices(self, sigma: float) -> None:
        covariance = dense_covariance(SPECTRUM)
        variance = float(covariance[0, 0])
        full = covariance @ torch.linalg.inv(covariance + sigma**2 * torch.eye(SIDE**2))
        everything = sigma**2 * float(full.diagonal().mean())
        alone = variance * sigma**2 / (variance + sigma**2)
        found = markov.pixel_excess(SPECTRUM, (1,), sigma)
        assert found == {1: pytest.approx(alone / everything - 1, rel=1e-6)}
        assert found[1] > 0.04

    def test_receptive_fields_are_probed(self) -> None:
        """Of two 3x3 convolutions: 5x5; a network that declares another is found out."""
        network = BiasFreeConditional(1, [3, 1, 3], width=2)
        assert markov.probe("a", "ours", network) == Probed("a", "ours", 5, 5)
        assert markov.probe("b", "x", BiasFreeDenoiser(1, [3], width=2)).probed == 3
        local = LocalConditional(1, 9, width=4, blocks=4)
        local.receptive_field = 7
        probed = markov.probe("c", "ours", local)
        assert (probed.declared, probed.probed) == (7, 9)

    def measured(
        self, probed: int = 9, off: float = 1.0, nine: float = 0.001, one: float = 0.5
    ) -> Measured:
        details = [
            Neighbourhood(level, ratio, field, theory, theory + 0.01, sign * off)
            for level, ratio, sign in ((1, 1.0, -1), (2, math.inf, 0.5))
            for field, theory in ((1, one), (9, nine / level))
        ]
        networks = [Probed("a", "ours", 9, 9), Probed("b", "ours", 9, probed)]
        return Measured(networks, details, {0.25: {1: 0.7, 9: 0.2}, 4.0: {1: 0.9, 9: 0.3}})

    @pytest.mark.parametrize(
        ("probed", "off", "nine", "held"),
        [
            (9, 1.0, 0.001, (True, True, True)),
            (11, 1.0, 0.001, (False, True, True)),
            (9, 4.0, 0.001, (True, True, True)),
            (9, 4.01, 0.001, (True, False, True)),
            (9, math.nan, 0.001, (True, False, True)),
            (9, 1.0, 0.0099, (True, True, True)),
            (9, 1.0, 0.01, (True, True, False)),
            (7, 9.0, 0.2, (False, False, False)),
        ],
    )
    def test_the_rule(
        self, probed: int, off: float, nine: float, held: tuple[bool, bool, bool]
    ) -> None:
        verdict, parts = markov.decide(self.measured(probed, off, nine))
        assert tuple(parts.values()) == held
        assert verdict == ("holds" if all(held) else "partly" if any(held) else "does not hold")

    def test_what_is_shown(self) -> None:
        shown = markov.show(self.measured())
        assert shown.sentence.startswith(
            "2 networks probed; simulated excess errors differ from theory by at most 1.0 standard "
            "errors; a 9x9 neighbourhood lacks 0.1 % of the error for details given the low-pass "
            "image, up to 30 % for pixels (probed"
        )
        details, pixels, fields = shown.tables
        assert details.rows[0] == [1, "1", "1x1", 50, pytest.approx(51), -1]
        assert details.rows[3][:3] == [2, "∞ (low-pass only)", "9x9"]
        assert pixels.rows == [[0.25, 70, 20], [4.0, 90, 30]]
        assert fields.rows[1] == ["b", "ours", 9, 9]
        assert shown.numbers["excess"]["level 2, sigma inf"] == {1: 0.5, 9: 0.0005}

"""The experiment level by level: exact priors, published values, and its rule."""

import json
import math
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
import torch

from scalewise.exact import gaussian_prior
from scalewise.prior import MultiScalePrior
from scalewise.reproduce.context import Context
from scalewise.reproduce.experiment import AHEAD
from scalewise.reproduce.experiments import levels
from scalewise.reproduce.experiments.levels import LOSS, PUBLISHED_SIGMAS, Measured

SIDE, VARIANCE = 32, 0.04


def white_prior(variance: float = VARIANCE) -> MultiScalePrior:
    """Of white fields, whose details are independent: of variance / 4 per level."""
    return gaussian_prior(torch.full((SIDE, SIDE), variance).double(), 2)


def fields(count: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    shape = (count, 1, SIDE, SIDE)
    return 0.5 + math.sqrt(VARIANCE) * torch.randn(shape, generator=generator).double()


@pytest.mark.parametrize("level", [1, 2])
@pytest.mark.parametrize("assumed", [VARIANCE, 4 * VARIANCE])
def test_psnr_is_that_of_a_linear_estimate_of_details(level: int, assumed: float) -> None:
    """With gain `g = a / (a + s^2)`: `(1 - g)^2 v + g^2 s^2`, noise added to the details."""
    true, told = (variance / 4**level for variance in (VARIANCE, assumed))
    found = levels.details_psnr(white_prior(assumed), fields(24), level, (5.0, 60.0), seed=1)
    for sigma, psnr in zip((5 / 255, 60 / 255), found, strict=True):
        gain = told / (told + sigma**2)
        error = (1 - gain) ** 2 * true + (gain * sigma) ** 2
        assert psnr == pytest.approx(-10 * math.log10(error), abs=0.12)


class ExactContext:
    """Priors of fields 5, 9 and 13, of which the largest knows the law."""

    seed, reference = 2, None
    scale = SimpleNamespace(fields=(5, 9, 13), images=4, sigmas=(3, 20, 100, 300))

    def __init__(self) -> None:
        self.faces = self.networks = self

    def held_out(self, count: int) -> torch.Tensor:
        return fields(count)

    @property
    def retrained(self) -> list[SimpleNamespace]:
        """One more training, in which every field knows the law."""
        return [SimpleNamespace(multi_scale=lambda field: white_prior())]

    def multi_scale(self, field: int) -> MultiScalePrior:
        return white_prior({5: 16, 9: 4, 13: 1}[field] * VARIANCE)


def test_each_field_and_level_has_its_own_curve() -> None:
    measured = levels.measure(cast(Context, ExactContext()))
    assert list(measured.sigmas) == [3, 20, 60, 100, 180, 260]
    assert list(measured.own) == [1, 2]
    for level, by in measured.own.items():
        assert list(by) == [5, 9, 13]
        expected = levels.details_psnr(white_prior(), fields(4), level, measured.sigmas, 2)
        assert by[13] == expected
        gap = [large - local for large, local in zip(by[13], by[9], strict=True)]
        assert measured.losses[level] == pytest.approx([sum(gap) / 6, 0])  # the other: no gap
        assert measured.lost[level] == pytest.approx(sum(gap) / 12)
        assert measured.lost[level] > 0.05


@pytest.mark.parametrize(
    ("lost", "verdict"),
    [
        ((LOSS, LOSS), "holds"),
        ((LOSS, LOSS + 0.01), "partly"),
        ((LOSS + 0.01, LOSS + 0.01), "does not hold"),
        ((LOSS, -AHEAD), "holds"),
        ((LOSS, -AHEAD - 0.01), "not tested"),
    ],
)
def test_the_rule(lost: tuple[float, float], verdict: str) -> None:
    found, doubt, parts = levels.decide({1: lost[0], 2: lost[1]}, 9, 43)
    assert found == verdict
    assert bool(doubt) == (verdict == "not tested")
    assert list(parts)[1] == "level 2: 9x9 at most 0.2 dB under 43x43"


def test_a_field_that_sees_whole_images_is_told() -> None:
    assert levels._wide(43, 128) == [
        "The details of level 2 are 32x32, so 43x43 sees all of them and the borders, which tell "
        "where in an aligned face a place is: that is more than a larger neighbourhood."
    ]
    assert levels._wide(23, 128) == []
    assert levels._wide(43, 0) == []


def test_published_values_are_read_by_level_and_field(tmp_path: Path) -> None:
    values = {f"{sigma:g}": sigma / 10 for sigma in PUBLISHED_SIGMAS}
    more = {key: value + 1 for key, value in values.items()}
    (tmp_path / "published_psnr.json").write_text(
        json.dumps(
            {
                "multi_scale/celebA_160x160_gray/BF_CNN_RF_43x43_scale_0": more,
                "multi_scale/celebA_160x160_gray/BF_CNN_RF_9x9_scale_0": values,
                "multi_scale/celebA_160x160_gray/BF_CNN_RF_9x9_scale_1": more,
                "multi_scale/celebA_320x320_gray/BF_CNN_RF_9x9_scale_0": more,
                "flat/celebA_160x160_gray/BF_CNN_RF_9x9": more,
            }
        )
    )
    (tmp_path / "checkpoints").mkdir()
    for folder in (tmp_path, tmp_path / "checkpoints"):
        found = levels.read_published(folder)
        assert {level: list(by) for level, by in found.items()} == {1: [9, 43], 2: [9]}
        assert found[1][9] == [2, 6, 10, 18, 26]
        assert found[1][43] == [3, 7, 11, 19, 27]
    assert levels.read_published(None) == {}


def test_what_is_shown() -> None:
    pytest.importorskip("matplotlib")
    own = {1: {9: [30.0, 20.0], 43: [31.0, 20.5]}, 2: {9: [30.0, 20.0], 43: [30.1, 20.0]}}
    published = {1: {9: [1.0, 2.0, 3.0, 4.0, 5.0]}}
    shown = levels.show(Measured((20.0, 60.0), own, published, 9))
    assert shown.verdict == "partly"
    assert "mean over noise levels, level 1: 0.75 dB, level 2: 0.05 dB (level 1" in shown.sentence
    assert shown.tables[0].rows[0] == ["level 1, 9x9", 30, 20]
    assert shown.tables[1].columns[1] == "σ = 20"
    assert shown.numbers["lost"] == pytest.approx({1: 0.75, 2: 0.05})

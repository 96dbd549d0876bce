"""The experiment on synthesis: an exact prior draws like the data, another does not; its rule."""

from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from torch import Tensor

from scalewise.data import ImageSet
from scalewise.exact import GaussianDenoiser, gaussian_prior, power_law_spectrum
from scalewise.prior import MultiScalePrior
from scalewise.reproduce.context import Context, Images
from scalewise.reproduce.experiments import synthesis
from scalewise.reproduce.experiments.synthesis import Drawn, Measured

SIDE, LEVELS, COUNT, SEED = 16, 2, 24, 3
SPECTRUM = 0.1**2 * power_law_spectrum((SIDE, SIDE), 1 / 8)


def prior(mean: float = 0.5, contrast: float = 1.0) -> MultiScalePrior:
    return gaussian_prior(contrast**2 * SPECTRUM, LEVELS, mean=mean)


def images(count: int, seed: int) -> Tensor:
    law = GaussianDenoiser(SPECTRUM, 0.5).law
    return law.draw(count, torch.Generator().manual_seed(seed)).clamp(0, 1)


class TestDraw:
    """Samples measured: distributed like the data, and new?"""

    def test_a_prior_that_knows_the_law_is_as_near_as_training_images(self) -> None:
        drawn = synthesis.draw(prior(), images(72, 0), images(32, 1), COUNT, SEED)
        found = synthesis.ratios(drawn.record)
        assert list(found) == ["level 1", "level 2", "low"]
        assert list(found.values()) == pytest.approx([1, 1, 1], abs=0.35)
        assert synthesis.newness(drawn.record) == pytest.approx(1, abs=0.05)
        assert drawn.record["counts"] == {"samples": COUNT, "reference": 32, "training": 72}
        assert synthesis.decide(found, synthesis.newness(drawn.record))[0] == "holds"

    def test_one_that_knows_another_is_not(self) -> None:
        """Twice the contrast is wrong at every level; another mean in the low-pass image alone."""
        training, reference = images(72, 0), images(32, 1)
        loud, bright = (
            synthesis.ratios(synthesis.draw(other, training, reference, COUNT, SEED).record)
            for other in (prior(contrast=2), prior(mean=0.6))
        )
        assert min(loud.values()) > 2
        assert bright["low"] > 2
        assert max(bright["level 1"], bright["level 2"]) < 1.5

    def test_images_learnt_by_heart_are_not_new(self) -> None:
        learnt = prior().sample(COUNT, seed=SEED, size=(SIDE, SIDE)).clamp(0, 1)
        drawn = synthesis.draw(prior(), learnt.flip(0), images(32, 1), COUNT, SEED)
        assert synthesis.newness(drawn.record) == pytest.approx(0, abs=1e-3)
        assert drawn.record["nearest training"] == pytest.approx([0] * 8, abs=1e-3)
        assert len(drawn.nearest) == synthesis.SHOWN
        for nearest, sample in zip(drawn.nearest, learnt, strict=False):
            torch.testing.assert_close(nearest, sample)

    def test_samples_that_are_the_reference_have_no_distance(self) -> None:
        reference = prior().sample(COUNT, seed=SEED, size=(SIDE, SIDE)).clamp(0, 1)
        drawn = synthesis.draw(prior(), images(48, 0), reference, COUNT, SEED)
        assert list(synthesis.ratios(drawn.record).values()) == pytest.approx([0, 0, 0], abs=1e-6)
        assert synthesis.newness(drawn.record) == pytest.approx(1)

    def test_what_is_shown_is_what_was_measured(self) -> None:
        """Scale by scale, the first samples: each is the low-pass image of the next."""
        drawn = synthesis.draw(prior(), images(34, 0), images(8, 1), 34, SEED)
        expected = prior().sample(34, seed=SEED, size=(SIDE, SIDE))
        torch.testing.assert_close(drawn.samples, expected[:32])
        assert [list(low.shape) for low in drawn.scales] == [
            [8, 1, side, side] for side in (4, 8, 16)
        ]
        torch.testing.assert_close(drawn.scales[-1], expected[:8])
        for low, finer in zip(drawn.scales, drawn.scales[1:], strict=False):
            torch.testing.assert_close(low, torch.nn.functional.avg_pool2d(finer, 2))


class ExactContext:
    """Hands out a prior that knows the faces."""

    seed, device = SEED, torch.device("cpu")

    def __init__(self, packaged: bool, colour: bool) -> None:
        training, validation = (
            [image.float() for image in images(count, seed)] for count, seed in ((32, 0), (16, 1))
        )
        rgb = [ImageSet([i.repeat(3, 1, 1) for i in part], "c") for part in (training, validation)]
        gray = ImageSet(training, "training"), ImageSet(validation, "validation")
        self.faces = Images(*gray, (rgb[0], rgb[1]) if colour else None)
        self.scale = SimpleNamespace(fields=(5, 9, 13), samples=12, packaged=packaged)
        self.networks, self.told = self, list[str]()

    def multi_scale(self, field: int) -> MultiScalePrior:
        assert field == 9
        return prior()

    def say(self, text: str) -> None:
        self.told.append(text)


class TestMeasure:
    """Which prior is measured on which images."""

    def test_the_own_prior_on_gray_faces(self) -> None:
        """And no other, where faces came without colour."""
        context = ExactContext(packaged=True, colour=False)
        measured = synthesis.measure(cast(Context, context))
        assert list(measured.drawn) == ["own 9x9"]
        record = measured.drawn["own 9x9"].record
        assert record["counts"] == {"samples": 12, "reference": 16, "training": 32}
        assert measured.count == 12
        again = synthesis.draw(prior(), images(32, 0).float(), images(16, 1).float(), 12, SEED)
        assert record == again.record
        assert context.told == ["drawing 12 samples of own 9x9"]

    def test_the_packaged_one_on_colour_faces(self, monkeypatch: pytest.MonkeyPatch) -> None:
        spectrum = SPECTRUM[..., None, None] * (torch.ones(3, 3) + 0.01 * torch.eye(3))
        exact = gaussian_prior(spectrum, LEVELS)
        asked = []

        def load(folder: Any, device: str) -> MultiScalePrior:
            asked.append((folder.name, device))
            return exact

        monkeypatch.setattr("scalewise.store.load", load)
        measured = synthesis.measure(cast(Context, ExactContext(packaged=True, colour=True)))
        assert list(measured.drawn) == ["own 9x9", "packaged faces"]
        assert asked == [("faces", "cpu")]
        assert measured.drawn["packaged faces"].samples.shape == (12, 3, SIDE, SIDE)
        assert measured.drawn["packaged faces"].record["counts"]["reference"] == 16


def record(distance: float = 1.5, floor: float = 1.0, near: float = 9.0) -> dict[str, Any]:
    names = ("level 1", "low")
    return {
        "distances": dict.fromkeys(names, distance),
        "floor": {name: {"mean": floor, "std": 0.1} for name in names},
        "nearest": {
            "image": {"samples": {"5%": 1, "50%": near}, "reference": {"5%": 2, "50%": 10.0}},
            "low": {"samples": {"50%": 1.0}, "reference": {"50%": 1.0}},
        },
    }


class TestRule:
    """What decides, and how it is told."""

    def test_ratios_are_distances_over_floors(self) -> None:
        assert synthesis.ratios(record(3.0, 2.0)) == {"level 1": 1.5, "low": 1.5}
        assert synthesis.newness(record(near=4.0)) == 0.4

    @pytest.mark.parametrize(
        ("levels", "new", "held"),
        [
            ((2.0, 0.5), 0.9, (True, True, True)),
            ((2.01, 0.5), 0.9, (False, True, True)),
            ((2.0, 2.01), 1.5, (True, False, True)),
            ((2.0, 0.5), 0.89, (True, True, False)),
            ((3.0, float("nan")), 0.0, (False, False, False)),
        ],
    )
    def test_thresholds(
        self, levels: tuple[float, float], new: float, held: tuple[bool, bool, bool]
    ) -> None:
        by_level = dict(zip(("level 1", "low"), levels, strict=True))
        verdict, parts = synthesis.decide(by_level, new)
        assert tuple(parts.values()) == held
        assert verdict == ("holds" if all(held) else "partly" if any(held) else "does not hold")

    def test_what_is_shown(self) -> None:
        """The own prior decides, whatever the packaged one does."""
        shown = torch.rand(10, 1, 8, 8)
        drawn = {
            name: Drawn(by, shown, [shown[:8, :, :4, :4], shown[:8]], list(shown[:8]))
            for name, by in (("own 9x9", record()), ("packaged faces", record(9.0, near=2.0)))
        }
        found = synthesis.show(Measured(drawn, 10))
        assert found.verdict == "holds"
        assert found.sentence.startswith(
            "Own prior: distances in units of those of as many training images: level 1 1.50, low "
            "1.50; median distance to the nearest training image 0.90 times that of validation "
            "faces (level 1 within"
        )
        assert found.tables[0].rows[:3] == [
            ["own 9x9: level 1", 1.5, 1.0],
            ["own 9x9: low", 1.5, 1.0],
            ["own 9x9: distance to the nearest training image, median", 9.0, 10.0],
        ]
        assert len(found.tables[0].rows) == 6
        assert [(figure.name, figure.private) for figure in found.figures] == [
            (f"{kind}-{word}", kind == "nearest")
            for word in ("own", "packaged")
            for kind in ("scales", "samples", "nearest")
        ]
        assert found.numbers["packaged faces"]["distances"]["low"] == 9.0

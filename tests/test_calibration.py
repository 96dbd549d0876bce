"""Uncertainty that is checked: tables learnt from errors, and coverage that is counted."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from cli_tools import save_models, scalewise
from pydantic import ValidationError
from torch import Tensor
from zoo import smooth_spectrum

from scalewise import store
from scalewise.calibration import COVERAGES, LEAST, Calibration, LevelTable
from scalewise.errors import ScalewiseError, UsageError
from scalewise.evaluation import (
    evaluate_calibration,
    evaluate_upscaling_calibration,
    learn_calibration,
    learn_upscaling,
    reliability_diagram,
)
from scalewise.exact import GaussianDenoiser, gaussian_prior
from scalewise.images import Picture, read_image, write_image
from scalewise.posterior import spread
from scalewise.restore import denoise, upscale

NORMAL = {50: 0.6745, 80: 1.2816, 90: 1.6449, 95: 1.96}
"""Half widths of intervals of the normal distribution, in deviations."""


def errors(times: float = 1.0) -> tuple[Tensor, Tensor, Tensor]:
    """Deviations that are told, and errors `times` as large."""
    generator = torch.Generator().manual_seed(0)
    deviation = 0.1 * torch.rand(200_000, generator=generator).sqrt()
    return (
        deviation,
        times * deviation * torch.randn(200_000, generator=generator),
        torch.tensor(0.1),
    )


class TestTables:
    @pytest.mark.parametrize("times", [1.0, 2.0])
    def test_they_hold_the_quantiles(self, times: float) -> None:
        table = Calibration.learn(*errors(times))
        told = torch.tensor([0.02, 0.05, 0.09])
        torch.testing.assert_close(table.deviation(told, 0.1), times * told, rtol=0.03, atol=0)
        for share, width in NORMAL.items():
            found = table.half_width(told, 0.1, share)
            torch.testing.assert_close(found, times * width * told, rtol=0.03, atol=0)

    def test_they_differ_by_what_is_left_of_the_noise(self) -> None:
        deviation, error, sigma = errors()
        error = torch.where(deviation > 0.05, 3 * error, error)
        table = Calibration.learn(deviation, error, sigma)
        found = table.deviation(torch.tensor([0.02, 0.09]), 0.1)
        torch.testing.assert_close(found, torch.tensor([0.02, 0.27]), rtol=0.05, atol=0)

    def test_they_differ_by_the_noise(self) -> None:
        """Errors are as large as told at 0.1, twice as large at 0.4, and between them between."""
        tables = [
            LevelTable.learn(*errors(times), margin=margin, sigma=sigma)
            for times, margin, sigma in ((1.0, 0.2, 0.1), (2.0, 0.6, 0.4))
        ]
        table = Calibration.learn(*errors(1.5), margin=0.5, levels=tuple(tables))
        for sigma, times, margin in ((0.05, 1, 0.2), (0.1, 1, 0.2), (0.4, 2, 0.6), (1.0, 2, 0.6)):
            told = sigma * torch.tensor([0.2, 0.5, 0.9])
            found = table.deviation(told, sigma)
            torch.testing.assert_close(found, times * told, rtol=0.04, atol=0)
            found = table.half_width(told, sigma, 90)
            torch.testing.assert_close(found, 1.645 * times * told, rtol=0.04, atol=0)
            assert table.margin_at(sigma) == pytest.approx(margin)
        told = 0.2 * torch.tensor([0.2, 0.5, 0.9])
        torch.testing.assert_close(table.deviation(told, 0.2), 1.5 * told, rtol=0.04, atol=0)
        assert table.margin_at(0.2) == pytest.approx(0.4)
        assert Calibration.learn(*errors(), margin=0.3).margin_at(0.2) == 0.3
        assert table.margin_at(0.0) == 0.5
        assert Calibration.model_validate_json(table.model_dump_json()) == table
        for levels, wrong in ((tables[::-1], "rising noise"), ([tables[0]] * 2, "rising noise")):
            with pytest.raises(ValidationError, match=wrong):
                Calibration.model_validate(table.model_dump() | {"levels": levels})
        fewer = tables[0].model_copy(update={"quantiles": {90: tables[0].quantiles[90]}})
        with pytest.raises(ValidationError, match="same coverages"):
            Calibration.model_validate(table.model_dump() | {"levels": [fewer]})

    def test_units_do_not_matter(self) -> None:
        deviation, error, sigma = errors()
        one, other = (
            Calibration.learn(deviation, error, sigma),
            Calibration.learn(255 * deviation, 255 * error, 255 * sigma),
        )
        torch.testing.assert_close(torch.tensor(one.factors), torch.tensor(other.factors))

    def test_next_to_nothing_counts_as_a_little(self) -> None:
        table = Calibration.learn(*errors())
        assert float(table.deviation(torch.zeros(1), 0.1)) == pytest.approx(LEAST * 0.1, rel=0.1)
        assert float(table.deviation(torch.zeros(1), 0.0)) == 0

    def test_they_survive_json(self) -> None:
        table = Calibration.learn(*errors())
        assert Calibration.model_validate_json(table.model_dump_json()) == table

    @pytest.mark.parametrize(
        "fields",
        [
            {"ratios": (0.2, 0.1), "factors": (1.0, 1.0), "quantiles": {}},
            {"ratios": (0.1, 0.2), "factors": (1.0,), "quantiles": {}},
            {"ratios": (0.1,), "factors": (0.0,), "quantiles": {}},
            {"ratios": (0.1,), "factors": (1.0,), "quantiles": {90: (1.0, 2.0)}},
        ],
    )
    def test_bad_ones(self, fields: dict[str, object]) -> None:
        with pytest.raises(ValidationError):
            Calibration.model_validate(fields)

    def test_bad_input(self) -> None:
        with pytest.raises(UsageError, match="at least 1000 pixels"):
            Calibration.learn(torch.ones(9), torch.ones(9), torch.ones(9))
        with pytest.raises(UsageError, match="one of 50, 80, 90, 95, found 99"):
            Calibration.learn(*errors()).half_width(torch.ones(1), 0.1, 99)


@pytest.fixture(scope="module")
def fields() -> dict[str, Tensor]:
    """Images of the law that exact priors hold."""
    law = GaussianDenoiser(smooth_spectrum((16, 16))).law
    drawn = law.draw(24, torch.Generator().manual_seed(0))
    return {str(index): image for index, image in enumerate(drawn)}


class TestExactPriors:
    """What an exact prior tells needs no correction."""

    def test_coverage_is_right_at_every_scale(self, fields: dict[str, Tensor]) -> None:
        prior = gaussian_prior(smooth_spectrum((16, 16)), 2)
        records = evaluate_calibration(prior, fields, sigmas=(25.0,), samples=12, crop=16)
        names = [(record["by"], record["group"]) for record in records]
        assert ("scale", "details of level 1") in names
        assert ("scale", "low-pass image") in names
        for record in records:
            if record["by"] == "contrast":
                continue  # chosen by the estimate, few
            for share in COVERAGES:
                # neighbours are related: an eighth of the values count
                error = 100 * math.sqrt(0.25 / (record["values"] / 8))
                assert record["coverage"][share] == pytest.approx(share, abs=1.5 + 3 * error)

    def test_what_is_learnt_is_one(self, fields: dict[str, Tensor]) -> None:
        prior = gaussian_prior(smooth_spectrum((16, 16)), 2)
        table = learn_calibration(prior, fields, sigmas=(25.0,), crop=16)
        assert table.factors == pytest.approx([1.0] * len(table.factors), abs=0.1)
        assert table.scales == {}

    def test_tables_of_two_levels_of_noise(self, fields: dict[str, Tensor]) -> None:
        """A careful prior errs half as much as it says where it decides; the noise decides else."""
        prior = gaussian_prior(4 * smooth_spectrum((16, 16)), 2)
        prior.calibration = learn_calibration(prior, fields, sigmas=(100.0, 1000.0), crop=16)
        assert [level.sigma for level in prior.calibration.levels] == [100 / 255, 1000 / 255]
        strong = prior.calibration.levels[1]
        assert strong.factors == pytest.approx([0.5] * len(strong.factors), rel=0.2)
        assert prior.calibration.scales == {}
        records = evaluate_calibration(prior, fields, sigmas=(100.0, 1000.0), samples=0, crop=16)
        for record in records:
            if record["by"] == "sigma":  # on the images that it learnt from
                for share in COVERAGES:
                    assert record["coverage"][share] == pytest.approx(share, abs=1.5)

    def test_samples_of_an_exact_prior_need_no_correction(self, fields: dict[str, Tensor]) -> None:
        few = dict(list(fields.items())[:8])
        prior = gaussian_prior(smooth_spectrum((16, 16)), 2)
        table = learn_calibration(prior, few, sigmas=(25.0,), samples=8, crop=16)
        assert list(table.scales) == ["details of level 1", "details of level 2", "low-pass image"]
        for found in table.scales.values():
            assert found[50] == pytest.approx(1, abs=0.2)
            assert found[90] == pytest.approx(1, abs=0.2)
        prior.calibration = table
        for record in evaluate_calibration(prior, few, sigmas=(25.0,), samples=8, crop=16):
            if record["by"] == "scale":
                for share in COVERAGES:
                    assert record["coverage"][share] == pytest.approx(share, abs=1.5)

    def test_its_intervals_are_no_wider_than_the_baseline(self, fields: dict[str, Tensor]) -> None:
        prior = gaussian_prior(smooth_spectrum((16, 16)), 2)
        whole = evaluate_calibration(prior, fields, sigmas=(25.0,), samples=0, crop=16)[0]
        assert whole["width"] < 1.03 * whole["baseline"]


class TestEnlargements:
    """Exact priors draw from the exact distribution of the details given the low-pass image."""

    @pytest.mark.parametrize("factor", [2, 4])
    def test_coverage_is_right_at_every_scale(self, fields: dict[str, Tensor], factor: int) -> None:
        prior = gaussian_prior(smooth_spectrum((16, 16)), 2)
        records = evaluate_upscaling_calibration(prior, fields, factor=factor, samples=16, crop=16)
        names = [(record["by"], record["group"]) for record in records]
        assert names[:2] == [("all", "pixels"), ("factor", f"{factor}")]
        levels = [group for by, group in names if by == "scale"]
        assert levels == [f"details of level {level}" for level in range(1, factor // 2 + 1)]
        for record in records:
            if record["by"] == "contrast":
                continue  # chosen by the estimate, few
            for share in COVERAGES:
                error = 100 * math.sqrt(0.25 / (record["values"] / 8))
                assert record["coverage"][share] == pytest.approx(share, abs=2 + 3 * error)
        assert records[0]["width"] < 1.03 * records[0]["baseline"]
        assert "psnr_error" not in records[0]

    def test_what_is_learnt_is_one(self, fields: dict[str, Tensor]) -> None:
        prior = gaussian_prior(smooth_spectrum((16, 16)), 2)
        table = learn_upscaling(prior, fields, factor=2, samples=16, crop=16)
        assert table.factors == pytest.approx([1.0] * len(table.factors), abs=0.1)
        assert table.margin is None

    def test_a_deviation_that_is_wrong_is_put_right(self, fields: dict[str, Tensor]) -> None:
        """A prior of twice the contrast is too careful by two."""
        careful = gaussian_prior(4 * smooth_spectrum((16, 16)), 2)
        table = learn_upscaling(careful, fields, factor=2, samples=16, crop=16)
        assert table.factors == pytest.approx([0.5] * len(table.factors), abs=0.05)
        careful.upscaling[2] = table
        whole = evaluate_upscaling_calibration(careful, fields, factor=2, samples=16, crop=16)[0]
        for share in COVERAGES:
            assert whole["coverage"][share] == pytest.approx(share, abs=1)


def test_few_samples_tell_the_deviation_of_a_neighbourhood() -> None:
    generator = torch.Generator().manual_seed(0)
    mean = torch.rand(1, 1, 64, 64, generator=generator)
    drawn = mean + 0.2 * torch.randn(8, 1, 1, 64, 64, generator=generator)
    found = spread(drawn, mean)
    assert found.shape == mean.shape
    assert float(found.square().mean()) == pytest.approx(0.04, rel=0.05)
    plain = (drawn - mean).square().mean(0).sqrt()
    assert float(found.std()) < 0.5 * float(plain.std())
    assert float(found[0, 0, 0, 0] ** 2) == pytest.approx(float(plain[..., :2, :2].square().mean()))


def test_the_diagram_shows_shares_and_their_difference_by_noise() -> None:
    pytest.importorskip("matplotlib")
    held = {"5": {50: 51.0, 90: 89.0}, "25": {50: 48.0, 90: 91.5}}
    records = [{"by": "sigma", "group": name, "coverage": found} for name, found in held.items()]
    records.append({"by": "contrast", "group": "flat", "coverage": held["5"]})  # is not drawn
    shares, points = reliability_diagram(records).axes
    (diagonal, *lines), (_, *over) = (
        [(line.get_label(), np.asarray(line.get_xydata()).tolist()) for line in axes.get_lines()]
        for axes in (shares, points)
    )
    assert diagonal[1] == [[40, 40], [100, 100]]
    assert lines == [("σ = 5", [[50, 51], [90, 89]]), ("σ = 25", [[50, 48], [90, 91.5]])]
    assert [line for _, line in over] == [[[50, 1], [90, -1]], [[50, -2], [90, 1.5]]]


class TestCommand:
    @pytest.fixture(scope="class")
    @staticmethod
    def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
        return save_models(tmp_path_factory.mktemp("models"))

    @pytest.fixture
    def images(self, tmp_path: Path) -> Path:
        (tmp_path / "images").mkdir()
        for index in range(2):
            pixels = torch.rand(1, 3, 40, 40, generator=torch.Generator().manual_seed(index))
            write_image(tmp_path / "images" / f"{index}.png", Picture(pixels))
        return tmp_path / "images"

    def test_learn_then_measure_then_use(self, images: Path, models: Path, tmp_path: Path) -> None:
        model = models / "photos"
        options = ("--model", model, "--sigma", "15", "50", "--crop", "32")
        plain = store.load(model)
        assert plain.calibration is None
        picture = Picture(torch.rand(1, 3, 40, 40))
        with pytest.raises(UsageError, match="which this one is not"):
            denoise(picture, plain, sigma=0.1, uncertainty=True, confidence=90)
        done = scalewise("evaluate", "calibration", images, *options, "--learn")
        assert done.code == 0, done.stderr
        known = store.load(model)
        assert known.calibration is not None
        assert store.fingerprint(known) == store.fingerprint(plain)
        file = tmp_path / "coverage.json"
        done = scalewise(
            *("evaluate", "calibration", images, *options, "--samples", "2", "--json", file),
            *("--plot", tmp_path / "reliability.svg"),
        )
        assert done.code == 0, done.stderr
        drawn = (tmp_path / "reliability.svg").read_text()
        assert all(f">σ = {level}</text>" in drawn for level in (15, 50))
        found = json.loads(file.read_text())
        assert found["calibrated"] is True
        # on the images that it learnt from
        for share in ("50", "80", "90", "95"):
            assert found["coverage"][share] == pytest.approx(float(share), abs=3)
        wide, narrow = (
            denoise(picture, known, sigma=0.1, uncertainty=True, confidence=share).deviation
            for share in (95, 50)
        )
        assert wide is not None
        assert narrow is not None
        assert bool((wide.pixels > narrow.pixels).all())

    def test_enlargements_likewise(self, images: Path, models: Path, tmp_path: Path) -> None:
        model = models / "photos"
        before = store.load(model)
        picture = Picture(torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(3)))
        with pytest.raises(UsageError, match=r"which this one is not.*--factor for enlargements"):
            upscale(picture, before, samples=None, uncertainty=True, confidence=90)
        options = ("--model", model, "--crop", "32", "--factor", "2", "--samples", "2")
        done = scalewise("evaluate", "calibration", images, *options, "--learn")
        assert done.code == 0, done.stderr
        known = store.load(model)
        assert list(known.upscaling) == [2]
        assert known.calibration == before.calibration
        file = tmp_path / "coverage.json"
        drawn = tmp_path / "reliability.png"
        done = scalewise(
            *("evaluate", "calibration", images, *options, "--json", file, "--plot", drawn)
        )
        assert done.code == 0, done.stderr
        assert read_image(drawn).pixels.shape[-1] > 1000
        found = json.loads(file.read_text())
        assert found["calibrated"] is True
        for share in ("50", "80", "90", "95"):  # on the images that it learnt from
            assert found["coverage"][share] == pytest.approx(float(share), abs=3)
        write_image(tmp_path / "small.png", picture)
        widths: dict[int, Tensor] = {}
        for level in (50, 95):
            half, big = tmp_path / f"half{level}.tif", tmp_path / f"big{level}.png"
            done = scalewise(
                *("upscale", tmp_path / "small.png", big, "--mode", "mean", "--model", model),
                *("--uncertainty", half, "--confidence", level),
            )
            assert done.code == 0, done.stderr
            widths[level] = read_image(half).pixels
        assert widths[50].shape == (1, 3, 32, 32)
        assert bool((widths[95] > widths[50]).all())

    def test_a_factor_that_the_levels_do_not_span(self, models: Path) -> None:
        config = models / "photos" / "config.json"
        text = config.read_text()
        table = {"ratios": [0.1], "factors": [1], "quantiles": {}}
        config.write_text(json.dumps(json.loads(text) | {"upscaling": {"3": table}}))
        with pytest.raises(ScalewiseError, match="upscaling has factor 3"):
            store.load(models / "photos")
        config.write_text(text)

    def test_bad_input(self, images: Path, models: Path, tmp_path: Path) -> None:
        for options, sentence in (
            (("--factor", "3"), "factor must be a power of two"),
            (("--factor", "2", "--sigma", "15"), "give one of them"),
            (("--factor", "2", "--samples", "1"), "needs 2 or more"),
            (("--plot", "diagram.jpg"), "--plot diagram.jpg: give a name that ends in .svg or"),
            (("--plot", "diagram.svg", "--learn"), "--learn measures nothing to draw"),
        ):
            done = scalewise(
                *("evaluate", "calibration", images, *options, "--model", models / "photos")
            )
            assert done.code == 2
            assert sentence in done.stderr
        done = scalewise("evaluate", "calibration", images, "--learn")
        assert done.code == 2
        assert "--learn writes into a model folder, and photos is none" in done.stderr
        done = scalewise(
            *("denoise", images / "0.png", tmp_path / "out.png", "--confidence", "90"),
            *("--model", models / "photos"),
        )
        assert done.code == 2
        assert "confidence is of the uncertainty" in done.stderr
        config = models / "photos" / "config.json"
        text = config.read_text()
        config.write_text(text.replace('"calibration": ', '"calibration": 3, "x": ', 1))
        with pytest.raises(ScalewiseError, match="calibration"):
            store.load(models / "photos")
        config.write_text(text)

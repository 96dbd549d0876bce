"""Measures against known values and other programs; evaluations and benchmarks on tiny priors."""

import importlib
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torch import Tensor

from scalewise import evaluation
from scalewise.errors import UsageError
from scalewise.images import Picture, read_image, write_image
from scalewise.metrics import pooled_psnr
from scalewise.networks import BiasFreeConditional, BiasFreeDenoiser, LocalConditional, UNet
from scalewise.noise_model import NoiseModel
from scalewise.prior import MultiScalePrior
from scalewise.wavelets import low_pass


def smooth(*shape: int, seed: int = 0) -> Tensor:
    """Smooth random images in [0, 1], of shape (N, C, H, W) or (C, H, W)."""
    small = torch.rand(1, *shape[:-2], 6, 6, generator=_rng(seed)).flatten(0, -4)
    size = (shape[-2], shape[-1])
    return torch.nn.functional.interpolate(small, size, mode="bilinear").view(shape)


def _rng(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def prior() -> MultiScalePrior:
    """Two levels, RGB, told sigma, untrained."""
    torch.manual_seed(0)
    low = UNet(3, (8, 8), width=8, multiples=(1, 2), blocks=1)
    details = [LocalConditional(3, 5, width=8, blocks=1) for _ in range(2)]
    for network in details:
        torch.nn.init.normal_(network.leave.weight, std=0.05)
    return MultiScalePrior(low, details).eval()


@pytest.fixture(scope="module")
def blind_prior() -> MultiScalePrior:
    """One level, gray, blind, untrained."""
    torch.manual_seed(0)
    low = BiasFreeDenoiser(1, [3, 3, 1], width=8, size=(16, 16))
    return MultiScalePrior(low, [BiasFreeConditional(1, [3, 3, 1], width=8)]).eval()


class TestMetrics:
    @pytest.mark.parametrize("channels", [1, 3])
    def test_psnr_and_ssim_are_those_of_scikit_image(self, channels: int) -> None:
        clean = smooth(2, channels, 37, 50)
        estimate = clean + 0.1 * torch.randn(clean.shape, generator=_rng(1))
        found = evaluation.psnr(clean, estimate), evaluation.ssim(clean, estimate)
        for i, (a, b) in enumerate(zip(clean.numpy(), estimate.numpy(), strict=True)):
            a, b = a.astype(np.float64), b.astype(np.float64)
            expected = structural_similarity(
                a, b, data_range=1, channel_axis=0, gaussian_weights=True,
                sigma=1.5, use_sample_covariance=False,
            )  # fmt: skip
            assert found[0][i].item() == pytest.approx(
                peak_signal_noise_ratio(a, b, data_range=1), abs=1e-6
            )
            assert found[1][i].item() == pytest.approx(expected, abs=1e-6)

    def test_known_values(self) -> None:
        clean = torch.full((1, 1, 16, 16), 0.5)
        assert evaluation.psnr(clean, clean + 0.1).item() == pytest.approx(20, abs=1e-4)
        both = torch.cat([clean[:1], clean[:1]])
        apart = both + torch.tensor([0.0, 0.2]).view(2, 1, 1, 1)
        assert pooled_psnr(both, apart) == pytest.approx(-10 * math.log10(0.02), abs=1e-4)
        assert evaluation.ssim(clean, clean).item() == pytest.approx(1)
        assert math.isinf(evaluation.psnr(clean, clean).item())

    def test_clipping_counts_what_a_file_would_hold(self) -> None:
        white = torch.ones(1, 1, 12, 12)
        assert math.isinf(evaluation.psnr(white, white + 1, clip=True).item())
        assert evaluation.psnr(white, white + 1).item() == pytest.approx(0)

    @pytest.mark.parametrize("size", [(1, 1), (1, 9), (4, 30)])
    def test_ssim_of_images_smaller_than_its_window(self, size: tuple[int, int]) -> None:
        image = torch.rand(2, 3, *size, generator=_rng(0))
        assert torch.allclose(evaluation.ssim(image, image), torch.ones(2, dtype=torch.float64))


class TestDistances:
    def test_shifted_gaussians(self) -> None:
        a = torch.randn(300, 5, generator=_rng(0))
        shift = torch.tensor([1.0, -2.0, 0.0, 0.5, 3.0])
        found = evaluation.sliced_wasserstein(a, a + shift, projections=4000)
        assert found == pytest.approx(shift.norm().item() / math.sqrt(5), rel=0.03)

    def test_scaled_gaussians_of_different_counts(self) -> None:
        # in one dimension W2 between N(0, 1) and N(0, 9) is 2
        a = torch.randn(20_000, 1, generator=_rng(0))
        b = 3 * torch.randn(13_000, 1, generator=_rng(1))
        assert evaluation.sliced_wasserstein(a, b, projections=4) == pytest.approx(2, abs=0.05)

    def test_different_counts_are_coupled_exactly(self) -> None:
        a, b = torch.tensor([[0.0], [3.0]]), torch.tensor([[0.0], [1.0], [3.0]])
        # masses 1/3, 1/6, 1/6, 1/3 at gaps 0, 1, 2, 0
        expected = math.sqrt(1 / 6 + 4 / 6)
        assert evaluation.sliced_wasserstein(a, b, projections=3) == pytest.approx(
            expected, rel=1e-6
        )
        doubled = a.repeat(2, 1)
        assert evaluation.sliced_wasserstein(a, doubled) == pytest.approx(0, abs=1e-6)

    def test_level_distances_find_the_level_that_differs(self) -> None:
        images = torch.rand(24, 3, 32, 32, generator=_rng(0))
        same = evaluation.level_distances(images, images, levels=2)
        assert list(same) == ["level 1", "level 2", "low"]
        assert max(same.values()) < 1e-6
        bright = evaluation.level_distances(images + 0.2, images, levels=2)
        assert bright["low"] > 0.1
        assert bright["level 1"] < 1e-4
        blurred = low_pass(images, 1).repeat_interleave(2, -1).repeat_interleave(2, -2)
        flat = evaluation.level_distances(blurred, images, levels=2)
        # details that are all zero lie one standard deviation from white ones
        assert flat["level 1"] == pytest.approx(1, abs=0.1)
        assert flat["level 2"] < 1e-4

    def test_spectrum_of_white_noise_is_its_variance(self) -> None:
        noise = 0.3 * torch.randn(200, 2, 32, 48, generator=_rng(0))
        frequency, power = evaluation.radial_power_spectrum(noise)
        assert frequency[-1] == 0.5
        assert torch.allclose(power, torch.full_like(power, 0.09), rtol=0.1)

    def test_spectrum_of_a_wave_peaks_at_its_frequency(self) -> None:
        wave = torch.cos(2 * math.pi * torch.arange(64) / 8).expand(1, 1, 64, 64)
        frequency, power = evaluation.radial_power_spectrum(wave)
        assert frequency[power.argmax()] == 1 / 8

    def test_nearest_distances(self) -> None:
        training = torch.rand(30, 3, 6, 6, generator=_rng(0))
        queries = torch.cat([training[4:5], training[7:8] + 0.01])
        found = evaluation.nearest_distances(queries, training, chunk=1)
        assert found[0] == 0
        assert found[1].item() == pytest.approx(0.01 * math.sqrt(108), rel=1e-4)
        others = evaluation.nearest_distances(training, training, exclude_self=True, chunk=7)
        pairs = torch.cdist(training.flatten(1), training.flatten(1)).fill_diagonal_(math.inf)
        assert torch.allclose(others, pairs.min(1).values, atol=1e-4)


class TestFigures:
    def test_grid_places_images_in_rows(self) -> None:
        images = torch.rand(5, 3, 4, 6, generator=_rng(0))
        sheet = evaluation.grid(images, gap=2)
        assert sheet.shape == (3, 2 * 6 + 2, 3 * 8 + 2)
        assert torch.equal(sheet[:, 8:12, 10:16], images[4])
        assert sheet[:, 8:12, 18:24].min() == 1
        assert evaluation.grid(images, columns=5).shape == (3, 8, 42)

    def test_sheet_brings_cells_to_one_height(self) -> None:
        large, small = torch.zeros(3, 40, 60), torch.rand(1, 10, 15, generator=_rng(0))
        plain = evaluation.sheet([[large, small], [small]], gap=4)
        assert plain.shape == (3, 4 + 2 * 44, 4 + 2 * 64)
        enlarged = small.repeat_interleave(4, 1).repeat_interleave(4, 2).expand(3, -1, -1)
        assert torch.allclose(plain[:, 4:44, 68:128], enlarged, atol=0.5 / 255 + 1e-6)
        half = evaluation.sheet([[large]], height=20, gap=4)
        assert half.shape == (3, 28, 38)

    def test_words_take_their_room(self) -> None:
        rows = [[smooth(1, 32, 32)] * 2] * 2
        words = [["σ = 25", "a caption wider than the image"]] * 2
        plain = evaluation.sheet(rows)
        full = evaluation.sheet(rows, ["one", "two"], ["first row", "second"], words)
        assert full.shape[1] == plain.shape[1] + 3 * 20
        assert full.shape[2] > plain.shape[2] + 100
        assert full.min() >= 0
        assert full.max() <= 1

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (([],), "at least one row"),
            (([[torch.zeros(1, 2, 2)]], ["a", "b"]), "no more titles"),
            (([[torch.zeros(1, 2, 2)]], (), ["a", "b"]), "found 2 for 1 rows"),
            (([[torch.zeros(1, 2, 2)]], (), (), [["a", "b"]]), "one per image"),
        ],
    )
    def test_words_without_images_are_refused(self, arguments: Any, message: str) -> None:
        with pytest.raises(UsageError, match=message):
            evaluation.sheet(*arguments)


class TestEvaluations:
    def test_means_by_name(self) -> None:
        records = [
            {"sigma": 25, "image": "a", "psnr": 20.0, "spread": None},
            {"sigma": 25, "image": "b", "psnr": 30.0, "spread": 1.0},
            {"sigma": 50, "image": "a", "psnr": 10.0, "spread": None},
        ]
        assert evaluation.means(records, "sigma") == [
            {"sigma": 25, "count": 2, "psnr": 25.0, "spread": 1.0},
            {"sigma": 50, "count": 1, "psnr": 10.0},
        ]

    def test_denoise_any_size_and_channels(self, prior: MultiScalePrior) -> None:
        images = {"colour": smooth(3, 45, 50), "gray": smooth(1, 48, 48)}
        seen: list[evaluation.Record] = []
        found = evaluation.evaluate_denoise(
            prior, images, sigmas=[15, 50], seed=3, callback=seen.append
        )
        assert found == seen
        assert [(r["image"], r["sigma"]) for r in found] == [
            ("colour", 15), ("colour", 50), ("gray", 15), ("gray", 50),
        ]  # fmt: skip
        assert json.loads(json.dumps(found)) == found
        for record in found:
            expected = -20 * math.log10(record["sigma"] / 255)
            assert record["psnr_noisy"] == pytest.approx(expected, abs=0.5)
            assert record["sigma_estimated"] == pytest.approx(record["sigma"], rel=0.25)

    def test_noise_is_a_function_of_seed_and_number(self, prior: MultiScalePrior) -> None:
        image = smooth(3, 16, 16)
        two = evaluation.evaluate_denoise(prior, {"a": image, "b": image}, sigmas=[25])
        again = evaluation.evaluate_denoise(prior, {"x": image}, sigmas=[50, 25])
        assert two[0]["psnr"] == again[1]["psnr"]
        assert two[0]["psnr"] != two[1]["psnr"]

    def test_told_and_blind(self, prior: MultiScalePrior, blind_prior: MultiScalePrior) -> None:
        image = {"a": smooth(3, 40, 40)}
        told = evaluation.evaluate_denoise(prior, image, sigmas=[25], blind=False)
        assert told[0]["sigma_estimated"] is None
        residual = evaluation.evaluate_denoise(blind_prior, image, sigmas=[25])
        assert residual[0]["sigma_estimated"] > 0

    @pytest.mark.parametrize("factor", [2, 4])
    def test_upscale(self, prior: MultiScalePrior, factor: int) -> None:
        images = {"colour": smooth(3, 18, 21), "gray": smooth(1, 16, 16)}
        seen: list[evaluation.Record] = []
        found = evaluation.evaluate_upscale(
            prior, images, factor=factor, samples=3, callback=seen.append
        )
        assert found == seen == json.loads(json.dumps(found))
        for record in found:
            assert record["consistency"] < 1e-6
            assert record["spread"] > 0
            promised = record["spread"] * math.sqrt(4 / 3)
            assert record["calibration"] == pytest.approx(promised / record["rms_error"])
            for name in ("bicubic", "lanczos", "least_squares", "mean", "sample"):
                assert 0 < record[f"psnr_{name}"] < 60
                assert -1 < record[f"ssim_{name}"] < 1

    def test_upscale_by_one_sample_has_no_spread(self, blind_prior: MultiScalePrior) -> None:
        image = {"a": smooth(1, 16, 16)}
        found = evaluation.evaluate_upscale(blind_prior, image, factor=2, samples=1)
        assert found[0]["spread"] is None

    def test_images_too_small_to_upscale(self, prior: MultiScalePrior) -> None:
        with pytest.raises(UsageError, match=r"'dot' is too small.*4 pixels, found \(1, 1\)"):
            evaluation.evaluate_upscale(prior, {"dot": torch.zeros(3, 1, 1)}, factor=2)

    def test_interpolation_keeps_constants_and_knows_its_names(self) -> None:
        flat = torch.full((2, 5, 7), 0.3)
        for method in ("bicubic", "lanczos"):
            large = evaluation.interpolate(flat, 4, method)
            assert torch.allclose(large, torch.full((2, 20, 28), 0.3), atol=1e-6)
        with pytest.raises(UsageError, match="found 'cubic'"):
            evaluation.interpolate(flat, 2, "cubic")

    def test_synthesize(self, prior: MultiScalePrior) -> None:
        images = smooth(48, 3, 32, 32)
        found = evaluation.evaluate_synthesize(prior, images[:12], training=images[12:], count=12)
        assert json.loads(json.dumps(found)) == found
        assert found["counts"] == {"samples": 12, "reference": 12, "training": 36}
        assert list(found["distances"]) == list(found["floor"]) == ["level 1", "level 2", "low"]
        assert found["distances"]["level 1"] > found["floor"]["level 1"]["mean"]
        assert found["floor"]["low"]["std"] > 0
        nearest = found["nearest"]["image"]["samples"]
        assert nearest["0%"] <= nearest["50%"] <= nearest["100%"]
        assert set(found["brightness"]) == {"samples", "reference", "training"}
        assert len(found["spectrum"]["frequency"]) == len(found["spectrum"]["samples"]) == 16

    def test_samples_that_are_training_images_are_found_out(self) -> None:
        images = smooth(20, 1, 16, 16)
        found = evaluation.measure_samples(images[5:10], images[:5], training=images[5:], levels=1)
        assert found["nearest"]["image"]["samples"]["100%"] == 0
        assert found["nearest"]["image"]["reference"]["0%"] > 0
        alone = evaluation.measure_samples(images[5:10], images[:5], training=None, levels=1)
        assert "floor" not in alone


class TestBenchmarks:
    @pytest.fixture
    def photos(self, tmp_path: Path) -> Path:
        """A folder of two small photos."""
        folder = tmp_path / "photos"
        folder.mkdir()
        for i in range(2):
            write_image(folder / f"{i}.png", Picture(smooth(3, 24, 28, seed=i)))
        return folder

    def test_noise_levels_are_measured_and_learnt(
        self, tmp_path: Path, prior: MultiScalePrior, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        module = importlib.import_module("benchmarks.noise_levels")
        monkeypatch.setattr(module, "SIGMAS", (0, 20))
        monkeypatch.setattr(module, "load_prior", lambda model, device: prior)
        for name in module.SETS:
            for part in ("training", "validation"):
                (tmp_path / name / part).mkdir(parents=True)
                image = Picture(smooth(3, 200, 240, seed=len(part)))
                write_image(tmp_path / name / part / "a.png", image)
        file = tmp_path / "levels.json"
        module.main(["--data", str(tmp_path), "--json", str(file), "--side", "64"])
        rows = json.loads(file.read_text())["rows"]
        found = [(row["kind"], row["sigma"], row["images"]) for row in rows]
        assert found == [(kind, s, 2) for kind in ("colour", "gray") for s in (0, 20)]
        assert rows[1]["median estimate"] == pytest.approx(20, rel=0.1)
        assert rows[1]["median error"] == pytest.approx(abs(rows[1]["median estimate"] - 20), abs=1)
        monkeypatch.setattr(module.store, "resolve", lambda name: tmp_path / "model")
        module.store.save(prior, tmp_path / "model", description="Before.")
        module.main(["--data", str(tmp_path), "--train", "0.0001", "--into", str(tmp_path / "new")])
        assert module.store.load(tmp_path / "new", device="cpu").estimator is not None
        assert module.store.read_config(tmp_path / "new").description == "Before."

    def test_what_is_worse_is_counted(self) -> None:
        module = importlib.import_module("benchmarks.noise_levels")
        record = {"kind": "gray", "sigma": 5, "image": 0, "estimate": 6.0}
        records = [
            record | {"before": 30.0, "after": 31.0},
            record | {"before": 30.0, "after": 29.0, "estimate": 4.5},
            record | {"sigma": 0, "before": 99.0, "after": 49.0, "estimate": 1.0},
        ]
        rows = {row["sigma"]: row for row in module.summary(records, ("gray",), (0, 5))}
        assert rows[5]["worse"] == 1
        assert rows[5]["median error"] == pytest.approx(0.75)
        assert rows[5]["worst error"] == 1
        assert rows[5]["gain"] == 0
        assert (rows[0]["worse"], rows[0]["least after"]) == (1, 49)

    def test_denoising_goes_on_where_it_was(
        self,
        photos: Path,
        tmp_path: Path,
        prior: MultiScalePrior,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        module = importlib.import_module("benchmarks.denoising")
        calls: list[float] = []

        def baseline(noisy: np.ndarray, sigma: float) -> np.ndarray:
            calls.append(sigma)
            return noisy

        monkeypatch.setattr(module, "BASELINES", {"BM3D": ("pillow", baseline)})
        monkeypatch.setattr(module, "load_prior", lambda model, device: prior)
        file = tmp_path / "out.json"
        folders = ["--photos", str(photos), "--set12", str(photos), "--mcmaster", str(photos)]
        every, three = [*folders, "--json", str(file)], ["gray photos", "Set12", "photos"]
        arguments = [*every, "--sets", *three]
        module.main([*arguments, "--sigma", "25", "--images", "1"])
        assert calls == [25 / 255] * 3
        module.main([*arguments, "--sigma", "25", "--model", "tiny"])
        assert len(calls) == 6
        content = json.loads(file.read_text())
        assert len(content["records"]) == 12
        assert {r["count"] for r in content["means"]} == {2}
        assert set(content["runs"]) == {"BM3D", "scalewise"}
        assert content["runs"]["BM3D"]["machine"]["cores"] >= 1
        before = content["records"]
        module.main([*every, "--sets", "McMaster", "--sigma", "15", "--model", "tiny"])
        assert len(calls) == 8
        records = json.loads(file.read_text())["records"]
        assert [one for one in records if one["set"] != "McMaster"] == before  # kept
        assert {(one["sigma"], one["method"]) for one in records[len(before) :]} == {
            (15, "BM3D"),
            (15, "scalewise"),
        }
        module.main([*arguments, "--sigma", "25", "--seed", "1"])
        assert len(calls) == 14

    def test_non_local_means_denoises(self) -> None:
        module = importlib.import_module("benchmarks.denoising")
        for clean in (smooth(3, 32, 32), smooth(1, 32, 32)):
            found = module.run_baseline("non-local means", clean, 25.0, 0, 0)
            assert found["psnr"] > 22

    def test_bm3d_denoises(self) -> None:
        pytest.importorskip("bm3d", reason="needs the extra 'benchmark'")
        module = importlib.import_module("benchmarks.denoising")
        assert module.run_baseline("BM3D", smooth(1, 32, 32), 25.0, 0, 0)["psnr"] > 22

    def test_upscaling_faces_and_tables(
        self,
        photos: Path,
        tmp_path: Path,
        prior: MultiScalePrior,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        upscaling = importlib.import_module("benchmarks.upscaling")
        monkeypatch.setattr(upscaling, "load_prior", lambda model, device: prior)
        sets = ["--photos", str(photos), "--set5", str(photos)]
        upscaling.main([*sets, "--samples", "2", "--json", str(tmp_path / "upscaling.json")])
        for name, first in (("training", 0), ("validation", 24)):
            (tmp_path / name).mkdir()
            for index, face in enumerate(smooth(24, 3, 32, 32, seed=first)):
                write_image(tmp_path / name / f"{index}.png", Picture(face))
        faces = importlib.import_module("benchmarks.faces")
        monkeypatch.setattr(faces, "load_prior", lambda model, device: prior)
        found = {"one face": 1.0, "two eyes": 0.5}
        monkeypatch.setattr(faces, "found_by_cascades", lambda images: found)
        monkeypatch.setattr(faces, "EPOCHS", 1)
        sheet = tmp_path / "pictures" / "sheet.png"
        places = ["--faces", str(tmp_path), "--sheet", str(sheet), "--count", "4", "--shown", "4"]
        faces.main([*places, "--json", str(tmp_path / "faces.json")])
        assert read_image(sheet).pixels.shape == (1, 3, 70, 70)

        tables = importlib.import_module("benchmarks.tables")
        page = tmp_path / "page.md"
        marks = [f"<!-- table:{name} -->\nold\n<!-- /table:{name} -->\n" for name in tables.TABLES]
        page.write_text("".join(marks), encoding="utf-8")
        assert tables.update([page], tmp_path, check=True) == [page]
        assert tables.update([page], tmp_path) == [page]
        assert tables.update([page], tmp_path) == []
        text = page.read_text(encoding="utf-8")
        missing = [file for file, _ in tables.TABLES.values() if not (tmp_path / file).exists()]
        assert text.count("\nold\n") == len(missing)
        assert "denoising.json" in missing
        assert "| photos, ×2 |" in text
        assert "| details, level 1 |" in text
        assert "| whole image, samples |" in text
        assert "| two eyes | 50 % | 50 % | 50 % |" in text

    def test_averaging_and_jobs(
        self,
        photos: Path,
        tmp_path: Path,
        prior: MultiScalePrior,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        averaging = importlib.import_module("benchmarks.averaging")
        monkeypatch.setattr(averaging, "load_prior", lambda model, device: prior)
        sets = ["--photos", str(photos), "--set12", str(photos), "--images", "1"]
        averaging.main([*sets, "--sigma", "25", "--json", str(tmp_path / "averaging.json")])
        jobs = importlib.import_module("benchmarks.jobs")
        monkeypatch.setattr(jobs, "load_prior", lambda model, device: prior)
        words = [
            "--photos",
            str(photos),
            "--folder",
            "2",
            "16",
            "--rounds",
            "1",
            "--jobs",
            "1",
            "2",
        ]
        jobs.main([*words, "--json", str(tmp_path / "jobs.json")])
        tables = importlib.import_module("benchmarks.tables")
        text = tables.fill(
            "<!-- table:averaging -->\n<!-- /table:averaging -->\n"
            "<!-- table:jobs -->\n<!-- /table:jobs -->\n",
            tmp_path,
        )
        assert "| Set12, 1 images, σ = 25 |" in text
        assert "| seconds | `--jobs 1` | `--jobs 2` |" in text
        assert "| 2 images of 16×16 |" in text

    def test_restoration(
        self, tmp_path: Path, prior: MultiScalePrior, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        module = importlib.import_module("benchmarks.restoration")
        monkeypatch.setattr(module, "load_prior", lambda model, device: prior)
        calls: list[float] = []

        each = len(module.STRENGTHS) + 1  # and blind

        def other(noisy: np.ndarray, sigma: float) -> np.ndarray:
            calls.append(sigma)
            return noisy * (len(calls) % each == 1)  # the first changes nothing

        monkeypatch.setattr(module, "OTHERS", {"BM3D": other})
        monkeypatch.setattr(module, "bm3d", lambda noisy, sigma: noisy + 0 * sigma[..., None])
        scene = smooth(3, 64, 64)
        gray = 0.2 + 0.3 * smooth(1, 64, 64)
        noise = 0.05 * torch.randn(3, 64, 64, generator=torch.Generator().manual_seed(0))
        for folder, name, image in (
            ("eval/mcmaster", "1.png", scene),
            ("realnoise/camera", "00_noisy.png", scene + noise),
            ("realnoise/camera", "00_clean.png", scene),
            ("realnoise/microscope", "00_noisy.png", gray + noise[:1]),
            ("realnoise/microscope", "00_clean.png", (gray - 0.1) / 0.5),
        ):
            (tmp_path / folder).mkdir(parents=True, exist_ok=True)
            write_image(tmp_path / folder / name, Picture(image.clamp(0, 1)))
        fit = tmp_path / "realnoise" / "microscope" / "gain_offset.csv"
        fit.write_text("pair,gain,offset\n0,0.5,25.5\n")
        file = tmp_path / "restoration.json"
        arguments = ["--data", str(tmp_path), "--json", str(file)]
        module.main(arguments)
        assert len(calls) == 11 * each
        assert calls[1] == pytest.approx(25 / 255, rel=0.03)  # its true strength
        assert calls[3] == pytest.approx(25 / 255, rel=0.2)  # estimated
        picture = tmp_path / "noise.png"
        module.main([*arguments, "--model", "tiny", "--picture", str(picture)])
        assert len(calls) == 11 * each  # kept from the first run
        rows = {row["set"]: row for row in json.loads(file.read_text())["rows"]}
        assert len(rows) == 11
        assert rows["white, 25"]["noisy"] == pytest.approx(20.17, abs=0.2)
        assert rows["white, 25 once blurred"]["noisy"] == pytest.approx(20.17, abs=0.4)
        known = {name for name, row in rows.items() if "BM3D, told the spectrum" in row}
        assert known == {"white 25, blurred", "white, 25 once blurred"}
        straight = {name for name, row in rows.items() if "told its curve" not in row}
        assert straight == known | {"white, 25"}
        assert rows["real camera"]["noisy"] == pytest.approx(26.0, abs=0.5)
        assert rows["real microscope"]["noisy"] == pytest.approx(26.0, abs=0.5)
        assert rows["photons, linear"]["noisy"] > rows["JPEG, high ISO"]["noisy"]
        for row in rows.values():
            assert row["BM3D"] == pytest.approx(row["noisy"])
            assert row["BM3D, blind"] < row["noisy"] - 1
            assert row["worse"] in (0, 1)
            (record,) = row["records"]
            assert record["found"]
        assert read_image(picture).pixels.shape[1] == 3
        tables = importlib.import_module("benchmarks.tables")
        for table in (tables.restoration, tables.restoration_blind):
            assert "| real microscope |" in table(json.loads(file.read_text()))

    def test_what_restoration_tells_is_the_truth(self) -> None:
        module = importlib.import_module("benchmarks.restoration")
        power = module.blurred_power(0.1, 48, 64)
        kernel = module.SMOOTHING.outer(module.SMOOTHING)
        blurred = 0.1**2 * float(kernel.square().sum())
        assert power.sum() / (48 * 64) ** 2 == pytest.approx(blurred)
        scene = smooth(3, 64, 64)
        pair = dict(module.simulated({"a": scene}))["photons, linear"][0]
        assert not pair.shared
        scale = module.Scale(pair.noisy, pair.clean)
        told = module.with_curve(pair, pair.growth, scale, 2)
        photons = NoiseModel.photons(1 / 200, read=4.0)
        places = torch.linspace(0, 1, 33)
        torch.testing.assert_close(told.sigma * told.at(places), photons.sigma * photons.at(places))
        pair = dict(module.simulated({"a": scene}))["photons, Bayer"][0]
        fifth = 0.2 * pair.growth(pair.clean) * torch.randn(3, 64, 64)
        told = module.with_curve(
            pair._replace(noisy=pair.still + fifth), pair.growth, module.Scale(*pair[1:3]), 2
        )
        for levels in told.scales:
            assert levels == pytest.approx((0.2 * photons.sigma,) * 3, rel=0.15)
        pair = dict(module.simulated({"a": scene}))["photons, linear"][0]
        line, middle = module.measured_growth(pair.noisy, pair.clean), pair.clean.median()
        assert float(line(middle)) == pytest.approx(float(pair.growth(middle)), rel=0.1)

    def test_a_classifier_tells_what_differs_and_nothing_else(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        faces = importlib.import_module("benchmarks.faces")
        monkeypatch.setattr(faces, "EPOCHS", 6)
        first, second = smooth(60, 3, 16, 16, seed=1), smooth(60, 3, 16, 16, seed=90)
        assert faces.two_sample_accuracy(0.5 * first, second)["accuracy"] > 0.9
        assert faces.two_sample_accuracy(first, second)["accuracy"] < 0.8

    def test_looks_are_chosen_on_one_half_and_reported_on_the_other(
        self, tmp_path: Path, prior: MultiScalePrior, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        looks = importlib.import_module("benchmarks.looks")
        monkeypatch.setattr(looks, "load_prior", lambda model, device: prior)
        for name, value in (("SIDE", 32), ("PART", 16), ("SHOWN", ("coffee", "rocket"))):
            monkeypatch.setattr(looks, name, value)
        names = list(looks.SAMPLERS)
        answers = iter([0.9, 0.8, *(0.7, 0.6, 0.5, 0.6), 0.5, 0.9, 0.8, *(0.7, 0.6), 0.5])
        seen: list[tuple[Tensor, Tensor]] = []

        def told(first: Tensor, second: Tensor, paired: bool = False) -> dict[str, float]:
            assert first.shape == second.shape
            seen.append((first, second))
            return {"accuracy": next(answers)}

        monkeypatch.setattr(looks, "two_sample_accuracy", told)
        for number in range(4):
            image = smooth(3, 40, 36, seed=number)
            write_image(tmp_path / f"{number}.png", Picture(image))
        words = ["--photos", str(tmp_path)]
        looks.main([*words, "--json", str(tmp_path / "looks.json")])
        content = json.loads((tmp_path / "looks.json").read_text())
        assert content["chosen"] == names[2]
        assert list(content["validation"]) == ["bicubic", "least squares", *names, "photographs"]
        kept = ["bicubic", "least squares", names[0], names[2], "photographs"]
        assert list(content["test"]) == kept
        halves = [seen[place][1] for place in (0, 7)]
        photos = [read_image(tmp_path / f"{n}.png").pixels[0, :, 4:36, 2:34] for n in range(4)]
        for half, first in zip(halves, (0, 1), strict=True):
            torch.testing.assert_close(half, looks.parts(torch.stack(photos[first::2])))
        looks.main([*words, "--out", str(tmp_path / "sheet.png")])
        assert read_image(tmp_path / "sheet.png").pixels.shape[1:] == (
            3,
            5 * 32 + 6 * 8,
            6 * 32 + 7 * 8,
        )

    def test_enlargements_that_are_looked_at(self, prior: MultiScalePrior) -> None:
        looks = importlib.import_module("benchmarks.looks")
        image = torch.arange(128.0**2).view(1, 1, 128, 128) / 128**2
        corners = torch.cat([image[..., :64, :64], image[..., 64:, 64:]])
        assert torch.equal(looks.parts(image), corners)
        rows, columns = torch.arange(200.0)[:, None], torch.arange(300.0)
        places = looks.crops(torch.stack([rows.expand(200, 300), columns.expand(200, 300)]))
        begin = [[0, 0], [0, 172], [72, 0], [72, 172], [36, 86]]
        assert places.shape == (5, 2, 128, 128)
        assert places[:, :, 0, 0].tolist() == begin
        small = low_pass(smooth(2, 3, 32, 32), 2)
        assert torch.equal(looks.enlarged(prior, small, None), prior.upscale_mean(small, 4))
        for sampler in looks.SAMPLERS.values():
            found = looks.enlarged(prior, small, sampler)
            torch.testing.assert_close(low_pass(found, 2), small, atol=1e-5, rtol=0)
        default = looks.SAMPLERS["flow, 10 steps (default)"]
        first = prior.upscale(small[:1], 4, seed=0)[0]
        assert torch.equal(looks.enlarged(prior, small, default)[:1], first)

    def test_settings_of_the_sampler_are_measured_and_kept(
        self, tmp_path: Path, prior: MultiScalePrior, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        calls = importlib.import_module("benchmarks.calls")
        monkeypatch.setattr(calls, "load_prior", lambda model, device: prior)
        asked: list[Tensor] = []

        def cascades(images: Tensor) -> dict[str, float]:
            asked.append(images)
            return {"one face": 1.0, "two eyes": 0.5}

        monkeypatch.setattr(calls, "found_by_cascades", cascades)
        monkeypatch.setattr(importlib.import_module("benchmarks.faces"), "EPOCHS", 1)
        settings = {"few": ({"steps": 2}, {"steps": 2}), "more": ({"steps": 3}, {"steps": 2})}
        monkeypatch.setattr(calls, "SETTINGS", settings)
        for part, first in (("training", 0), ("validation", 24)):
            (tmp_path / part).mkdir()
            for number, face in enumerate(smooth(12, 3, 32, 32, seed=first)):
                write_image(tmp_path / part / f"{number}.png", Picture(face))
        words = ["--faces", str(tmp_path), "--out", str(tmp_path / "calls.json")]
        calls.main(words)
        content = json.loads((tmp_path / "calls.json").read_text())
        assert list(content["settings"]) == ["few", "more"]
        assert not torch.equal(*asked)
        found = content["settings"]["few"]
        assert found["cascades"] == {"one face": 1.0, "two eyes": 0.5}
        assert set(found["floors"]) == {"level 1", "level 2", "low"}
        assert 0 <= found["classifier"] <= 1
        assert found["contrast"]["training"] == pytest.approx(
            float(torch.stack([image.std() for image in smooth(12, 3, 32, 32)]).median()), abs=0.02
        )
        calls.main(words)
        assert len(asked) == 2  # both are there

    def test_a_setting_changes_one_rule_and_leaves_the_other(self, prior: MultiScalePrior) -> None:
        calls = importlib.import_module("benchmarks.calls")
        sampler = calls.sampler_of({"steps": 7}, {"eta": 0.5})
        low, details = sampler(prior.low), sampler(prior.details[0])
        plain = [calls.few_steps(network) for network in (prior.low, prior.details[0])]
        assert (low.steps, low.eta) == (7, plain[0].eta)
        assert (details.steps, details.eta) == (plain[1].steps, 0.5)

    def test_learning_curves(self, tmp_path: Path) -> None:
        pytest.importorskip("matplotlib")
        for part in ("training", "validation"):
            (tmp_path / part).mkdir()
            for i in range(2):
                write_image(tmp_path / part / f"{i}.png", Picture(smooth(3, 40, 48, seed=i)))
        learning = importlib.import_module("benchmarks.learning")
        file, picture = tmp_path / "learning.json", tmp_path / "learning.svg"
        places = ["--photos", str(tmp_path), "--json", str(file), "--plot", str(picture)]
        learning.main([*places, "--minutes", "0.02", "--receptive-field", "5"])
        runs = json.loads(file.read_text())["runs"]
        assert list(runs) == ["plain recipe, float32", "ours, float32", "ours"]
        assert all(run["points"][-1]["seconds"] > 0 for run in runs.values())
        assert picture.stat().st_size > 1000

    def test_time_to_a_psnr_is_interpolated(self) -> None:
        learning = importlib.import_module("benchmarks.learning")
        curve = learning.Curve(lambda: 0.0, 1.0)
        curve.points = [{"seconds": s, "psnr": p} for s, p in ((1, 20), (3, 24), (4, 23))]
        assert [curve.reached(p) for p in (19, 22, 24, 25)] == [1, 2, 3, None]

    def test_tables_of_brightness_and_of_noise_levels(self) -> None:
        tables = importlib.import_module("benchmarks.tables")
        quantiles = dict(
            zip(("0%", "5%", "25%", "50%", "75%", "95%", "100%"), range(7), strict=True)
        )
        faces = {
            name: {key: 0.1 * value for key, value in quantiles.items()}
            for name in ("samples", "reference", "training")
        }
        text = tables.brightness({"brightness": faces, "contrast": faces})
        row = "| 0.000 | 0.100 | 0.200 | 0.300 | 0.400 | 0.500 | 0.600 |"
        for what in ("brightness", "contrast"):
            for name in ("samples", "held-out faces", "training faces"):
                assert f"| {what}, {name} {row}" in text
        found = {"kind": "gray", "images": 16, "median error": 0.5, "worst error": 2.0}
        text = tables.noise_levels(
            {
                "rows": [
                    {**found, "sigma": 0, "gain": -38.0, "worse": 3},
                    {**found, "sigma": 5, "gain": 4.16, "worse": 0},
                ]
            }
        )
        assert "| gray, clean | 0.50 | 2.00 | – | 3 of 16 |" in text
        assert "| gray, σ = 5 | 0.50 | 2.00 | 4.16 | 0 of 16 |" in text

    def test_table_of_denoising_marks_the_best(self) -> None:
        tables = importlib.import_module("benchmarks.tables")
        head = {"set": "photos", "sigma": 25.0, "count": 20}
        averages = [
            {**head, "method": "BM3D", "psnr": 27.9},
            {**head, "method": "scalewise", "psnr": 28.04, "psnr_noisy": 20.17},
        ]
        assert "| photos, σ = 25 | 20.17 | – | 27.90 | **28.04** |" in tables.denoising(
            {"means": averages}
        )

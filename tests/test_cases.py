"""Inputs from public reports, worked on as people would: right results, or a sentence says why.

What is right stands in `shared/cases/NAME/expect.md`; the kinds have tests of their own elsewhere.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from cli_tools import Outcome, scalewise, scalewise_process, stored
from PIL import Image

import scalewise as package
from scalewise.images import read_image
from scalewise.store import read_config

pytestmark = pytest.mark.slow

Array = np.ndarray[Any, Any]


@pytest.fixture
def case(shared: Path, tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """The inputs of the case that a test is named after: `test_NN_...`."""
    number = request.node.name.split("_")[1]
    (source,) = (shared / "cases").glob(f"{number}-*")
    (tmp_path / "case").mkdir()
    shutil.copy(source / "make.py", tmp_path / "case")
    made = subprocess.run([sys.executable, "make.py"], cwd=tmp_path / "case", capture_output=True)
    assert made.returncode == 0, made.stderr
    return tmp_path / "case" / "in"


def denoised(source: Path, target: Path, *more: object) -> Outcome:
    done = scalewise("denoise", source, target, *more)
    assert done.code == 0, done.stderr
    return done


def pixels(path: Path) -> Array:
    """Values of all planes as one sees them, in [0, 1]: (N, H, W, C)."""
    return read_image(path).pixels.movedim(1, -1).double().numpy()


def psnr(clean: Array, found: Array) -> float:
    return float(-10 * np.log10(np.square(clean - found.clip(0, 1)).mean()))


def level(done: Outcome) -> float:
    """The noise level that was used, in 8-bit units of the picture's range."""
    (record,) = done.records
    return float(np.mean(record["sigma"]))


def test_01_one_picture_in_many_units(case: Path, tmp_path: Path) -> None:
    clean = np.load(case / "clean.npy").squeeze()[None, ..., None]
    for file in sorted(case.glob("*.tif")):
        denoised(file, tmp_path / file.name)
        found = tifffile.imread(tmp_path / file.name).astype(float).squeeze()[None, ..., None]
        unit = (found * clean).sum() / np.square(clean).sum()
        assert psnr(clean, found / unit) > 29.3, file.name
        assert tifffile.imread(file).dtype == tifffile.imread(tmp_path / file.name).dtype


def test_02_noise_under_jpeg(case: Path, tmp_path: Path) -> None:
    clean = np.load(case / "clean.npy")[None]
    for file, least in (("q95.jpg", 29.0), ("q90.jpg", 29.0), ("q80.jpg", 28.5), ("q70.jpg", 28.0)):
        done = denoised(case / file, tmp_path / "out.png", "--force", "--json")
        assert psnr(clean, pixels(tmp_path / "out.png")) > least, file
        assert 12 < level(done) < 27, file


def test_03_borders_without_noise(case: Path, tmp_path: Path) -> None:
    for file in sorted(case.glob("*.png")):
        done = denoised(file, tmp_path / "out.png", "--force", "--json")
        assert level(done) == pytest.approx(24.5, abs=1.0), file.name


def test_04_channels_of_other_noise(case: Path, tmp_path: Path) -> None:
    clean = np.load(case / "clean.npy")[None]
    for file in sorted(case.glob("*.png")):
        denoised(file, tmp_path / "out.png", "--force")
        before, after = pixels(file), pixels(tmp_path / "out.png")
        for channel in range(3):
            gain = psnr(clean[..., channel], after[..., channel])
            assert gain > psnr(clean[..., channel], before[..., channel]) + 1, (file.name, channel)


def test_05_stacks_in_one_page(case: Path, tmp_path: Path) -> None:
    pages = tifffile.imread(case / "pages.tif")
    for file in sorted(case.glob("*.tif")):
        denoised(file, tmp_path / file.name)
        found = tifffile.imread(tmp_path / file.name)
        assert found.shape == (5, 96, 96), file.name
        for before, after in zip(pages, found, strict=True):
            change = np.abs(after.astype(float) - before).mean() / 65535
            assert 0.03 < change < 0.1


def test_06_channels_that_are_no_colours(case: Path, tmp_path: Path) -> None:
    clean = np.load(case / "clean.npy")
    for name in ("stains", "planes", "infrared"):
        denoised(case / f"{name}.tif", tmp_path / f"{name}.tif")
        with tifffile.TiffFile(case / f"{name}.tif") as before:
            with tifffile.TiffFile(tmp_path / f"{name}.tif") as after:
                found = after.asarray() / 65535
                for tag in ("photometric", "extrasamples"):
                    kept = getattr(after.pages.first, tag)
                    assert kept == getattr(before.pages.first, tag), (name, tag)
        found = np.moveaxis(found, 0, -1) if name == "planes" else found
        for channel in range(4):
            assert psnr(clean[..., channel], found[..., channel]) > 29, (name, channel)


def test_07_long_metadata(case: Path, tmp_path: Path) -> None:
    for file in sorted(case.iterdir()):
        denoised(file, tmp_path / file.name)
        before, after = read_image(file), read_image(tmp_path / file.name)
        assert before.icc == after.icc
        assert (before.icc is None) == (file.stem != "profile")
        assert 0.02 < float((before.pixels - after.pixels).abs().mean()) < 0.1


def test_08_resolution(case: Path, tmp_path: Path) -> None:
    for file in sorted(case.glob("scan*")):
        denoised(file, tmp_path / file.name)
        enlarged = tmp_path / f"large-{file.name}"
        done = scalewise("upscale", file, enlarged, "--factor", 2)
        assert done.code == 0, done.stderr
        if file.suffix != ".webp":
            for place, dpi in ((tmp_path / file.name, 600), (enlarged, 1200)):
                with Image.open(place) as image:
                    found = image.info["dpi"]
                assert tuple(map(float, found)) == pytest.approx((dpi, dpi), abs=0.1), place
    denoised(case / "micrograph.tif", tmp_path / "micrograph.tif")
    with tifffile.TiffFile(tmp_path / "micrograph.tif") as file_:
        assert file_.imagej_metadata is not None
        assert file_.imagej_metadata["unit"] == "um"
        assert file_.pages.first.get_resolution(1) == pytest.approx((10, 10))


def test_09_hidden_folders(case: Path, tmp_path: Path) -> None:
    done = denoised(case / "album", tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").rglob("*.png")) == ["a.png", "b.png"]
    assert len(done.stdout.splitlines()) >= 2


def test_10_linked_folders(case: Path, tmp_path: Path) -> None:
    done = denoised(case / "data", tmp_path / "out")
    found = {str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*.png")}
    told = "link" in done.stdout + done.stderr
    assert {"here.png", "link.png"} <= found
    assert {"train/0.png", "train/1.png", "train/2.png"} <= found or told
    only = scalewise("denoise", case / "only", tmp_path / "only")
    assert only.code == 0 or "link" in only.sentence


def test_11_two_runs_in_one_folder(case: Path, tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "scalewise",
        "denoise",
        str(case / "many"),
        str(tmp_path / "o"),
    ]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    runs = [
        subprocess.Popen(
            [*command, "--skip-existing"], env=environment, stderr=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    errors = [run.communicate(timeout=300)[1] for run in runs]
    assert [run.returncode for run in runs] == [0, 0], errors
    written = sorted((tmp_path / "o").iterdir())
    assert [path.name for path in written] == [f"{i}.png" for i in range(8)]
    assert all(pixels(path).shape == (1, 256, 256, 3) for path in written)


def test_12_upscaling_of_black_and_white(case: Path, tmp_path: Path) -> None:
    for file in sorted(case.glob("*.png")):
        done = scalewise("upscale", file, tmp_path / "out.png", "--factor", 2, "--force")
        assert done.code == 0, done.stderr
        small, large = (torch.from_numpy(pixels(p)) for p in (file, tmp_path / "out.png"))
        again = torch.nn.functional.avg_pool2d(large.movedim(-1, 1), 2).movedim(1, -1)
        assert float((again - small).abs().max()) <= 1 / 255, file.name


def small_run(case: Path) -> list[object]:
    """Options of a training of seconds."""
    options = "--levels 1 --width 8 --receptive-field 5 --batch 4 --crop 16 --steps 2 --seed 1"
    recipe = case.parent / "tiny.json"
    recipe.write_text('{"low_width": 8, "low_multiples": [1, 1], "low_blocks": 1, "low_batch": 2}')
    return [*options.split(), "--recipe", recipe]


def test_13_one_small_image(case: Path, tmp_path: Path) -> None:
    for name in ("banner40", "banner64", "plain"):
        done = scalewise("train", case / name, "--out", tmp_path / name, *small_run(case))
        told = "zz-banner.png" in done.stdout + done.stderr
        assert done.code == 0, done.stderr
        recipe: Any = read_config(tmp_path / name).training["recipe"]
        assert recipe["crop"] == 16
        assert told or name != "banner40"


def test_14_resume_keeps_every_option(case: Path, tmp_path: Path) -> None:
    out = tmp_path / "model"
    first = ["--license", "mit", "--data-license", "CC0", "--description", "Coffee.", "--half"]
    first += ["--channels", "1", "--validation", str(case / "validation")]
    done = scalewise("train", case / "images", "--out", out, *small_run(case), *first)
    assert done.code == 0, done.stderr
    before = read_config(out)
    done = scalewise("train", case / "images", "--out", out, "--resume", "--steps", 4)
    assert done.code == 0, done.stderr
    after = read_config(out)
    for config in (before, after):
        data: Any = config.training["data"]
        assert (config.license, config.description, config.channels) == ("mit", "Coffee.", 1)
        assert data["license"] == "CC0"
        assert data["images"] == 6
    levels: Any = after.training["levels"]
    assert levels["1"]["steps"] == 4


def test_15_bytes_in_python(case: Path) -> None:
    noisy = torch.from_numpy(np.load(case / "bytes.npy"))
    noisy = noisy.movedim(-1, 0)[None] if noisy.shape[-1] == 3 else noisy[None, None]
    prior = package.load("photos", device="cpu")
    assert noisy.dtype == torch.uint8
    with pytest.raises(package.UsageError, match=r"255"):
        prior.denoise(noisy.expand(1, 3, -1, -1))


def test_16_pictures_of_other_kinds(case: Path, tmp_path: Path) -> None:
    done = denoised(case / "phone", tmp_path / "out")
    written = {path.stem for path in (tmp_path / "out").iterdir()}
    assert {"a", "b", "c", "d", "e"} <= written
    for name, suffix in (("f", "gif"), ("g", "avif"), ("h", "heic")):
        assert name in written or f".{suffix}" in (done.stdout + done.stderr).lower()


def test_17_colours_under_alpha(case: Path, tmp_path: Path) -> None:
    for factor in (None, 2):
        seen = []
        for name in ("black", "white", "red"):
            out = tmp_path / f"{name}-{factor}.png"
            command = ["denoise", case / f"{name}.png", out, "--sigma", 15]
            if factor is not None:
                command = ["upscale", case / f"{name}.png", out, "--factor", factor]
            done = scalewise(*command)
            assert done.code == 0, done.stderr
            found = stored(out).astype(int)
            visible = found[..., 3] > 0
            assert np.abs(found[visible][:, :3] - (230, 50, 50)).max() <= 25
            seen.append(np.where(visible[..., None], found[..., :3], 0))
        assert np.array_equal(seen[0], seen[1])
        assert np.array_equal(seen[0], seen[2])


def test_18_odd_names_and_no_home(
    case: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in ("HOME", "XDG_CACHE_HOME", "USER"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("LC_ALL", "C")
    done = scalewise_process("denoise", str(case / "names"), str(tmp_path / "out"), "--sigma", "10")
    assert done.code == 0, done.stderr
    before, after = (
        sorted(name for name in os.listdir(os.fsencode(folder)))
        for folder in (case / "names", tmp_path / "out")
    )
    assert after == before

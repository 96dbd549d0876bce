"""`scalewise demosaic`: what it writes, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from cli_tools import picture_file, save_models, scalewise, smooth, tree
from PIL import Image

from benchmarks.raw_files import photographed, write_dng
from scalewise.images import Picture, read_image, write_image


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_models(tmp_path_factory.mktemp("models"))


@pytest.fixture
def model(models: Path) -> tuple[str, Path]:
    return "--model", models / "photos"


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    values = photographed(smooth(40, 56).permute(1, 2, 0).numpy(), gain=1 / 2000)
    return write_dng(tmp_path / "raw.dng", values, orientation=6)


def test_a_raw_file(raw: Path, model: tuple[str, Path], tmp_path: Path) -> None:
    done = scalewise("demosaic", raw, tmp_path / "out.tif", *model, "--json")
    assert done.code == 0
    assert any("(--gain)" in note for note in done.records[0]["notes"])
    picture = read_image(tmp_path / "out.tif")
    assert picture.pixels.shape == (1, 3, 56, 40)
    assert picture.depth == "uint16"
    assert picture.exif is not None
    assert b"Somebody" in picture.exif


def test_jpeg_and_exposure(raw: Path, model: tuple[str, Path], tmp_path: Path) -> None:
    for name, stops in (("a", "0"), ("b", "1")):
        output = tmp_path / f"{name}.jpg"
        done = scalewise("demosaic", raw, output, *model, "--exposure", stops, "--steps", "1")
        assert done.code == 0
    means = [np.asarray(Image.open(tmp_path / f"{name}.jpg")).mean() for name in "ab"]
    assert means[1] > 1.2 * means[0]


def test_samples(raw: Path, model: tuple[str, Path], tmp_path: Path) -> None:
    options = ("--mode", "sample", "--samples", "2", "--uncertainty", tmp_path / "deviation.tif")
    assert scalewise("demosaic", raw, tmp_path / "out.png", *model, *options).code == 0
    assert {file.name for file in tmp_path.iterdir()} >= {"out-1.png", "out-2.png", "deviation.tif"}


def test_a_folder(raw: Path, model: tuple[str, Path], tmp_path: Path) -> None:
    """Every raw file of it, damaged ones told; what is done is left the second time."""
    card, out = tmp_path / "card", tmp_path / "out"
    (card / "day").mkdir(parents=True)
    picture_file(card / "raw.jpg")  # as cameras write beside it
    whole = raw.read_bytes()
    (card / "day" / "a.DNG").write_bytes(whole)
    (card / "b.dng").write_bytes(whole[:2500])
    options = (card, out, *model, "--steps", "1")
    done = scalewise("demosaic", *options)
    assert done.code == 1
    assert "1 done, 1 failed: b.dng" in done.stdout
    assert set(tree(out)) == {"day", "day/a.tif"}
    (card / "b.dng").write_bytes(whole)
    assert scalewise("demosaic", *options).code == 1
    done = scalewise("demosaic", *options, "--skip-existing", "--jobs", "2")
    assert done.code == 0, done.stderr
    assert "1 done, 1 left as they were" in done.stdout
    assert read_image(out / "b.tif").pixels.equal(read_image(out / "day" / "a.tif").pixels)
    assert "nothing to do" in scalewise("demosaic", *options, "--skip-existing").stderr


def test_a_folder_of_mosaics_as_images(model: tuple[str, Path], tmp_path: Path) -> None:
    (tmp_path / "frames").mkdir()
    for name in ("a.png", "b.tif"):
        write_image(tmp_path / "frames" / name, Picture(smooth(16, 16)[:1], depth="uint16"))
    folders = (tmp_path / "frames", tmp_path / "out")
    done = scalewise("demosaic", *folders, "--pattern", "RGGB", "--sigma", "2", *model)
    assert done.code == 0, done.stderr
    assert set(tree(tmp_path / "out")) == {"a.png", "b.tif"}


@pytest.mark.parametrize("noise", [("--gain", "8", "--read-noise", "2"), ("--sigma", "2"), ()])
def test_a_mosaic_as_an_image(
    noise: tuple[str, ...], model: tuple[str, Path], tmp_path: Path
) -> None:
    values = photographed(smooth(40, 56).permute(1, 2, 0).numpy(), gain=1 / 2000)
    pixels = torch.from_numpy(values).float()[None]
    write_image(tmp_path / "frame.png", Picture(pixels, depth="uint16"))
    options = ("--pattern", "RGGB", "--black", "0", "--white", "65535", *noise)
    balance = ("--white-balance", "2,1,1.6")
    done = scalewise(
        "demosaic", tmp_path / "frame.png", tmp_path / "out.png", *model, *options, *balance
    )
    assert done.code == 0
    assert read_image(tmp_path / "out.png").pixels.shape == (1, 3, 40, 56)


@pytest.mark.parametrize(
    ("code", "words", "arguments"),
    [
        (1, "is no raw file that LibRaw knows", ("rgb.png", "out.png")),
        (1, "has 3 channels, so it is no mosaic", ("rgb.png", "out.png", "--pattern", "RGGB")),
        (2, "pattern must be RGGB, BGGR", ("raw.dng", "out.png", "--pattern", "RGB")),
        (2, "white must be above black", ("raw.dng", "out.png", "--black", "20000")),
        (1, "raw.dng: damaged or cut short", ("cut/raw.dng", "out.png")),
        (1, "empty.dng: is empty", ("empty.dng", "out.png")),
        (1, "found nothing of this name", ("none.dng", "out.png")),
        (2, "names an image, but . is a folder; give a folder", (".", "out.png")),
        (1, "holds no image; expected .3fr, .arw", ("images", "out")),
        (2, "unknown image suffix '.dng'", ("raw.dng", "out.dng")),
        (2, "must be three numbers such as", ("raw.dng", "out.png", "--white-balance", "2")),
        (2, "three numbers above 0", ("raw.dng", "out.png", "--white-balance", "2,0,1")),
        (2, "both say what the noise is", ("raw.dng", "out.png", "--gain", "1", "--sigma", "2")),
        (
            2,
            "--offset and --read-noise belong to --gain",
            ("raw.dng", "out.png", "--read-noise", "2"),
        ),
        (2, "--gain must be above 0", ("raw.dng", "out.png", "--gain", "0")),
        (2, "needs a model of RGB images", ("raw.dng", "out.png", "--model", "gray")),
    ],
)
def test_bad_input(
    code: int,
    words: str,
    arguments: tuple[str, ...],
    raw: Path,
    models: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    picture_file(tmp_path / "rgb.png")
    (tmp_path / "empty.dng").touch()
    (tmp_path / "cut").mkdir()
    (tmp_path / "images").mkdir()
    picture_file(tmp_path / "images" / "rgb.png")
    (tmp_path / "cut" / "raw.dng").write_bytes(raw.read_bytes()[:2500])
    before = tree(tmp_path)
    named = "--model" in arguments
    model = models / ("gray" if named else "photos")
    given = arguments[: arguments.index("--model")] if named else arguments
    done = scalewise("demosaic", *given, "--model", model)
    assert done.code == code, done.stderr
    assert words in done.sentence
    assert tree(tmp_path) == before

"""The tour, on tiny models here and on the packaged ones where they are present."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from cli_tools import save_models, scalewise, stored, tree

from scalewise import demo, store
from scalewise.data import sample_photo
from scalewise.images import read_image

PACKAGED = {"photos", "faces"} <= set(store.packaged())


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_models(tmp_path_factory.mktemp("models"))


def test_photos_need_no_download(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pooch", None)
    for name, (top, left) in (demo.DENOISED, demo.UPSCALED):
        photo = sample_photo(name)
        assert photo.shape[0] == 3
        assert 0 <= photo.min() < photo.max() <= 1
        assert photo.shape[1] >= top + demo.TILE
        assert photo.shape[2] >= left + demo.TILE


def test_demo_writes_a_sheet_and_single_results(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo, "MODELS", (models / "photos", models / "faces"))
    monkeypatch.chdir(tmp_path)
    done = scalewise("demo")
    assert done.code == 0, done.stderr
    out = tmp_path / "scalewise-demo"
    assert set(tree(out)) == set(demo.OUTPUTS)
    head, _, *rows = done.stdout.splitlines()
    assert head.split() == ["step", "image", "PSNR", "before", "PSNR", "after", "seconds"]
    assert [row.split()[0] for row in rows[:4]] == ["denoise", "upscale", "upscale", "synthesize"]
    assert "20.1" in rows[0]  # dB at sigma 25
    assert rows[3].split()[:3] == ["synthesize", "16", "faces"]
    assert len({file.read_bytes() for file in out.glob("face-*.png")}) == 16
    assert stored(out / "demo.png").shape[1:] == (demo.WIDTH, 3)
    small, large = (
        read_image(out / f"upscale-{kind}.png").pixels[0] for kind in ("small", "sample")
    )
    assert large.shape[1] == demo.FACTOR * small.shape[1]

    again = scalewise("demo")
    assert again.code == 1
    assert "exist; give --force to overwrite" in again.sentence


@pytest.mark.slow
def test_demo_repeats_and_prints_records(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo, "MODELS", (models / "photos", models / "faces"))
    monkeypatch.setattr(demo, "FACES", 2)
    sheets = []
    for folder in (tmp_path / "a", tmp_path / "b"):
        done = scalewise("demo", "--out", folder, "--json", "--seed", 3)
        assert done.code == 0, done.stderr
        sheets.append((folder / "demo.png").read_bytes())
        assert [record["step"] for record in done.records][-1] == "synthesize 2 faces"
        assert all(Path(record["output"]).is_file() for record in done.records)
    assert sheets[0] == sheets[1]


def test_sheet_wraps_rows() -> None:
    images = [torch.full((3, 96, 96), 0.5)] * 9
    parts = [
        demo.Part("Four", images[:4], ("a", "b", "c", "d"), {}, []),
        demo.Part("Nine", images, (), {}, []),
    ]
    sheet = demo.sheet(parts)
    assert sheet.shape[::2] == (3, demo.WIDTH)
    assert sheet.shape[1] > 384 + 2 * 184
    assert 0.3 < (sheet == 128 / 255).float().mean() < 0.9


@pytest.mark.parametrize(
    ("code", "words", "out"),
    [
        (2, "file: is a file; give the name of a folder", "file"),
        (2, "'-' is not an image", "-"),
    ],
)
def test_bad_output(
    code: int, words: str, out: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("a file")
    done = scalewise("demo", "--out", out)
    assert done.code == code
    assert words in done.sentence
    assert set(tree(tmp_path)) == {"file"}


@pytest.mark.slow
@pytest.mark.skipif(not PACKAGED, reason="needs the packaged models")
def test_packaged_models_improve_on_what_they_are_given(tmp_path: Path) -> None:
    records = {record["step"]: record for record in demo.run(tmp_path / "out")}
    denoised = records["denoise sigma 25"]
    assert denoised["psnr_after"] > denoised["psnr_before"] + 8
    mean = records["upscale x4, least squares"]
    assert mean["psnr_after"] > mean["psnr_before"]

"""Training sets that are read as they are needed: folders, tar shards, arrays on disk."""

from __future__ import annotations

import io
import json
import tarfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from test_training import TINY, Silent, same_weights
from typer.testing import CliRunner

from scalewise.cli.commands import app
from scalewise.data import ImageSet, Reading, Streamed, hold_out, load_image_set, open_image_set
from scalewise.data.streaming import Window, whole
from scalewise.errors import ScalewiseError
from scalewise.training import Recipe, TrainingRun, run

STREAM = Reading(stream=True, memory=0.1)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def picture(number: int, side: int = 40, mode: str = "RGB") -> Image.Image:
    rng = np.random.default_rng(number)
    shape = (side // 8, (side + 8) // 8, 3) if mode == "RGB" else (side // 8, (side + 8) // 8)
    small = Image.fromarray(rng.integers(0, 255, shape).astype(np.uint8))
    return small.resize((side + 8, side), Image.Resampling.NEAREST)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Twelve pictures of many kinds: formats, depths, sizes, orientations, palettes, alpha."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for number, suffix in enumerate(("png", "jpg", "webp", "bmp", "tif", "png", "jpg")):
        picture(number, 40 + 8 * number).save(folder / f"{number}.{suffix}")
    turned = Image.Exif()
    turned[0x0112] = 6
    picture(7).save(folder / "7.jpg", exif=turned)
    picture(8).convert("P").save(folder / "8.png")
    picture(9, mode="L").save(folder / "9.png")
    picture(10).convert("RGBA").save(folder / "a.png")
    picture(11).convert("CMYK").save(folder / "b.jpg")
    return folder


def packed(photos: Path, shard: Path, names: list[str] | None = None) -> Path:
    """A tar file of pictures, and of something that is none."""
    shard.parent.mkdir(exist_ok=True)
    with tarfile.open(shard, "w") as archive:
        for file in sorted(photos.iterdir()):
            if names is None or file.name in names:
                archive.add(file, f"deep/{file.name}")
        about = tarfile.TarInfo("deep/labels.json")
        about.size = 2
        archive.addfile(about, io.BytesIO(b"{}"))
    return shard


def same_images(found: ImageSet, expected: ImageSet) -> bool:
    assert found.shapes == expected.shapes
    assert (found.channels, found.dtype) == (expected.channels, expected.dtype)
    return all(torch.equal(a, b) for a, b in zip(found.images, expected.images, strict=True))


# What is read


@pytest.mark.parametrize("channels", [None, 1, 3])
def test_a_folder_reads_the_same_either_way(photos: Path, channels: int | None) -> None:
    streamed = open_image_set(photos, channels, STREAM)
    assert isinstance(streamed.images, Streamed)
    held = load_image_set(photos, channels)
    assert same_images(streamed, held)
    assert open_image_set(photos, channels).images[0].shape == held.images[0].shape
    crops = [images.crops(30, 24, seeded(3), rotate=True) for images in (streamed, held)]
    assert torch.equal(*crops)
    parts = [hold_out(images)[0].crops(30, 24, seeded(3)) for images in (streamed, held)]
    assert torch.equal(*parts)


def test_one_image_of_16_bits_makes_all_floats(photos: Path) -> None:
    values = np.random.default_rng(0).integers(0, 65535, (40, 48)).astype(np.uint16)
    Image.fromarray(values).save(photos / "deep.png")
    streamed = open_image_set(photos, None, STREAM)
    assert streamed.dtype == torch.float32
    assert same_images(streamed, load_image_set(photos))


@pytest.mark.parametrize(
    "name", ["shards", "shards/*.tar", "shards/{000..001}.tar", "shards/000.tar"]
)
def test_tar_shards(photos: Path, name: str) -> None:
    names = sorted(file.name for file in photos.iterdir())
    packed(photos, photos.parent / "shards" / "000.tar", names[:8])
    packed(photos, photos.parent / "shards" / "001.tar", names[8:])
    expected = load_image_set(photos)
    if name.endswith("000.tar"):
        expected = expected.part(range(8))
    source = str(photos.parent / name)
    streamed, held = open_image_set(source, None, STREAM), open_image_set(source)
    assert isinstance(streamed.images, Streamed)
    assert not isinstance(held.images, Streamed)
    assert same_images(streamed, expected)
    assert same_images(held, expected)
    assert streamed.files[0].endswith("000.tar: deep/0.png")


def test_a_folder_of_images_is_one_whatever_else_is_there(photos: Path) -> None:
    packed(photos, photos / "backup.tar", ["0.png"])
    assert len(open_image_set(photos, None, STREAM)) == 12


@pytest.mark.parametrize("shape", [(6, 32, 40), (6, 32, 40, 3), (6, 3, 32, 40), (6, 1, 32, 40)])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("kind", ["npy", "zarr"])
def test_arrays_on_disk(tmp_path: Path, shape: tuple[int, ...], dtype: str, kind: str) -> None:
    values = np.random.default_rng(0).random(shape)
    if dtype != "float32":
        values = values * np.iinfo(dtype).max
    array, path = values.astype(dtype), tmp_path / f"images.{kind}"
    np.save(tmp_path / "images.npy", array)
    if kind == "zarr":
        zarr = pytest.importorskip("zarr")
        zarr.create_array(path, shape=shape, chunks=(1, *shape[1:]), dtype=dtype)[:] = array
    streamed = open_image_set(path, None, STREAM)
    assert isinstance(streamed.images, Streamed)
    held = load_image_set(tmp_path / "images.npy")
    assert same_images(streamed, held)
    assert same_images(open_image_set(path), held)
    assert open_image_set(path, 3, STREAM).channels == 3


@pytest.mark.parametrize("shape", [(6, 64, 72), (6, 64, 72, 3), (6, 3, 64, 72)])
@pytest.mark.parametrize("kind", ["npy", "zarr"])
def test_of_arrays_only_what_is_seen_is_read(
    tmp_path: Path, shape: tuple[int, ...], kind: str
) -> None:
    array = np.random.default_rng(0).integers(0, 255, shape, np.uint8)
    path = tmp_path / f"images.{kind}"
    np.save(tmp_path / "images.npy", array)
    if kind == "zarr":
        zarr = pytest.importorskip("zarr")
        chunks = tuple(16 if side > 6 else 1 for side in shape)
        zarr.create_array(path, shape=shape, chunks=chunks, dtype="uint8")[:] = array
    streamed = open_image_set(path, None, STREAM)
    assert isinstance(streamed.images, Streamed)
    read: list[torch.Size] = []
    source = streamed.images.kept.source

    def noted(number: int, window: Window) -> torch.Tensor:
        found = source.read(number, window)
        read.append(found.shape[1:])
        return found

    streamed.images.kept.source = replace(source, read=noted)
    held = load_image_set(tmp_path / "images.npy")
    assert torch.equal(*(images.crops(9, 24, seeded(), rotate=True) for images in (streamed, held)))
    assert read == [(24, 24)] * 9


# Memory


def test_large_sets_are_read_as_needed(photos: Path) -> None:
    needed = sum(image.numel() for image in load_image_set(photos).images) / 1e9
    little, enough = Reading(memory=needed / 2), Reading(memory=2 * needed)
    assert isinstance(open_image_set(photos, None, little).images, Streamed)
    assert not isinstance(open_image_set(photos, None, enough).images, Streamed)


def test_no_more_is_kept_than_memory_was_given(photos: Path) -> None:
    images = open_image_set(photos, None, Reading(stream=True, memory=3e-5)).images
    assert isinstance(images, Streamed)
    for seed in range(5):
        images.take(torch.randint(12, (20,), generator=seeded(seed)).tolist(), [whole] * 20)
        kept = sum(image.numel() for image in images.kept.images.values())
        assert kept == images.kept.held <= 3e4
        assert kept > 5e3  # one image at least


# Training


def runs_of(sets: tuple[ImageSet, ImageSet], folder: Path, stop: int | None = None) -> TrainingRun:
    recipe = Recipe(**TINY, steps=8, seed=3, precision="float32")
    return TrainingRun(recipe, *sets, folder, torch.device("cpu"), Silent(stop))


def test_it_trains_what_memory_trains(photos: Path, tmp_path: Path) -> None:
    streamed = hold_out(open_image_set(photos, None, STREAM))
    held = hold_out(load_image_set(photos))
    priors = [runs_of(sets, tmp_path / str(n)).run() for n, sets in enumerate((streamed, held))]
    assert same_weights(*priors)


@pytest.mark.parametrize("stop", [3, 11])
def test_resumed_amid_a_stretch_it_ends_the_same(
    photos: Path, tmp_path: Path, stop: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "SAVE_SECONDS", 0.0)
    shard = packed(photos, tmp_path / "shards" / "0.tar")
    sets = hold_out(open_image_set(shard, None, STREAM))
    whole = runs_of(sets, tmp_path / "whole").run()
    with pytest.raises(KeyboardInterrupt):
        runs_of(sets, tmp_path / "cut", stop).run()
    again = hold_out(open_image_set(shard, None, STREAM))
    resumed = runs_of(again, tmp_path / "cut")
    resumed.resume()
    assert same_weights(resumed.run(), whole)


def test_images_are_told_by_what_they_hold_wherever_they_lie(
    photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = open_image_set(photos, None, STREAM).identity
    monkeypatch.chdir(photos.parent)
    assert open_image_set(photos.name, None, STREAM).identity == before
    shard = packed(photos, photos.parent / "0.tar")
    assert open_image_set(shard, None, STREAM).identity == before
    picture(99, 40).save(photos / "0.png")
    assert open_image_set(photos, None, STREAM).identity != before


# What is damaged


def test_damaged_images_are_left_out_and_told(photos: Path) -> None:
    (photos / "0.png").write_bytes(b"nothing")
    whole = (photos / "6.jpg").read_bytes()
    (photos / "6.jpg").write_bytes(whole[: len(whole) * 2 // 3])
    told: list[str] = []
    images = open_image_set(photos, None, STREAM, told.append)
    assert len(images) == 11
    assert [note.split("/")[-1][:5] for note in images.notes] == ["0.png"]
    crops = [images.crops(60, 24, seeded(3)) for _ in range(2)]
    assert torch.equal(*crops)
    assert len(told) == 1
    assert "6.jpg: damaged or cut short" in told[0]
    shard = packed(photos, photos.parent / "shards" / "0.tar")
    held = open_image_set(shard)
    assert len(held) == 10
    assert len(held.notes) == 2


def test_a_set_of_damaged_images_is_refused(photos: Path) -> None:
    whole = (photos / "6.jpg").read_bytes()
    for file in photos.iterdir():
        file.unlink()
    (photos / "a.jpg").write_bytes(whole[: len(whole) * 2 // 3])
    images = open_image_set(photos, None, STREAM)
    with pytest.raises(ScalewiseError, match=r"none of the 1 images of a part .*a\.jpg first; rep"):
        images.crops(1, 24, seeded())
    (photos / "a.jpg").write_bytes(b"nothing")
    with pytest.raises(ScalewiseError, match="none of the 1 images can be read"):
        open_image_set(photos, None, STREAM)


def test_bad_shards(photos: Path) -> None:
    shard = packed(photos, photos.parent / "shards" / "0.tar")
    whole = shard.read_bytes()
    for length in (len(whole) // 2, len(whole) // 2 // 512 * 512, 100):
        shard.write_bytes(whole[:length])
        with pytest.raises(ScalewiseError, match=r"0\.tar: is damaged or cut short .*; copy it"):
            open_image_set(shard)
    with tarfile.open(shard, "w:gz") as archive:
        archive.add(photos / "0.png")
    with pytest.raises(ScalewiseError, match="is compressed, so that single images cannot be read"):
        open_image_set(shard)
    packed(photos, shard, [])
    with pytest.raises(ScalewiseError, match=r"0\.tar: holds no image; expected \.png"):
        open_image_set(shard)
    with pytest.raises(ScalewiseError, match=r"1\.tar: no such tar file"):
        open_image_set(str(shard.parent / "{0..1}.tar"))
    with pytest.raises(ScalewiseError, match="must count upwards"):
        open_image_set(str(shard.parent / "{1..0}.tar"))


def test_bad_arrays(tmp_path: Path) -> None:
    zarr = pytest.importorskip("zarr")

    def made(shape: tuple[int, ...], dtype: str) -> Path:
        path = tmp_path / f"{dtype}-{len(shape)}.zarr"
        zarr.create_array(path, shape=shape, dtype=dtype)
        return path

    with pytest.raises(ScalewiseError, match=r"expected images of shape .*, found \[4, 5\]"):
        open_image_set(made((4, 5), "uint8"))
    with pytest.raises(ScalewiseError, match=r"floats in .0, 1., found int64"):
        open_image_set(made((4, 16, 16), "int64"))
    zarr.create_group(tmp_path / "group.zarr")
    with pytest.raises(ScalewiseError, match="cannot be read as a Zarr array"):
        open_image_set(tmp_path / "group.zarr")
    bright = made((4, 16, 16), "float32")
    zarr.open_array(bright)[2] = 7.0
    told: list[str] = []
    images = open_image_set(bright, None, STREAM, told.append)
    images.crops(40, 8, seeded())
    assert told == [
        f"image 2 of {bright}: expected intensities in [0, 1], found 7 to 7; rescale them: left out"
    ]


# The command


def call(*words: object) -> Any:
    return CliRunner().invoke(app, ["train", *map(str, words)])


def test_the_command_streams(photos: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "tiny.json"
    small = {name: value for name, value in TINY.items() if name != "levels"}
    recipe.write_text(json.dumps(small | {"steps": 2, "estimator_fraction": 0}))
    shard = packed(photos, tmp_path / "shards" / "000.tar")
    asked = ["--recipe", recipe, "--levels", 1, "--compare", "none"]
    done = call(shard, "--out", tmp_path / "one", *asked, "--stream", "--memory", 0.01)
    assert done.exit_code == 0, done.output
    done = call(shard, "--out", tmp_path / "one", "--resume")
    assert done.exit_code == 0, done.output
    done = call(shard, "--out", tmp_path / "two", *asked)
    assert done.exit_code == 0, done.output
    weights = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("one", "two")]
    assert weights[0] == weights[1]
    done = call(shard, "--out", tmp_path / "three", *asked, "--stream", "--noisy")
    assert done.exit_code == 2
    assert "the noise of noisy images is looked at in all of them" in done.output

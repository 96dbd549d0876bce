"""The commands on real files, done right; and what every command shares."""

from __future__ import annotations

import io
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from cli_tools import (
    picture_file,
    rich_picture,
    save_models,
    scalewise,
    scalewise_process,
    smooth,
    stored,
    tree,
)
from PIL import JpegImagePlugin

from scalewise import __version__, restore, store
from scalewise.cli import console
from scalewise.errors import UsageError
from scalewise.images import Picture, read_image, to_channels, write_image
from scalewise.wavelets import merge, split

COMMANDS = (
    "demo",
    "denoise",
    "upscale",
    "noise",
    "synthesize",
    "train",
    "info",
    "models",
    "reproduce",
)
MORE = (
    "reproduce",
    "benchmark",
    "import-reference",
    *(f"evaluate {what}" for what in ("denoise", "upscale", "synthesize", "likelihood")),
)
HEAVY = ("torch", "numpy", "PIL", "pydantic", "skimage", "rich")


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_models(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def photos(models: Path) -> Path:
    return models / "photos"


# Help


@pytest.mark.parametrize("command", [*COMMANDS, *MORE])
def test_help_describes_each_command(command: str) -> None:
    told = scalewise(*command.split(), "--help")
    assert told.code == 0
    assert f"scalewise {command}" in " ".join(told.stdout.split())


def test_help_imports_nothing_heavy() -> None:
    """Which keeps it below a third of a second."""
    calls = [["--help"], *([*command.split(), "-h"] for command in (*COMMANDS, *MORE))]
    script = (
        "import sys; from typer.testing import CliRunner; from scalewise.cli.commands import app\n"
        f"for call in {calls}: assert CliRunner().invoke(app, call).exit_code == 0\n"
        f"print([name for name in {HEAVY} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout == "[]\n", done.stderr


def test_program_tells_its_version_and_commands() -> None:
    assert scalewise_process("--version").stdout == f"scalewise {__version__}\n"
    listed = scalewise_process("--help")
    assert listed.code == 0
    assert all(f"\n  {command} " in listed.stdout for command in (*COMMANDS, "evaluate"))


# Denoise


def test_program_denoises_a_file(photos: Path, tmp_path: Path) -> None:
    noisy = picture_file(tmp_path / "noisy.png")
    done = scalewise_process(
        "denoise", "noisy.png", "clean.png", "--model", photos, "--json", cwd=tmp_path
    )
    assert done.code == 0, done.stderr
    assert done.stderr == ""
    (record,) = done.records
    wanted = {"input", "output", "uncertainty", "sigma", "noise", "average", "seconds", "notes"}
    assert record.keys() == wanted
    assert (record["input"], record["output"]) == ("noisy.png", "clean.png")
    assert stored(tmp_path / "clean.png").shape == stored(noisy).shape


def test_denoise_is_the_priors_denoise(photos: Path, tmp_path: Path) -> None:
    pixels = smooth(20, 28)
    write_image(tmp_path / "noisy.tif", Picture(pixels, depth="float32"))
    done = scalewise(
        "denoise", tmp_path / "noisy.tif", tmp_path / "clean.tif", "--model", photos, "--sigma", 25
    )
    assert done.code == 0
    assert "sigma 25.0" in done.stdout
    with torch.no_grad():
        expected = store.load(photos).denoise(pixels[None], 25 / 255)[0]
    assert torch.equal(read_image(tmp_path / "clean.tif").pixels[0], expected)


@pytest.mark.parametrize(
    ("given", "told"), [("0.04", "0.04"), ("0.05", "0.05"), ("0.26", "0.3"), ("25", "25.0")]
)
def test_faint_noise_is_not_told_as_none(
    photos: Path, tmp_path: Path, given: str, told: str
) -> None:
    source = picture_file(tmp_path / "noisy.png")
    done = scalewise("denoise", source, tmp_path / "clean.png", "--model", photos, "--sigma", given)
    assert f"(sigma {told}, " in done.stdout


@pytest.mark.parametrize("model", ["photos", "gray"])
def test_denoise_estimates_the_level_of_the_file(model: str, models: Path, tmp_path: Path) -> None:
    """Also where a gray model sees the milder noise of the gray version."""
    noise = torch.randn((3, 96, 96), generator=torch.Generator().manual_seed(0))
    write_image(tmp_path / "noisy.tif", Picture(smooth(96, 96) + 0.1 * noise, depth="float32"))
    files = tmp_path / "noisy.tif", tmp_path / "clean.tif"
    done = scalewise("denoise", *files, "--model", models / model, "--json")
    assert done.records[0]["sigma"] == pytest.approx(25.5, abs=2)


def test_blind_model_tells_what_it_removed(models: Path, tmp_path: Path) -> None:
    write_image(tmp_path / "noisy.tif", Picture(smooth(20, 28, 1), depth="float32"))
    files = tmp_path / "noisy.tif", tmp_path / "clean.tif"
    done = scalewise("denoise", *files, "--model", models / "blind", "--json")
    removed = (read_image(files[0]).pixels - read_image(files[1]).pixels).square().mean().sqrt()
    assert done.records[0]["sigma"] == pytest.approx(255 * removed.item(), rel=1e-3)


def test_gray_model_is_told_the_noise_of_the_gray_image(models: Path, tmp_path: Path) -> None:
    write_image(tmp_path / "noisy.tif", Picture(smooth(20, 28), depth="float32"))
    files = tmp_path / "noisy.tif", tmp_path / "clean.tif"
    done = scalewise("denoise", *files, "--model", models / "gray", "--sigma", 50, "--json")
    assert done.records[0]["sigma"] == 50
    level = 50 / 255 * (0.299**2 + 0.587**2 + 0.114**2) ** 0.5
    gray, _ = to_channels(smooth(20, 28), 1)
    with torch.no_grad():
        expected = store.load(models / "gray").denoise(gray[None], level)[0]
    torch.testing.assert_close(read_image(files[1]).pixels[0], expected)


def test_denoise_keeps_depth_alpha_profile_and_exif(photos: Path, tmp_path: Path) -> None:
    given = rich_picture()
    for name in ("a.png", "a.tif"):
        write_image(tmp_path / name, given)
        out = tmp_path / f"out-{name}"
        assert scalewise("denoise", tmp_path / name, out, "--model", photos).code == 0
        there, back = read_image(tmp_path / name), read_image(out)
        assert back.depth == "uint16"
        assert back.alpha is not None
        assert there.alpha is not None
        assert torch.equal(back.alpha, there.alpha)
        assert (back.icc, back.exif) == (there.icc, there.exif)
        assert not torch.equal(back.pixels, there.pixels)


def test_strength_means_noise(photos: Path, models: Path, tmp_path: Path) -> None:
    noisy = smooth(20, 28)
    write_image(tmp_path / "noisy.tif", Picture(noisy, depth="float32"))

    def result(*arguments: object) -> torch.Tensor:
        out = tmp_path / "out.tif"
        shared = ("denoise", tmp_path / "noisy.tif", out, "--force", "--sigma", 20)
        assert scalewise(*shared, *arguments).code == 0
        return read_image(out).pixels[0]

    prior, own = store.load(photos), ("--model", photos)
    with torch.no_grad():
        half, whole = (prior.denoise(noisy[None], s / 255)[0] for s in (10, 20))
    assert torch.equal(result("--strength", 0, *own), noisy)
    torch.testing.assert_close(result("--strength", 0.5, *own), half)
    mixed = result("--strength", "luma=0.5, chroma=1", *own)
    torch.testing.assert_close(to_channels(mixed, 1)[0], to_channels(half, 1)[0])
    for channel in (0, 2):
        torch.testing.assert_close(mixed[channel] - mixed[1], whole[channel] - whole[1])
    grain = result("--keep-grain", 0.4, *own) - whole
    low, details = split(to_channels(noisy - whole, 1)[0][None])
    torch.testing.assert_close(grain, merge(0 * low, 0.4 * details)[0].expand_as(grain))


def test_strength_blends_what_a_blind_model_finds(models: Path, tmp_path: Path) -> None:
    noisy = smooth(20, 28, channels=1)
    picture, prior = Picture(noisy), store.load(models / "blind")
    whole = restore.denoise(picture, prior).picture.pixels
    half = restore.denoise(picture, prior, strength=0.5).picture.pixels
    torch.testing.assert_close(half, (noisy[None] + whole) / 2)
    with pytest.raises(UsageError, match=r"a share of the denoised image, from 0 to 1, found 1\.5"):
        restore.denoise(picture, prior, strength=1.5)


def test_gray_comes_back_gray_from_a_colour_model(photos: Path, tmp_path: Path) -> None:
    gray = picture_file(tmp_path / "gray.png", channels=1)
    done = scalewise("denoise", gray, tmp_path / "clean.png", "--model", photos, "--json")
    assert done.records[0]["notes"] == ["gray image converted to RGB for the model"]
    assert stored(tmp_path / "clean.png").shape == (20, 28)


def test_colour_comes_back_gray_from_a_gray_model(models: Path, tmp_path: Path) -> None:
    colour = picture_file(tmp_path / "colour.png")
    done = scalewise("upscale", colour, tmp_path / "big.png", "--model", models / "gray")
    assert done.code == 0
    assert "note: RGB image converted to gray" in done.stdout
    assert stored(tmp_path / "big.png").shape == (40, 56)


def test_image_of_one_pixel(photos: Path, tmp_path: Path) -> None:
    dot = picture_file(tmp_path / "dot.png", 1, 1)
    done = scalewise("denoise", dot, tmp_path / "clean.png", "--model", photos, "--json")
    assert done.code == 0
    assert "no noise was found" in done.records[0]["notes"][0]
    assert stored(tmp_path / "clean.png").shape == (1, 1, 3)
    done = scalewise("upscale", dot, tmp_path / "big.png", "--model", photos, "--factor", 4)
    assert done.code == 0
    assert stored(tmp_path / "big.png").shape == (4, 4, 3)


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (2, 3), (7, 7), (48, 64)])
@pytest.mark.parametrize(
    ("model", "channels"),
    [("photos", 1), ("photos", 3), ("gray", 1), ("packaged", 1), ("packaged", 3)],
)
def test_a_constant_picture_comes_back_as_it_was(
    model: str, channels: int, size: tuple[int, int], models: Path, tmp_path: Path
) -> None:
    if model == "packaged" and "photos" not in store.packaged():
        pytest.skip("needs the packaged models")
    shade = torch.tensor([90, 200, 30])[:channels].view(-1, 1, 1) / 255
    write_image(tmp_path / "even.png", Picture(shade.expand(channels, *size)))
    name = "photos" if model == "packaged" else models / model
    done = scalewise(
        "denoise", tmp_path / "even.png", tmp_path / "clean.png", "--model", name, "--json"
    )
    assert done.code == 0, done.stderr
    assert "no noise was found" in "".join(done.records[0]["notes"])
    assert np.array_equal(stored(tmp_path / "clean.png"), stored(tmp_path / "even.png"))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [(1, 2), (2, 2), (3, 5), (9, 9)])
def test_a_tiny_picture_is_denoised_or_left_as_it_was(
    size: tuple[int, int], channels: int, photos: Path, tmp_path: Path
) -> None:
    """Where pixels are too few to tell noise, nothing changes; told the level, it is denoised."""
    generator = torch.Generator().manual_seed(1)
    small = (0.5 + 0.1 * torch.randn(channels, *size, generator=generator)).clamp(0, 1)
    write_image(tmp_path / "small.png", Picture(small))
    words = ("denoise", tmp_path / "small.png", tmp_path / "clean.png", "--model", photos)
    done = scalewise(*words, "--json")
    assert done.code == 0, done.stderr
    before, after = stored(tmp_path / "small.png"), stored(tmp_path / "clean.png")
    assert after.shape == before.shape
    (record,) = done.records
    unseen = any("no noise was found" in note for note in record["notes"])
    assert unseen == (record["sigma"] == 0)
    assert np.array_equal(after, before) == unseen
    assert unseen or min(size) >= 2
    assert scalewise(*words, "--sigma", "25", "--force").code == 0
    assert not np.array_equal(stored(tmp_path / "clean.png"), before)


def test_intensities_on_another_scale_get_a_note(photos: Path, tmp_path: Path) -> None:
    write_image(tmp_path / "raw.tif", Picture(255 * smooth(20, 20), depth="float32"))
    done = scalewise("denoise", tmp_path / "raw.tif", tmp_path / "o.tif", "--model", photos)
    assert "taken for black to white; black and white set it" in done.stdout


# Folders


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "in" / "deep" / "er").mkdir(parents=True)
    picture_file(tmp_path / "in" / "a.png")
    picture_file(tmp_path / "in" / "deep" / "b.JPG")
    picture_file(tmp_path / "in" / "deep" / "er" / "c.tif", channels=1)
    (tmp_path / "in" / "notes.txt").write_text("no image")
    return tmp_path / "in"


def test_folder_keeps_tree_and_names(photos: Path, folder: Path) -> None:
    out = folder.parent / "out"
    done = scalewise("denoise", folder, out, "--model", photos, "--json")
    assert done.code == 0
    files = {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()}
    assert files == {"a.png", "deep/b.JPG", "deep/er/c.tif"}
    assert [record["output"] for record in done.records] == [
        str(out / name) for name in ("a.png", "deep/b.JPG", "deep/er/c.tif")
    ]


def test_folder_gives_what_single_files_give(photos: Path, folder: Path) -> None:
    options = ("--model", photos, "--seed", 3)
    assert scalewise("upscale", folder, folder.parent / "out", *options).code == 0
    single = folder.parent / "single.png"
    assert scalewise("upscale", folder / "a.png", single, *options).code == 0
    assert (folder.parent / "out" / "a.png").read_bytes() == single.read_bytes()


def test_bad_file_is_reported_and_the_rest_go_on(photos: Path, folder: Path) -> None:
    (folder / "bad.png").write_text("no image")
    out = folder.parent / "out"
    done = scalewise("denoise", folder, out, "--model", photos, "--json")
    assert done.code == 1
    assert "bad.png: is not a PNG" in done.stderr
    assert done.sentence == "Error: 1 of 4 images failed; the others are written"
    assert len([path for path in out.rglob("*") if path.is_file()]) == 3
    (failed,) = (record for record in done.records if record["output"] is None)
    assert failed["input"] == str(folder / "bad.png")
    assert "is not a PNG" in failed["error"]


def test_folder_with_existing_outputs(photos: Path, folder: Path) -> None:
    out = folder.parent / "out"
    out.mkdir()
    (out / "a.png").write_text("mine")
    options = ("--model", photos, "--json")
    refused = scalewise("denoise", folder, out, *options)
    assert refused.code == 1
    assert refused.sentence.endswith(
        "give --force to overwrite, or --skip-existing to leave them out"
    )
    assert tree(out) == {"a.png": b"mine"}
    skipped = scalewise("denoise", folder, out, *options, "--skip-existing")
    assert skipped.code == 0
    assert len(skipped.records) == 2
    assert (out / "a.png").read_text() == "mine"
    forced = scalewise("denoise", folder, out, *options, "--force")
    assert len(forced.records) == 3
    assert stored(out / "a.png").shape == (20, 28, 3)
    again = scalewise("denoise", folder, out, *options, "--skip-existing")
    assert (again.code, again.stdout) == (0, "")
    assert again.stderr == "note: nothing to do: the outputs of all 3 images exist\n"


def test_output_folder_within_the_input_is_no_input(photos: Path, folder: Path) -> None:
    for _ in range(2):
        done = scalewise("denoise", folder, folder / "out", "--model", photos, "--force", "--json")
        assert len(done.records) == 3


def test_output_folder_above_the_input(photos: Path, folder: Path) -> None:
    done = scalewise("denoise", folder / "deep", folder, "--model", photos, "--json")
    assert done.code == 0
    assert [Path(record["output"]).name for record in done.records] == ["b.JPG", "c.tif"]


# Upscale


@pytest.mark.parametrize("factor", [2, 4])
@pytest.mark.parametrize("mode", ["sample", "mean"])
def test_low_pass_of_the_output_is_the_input(
    factor: int, mode: str, photos: Path, tmp_path: Path
) -> None:
    small = picture_file(tmp_path / "small.png")
    out = tmp_path / "big.png"
    options = ("--factor", factor, "--mode", mode, "--model", photos)
    assert scalewise("upscale", small, out, *options).code == 0
    large = stored(out).astype(float)
    blocks = large.reshape(20, factor, 28, factor, 3)
    assert large.std() > 0
    assert 0 < large.min() < large.max() < 255
    assert np.abs(blocks.mean((1, 3)) - stored(small)).max() <= 0.5
    assert mode == "mean" or np.ptp(blocks, (1, 3)).min() > 0


def test_samples_differ_repeat_and_measure_uncertainty(photos: Path, tmp_path: Path) -> None:
    write_image(tmp_path / "small.tif", Picture(smooth(9, 7), depth="float32"))
    options = ("--samples", 3, "--seed", 5, "--model", photos, "--json")
    big, std = tmp_path / "big.tif", tmp_path / "std.tif"
    done = scalewise("upscale", tmp_path / "small.tif", big, *options, "--uncertainty", std)
    names = [str(tmp_path / f"big-{k}.tif") for k in (1, 2, 3)]
    assert done.records[0]["output"] == names
    assert done.records[0]["uncertainty"] == str(std)
    assert not big.exists()
    samples = torch.stack([read_image(name).pixels for name in names])
    assert read_image(std).depth == "float32"
    deviation = read_image(std).pixels  # from eight samples, of which these are the first
    assert deviation.shape == samples[0].shape
    assert 0.5 < float((deviation**2).mean() / samples.var(0).mean()) < 2
    assert samples.std(0).min() > 0

    again, other = tmp_path / "again.tif", tmp_path / "other.tif"
    for out, seed in ((again, 5), (other, 6)):
        drawn = ("upscale", tmp_path / "small.tif", out, "--seed", seed, "--model", photos)
        assert scalewise(*drawn).code == 0
    torch.testing.assert_close(read_image(again).pixels, samples[0])
    assert not torch.allclose(read_image(other).pixels, samples[0])


def test_upscale_enlarges_alpha_and_keeps_the_rest(photos: Path, tmp_path: Path) -> None:
    given = rich_picture(6, 8)
    write_image(tmp_path / "a.png", given)
    done = scalewise("upscale", tmp_path / "a.png", tmp_path / "b.png", "--model", photos)
    assert done.code == 0
    back = read_image(tmp_path / "b.png")
    assert back.pixels.shape == (1, 3, 12, 16)
    assert back.alpha is not None
    assert 0.1 < back.alpha.mean() < 0.9
    assert (back.depth, back.icc) == ("uint16", given.icc)
    assert back.exif == read_image(tmp_path / "a.png").exif


def test_names_too_long_are_found_out_before_the_work(photos: Path, folder: Path) -> None:
    picture_file(folder / ("x" * 250 + ".png"))
    options = ("--samples", 2, "--model", photos)
    done = scalewise("upscale", folder, folder.parent / "out", *options)
    assert done.code == 1
    assert "its name has 256 bytes, more than the 255 that the folder takes" in done.sentence
    assert not (folder.parent / "out").exists()


def test_pictures_of_other_kinds_are_told(photos: Path, folder: Path) -> None:
    for name in ("a.heic", "b.HEIC", "deep/c.gif"):
        (folder / name).write_bytes(b"")
    done = scalewise("denoise", folder, folder.parent / "out", "--model", photos)
    assert done.code == 0
    assert "3 pictures of other kinds were left out: .gif (1), .heic (2)" in done.stderr


def test_folder_of_samples_and_uncertainties(photos: Path, folder: Path) -> None:
    out, std = folder.parent / "out", folder.parent / "std"
    options = ("--samples", 2, "--uncertainty", std, "--model", photos)
    assert scalewise("upscale", folder, out, *options).code == 0
    assert (out / "deep" / "b-2.JPG").is_file()
    assert (std / "deep" / "b.tif").is_file()
    (out / "a-1.png").unlink()
    kept = (out / "deep" / "b-2.JPG").stat().st_mtime_ns
    again = (*options, "--skip-existing", "--seed", 9)
    assert len(scalewise("upscale", folder, out, *again, "--json").records) == 1
    assert (out / "deep" / "b-2.JPG").stat().st_mtime_ns == kept
    fresh = ("--samples", 2, "--model", photos, "--seed", 9)
    assert scalewise("upscale", folder / "a.png", out / "new.png", *fresh).code == 0
    for sample in (1, 2):  # all of one seed
        assert alike(stored(out / f"a-{sample}.png"), stored(out / f"new-{sample}.png"))


def test_upscale_by_the_published_sampler(models: Path, tmp_path: Path) -> None:
    small = smooth(8, 10, 1)
    write_image(tmp_path / "a.png", Picture(small))
    options = ("--model", models / "gray", "--seed", 3)
    for name in ("few-steps", "paper"):
        out = tmp_path / f"{name}.png"
        assert scalewise("upscale", tmp_path / "a.png", out, *options, "--sampler", name).code == 0
    few, paper = (stored(tmp_path / f"{name}.png") for name in ("few-steps", "paper"))
    assert not np.array_equal(few, paper)
    wrong = scalewise("upscale", tmp_path / "a.png", tmp_path / "b.png", "--sampler", "abacus")
    assert wrong.code == 2
    assert "abacus" in wrong.stderr


# Quality


def test_quality_of_a_format_that_has_none(photos: Path, tmp_path: Path) -> None:
    picture_file(tmp_path / "a.png")
    for command in ("denoise", "upscale"):
        out = tmp_path / "out.png"
        done = scalewise(command, tmp_path / "a.png", out, "--quality", 90, "--model", photos)
        assert done.code == 2
        assert "--quality 90: only .jpg and .webp outputs have a quality, found out.png" in (
            done.sentence
        )
        assert not out.exists()


def test_quality_where_some_outputs_have_one(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for name in ("a.png", "b.jpg"):
        picture_file(tmp_path / "in" / name)
    options = ("--quality", 30, "--model", photos, "--json")
    done = scalewise("denoise", tmp_path / "in", tmp_path / "out", *options)
    notes = [record["notes"] for record in done.records]
    assert (".png files have no quality: --quality 30 was not used" in notes[0], notes[1]) == (
        True,
        [],
    )
    with JpegImagePlugin.JpegImageFile(tmp_path / "out" / "b.jpg") as low:
        assert max(low.quantization[0]) > 100


# Synthesize


def test_synthesize_a_sheet(models: Path, tmp_path: Path) -> None:
    out = tmp_path / "sheet.png"
    done = scalewise("synthesize", out, "--model", models / "faces", "-n", 5, "--json")
    assert done.code == 0
    assert done.records[0]["output"] == str(out)
    height, width, channels = stored(out).shape
    assert channels == 3
    assert height >= 2 * 32
    assert width >= 3 * 32


def test_one_image_alone_has_no_frame(models: Path, tmp_path: Path) -> None:
    options = ("--model", models / "faces", "-n", 1)
    assert scalewise("synthesize", tmp_path / "one.png", *options).code == 0
    assert scalewise("synthesize", tmp_path / "folder", *options).code == 0
    assert np.array_equal(stored(tmp_path / "one.png"), stored(tmp_path / "folder" / "0001.png"))


def alike(first: Any, second: Any) -> bool:
    """Whether images are equal to 1e-6: a level apart where a value lies at the edge of two."""
    apart = np.abs(first.astype(int) - second.astype(int))
    return bool(apart.max() <= 1 and (apart > 0).mean() < 0.002)


def test_synthesize_single_images(models: Path, tmp_path: Path) -> None:
    options = ("--model", models / "faces", "--seed", 4)
    done = scalewise("synthesize", tmp_path / "two", *options, "-n", 2, "--json")
    assert [Path(record["output"]).name for record in done.records] == ["0001.png", "0002.png"]
    assert [record["sample"] for record in done.records] == [0, 1]
    scalewise("synthesize", tmp_path / "three", *options, "-n", 3)
    first, second, third = (stored(tmp_path / "three" / f"000{k}.png") for k in (1, 2, 3))
    assert alike(first, stored(tmp_path / "two" / "0001.png"))
    assert alike(second, stored(tmp_path / "two" / "0002.png"))
    assert not np.array_equal(second, third)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_synthesize_goes_on_after_a_kill(models: Path, tmp_path: Path) -> None:
    """Images are written as they are drawn; after a kill the rest come out bit for bit."""
    options = ("--model", models / "faces", "-n", 36, "--seed", 5)
    assert scalewise("synthesize", tmp_path / "whole", *options).code == 0
    whole = contents(tmp_path / "whole")
    assert len(whole) == 36
    command = [sys.executable, "-c", KILLED_AT, "0020.png", "synthesize", str(tmp_path / "cut")]
    killed = subprocess.run([*command, *map(str, options)], capture_output=True)
    assert killed.returncode == -signal.SIGKILL
    cut = contents(tmp_path / "cut")
    assert {name for name in cut if name.endswith(".png")} == set(sorted(whole)[:19])
    assert len(cut) == 20, "with the part of a file"
    (tmp_path / "cut" / "0003.png").unlink()
    assert "give --force to overwrite, or --skip-existing to go on" in (
        scalewise("synthesize", tmp_path / "cut", *options).sentence
    )
    done = scalewise("synthesize", tmp_path / "cut", *options, "--skip-existing", "--json")
    assert [record["sample"] for record in done.records] == [2, *range(19, 36)]
    assert contents(tmp_path / "cut") == whole
    done = scalewise("synthesize", tmp_path / "cut", *options, "--skip-existing", "--json")
    assert (done.code, done.records) == (0, [])


KILLED_AT = """
import os, signal, sys
from pathlib import Path
import scalewise.images.writing as writing
real = writing.write_whole
def write_whole(path, content):
    def die(stream):
        stream.write(content[:40])
        stream.flush()
        os.kill(os.getpid(), signal.SIGKILL)
    real(path, die if Path(path).name == last else content)
writing.write_whole = write_whole
last = sys.argv.pop(1)
from scalewise.cli import main
main()
"""


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        (("--seed", 6), "seed 5 there, 6 here"),
        (("--size", "16x32"), r"size [32, 32] there, [16, 32] here"),
        (("--model", "gray"), "model "),
        (("--sampler", "paper"), "sampler few-steps there, paper here"),
    ],
)
def test_synthesize_never_mixes_runs(
    changed: tuple[object, ...], words: str, models: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    changed = tuple(models / "gray" if value == "gray" else value for value in changed)
    options = ("--model", models / "faces", "--seed", 5)
    assert scalewise("synthesize", out, *options, "-n", 2).code == 0
    before = contents(out)
    done = scalewise("synthesize", out, *options, *changed, "-n", 4, "--skip-existing")
    assert done.code == 1
    assert f"0001.png: is not of this run ({words}" in done.sentence
    assert contents(out) == before


def test_synthesize_takes_no_other_image_for_its_own(models: Path, tmp_path: Path) -> None:
    options = ("--model", models / "faces", "-n", 2, "--skip-existing")
    (tmp_path / "out").mkdir()
    picture_file(tmp_path / "out" / "0002.png", 32, 32)
    before = contents(tmp_path / "out")
    done = scalewise("synthesize", tmp_path / "out", *options)
    assert done.code == 1
    assert "0002.png: is not of this run (it does not say how it was drawn)" in done.sentence
    assert contents(tmp_path / "out") == before
    done = scalewise("synthesize", tmp_path / "out", *options, "--force", "--json")
    assert [record["sample"] for record in done.records] == [0, 1]


def test_a_sheet_that_exists_is_skipped(models: Path, tmp_path: Path) -> None:
    picture_file(tmp_path / "sheet.png")
    before = contents(tmp_path)
    options = ("--model", models / "faces", "--skip-existing")
    assert scalewise("synthesize", tmp_path / "sheet.png", *options).code == 0
    assert contents(tmp_path) == before


def test_synthesize_another_size(models: Path, tmp_path: Path) -> None:
    options = ("--model", models / "gray", "-n", 1, "--size", "30x50")
    assert scalewise("synthesize", tmp_path / "one", *options).code == 0
    assert stored(tmp_path / "one" / "0001.png").shape == (30, 50)


# Models


def test_info_tells_declared_and_probed_fields(photos: Path) -> None:
    told = scalewise("info", photos)
    assert told.code == 0
    for words in ("Tiny photos.", "sRGB", "low-pass image", "details of level 3", "5x5", "global"):
        assert words in told.stdout
    facts = scalewise("info", photos, "--json").records[0]
    assert facts["levels"] == 3
    assert [network["probed"] for network in facts["networks"]] == [None, 5, 5, 5]


def test_models_lists_the_packaged_ones(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scalewise.store.names.PACKAGED", models)
    told = scalewise("models")
    assert told.code == 0
    assert "Tiny photos." in told.stdout
    names = [record["name"] for record in scalewise("models", "--json").records]
    assert names == ["blind", "faces", "gray", "photos"]


# Progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress_goes_to_a_terminal_after_a_while(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    monkeypatch.setattr(console, "PATIENCE", 0)
    with console.Bar("denoising", 3) as bar:
        bar._timer.join()
        bar.step()
        with bar.aside():
            print("a result")  # noqa: T201
    assert "denoising" in terminal.getvalue()
    assert capsys.readouterr().out == "a result\n"


def test_no_progress_where_stderr_is_no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", written := io.StringIO())
    monkeypatch.setattr(console, "PATIENCE", 0)
    with console.Bar("denoising", 3) as bar:
        bar.step()
    assert written.getvalue() == ""


def test_a_line_a_minute_where_stderr_is_no_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(console, "QUIET_SECONDS", 0.05)
    with console.Bar("denoising", 3) as bar:
        bar.step()
        time.sleep(0.3)
    lines = capsys.readouterr().err.splitlines()
    assert 2 <= len(lines) <= 6
    assert set(lines) == {"denoising: 1 of 3 steps after 0 min, about 0 min left"}
    time.sleep(0.1)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("command", ["denoise", "upscale", "synthesize", "evaluate"])
def test_long_commands_show_life_in_a_log(
    command: str, models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(console, "QUIET_SECONDS", 0.02)
    (tmp_path / "in").mkdir()
    for name in range(4):
        picture_file(tmp_path / "in" / f"{name}.png", 48, 48)
    call: dict[str, tuple[object, ...]] = {
        "denoise": (tmp_path / "in", tmp_path / "out", "--model", models / "photos"),
        "upscale": (tmp_path / "in", tmp_path / "out", "--model", models / "photos"),
        "synthesize": (tmp_path / "out", "--model", models / "faces"),
        "evaluate": ("denoise", tmp_path / "in", "--model", models / "photos"),
    }
    done = scalewise(command, *call[command])
    assert done.code == 0, done.stderr
    word = {"upscale": "upscaling", "synthesize": "synthesizing"}.get(command, "denoising")
    assert f"{word}: " in done.stderr


def test_training_shows_life_in_a_log(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from scalewise.cli.training_bars import TrainingBars

    monkeypatch.setattr(console, "QUIET_SECONDS", 0.05)
    with TrainingBars() as bars:
        bars.begin(2)
        time.sleep(0.1)
        bars.on_step(1, 5, 70, 0.25, 8)
        time.sleep(0.2)
    assert set(capsys.readouterr().err.splitlines()) == {"level 1: step 5 of 70, loss 0.2500"}


def test_no_stderr_at_all(models: Path, tmp_path: Path) -> None:
    """As of a service without a log: results are the same."""
    picture_file(tmp_path / "a.png")
    words = f"denoise a.png b.png --model {models / 'photos'}"
    done = subprocess.run(
        ["sh", "-c", f"{sys.executable} -m scalewise {words} 2>&-"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout[:14]) == (0, "a.png -> b.png")


def test_an_output_folder_is_made_with_those_above_it(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    write_image(tmp_path / "in" / "a.png", Picture(smooth(16, 16)))
    done = scalewise("denoise", tmp_path / "in", tmp_path / "out" / "b", "--model", photos)
    assert done.code == 0, done.stderr
    assert (tmp_path / "out" / "b" / "a.png").is_file()


@pytest.mark.parametrize("words", [["--help"], ["denoise", "--help"]])
def test_help_to_a_full_device_is_a_sentence(words: list[str]) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("needs /dev/full")
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "scalewise", *words], stdout=full, stderr=subprocess.PIPE
        )
    assert done.returncode == 1
    assert b"No space left on device" in done.stderr
    assert b"Traceback" not in done.stderr


@pytest.fixture
def heeded() -> Iterator[None]:
    """Signals that end, where the tests run in the background or under nohup, which ignore them."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGHUP)}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("heeded")
@pytest.mark.parametrize(
    ("number", "sentence"),
    [(signal.SIGINT, "Stopped."), (signal.SIGTERM, "Ended by SIGTERM."), (1, "Ended by SIGHUP.")],
)
def test_being_ended_is_told(number: int, sentence: str) -> None:
    """After all has been put in order; and a finalizer or an import cannot swallow it."""
    kill = f"os.kill(os.getpid(), {int(number)})"
    script = (
        "import os, sys, scalewise.cli as c, scalewise.cli.commands as d\n"
        "class Final:\n"
        f"    def __del__(self): {kill}\n"
        "def app(**_):\n"
        "    try:\n"
        "        if sys.argv[1] == 'finalizer': Final()\n"
        f"        elif sys.argv[1] == 'work': {kill}\n"
        "        else:\n"
        "            sys.path.insert(0, sys.argv[1])\n"
        "            import swallowing\n"
        "    finally: print('in order')\n"
        "d.app = app; c.main()"
    )
    with tempfile.TemporaryDirectory() as folder:
        module = f"import os\ntry: {kill}\nexcept BaseException: pass\n"
        Path(folder, "swallowing.py").write_text(module)
        for where, told in (("work", "in order\n"), ("finalizer", ""), (folder, "")):
            done = subprocess.run(
                [sys.executable, "-c", script, where], capture_output=True, text=True
            )
            found = (done.returncode, done.stdout, done.stderr)
            assert found == (128 + number, told, f"{sentence}\n"), where


@pytest.mark.usefixtures("heeded")
@pytest.mark.parametrize("delay", [0.0, 0.2, 0.4, 0.8])
def test_stopped_at_any_moment(photos: Path, tmp_path: Path, delay: float) -> None:
    """While Python, Typer and PyTorch are imported, and while it works."""
    (tmp_path / "in").mkdir()
    picture = picture_file(tmp_path / "0.png", 64, 64).read_bytes()
    for name in range(300):
        (tmp_path / "in" / f"{name}.png").write_bytes(picture)
    script = (
        "from scalewise import cli; catch = cli.signals.catch\n"
        "def caught(): catch(); print('ready', flush=True)\n"
        "cli.signals.catch = caught; cli.main()"
    )
    words = ("denoise", tmp_path / "in", tmp_path / "out", "--model", photos)
    command = [sys.executable, "-c", script, *map(str, words)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        time.sleep(delay)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate()
    assert (process.returncode, said) == (130, "Stopped.\n")
    assert not list(tmp_path.rglob("*.part"))


def test_ignored_signals_stay_ignored(photos: Path) -> None:
    """As those of a command in the background of a script, or under nohup."""
    script = (
        "import os, signal, scalewise.cli as c, scalewise.cli.commands as d\n"
        "signal.signal(signal.SIGINT, signal.SIG_IGN)\n"
        "d.app = lambda **_: os.kill(os.getpid(), signal.SIGINT)\n"
        "c.main()"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True)
    assert (done.returncode, done.stderr) == (0, b"")

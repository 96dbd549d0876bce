"""Bad input: one sentence on stderr, exit code 1 or 2, nothing written."""

from __future__ import annotations

import errno
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import tifffile
import torch
from cli_tools import bomb, picture_file, save_models, scalewise, scalewise_process, tree

from scalewise import restore
from scalewise.errors import UsageError
from scalewise.networks import BiasFreeDenoiser
from scalewise.prior import MultiScalePrior


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_models(tmp_path_factory.mktemp("models"))


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in, with good and bad files."""
    monkeypatch.chdir(tmp_path)
    picture_file(tmp_path / "good.png")
    picture_file(tmp_path / "there.png")
    picture_file(tmp_path / "whole.jpg", 64, 64)
    data = (tmp_path / "whole.jpg").read_bytes()
    (tmp_path / "cut.jpg").write_bytes(data[: len(data) // 2])
    (tmp_path / "words.png").write_text("no image")
    (tmp_path / "empty").mkdir()
    (tmp_path / "folder").mkdir()
    picture_file(tmp_path / "folder" / "a.png")
    bomb(tmp_path / "bomb.png")
    for name, value in (("nan", np.nan), ("inf", np.inf)):
        pixels = np.full((9, 9), 0.5, np.float32)
        pixels[4, 4] = value
        tifffile.imwrite(tmp_path / f"{name}.tif", pixels)
    return tmp_path


def refused(place: Path, code: int, words: str, *arguments: object) -> None:
    """Check that a call fails with a sentence, and leaves everything as it was."""
    before = tree(place)
    done = scalewise(*arguments)
    assert done.code == code, done.stderr
    assert words in done.sentence
    assert done.sentence.startswith("Error: ")
    assert done.stdout == ""
    assert tree(place) == before


@pytest.mark.parametrize("command", ["denoise", "upscale"])
@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("absent.png", "absent.png: expected an image or a folder, found nothing"),
        ("empty", "empty: holds no image"),
        ("words.png", "words.png: is not a PNG, TIFF, JPEG, WebP or BMP image"),
        ("cut.jpg", "cut.jpg: damaged or cut short"),
        ("bomb.png", "bomb.png: its header announces 60000 x 60000 pixels"),
        ("nan.tif", "nan.tif: holds NaN or infinite values"),
        ("inf.tif", "inf.tif: holds NaN or infinite values"),
    ],
)
def test_bad_images(command: str, source: str, words: str, models: Path, place: Path) -> None:
    out = "out" if source == "empty" else "out.png"
    refused(place, 1, words, command, source, out, "--model", models / "photos")


@pytest.mark.parametrize("command", ["denoise", "upscale"])
@pytest.mark.parametrize(
    ("code", "words", "source", "target"),
    [
        (1, "there.png exists; give --force to overwrite it", "good.png", "there.png"),
        (1, "good.png/out.png: folder good.png does not exist", "good.png", "good.png/out.png"),
        (1, "folder nowhere does not exist; create it first", "good.png", "nowhere/out.png"),
        (2, "empty: is a folder, but good.png is an image", "good.png", "empty"),
        (2, "good.png: is input and output", "good.png", "good.png"),
        (2, "is input and output", "folder", "folder"),
        (2, "is input and output", "good.png", "empty/../good.png"),
        (2, "out.gif: unknown image suffix '.gif'", "good.png", "out.gif"),
        (2, "out.png: names an image, but folder is a folder", "folder", "out.png"),
        (2, "words: is a file; give the name of a folder", "folder", "words"),
        (2, "'-' is not an image", "-", "out.png"),
        (2, "'-' is not an image", "good.png", "-"),
        (1, "loop.png exists; give --force to overwrite it", "good.png", "loop.png"),
        (2, "loop.png is a link that leads nowhere", "folder", "loop.png/x"),
    ],
)
def test_bad_outputs(
    command: str, code: int, words: str, source: str, target: str, models: Path, place: Path
) -> None:
    (place / "words").write_text("a file")
    (place / "loop.png").symlink_to("loop.png")
    refused(place, code, words, command, source, target, "--model", models / "photos")


@pytest.mark.parametrize(
    ("words", "arguments"),
    [
        ("'--sigma': Input should be greater than or equal to 0", ("denoise", "--sigma", "-5")),
        ("'--sigma'", ("denoise", "--sigma", "nan")),
        ("inf is not a finite number", ("denoise", "--sigma", "inf")),
        ("'--sigma'", ("denoise", "--sigma", "much")),
        ("strength must be from 0 to 4, found 4.5", ("denoise", "--strength", "4.5")),
        ("strength must be from 0 to 4, found nan", ("denoise", "--strength", "nan")),
        ("--strength must be a number such as 0.7", ("denoise", "--strength", "much")),
        ("--strength must be a number such as 0.7", ("denoise", "--strength", "red=1")),
        ("of which 1 is the finest, 1=0.5,2=0.8", ("denoise", "--strength", "0=0.5")),
        ("of which 1 is the finest, 1=0.5,2=0.8", ("denoise", "--strength", "99999999=0.5")),
        ("strength must be from 0 to 4, found -0.5", ("denoise", "--strength", "2=-0.5")),
        ("strength names level 4, the model has 3", ("denoise", "--strength", "1=1,4=0.5")),
        ("'--keep-grain'", ("denoise", "--keep-grain", "1.5")),
        ("fix must name impulses or stripes, found 'dust'", ("denoise", "--fix", "dust")),
        ("--gain must be above 0, found 0", ("denoise", "--gain", "0")),
        ("--offset and --read-noise belong to --gain", ("denoise", "--offset", "3")),
        (
            "--sigma and --gain both say what the noise is",
            ("denoise", "--sigma", "3", "--gain", "2"),
        ),
        ("--factor must be a power of two from 2", ("upscale", "--factor", "3")),
        ("--factor must be a power of two from 2", ("upscale", "--factor", "0")),
        (
            "factor must be a power of two that the model's 3 levels span (2, 4, 8), found 16",
            ("upscale", "--factor", "16"),
        ),
        ("'--samples'", ("upscale", "--samples", "0")),
        ("'--samples'", ("upscale", "--samples", "1000000000")),
        (
            "good.png: --black 0 and --white 0.001 are far from its values",
            ("denoise", "--black", "0", "--white", "0.001"),
        ),
        (
            "--black 90000 and --white 90001 are far from its values",
            ("upscale", "--black", "90000", "--white", "90001"),
        ),
        (
            "give --samples 2 or more",
            ("upscale", "--uncertainty", "std.tif", "--reduced-by", "bicubic"),
        ),
        ("confidence is of the uncertainty", ("upscale", "--confidence", "90")),
        (
            "--confidence is learnt for means of blocks",
            ("upscale", "--confidence", "90", "--reduced-by", "bicubic"),
        ),
        (
            "std.png: the uncertainty is written as floats",
            ("upscale", "--samples", "2", "--uncertainty", "std.png"),
        ),
        ("leave out --samples 2", ("upscale", "--samples", "2", "--mode", "mean")),
        ("'--mode'", ("upscale", "--mode", "dream")),
        ("'--seed'", ("upscale", "--seed", "-1")),
        ("seed must be an integer from 0 to 2^63 - 1", ("upscale", "--seed", str(2**63))),
        (
            "device must be auto, cpu, cuda or mps, found 'abacus'",
            ("denoise", "--device", "abacus"),
        ),
        ("two outputs have this name", ("upscale", "--samples", "2", "--uncertainty", "out-1.tif")),
    ],
)
def test_wrong_usage(words: str, arguments: tuple[str, ...], models: Path, place: Path) -> None:
    command, *options = arguments
    out = "out.tif" if "out-1.tif" in options else "out.png"
    refused(place, 2, words, command, "good.png", out, "--model", models / "photos", *options)


@pytest.mark.parametrize(
    ("code", "words", "arguments"),
    [
        (1, "there.png exists; give --force", ("there.png",)),
        (2, "out.gif: unknown image suffix", ("out.gif",)),
        (1, "made/0001.png exists", ("made",)),
        (2, "--size must be height x width", ("out", "--size", "large")),
        (2, "--size must be height x width", ("out", "--size", "0x5")),
        (2, "--size 99999x99999 has 10000 million pixels", ("out", "--size", "99999x99999")),
        (2, "periodic needs a stationary model", ("out", "--periodic")),
        (2, "is a link that leads nowhere", ("loop",)),
        (2, "'--number' / '-n'", ("out", "-n", "0")),
        (2, "'-' is not an image", ("-",)),
        (2, "words: is a file", ("words", "-n", "1")),
    ],
)
def test_bad_synthesis(
    code: int, words: str, arguments: tuple[str, ...], models: Path, place: Path
) -> None:
    (place / "made").mkdir()
    picture_file(place / "made" / "0001.png")
    (place / "words").write_text("a file")
    (place / "loop").symlink_to("loop")
    refused(place, code, words, "synthesize", *arguments, "--model", models / "faces")


# Models


def cut_tensor(folder: Path) -> None:
    weights = safetensors.torch.load_file(folder / "model.safetensors")
    del weights["details.0.enter.weight"]
    safetensors.torch.save_file(weights, folder / "model.safetensors")


def reshape_tensor(folder: Path) -> None:
    weights = safetensors.torch.load_file(folder / "model.safetensors")
    weights["details.0.enter.weight"] = torch.zeros(3, 3)
    safetensors.torch.save_file(weights, folder / "model.safetensors")


def truncate(folder: Path) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])


def make_newer(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"format_version": 99}))


def remove_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (cut_tensor, "lacks tensor 'details.0.enter.weight'"),
        (reshape_tensor, "tensor 'details.0.enter.weight' should have shape"),
        (truncate, "damaged or truncated"),
        (make_newer, "made by a newer Scalewise"),
        (remove_weights, "model.safetensors is missing"),
    ],
)
def test_bad_models(spoil: Callable[[Path], None], words: str, models: Path, place: Path) -> None:
    shutil.copytree(models / "photos", place / "spoilt")
    spoil(place / "spoilt")
    refused(place, 1, words, "denoise", "good.png", "out.png", "--model", "spoilt")
    refused(place, 1, words, "info", "spoilt")


@pytest.mark.parametrize(
    "arguments",
    [("denoise", "good.png", "out.png", "--model"), ("synthesize", "o", "-m"), ("info",)],
)
def test_unknown_model(arguments: tuple[str, ...], place: Path) -> None:
    refused(place, 2, "no model is called 'nobody'", *arguments, "nobody")


def test_shallow_model_enlarges_less(models: Path, place: Path) -> None:
    options = ("--model", models / "blind", "--factor", 4)
    words = "factor must be a power of two that the model's 1 levels span (2), found 4"
    refused(place, 2, words, "upscale", "good.png", "out.png", *options)


def test_model_without_levels_enlarges_nothing() -> None:
    prior = MultiScalePrior(BiasFreeDenoiser(1, [3, 3], width=4, size=(8, 8)))
    with pytest.raises(UsageError, match=r"the model's 0 levels span \(none\), found 2"):
        prior.check_factor(2)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("OUTPUT", ("synthesize", "")),
        ("INPUT", ("denoise", "", "x.png")),
        ("OUTPUT", ("upscale", "good.png", "")),
        ("--model", ("denoise", "good.png", "x.png", "--model", "")),
        ("IMAGES", ("train", "", "--out", "x")),
        ("--out", ("train", "folder", "--out", "")),
        ("--recipe", ("train", "folder", "--out", "x", "--recipe", "")),
        ("IMAGES", ("evaluate", "denoise", "")),
        ("IMAGES", ("evaluate", "upscale", "")),
        ("--out", ("reproduce", "--out", "")),
        ("MODEL", ("info", "")),
    ],
)
def test_empty_names(name: str, arguments: tuple[str, ...], place: Path) -> None:
    """The current folder is not meant by a variable that is not set."""
    before = tree(place)
    done = scalewise(*arguments)
    assert done.code == 2
    assert f"{name}'" in done.stderr
    assert "it is empty (a variable that is not set?)" in done.stderr
    assert tree(place) == before


@pytest.mark.parametrize("public", ["report", "report/public", "link"])
def test_public_reports_lie_apart(public: str, place: Path) -> None:
    (place / "link").symlink_to("report")
    words = f"--public {public}: lies within --out report; give another folder"
    options = ("--quick", "--only", "wavelets", "--public", public)
    refused(place, 2, words, "reproduce", "--out", "report", *options)


# Trouble on the way


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (MemoryError(), "not enough memory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), "not enough memory"),
        (OSError(errno.ENOSPC, "No space left on device"), "No space left on device"),
        (
            PermissionError(errno.EACCES, "Permission denied", "out.png"),
            "out.png: Permission denied",
        ),
        (ZeroDivisionError("by\nzero"), "this is a bug in Scalewise (ZeroDivisionError: by zero)"),
    ],
)
def test_unexpected_errors(
    error: Exception, words: str, models: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(restore, "denoising", fail)
    call = ("denoise", "good.png", "out.png", "--model", models / "photos")
    refused(place, 1, words, *call)
    monkeypatch.setenv("SCALEWISE_DEBUG", "1")
    assert "Traceback" in scalewise(*call).stderr


def test_interrupt(models: Path, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(restore, "denoising", interrupt)
    done = scalewise("denoise", "good.png", "out.png", "--model", models / "photos")
    assert (done.code, done.stderr) == (130, "Stopped.\n")
    assert not (place / "out.png").exists()


def test_single_failure_with_json(models: Path, place: Path) -> None:
    done = scalewise("denoise", "cut.jpg", "out.png", "--model", models / "photos", "--json")
    assert done.code == 1
    assert done.records[0]["output"] is None
    assert "damaged" in done.records[0]["error"]
    assert "damaged" in done.sentence


def test_program_refuses_in_one_sentence(place: Path) -> None:
    """And at once: a missing file is told without loading PyTorch."""
    done = scalewise_process("denoise", "absent.png", "out.png", cwd=place)
    assert done.code == 1
    assert done.stderr == (
        "Error: absent.png: expected an image or a folder, found nothing of this name\n"
    )
    done = scalewise_process("denoise", cwd=place)
    assert done.code == 2
    assert "Missing argument" in done.sentence

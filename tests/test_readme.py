"""The commands and the code of README and pages, run as they stand."""

import re
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

import scalewise
from benchmarks.raw_files import write_dng
from scalewise.cli.commands import app
from scalewise.operators import MaskedFourier
from scalewise.store import load, packaged

pytestmark = pytest.mark.skipif(
    not {"photos", "faces"} <= set(packaged()), reason="the packaged weights are not here"
)


def blocks(page: Path, title: str, language: str) -> str:
    """The code blocks of a section of a page."""
    text = page.read_text(encoding="utf-8")
    section = text.split(f"\n## {title}\n")[1].split("\n## ")[0]
    return "".join(re.findall(rf"```{language}\n(.*?)```", section, re.DOTALL))


def commands(page: Path, title: str) -> list[list[str]]:
    """The arguments of each `scalewise` command of a section."""
    lines = [shlex.split(line, comments=True) for line in blocks(page, title, "bash").splitlines()]
    return [words[1:] for words in lines if words and words[0] == "scalewise"]


def picture(path: Path, height: int, width: int) -> None:
    rng = np.random.default_rng(height)
    image = np.kron(rng.integers(60, 200, (height // 8, width // 8, 3)), np.ones((8, 8, 1)))
    Image.fromarray((image + rng.normal(0, 10, image.shape)).astype(np.uint8)).save(path)


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the files that the README speaks of."""
    monkeypatch.chdir(tmp_path)
    picture(tmp_path / "noisy.png", 48, 40)
    picture(tmp_path / "small.png", 16, 24)
    picture(tmp_path / "cleaned.png", 48, 40)
    picture(tmp_path / "scan.png", 48, 40)
    picture(tmp_path / "soft.png", 48, 40)
    frame = np.random.default_rng(0).uniform(0.2, 0.6, (32, 48))
    write_dng(tmp_path / "IMG_0001.dng", frame)
    mask = np.zeros((48, 40), np.uint8)
    mask[20:23] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    (tmp_path / "images").mkdir()
    for name in ("a.png", "b.png", "c.png"):
        picture(tmp_path / "images" / name, 72, 80)
    return tmp_path


def call(words: list[str]) -> Any:
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, (words, result.output)
    return result


@pytest.mark.slow
def test_command_line(root: Path, workplace: Path) -> None:
    lines = commands(root / "docs/commands.md", "On the command line")
    assert {words[0] for words in lines} >= {"denoise", "upscale", "synthesize", "evaluate"}
    for words in lines:
        for output in ("clean.png", "big.png", "scores.json"):
            (workplace / output).unlink(missing_ok=True)
        call([word if word != "16" else "2" for word in words])
    assert (workplace / "faces.png").is_file()
    assert (workplace / "std.tif").is_file()


def test_python(root: Path, workplace: Path) -> None:
    picture(workplace / "noisy.tif", 24, 32)
    names: dict[str, Any] = {"noisy": torch.rand(1, 3, 24, 24), "small": torch.rand(1, 3, 6, 8)}
    names["soft"] = torch.rand(1, 3, 24, 24)
    exec(
        blocks(root / "docs/commands.md", "In Python", "python").replace("sample(16", "sample(2"),
        names,
    )
    assert names["clean"].shape == names["score"].shape == (1, 3, 24, 24)
    assert names["big"].shape == (8, 1, 3, 24, 32)
    assert names["new"].shape == (2, 3, *names["scalewise"].load("faces").size)
    assert (workplace / "clean.tif").is_file()


def test_python_of_noise(root: Path, workplace: Path) -> None:
    counts = np.random.default_rng(0).poisson(400, (72, 88)) * 2 + 100
    Image.fromarray(counts.astype(np.uint16)).save(workplace / "cells.tif")
    text = (root / "docs" / "noise.md").read_text(encoding="utf-8")
    names: dict[str, Any] = {"noisy": torch.rand(1, 3, 24, 24)}
    exec("".join(re.findall(r"```python\n(.*?)```", text, re.DOTALL)), names)
    assert names["cleaned"].noise == (names["told"],)
    assert names["clean"].shape == (1, 3, 24, 24)


def test_python_of_uncertainty_and_measurements(root: Path) -> None:
    known = torch.rand(24, 24) < 0.5
    names: dict[str, Any] = {
        "noisy": torch.rand(1, 3, 76, 76),
        "image": torch.rand(1, 3, 76, 76),
        "mosaic": torch.rand(1, 1, 24, 24),
        "seen": MaskedFourier(known).A(torch.rand(1, 3, 24, 24)),
        "mask": known,
        "prior": load("photos"),
        "scalewise": scalewise,
    }
    for page in ("uncertainty", "inverse"):
        text = (root / "docs" / f"{page}.md").read_text(encoding="utf-8")
        code = "".join(re.findall(r"```python\n(.*?)```", text, re.DOTALL))
        exec(code.replace("samples=8", "samples=2").replace("samples(8", "samples(2"), names)
    assert names["colours"].shape == (1, 3, 24, 24)
    assert names["several"].shape == (2, 1, 3, 24, 24)


@pytest.mark.slow
def test_five_things_to_type(root: Path, workplace: Path) -> None:
    lines = commands(root / "README.md", "Five things to type")
    assert [words[0] for words in lines] == ["serve", "denoise", "upscale", "inpaint", "synthesize"]
    for words in lines[1:]:
        call([word if word != "16" else "2" for word in words])
    picture(workplace / "noisy.tif", 24, 32)
    names: dict[str, Any] = {"noisy": torch.rand(1, 3, 24, 24), "small": torch.rand(1, 3, 6, 8)}
    exec(blocks(root / "README.md", "Five things to type", "python"), names)
    assert names["big"].shape == (8, 1, 3, 24, 32)
    assert names["picture"].pixels.shape == (1, 3, 24, 32)


@pytest.mark.slow
def test_training(root: Path, workplace: Path) -> None:
    lines = commands(root / "docs/commands.md", "Training your own")
    assert [words[0] for words in lines] == ["train", "train", "denoise"]
    for words in lines:
        call([word if word != "30" else "0.02" for word in words])
    assert (workplace / "clean.png").is_file()


def test_importing_the_published_networks(root: Path, workplace: Path, shared: Path) -> None:
    (workplace / "checkpoints").symlink_to(shared / "reference" / "checkpoints")
    for words in commands(root / "docs/paper.md", "The paper's networks"):
        call(words)
    assert (workplace / "clean.png").is_file()

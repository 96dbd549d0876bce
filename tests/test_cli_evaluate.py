"""`scalewise evaluate` and `scalewise import-reference`."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli_tools import picture_file, save_models, scalewise, smooth, tree

from scalewise import store
from scalewise.cli.evaluate import repeat_option


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_models(tmp_path_factory.mktemp("models"))


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    (folder / "deep").mkdir(parents=True)
    picture_file(folder / "a.png", 24, 32)
    picture_file(folder / "deep" / "b.tif", 17, 24, channels=1)
    return folder


@pytest.mark.parametrize(
    ("given", "read"),
    [
        ("--sigma 15 25 images", "--sigma 15 --sigma 25 images"),
        ("images --sigma 15 25 50 --seed 3", "images --sigma 15 --sigma 25 --sigma 50 --seed 3"),
        ("--sigma=15 25 images", "--sigma=15 --sigma 25 images"),
        ("--sigma 15 --sigma 25 images 7", "--sigma 15 --sigma 25 images 7"),
        ("--seed 3 4", "--seed 3 4"),
        ("--sigma -5 25", "--sigma -5 --sigma 25"),
    ],
)
def test_several_values_after_one_option(given: str, read: str) -> None:
    assert repeat_option(given.split(), "--sigma") == read.split()


def test_evaluate_denoise(models: Path, images: Path, tmp_path: Path) -> None:
    scores = tmp_path / "scores.json"
    options = ("--sigma", 15, 50, "--model", models / "photos", "--json", scores)
    done = scalewise("evaluate", "denoise", images, *options)
    assert done.code == 0, done.stderr
    assert [line.split()[0] for line in done.stdout.splitlines()[2:]] == ["15.00", "50.00"]
    written = json.loads(scores.read_text())
    assert [(r["image"], r["sigma"]) for r in written["records"]] == [
        ("a.png", 15),
        ("a.png", 50),
        ("deep/b.tif", 15),
        ("deep/b.tif", 50),
    ]
    assert [mean["count"] for mean in written["means"]] == [2, 2]
    assert written["seed"] == 0

    again = scalewise("evaluate", "denoise", images, *options)
    assert again.code == 1
    assert "scores.json exists; give --force" in again.sentence
    assert scalewise("evaluate", "denoise", images, *options, "--force").code == 0


def test_evaluate_denoise_told_the_level(models: Path, images: Path, tmp_path: Path) -> None:
    scores = tmp_path / "scores.json"
    options = ("--sigma", 25, "--told", "--model", models / "photos", "--json", scores)
    assert scalewise("evaluate", "denoise", images / "a.png", *options).code == 0
    (record,) = json.loads(scores.read_text())["records"]
    assert record["sigma_estimated"] is None


def test_evaluate_goes_on_after_a_bad_image(models: Path, images: Path, tmp_path: Path) -> None:
    (images / "bad.png").write_text("no image")
    options = ("--samples", 2, "--model", models / "photos", "--json", tmp_path / "scores.json")
    done = scalewise("evaluate", "upscale", images, *options)
    assert done.code == 1
    assert "bad.png: is not a PNG" in done.stderr
    assert "could not be read: 1 of the images" in done.sentence
    assert "least squares" in done.stdout
    (mean,) = json.loads((tmp_path / "scores.json").read_text())["means"]
    assert (mean["factor"], mean["count"]) == (2, 2)
    assert mean["consistency"] < 1e-5


def test_evaluate_reads_arrays(models: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "images.npy", (smooth(16, 16).numpy() * 255).astype(np.uint8)[None])
    options = ("--sigma", 25, "--model", models / "photos")
    done = scalewise("evaluate", "denoise", tmp_path / "images.npy", *options)
    assert done.code == 0, done.stderr


def test_evaluate_synthesize(models: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for name in ("training", "validation"):
        np.save(tmp_path / f"{name}.npy", rng.integers(0, 256, (6, 32, 32, 3), np.uint8))
    options = ("--model", models / "faces", "-n", 3, "--json", tmp_path / "scores.json")
    sets = (tmp_path / "validation.npy", "--training", tmp_path / "training.npy")
    done = scalewise("evaluate", "synthesize", *sets, *options)
    assert done.code == 0, done.stderr
    assert "nearest training image" in done.stdout
    written = json.loads((tmp_path / "scores.json").read_text())
    assert written["distances"].keys() == {"level 1", "level 2", "low"}
    alone = scalewise("evaluate", "synthesize", sets[0], *options[:4])
    assert alone.code == 0
    assert "nearest" not in alone.stdout


def test_what_is_left_out_of_a_folder_is_told(models: Path, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for name in ("a.png", "b.png"):
        picture_file(tmp_path / "in" / name, 32, 32)
    (tmp_path / "in" / "c.heic").touch()
    for what, options in (("synthesize", ("-n", 2, "--model", models / "faces")), ("denoise", ())):
        options = options or ("--sigma", 25, "--model", models / "photos")
        done = scalewise("evaluate", what, tmp_path / "in", *options)
        assert done.code == 0, done.stderr
        assert "note: " in done.stderr
        assert "1 picture of another kind was left out: .heic (1)" in done.stderr


def test_synthesis_is_not_measured_by_images_that_do_not_vary(models: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "plain.npy", np.full((3, 32, 32, 3), 100, np.uint8))
    options = ("-n", 2, "--model", models / "faces")
    done = scalewise("evaluate", "synthesize", tmp_path / "plain.npy", *options)
    assert done.code == 2
    assert "reference images do not vary at level 1, and distances are in their" in done.sentence


def test_synthesis_is_measured_by_training_images_of_one_size(models: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for name, side in (("training", 16), ("validation", 32)):
        np.save(tmp_path / f"{name}.npy", rng.integers(0, 256, (3, side, 32, 3), np.uint8))
    sets = (tmp_path / "validation.npy", "--training", tmp_path / "training.npy")
    done = scalewise("evaluate", "synthesize", *sets, "-n", 2, "--model", models / "faces")
    assert done.code == 2
    assert "training.npy: images are 32x16, but those of" in done.sentence
    assert done.sentence.endswith("are 32x32")


def test_evaluate_synthesize_computes_as_written_if_asked_to(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    np.save(tmp_path / "a.npy", np.random.default_rng(0).integers(0, 256, (3, 32, 32), np.uint8))
    asked: list[object] = []
    real = store.load

    def load(*arguments: Any, **options: Any) -> Any:
        asked.append(options["exact"])
        return real(*arguments, **options)

    monkeypatch.setattr(store, "load", load)
    for options in (("--exact",), ()):
        words = ("synthesize", tmp_path / "a.npy", "-n", 2, "--model", models / "gray", *options)
        assert scalewise("evaluate", *words).code == 0
    assert asked == [True, None]


def test_evaluate_likelihood(models: Path, images: Path, tmp_path: Path) -> None:
    bits = tmp_path / "bits.json"
    options = ("--model", models / "photos", "--sigma", 2, "--json", bits)
    done = scalewise("evaluate", "likelihood", images, *options)
    assert done.code == 0, done.stderr
    head, _, *rows = done.stdout.splitlines()
    assert head.split("  ")[0] == "part"
    assert [row.split("  ")[0] for row in rows] == [
        "level 1",
        "level 2",
        "level 3",
        "low",
        "total",
    ]
    written = json.loads(bits.read_text())
    assert [record["image"] for record in written["records"]] == ["a.png", "deep/b.tif"]
    parts = [mean["bits"] for mean in written["means"]]
    assert sum(parts[:-1]) == pytest.approx(parts[-1])
    assert (written["sigma"], written["seed"]) == (2, 0)
    again = scalewise("evaluate", "likelihood", images, *options)
    assert "bits.json exists; give --force" in again.sentence
    done = scalewise("evaluate", "likelihood", images, *options[:2], "--sigma", 0)
    assert done.code == 2
    assert "'--sigma'" in done.sentence


@pytest.mark.parametrize("command", ["denoise", "upscale", "synthesize", "likelihood"])
@pytest.mark.parametrize(
    ("code", "words", "arguments"),
    [
        (1, "absent: expected images, found nothing of this name", ("absent",)),
        (1, "empty: holds no image", ("empty",)),
        (1, "bad.png: is not a PNG", ("bad.png",)),
        (2, "'-' is not an image", ("-",)),
        (2, "no model is called 'nobody'", ("images", "--model", "nobody")),
        (
            1,
            "no/a.json: expected the name of a file in a folder",
            ("images", "--json", "no/a.json"),
        ),
        (1, "images: expected the name of a file in a folder", ("images", "--json", "images")),
        (2, "--json -: pipes are not supported", ("images", "--json", "-")),
        (1, "loop exists; give --force to overwrite it", ("images", "--json", "loop")),
        (1, "loop: is no file that can be replaced", ("images", "--force", "--json", "loop")),
    ],
)
def test_bad_input(
    command: str,
    code: int,
    words: str,
    arguments: tuple[str, ...],
    models: Path,
    images: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "bad.png").write_text("no image")
    (tmp_path / "loop").symlink_to("loop")
    before = tree(tmp_path)
    if "--model" not in arguments:
        arguments += ("--model", str(models / "photos"))
    done = scalewise("evaluate", command, *arguments)
    assert done.code == code
    assert words in done.sentence
    assert tree(tmp_path) == before


def test_evaluate_negative_sigma(models: Path, images: Path) -> None:
    done = scalewise("evaluate", "denoise", images, "--sigma", 15, -5)
    assert done.code == 2
    assert "'--sigma'" in done.sentence


def test_import_reference_refuses_other_folders(images: Path, tmp_path: Path) -> None:
    done = scalewise("import-reference", images, "--out", tmp_path / "models")
    assert done.code == 1
    assert "not the published checkpoints" in done.sentence
    assert not (tmp_path / "models").exists()
    done = scalewise("import-reference", tmp_path / "absent", "--out", tmp_path / "models")
    assert done.code == 1
    assert "no such folder" in done.sentence


@pytest.mark.slow
def test_import_reference(shared: Path, images: Path, tmp_path: Path) -> None:
    """The published networks become models that denoise."""
    checkpoints = shared / "reference" / "checkpoints"
    done = scalewise("import-reference", checkpoints, "--out", tmp_path / "models", "--json")
    assert done.code == 0, done.stderr
    names = {Path(record["model"]).name for record in done.records}
    assert "faces160-rf9" in names
    assert all((tmp_path / "models" / name / "config.json").is_file() for name in names)
    model = tmp_path / "models" / "faces160-rf9"
    written = (model / "model.safetensors").stat().st_mtime_ns
    again = scalewise("import-reference", checkpoints, "--out", tmp_path / "models")
    assert again.code == 0, again.stderr
    assert (model / "model.safetensors").stat().st_mtime_ns == written
    shutil.copy(tmp_path / "models" / "faces160-rf13" / "model.safetensors", model)
    other = scalewise("import-reference", checkpoints, "--out", tmp_path / "models")
    assert other.code == 1
    assert "--force" in other.sentence
    other = scalewise("import-reference", checkpoints, "--out", tmp_path / "models", "--force")
    assert other.code == 0, other.stderr
    done = scalewise("denoise", images / "a.png", tmp_path / "clean.png", "--model", model)
    assert done.code == 0
    assert "RGB image converted to gray" in done.stdout

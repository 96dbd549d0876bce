"""`scalewise train` as people type it: good runs, resume, and every bad input."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from PIL import Image
from typer.testing import CliRunner

import scalewise
from scalewise.cli.commands import app
from scalewise.networks import NoiseEstimator
from scalewise.store import read_config
from scalewise.training import Recipe

TINY = (
    "--levels 1 --width 8 --receptive-field 5 --batch 4 --crop 8 --steps 4 --seed 1 "
    "--recipe {recipe}"
)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder of four small photographs, one of them in a subfolder."""
    rng = np.random.default_rng(0)
    folder = tmp_path / "photos"
    (folder / "more").mkdir(parents=True)
    for name in ("a.png", "b.jpg", "c.webp", "more/d.tif"):
        image = np.kron(rng.integers(0, 255, (6, 7, 3)), np.ones((8, 8, 1)))
        Image.fromarray(image.astype(np.uint8)).save(folder / name)
    return folder


@pytest.fixture
def tiny(tmp_path: Path) -> list[str]:
    """Options that make a run of seconds."""
    recipe = tmp_path / "tiny.json"
    small = {"blocks": 1, "low_width": 8, "low_multiples": [1], "low_blocks": 1, "low_crop": 8}
    recipe.write_text(json.dumps(small | {"low_batch": 2}))
    return TINY.format(recipe=recipe).split()


def call(*words: object) -> Any:
    return CliRunner().invoke(app, ["train", *map(str, words)])


def test_trains_from_a_folder(tmp_path: Path, photos: Path, tiny: list[str]) -> None:
    out = tmp_path / "model"
    result = call(photos, "--out", out, *tiny, "--json", "--data-license", "CC0", "--half")
    assert result.exit_code == 0, result.output
    record = json.loads(result.stdout)
    assert record["training"]["data"] == {"name": "photos", "images": 3, "license": "CC0"}
    config = read_config(out)
    recipe: Any = config.training["recipe"]
    assert (config.channels, config.levels, recipe["seed"]) == (3, 1, 1)
    assert "CC0" in (out / "README.md").read_text()
    assert "denoising, validation crops" in (out / "README.md").read_text()
    assert scalewise.load(out).denoise(torch.rand(1, 3, 9, 7)).shape == (1, 3, 9, 7)
    with Image.open(out / "training" / "validation.png") as sheet:
        assert sheet.size[0] > 100
    log = (out / "training" / "log.jsonl").read_text()
    lines = [json.loads(line) for line in log.splitlines()]
    assert {line["level"] for line in lines if "validation" in line} == {1, "low"}
    assert list((out / "training" / "tensorboard").glob("events*"))


def test_resuming_a_finished_run_changes_nothing(
    tmp_path: Path, photos: Path, tiny: list[str]
) -> None:
    out = tmp_path / "model"
    first = call(photos, "--out", out, *tiny)
    assert first.exit_code == 0
    assert f"{out} is trained. Denoising, validation crops, PSNR in dB: sigma 15: " in first.stdout
    weights = (out / "model.safetensors").read_bytes()
    assert call(photos, "--out", out, "--resume").exit_code == 0
    assert (out / "model.safetensors").read_bytes() == weights
    again = call(photos, "--out", out, *tiny)
    assert again.exit_code == 2
    assert "go on with --resume, or start anew with --force" in again.output
    assert call(photos, "--out", out, *tiny, "--force").exit_code == 0
    fewer = call(photos, "--out", out, "--resume", "--steps", 3)
    assert (fewer.exit_code, "other choices (steps)" in fewer.output) == (2, True)
    assert call(photos, "--out", out, "--resume", "--steps", 6).exit_code == 0
    levels: Any = read_config(out).training["levels"]
    assert [level["steps"] for level in levels.values()] == [6, 6]
    other = call(photos, "--out", out, "--resume", "--width", 12)
    assert (other.exit_code, "other choices (width)" in other.output) == (2, True)


@pytest.mark.parametrize("kind", ["npz", "npy", "txt"])
def test_trains_from_arrays_and_lists(
    tmp_path: Path, photos: Path, tiny: list[str], kind: str
) -> None:
    images = np.random.default_rng(0).integers(0, 255, (5, 32, 32), np.uint8)
    source = tmp_path / f"images.{kind}"
    if kind == "npz":
        np.savez(source, images=images)
    elif kind == "npy":
        np.save(source, images)
    else:
        source.write_text("photos/a.png\n# a comment\nphotos/b.jpg\n")
    result = call(source, "--out", tmp_path / "model", *tiny)
    assert result.exit_code == 0, result.output
    assert read_config(tmp_path / "model").channels == (3 if kind == "txt" else 1)


@pytest.mark.slow
def test_two_processes_train_one_model(tmp_path: Path, photos: Path, tiny: list[str]) -> None:
    out = tmp_path / "model"
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2"]
    command += ["-m", "scalewise", "train", str(photos), "--out", str(out), *tiny, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.strip().splitlines()) == 1
    assert json.loads(done.stdout)["training"]["levels"]["1"]["steps"] == 4
    assert scalewise.load(out).levels == 1


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        (["{photos}/none"], 1, "no such file or folder"),
        (["{empty}"], 1, "no image"),
        (["{broken}"], 1, "broken.png"),
        (["{photos}", "--levels", "6"], 1, "too small for 6 levels"),
        (["{photos}", "--receptive-field", "4"], 2, "receptive_field must be odd and from 5"),
        (["{photos}", "--minutes", "1", "--steps", "2"], 2, "give one of them"),
        (["{photos}", "--minutes", "-1"], 2, "minutes: Input should be greater than 0"),
        (["{photos}", "--minutes", "nan"], 2, "minutes: Input should be"),
        (["{photos}", "--minutes", "inf"], 2, "minutes: Input should be"),
        (["{photos}", "--learning-rate", "nan"], 2, "learning_rate: Input should be"),
        (["{photos}", "--learning-rate", "inf"], 2, "learning_rate: Input should be"),
        (["{photos}", "--learning-rate", "-1"], 2, "learning_rate: Input should be greater than 0"),
        (["{photos}", "--seed", str(2**63)], 2, "seed: Input should be less than 9223372036854775"),
        (["{photos}", "--width", "1000000"], 2, "width"),
        (["{photos}", "--wavelet", "bior2.2", "--steps", "1"], 1, "not orthogonal"),
        (["{photos}", "--recipe", "nothing"], 2, "give a JSON file or one of faces, photos"),
        (["{photos}", "--device", "abacus"], 2, "abacus"),
        (["{photos}", "--channels", "2"], 1, "cannot be converted to 2 channels"),
        (["{photos}", "--resume"], 1, "train without --resume"),
        (["{photos}", "--out", "{empty}/a/b"], 1, "does not exist"),
        (["{photos}", "--out", "{photos}"], 1, "holds something other"),
        (["{photos}", "--out", "{photos}/a.png"], 1, "is a file"),
    ],
)
def test_bad_input_is_one_sentence(
    tmp_path: Path, photos: Path, words: list[str], code: int, sentence: str
) -> None:
    empty, broken, out = tmp_path / "empty", tmp_path / "broken", tmp_path / "model"
    empty.mkdir()
    broken.mkdir()
    (broken / "broken.png").write_bytes((photos / "a.png").read_bytes()[:60])
    places = {"photos": photos, "empty": empty, "broken": broken}
    filled = [word.format(**places) for word in words]
    if "--out" not in words:
        filled += ["--out", str(out)]
    result = call(*filled)
    assert result.exit_code == code, result.output
    assert sentence in " ".join(result.output.split())
    assert "Traceback" not in result.output
    assert not out.exists()


def test_a_finished_run_of_minutes_has_nothing_left_to_do(
    tmp_path: Path, photos: Path, tiny: list[str]
) -> None:
    """Going on with it leaves the weights as they are; more minutes train more."""
    out = tmp_path / "model"
    timed = [*tiny[: tiny.index("--steps")], *tiny[tiny.index("--steps") + 2 :]]
    assert call(photos, "--out", out, *timed, "--minutes", "0.02").exit_code == 0
    weights = (out / "model.safetensors").read_bytes()
    again = call(photos, "--out", out, "--resume")
    assert again.exit_code == 0, again.output
    assert (out / "model.safetensors").read_bytes() == weights
    steps: Any = read_config(out).training["levels"]
    more = call(photos, "--out", out, "--resume", "--minutes", "0.12")
    assert more.exit_code == 0, more.output
    trained: Any = read_config(out).training["levels"]
    assert [trained[key]["steps"] > steps[key]["steps"] for key in ("1", "low")] == [True, True]


def test_a_run_starts_from_a_model(tmp_path: Path, photos: Path, tiny: list[str]) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    assert call(photos, "--out", first, *tiny).exit_code == 0
    with_estimator = scalewise.load(first)
    with_estimator.estimator = NoiseEstimator(width=3)
    scalewise.save(with_estimator, first, force=True)
    given = ["--start", first, "--steps", "1", "--seed", "5"]
    result = call(photos, "--out", second, *given)
    assert result.exit_code == 0, result.output
    before, after = scalewise.load(first), scalewise.load(second)
    config = json.loads((second / "config.json").read_text())
    recipe = config["training"]["recipe"]
    assert recipe["start"] == str(first)
    assert not {"width", "blocks", "receptive_field", "low_width"} & recipe.keys()
    assert Recipe(**recipe).steps == 1
    assert "recipe/width" not in (tmp_path / "second" / "README.md").read_text()
    assert after.levels == before.levels
    assert after.estimator is not None
    weights = after.state_dict()
    for name, old in before.state_dict().items():  # one step of warm-up moved it a little
        assert torch.allclose(old, weights[name], atol=1e-3), name
    result = call(photos, "--out", tmp_path / "third", *given, "--width", "8")
    assert result.exit_code == 2
    assert "networks are those of the model" in result.output
    result = call(photos, "--out", tmp_path / "third", *given, "--levels", "2")
    assert result.exit_code == 2
    assert "must be the same" in result.output


def test_resuming_needs_no_option_again(tmp_path: Path, photos: Path, tiny: list[str]) -> None:
    out = tmp_path / "model"
    facts = ("--license", "mit", "--data-license", "CC0", "--description", "Mine.", "--half")
    first = call(photos, "--out", out, *tiny, *facts, "--channels", 1)
    assert first.exit_code == 0, first.output
    again = call(photos, "--out", out, "--resume")
    assert again.exit_code == 0, again.output
    config = read_config(out)
    assert (config.license, config.description, config.channels) == ("mit", "Mine.", 1)
    assert "CC0" in (out / "README.md").read_text()
    weights = safetensors.torch.load_file(out / "model.safetensors")
    assert torch.float16 in {weight.dtype for weight in weights.values()}
    changed = call(photos, "--out", out, "--resume", "--license", "cc0-1.0")
    assert changed.exit_code == 0
    assert read_config(out).license == "cc0-1.0"


def test_without_tensorboard(
    tmp_path: Path, photos: Path, tiny: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    result = call(photos, "--out", tmp_path / "model", *tiny)
    assert result.exit_code == 0, result.output
    assert not (tmp_path / "model" / "training" / "tensorboard").exists()


def test_a_run_killed_in_its_first_publication_goes_on(
    tmp_path: Path, photos: Path, tiny: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between any two moves of the model's files."""
    real = Path.replace
    for moves in range(4):
        out, done = tmp_path / f"model-{moves}", [0]

        def replace(self: Path, target: Path, done: list[int] = done, moves: int = moves) -> Path:
            if target.parent.name.startswith("model-"):
                done[0] += 1
                if done[0] > moves:
                    raise KeyboardInterrupt
            return real(self, target)

        with monkeypatch.context() as patch:
            patch.setattr(Path, "replace", replace)
            assert call(photos, "--out", out, *tiny).exit_code != 0
        again = call(photos, "--out", out, "--resume")
        assert again.exit_code == 0, again.output
        assert scalewise.load(out, device="cpu").levels == 1


def test_what_a_folder_leaves_out_is_told(tmp_path: Path, photos: Path, tiny: list[str]) -> None:
    (photos / "c.heic").touch()
    done = call(photos, "--out", tmp_path / "model", *tiny)
    assert done.exit_code == 0, done.output
    assert "1 picture of another kind was left out: .heic (1)" in done.output


def test_a_prior_without_levels(tmp_path: Path, photos: Path, tiny: list[str]) -> None:
    done = call(photos, "--out", tmp_path / "model", *tiny, "--levels", 0)
    assert done.exit_code == 0, done.output
    assert scalewise.load(tmp_path / "model", device="cpu").levels == 0


def test_one_image_is_split(tmp_path: Path, photos: Path, tiny: list[str]) -> None:
    """What is told of a texture: part of its one image is kept for validation."""
    pixels = np.random.default_rng(0).integers(0, 255, (64, 48), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "one.png")
    result = call(tmp_path / "one.png", "--out", tmp_path / "model", *tiny)
    assert result.exit_code == 0, result.output
    assert "one.png is one image: its lowest 16 rows are kept for validation" in result.output
    data: Any = read_config(tmp_path / "model").training["data"]
    assert data["name"] == "one.png"


def test_a_texture_too_small_is_one_sentence(tmp_path: Path, tiny: list[str]) -> None:
    Image.fromarray(np.zeros((16, 16), np.uint8)).save(tmp_path / "one.png")
    result = call(tmp_path / "one.png", "--out", tmp_path / "model", *tiny)
    assert result.exit_code == 1
    assert "too small for 1 levels: at least 16 pixels are needed" in " ".join(
        result.output.split()
    )


def test_recipes_beyond_the_memory_are_refused(
    tmp_path: Path, photos: Path, tiny: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scalewise.training.memory.memory_of", lambda _: 10**4)
    done = call(photos, "--out", tmp_path / "model", *tiny)
    assert done.exit_code == 2
    assert "GB of memory, most of it for" in done.output
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"width": 2}, "width: Input should be greater than or equal to 4, found 2"),
        ({"width": [64, "a"]}, "width: Input should be a valid integer, found [64, 'a']"),
        ({"levels": [1]}, "levels: Input should be a valid integer, found [1]"),
        ({"image_sigma": [1]}, "image_sigma must be a number above 0, found [1]"),
        ({"prior_sigma": -1}, "prior_sigma must be a number above 0, found -1"),
        ({"minutes": {"a": 1}}, "minutes: Input should be a valid number"),
    ],
)
def test_damaged_recipes_are_named(
    fields: dict[str, object], words: str, tmp_path: Path, photos: Path
) -> None:
    file = tmp_path / "recipe.json"
    file.write_text(json.dumps(fields))
    done = call(photos, "--out", tmp_path / "model", "--recipe", file)
    assert done.exit_code == 2, done.output
    assert words in done.output
    assert "recipe.json: " in done.output or "must be a number" in done.output
    assert not (tmp_path / "model").exists()


def test_images_of_one_colour_each_cannot_be_learnt(tmp_path: Path, tiny: list[str]) -> None:
    (tmp_path / "plain").mkdir()
    for shade in range(4):
        Image.new("RGB", (48, 48), (shade, 100, 200)).save(tmp_path / "plain" / f"{shade}.png")
    done = call(tmp_path / "plain", "--out", tmp_path / "model", *tiny)
    assert done.exit_code == 2
    assert "found 0: images of one colour each, which do not vary, cannot be learnt" in done.output


def test_a_small_image_is_left_out_and_named(tmp_path: Path, photos: Path, tiny: list[str]) -> None:
    for name in ("e.png", "f.png"):
        Image.new("RGB", (56, 48), (10, 200, 30)).save(photos / name)
    Image.new("RGB", (56, 9)).save(photos / "banner.png")
    result = call(photos, "--out", tmp_path / "model", *tiny)
    assert result.exit_code == 0, result.output
    assert "banner.png (56x9) is smaller than the crops of the others: left out" in result.output


def test_nested_brackets_are_no_recipe(tmp_path: Path, photos: Path) -> None:
    recipe = tmp_path / "deep.json"
    recipe.write_text("[" * 100_000)
    result = call(photos, "--out", tmp_path / "model", "--recipe", recipe)
    assert result.exit_code == 2
    assert f"recipe {recipe} cannot be read as JSON" in " ".join(result.output.split())


@pytest.mark.parametrize("damage", ["text", "segments"])
def test_a_damaged_state_is_one_sentence(
    tmp_path: Path, photos: Path, tiny: list[str], damage: str
) -> None:
    out = tmp_path / "model"
    assert call(photos, "--out", out, *tiny).exit_code == 0
    state = out / "training" / "run.pt"
    if damage == "text":
        state.write_bytes(b"not a state")
    else:
        torch.save(torch.load(state, weights_only=True) | {"segments": [{"a": 1}]}, state)
    result = call(photos, "--out", out, "--resume")
    assert result.exit_code == 1
    assert "run.pt is damaged" in " ".join(result.output.split())
    assert "weights_only" not in result.output


def test_python_trains_to_a_model_folder(
    tmp_path: Path, photos: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """With a recipe of its own, and in silence."""
    recipe: dict[str, Any] = {
        "levels": 1,
        "width": 8,
        "receptive_field": 5,
        "batch": 4,
        "crop": 8,
        "blocks": 1,
    }
    recipe |= {"low_width": 8, "low_multiples": [1], "low_blocks": 1, "low_crop": 8, "low_batch": 2}
    out = tmp_path / "model"
    record = scalewise.train.train_model(photos, out, recipe=recipe, steps=2, license="mit")
    assert record["model"] == str(out)
    assert [level["steps"] for level in record["training"]["levels"].values()] == [2, 2]
    config = read_config(out)
    assert (config.license, config.levels) == ("mit", 1)
    assert config.scores == record["scores"]
    assert capfd.readouterr() == ("", "")
    with pytest.raises(scalewise.UsageError, match="go on with --resume, or start anew"):
        scalewise.train.train_model(photos, out, recipe=recipe, steps=2)
    with pytest.raises(scalewise.UsageError, match="stepz: Extra inputs are not permitted"):
        scalewise.train.train_model(photos, tmp_path / "other", stepz=2)
    assert not (tmp_path / "other").exists()

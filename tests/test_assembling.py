"""Levels that are trained apart, and joined."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from test_training import TINY
from typer.testing import CliRunner

import scalewise
from scalewise.cli.commands import app
from scalewise.errors import ScalewiseError, UsageError
from scalewise.networks import NoiseEstimator
from scalewise.store import read_config
from scalewise.train import assemble, train_model

BIAS_FREE = {"form": "bias-free", "depth": 4}


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """An array of eight gray images of 48x48 pixels."""
    rng = np.random.default_rng(0)
    images = 0.2 + 0.6 * np.kron(rng.random((8, 16, 16)), np.ones((1, 3, 3)))
    np.save(tmp_path / "images.npy", images.astype(np.float32))
    return tmp_path / "images.npy"


def trained(pictures: Path, name: str, **choices: Any) -> Path:
    out = pictures.with_name(name)
    fields = TINY | {"steps": 4, "seed": 3, "estimator_fraction": 0.0} | choices
    train_model(pictures, out, **fields)
    return out


def weights(folder: Path, part: str = "") -> dict[str, torch.Tensor]:
    found = scalewise.load(folder, device="cpu").state_dict()
    return {name: weight for name, weight in found.items() if name.startswith(part)}


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    assert one.keys() == other.keys()
    return all(torch.equal(weight, other[name]) for name, weight in one.items())


def test_levels_trained_apart_make_a_model(pictures: Path) -> None:
    """The low-pass image's is that of a joint run; the details learn beside a stand-in."""
    whole = trained(pictures, "whole")
    parts = [trained(pictures, f"part-{level}", only_level=level) for level in (1, "low")]
    assert not (parts[0] / "config.json").exists()
    record = assemble(parts, pictures.with_name("model"))
    assert same(weights(pictures.with_name("model"), "low."), weights(whole, "low."))
    details = [weights(pictures.with_name(name), "details.") for name in ("model", "whole")]
    assert not same(*details)
    prior = scalewise.load(pictures.with_name("model"), device="cpu")
    assert prior.denoise(torch.rand(1, 1, 20, 24)).shape == (1, 1, 20, 24)
    config = read_config(pictures.with_name("model"))
    assert list(record["training"]["levels"]) == ["1", "low"]
    recipe: Any = config.training["recipe"]
    assert "only_level" not in recipe
    assert recipe == read_config(whole).training["recipe"]


def test_blind_levels_are_those_of_a_joint_run(pictures: Path) -> None:
    whole = trained(pictures, "whole", levels=2, **BIAS_FREE)
    parts = [
        trained(pictures, f"part-{level}", levels=2, only_level=level, **BIAS_FREE)
        for level in ("low", 1, 2)
    ]
    assemble(parts, pictures.with_name("model"), half=False)
    assert same(weights(pictures.with_name("model")), weights(whole))


def test_levels_start_from_a_model_and_look_at_its_coarser_ones(pictures: Path) -> None:
    start = trained(pictures, "start")
    prior = scalewise.load(start)
    prior.estimator = NoiseEstimator(width=3)
    scalewise.save(prior, start, force=True)
    fields: dict[str, Any] = {"start": str(start), "steps": 2, "seed": 5}
    for level in (1, "low"):
        train_model(pictures, pictures.with_name(f"part-{level}"), only_level=level, **fields)
        again = pictures.with_name(f"part-{level}")
        train_model(pictures, again, resume=True)
    assemble([pictures.with_name(f"part-{k}") for k in (1, "low")], pictures.with_name("model"))
    found = scalewise.load(pictures.with_name("model"))
    assert found.estimator is not None
    assert found.estimator.settings["width"] == 3
    for name, old in prior.state_dict().items():
        assert torch.allclose(old, found.state_dict()[name], atol=1e-2), name


def test_minutes_are_one_levels_alone(pictures: Path) -> None:
    record = train_model(
        pictures,
        pictures.with_name("part"),
        **(TINY | {"minutes": 0.03, "only_level": 1, "estimator_fraction": 0.0}),
    )
    assert list(record["training"]["levels"]) == ["1"]
    assert record["training"]["levels"]["1"]["steps"] > 20


def test_parts_that_do_not_fit(pictures: Path, tmp_path: Path) -> None:
    low, one = (trained(pictures, f"part-{k}", only_level=k) for k in ("low", 1))
    whole, twice = trained(pictures, "whole"), tmp_path / "twice"
    shutil.copytree(one, twice)
    two = trained(pictures, "two", levels=2, only_level=1)
    symlet = trained(pictures, "symlet", wavelet="sym2", only_level=1)
    colour = trained(pictures, "colour", channels=3, only_level=1)
    wide = trained(pictures, "wide", width=12, only_level=1)
    cut = tmp_path / "cut"
    shutil.copytree(one, cut)
    state = torch.load(cut / "training" / "run.pt", weights_only=True)
    torch.save(state | {"finished": None}, cut / "training" / "run.pt")
    damaged = tmp_path / "damaged"
    shutil.copytree(one, damaged)
    state = torch.load(damaged / "training" / "level-1.pt", weights_only=True)
    torch.save(state | {"best": {}}, damaged / "training" / "level-1.pt")
    strange = tmp_path / "strange"
    shutil.copytree(low, strange)
    torch.save({"nothing": 1}, strange / "training" / "estimator.pt")
    state = torch.load(strange / "training" / "run.pt", weights_only=True)
    torch.save(state | {"estimator": {"width": 8}}, strange / "training" / "run.pt")
    for parts, kind, words in (
        ([one], UsageError, "the low-pass image, low-pass image is missing; train each with"),
        ([low], UsageError, "level 1 is missing"),
        ([low, one, twice], UsageError, "level 1 is there twice, in .*part-1 and .*twice"),
        ([low, two], UsageError, "two was trained with another levels than .*: 2, not 1"),
        ([low, symlet], UsageError, "another wavelet than .*: sym2, not haar"),
        ([low, colour], UsageError, "another channels than .*: 3, not 1"),
        ([low, wide], UsageError, "another width than .*: 12, not 8"),
        ([low, cut], ScalewiseError, "the training of level 1 has not ended; go on with"),
        ([low, damaged], ScalewiseError, "its training state is damaged"),
        ([strange, one], ScalewiseError, "estimator.pt is damaged .not the weights of"),
        ([low, whole], UsageError, "all its levels were trained together"),
        ([low, tmp_path], ScalewiseError, "holds no training; give the folders"),
    ):
        with pytest.raises(kind, match=words):
            assemble(parts, tmp_path / "model")
        assert not (tmp_path / "model").exists()


def test_a_part_is_no_model(pictures: Path) -> None:
    part = trained(pictures, "part-1", only_level=1)
    with pytest.raises(ScalewiseError, match=r"config.json is missing; .*by scalewise assemble"):
        scalewise.load(part)


def test_noise_must_be_the_same(pictures: Path, tmp_path: Path) -> None:
    low, one = (trained(pictures, f"part-{k}", only_level=k) for k in ("low", 1))
    state = torch.load(one / "training" / "run.pt", weights_only=True)
    torch.save(state | {"noise_floor": 0.1}, one / "training" / "run.pt")
    with pytest.raises(UsageError, match=r"another sigma than .*: 0\.1, not 0\.0"):
        assemble([low, one], tmp_path / "model")


def call(*words: object) -> Any:
    return CliRunner().invoke(app, [*map(str, words)])


def test_the_commands(pictures: Path, tmp_path: Path) -> None:
    small = {name: value for name, value in TINY.items() if name != "levels"}
    recipe = tmp_path / "tiny.json"
    recipe.write_text(json.dumps(small | {"steps": 2, "estimator_fraction": 0}))
    asked = ["--recipe", recipe, "--levels", 1, "--only-level"]
    done = call("train", pictures, "--out", tmp_path / "low", *asked, "low")
    assert done.exit_code == 0, done.output
    assert "low has the low-pass image; scalewise assemble joins it" in done.stdout
    done = call("train", pictures, "--out", tmp_path / "one", *asked, 1)
    assert done.exit_code == 0, done.output
    parts = [tmp_path / "low", tmp_path / "one"]
    done = call("assemble", *parts, tmp_path / "model")
    assert done.exit_code == 0, done.output
    assert "model is assembled, of 1 levels and the low-pass image." in done.stdout
    again = call("assemble", *parts, tmp_path / "model")
    assert (again.exit_code, "give --force" in again.output) == (1, True)
    again = call("assemble", *parts, tmp_path / "model", "--force", "--json")
    assert json.loads(again.stdout)["model"] == str(tmp_path / "model")
    alone = call("assemble", tmp_path / "low")
    assert (alone.exit_code, "and the model's last" in alone.output) == (2, True)
    wrong = call("train", pictures, "--out", tmp_path / "two", *asked, 2)
    assert (wrong.exit_code, "from 1 to 1, found 2" in wrong.output) == (2, True)
    wrong = call("train", pictures, "--out", tmp_path / "two", *asked, "high")
    assert wrong.exit_code == 2
    assert "only_level" in wrong.output

"""Training on several processes: real ones, started by `torchrun`."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as group
from process_tools import SMALL, torchrun

import scalewise
from scalewise import processes
from scalewise.errors import UsageError
from scalewise.processes import ElsewhereError
from scalewise.train import train_model

LAUNCHED = {name: "0" for name in processes.TOLD} | {"WORLD_SIZE": "2"}


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """An array of twelve gray images of 40x40 pixels, with a little noise."""
    rng = np.random.default_rng(0)
    images = 0.3 + 0.4 * np.kron(rng.random((12, 5, 5)), np.ones((1, 8, 8)))
    images += 0.05 * rng.normal(size=images.shape)
    np.save(tmp_path / "images.npy", images.astype(np.float32))
    return tmp_path / "images.npy"


def started(
    pictures: Path, name: str, count: int, restarts: int = 0, **choices: Any
) -> subprocess.Popen[str]:
    """A run on so many processes."""
    asked = {"images": str(pictures), "out": str(pictures.with_name(name)), **SMALL, **choices}
    return torchrun("tests.process_tools", json.dumps(asked), count=count, restarts=restarts)


def ended(job: subprocess.Popen[str], pictures: Path, name: str) -> tuple[Any, Any]:
    """The losses of all steps, and the prior, of a run that goes well."""
    _, errors = job.communicate(timeout=300)
    assert job.returncode == 0, errors
    losses = json.loads(pictures.with_name(f"{name}.json").read_text())
    return losses, scalewise.load(pictures.with_name(name), device="cpu")


def trained(pictures: Path, name: str, count: int, **choices: Any) -> tuple[Any, Any]:
    """The losses of all steps, and the prior, of a run on so many processes."""
    return ended(started(pictures, name, count, **choices), pictures, name)


@pytest.mark.slow
@pytest.mark.parametrize("double", [True, False], ids=["float64", "float32"])
@pytest.mark.parametrize(
    "choices",
    [
        {"low_dropout": 0.25},
        {"form": "bias-free", "depth": 4},
        {"structured_fraction": 0.5, "batch": 4},
        {"noise": 0.05, "batch": 7, "low_batch": 7},
    ],
    ids=["noise-conditional", "bias-free", "structured", "noisy"],
)
def test_the_number_of_processes_changes_nothing(
    pictures: Path, choices: dict[str, Any], double: bool
) -> None:
    """What float64 leaves is rounding; float32 rounds more, and training magnifies it."""
    least, of_weights = (1e-12, 1e-6) if double else (2e-5, 1e-3)
    alone, prior = trained(pictures, "one", 1, **choices, double=double)
    for count in (2, 4):
        losses, found = trained(pictures, f"of-{count}", count, **choices, double=double)
        assert [step[:2] for step in losses] == [step[:2] for step in alone]
        differences = [abs(a[2] - b[2]) / abs(b[2]) for a, b in zip(losses, alone, strict=True)]
        assert max(differences) < least
        weights = found.state_dict()
        for name, weight in prior.state_dict().items():
            torch.testing.assert_close(weights[name], weight, atol=least, rtol=of_weights)


@pytest.mark.slow
def test_estimators_too(tmp_path: Path) -> None:
    """Planes of 224x224 pixels make batches of three, for four processes."""
    rng = np.random.default_rng(0)
    np.save(tmp_path / "images.npy", np.kron(rng.random((6, 32, 32)), np.ones((1, 8, 8))))
    pictures, choices = tmp_path / "images.npy", {"estimator_fraction": 0.5, "low_crop": 16}
    _, prior = trained(pictures, "one", 1, **choices)
    _, found = trained(pictures, "of-4", 4, **choices)
    assert prior.estimator is not None
    assert found.estimator is not None
    weights = found.estimator.state_dict()
    for name, weight in prior.estimator.state_dict().items():
        torch.testing.assert_close(weights[name], weight, atol=2e-5, rtol=1e-3)


@pytest.mark.slow
def test_budgets_of_minutes_end_together(pictures: Path) -> None:
    losses, prior = trained(pictures, "timed", 2, minutes=0.05, steps=None, stream=True)
    assert prior.levels == 1
    assert len(losses) > 4


@pytest.mark.slow
@pytest.mark.parametrize("stream", [False, True])
def test_a_killed_process_comes_back(pictures: Path, stream: bool) -> None:
    """The launcher starts all anew, and they go on from the last state, along the same curve."""
    long = {"steps": 60, "save_seconds": 0.0, "stream": stream}
    curve, whole = trained(pictures, "whole", 2, **long)
    job = started(pictures, "killed", 2, restarts=3, pause=0.05, **long)
    state, deadline = pictures.with_name("killed") / "training" / "level-2.pt", time.time() + 120
    while not state.exists() and time.time() < deadline:
        time.sleep(0.05)
    children = Path(f"/proc/{job.pid}/task/{job.pid}/children").read_text().split()
    os.kill(int(children[-1]), signal.SIGKILL)
    losses, prior = ended(job, pictures, "killed")
    assert 0 < losses[0][1] < len(losses) < 120
    assert losses == curve[-len(losses) :]
    weights = prior.state_dict()
    assert all(torch.equal(weights[name], weight) for name, weight in whole.state_dict().items())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("count", "choices", "sentence"),
    [
        (3, {"batch": 2}, "the batch of level 1 has 2 images for 3 processes"),
        (
            2,
            {"odd": {"seed": 9}},
            "process 1 has another seed than process 0: 9, not 3; start all with the same",
        ),
        (2, {"odd": {"version": "0.0.1"}}, "process 1 has another version of Scalewise than"),
        (2, {"odd": {"images": "none.npy"}}, "none.npy: no such file or folder"),
    ],
)
def test_what_does_not_fit_is_one_sentence(
    pictures: Path, count: int, choices: dict[str, Any], sentence: str
) -> None:
    job = started(pictures, "bad", count, **choices)
    _, errors = job.communicate(timeout=300)
    assert job.returncode != 0
    assert errors.count(sentence) == 1, errors
    assert sum(line.startswith("Error: ") for line in errors.splitlines()) == 1, errors
    assert not pictures.with_name("bad").exists()


@pytest.mark.parametrize(
    ("told", "sentence"),
    [
        ({"WORLD_SIZE": "2"}, "WORLD_SIZE=2 is set, and RANK, LOCAL_RANK, MASTER_ADDR"),
        ({"WORLD_SIZE": "two"}, "no launcher started this process"),
        (LAUNCHED | {"RANK": "2"}, "RANK is 2, but of WORLD_SIZE=2 processes the last is 1"),
        (LAUNCHED | {"LOCAL_RANK": "-1"}, "LOCAL_RANK must be a number from 0, found '-1'"),
    ],
)
def test_variables_without_a_launcher(
    told: dict[str, str], sentence: str, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in told.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UsageError, match=sentence):
        train_model(pictures, pictures.with_name("model"), steps=1)


class Gpus:
    """Two GPUs that are not there, and what a process asks of them and of its group."""

    def __init__(self, patch: pytest.MonkeyPatch, rank: str, uuids: list[str]) -> None:
        self.asked: dict[str, Any] = {}
        for name, value in (LAUNCHED | {"RANK": rank, "LOCAL_RANK": rank}).items():
            patch.setenv(name, value)
        patch.setattr(torch.cuda, "device_count", lambda: 2)
        patch.setattr(torch.cuda, "set_device", lambda device: self.asked.update(set=device))
        patch.setattr(torch.cuda, "get_device_properties", lambda _: SimpleNamespace(uuid="mine"))
        patch.setattr(processes, "_meeting", lambda *_: "here")
        patch.setattr(group, "TCPStore", lambda *_, **__: None)
        patch.setattr(group, "PrefixStore", lambda *_: None)
        patch.setattr(group, "init_process_group", self.init)
        patch.setattr(group, "destroy_process_group", lambda: None)
        patch.setattr(processes, "_gathered", lambda text: [f"{text[:-4]}{u}" for u in uuids])
        patch.setattr(processes, "rank", lambda: int(rank))

    def init(self, backend: str, **_: Any) -> None:
        self.asked["backend"] = backend


def test_each_process_takes_a_gpu_and_nccl_sums_what_lies_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gpus = Gpus(monkeypatch, "1", ["other", "mine"])
    with processes.joined(torch.device("cuda")) as device:
        assert device == gpus.asked["set"] == torch.device("cuda", 1)
    assert gpus.asked["backend"] == "cpu:gloo,cuda:nccl"


@pytest.mark.parametrize(("rank", "error"), [("0", UsageError), ("1", ElsewhereError)])
def test_two_processes_on_one_gpu_are_refused(
    monkeypatch: pytest.MonkeyPatch, rank: str, error: type[Exception]
) -> None:
    Gpus(monkeypatch, rank, ["mine", "mine"])
    with (
        pytest.raises(error, match="processes 0 and 1 would compute on one GPU of"),
        processes.joined(torch.device("cuda")),
    ):
        pass


def test_one_process_of_a_launcher_is_a_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "1")
    with processes.joined(torch.device("cpu")) as device:
        assert (device.type, processes.count(), processes.rank()) == ("cpu", 1, 0)

"""Training on several processes: real ones, started by `torchrun`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from process_tools import SMALL, torchrun

import scalewise

pytestmark = pytest.mark.slow


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """An array of twelve gray images of 40x40 pixels."""
    rng = np.random.default_rng(0)
    images = np.kron(rng.random((12, 10, 10)), np.ones((1, 4, 4))).astype(np.float32)
    np.save(tmp_path / "images.npy", images)
    return tmp_path / "images.npy"


def trained(pictures: Path, name: str, count: int, **choices: Any) -> tuple[Any, Any]:
    """The losses of all steps, and the prior, of a run on so many processes."""
    out = pictures.with_name(name)
    asked = {"images": str(pictures), "out": str(out), **SMALL, **choices}
    job = torchrun("tests.process_tools", json.dumps(asked), count=count)
    _, errors = job.communicate(timeout=300)
    assert job.returncode == 0, errors
    losses = json.loads(out.with_suffix(".json").read_text())
    return losses, scalewise.load(out, device="cpu")


@pytest.mark.parametrize(
    "choices",
    [
        {"low_dropout": 0.25},
        {"form": "bias-free", "depth": 4},
        {"structured_fraction": 0.5, "batch": 4},
        {"noise": 0.1},
    ],
    ids=["noise-conditional", "bias-free", "structured", "noisy"],
)
def test_the_number_of_processes_changes_nothing(pictures: Path, choices: dict[str, Any]) -> None:
    alone, prior = trained(pictures, "one", 1, **choices)
    for count in (2, 4):
        losses, found = trained(pictures, f"of-{count}", count, **choices)
        assert [step[:2] for step in losses] == [step[:2] for step in alone]
        differences = [abs(a[2] - b[2]) / abs(b[2]) for a, b in zip(losses, alone, strict=True)]
        assert max(differences) < 2e-5
        weights = found.state_dict()
        for name, weight in prior.state_dict().items():
            torch.testing.assert_close(weights[name], weight, atol=2e-5, rtol=1e-3)

"""What the processes of `torchrun` run in tests, and how they are started."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch

from scalewise.noise_model import NoiseModel
from scalewise.train import Progress, train_model

ROOT = Path(__file__).parents[1]

PATHS = (str(ROOT / "src"), str(ROOT))

SMALL: dict[str, Any] = {
    "levels": 1,
    "width": 8,
    "blocks": 1,
    "receptive_field": 5,
    "low_width": 8,
    "low_multiples": [1, 1],
    "low_blocks": 1,
    "batch": 5,
    "crop": 8,
    "low_batch": 5,
    "low_crop": 8,
    "warmup": 3,
    "steps": 12,
    "precision": "float32",
    "seed": 3,
    "estimator_fraction": 0.0,
}
"""A run of seconds; batches that no number of processes divides."""


class Curve(Progress):
    """Remembers the losses of all steps, and writes them in the end."""

    def __init__(self) -> None:
        self.losses: list[tuple[int, int, float]] = []

    def on_step(self, level: int, step: int, last: int, loss: float, images: int) -> None:
        self.losses.append((level, step, loss))


def main() -> None:
    """Train as the JSON of the first argument says; the first process writes `curve.json`."""
    torch.set_num_threads(1)
    asked = json.loads(sys.argv[1])
    if "noise" in asked:
        asked["noise"] = NoiseModel.white(asked["noise"])
    curve = Curve()
    if train_model(**asked, device="cpu", progress=curve):
        Path(f"{asked['out']}.json").write_text(json.dumps(curve.losses), encoding="utf-8")


def torchrun(*words: object, count: int = 2, restarts: int = 0) -> subprocess.Popen[str]:
    """Start processes: of a module and its arguments."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    launcher += [f"--nproc-per-node={count}", f"--max-restarts={restarts}", "-m"]
    return subprocess.Popen(
        [*launcher, *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=os.environ
        | {"OMP_NUM_THREADS": "1", "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}"},
    )


if __name__ == "__main__":
    main()

"""What the processes of `torchrun` run in tests, and how they are started."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks.machines import in_float64
from scalewise.errors import ScalewiseError
from scalewise.noise_model import NoiseModel
from scalewise.processes import ElsewhereError
from scalewise.train import Progress, model
from scalewise.training import run

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

    def __init__(self, pause: float) -> None:
        self.losses: list[tuple[int, int, float]] = []
        self.pause = pause

    def on_step(self, level: int, step: int, last: int, loss: float, images: int) -> None:
        self.losses.append((level, step, loss))
        time.sleep(self.pause)


def main() -> None:
    """Train as the JSON of the first argument says; the first process writes the curve.

    What the JSON calls `odd` is of the second process alone; with `version` it is another one.
    `double` has it computed in float64.
    """
    torch.set_num_threads(1)
    asked = json.loads(sys.argv[1])
    if asked.pop("double", False):
        in_float64()
    odd = asked.pop("odd", {})
    if os.environ["RANK"] == "1":
        vars(model)["__version__"] = odd.pop("version", vars(model)["__version__"])
        asked |= odd
    vars(run)["SAVE_SECONDS"] = asked.pop("save_seconds", vars(run)["SAVE_SECONDS"])
    if "noise" in asked:
        asked["noise"] = NoiseModel.white(asked["noise"])
    curve = Curve(asked.pop("pause", 0.0))
    try:
        record = model.train_model(**asked, device="cpu", progress=curve)
    except ElsewhereError:
        sys.exit(1)
    except ScalewiseError as error:
        sys.exit(f"Error: {error}")
    if record:
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

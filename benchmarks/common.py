"""What the benchmarks share: images by name, facts about the run, and JSON written whole."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from scalewise.files import write_whole
from scalewise.images import find_images, read_image, to_channels
from scalewise.prior import MultiScalePrior
from scalewise.speed import machine
from scalewise.speed.machine import rounded

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
DATA = ROOT.parent / "shared" / "data"
PACKAGES = ("torch", "numpy", "pillow", "scikit-image", "bm3d")


def read_images(folder: Path, channels: int, count: int | None = None) -> dict[str, Tensor]:
    """Read the first images of a folder, sorted by name.

    Args:
        folder: where to look.
        channels: 1 or 3, to which every image is converted.
        count: how many; None for all.

    Returns:
        Images in [0, 1] by file name, each (C, H, W).
    """
    files = find_images(folder).files[:count]
    return {file.name: to_channels(read_image(file).pixels[0], channels)[0] for file in files}


def load_prior(model: str, device: str) -> MultiScalePrior:
    """Load a model, ready to evaluate, on a device."""
    from scalewise.store import load

    prior: MultiScalePrior = load(model).eval().to(device)
    return prior


def facts(device: str = "cpu") -> dict[str, Any]:
    """Tell the machine, the versions and the commit, without the name of the machine."""
    return machine.facts(torch.device(device), PACKAGES)


def read_json(path: Path) -> dict[str, Any]:
    """Read what an earlier run wrote; empty where there is none."""
    if not path.exists():
        return {}
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON file, whole or not at all.

    Floats are rounded, and every item of a list at the top has a line of its own.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    entries = [f"{json.dumps(key)}: {_lines(rounded(value))}" for key, value in content.items()]
    write_whole(path, ("{\n" + ",\n".join(entries) + "\n}\n").encode())


def pyplot() -> Any:
    """Matplotlib's plotting without a screen, whose SVG files are the same in every run."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot as plt

    matplotlib.rcParams["svg.hashsalt"] = "scalewise"
    return plt


def write_figure(figure: Any, file: Path) -> None:
    """Write a figure, and forget it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, metadata={"Date": None})
    pyplot().close(figure)


def _lines(value: Any) -> str:
    if isinstance(value, list):
        return "[\n" + ",\n".join(f" {json.dumps(item)}" for item in value) + "\n]"
    return json.dumps(value, indent=1)

"""What the benchmarks share: images by name, facts about the run, and JSON written whole."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import scalewise
from scalewise.images import find_images, read_image, to_channels
from scalewise.prior import MultiScalePrior

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
    files = find_images(folder)[:count]
    return {file.name: to_channels(read_image(file).pixels, channels)[0] for file in files}


def load_prior(model: str, device: str) -> MultiScalePrior:
    """Load a model, ready to evaluate, on a device."""
    from scalewise.store import load

    prior: MultiScalePrior = load(model).eval().to(device)
    return prior


def facts(device: str = "cpu") -> dict[str, Any]:
    """Tell the machine, the versions and the commit, without the name of the machine."""
    versions = {"python": platform.python_version(), "scalewise": scalewise.__version__}
    versions.update({name: _version(name) for name in PACKAGES})
    machine = {
        "system": f"{platform.system()} {platform.machine()}",
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "torch_threads": torch.get_num_threads(),
    }
    if device.startswith("cuda"):
        machine["gpu"] = torch.cuda.get_device_name(device)
    return {"machine": machine, "versions": versions, "commit": _commit()}


def read_json(path: Path) -> dict[str, Any]:
    """Read what an earlier run wrote; empty where there is none."""
    if not path.exists():
        return {}
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON file whole or not at all: to a file beside it, then renamed.

    Floats are rounded, and every item of a list at the top has a line of its own.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    entries = [f"{json.dumps(key)}: {_lines(rounded(value))}" for key, value in content.items()]
    part = path.with_name(f".{path.name}.part")
    part.write_text("{\n" + ",\n".join(entries) + "\n}\n", encoding="utf-8")
    os.replace(part, path)


def rounded(value: Any, digits: int = 6) -> Any:
    """Round every float of nested dictionaries and lists to significant digits."""
    if isinstance(value, float):
        return float(f"{value:.{digits}g}")
    if isinstance(value, Mapping):
        return {key: rounded(item, digits) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [rounded(item, digits) for item in value]
    return value


def _lines(value: Any) -> str:
    if isinstance(value, list):
        return "[\n" + ",\n".join(f" {json.dumps(item)}" for item in value) + "\n]"
    return json.dumps(value, indent=1)


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _cpu() -> str:
    """Model of the processor."""
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def _commit() -> str | None:
    """Commit of the working tree, with "+" where tracked files of the package have changed."""
    try:
        commit = _git("rev-parse", "HEAD")
        changed = _git("status", "--porcelain", "--untracked-files=no", "--", "src")
    except (OSError, subprocess.CalledProcessError):
        return None
    return commit + ("+" if changed else "")


def _git(*arguments: str) -> str:
    command = ["git", "-C", str(ROOT), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

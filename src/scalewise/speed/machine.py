"""The machine: what it is, what runs on it, and what it can do at most."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

import scalewise
from scalewise.speed.layout import Row
from scalewise.speed.timing import Clock, Work

PACKAGES = ("torch", "numpy", "pillow", "scikit-image")

WIDTH = 64
SHAPES = {"cpu": ((1, 40), (8, 32), (1, 80), (1, 160)), "cuda": ((8, 80), (32, 80), (32, 160))}
"""Batches and sides at which the convolution is tried."""

COPIED = {"cpu": 1 << 28, "cuda": 1 << 30}
"""Bytes of the copied array: far more than any cache holds."""


@dataclass(frozen=True)
class Limits:
    """What the machine reaches at best.

    Attributes:
        convolution_gflops: rate of one dense 3x3 convolution of 64 channels.
        batch: images at which it was reached.
        side: their side.
        copy_gigabytes: bytes read and written per second when a large array is copied, in 1e9.
        precision: of the convolution.
    """

    convolution_gflops: float
    batch: int
    side: int
    copy_gigabytes: float
    precision: str = "float32"

    def rows(self) -> Iterator[Row]:
        """Lay out the record."""
        rate = f"{self.convolution_gflops:.0f} GFLOP/s"
        yield f"one dense 3×3 convolution, {self.precision}", "", rate, ""
        yield "copying memory", "", f"{self.copy_gigabytes:.1f} GB/s", ""


@dataclass(frozen=True)
class Setting:
    """Where and how things are measured.

    Attributes:
        device: where.
        clock: how.
        dtype: precision of our own side on a GPU, by autocast; float32 on a CPU.
        batch: images of the dense convolution that rates are compared with.
        side: their side.
    """

    device: torch.device
    clock: Clock
    dtype: torch.dtype = torch.float32
    batch: int = 1
    side: int = 80

    def autocast(self) -> torch.autocast:
        """The context in which our own side runs; it can be recorded in a CUDA graph."""
        return autocast(self.device, self.dtype)

    def dense(self) -> tuple[Work, int]:
        """The dense convolution, in the same precision, and its operations."""
        return dense(self.device, self.dtype, self.batch, self.side)


def autocast(device: torch.device, dtype: torch.dtype) -> torch.autocast:
    """Compute in a precision; float32 as it is."""
    if dtype == torch.float32:
        return torch.autocast(device.type, enabled=False)
    return torch.autocast(device.type, dtype, cache_enabled=False)


def dense(device: torch.device, dtype: torch.dtype, batch: int, side: int) -> tuple[Work, int]:
    """Make one dense 3x3 convolution of 64 channels, channels last, and count its operations."""
    layout = torch.channels_last
    features = torch.randn(batch, WIDTH, side, side, device=device, dtype=dtype)
    features = features.contiguous(memory_format=layout)
    weight = torch.randn(WIDTH, WIDTH, 3, 3, device=device, dtype=dtype)
    weight = weight.contiguous(memory_format=layout)
    flops = 2 * weight.numel() * batch * side * side

    def work() -> None:
        with torch.inference_mode():
            F.conv2d(features, weight, padding=1)

    return work, flops


def limits(setting: Setting) -> Limits:
    """Measure the best rate of the convolution over `SHAPES`, and of copying."""
    kind = "cuda" if setting.device.type == "cuda" else "cpu"
    shapes = SHAPES[kind]
    tried = {shape: dense(setting.device, setting.dtype, *shape) for shape in shapes}
    source = torch.ones(COPIED[kind] // 4, device=setting.device)
    target = torch.zeros_like(source)
    works: dict[str, Work] = {str(shape): work for shape, (work, _) in tried.items()}
    times = setting.clock.compare(works | {"copy": lambda: target.copy_(source)})
    rates = {shape: flops / times[str(shape)].seconds for shape, (_, flops) in tried.items()}
    best = max(rates, key=lambda shape: rates[shape])
    copied = 2 * COPIED[kind] / times["copy"].seconds / 1e9
    return Limits(rates[best] / 1e9, *best, copied, str(setting.dtype).removeprefix("torch."))


def facts(device: torch.device, packages: Iterable[str] = PACKAGES) -> dict[str, Any]:
    """Tell machine, versions and commit, without the name of the machine.

    Args:
        device: where the work is done.
        packages: whose versions are told.

    Returns:
        Plain JSON values under `machine`, `versions` and `commit`.
    """
    versions: dict[str, str | None] = {
        "python": platform.python_version(),
        "scalewise": scalewise.__version__,
    }
    versions.update({name: _version(name) for name in packages})
    machine: dict[str, Any] = {
        "system": f"{platform.system()} {platform.machine()}",
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "torch_threads": torch.get_num_threads(),
    }
    if device.type == "cuda":
        machine["gpu"] = torch.cuda.get_device_name(device)
    return {"machine": machine, "versions": versions, "commit": commit()}


def rounded(value: Any, digits: int = 6) -> Any:
    """Round every float of nested dictionaries and lists to significant digits."""
    if isinstance(value, float):
        return float(f"{value:.{digits}g}")
    if isinstance(value, Mapping):
        return {key: rounded(item, digits) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [rounded(item, digits) for item in value]
    return value


def commit() -> str | None:
    """Commit that the package is of, with "+" where its files have changed since.

    None where the package does not lie in a git repository that tracks it.
    """
    package = Path(scalewise.__file__).parent
    try:
        _git(package, "ls-files", "--error-unmatch", "__init__.py")
        changed = _git(package, "status", "--porcelain", "--untracked-files=no", "--", ".")
        return _git(package, "rev-parse", "HEAD") + ("+" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return None


def _git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


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

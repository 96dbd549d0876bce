"""What is installed here, and whether it works: versions, device, packaged models, extras.

Nothing is imported at the top that may be what is broken.
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Iterator
from importlib import import_module, metadata
from pathlib import Path
from typing import Any

from packaging.markers import default_environment
from packaging.requirements import Requirement

import scalewise
from scalewise.errors import ScalewiseError

MODULES = {
    "opencv-python-headless": "cv2",
    "pillow": "PIL",
    "pywavelets": "pywt",
    "scikit-image": "skimage",
}
"""What distributions are called where they are imported, if otherwise."""

EXTRAS = {
    "io": "LZW and other compressed TIFF, 16-bit RGB PNG",
    "big": "images of any size on Zarr, Dask and libvips, many processes and machines",
    "raw": "raw files of cameras: scalewise demosaic",
    "web": "the page of scalewise serve",
    "export": "networks for other programs: scalewise export",
    "train": "curves and pictures of a training in TensorBoard",
    "reproduce": "the figures of scalewise reproduce",
    "benchmark": "comparisons; bm3d is not free for commercial use",
    "diffusers": "scalewise.diffusers: a pipeline, a model and a scheduler",
    "napari": "the plugin of napari: Denoise with Scalewise",
}
"""What each extra is for."""

TRIED = "photos"
"""Packaged model that a small image is denoised with, where it is there."""

Facts = dict[str, Any]


def examine(device: str = "auto") -> Facts:
    """Look at the installation.

    Args:
        device: where a trial is computed: "auto", "cpu", "cuda" or "mps".

    Returns:
        Plain JSON values: `scalewise`, `python`, `system`, `folder`; `packages`, what is needed and
        what is there; `device`; `models`; `extras`; `settings`, the variables that are set; and
        `problems`, a sentence on everything that is broken, empty if all is well.
    """
    packages = [_package(requirement) for requirement in _requirements()]
    problems = [package["problem"] for package in packages if package["problem"]]
    facts: Facts = {
        "scalewise": scalewise.__version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "folder": str(Path(scalewise.__file__).parent),
        "packages": packages,
        "device": None,
        "models": [],
        "extras": [_extra(name, purpose) for name, purpose in EXTRAS.items()],
        "settings": {name: os.environ[name] for name in sorted(os.environ) if _is_ours(name)},
        "problems": problems,
    }
    for name, look in (("device", lambda: _device(device)), ("models", _models)):
        try:
            facts[name], found = look()
            problems += found
        except ScalewiseError as error:
            problems.append(str(error))
        except Exception as error:  # a library that is broken raises whatever it likes
            problems.append(f"{name}: cannot be examined: {_words(error)}")
    if not problems:
        problems += _trial(facts, device)
    return facts


def _is_ours(name: str) -> bool:
    return name.startswith("SCALEWISE_") or name in ("NO_COLOR", "OMP_NUM_THREADS", "HF_HUB_CACHE")


def _requirements(extra: str = "") -> Iterator[Requirement]:
    """What Scalewise, or one extra of it, asks for on this machine."""
    try:
        lines = metadata.requires("scalewise") or []
    except metadata.PackageNotFoundError:  # run from its source
        lines = []
    environment = {name: str(value) for name, value in default_environment().items()}
    environment["extra"] = extra
    for requirement in map(Requirement, lines):
        of_extra = requirement.marker is not None and "extra" in str(requirement.marker)
        wanted = requirement.marker is None or requirement.marker.evaluate(environment)
        if wanted and of_extra == bool(extra):
            yield requirement


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _package(requirement: Requirement) -> Facts:
    """One distribution that is needed: its version, whether that will do, whether it imports."""
    name, wanted, version = requirement.name, str(requirement.specifier), _version(requirement.name)
    problem = None
    if version is None:
        problem = f"{name} is not installed; pip install '{name}{wanted}'"
    elif not requirement.specifier.contains(version, prereleases=True):
        problem = f"{name} {version} is too old or too new; pip install '{name}{wanted}'"
    else:
        try:
            import_module(MODULES.get(name.lower(), name.lower().replace("-", "_")))
        except Exception as error:  # of loading libraries, of versions that disagree
            problem = f"{name} {version} cannot be imported: {_words(error)}; install it again"
    return {"name": name, "wanted": wanted, "version": version, "problem": problem}


def _extra(name: str, purpose: str) -> Facts:
    """One extra: what it is for, which of it is missing, and how to get that."""
    missing = [
        requirement.name
        for requirement in _requirements(name)
        if not requirement.specifier.contains(_version(requirement.name) or "0", prereleases=True)
    ]
    install = f"pip install 'scalewise[{name}]'" if missing else None
    return {"name": name, "for": purpose, "missing": missing, "install": install}


def _device(name: str) -> tuple[Facts, list[str]]:
    """Where is computed: name, threads, memory, and the precision that is fast there."""
    from scalewise.device import memory_of, pick_device
    from scalewise.speed import machine
    from scalewise.training.recipe import computes_bfloat16

    device = pick_device(name)
    memory, there = memory_of(device), machine.facts(device, ())["machine"]
    facts = {
        "name": str(device),
        "title": there.get("gpu", there["cpu"]),
        "threads": there["torch_threads"],
        "cores": there["cores"],
        "memory_gib": None if memory is None else round(memory / 2**30, 1),
        "fast_precision": "bfloat16" if computes_bfloat16(device) else "float32",
    }
    return facts, []


def _models() -> tuple[list[Facts], list[str]]:
    """The packaged models, and what is wrong with their files."""
    from scalewise.store.checksums import check

    found = check()
    models = [{"name": name, "problems": problems} for name, problems in found.items()]
    return models, [problem for problems in found.values() for problem in problems]


def _trial(facts: Facts, device: str) -> list[str]:
    """Denoise a small image; what went wrong."""
    try:
        import torch

        from scalewise.store import load

        names = [model["name"] for model in facts["models"]]
        name = TRIED if TRIED in names else names[0]
        start = time.perf_counter()
        with torch.no_grad():
            prior = load(name, device=device)
            clean = prior.denoise(torch.full((1, prior.channels, 32, 32), 0.5), 0.1)
        good = bool(clean.isfinite().all()) and abs(float(clean.mean()) - 0.5) < 0.1
    except Exception as error:  # drivers and devices fail in many ways
        return [f"a small image cannot be denoised on {device}: {_words(error)}"]
    facts["trial"] = {"model": name, "seconds": round(time.perf_counter() - start, 2)}
    return [] if good else [f"a small image denoised by {name} on {device} came out wrong"]


def _words(error: BaseException) -> str:
    """An error of somebody else's in one line."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__

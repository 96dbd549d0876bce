"""Running experiments and writing the report."""

from __future__ import annotations

import hashlib
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from scalewise import __version__
from scalewise.errors import ScalewiseError, UsageError
from scalewise.evaluation.reliability import check_matplotlib
from scalewise.files import write_json, write_whole
from scalewise.reproduce.context import Context, Images
from scalewise.reproduce.experiment import Cell, Experiment, Result, Table
from scalewise.reproduce.experiments import EXPERIMENTS
from scalewise.reproduce.page import Entry, html_page, markdown_page
from scalewise.reproduce.report import (
    NETWORKS,
    PAGE,
    ReportFolder,
    file_of,
)
from scalewise.reproduce.scale import Scale
from scalewise.training.files import load_state

PUBLIC_BYTES = 5_000_000
"""Most that the figures of a public report may weigh together."""


def reproduce(
    out: Path,
    scale: Scale,
    *,
    seed: int = 0,
    images: Images | None = None,
    reference: Path | None = None,
    textures: Path | None = None,
    only: Sequence[str] = (),
    public: Path | None = None,
    force: bool = False,
    device: torch.device | None = None,
    command: str = "scalewise reproduce",
    say: Callable[[str], None] = lambda _: None,
    experiments: Sequence[Experiment] = EXPERIMENTS,
) -> list[Entry]:
    """Run experiments that have no stored result yet, and write the report.

    Args:
        out: folder of the report; one that was interrupted goes on where it was.
        scale: how much to compute.
        seed: of everything drawn.
        images: faces, or None: then experiments that need them are not tested.
        reference: folder of the published checkpoints, or None.
        textures: folder of textures, or None.
        only: names of the experiments to run; all by default. They replace a stored result.
        public: folder for the report without private figures, or None.
        force: replace another run's results in `out`.
        device: where to compute.
        command: what was typed, for the report.
        say: hears of progress.
        experiments: what there is to run.

    Returns:
        All stored results, each with what is known about it.

    Raises:
        UsageError: a name in `only` is unknown.
        ScalewiseError: matplotlib is missing, or `out` holds something else.
    """
    check_matplotlib()
    chosen = _chosen(experiments, only)
    identity = {
        "seed": seed,
        "quick": scale.quick,
        "scale": _as_json(scale),
        **_data(images, reference, textures),
    }
    folder = ReportFolder(out, identity, force)
    context = Context(
        scale,
        seed,
        out,
        device=device or torch.device("cpu"),
        say=say,
        images=images,
        reference=reference,
        textures=textures,
    )
    names = [experiment.name for experiment in experiments]
    for number, experiment in enumerate(chosen, start=1):
        if folder.done(experiment.name) and not (only and force):
            say(f"[{number}/{len(chosen)}] {experiment.name}: there already")
            continue
        say(f"[{number}/{len(chosen)}] {experiment.name}: {experiment.title}")
        began = time.perf_counter()
        result = _run(experiment, context)
        about = _about(experiment, seed, command, time.perf_counter() - began)
        folder.keep(experiment.name, result, about)
        _write_page(folder, names)
    _write_page(folder, names)
    entries = folder.results(names)
    if public is not None:
        write_public(public, entries, identity, networks_table(out / NETWORKS))
    return entries


def _chosen(experiments: Sequence[Experiment], only: Sequence[str]) -> list[Experiment]:
    known = {experiment.name: experiment for experiment in experiments}
    unknown = [name for name in only if name not in known]
    if unknown:
        raise UsageError(f"no experiment is called {unknown[0]!r}; there are {', '.join(known)}")
    return [known[name] for name in only] if only else list(experiments)


def _run(experiment: Experiment, context: Context) -> Result:
    given = {
        "faces": context.images,
        "textures": context.textures,
        "reference": context.reference,
    }
    missing = [f"--{need}" for need in experiment.needs if given[need] is None]
    if missing:
        return Result("not tested", f"It needs data that was not given: {', '.join(missing)}.")
    return experiment.run(context)


def _about(experiment: Experiment, seed: int, command: str, seconds: float) -> dict[str, Any]:
    return {
        "title": experiment.title,
        "claim": experiment.claim,
        "rule": experiment.rule,
        "seed": seed,
        "command": command,
        "seconds": round(seconds, 1),
        "software": {
            "scalewise": __version__,
            "torch": torch.__version__,
            "python": platform.python_version(),
        },
    }


def _write_page(folder: ReportFolder, names: Sequence[str]) -> None:
    networks = networks_table(folder.path / NETWORKS)
    page = html_page(folder.results(names), folder.identity, networks)
    write_whole(folder.path / PAGE, page.encode())


def networks_table(folder: Path) -> Table | None:
    """What was trained: steps, processor seconds and validation PSNR of every network."""
    columns = ["name", "parameters", "images", "budget", "steps", "seconds", "psnr", "gain"]
    records = [load_state(path)["record"] for path in sorted(folder.glob("*.pt"))]
    rows: list[list[Cell]] = [[record[column] for column in columns] for record in records]
    title = (
        "Networks trained: processor seconds; validation PSNR in dB at σ = 25/255 of the image; "
        "what the last doubling of the steps gained of it, the rate's fall to zero included"
    )
    return Table(title, columns, rows) if rows else None


def write_public(
    out: Path, entries: Sequence[Entry], identity: dict[str, Any], networks: Table | None
) -> None:
    """Write the report without private figures: a page in one file, the same in Markdown, data.

    Raises:
        ScalewiseError: the figures weigh more than `PUBLIC_BYTES` together.
    """
    shown = [(about, _public(result)) for about, result in entries]
    weight = sum(len(figure.data) for _, result in shown for figure in result.figures)
    if weight > PUBLIC_BYTES:
        raise ScalewiseError(
            f"the public figures weigh {weight / 1e6:.1f} MB together, more than "
            f"{PUBLIC_BYTES / 1e6:.0f}; draw fewer samples"
        )
    for folder in (out, out / "figures", out / "data"):
        folder.mkdir(parents=True, exist_ok=True)
    for about, result in shown:
        name = about["name"]
        for figure in result.figures:
            write_whole(out / "figures" / file_of(name, figure), figure.data)
        stored = {**about, "figures": [f for f in about["figures"] if not f["private"]]}
        write_json(out / "data" / f"{name}.json", stored, indent=1)
    write_whole(out / PAGE, html_page(shown, identity, networks).encode())
    write_whole(out / "README.md", markdown_page(shown, networks).encode())


def _public(result: Result) -> Result:
    shown = [figure for figure in result.figures if not figure.private]
    hidden = len(result.figures) - len(shown)
    note = f"{hidden} figures of face data are in the local report only."
    return replace(result, figures=shown, notes=result.notes + [note] * bool(hidden))


def _as_json(scale: Scale) -> dict[str, Any]:
    """Settings as JSON gives them back."""
    return {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in asdict(scale).items()
    }


def _data(images: Images | None, reference: Path | None, textures: Path | None) -> dict[str, Any]:
    """Enough to tell one set of data from another; no places."""
    faces = None
    if images is not None:
        digest = hashlib.sha256()
        for image in (*images.training.images[::50], *images.validation.images[::10]):
            digest.update(image.numpy().tobytes())
        counts = [len(images.training), len(images.validation)]
        faces = {"images": counts, "sha256 of some": digest.hexdigest()[:16]}
    return {"faces": faces, "reference": _names(reference), "textures": _names(textures)}


def _names(folder: Path | None) -> str | None:
    """Hash of the names and sizes of a folder's files."""
    if folder is None:
        return None
    if not folder.is_dir():
        raise UsageError(f"{folder}: no such folder")
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    listing = "\n".join(f"{p.relative_to(folder)} {p.stat().st_size}" for p in files)
    return hashlib.sha256(listing.encode()).hexdigest()[:16]

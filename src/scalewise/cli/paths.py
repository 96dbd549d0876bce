"""From what was typed to pairs of files: which image goes where, checked before long work."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from scalewise.cli.jobs import Job
from scalewise.cli.large import check_array_output
from scalewise.errors import ScalewiseError, UsageError
from scalewise.files import check_name, check_writable

if TYPE_CHECKING:
    from scalewise.images import Picture
    from scalewise.restore import Restored


def plan(
    source: Path,
    target: Path,
    samples: int = 1,
    deviation: Path | None = None,
    *,
    force: bool = False,
    skip_existing: bool = False,
    quality: int | None = None,
    suffixes: Collection[str] | None = None,
) -> list[Job]:
    """Pair inputs with outputs, and check that the outputs can be written.

    Args:
        source: an image, or a folder that is searched with its subfolders.
        target: an image or, for a folder, a folder, which keeps the tree and the names.
        samples: number of outputs per image; from 2 their names end in -1, -2, ...
        deviation: float TIFF or, for a folder, folder of such.
        force: outputs may exist.
        skip_existing: images whose outputs all exist are marked as present.
        quality: asked for; some output must be of a format that has one.
        suffixes: of the files of a folder, where they are no image files; outputs are .tif then.

    Raises:
        UsageError: input and output do not go together.
        ScalewiseError: the input is missing or holds no image, or an output exists or cannot be
            written.
    """
    refuse_dash(source, target, deviation)
    if not source.exists():
        raise ScalewiseError(f"{source}: expected an image or a folder, found nothing of this name")
    from scalewise.images import check_output
    from scalewise.rasters import is_array

    if is_array(source) or is_array(target):
        job = Job(source, numbered(target, samples), deviation)
        for path in job.targets:
            check_array_output(path, force, skip_existing)
        present = skip_existing and all(path.exists() for path in job.outputs)
        return [replace(job, present=present)]
    if source.is_dir():
        jobs = _tree(source, target, samples, deviation, suffixes)
    elif target.is_dir():
        raise UsageError(
            f"{target}: is a folder, but {source} is an image; give the name of a file"
        )
    else:
        jobs = [Job(source, numbered(target, samples), deviation)]
    _check_names(jobs)
    _check_quality(jobs, quality)
    if skip_existing:
        jobs = [replace(job, present=all(path.exists() for path in job.outputs)) for job in jobs]
    if source.is_dir():
        kept = () if force or skip_existing else (path for job in jobs for path in job.outputs)
        check_absent(kept, "give --force to overwrite, or --skip-existing to leave them out")
    else:
        for path in (path for job in jobs for path in job.outputs):
            check_output(path, force=force or skip_existing)
    return jobs


def numbered(path: Path, samples: int) -> tuple[Path, ...]:
    """Names of the samples of one image: the name itself for one, with -1, -2, ... for several."""
    if samples == 1:
        return (path,)
    return tuple(path.with_stem(f"{path.stem}-{k}") for k in range(1, samples + 1))


def save(
    picture: Picture,
    path: Path,
    force: bool,
    skip_existing: bool = False,
    quality: int | None = None,
) -> list[str]:
    """Write one output, in a folder that is made if needed; return what was not kept.

    With `skip_existing`, an output that came to be meanwhile, by another run, stays.
    """
    from scalewise.images import has_quality, write_image

    if skip_existing and not force and path.exists():
        return []
    path.parent.mkdir(parents=True, exist_ok=True)
    notes = []
    if quality is not None and not has_quality(path):
        notes.append(f"{path.suffix} files have no quality: --quality {quality} was not used")
        quality = None
    return notes + write_image(path, picture, force=force or skip_existing, quality=quality)


def save_all(
    result: Restored, job: Job, force: bool, skip_existing: bool, quality: int | None
) -> list[str]:
    """Write all that became of an image; return what was not kept.

    Several outputs of one image belong together: with `skip_existing` all are written anew.
    """
    force = force or (skip_existing and len(job.outputs) > 1)
    notes = []
    for picture, path in zip(result.pictures, job.targets, strict=True):
        notes += save(picture, path, force, skip_existing, quality)
    if job.deviation and result.deviation:
        notes += save(result.deviation, job.deviation, force, skip_existing)
    return notes


def real(path: Path) -> Path:
    """A path without links; one that ends in a circle of links stays (`resolve` fails)."""
    return Path(os.path.realpath(path))


def refuse_dash(*paths: Path | None) -> None:
    """Say that `-` is not an image."""
    if Path("-") in paths:
        raise UsageError("'-' is not an image: pipes are not supported, give the name of a file")


def looks_like_image(path: Path) -> bool:
    """Tell by its suffix whether a name means an image file, of whatever format."""
    import mimetypes

    from scalewise.images import IMAGE_SUFFIXES

    kind = mimetypes.guess_type(path.name)[0] or ""
    return path.suffix.lower() in IMAGE_SUFFIXES or kind.startswith("image/")


def check_new_folder(path: Path) -> None:
    """Check that a folder is there or can be made, with those above it, and can be written in."""
    there = next(place for place in (path, *path.absolute().parents) if os.path.lexists(place))
    if not there.exists():
        raise UsageError(f"{path}: {there} is a link that leads nowhere; give another name")
    if not there.is_dir():
        what = "is a file" if there == path else f"{there} is a file"
        raise UsageError(f"{path}: {what}; give the name of a folder")
    if not os.access(there, os.W_OK):
        raise ScalewiseError(f"{path}: cannot be written there; choose a writable folder")


def check_absent(paths: Iterable[Path], hint: str = "give --force to overwrite") -> None:
    """Stop if any of several outputs exists."""
    there = [path for path in paths if path.exists()]
    if there:
        more = f" and {len(there) - 1} more exist" if len(there) > 1 else " exists"
        raise ScalewiseError(f"{there[0]}{more}; {hint}")


def check_json(path: Path | None, force: bool) -> None:
    """Check that a JSON file, if one is wanted, can be written."""
    if path is None:
        return
    if path == Path("-"):
        raise UsageError("--json -: pipes are not supported, give the name of a file")
    if not path.parent.is_dir() or path.is_dir():
        raise ScalewiseError(f"{path}: expected the name of a file in a folder that exists")
    if not os.access(path.parent, os.W_OK):
        raise ScalewiseError(f"{path}: cannot be written there; choose a writable folder")
    check_writable(path, force=force)


def _tree(
    source: Path,
    target: Path,
    samples: int,
    deviation: Path | None,
    suffixes: Collection[str] | None,
) -> list[Job]:
    """Every image of a folder, but none of the output folder where that lies within."""
    from scalewise.cli.console import tell
    from scalewise.images import IMAGE_SUFFIXES, find_images

    for folder in (target, deviation):
        if folder is not None:
            if looks_like_image(folder) and not folder.is_dir():
                raise UsageError(
                    f"{folder}: names an image, but {source} is a folder; give a folder"
                )
            check_new_folder(folder)
    outputs = {real(path) for path in (target, deviation) if path is not None}
    within = {path for path in outputs if real(source) in path.parents}
    jobs = []
    found = find_images(source, IMAGE_SUFFIXES if suffixes is None else suffixes)
    tell(found.notes)
    for file in found:
        name = file.relative_to(source)
        std = None if deviation is None else (deviation / name).with_suffix(".tif")
        if within.isdisjoint(real(file).parents):
            output = target / name if suffixes is None else (target / name).with_suffix(".tif")
            jobs.append(Job(file, numbered(output, samples), std))
    return jobs


def _check_quality(jobs: Sequence[Job], quality: int | None) -> None:
    """A quality must be of use for some output."""
    from scalewise.images import has_quality

    targets = [path for job in jobs for path in job.targets]
    if quality is not None and targets and not any(map(has_quality, targets)):
        raise UsageError(
            f"--quality {quality}: only .jpg and .webp outputs have a quality, found "
            f"{targets[0].name}; leave it out (of scalewise.toml, if it stands there), or write "
            "one of those"
        )


def _check_names(jobs: Sequence[Job]) -> None:
    """No output may be an input, or be written twice."""
    sources = {real(job.source) for job in jobs}
    seen: set[Path] = set()
    for job in jobs:
        if job.deviation and job.deviation.suffix.lower() not in (".tif", ".tiff"):
            raise UsageError(f"{job.deviation}: the uncertainty is written as floats, to a .tif")
        for path in job.outputs:
            check_name(path)
            place = real(path)
            if place in sources:
                raise UsageError(f"{path}: is input and output; give the output another name")
            if place in seen:
                raise UsageError(f"{path}: two outputs have this name; rename or move an input")
            seen.add(place)

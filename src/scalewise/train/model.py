"""A run from images to a model folder.

`train_model` trains a prior with a recipe and writes the model folder, logs, curves and a sheet of
pictures as it goes; killed at any moment, it goes on with `resume`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from scalewise import __version__, processes
from scalewise.data import (
    ImageSet,
    Reading,
    Streamed,
    hold_out,
    hold_out_strip,
    open_image_set,
)
from scalewise.device import pick_device
from scalewise.errors import ScalewiseError, UsageError
from scalewise.noise_model import NoiseModel
from scalewise.store import TRAINING, check_folder, load
from scalewise.train.choices import chosen_options, chosen_recipe, started
from scalewise.train.noisy import Photons, check_noise, of_noisy_images, with_noise
from scalewise.train.writer import Progress, Writer
from scalewise.training import Recipe, TrainingRun, saved_options
from scalewise.training.batches import largest_crop
from scalewise.training.memory import check_memory

LOOKING = "photos"
"""Packaged model that looks at the noise of noisy training images, without another; it also stands
in for coarser levels that are trained elsewhere."""


def train_model(
    images: str | Path,
    out: str | Path,
    *,
    recipe: str | Path | dict[str, Any] | None = None,
    validation: str | Path | None = None,
    channels: int | None = None,
    resume: bool = False,
    force: bool = False,
    half: bool | None = None,
    license: str | None = None,
    description: str | None = None,
    data_license: str | None = None,
    noisy: bool | None = None,
    noise: NoiseModel | Photons | None = None,
    compare: str | Path | None = None,
    stream: bool | None = None,
    memory: float | None = None,
    device: str = "auto",
    progress: Progress | None = None,
    began: float | None = None,
    **choices: Any,
) -> dict[str, Any]:
    """Train a prior on images and write it to a model folder.

    Args:
        images: a folder, an .npz or .npy array, a .txt list of files, tar shards, a Zarr array, or
            one image, of a texture: what `data.open_image_set` takes.
        out: the model folder; its parent must exist.
        recipe: the name of a packaged recipe, a JSON file, or fields of `Recipe`.
        validation: images to choose by; by default 5 % of the others, or the lowest quarter of the
            one image.
        channels: 1 converts to gray, 3 to RGB; by default as the images are.
        resume: go on from the last state of the run in `out`; what is not given stays as it was.
        force: overwrite a model or a run that is there.
        half: store weights in 16 bits; by default not.
        license: licence of the weights, for the model card.
        description: a sentence for the model card.
        data_license: licence of the images, for the model card.
        noisy: the images are noisy, and no clean ones exist: the prior learns to denoise them.
        noise: what their noise is, if it is known: in [0, 1] intensities, or photons in the
            stored values of their files; else it is estimated from each.
        compare: another model, to denoise the held-out images with as well.
        stream: read images as they are needed, also where all fit in memory.
        memory: gigabytes that images may take in each process; larger sets are read as needed. By
            default half of the machine's.
        device: "auto", "cpu", "cuda" or "mps".
        progress: hears of steps and notes.
        began: `time.monotonic()` at which a budget of minutes began; now by default.
        **choices: fields of `Recipe` that override it: `minutes`, `steps`, `start`, `seed`, ...

    Returns:
        `model`, `scores` on validation crops and the `training` record; with `compare`,
        `comparison`, a table and sentences. Of a recipe with `only_level`, `part`, what `assemble`
        takes, and `training`. Nothing in processes of `torchrun` but the first.

    Raises:
        UsageError: a choice is not valid, or other than the run to resume was started with.
        ScalewiseError: images cannot be read, or the folder cannot be written.

    Examples:
        >>> import tempfile
        >>> import numpy as np
        >>> images = np.random.default_rng(0).random((24, 64, 64), "float32")
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     np.save(f"{folder}/images.npy", images)
        ...     record = scalewise.train.train_model(
        ...         f"{folder}/images.npy", f"{folder}/model", levels=1, steps=2, low_local=True,
        ...         width=8, blocks=1, receptive_field=7, estimator_fraction=0.0,
        ...     )
        >>> sorted(record)
        ['model', 'scores', 'training']
    """
    began = time.monotonic() if began is None else began
    typed = {
        "channels": channels,
        "validation": None if validation is None else str(validation),
        "half": half,
        "license": license,
        "description": description,
        "data_license": data_license,
        "noisy": True if noise is not None else noisy,
        "noise": noise.model_dump(mode="json") if isinstance(noise, NoiseModel) else None,
        "photons": asdict(noise) if isinstance(noise, Photons) else None,
        "stream": stream,
        "memory": memory,
    }
    with processes.joined(pick_device(device)) as where:
        heard = progress if progress and processes.rank() == 0 else Progress()
        asked = {"recipe": recipe, "resume": resume, "force": force, **typed, **choices}
        processes.check_same(_must_be_same(asked))
        fields, options, resume = processes.from_first(
            lambda: _asked(Path(out), recipe, choices, typed, resume, force)
        )
        listening = {"other": None if compare is None else str(compare), "progress": heard}
        run, writer = processes.agreed(
            lambda: _prepared(
                images,
                Path(out),
                Recipe(**fields),
                choices,
                options,
                where,
                began,
                resume,
                listening,
            )
        )
        processes.agreed(run.check_processes)
        if resume:
            processes.agreed(run.resume)
        else:
            run.forget()
        heard.begin(run.recipe.levels)
        with writer:
            prior = run.run()
            if run.recipe.only_level is not None:
                part = {"part": str(out), "training": run.summary()}
                return part if processes.rank() == 0 else {}
            return writer.finish(prior, run.summary())


def _must_be_same(asked: dict[str, Any]) -> dict[str, str]:
    """What all processes of a run must have been started with."""
    given = {name: str(value) for name, value in asked.items() if value not in (None, False)}
    return given | {
        "version of Scalewise": __version__,
        "version of PyTorch": torch.__version__,
    }


def _asked(
    out: Path,
    recipe: str | Path | dict[str, Any] | None,
    choices: dict[str, Any],
    typed: dict[str, Any],
    resume: bool,
    force: bool,
) -> tuple[dict[str, Any], dict[str, Any], bool]:
    """The fields of the recipe, the options, and whether the run goes on.

    It also goes on where an elastic launcher has started its processes again.
    """
    state = out / TRAINING
    begun, launch = (state / "run.pt").exists(), processes.launch()
    if begun and launch is not None and not resume:
        with suppress(ScalewiseError):  # damaged: told below, or overwritten
            resume = saved_options(state).get("launch") == launch
    if begun and not (resume or force):
        raise UsageError(
            f"{out} holds a training run already; go on with --resume, or start anew with --force"
        )
    if not begun:
        check_folder(out, force)
    before = state if resume else None
    chosen = chosen_recipe(recipe, choices, before)
    options = chosen_options(before, **typed) | {"launch": launch}
    return chosen.model_dump(), options, resume


def _prepared(
    images: str | Path,
    out: Path,
    recipe: Recipe,
    choices: dict[str, Any],
    options: dict[str, Any],
    device: torch.device,
    began: float,
    resume: bool,
    listening: dict[str, Any],
) -> tuple[TrainingRun, Writer]:
    """The run, its images read, and what it writes."""
    note = listening["progress"].note
    chosen, first = started(recipe, choices)
    wanted = first.channels if first and options["channels"] is None else options["channels"]
    reading = Reading(bool(options["stream"]), options["memory"])
    training, held_out = _images(images, options["validation"], wanted, chosen, reading, note)
    estimator = None
    if options["noisy"]:
        _check_in_memory(training, held_out)
        looking = first if first and first.estimator else load(LOOKING, device="cpu")
        told, estimator = _told_noise(options), looking.estimator
        training = with_noise(training, told, looking, note)
        held_out = with_noise(held_out, told, looking, note, training.field)
        if not resume:
            check_noise(training, looking)
        chosen = of_noisy_images(chosen, training)
    stand_in = None
    if first is None:
        check_memory(chosen, training, device)
        if chosen.only_level not in (None, "low"):
            stand_in = load(LOOKING, device=str(device))
    writer = Writer(
        out,
        {name: options[name] for name in ("license", "description", "data_license")},
        half=options["half"],
        held_out=held_out,
        levels=chosen.levels,
        quiet=processes.rank() > 0,
        **listening,
    )
    run = TrainingRun(
        chosen,
        training,
        held_out,
        out / TRAINING,
        device,
        writer,
        start=first,
        estimator=estimator,
        options=options,
        began=began,
        stand_in=stand_in,
    )
    return run, writer


def _told_noise(options: dict[str, Any]) -> NoiseModel | Photons | None:
    """What a run was told of the noise of its images."""
    if options["photons"] is not None:
        return Photons(**options["photons"])
    return None if options["noise"] is None else NoiseModel(**options["noise"])


def _images(
    source: str | Path,
    validation: str | None,
    channels: int | None,
    recipe: Recipe,
    reading: Reading,
    note: Callable[[str], None],
) -> tuple[ImageSet, ImageSet]:
    """Training and validation images; odd ones too small for the crops are left out, and named."""
    found = open_image_set(source, channels, reading, note)
    training, small = found.without_small(largest_crop(recipe))
    for text in training.notes:
        note(text)
    for name in small:
        note(f"{name} is smaller than the crops of the others: left out")
    if validation is None and len(training) == 1:
        parts = hold_out_strip(training)
        rows = parts[1].images[0].shape[1]
        note(f"{source} is one image: its lowest {rows} rows are kept for validation")
        return parts
    if validation is None:
        return hold_out(training)
    held_out = open_image_set(validation, training.channels, reading, note)
    for text in held_out.notes:
        note(text)
    return training, held_out


def _check_in_memory(*sets: ImageSet) -> None:
    """Refuse noisy images that are not in memory."""
    if any(isinstance(images.images, Streamed) for images in sets):
        raise UsageError(
            "the noise of noisy images is looked at in all of them, which do not fit in the memory "
            "that they may take; leave --stream out, give a larger --memory or fewer images"
        )

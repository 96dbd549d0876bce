"""From images to a model folder: what the command line does, for any program.

`train_model` trains a prior with a recipe and writes the model folder, logs, curves and a sheet of
pictures as it goes; killed at any moment, it goes on with `resume`.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError

from scalewise import evaluation, store
from scalewise.data import ImageSet, hold_out, load_image_set
from scalewise.device import pick_device
from scalewise.errors import UsageError
from scalewise.evaluation import sheets
from scalewise.images import Picture, write_image
from scalewise.prior import MultiScalePrior
from scalewise.store import TRAINING, check_folder, load
from scalewise.training import Recipe, TrainingRun, saved_options, saved_recipe
from scalewise.training.memory import check_memory
from scalewise.training.objectives import VALIDATION_SIGMA, largest_crop
from scalewise.training.recipe import OF_NETWORKS, scale_name
from scalewise.wavelets import low_pass

SHOWN = 4
"""Number of validation images on the sheet."""

SIDE = 128
"""Side of what is shown of each, in pixels."""


class Progress:
    """Hears how training goes on; this one says nothing."""

    def begin(self, levels: int) -> None:
        """Called before the first step with the number of wavelet levels."""

    def note(self, text: str) -> None:
        """Called with what people should know."""

    def on_step(self, level: int, step: int, last: int, loss: float, images: int) -> None:
        """Called after every step with its loss and number of images."""

    def on_validation(self, level: int, record: dict[str, float]) -> None:
        """Called with `step`, `loss` and `psnr` (dB) of a level."""


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
    device: str = "auto",
    progress: Progress | None = None,
    began: float | None = None,
    **choices: Any,
) -> dict[str, Any]:
    """Train a prior on images and write it to a model folder.

    Args:
        images: a folder, an .npz or .npy array, or a .txt list of files.
        out: the model folder; its parent must exist.
        recipe: the name of a packaged recipe, a JSON file, or fields of `Recipe`.
        validation: images to choose by; by default 5 % of the others.
        channels: 1 converts to gray, 3 to RGB; by default as the images are.
        resume: go on from the last state of the run in `out`; what is not given stays as it was.
        force: overwrite a model or a run that is there.
        half: store weights in 16 bits; by default not.
        license: licence of the weights, for the model card.
        description: a sentence for the model card.
        data_license: licence of the images, for the model card.
        device: "auto", "cpu", "cuda" or "mps".
        progress: hears of steps and notes.
        began: `time.monotonic()` at which a budget of minutes began; now by default.
        **choices: fields of `Recipe` that override it: `minutes`, `steps`, `start`, `seed`, ...

    Returns:
        `model`, `scores` on validation crops and the `training` record; nothing in processes of
        `torchrun` but the first.

    Raises:
        UsageError: a choice is not valid, or other than the run to resume was started with.
        ScalewiseError: images cannot be read, or the folder cannot be written.
    """
    began = time.monotonic() if began is None else began
    out, heard = Path(out), progress or Progress()
    state = out / TRAINING
    begun = (state / "run.pt").exists()
    if begun and not (resume or force):
        raise UsageError(
            f"{out} holds a training run already; go on with --resume, or start anew with --force"
        )
    if not begun:
        check_folder(out, force)
    chosen = _recipe(recipe, choices, state if resume else None)
    chosen, first = _start(chosen, choices)
    options = _options(
        state if resume else None,
        channels=channels,
        validation=None if validation is None else str(validation),
        half=half,
        license=license,
        description=description,
        data_license=data_license,
    )
    wanted = first.channels if first and options["channels"] is None else options["channels"]
    training, held_out = _images(images, options["validation"], wanted, chosen, heard.note)
    where, rank = _device(device)
    if first is None:
        check_memory(chosen, training, where)
    facts = {name: options[name] for name in ("license", "description", "data_license")}
    writer = _Writer(
        out,
        facts,
        half=options["half"],
        held_out=held_out,
        levels=chosen.levels,
        quiet=rank > 0,
        progress=heard,
    )
    run = TrainingRun(
        chosen, training, held_out, state, where, writer, first, options=options, began=began
    )
    if resume:
        run.resume()
    else:
        run.forget()
    if rank == 0:
        heard.begin(chosen.levels)
    with writer:
        prior = run.run()
        record = writer.finish(prior, run.summary())
    _leave()
    return record


def _recipe(
    name: str | Path | dict[str, Any] | None, given: dict[str, Any], state: Path | None
) -> Recipe:
    """The recipe of a run: what is given on top of the named one, or of the one to resume."""
    fields = (
        dict(name) if isinstance(name, dict) else {} if name is None else _named_recipe(str(name))
    )
    if state is not None:
        fields = saved_recipe(state) | fields
    given = {key: value for key, value in given.items() if value is not None}
    for one, other in (("minutes", "steps"), ("steps", "minutes")):
        if one in given and other not in given:
            fields.pop(other, None)
    try:
        return Recipe(**(fields | given))
    except ValidationError as error:
        first = error.errors()[0]
        where = " ".join(str(part) for part in (*first["loc"][:1], *_indices(first["loc"])))
        if isinstance(name, str | Path) and first["loc"] and first["loc"][0] not in given:
            where = f"recipe {name}: {where}"
        message = first["msg"].removeprefix("Value error, ")
        found = f"{where}: {message}, found {first['input']!r:.60}" if where else message
        raise UsageError(found) from error


def _indices(place: tuple[int | str, ...]) -> list[int | str]:
    """Of the place of an error, what follows the field and is no name of a type."""
    return [part for part in place[1:] if isinstance(part, int) or part.isdigit()]


def _start(recipe: Recipe, given: dict[str, Any]) -> tuple[Recipe, MultiScalePrior | None]:
    """The model that a recipe starts from, and the recipe with its levels and wavelet."""
    if recipe.start is None:
        return recipe, None
    fixed = [key for key in OF_NETWORKS if given.get(key) is not None]
    if fixed:
        raise UsageError(
            f"{', '.join(fixed)} cannot be chosen with start: the networks are those of the model "
            f"{recipe.start}; leave one or the other out"
        )
    first = load(recipe.start, device="cpu")
    scales = {"levels": first.levels, "wavelet": first.wavelet}
    free = {key: value for key, value in scales.items() if given.get(key) is None}
    return recipe.model_copy(update=free), first


def _named_recipe(name: str) -> dict[str, Any]:
    """Fields of a packaged recipe or of a JSON file."""
    packaged = Path(__file__).parent / "recipes"
    path = packaged / f"{name}.json"
    if not path.is_file():
        path = Path(name)
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        known = ", ".join(sorted(file.stem for file in packaged.glob("*.json")))
        raise UsageError(f"no recipe {name!r}; give a JSON file or one of {known}") from error
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(f"recipe {path} cannot be read as JSON: {error}") from error
    if not isinstance(fields, dict):
        raise UsageError(f"recipe {path} must hold one JSON object of named choices")
    return fields


def _options(state: Path | None, **given: Any) -> dict[str, Any]:
    """What is asked for beside the recipe; of a run to resume, what it was asked for at first."""
    options = {
        "channels": None,
        "validation": None,
        "half": False,
        "license": "other",
        "description": "",
        "data_license": "not stated",
    }
    before = {} if state is None else saved_options(state)
    typed = {name: value for name, value in given.items() if value is not None}
    return options | before | typed


def _images(
    source: str | Path,
    validation: str | None,
    channels: int | None,
    recipe: Recipe,
    note: Callable[[str], None],
) -> tuple[ImageSet, ImageSet]:
    """Training and validation images; odd ones too small for the crops are left out, and named."""
    training, small = load_image_set(source, channels).without_small(largest_crop(recipe))
    for text in training.notes:
        note(text)
    for name in small:
        note(f"{name} is smaller than the crops of the others: left out")
    if validation is None:
        return hold_out(training)
    held_out = load_image_set(validation, training.channels)
    for text in held_out.notes:
        note(text)
    return training, held_out


def _leave() -> None:
    """Leave the group of processes, if there is one."""
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def _device(name: str) -> tuple[torch.device, int]:
    """The device of this process and its number; joins the group that `torchrun` started."""
    where = pick_device(name)
    if "LOCAL_RANK" not in os.environ:
        return where, 0
    local = int(os.environ["LOCAL_RANK"])
    if where.type == "cuda":
        where = torch.device("cuda", local)
        torch.cuda.set_device(where)
    torch.distributed.init_process_group("nccl" if where.type == "cuda" else "gloo")
    return where, torch.distributed.get_rank()


class _Writer:
    """Listens to a training run, and writes what it gives.

    Every validation goes to `training/log.jsonl` and, where TensorBoard is installed, to
    `training/tensorboard`, and after each segment the model folder and `training/validation.png`
    are written anew.

    Args:
        out: the model folder.
        facts: `license`, `description` and `data_license` for the model card.
        half: store weights in 16 bits.
        held_out: validation set.
        levels: of the wavelet.
        quiet: do nothing; for all but the first process.
        progress: hears of steps and validations.
    """

    def __init__(
        self,
        out: Path,
        facts: dict[str, str],
        *,
        half: bool,
        held_out: ImageSet,
        levels: int,
        quiet: bool,
        progress: Progress,
    ) -> None:
        self.out, self.facts, self.half, self.quiet = out, facts, half, quiet
        self.progress, self.levels = progress, levels
        self.crops = held_out.crops(
            min(SHOWN, len(held_out)),
            min(SIDE, *held_out.smallest),
            torch.Generator().manual_seed(0),
            flips=False,
        )
        self.writer: Any = None

    def __enter__(self) -> _Writer:
        """Nothing is open yet."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the curves, also when the run fails."""
        if self.writer:  # False where TensorBoard is not installed
            self.writer.close()

    def on_step(self, level: int, step: int, last: int, loss: float, images: int) -> None:
        """Tell of the step, and log every fiftieth."""
        if self.quiet:
            return
        self.progress.on_step(level, step, last, loss, images)
        if step % 50 == 0:
            self._log({"level": level, "step": step, "loss": loss})

    def on_validation(self, level: int, record: dict[str, float]) -> None:
        """Tell and log validation loss and PSNR."""
        if not self.quiet:
            self.progress.on_validation(level, record)
        self._log({"level": level, "step": record["step"], "validation": record})

    def on_prior(self, prior: MultiScalePrior, summary: dict[str, Any]) -> None:
        """Write the model folder and the sheet of pictures."""
        if not self.quiet:
            self._publish(prior, summary, {})
            sheet = Picture(self._sheet(prior))
            write_image(self.out / store.TRAINING / "validation.png", sheet, force=True)

    def finish(self, prior: MultiScalePrior, summary: dict[str, Any]) -> dict[str, Any]:
        """Measure the finished prior and write it with its scores; return what was written."""
        if self.quiet:
            return {}
        images = {f"{place:03d}": crop for place, crop in enumerate(self.crops)}
        records = evaluation.evaluate_denoise(prior, images)
        scores = {
            "denoising, validation crops, PSNR in dB": {
                f"sigma {mean['sigma']:g}": {"noisy": mean["psnr_noisy"], "denoised": mean["psnr"]}
                for mean in evaluation.means(records, "sigma")
            }
        }
        self._publish(prior, summary, scores)
        return {"model": str(self.out), "scores": scores, "training": summary}

    def _publish(
        self, prior: MultiScalePrior, summary: dict[str, Any], scores: dict[str, Any]
    ) -> None:
        summary["data"]["license"] = self.facts["data_license"]
        store.save(
            prior.cpu(),
            self.out,
            description=self.facts["description"],
            training=summary,
            scores=scores,
            license=self.facts["license"],
            dtype="float16" if self.half else "float32",
            force=True,
        )

    @torch.no_grad()
    def _sheet(self, prior: MultiScalePrior) -> torch.Tensor:
        """Clean, noisy and denoised crops; and small ones, enlarged in two ways."""
        rows = []
        for place, clean in enumerate(self.crops):
            noisy = evaluation.add_noise(clean, VALIDATION_SIGMA, 0, place)
            row = [clean, noisy, prior.denoise(noisy[None], VALIDATION_SIGMA)[0]]
            if prior.levels:
                small = low_pass(clean[None], 1, prior.wavelet)
                row += [small[0], prior.upscale_mean(small)[0], prior.upscale(small)[0, 0]]
            rows.append(row)
        titles = ["clean", "noisy", "denoised", "small", "least squares", "sample"]
        return sheets.sheet(rows, titles[: len(rows[0])])

    def _log(self, record: dict[str, Any]) -> None:
        if self.quiet:
            return
        with (self.out / store.TRAINING / "log.jsonl").open("a", encoding="utf-8") as log:
            log.write(json.dumps(record) + "\n")
        scalars = record.get("validation", {"loss": record.get("loss", 0.0)})
        name = "validation" if "validation" in record else "training"
        if self.writer is None:
            self.writer = _tensorboard(self.out / store.TRAINING / "tensorboard")
        if self.writer:
            for key, value in scalars.items():
                if key != "step":
                    tag = f"{scale_name(record['level'], self.levels)}/{name} {key}"
                    self.writer.add_scalar(tag, value, record["step"])


def _tensorboard(folder: Path) -> Any:
    """A TensorBoard writer, or False where TensorBoard is not installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return False
    return SummaryWriter(str(folder))

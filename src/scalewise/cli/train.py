"""`scalewise train`: from images to a model folder."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    import torch

    from scalewise.data import ImageSet
    from scalewise.prior import MultiScalePrior
    from scalewise.training import Recipe


def train(
    images: Annotated[
        str,
        typer.Argument(
            metavar="IMAGES",
            help="Training images: a folder, an .npz or .npy array, or a .txt list of files.",
            show_default=False,
        ),
    ],
    out: Annotated[Path, typer.Option(metavar="MODEL", help="Model folder to write.")],
    validation: Annotated[
        str | None,
        typer.Option(metavar="IMAGES", help="Images to choose by; default: 5 % of the others."),
    ] = None,
    recipe: Annotated[
        str | None,
        typer.Option(help="A packaged recipe (photos, faces) or a JSON file; options override it."),
    ] = None,
    start: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL", help="Go on from the networks of this model: fine-tune it to IMAGES."
        ),
    ] = None,
    minutes: Annotated[
        float | None,
        typer.Option(help="Time budget, split over levels by where validation error still falls."),
    ] = None,
    steps: Annotated[int | None, typer.Option(help="Steps of every level, instead.")] = None,
    levels: Annotated[int | None, typer.Option(help="Wavelet levels; default 3.")] = None,
    receptive_field: Annotated[
        int | None, typer.Option(help="Of the networks of the details, odd; default 13.")
    ] = None,
    form: Annotated[
        str | None, typer.Option(help="told (default), or bias-free: the published blind form.")
    ] = None,
    wavelet: Annotated[str | None, typer.Option(help="Orthogonal wavelet; default haar.")] = None,
    width: Annotated[int | None, typer.Option(help="Channels of the networks.")] = None,
    batch: Annotated[int | None, typer.Option(help="Crops per step.")] = None,
    crop: Annotated[
        int | None, typer.Option(help="Side of the crops in coefficients of a level.")
    ] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Peak rate of AdamW.")] = None,
    channels: Annotated[
        int | None, typer.Option(help="1 converts to gray, 3 to RGB; default: as the images are.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Of everything drawn; default 0.")] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the last state of the run in MODEL.")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Overwrite the model that is there.")
    ] = False,
    half: Annotated[
        bool | None,
        typer.Option(
            "--half/--full",
            help="Store weights in 16 bits: half the size.  [default: full]",
            show_default=False,
        ),
    ] = None,
    data_license: Annotated[
        str | None,
        typer.Option(
            help="Licence of the images, for the model card.  [default: not stated]",
            show_default=False,
        ),
    ] = None,
    license: Annotated[
        str | None,
        typer.Option(help="Licence of the weights.  [default: other]", show_default=False),
    ] = None,
    description: Annotated[
        str | None, typer.Option(help="A sentence for the model card.", show_default=False)
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    json_output: Annotated[
        bool, typer.Option("--json", help="Print what was trained as one JSON record.")
    ] = False,
) -> None:
    """Train a prior on images; killed at any moment, it goes on with --resume.

    Under `torchrun` the levels' batches are spread over the processes.

    Examples:
      scalewise train photos/ --out my-model --minutes 60

      scalewise train photos/ --out my-model --resume

      scalewise train microscope/ --out mine --start photos --minutes 30
    """
    began = time.monotonic()
    from scalewise.cli.reporter import Reporter
    from scalewise.errors import UsageError
    from scalewise.store import TRAINING, check_folder
    from scalewise.training import TrainingRun

    state = out / TRAINING
    begun = (state / "run.pt").exists()
    if begun and not (resume or force):
        raise UsageError(
            f"{out} holds a training run already; go on with --resume, or start anew with --force"
        )
    if not begun:
        check_folder(out, force)
    given = {
        "minutes": minutes,
        "steps": steps,
        "levels": levels,
        "receptive_field": receptive_field,
        "form": form,
        "wavelet": wavelet,
        "width": width,
        "batch": batch,
        "crop": crop,
        "learning_rate": learning_rate,
        "seed": seed,
        "start": start,
    }
    chosen = _recipe(recipe, given, state if resume else None)
    chosen, first = _start(chosen, given)
    options = _options(
        state if resume else None,
        channels=channels,
        validation=validation,
        half=half,
        license=license,
        description=description,
        data_license=data_license,
    )
    wanted = first.channels if first and options["channels"] is None else options["channels"]
    training, held_out = _images(images, options["validation"], wanted, chosen)
    where, rank = _device(device)
    facts = {name: options[name] for name in ("license", "description", "data_license")}
    reporter = Reporter(
        out,
        facts,
        half=options["half"],
        held_out=held_out,
        levels=chosen.levels,
        quiet=rank > 0,
    )
    run = TrainingRun(
        chosen, training, held_out, state, where, reporter, first, options=options, began=began
    )
    if resume:
        run.resume()
    else:
        run.forget()
    with reporter:
        prior = run.run()
        record = reporter.finish(prior, run.summary())
    _leave()
    if rank == 0:
        typer.echo(_told(record, json_output))


def _told(record: dict[str, Any], as_json: bool) -> str:
    """What was trained, as JSON or in a sentence."""
    import json

    if as_json:
        return json.dumps(record)
    (what, scores), *_ = record["scores"].items()
    gains = ", ".join(
        f"{sigma}: {psnr['noisy']:.1f} to {psnr['denoised']:.1f}" for sigma, psnr in scores.items()
    )
    return f"{record['model']} is trained. {what[0].upper()}{what[1:]}: {gains}."


def _recipe(name: str | None, given: dict[str, Any], state: Path | None) -> Recipe:
    """The recipe of a run: what is given on top of the named one, or of the one to resume."""
    from pydantic import ValidationError

    from scalewise.errors import UsageError
    from scalewise.training import Recipe, saved_recipe

    fields = _named_recipe(name) if name else {}
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
        where = " ".join(str(part) for part in first["loc"])
        message = first["msg"].removeprefix("Value error, ")
        found = f"{where}: {message}, found {first['input']!r:.60}" if where else message
        raise UsageError(found) from error


def _start(recipe: Recipe, given: dict[str, Any]) -> tuple[Recipe, MultiScalePrior | None]:
    """The model that a recipe starts from, and the recipe with its levels and wavelet."""
    from scalewise.errors import UsageError
    from scalewise.store import load

    if recipe.start is None:
        return recipe, None
    fixed = [key for key in ("receptive_field", "form", "width") if given[key] is not None]
    if fixed:
        raise UsageError(
            f"{', '.join(fixed)} cannot be chosen with start: the networks are those of the model "
            f"{recipe.start}; leave one or the other out"
        )
    first = load(recipe.start, device="cpu")
    scales = {"levels": first.levels, "wavelet": first.wavelet}
    free = {key: value for key, value in scales.items() if given[key] is None}
    return recipe.model_copy(update=free), first


def _named_recipe(name: str) -> dict[str, Any]:
    """Fields of a packaged recipe or of a JSON file."""
    import json

    from scalewise.errors import UsageError

    packaged = Path(__file__).parents[1] / "recipes"
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
    from scalewise.training import saved_options

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
    source: str, validation: str | None, channels: int | None, recipe: Recipe
) -> tuple[ImageSet, ImageSet]:
    """Training and validation images; odd ones too small for the crops are left out, and named."""
    from scalewise.data import hold_out, load_image_set
    from scalewise.training.objectives import largest_crop

    training, small = load_image_set(source, channels).without_small(largest_crop(recipe))
    for name in small:
        typer.echo(f"note: {name} is smaller than the crops of the others: left out", err=True)
    if validation is None:
        return hold_out(training)
    return training, load_image_set(validation, training.channels)


def _leave() -> None:
    """Leave the group of processes, if there is one."""
    import torch

    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def _device(name: str) -> tuple[torch.device, int]:
    """The device of this process and its number; joins the group that `torchrun` started."""
    import os

    import torch

    from scalewise.device import pick_device

    where = pick_device(name)
    if "LOCAL_RANK" not in os.environ:
        return where, 0
    local = int(os.environ["LOCAL_RANK"])
    if where.type == "cuda":
        where = torch.device("cuda", local)
        torch.cuda.set_device(where)
    torch.distributed.init_process_group("nccl" if where.type == "cuda" else "gloo")
    return where, torch.distributed.get_rank()

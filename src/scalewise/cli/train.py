"""`scalewise train`: from images to a model folder."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from scalewise.cli import options
from scalewise.cli.console import table
from scalewise.errors import UsageError

if TYPE_CHECKING:
    from scalewise.noise_model import NoiseModel
    from scalewise.train import Photons


def train(
    images: Annotated[
        str,
        typer.Argument(
            metavar="IMAGES",
            help="Training images: a folder, an .npz or .npy array, a .txt list of files, tar "
            "shards (a folder of them, 'shards/{000..099}.tar'), a Zarr array, or one image of a "
            "texture.",
            show_default=False,
        ),
    ],
    out: Annotated[Path, typer.Option(metavar="MODEL", help="Model folder to write.")],
    validation: Annotated[
        str | None,
        typer.Option(
            metavar="IMAGES",
            help="Images to choose by; default: 5 % of the others, or a quarter of one.",
        ),
    ] = None,
    recipe: Annotated[
        str | None,
        typer.Option(
            help="A packaged recipe (photos, photos-noise, photos-2, photos-3, photos-gray, "
            "photos-gray-1, photos-gray-2, photos-gray-3, photos-free, faces, texture, "
            "texture-fast) or a JSON file; options override it."
        ),
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
    only_level: Annotated[
        str | None,
        typer.Option(
            metavar="J",
            help="Train this level alone, or low, the low-pass image and the estimator of noise; "
            "scalewise assemble joins them.",
            show_default=False,
        ),
    ] = None,
    levels: Annotated[int | None, typer.Option(help="Wavelet levels; default 3.")] = None,
    receptive_field: Annotated[
        int | None, typer.Option(help="Of the networks of the details, odd; default 13.")
    ] = None,
    form: Annotated[
        str | None,
        typer.Option(help="noise-conditional (default), or bias-free: the published form."),
    ] = None,
    wavelet: Annotated[str | None, typer.Option(help="Orthogonal wavelet; default haar.")] = None,
    width: Annotated[int | None, typer.Option(help="Channels of the networks.")] = None,
    batch: Annotated[int | None, typer.Option(help="Crops per step.")] = None,
    crop: Annotated[
        int | None, typer.Option(help="Side of the crops in coefficients of a level.")
    ] = None,
    learning_rate: Annotated[
        float | None, typer.Option(help="Peak rate of AdamW; that of Muon follows.")
    ] = None,
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
    noisy: Annotated[
        bool,
        typer.Option(
            "--noisy",
            help="IMAGES are noisy and there are no clean ones: learn to denoise them. Their noise "
            "is estimated, unless the next options tell it.",
        ),
    ] = False,
    sigma: Annotated[
        float | None,
        typer.Option(
            min=0,
            callback=options.finite,
            help="With --noisy: their white noise, in 8-bit units.",
            show_default=False,
        ),
    ] = None,
    noise: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.json",
            help="With --noisy: their noise, as scalewise noise wrote it.",
            show_default=False,
        ),
    ] = None,
    gain: Annotated[
        float | None,
        typer.Option(
            callback=options.finite,
            help="With --noisy, of counted photons: stored value of one photo-electron.",
            show_default=False,
        ),
    ] = None,
    offset: options.Offset = 0.0,
    read_noise: options.ReadNoise = 0.0,
    stream: Annotated[
        bool,
        typer.Option("--stream", help="Read images as they are needed, also where all would fit."),
    ] = False,
    memory: Annotated[
        float | None,
        typer.Option(
            min=0.001,
            metavar="GB",
            callback=options.finite,
            help="Memory that images may take in each process: larger sets are read as they are "
            "needed.  [default: half of the machine's]",
            show_default=False,
        ),
    ] = None,
    compare: Annotated[
        str, typer.Option(metavar="MODEL", help="Model to compare with at the end; none for none.")
    ] = "photos",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    json_output: Annotated[
        bool, typer.Option("--json", help="Print what was trained as one JSON record.")
    ] = False,
) -> None:
    """Train a prior on images; killed at any moment, it goes on with --resume.

    At the end a table says whether it denoises held-out images better than another model. On
    several processes, torchrun --nproc-per-node 4 -m -- scalewise train ..., each computes its
    share of every batch; losses do not depend on their number.

    Examples:
      scalewise train photos/ --out my-model --minutes 60

      scalewise train photos/ --out my-model --resume

      scalewise train microscope/ --out mine --start photos --minutes 30

      scalewise train noisy/ --out mine --start photos --noisy --minutes 30

      scalewise train 'shards/{000..099}.tar' --out mine --memory 8

      scalewise train gravel.png --out gravel --recipe texture
    """
    began = time.monotonic()
    from scalewise.cli.training_bars import TrainingBars
    from scalewise.train import train_model

    told = _noise(noisy, sigma, noise, gain, offset, read_noise)
    given: dict[str, Any] = {
        "minutes": minutes,
        "steps": steps,
        "only_level": int(only_level) if only_level and only_level.isdigit() else only_level,
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
    with _others_speak(), TrainingBars() as bars:
        record = train_model(
            images,
            out,
            recipe=recipe,
            validation=validation,
            channels=channels,
            resume=resume,
            force=force,
            half=half,
            license=license,
            description=description,
            data_license=data_license,
            noisy=noisy or None,
            noise=told,
            compare=None if compare == "none" else compare,
            stream=stream or None,
            memory=memory,
            device=device,
            progress=bars,
            began=began,
            **given,
        )
    if record:
        typer.echo(_told(record, json_output))


@contextmanager
def _others_speak() -> Iterator[None]:
    """End without a word where another process of the run says what failed."""
    from scalewise.processes import ElsewhereError

    try:
        yield
    except ElsewhereError as error:
        raise typer.Exit(error.exit_code) from None


def _noise(
    noisy: bool,
    sigma: float | None,
    noise: Path | None,
    gain: float | None,
    offset: float,
    read_noise: float,
) -> NoiseModel | Photons | None:
    """What the options say of the noise of the images."""
    options.check_noise(
        {"--sigma": sigma, "--noise": noise, "--gain": gain}, gain, offset, read_noise
    )
    if not noisy and (sigma, noise, gain) != (None, None, None):
        raise UsageError("--sigma, --noise and --gain are of noisy images; give --noisy too")
    if gain is not None:
        from scalewise.train import Photons

        return Photons(gain, offset, read_noise)
    return options.told_noise(sigma, noise)


def _told(record: dict[str, Any], as_json: bool) -> str:
    """What was trained, as JSON, or in sentences and a table."""
    import json

    if as_json:
        return json.dumps(record)
    if "part" in record:
        (level,) = record["training"]["levels"]
        name = "the low-pass image" if level == "low" else f"level {level}"
        return f"{record['part']} has {name}; scalewise assemble joins it to the others."
    (what, scores), *_ = record["scores"].items()
    gains = ", ".join(
        f"{noise}: {psnr['noisy']:.1f} to {psnr['denoised']:.1f}" for noise, psnr in scores.items()
    )
    lines = [f"{record['model']} is trained. {what[0].upper()}{what[1:]}: {gains}."]
    if "comparison" in record:
        compared = record["comparison"]
        columns = {"noise": "noise", "noisy": "noisy", compared["model"]: "other"}
        columns |= {"this model": "this", "gain in dB": "gain", "standard error": "error"}
        rows = [[row[key] for key in columns.values()] for row in compared["table"]]
        lines += ["", table(list(columns), rows), "", *compared["words"]]
    return "\n".join(lines)

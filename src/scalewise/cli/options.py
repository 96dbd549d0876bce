"""Arguments and options that several commands share: one declaration each."""

from __future__ import annotations

import math
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import scalewise
from scalewise.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor

    from scalewise.noise_model import NoiseModel


def finite(value: float | None) -> float | None:
    """Refuse NaN and infinity, which pass every bound."""
    if value is not None and not math.isfinite(value):
        raise typer.BadParameter(f"{value} is not a finite number")
    return value


def finite_or_auto(value: str | None) -> str | None:
    """Refuse what is no number from 0, nor the word auto."""
    if value is None or value == "auto":
        return value
    try:
        number = float(value)
    except ValueError:
        raise typer.BadParameter(f"{value!r:.60} is neither a number nor auto") from None
    if not 0 <= number < math.inf:
        raise typer.BadParameter(f"{value} is not a finite number from 0")
    return value


def finite_all(values: list[float] | None) -> list[float] | None:
    """Refuse NaN and infinity in a list."""
    for value in values or ():
        finite(value)
    return values


Input = Annotated[
    Path,
    typer.Argument(metavar="INPUT", help="Image file, or folder of images.", show_default=False),
]
Output = Annotated[
    Path,
    typer.Argument(
        metavar="OUTPUT",
        help="Image file (.png .tif .jpg .webp); a folder if INPUT is one, with the same names.",
        show_default=False,
    ),
]
Images = Annotated[
    Path,
    typer.Argument(
        metavar="IMAGES",
        help="Clean images: a folder, a file, an .npz or .npy array, or a .txt list of files.",
        show_default=False,
    ),
]


def packaged_names(incomplete: str) -> list[str]:
    """Complete the name of a packaged model, for the shell, without importing PyTorch."""
    folder = Path(scalewise.__file__).parent / "weights"
    names = sorted(config.parent.name for config in folder.glob("*/config.json"))
    return [name for name in names if name.startswith(incomplete)]


Model = Annotated[
    str,
    typer.Option(
        "--model",
        "-m",
        help="Packaged name, model folder, or hub id owner/name.",
        autocompletion=packaged_names,
    ),
]
Seed = Annotated[int, typer.Option(min=0, help="Makes chance repeatable: same seed, same result.")]


class SamplerName(StrEnum):
    """Names in `scalewise.samplers.SAMPLERS`."""

    FEW_STEPS = "few-steps"
    PAPER = "paper"


Sampler = Annotated[
    SamplerName,
    typer.Option(
        help="few-steps: a second-order solver; paper: the published stochastic ascent, in "
        "thousands of steps."
    ),
]


class ModeName(StrEnum):
    """What becomes of an image that many clean ones may have been."""

    SAMPLE = "sample"
    MEAN = "mean"


Mode = Annotated[
    ModeName,
    typer.Option(
        help="sample: plausible sharp images; mean: the least-squares estimate, softer and closer "
        "to the truth on average."
    ),
]
Average = Annotated[
    int,
    typer.Option(
        metavar="1|2|4|8",
        help="The mean of so many estimates, of the image mirrored and turned: a little less "
        "error (about 0.1 dB) for so many times the time.",
    ),
]
Samples = Annotated[
    int,
    typer.Option(min=1, max=9999, help="How many to draw; from 2 the output name gets -1, -2, ..."),
]
Uncertainty = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE.tif",
        help="Also write the standard deviation of the samples per pixel, as a float TIFF (a "
        "folder if INPUT is one).",
        show_default=False,
    ),
]
Confidence = Annotated[
    int | None,
    typer.Option(
        metavar="50|80|90|95",
        help="With --uncertainty: instead, how far from the mean the truth is in so many percent "
        "of pixels.",
        show_default=False,
    ),
]
Device = Annotated[str, typer.Option(help="Where to compute: auto, cpu, cuda or mps.")]


class PrecisionName(StrEnum):
    """Names in `scalewise.store.PRECISIONS`."""

    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"
    FLOAT16 = "float16"


Precision = Annotated[
    PrecisionName,
    typer.Option(help="Of convolutions: bfloat16 is faster where the processor computes with it."),
]
Exact = Annotated[
    bool,
    typer.Option(
        "--exact",
        help="Compute layer by layer, as written, not by the faster forms, which are equal to "
        "rounding; SCALEWISE_EXACT=1 too.",
    ),
]
Black = Annotated[
    float | None,
    typer.Option(
        callback=finite,
        help="Stored value that is black, in the unit of the file; else the file says so, or it "
        "is found and told.",
        show_default=False,
    ),
]
White = Annotated[
    float | None,
    typer.Option(callback=finite, help="Stored value that is white, likewise.", show_default=False),
]
Quality = Annotated[
    int | None,
    typer.Option(
        min=1,
        max=100,
        help="Of JPEG outputs, by default that of a JPEG input, else 95; of WebP outputs, which "
        "are written without loss by default.",
        show_default=False,
    ),
]
Force = Annotated[bool, typer.Option("--force", help="Overwrite outputs that exist.")]
SkipExisting = Annotated[
    bool, typer.Option("--skip-existing", help="Leave out images whose outputs exist.")
]
Jobs = Annotated[
    int,
    typer.Option(
        "--jobs",
        min=1,
        max=64,
        metavar="N",
        help="Of a folder: how many images at once, when denoised small ones of one size in "
        "batches. One uses all cores if it is large; several small ones can use cores that are "
        "idle otherwise, and take as many times the memory.",
    ),
]
NoiseFile = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE.json",
        help="What the noise is like, as scalewise noise wrote it.",
        show_default=False,
    ),
]
Gain = Annotated[
    float | None,
    typer.Option(
        callback=finite,
        help="Of counted photons: stored value of one photo-electron.",
        show_default=False,
    ),
]
Offset = Annotated[
    float, typer.Option(callback=finite, help="With --gain: stored value without light.")
]
ReadNoise = Annotated[
    float, typer.Option(min=0, callback=finite, help="With --gain: read noise in electrons.")
]
Sheet = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="Also write an image with the middle of every image before and after.",
        show_default=False,
    ),
]
Json = Annotated[
    bool, typer.Option("--json", help="Print JSON instead of text: one record per line.")
]
JsonFile = Annotated[
    Path | None,
    typer.Option("--json", metavar="FILE", help="Write all records to a JSON file."),
]
Factor = Annotated[int, typer.Option(metavar="2|4|8", help="Enlargement of each side.")]


def check_samples(mode: ModeName, samples: int, uncertainty: Path | None) -> None:
    """Refuse samples of what has one result, and a deviation of fewer than two."""
    if mode is ModeName.MEAN and samples > 1:
        raise UsageError(f"--mode mean gives one image; leave out --samples {samples}")
    if uncertainty is not None and samples < 2:
        raise UsageError("--uncertainty is measured between samples; give --samples 2 or more")


def read_mask(path: Path) -> Tensor:
    """A mask, or another image of one channel, as (H, W), from black 0 to white 1."""
    from scalewise.images import read_image, to_channels

    return to_channels(read_image(path).pixels, 1)[0][0, 0]


def check_noise(
    ways: Mapping[str, object], gain: float | None, offset: float, read_noise: float
) -> None:
    """Refuse options that say twice, or only half of, what the noise is.

    Args:
        ways: the options that say it, by name; None where one is not given.
        gain: of photon counts.
        offset: belongs to it.
        read_noise: belongs to it.
    """
    given = [name for name, value in ways.items() if value is not None]
    if len(given) > 1:
        raise UsageError(f"{' and '.join(given)} both say what the noise is; give one of them")
    if gain is None and (offset or read_noise):
        raise UsageError("--offset and --read-noise belong to --gain; give that too")
    if gain is not None and gain <= 0:
        raise UsageError(f"--gain must be above 0, found {gain:g}; it is the value of one electron")


def told_noise(sigma: float | None, file: Path | None) -> NoiseModel | None:
    """What `--sigma`, in 8-bit units, or `--noise`, a file of `scalewise noise`, says; or None."""
    from scalewise.noise_model import NoiseModel

    if sigma is not None:
        return NoiseModel.white(sigma / 255)
    if file is None:
        return None
    try:
        text = file.read_text()
    except UnicodeDecodeError:
        raise UsageError(
            f"{file} holds no description of noise (it is no text); scalewise noise makes one"
        ) from None
    return NoiseModel.from_json(text, str(file))

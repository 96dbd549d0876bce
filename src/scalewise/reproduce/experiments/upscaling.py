"""Super-resolution: samples, the conditional mean, and consistency with what was given."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from scalewise import store
from scalewise.evaluation import interpolate, psnr
from scalewise.images import to_channels
from scalewise.prior import MultiScalePrior
from scalewise.reproduce.context import LEVELS, Context
from scalewise.reproduce.experiment import (
    Cell,
    Experiment,
    Figure,
    Result,
    Table,
    Verdict,
    judge,
    told,
)
from scalewise.reproduce.figures import pictures
from scalewise.reproduce.measure import public_face
from scalewise.reproduce.scale import small_field
from scalewise.wavelets import low_pass

CONSISTENT, LEAST, MOST = 1e-5, 2.0, 4.0
"""Largest intensity that consistency may lack; dB that the mean may be better than a sample."""
SAMPLES = 4
FACTOR = 1 << LEVELS
OWN, PUBLIC = "own 9x9", ", astronaut"


Numbers = dict[str, float]
"""PSNR in dB of each way up, and `inconsistency` in intensities."""


@dataclass(frozen=True)
class Measured:
    """Images enlarged by priors.

    Attributes:
        numbers: by prior and images.
        rows: pictures by the same names; see `enlarge`.
    """

    numbers: dict[str, Numbers]
    rows: dict[str, list[list[Tensor]]]


def run(context: Context) -> Result:
    """Upscale low-pass images of faces and of the astronaut by four."""
    return show(measure(context))


def measure(context: Context) -> Measured:
    """Enlarge validation faces and the astronaut with our own prior and the packaged one."""
    priors = {OWN: context.networks.multi_scale(small_field(context.scale.fields))}
    if context.scale.packaged and context.faces.colour is not None:
        priors["packaged faces"] = store.load(store.PACKAGED / "faces", device=context.device.type)
    images = context.faces.held_out(context.scale.images)
    public = public_face(images.shape[-1])
    numbers, rows = {}, {}
    for name, prior in priors.items():
        context.say(f"upscaling with {name}")
        faces, shown = _faces(context, prior, images), to_channels(public, prior.channels)[0]
        numbers[name], rows[name] = enlarge(prior, faces, context.seed)
        public_name = f"{name}{PUBLIC}"
        numbers[public_name], rows[public_name] = enlarge(prior, shown, context.seed)
    return Measured(numbers, rows)


def _faces(context: Context, prior: MultiScalePrior, images: Tensor) -> Tensor:
    """Validation faces in the prior's channels."""
    if prior.channels == 1 or context.faces.colour is None:
        return images
    return context.faces.colour[1].whole(range(len(images)))


@torch.no_grad()
def enlarge(
    prior: MultiScalePrior, images: Tensor, seed: int
) -> tuple[dict[str, float], list[list[Tensor]]]:
    """PSNR of each way up, the largest inconsistency, and rows of pictures."""
    small = low_pass(images, LEVELS, prior.wavelet)
    samples = prior.upscale(small, FACTOR, samples=SAMPLES, seed=seed).cpu()
    mean = prior.upscale_mean(small, FACTOR).cpu()
    bicubic = torch.stack([interpolate(image, FACTOR) for image in small])
    outputs = torch.cat([samples, mean[None]])
    off = max(
        float((low_pass(output, LEVELS, prior.wavelet) - small).abs().max()) for output in outputs
    )
    found = {
        "bicubic": float(psnr(images, bicubic).mean()),
        "mean": float(psnr(images, mean).mean()),
        "sample": sum(float(psnr(images, s).mean()) for s in samples) / len(samples),
        "mean of samples": float(psnr(images, samples.mean(0)).mean()),
        "inconsistency": off,
    }
    rows = [
        [small[i], bicubic[i], mean[i], samples[0][i], samples[1][i], samples[2][i], images[i]]
        for i in range(min(4, len(images)))
    ]
    return found, rows


def decide(numbers: Mapping[str, Numbers]) -> tuple[Verdict, dict[str, bool]]:
    """The verdict by the rule, and its parts, from the numbers of `OWN` and of all others."""
    own = numbers[OWN]
    parts = {
        f"low-pass of every output equals the input to {CONSISTENT:g}": all(
            found["inconsistency"] < CONSISTENT for found in numbers.values()
        ),
        "the mean beats bicubic": own["mean"] > own["bicubic"],
        f"a sample is {LEAST:g} to {MOST:g} dB under the mean (3.01 if perfect)": LEAST
        <= own["mean"] - own["sample"]
        <= MOST,
    }
    return judge(parts), parts


def show(measured: Measured) -> Result:
    """Verdict, table and pictures."""
    numbers = measured.numbers
    own, verdict, parts = numbers[OWN], *decide(numbers)
    columns = ["bicubic", "mean", "sample", "mean of samples", "inconsistency"]
    table: list[list[Cell]] = [[name, *(n[c] for c in columns)] for name, n in numbers.items()]
    return Result(
        verdict,
        f"x{FACTOR}, own 9x9 on validation faces: mean {own['mean']:.2f} dB, sample "
        f"{own['sample']:.2f}, bicubic {own['bicubic']:.2f}; largest inconsistency "
        f"{max(n['inconsistency'] for n in numbers.values()):.1e} ({told(parts)}).",
        [Table(f"PSNR in dB, x{FACTOR}; inconsistency in intensities", ["prior", *columns], table)],
        [_figure(name, rows) for name, rows in measured.rows.items()],
        numbers,
        [
            f"{SAMPLES} samples per image. The low-pass image is the 2x2 mean, {LEVELS} times; a "
            "perfect sampler is 3.01 dB under the least-squares estimate. Published networks "
            "learnt low-pass images of 40x40 pixels and are not upscaled with here.",
        ],
    )


def _figure(name: str, rows: list[list[Tensor]]) -> Figure:
    """Pictures of faces stay private; those of the astronaut need not."""
    titles = ("given", "bicubic", "mean", "sample 1", "sample 2", "sample 3", "truth")
    prior, public = name.removesuffix(PUBLIC), name.endswith(PUBLIC)
    shown = "The astronaut of scikit-image" if public else "Validation faces"
    word = f"{'astronaut' if public else 'faces'}-{prior.split()[0]}"
    return pictures(word, f"{shown}, {prior}: x{FACTOR}.", rows, (), titles, private=not public)


EXPERIMENT = Experiment(
    "upscaling",
    "Super-resolution",
    "Conditional local networks draw sharp images from a low-pass image, which stays as given "
    "(section 4).",
    f"The low-pass of every output equals the input to {CONSISTENT:g}; on validation faces the "
    f"conditional mean beats bicubic interpolation, and one sample is {LEAST:g} to {MOST:g} dB "
    "under the mean.",
    run,
    ("faces",),
)

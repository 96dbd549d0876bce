"""The tour of `scalewise demo`: one photo denoised, one super-resolved, faces from scratch.

The photos are free ones that scikit-image ships: no download, no network.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from scalewise import store
from scalewise.data import sample_photo
from scalewise.evaluation import add_noise, crop_to_multiple, interpolate, psnr, sheets
from scalewise.images import Picture, write_image
from scalewise.prior import MultiScalePrior
from scalewise.wavelets import low_pass

Record = dict[str, Any]

SIGMA = 25
FACTOR = 4
FACES = 16

TILE, COLUMNS, GAP = 384, 4, 16
WIDTH = COLUMNS * (TILE + GAP) + GAP

# names of photos, and the top left corner of the square that is shown
DENOISED = "astronaut", (0, 64)
UPSCALED = "coffee", (8, 150)

MODELS = (store.PACKAGED / "photos", store.PACKAGED / "faces")
"""The packaged models, even where a folder has models of these names."""

STEPS = ("denoise", "upscale", "synthesize")
OUTPUTS = (
    "demo.png",
    "denoise-noisy.png",
    "denoise-result.png",
    "upscale-small.png",
    "upscale-bicubic.png",
    "upscale-mean.png",
    "upscale-sample.png",
    *(f"face-{place:02d}.png" for place in range(1, FACES + 1)),
)
"""Names of all files that `run` writes."""


@dataclass(frozen=True)
class Part:
    """What one step of the tour made.

    Args:
        title: what was done, for the sheet.
        shown: a row of images for the sheet, each (3, H, W), all of one size.
        captions: what each is, below it; or none.
        files: images to write, by name.
        records: what was measured.
    """

    title: str
    shown: list[Tensor]
    captions: tuple[str, ...]
    files: dict[str, Tensor]
    records: list[Record]


def run(
    out: str | Path,
    seed: int = 0,
    device: str = "auto",
    callback: Callable[[Part], None] | None = None,
) -> list[Record]:
    """Denoise, super-resolve and synthesize, and write the results and a sheet of them.

    Args:
        out: folder of the results, made if it is not there; files of `OUTPUTS` are overwritten.
        seed: of the noise and the samples.
        device: "auto", "cpu", "cuda" or "mps".
        callback: called as each step is finished.

    Returns:
        One record per result: `step`, `image`, `psnr_before` and `psnr_after` in decibels (None
        where there is no truth), `seconds`, and `output`, the file.
    """
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    photos, faces = (store.load(model, device=device) for model in MODELS)
    parts: list[Part] = []
    for step, prior in ((denoise, photos), (upscale, photos), (synthesize, faces)):
        part = step(prior, seed)
        parts.append(part)
        for name, image in part.files.items():
            write_image(folder / name, Picture(image), force=True)
        if callback:
            callback(part)
    write_image(folder / "demo.png", Picture(sheet(parts)), force=True)
    records = [record for part in parts for record in part.records]
    return [record | {"output": str(folder / record["output"])} for record in records]


@torch.no_grad()
def denoise(prior: MultiScalePrior, seed: int = 0) -> Part:
    """Add noise to a photo and remove it, blind to its level."""
    name, place = DENOISED
    clean = sample_photo(name)
    noisy = add_noise(clean, SIGMA / 255, seed, 0)
    start = time.perf_counter()
    result = prior.denoise(noisy[None])[0].cpu()
    seconds = time.perf_counter() - start
    before, after = _decibels(clean, noisy, clip=False), _decibels(clean, result)
    removed = 0.5 + noisy - result
    return Part(
        f"Denoised, the noise level (sigma {SIGMA} of 255) not told",
        [_crop(image, place) for image in (noisy, result, removed, clean)],
        (f"noisy, {before:.1f} dB", f"denoised, {after:.1f} dB", "what was removed", "the truth"),
        {"denoise-noisy.png": noisy, "denoise-result.png": result},
        [_record(f"denoise sigma {SIGMA}", name, before, after, seconds, "denoise-result.png")],
    )


@torch.no_grad()
def upscale(prior: MultiScalePrior, seed: int = 0) -> Part:
    """Reduce a photo and enlarge it again: the least-squares estimate, and a sample."""
    name, place = UPSCALED
    clean = crop_to_multiple(sample_photo(name), 1 << prior.levels)
    small = low_pass(clean[None], FACTOR.bit_length() - 1).mul(255).round() / 255
    bicubic = interpolate(small[0], FACTOR)
    times = [time.perf_counter()]
    mean = prior.upscale_mean(small, FACTOR)[0].cpu()
    times.append(time.perf_counter())
    sample = prior.upscale(small, FACTOR, seed=seed)[0, 0].cpu()
    times.append(time.perf_counter())
    before, after, sharp = (_decibels(clean, image) for image in (bicubic, mean, sample))
    blocks = small[0].repeat_interleave(FACTOR, -1).repeat_interleave(FACTOR, -2)
    kinds = {"small": small[0], "bicubic": bicubic, "mean": mean, "sample": sample}
    step = f"upscale x{FACTOR}"
    rows = (
        (f"{step}, least squares", after, times[1] - times[0], "upscale-mean.png"),
        (f"{step}, one sample", sharp, times[2] - times[1], "upscale-sample.png"),
    )
    return Part(
        f"Super-resolved, {FACTOR} times as high and wide",
        [_crop(image, place) for image in (blocks, bicubic, mean, sample)],
        (
            "given",
            f"bicubic, {before:.1f} dB",
            f"least squares, {after:.1f} dB",
            f"one sample, {sharp:.1f} dB",
        ),
        {f"upscale-{kind}.png": image for kind, image in kinds.items()},
        [_record(what, name, before, gain, seconds, file) for what, gain, seconds, file in rows],
    )


def synthesize(prior: MultiScalePrior, seed: int = 0) -> Part:
    """Draw faces from scratch."""
    start = time.perf_counter()
    faces = list(prior.sample(FACES, seed=seed).cpu())
    seconds = time.perf_counter() - start
    names = [f"face-{place:02d}.png" for place in range(1, FACES + 1)]
    return Part(
        "Synthesized, from noise alone",
        faces,
        (),
        dict(zip(names, faces, strict=True)),
        [_record(f"synthesize {FACES} faces", None, None, None, seconds, names[0])],
    )


def sheet(parts: list[Part]) -> Tensor:
    """Draw the results of all steps on one sheet, shape (3, H, WIDTH)."""
    drawn = []
    for part in parts:
        columns = COLUMNS if part.captions else 2 * COLUMNS
        rows = [part.shown[first : first + columns] for first in range(0, len(part.shown), columns)]
        side = (WIDTH - GAP) // columns - GAP
        captions = [part.captions] if part.captions else []
        drawn.append(sheets.sheet(rows, captions=captions, height=side, gap=GAP, text=22))
    return sheets.stack(drawn, [part.title for part in parts], gap=GAP, text=30)


def _crop(image: Tensor, place: tuple[int, int]) -> Tensor:
    """The square of an image that is shown, at its own resolution."""
    top, left = place
    return image[:, top : top + TILE, left : left + TILE]


def _decibels(clean: Tensor, estimate: Tensor, clip: bool = True) -> float:
    return psnr(clean[None], estimate[None], clip=clip).item()


def _record(
    step: str,
    image: str | None,
    before: float | None,
    after: float | None,
    seconds: float,
    output: str,
) -> Record:
    return {
        "step": step,
        "image": image,
        "psnr_before": None if before is None else round(before, 2),
        "psnr_after": None if after is None else round(after, 2),
        "seconds": round(seconds, 2),
        "output": output,
    }

"""Super-resolution: samples, the conditional mean, and consistency with what was given."""

from __future__ import annotations

import torch
from torch import Tensor

from scalewise import store
from scalewise.evaluation import interpolate, psnr
from scalewise.images import to_channels
from scalewise.prior import MultiScalePrior
from scalewise.reproduce.context import LEVELS, Context
from scalewise.reproduce.experiment import Cell, Experiment, Figure, Result, Table, judge, told
from scalewise.reproduce.experiments.denoising import small_field
from scalewise.reproduce.figures import pictures
from scalewise.reproduce.measure import public_face
from scalewise.wavelets import low_pass

CONSISTENT, LEAST, MOST = 1e-5, 2.0, 4.0
"""Largest intensity that consistency may lack; dB that the mean may be better than a sample."""
SAMPLES = 4
FACTOR = 1 << LEVELS


def run(context: Context) -> Result:
    """Upscale low-pass images of faces and of the astronaut by four."""
    priors = {"own 9x9": context.networks.multi_scale(small_field(context.scale.fields))}
    if context.scale.packaged and context.faces.colour is not None:
        priors["packaged faces"] = store.load(store.PACKAGED / "faces", device=context.device.type)
    images = context.faces.held_out(context.scale.images)
    public = public_face(images.shape[-1])
    found, figures = {}, []
    for name, prior in priors.items():
        context.say(f"upscaling with {name}")
        faces, shown = _faces(context, prior, images), to_channels(public, prior.channels)[0]
        found[name], rows = measure(prior, faces, context.seed)
        found[f"{name}, astronaut"], astronaut = measure(prior, shown, context.seed)
        word = name.split()[0]
        figures += [
            _figure(f"faces-{word}", f"Validation faces, {name}", rows, private=True),
            _figure(f"astronaut-{word}", f"The astronaut of scikit-image, {name}", astronaut),
        ]
    decisive = found["own 9x9"]
    gap = decisive["mean"] - decisive["sample"]
    parts = {
        f"low-pass of every output equals the input to {CONSISTENT:g}": all(
            f["inconsistency"] < CONSISTENT for f in found.values()
        ),
        "the mean beats bicubic": decisive["mean"] > decisive["bicubic"],
        f"a sample is {LEAST:g} to {MOST:g} dB under the mean (3.01 if perfect)": LEAST
        <= gap
        <= MOST,
    }
    columns = ["bicubic", "mean", "sample", "mean of samples", "inconsistency"]
    table: list[list[Cell]] = [[name, *(f[c] for c in columns)] for name, f in found.items()]
    return Result(
        judge(parts),
        f"x{FACTOR}, own 9x9 on validation faces: mean {decisive['mean']:.2f} dB, sample "
        f"{decisive['sample']:.2f}, bicubic {decisive['bicubic']:.2f}; largest inconsistency "
        f"{max(f['inconsistency'] for f in found.values()):.1e} ({told(parts)}).",
        [Table(f"PSNR in dB, x{FACTOR}; inconsistency in intensities", ["prior", *columns], table)],
        figures,
        found,
        [
            f"{SAMPLES} samples per image. The low-pass image is the 2x2 mean, {LEVELS} times; a "
            "perfect sampler is 3.01 dB under the least-squares estimate. Published networks "
            "learnt low-pass images of 40x40 pixels and are not upscaled with here.",
        ],
    )


def _faces(context: Context, prior: MultiScalePrior, images: Tensor) -> Tensor:
    """Validation faces in the prior's channels."""
    if prior.channels == 1 or context.faces.colour is None:
        return images
    return context.faces.colour[1].whole(range(len(images)))


@torch.no_grad()
def measure(
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


def _figure(name: str, title: str, rows: list[list[Tensor]], private: bool = False) -> Figure:
    titles = ("given", "bicubic", "mean", "sample 1", "sample 2", "sample 3", "truth")
    return pictures(name, f"{title}: x{FACTOR}.", rows, (), titles, private=private)


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

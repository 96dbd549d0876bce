"""Flat, local denoisers fail at synthesis: their samples turn to texture."""

from __future__ import annotations

from torch import Tensor

from scalewise.reproduce.context import Context
from scalewise.reproduce.experiment import (
    Cell,
    Experiment,
    Figure,
    Result,
    Table,
    judge_against,
    told,
)
from scalewise.reproduce.experiments.denoising import AHEAD, imported, small_field
from scalewise.reproduce.figures import curves, pictures
from scalewise.reproduce.measure import denoising_psnr, mean
from scalewise.reproduce.synthesis import distances, floor

FARTHER = 1.5
"""How many times farther flat samples must be from the data than multi-scale ones."""
SHOWN = 8
PUBLISHED = 160
"""Side of the faces that the published networks learnt."""


def run(context: Context) -> Result:
    """Samples of flat denoisers by receptive field, and of the multi-scale prior."""
    scale, networks, faces = context.scale, context.networks, context.faces
    side = faces.training.images[0].shape[-1]
    local = small_field(scale.fields)
    reference = faces.held_out(len(faces.validation))
    training = faces.training.whole(range(len(faces.training)))
    samples: dict[str, Tensor] = {}
    for field in scale.fields:
        context.say(f"drawing {scale.samples} samples, flat {field}x{field}")
        samples[f"flat {field}x{field}"] = networks.flat(field).sample(
            scale.samples, seed=context.seed, size=(side, side), batch=16
        )
    multi = f"multi-scale {local}x{local}"
    samples[multi] = networks.multi_scale(local).sample(
        scale.samples, seed=context.seed, size=(side, side), batch=16
    )
    found = {name: distances(images, reference) for name, images in samples.items()}
    found["training images"] = floor(training, reference, scale.samples, context.seed)
    measures = list(found[multi])
    small = [f"flat {field}x{field}" for field in scale.fields if field <= 13]
    largest = f"flat {max(scale.fields)}x{max(scale.fields)}"
    coarse = ("low", "coarse spectrum")
    parts = {
        f"every flat denoiser up to 13x13 at least {FARTHER:g} times as far in {measure}": min(
            found[name][measure] for name in small
        )
        >= FARTHER * found[multi][measure]
        for measure in coarse
    } | {f"{largest} farther in both": all(found[largest][m] > found[multi][m] for m in coarse)}
    nearest = min(found[name]["low"] for name in small)
    rows: list[list[Cell]] = [[name, *by.values()] for name, by in found.items()]
    large = max(scale.fields)
    images = faces.held_out(scale.images)
    psnr = {
        field: mean(denoising_psnr(networks.flat(field), images, scale.sigmas, context.seed))
        for field in {local, large}
    }
    verdict, doubt = judge_against(parts, psnr[local] - psnr[large], AHEAD)
    return Result(
        verdict,
        f"{doubt}Distance of the low-pass image of samples to validation faces: {nearest:.2f} for "
        f"the best flat denoiser up to 13x13, {found[largest]['low']:.2f} for {largest}, "
        f"{found[multi]['low']:.2f} for {multi}, {found['training images']['low']:.2f} for as many "
        f"training images ({told(parts)}).",
        [
            Table(
                f"Distances of {scale.samples} samples from {len(reference)} validation faces: "
                "sliced Wasserstein by level and of the low-pass image of about 6x6 pixels, in "
                "deviations; log10 of power spectra, root mean square",
                ["samples", *measures],
                rows,
            )
        ],
        [
            pictures(
                "samples",
                "Samples by receptive field, from the same noise: flat, and multi-scale.",
                [list(images[:SHOWN].clamp(0, 1)) for images in samples.values()],
                list(samples),
            ),
            curves(
                "distance",
                "Distance of samples from validation faces at large scales.",
                {
                    measure: {
                        "flat": (
                            scale.fields,
                            [found[f"flat {f}x{f}"][measure] for f in scale.fields],
                        ),
                        multi: (scale.fields, [found[multi][measure]] * len(scale.fields)),
                        "·training images": (
                            scale.fields,
                            [found["training images"][measure]] * len(scale.fields),
                        ),
                    }
                    for measure in coarse
                },
                "receptive field",
                "distance",
            ),
            *_published(context),
        ],
        {"distances": found},
        [
            "All samples: the default sampler, a second-order multistep solver. Own denoisers are "
            "of one form and depth, and told the noise level.",
        ],
    )


def _published(context: Context) -> list[Figure]:
    """Samples of the authors' networks, flat and multi-scale; nothing where they were not given."""
    samples = {
        f"{family} {field}x{field}": prior.sample(
            SHOWN // 2, seed=context.seed, size=(PUBLISHED, PUBLISHED)
        )
        for family, priors in imported(context).items()
        for field, prior in priors.items()
        if family == "flat" or field == 9
    }
    if not samples:
        return []
    return [
        pictures(
            "samples-published",
            f"Samples of the published networks, {PUBLISHED}x{PUBLISHED} pixels, blind.",
            [list(images.clamp(0, 1)) for images in samples.values()],
            list(samples),
        )
    ]


EXPERIMENT = Experiment(
    "flat-synthesis",
    "Flat, local denoisers fail at synthesis",
    "Samples from pixel-domain denoisers whose receptive field is smaller than the image lose "
    "global structure; conditional local denoisers over a global low-pass image keep it "
    "(figures 4 and 5).",
    f"In the distance of low-pass images and in the power spectrum at large scales, every flat "
    f"denoiser up to 13x13 is at least {FARTHER:g} times as far from validation faces as the "
    "multi-scale 9x9 prior, and the largest flat one is farther too. Not tested, if the "
    f"largest flat one denoises more than {AHEAD} dB worse than 9x9: it has not learnt enough.",
    run,
    ("faces",),
)

"""Flat, local denoisers fail at synthesis: their samples turn to texture."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from scalewise.reproduce.context import Context, published_families
from scalewise.reproduce.experiment import (
    AHEAD,
    Cell,
    Experiment,
    Figure,
    Result,
    Table,
    Verdict,
    judge_against,
    told,
)
from scalewise.reproduce.figures import curves, pictures
from scalewise.reproduce.measure import denoising_psnr, mean
from scalewise.reproduce.scale import small_field
from scalewise.reproduce.synthesis import distances, floor

TRAINING, COARSE = "training images", ("low", "coarse spectrum")
LOCAL = 13
"""Largest receptive field of a flat denoiser that counts as local."""
FARTHER = 1.5
"""How many times farther flat samples must be from the data than multi-scale ones."""
SHOWN = 8
PUBLISHED = 160
"""Side of the faces that the published networks learnt."""


Distances = dict[str, float]
"""Of a set of images from validation faces, by measure (`reproduce.synthesis.distances`)."""


@dataclass(frozen=True)
class Measured:
    """Samples, how far they are from validation faces, and how well their priors denoise.

    Attributes:
        fields: receptive fields of the flat denoisers.
        samples: by prior, shape (N, C, H, W), from the same noise.
        distances: by prior, and of as many training images (`TRAINING`).
        psnr: in dB of flat denoisers of the small and the largest field, mean over noise levels.
        reference: how many validation faces.
        published: samples of the authors' networks; empty where they are not given.
    """

    fields: tuple[int, ...]
    samples: dict[str, Tensor]
    distances: dict[str, Distances]
    psnr: dict[int, float]
    reference: int
    published: dict[str, Tensor]

    @property
    def multi(self) -> str:
        """The multi-scale prior that flat ones are compared with."""
        return multi_scale(small_field(self.fields))


def flat(field: int) -> str:
    """Name of a flat denoiser."""
    return f"flat {field}x{field}"


def multi_scale(field: int) -> str:
    """Name of a multi-scale prior."""
    return f"multi-scale {field}x{field}"


def run(context: Context) -> Result:
    """Samples of flat denoisers by receptive field, and of the multi-scale prior."""
    return show(measure(context))


def measure(context: Context) -> Measured:
    """Draw from every prior with the same noise; compare the samples with validation faces."""
    scale, networks, faces, seed = context.scale, context.networks, context.faces, context.seed
    side = faces.training.images[0].shape[-1]
    local, large = small_field(scale.fields), max(scale.fields)
    reference = faces.held_out(len(faces.validation))
    training = faces.training.whole(range(len(faces.training)))
    priors = {flat(field): networks.flat(field) for field in scale.fields}
    priors[multi_scale(local)] = networks.multi_scale(local)
    samples: dict[str, Tensor] = {}
    for name, prior in priors.items():
        context.say(f"drawing {scale.samples} samples, {name}")
        drawn = prior.sample(scale.samples, seed=seed, size=(side, side), batch=16)
        samples[name] = drawn.cpu()
    found = {name: distances(images, reference) for name, images in samples.items()}
    found[TRAINING] = floor(training, reference, scale.samples, seed)
    images = faces.held_out(scale.images)
    psnr = {
        field: mean(denoising_psnr(priors[flat(field)], images, scale.sigmas, seed))
        for field in {local, large}
    }
    return Measured(scale.fields, samples, found, psnr, len(reference), _published(context))


def _published(context: Context) -> dict[str, Tensor]:
    """Samples of the authors' networks, flat and multi-scale; nothing where they are not given."""
    size = (PUBLISHED, PUBLISHED)
    return {
        f"{family} {field}x{field}": prior.sample(SHOWN // 2, seed=context.seed, size=size)
        for family, priors in published_families(context).items()
        for field, prior in priors.items()
        if family == "flat" or field == 9
    }


def decide(
    found: Mapping[str, Distances], fields: tuple[int, ...], ahead: float
) -> tuple[Verdict, str, dict[str, bool]]:
    """The verdict by the rule, what to put before the sentence, and the parts of the rule.

    Args:
        found: distances of flat denoisers of all `fields` and of the multi-scale prior.
        fields: receptive fields of the flat denoisers.
        ahead: dB that the small flat denoiser is better than the largest.
    """
    multi, largest = found[multi_scale(small_field(fields))], found[flat(max(fields))]
    parts = {
        f"every flat denoiser up to {LOCAL}x{LOCAL} at least {FARTHER:g} times as far in {what}": (
            nearest(found, fields, what) >= FARTHER * multi[what]
        )
        for what in COARSE
    }
    parts[f"{flat(max(fields))} farther in both"] = all(largest[w] > multi[w] for w in COARSE)
    return *judge_against(parts, ahead, AHEAD), parts


def nearest(found: Mapping[str, Distances], fields: tuple[int, ...], measure: str) -> float:
    """Least distance of the flat denoisers up to `LOCAL`."""
    return min(found[flat(field)][measure] for field in fields if field <= LOCAL)


def show(measured: Measured) -> Result:
    """Verdict, table, pictures and curves."""
    found, fields, multi = measured.distances, measured.fields, measured.multi
    local, large = small_field(fields), max(fields)
    verdict, doubt, parts = decide(found, fields, measured.psnr[local] - measured.psnr[large])
    rows: list[list[Cell]] = [[name, *by.values()] for name, by in found.items()]
    count = len(measured.samples[multi])
    title = (
        f"Distances of {count} samples from {measured.reference} validation faces: sliced "
        "Wasserstein by level and of the low-pass image of about 6x6 pixels, in deviations; log10 "
        "of power spectra, root mean square"
    )
    return Result(
        verdict,
        f"{doubt}Distance of the low-pass image of samples to validation faces: "
        f"{nearest(found, fields, 'low'):.2f} for the best flat denoiser up to {LOCAL}x{LOCAL}, "
        f"{found[flat(large)]['low']:.2f} for {flat(large)}, {found[multi]['low']:.2f} for "
        f"{multi}, {found[TRAINING]['low']:.2f} for as many training images ({told(parts)}).",
        [Table(title, ["samples", *found[multi]], rows)],
        [
            _sheet(
                "samples",
                "Samples by receptive field, from the same noise: flat, and multi-scale.",
                measured.samples,
            ),
            _curves(found, fields, multi),
            *(
                [
                    _sheet(
                        "samples-published",
                        f"Samples of the published networks, "
                        f"{PUBLISHED}x{PUBLISHED} pixels, blind.",
                        measured.published,
                    )
                ]
                if measured.published
                else []
            ),
        ],
        {"distances": found},
        [
            "All samples: the default sampler, a second-order multistep solver. Own denoisers are "
            "of one form and depth, and told the noise level.",
        ],
    )


def _sheet(name: str, caption: str, samples: Mapping[str, Tensor]) -> Figure:
    rows = [list(images[:SHOWN].clamp(0, 1)) for images in samples.values()]
    return pictures(name, caption, rows, list(samples))


def _curves(found: Mapping[str, Distances], fields: tuple[int, ...], multi: str) -> Figure:
    panels = {
        measure: {
            "flat": (fields, [found[flat(field)][measure] for field in fields]),
            multi: (fields, [found[multi][measure]] * len(fields)),
            f"·{TRAINING}": (fields, [found[TRAINING][measure]] * len(fields)),
        }
        for measure in COARSE
    }
    caption = "Distance of samples from validation faces at large scales."
    return curves("distance", caption, panels, "receptive field", "distance")


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

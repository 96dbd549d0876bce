"""Denoising by receptive field: flat and multi-scale denoisers, and what 9x9 loses."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

from scalewise.prior import MultiScalePrior
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
from scalewise.reproduce.figures import curves
from scalewise.reproduce.measure import (
    denoising_psnr,
    low_pass_only_psnr,
    mean,
    plus_minus,
    public_face,
)
from scalewise.reproduce.scale import small_field

LOSS, MORE = 0.1, 0.2
"""dB that a local multi-scale denoiser may lose, and that a flat one must lose beyond it."""


Curves = dict[str, dict[int, list[float]]]
"""PSNR in dB by family, then by receptive field, one value per noise level."""


@dataclass(frozen=True)
class Measured:
    """Denoised images by family and receptive field.

    Attributes:
        sigmas: noise levels in 8-bit units.
        own: of our networks, on validation faces.
        low: of ours, where the low-pass image alone is denoised and details are set to zero.
        published: of the published networks, by what was denoised; empty where they are not given.
        local: the small receptive field that decides.
        images: how many validation faces.
        side: their side.
        again: of `local` and the largest field, multi-scale, trained again from other weights.
    """

    sigmas: tuple[float, ...]
    own: Curves
    low: list[float]
    published: dict[str, Curves]
    local: int
    images: int
    side: int
    again: tuple[Curves, ...] = ()


def run(context: Context) -> Result:
    """Output PSNR by noise level, receptive field and family."""
    return show(measure(context))


def measure(context: Context) -> Measured:
    """Denoise validation faces with every network, and the published ones' public face too."""
    scale, networks, seed = context.scale, context.networks, context.seed
    families = {
        "flat": {field: networks.flat(field) for field in scale.fields},
        "multi-scale": {field: networks.multi_scale(field) for field in scale.fields},
    }
    images = context.faces.held_out(scale.images)
    own = by_family(families, images, scale.sigmas, seed)
    largest = families["multi-scale"][max(scale.fields)]
    low = low_pass_only_psnr(largest, images, scale.sigmas, seed)
    theirs, shown = published_families(context), {"faces": images, "astronaut": public_face(160)}
    published = {
        name: by_family(theirs, shown[name], scale.sigmas, seed) for name in shown if theirs
    }
    local = small_field(scale.fields)
    again = tuple(
        by_family(
            {
                "multi-scale": {
                    field: others.multi_scale(field) for field in (local, max(scale.fields))
                }
            },
            images,
            scale.sigmas,
            seed,
        )
        for others in context.retrained
    )
    return Measured(
        sigmas=scale.sigmas,
        own=own,
        low=low,
        published=published,
        local=local,
        images=len(images),
        side=images.shape[-1],
        again=again,
    )


def by_family(
    families: dict[str, dict[int, MultiScalePrior]],
    images: Tensor,
    sigmas: tuple[float, ...],
    seed: int,
) -> Curves:
    """PSNR by family, receptive field and noise level."""
    return {
        family: {
            field: denoising_psnr(prior, images, sigmas, seed) for field, prior in priors.items()
        }
        for family, priors in families.items()
    }


def decide(lost: dict[str, list[float]], local: int) -> tuple[Verdict, str, dict[str, bool]]:
    """The verdict by the rule, what to put before the sentence, and the parts of the rule.

    Args:
        lost: dB that `local` loses against the largest field, by family and noise level.
        local: the small receptive field.
    """
    multi, flat = mean(lost["multi-scale"]), mean(lost["flat"])
    parts = {
        f"multi-scale {local}x{local} loses at most {LOSS} dB on the mean over noise levels": (
            multi <= LOSS
        ),
        f"flat {local}x{local} loses at least {MORE} dB more": flat >= multi + MORE,
    }
    return *judge_against(parts, max(-multi, -flat), AHEAD), parts


def show(measured: Measured) -> Result:
    """Verdict, tables and curves."""
    own, low, sigmas, local = measured.own, measured.low, measured.sigmas, measured.local
    large = max(own["flat"])
    lost = losses(own, local, large)
    trained = [lost["multi-scale"]]
    trained += [losses(psnr, local, large)["multi-scale"] for psnr in measured.again]
    lost["multi-scale"] = [mean(list(at)) for at in zip(*trained, strict=True)]
    verdict, doubt, parts = decide(lost, local)
    tables = [
        psnr_table(f"Own networks, {measured.images} validation faces", own, sigmas, low),
        loss_table(f"dB lost by {local}x{local} against {large}x{large}", lost, sigmas),
    ]
    figures = [curves_of("own", "Own networks, validation faces", own, sigmas, low)]
    for name, found in measured.published.items():
        title = f"Published networks, {name}"
        lost_title = f"{title}: dB lost by 9x9 against 43x43"
        tables += [
            psnr_table(title, found, sigmas),
            loss_table(lost_title, losses(found, 9, 43), sigmas),
        ]
        figures.append(curves_of(f"published-{name}", title, found, sigmas))
    sentence = (
        f"{local}x{local} loses {plus_minus(list(map(mean, trained)))} dB (multi-scale) and "
        f"{mean(lost['flat']):.2f} dB (flat) against {large}x{large}, mean over noise levels"
    )
    if measured.published:
        given = losses(measured.published["faces"], 9, 43)
        sentence += (
            f"; the published networks on the same faces lose {mean(given['multi-scale']):.2f} "
            f"and {mean(given['flat']):.2f} dB"
        )
    numbers = {"sigmas": list(sigmas), "psnr": own, "low_pass_only": low, "lost": lost}
    numbers["lost by training"] = [mean(values) for values in trained]
    numbers |= {f"published, {name}": found for name, found in measured.published.items()}
    text = f"{doubt}{sentence} ({told(parts)})."
    return Result(verdict, text, tables, figures, numbers, _notes(measured))


def _notes(measured: Measured) -> list[str]:
    side = measured.side
    return [
        "Own networks, flat and multi-scale, are of one form and depth and told the noise level; "
        "the published ones are blind. Every own network had the same budget, and all multi-scale "
        "priors share one low-pass network. What multi-scale loses is the mean of "
        f"{1 + len(measured.again)} trainings, with its standard error.",
        f"The published networks learnt faces of 160x160 pixels (CelebA); the faces here have "
        f"{side}x{side}, so their features are smaller than those learnt.",
    ]


def losses(psnr: Curves, local: int, large: int) -> dict[str, list[float]]:
    """What the local receptive field loses against the large one, by family and noise level."""
    return {
        family: [best - own for best, own in zip(by[large], by[local], strict=True)]
        for family, by in psnr.items()
    }


def psnr_table(
    title: str,
    psnr: Curves,
    sigmas: tuple[float, ...],
    low: list[float] | None = None,
) -> Table:
    """Rows by family and receptive field, columns by noise level."""
    rows: list[list[Cell]] = [
        [f"{family} {field}x{field}", *values]
        for family, by in psnr.items()
        for field, values in by.items()
    ]
    if low is not None:
        rows.append(["low-pass only", *low])
    return Table(f"{title}: PSNR in dB", ["denoiser", *(f"σ = {s:g}" for s in sigmas)], rows)


def loss_table(title: str, lost: dict[str, list[float]], sigmas: tuple[float, ...]) -> Table:
    """Rows by family, columns by noise level, and the mean."""
    rows: list[list[Cell]] = [[family, *v, mean(v)] for family, v in lost.items()]
    return Table(title, ["family", *(f"σ = {s:g}" for s in sigmas), "mean"], rows)


def curves_of(
    name: str,
    title: str,
    psnr: Curves,
    sigmas: tuple[float, ...],
    low: list[float] | None = None,
) -> Figure:
    """Input PSNR against output PSNR, one panel per family."""
    inputs = [20 * math.log10(255 / s) for s in sigmas]
    extra = {} if low is None else {"·low-pass only": (inputs, low)}
    panels = {
        family: {f"{field}x{field}": (inputs, values) for field, values in by.items()} | extra
        for family, by in psnr.items()
    }
    caption = f"{title}: output PSNR against input PSNR by receptive field."
    return curves(name, caption, panels, "input PSNR (dB)", "output PSNR (dB)")


EXPERIMENT = Experiment(
    "denoising",
    "Denoising by receptive field",
    "A multi-scale denoiser whose conditional networks see 9x9 neighbourhoods does as well as one "
    "that sees 43x43; a pixel-domain denoiser needs the large receptive field (section 3, "
    "figure 3).",
    f"On our networks and validation faces, mean over noise levels and trainings: 9x9 loses at "
    f"most {LOSS} dB against 43x43 in the multi-scale family, and at least {MORE} dB more in the "
    "flat one. Not tested, if in either family the largest field is more than "
    f"{AHEAD} dB behind 9x9: then it has not learnt enough.",
    run,
    ("faces",),
)

"""Synthesis from coarse to fine, its distance from held-out images, and the nearest ones learnt."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from scalewise import store
from scalewise.evaluation import measure_samples, nearest_distances
from scalewise.prior import MultiScalePrior
from scalewise.reproduce.context import Context
from scalewise.reproduce.experiment import Cell, Experiment, Figure, Result, Table, judge, told
from scalewise.reproduce.experiments.denoising import small_field
from scalewise.reproduce.figures import pictures
from scalewise.reproduce.synthesis import scales_of

CLOSE, NEW = 2.0, 0.9
"""Distances in those of as many training images; how near to training images samples may come."""
SHOWN = 8


def run(context: Context) -> Result:
    """Draw samples of the own prior and of the packaged one, and measure both."""
    scale, faces = context.scale, context.faces
    gray = faces.training.whole(range(len(faces.training)))
    own = context.networks.multi_scale(small_field(scale.fields))
    found, figures = {}, []
    drawn = {"own 9x9": (own, gray, faces.held_out(len(faces.validation)))}
    if scale.packaged and faces.colour is not None:
        sets = [part.whole(range(len(part))) for part in faces.colour]
        drawn["packaged faces"] = (
            store.load(store.PACKAGED / "faces", device=context.device.type),
            sets[0],
            sets[1],
        )
    for name, (prior, training, reference) in drawn.items():
        context.say(f"drawing {scale.samples} samples of {name}")
        found[name], pair = _measure(context, name, prior, training, reference)
        figures += pair
    decisive = found["own 9x9"]
    ratios = {
        level: distance / decisive["floor"][level]["mean"]
        for level, distance in decisive["distances"].items()
    }
    near = decisive["nearest"]["image"]
    newness = near["samples"]["50%"] / near["reference"]["50%"]
    parts = {f"{name} within {CLOSE:g} floors": r <= CLOSE for name, r in ratios.items()} | {
        "nearest training image as far as from validation images": newness >= NEW
    }
    phrase = ", ".join(f"{name} {ratio:.2f}" for name, ratio in ratios.items())
    return Result(
        judge(parts),
        f"Own prior: distances in units of those of as many training images: {phrase}; median "
        f"distance to the nearest training image {newness:.2f} times that of validation faces "
        f"({told(parts)}).",
        [_table(found, scale.samples)],
        figures,
        found,
        [
            "Distances are sliced Wasserstein, per level; they depend on the number of samples, "
            "so the floor takes as many training images. Faces of one person are in one split.",
        ],
    )


def _measure(
    context: Context, name: str, prior: MultiScalePrior, training: Tensor, reference: Tensor
) -> tuple[dict[str, Any], list[Figure]]:
    """Measures, the scales of a few samples, and their nearest neighbours."""
    side, count = reference.shape[-1], context.scale.samples
    samples = prior.sample(count, seed=context.seed, size=(side, side)).cpu()
    scales = scales_of(prior, min(SHOWN, count), context.seed, side)
    word = name.split()[0]
    shown = samples[: min(SHOWN, count)].clamp(0, 1)
    places = [int((training - image).square().flatten(1).sum(1).argmin()) for image in shown]
    nearest = [training[place] for place in places]
    figures = [
        pictures(
            f"scales-{word}",
            f"{name}: samples from coarse to fine.",
            [list(low.clamp(0, 1)) for low in scales],
            [f"{low.shape[-1]} pixels" for low in scales],
        ),
        pictures(
            f"samples-{word}",
            f"{name}: {min(32, count)} samples, not chosen.",
            [list(samples[k : k + 8].clamp(0, 1)) for k in range(0, min(32, count), 8)],
        ),
        pictures(
            f"nearest-{word}",
            f"{name}: samples, and the nearest training image of each.",
            [list(shown), nearest],
            ["samples", "nearest"],
            private=True,
        ),
    ]
    record = measure_samples(
        samples, reference, training=training, levels=max(1, prior.levels), wavelet=prior.wavelet
    )
    record["nearest training"] = nearest_distances(shown, training).tolist()
    return record, figures


def _table(found: dict[str, Any], count: int) -> Table:
    rows: list[list[Cell]] = []
    for name, record in found.items():
        for level, distance in record["distances"].items():
            rows.append([f"{name}: {level}", distance, record["floor"][level]["mean"]])
        near = record["nearest"]["image"]
        medians = near["samples"]["50%"], near["reference"]["50%"]
        rows.append([f"{name}: distance to the nearest training image, median", *medians])
    columns = ["measure", "samples", "training images; validation for the nearest"]
    return Table(f"{count} samples against validation faces", columns, rows)


EXPERIMENT = Experiment(
    "synthesis",
    "Synthesis, coarse to fine",
    "Samples drawn scale by scale from local conditionals over a global low-pass image are "
    "distributed like the data, and new (section 4, figure 5).",
    f"Of the own prior, sliced Wasserstein distances at every level and of the low-pass image are "
    f"within {CLOSE:g} times those of as many training images, and the median distance to the "
    f"nearest training image is at least {NEW:g} times that of validation images.",
    run,
    ("faces",),
)

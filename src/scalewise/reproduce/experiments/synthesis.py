"""Synthesis from coarse to fine, its distance from held-out images, and the nearest ones learnt."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from scalewise import store
from scalewise.evaluation import Record, measure_samples, nearest_distances
from scalewise.prior import MultiScalePrior
from scalewise.reproduce.context import Context
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
from scalewise.reproduce.scale import small_field
from scalewise.reproduce.synthesis import scales_of

CLOSE, NEW = 2.0, 0.9
"""Distances in those of as many training images; how near to training images samples may come."""
SHOWN = 8
OWN = "own 9x9"


@dataclass(frozen=True)
class Drawn:
    """Samples of one prior, and what is measured of them.

    Attributes:
        record: see `measure_samples`; and as `nearest training` those of the first samples
            alone.
        samples: some, not chosen, shape (N, C, H, W).
        scales: fewer, at every scale as they are drawn, coarsest first.
        nearest: the training images nearest to the first samples, in their order.
    """

    record: Record
    samples: Tensor
    scales: list[Tensor]
    nearest: list[Tensor]


@dataclass(frozen=True)
class Measured:
    """What was drawn of each prior, and how many samples of each; the own prior decides."""

    drawn: dict[str, Drawn]
    count: int


def run(context: Context) -> Result:
    """Draw samples of the own prior and of the packaged one, and measure both."""
    return show(measure(context))


def measure(context: Context) -> Measured:
    """Draw from the own prior of gray faces, and from the packaged one of colour faces."""
    scale, faces = context.scale, context.faces
    own = context.networks.multi_scale(small_field(scale.fields))
    gray = faces.training.whole(range(len(faces.training)))
    priors = {OWN: (own, gray, faces.held_out(len(faces.validation)))}
    if scale.packaged and faces.colour is not None:
        training, reference = (part.whole(range(len(part))) for part in faces.colour)
        packaged = store.load(store.PACKAGED / "faces", device=context.device.type)
        priors["packaged faces"] = packaged, training, reference
    found = {}
    for name, (prior, training, reference) in priors.items():
        context.say(f"drawing {scale.samples} samples of {name}")
        found[name] = draw(prior, training, reference, scale.samples, context.seed)
    return Measured(found, scale.samples)


def draw(
    prior: MultiScalePrior, training: Tensor, reference: Tensor, count: int, seed: int
) -> Drawn:
    """Draw samples, measure them, and find the training images nearest to the first.

    Args:
        prior: what to draw from.
        training: images that it learnt, shape (K, C, H, W).
        reference: images of the same kind that it did not, shape (M, C, H, W), square.
        count: how many samples.
        seed: of the samples.
    """
    side = reference.shape[-1]
    samples = prior.sample(count, seed=seed, size=(side, side)).cpu()
    record = measure_samples(
        samples, reference, training=training, levels=max(1, prior.levels), wavelet=prior.wavelet
    )
    first = samples[:SHOWN].clamp(0, 1)
    record["nearest training"] = nearest_distances(first, training).tolist()
    places = [int((training - image).square().flatten(1).sum(1).argmin()) for image in first]
    scales = scales_of(prior, len(first), seed, side)
    return Drawn(record, samples[: 4 * SHOWN], scales, [training[place] for place in places])


def ratios(record: Record) -> dict[str, float]:
    """Distances of samples from the reference in those of as many training images, by scale."""
    return {
        level: distance / record["floor"][level]["mean"]
        for level, distance in record["distances"].items()
    }


def newness(record: Record) -> float:
    """Median distance of samples to the nearest training image, in that of reference images."""
    near = record["nearest"]["image"]
    return float(near["samples"]["50%"] / near["reference"]["50%"])


def decide(by_level: dict[str, float], new: float) -> tuple[Verdict, dict[str, bool]]:
    """The verdict by the rule, and its parts.

    Args:
        by_level: see `ratios`.
        new: see `newness`.
    """
    parts = {f"{name} within {CLOSE:g} floors": r <= CLOSE for name, r in by_level.items()} | {
        "nearest training image as far as from validation images": new >= NEW
    }
    return judge(parts), parts


def show(measured: Measured) -> Result:
    """Verdict, table and pictures."""
    own = measured.drawn[OWN].record
    verdict, parts = decide(ratios(own), newness(own))
    phrase = ", ".join(f"{name} {ratio:.2f}" for name, ratio in ratios(own).items())
    return Result(
        verdict,
        f"Own prior: distances in units of those of as many training images: {phrase}; median "
        f"distance to the nearest training image {newness(own):.2f} times that of validation faces "
        f"({told(parts)}).",
        [_table(measured)],
        [figure for name, drawn in measured.drawn.items() for figure in _figures(name, drawn)],
        {name: drawn.record for name, drawn in measured.drawn.items()},
        [
            "Distances are sliced Wasserstein, per level; they depend on the number of samples, "
            "so the floor takes as many training images. Faces of one person are in one split.",
        ],
    )


def _figures(name: str, drawn: Drawn) -> list[Figure]:
    """The scales of a few samples, more samples, and the nearest neighbours of the first."""
    word = name.split()[0]
    samples = drawn.samples.clamp(0, 1)
    return [
        pictures(
            f"scales-{word}",
            f"{name}: samples from coarse to fine.",
            [list(low.clamp(0, 1)) for low in drawn.scales],
            [f"{low.shape[-1]} pixels" for low in drawn.scales],
        ),
        pictures(
            f"samples-{word}",
            f"{name}: {len(samples)} samples, not chosen.",
            [list(row) for row in samples.split(SHOWN)],
        ),
        pictures(
            f"nearest-{word}",
            f"{name}: samples, and the nearest training image of each.",
            [list(samples[:SHOWN]), drawn.nearest],
            ["samples", "nearest"],
            private=True,
        ),
    ]


def _table(measured: Measured) -> Table:
    rows: list[list[Cell]] = []
    for name, drawn in measured.drawn.items():
        record = drawn.record
        for level, distance in record["distances"].items():
            rows.append([f"{name}: {level}", distance, record["floor"][level]["mean"]])
        near = record["nearest"]["image"]
        medians = near["samples"]["50%"], near["reference"]["50%"]
        rows.append([f"{name}: distance to the nearest training image, median", *medians])
    columns = ["measure", "samples", "training images; validation for the nearest"]
    return Table(f"{measured.count} samples against validation faces", columns, rows)


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

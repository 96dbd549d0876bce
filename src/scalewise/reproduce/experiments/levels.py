"""Conditional denoisers level by level, beside the published values."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from scalewise.metrics import pooled_psnr
from scalewise.prior import MultiScalePrior
from scalewise.reproduce.context import LEVELS, Context
from scalewise.reproduce.experiment import (
    AHEAD,
    Cell,
    Experiment,
    Result,
    Table,
    Verdict,
    judge_against,
    told,
)
from scalewise.reproduce.figures import curves
from scalewise.reproduce.measure import BATCH, mean, plus_minus, white
from scalewise.reproduce.networks import Networks
from scalewise.reproduce.scale import small_field
from scalewise.wavelets import low_pass, split

LOSS = 0.2
"""dB that 9x9 may lose against the largest receptive field, at every level."""
PUBLISHED_SIGMAS = (20.0, 60.0, 100.0, 180.0, 260.0)

Curves = dict[int, list[float]]


@torch.no_grad()
def details_psnr(
    prior: MultiScalePrior, images: Tensor, level: int, sigmas: tuple[float, ...], seed: int
) -> list[float]:
    """PSNR in dB of the details of a level given the clean low-pass image.

    Noise of `sigma / 255` is added to the normalised details themselves; the peak is 1.

    Args:
        prior: holds the level's network.
        images: clean, shape (N, 1, H, W).
        level: from 1.
        sigmas: in 8-bit units.
        seed: of the noise.
    """
    low, details = split(low_pass(images, level - 1, prior.wavelet), prior.wavelet)
    noise, network = white(details, seed, level), prior.conditionals[level - 1]
    found = []
    for sigma in sigmas:
        noisy = details + sigma / 255 * noise
        parts = zip(noisy.split(BATCH), low.split(BATCH), strict=True)
        estimate = torch.cat([network(n, given, sigma / 255).details for n, given in parts])
        found.append(pooled_psnr(details, estimate))
    return found


@dataclass(frozen=True)
class Measured:
    """PSNR in dB of details given the clean low-pass image, by level, then by receptive field.

    Attributes:
        sigmas: noise levels in 8-bit units.
        own: of our networks, one value per noise level.
        published: the published values at `PUBLISHED_SIGMAS`; empty where they are not given.
        local: the small receptive field that decides.
        again: of `local` and the largest field, trained again from other weights.
        side: of the images.
    """

    sigmas: tuple[float, ...]
    own: dict[int, Curves]
    published: dict[int, Curves]
    local: int
    again: tuple[dict[int, Curves], ...] = ()
    side: int = 0

    @property
    def losses(self) -> dict[int, list[float]]:
        """DB lost by `local` against the largest field, mean over noise levels, by training."""
        return {
            level: [
                mean([b - a for a, b in zip(by[self.local], by[max(by)], strict=True)])
                for by in (trained[level] for trained in (self.own, *self.again))
            ]
            for level in self.own
        }

    @property
    def lost(self) -> dict[int, float]:
        """Mean of them over trainings."""
        return {level: mean(losses) for level, losses in self.losses.items()}


def run(context: Context) -> Result:
    """PSNR by level, receptive field and noise level; ours, and as published."""
    return show(measure(context))


def measure(context: Context) -> Measured:
    """Denoise details of validation faces with every network, with the same noise."""
    scale = context.scale
    local = small_field(scale.fields)
    sigmas = tuple(sorted({*PUBLISHED_SIGMAS, *(s for s in scale.sigmas if s <= 100)}))
    images = context.faces.held_out(scale.images)

    def found(networks: Networks, fields: Sequence[int]) -> dict[int, Curves]:
        return {
            level: {
                field: details_psnr(
                    networks.multi_scale(field), images, level, sigmas, context.seed
                )
                for field in fields
            }
            for level in range(1, LEVELS + 1)
        }

    own = found(context.networks, scale.fields)
    again = tuple(found(others, (local, max(scale.fields))) for others in context.retrained)
    published = read_published(context.reference)
    return Measured(sigmas, own, published, local, again, images.shape[-1])


def decide(lost: dict[int, float], local: int, large: int) -> tuple[Verdict, str, dict[str, bool]]:
    """The verdict by the rule, what to put before the sentence, and the parts of the rule.

    Args:
        lost: by level, dB that `local` loses against `large`.
        local: the small receptive field.
        large: the largest one.
    """
    parts = {
        f"level {level}: {local}x{local} at most {LOSS} dB under {large}x{large}": loss <= LOSS
        for level, loss in lost.items()
    }
    return *judge_against(parts, max(-loss for loss in lost.values()), AHEAD), parts


def show(measured: Measured) -> Result:
    """Verdict, tables and curves."""
    own, published, lost = measured.own, measured.published, measured.lost
    local, large = measured.local, max(own[1])
    verdict, doubt, parts = decide(lost, local, large)
    phrase = ", ".join(
        f"level {level}: {plus_minus(losses)} dB" for level, losses in measured.losses.items()
    )
    tables = [_table("Own networks, validation faces", own, measured.sigmas)]
    panels = _panels("own", own, measured.sigmas)
    if published:
        title = "Published test values (CelebA, 160x160)"
        tables.append(_table(title, published, PUBLISHED_SIGMAS))
        panels |= _panels("published", published, PUBLISHED_SIGMAS)
    return Result(
        verdict,
        f"{doubt}{local}x{local} loses against {large}x{large}, mean over noise levels, {phrase} "
        f"({told(parts)}).",
        tables,
        [
            curves(
                "psnr",
                "Details given the clean low-pass image: PSNR by noise level.",
                panels,
                "σ of the details (8-bit units)",
                "PSNR (dB)",
                "x",
            )
        ],
        {
            "sigmas": list(measured.sigmas),
            "own": own,
            "published": published,
            "lost": lost,
            "lost by training": measured.losses,
        },
        [
            "Noise is added to details divided by 2 per level; the peak of the PSNR is 1. "
            "Published values are of other faces at a larger size, so only differences between "
            "receptive fields compare. Not every published network has a published value.",
            *_wide(large, measured.side),
        ],
    )


def _wide(field: int, side: int) -> list[str]:
    """A sentence, if a receptive field sees whole images."""
    sides = {level: side >> level for level in range(1, LEVELS + 1)}
    whole = [level for level, length in sides.items() if 0 < length <= field]
    if not whole:
        return []
    level = whole[0]
    return [
        f"The details of level {level} are {sides[level]}x{sides[level]}, so {field}x{field} sees "
        "all of them and the borders, which tell where in an aligned face a place is: that is more "
        "than a larger neighbourhood."
    ]


def _panels(
    whose: str, by: dict[int, Curves], sigmas: tuple[float, ...]
) -> dict[str, dict[str, tuple[Sequence[float], Sequence[float]]]]:
    return {
        f"level {level}, {whose}": {f"{f}x{f}": (sigmas, values) for f, values in fields.items()}
        for level, fields in by.items()
    }


def read_published(reference: Path | None) -> dict[int, Curves]:
    """`published_psnr.json` of the 160x160 family, by level and receptive field."""
    if reference is None:
        return {}
    files = [folder / "published_psnr.json" for folder in (reference, reference.parent)]
    file = next((file for file in files if file.is_file()), None)
    if file is None:
        return {}
    found: dict[int, Curves] = {}
    for name, values in json.loads(file.read_text()).items():
        if name.startswith("multi_scale/celebA_160x160_gray/") and "_scale_" in name:
            field = int(name.split("_RF_")[1].split("x")[0])
            level = int(name.rsplit("_", 1)[1]) + 1
            found.setdefault(level, {})[field] = [values[f"{s:g}"] for s in PUBLISHED_SIGMAS]
    return {level: dict(sorted(found[level].items())) for level in sorted(found)}


def _table(title: str, by: dict[int, Curves], sigmas: tuple[float, ...]) -> Table:
    rows: list[list[Cell]] = [
        [f"level {level}, {field}x{field}", *values]
        for level, fields in by.items()
        for field, values in fields.items()
    ]
    return Table(f"{title}: PSNR in dB", ["network", *(f"σ = {s:g}" for s in sigmas)], rows)


EXPERIMENT = Experiment(
    "levels",
    "Conditional denoisers, level by level",
    "At every level, a conditional denoiser of the details needs a small receptive field only "
    "(section 3).",
    f"Given the clean low-pass image, mean over noise levels and trainings, 9x9 is at most {LOSS} "
    f"dB under the largest receptive field at every level, on our networks. Not tested, if at "
    f"any level the largest is more than {AHEAD} dB behind 9x9: then it has not learnt enough.",
    run,
    ("faces",),
)

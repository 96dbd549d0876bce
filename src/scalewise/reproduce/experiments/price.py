"""No price for being multi-scale: local conditionals that correct the low-pass image, and flat."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from scalewise.prior import MultiScalePrior
from scalewise.reproduce.context import LEVELS, Context, published_families
from scalewise.reproduce.experiment import (
    AHEAD,
    Cell,
    Experiment,
    Figure,
    Result,
    Table,
    Verdict,
    judge_against,
)
from scalewise.reproduce.figures import curves
from scalewise.reproduce.measure import denoising_psnr, mean, operations_per_pixel
from scalewise.reproduce.scale import small_field

PRICE = 0.05
"""dB that the multi-scale denoiser may be under the flat one, at any noise level."""
NETWORKS = LEVELS + 1
AUTHORS = "multi-scale 9x9, authors' weights", "flat 43x43, authors' weights"
WIDER = 2
"""Width of the details' networks over that of the flat one, whose features have the most places."""


@dataclass(frozen=True)
class Measured:
    """Denoising by priors of the same total budget.

    Attributes:
        sigmas: noise levels in 8-bit units.
        psnr: in dB by prior, one value per noise level.
        operations: per pixel, by prior.
        small: PSNR of the flat denoiser of the small field, with the budget of one network.
        local: the small receptive field.
        large: the largest one.
        images: how many were denoised.
    """

    sigmas: tuple[float, ...]
    psnr: dict[str, list[float]]
    operations: dict[str, float]
    small: list[float]
    local: int
    large: int
    images: int

    @property
    def ours(self) -> str:
        """The multi-scale prior that decides."""
        return names(self.local, self.large)[0]

    @property
    def flat(self) -> str:
        """The flat one that it is compared with."""
        return names(self.local, self.large)[1]


def names(local: int, large: int) -> tuple[str, str]:
    """Names of the two priors that are compared."""
    return (
        f"multi-scale {local}x{local}, ours, {WIDER} times as wide",
        f"flat {large}x{large}, same total budget",
    )


def run(context: Context) -> Result:
    """PSNR of multi-scale 9x9, ours and the published form, and flat 43x43, by noise level."""
    return show(measure(context))


def measure(context: Context) -> Measured:
    """Denoise validation faces with every prior, with the same noise; count operations."""
    scale, networks = context.scale, context.networks
    local, large = small_field(scale.fields), max(scale.fields)
    images = context.faces.held_out(scale.images)
    ours, whole = names(local, large)
    priors: dict[str, MultiScalePrior] = {
        ours: networks.multi_scale(local, times=WIDER),
        f"multi-scale {local}x{local}, ours, as wide as flat": networks.multi_scale(local),
        f"multi-scale {local}x{local}, published form": networks.multi_scale(
            local, form="bias-free"
        ),
        whole: networks.flat(large, times=NETWORKS),
        f"flat {large}x{large}, budget of one network": networks.flat(large),
    }
    published = published_families(context)
    if published:
        priors[AUTHORS[0]] = published["multi-scale"][9]
        priors[AUTHORS[1]] = published["flat"][43]
    psnr = {
        name: denoising_psnr(prior, images, scale.sigmas, context.seed)
        for name, prior in priors.items()
    }
    small = denoising_psnr(networks.flat(local), images, scale.sigmas, context.seed)
    side = images.shape[-1]
    work = {name: operations_per_pixel(prior, side) for name, prior in priors.items()}
    return Measured(
        sigmas=scale.sigmas,
        psnr=psnr,
        operations=work,
        small=small,
        local=local,
        large=large,
        images=len(images),
    )


def prices(psnr: Mapping[str, list[float]], ours: str, flat: str) -> list[float]:
    """DB that `ours` is under `flat`, by noise level."""
    return [whole - own for whole, own in zip(psnr[flat], psnr[ours], strict=True)]


def decide(
    sigmas: tuple[float, ...], price: list[float], ahead: float
) -> tuple[Verdict, str, dict[str, bool]]:
    """The verdict by the rule, what to put before the sentence, and the parts of the rule.

    Args:
        sigmas: noise levels in 8-bit units.
        price: dB that ours is under the flat denoiser, by noise level.
        ahead: dB that flat 9x9 is better than flat 43x43, on the mean.
    """
    parts = {
        f"σ = {s:g}: at most {PRICE} dB under flat": p <= PRICE
        for s, p in zip(sigmas, price, strict=True)
    }
    return *judge_against(parts, ahead, AHEAD), parts


def show(measured: Measured) -> Result:
    """Verdict, table and curves."""
    psnr, work, sigmas = measured.psnr, measured.operations, measured.sigmas
    ours, flat = measured.ours, measured.flat
    price = prices(psnr, ours, flat)
    verdict, doubt, _ = decide(sigmas, price, mean(measured.small) - mean(psnr[flat]))
    rows: list[list[Cell]] = [
        [name, *values, mean(values), work[name]] for name, values in psnr.items()
    ]
    rows.append(["price: flat of the same total budget less ours", *price, mean(price), None])
    columns = ["denoiser", *(f"σ = {s:g}" for s in sigmas), "mean", "operations per pixel"]
    local, large = measured.local, measured.large
    sentence = (
        f"Multi-scale {local}x{local} of our form is {-mean(price):+.2f} dB from flat "
        f"{large}x{large} of the same total budget on the mean over noise levels, between "
        f"{-max(price):+.2f} and {-min(price):+.2f}, with "
        f"{100 * work[ours] / work[flat]:.0f} % of its operations per pixel"
    )
    if AUTHORS[0] in psnr:
        sentence += f"; with the authors' weights {-mean(prices(psnr, *AUTHORS)):+.2f}"
    return Result(
        verdict,
        f"{doubt}{sentence}.",
        [Table(f"PSNR in dB, {measured.images} validation faces", columns, rows)],
        [_curves(psnr, flat, sigmas)],
        {"sigmas": list(sigmas), "psnr": psnr, "price": price, "operations": work},
        [
            f"A multi-scale prior is {NETWORKS} networks, so the flat one of the same total budget "
            "was trained that much longer. Both are of one form and depth, and told the noise "
            "level; the published form and the authors' networks are blind. Half of each batch "
            "of ours learns to sample details given a clean low-pass image; all of the flat one's "
            "learns to denoise.",
        ],
    )


def _curves(psnr: Mapping[str, list[float]], flat: str, sigmas: tuple[float, ...]) -> Figure:
    less = {name: (sigmas, [-p for p in prices(psnr, name, flat)]) for name in psnr}
    return curves(
        "price",
        "PSNR less that of the flat denoiser of the same total budget.",
        {"": less},
        "σ (8-bit units)",
        "PSNR difference (dB)",
        "x",
    )


EXPERIMENT = Experiment(
    "price",
    "No price for being multi-scale",
    "A multi-scale denoiser whose local networks also correct the low-pass image pays nothing "
    "against a flat 43x43 one of the same budget (ours).",
    f"At every noise level, multi-scale 9x9 of our form, details {WIDER} times as wide (half the "
    f"resolution), is at most {PRICE} dB under flat 43x43 "
    "trained with the same total budget; partly, if at some levels. Not tested, if flat 9x9 with a "
    f"third of that budget is more than {AHEAD} dB better than it: then it has not learnt enough.",
    run,
    ("faces",),
)

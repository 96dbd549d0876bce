"""No price for being multi-scale: local conditionals that correct the low-pass image, and flat."""

from __future__ import annotations

from scalewise.prior import MultiScalePrior
from scalewise.reproduce.context import LEVELS, Context
from scalewise.reproduce.experiment import Cell, Experiment, Result, Table, judge_against
from scalewise.reproduce.experiments.denoising import AHEAD, imported, small_field
from scalewise.reproduce.figures import curves
from scalewise.reproduce.measure import denoising_psnr, mean, operations_per_pixel

PRICE = 0.05
"""dB that the multi-scale denoiser may be under the flat one, at any noise level."""
NETWORKS = LEVELS + 1
WIDER = 2
"""Width of the details' networks over that of the flat one, whose features have the most places."""


def run(context: Context) -> Result:
    """PSNR of multi-scale 9x9, ours and the published form, and flat 43x43, by noise level."""
    scale, networks = context.scale, context.networks
    local, large = small_field(scale.fields), max(scale.fields)
    images = context.faces.held_out(scale.images)
    ours = f"multi-scale {local}x{local}, ours, {WIDER} times as wide"
    whole = f"flat {large}x{large}, same total budget"
    priors: dict[str, MultiScalePrior] = {
        ours: networks.multi_scale(local, times=WIDER),
        f"multi-scale {local}x{local}, ours, as wide as flat": networks.multi_scale(local),
        f"multi-scale {local}x{local}, published form": networks.multi_scale(
            local, form="bias-free"
        ),
        whole: networks.flat(large, times=NETWORKS),
        f"flat {large}x{large}, budget of one network": networks.flat(large),
    }
    published = imported(context)
    if published:
        priors["multi-scale 9x9, authors' weights"] = published["multi-scale"][9]
        priors["flat 43x43, authors' weights"] = published["flat"][43]
    psnr = {
        name: denoising_psnr(prior, images, scale.sigmas, context.seed)
        for name, prior in priors.items()
    }
    price = [flat - own for flat, own in zip(psnr[whole], psnr[ours], strict=True)]
    parts = {
        f"σ = {s:g}: at most {PRICE} dB under flat": p <= PRICE
        for s, p in zip(scale.sigmas, price, strict=True)
    }
    side = images.shape[-1]
    work = {name: operations_per_pixel(prior, side) for name, prior in priors.items()}
    rows: list[list[Cell]] = [
        [name, *values, mean(values), work[name]] for name, values in psnr.items()
    ]
    rows.append(["price: flat of the same total budget less ours", *price, mean(price), None])
    columns = [
        "denoiser",
        *(f"σ = {s:g}" for s in scale.sigmas),
        "mean",
        "operations per pixel",
    ]
    sentence = (
        f"Multi-scale {local}x{local} of our form is {-mean(price):+.2f} dB from flat "
        f"{large}x{large} of the same total budget on the mean over noise levels, between "
        f"{-max(price):+.2f} and {-min(price):+.2f}, with "
        f"{100 * work[ours] / work[whole]:.0f} % of its operations per pixel"
    )
    if published:
        theirs = [
            flat - own
            for flat, own in zip(
                psnr["flat 43x43, authors' weights"],
                psnr["multi-scale 9x9, authors' weights"],
                strict=True,
            )
        ]
        sentence += f"; with the authors' weights {-mean(theirs):+.2f}"
    small = denoising_psnr(networks.flat(local), images, scale.sigmas, context.seed)
    verdict, doubt = judge_against(parts, mean(small) - mean(psnr[whole]), AHEAD)
    return Result(
        verdict,
        f"{doubt}{sentence}.",
        [Table(f"PSNR in dB, {len(images)} validation faces", columns, rows)],
        [
            curves(
                "price",
                "PSNR less that of the flat denoiser of the same total budget.",
                {
                    "": {
                        name: (scale.sigmas, [v - f for v, f in zip(by, psnr[whole], strict=True)])
                        for name, by in psnr.items()
                    }
                },
                "σ (8-bit units)",
                "PSNR difference (dB)",
                "x",
            )
        ],
        {"sigmas": list(scale.sigmas), "psnr": psnr, "price": price, "operations": work},
        [
            f"A multi-scale prior is {NETWORKS} networks, so the flat one of the same total budget "
            "was trained that much longer. Both are of one form and depth, and told the noise "
            "level; the published form and the authors' networks are blind. Half of each batch "
            "of ours learns to sample details given a clean low-pass image; all of the flat one's "
            "learns to denoise.",
        ],
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

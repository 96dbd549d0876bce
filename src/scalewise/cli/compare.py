"""`scalewise evaluate compare`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from scalewise.cli import options

if TYPE_CHECKING:
    from torch import Tensor

    from scalewise.noise_model import NoiseModel
    from scalewise.prior import MultiScalePrior


def compare(
    images: Annotated[
        Path,
        typer.Argument(
            metavar="IMAGES",
            help="Noisy images: a folder, a file, or an array.",
            show_default=False,
        ),
    ],
    model: options.Model = "photos",
    against: Annotated[
        str, typer.Option(metavar="MODEL", help="The other model: a folder, a name or a hub id.")
    ] = "photos-free",
    sigma: Annotated[
        float | None,
        typer.Option(
            min=0,
            callback=options.finite,
            help="Level of their white noise in 8-bit units; else it is estimated from each.",
            show_default=False,
        ),
    ] = None,
    noise: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.json",
            help="Their noise, as scalewise noise wrote it.",
            show_default=False,
        ),
    ] = None,
    crop: Annotated[
        int, typer.Option(min=32, help="Side of the middle of each image that is looked at.")
    ] = 512,
    seed: options.Seed = 0,
    device: options.Device = "auto",
    exact: options.Exact = False,
    json_file: options.JsonFile = None,
    force: options.Force = False,
) -> None:
    """Tell which of two models denoises images better of which no clean version exists.

    The error of each is estimated by Stein's formula from the noisy images alone, and the
    difference told with its standard error.

    Examples:
      scalewise evaluate compare cells/ --model mine --against photos
      scalewise evaluate compare cells/ --model mine --against photos --noise camera.json
    """
    from scalewise.cli.bench import Bench

    options.check_noise({"--sigma": sigma, "--noise": noise}, None, 0, 0)
    bench = Bench(images, model, device=device, exact=exact, json_file=json_file, force=force)
    from scalewise import store
    from scalewise.data.image_set import middle
    from scalewise.evaluation import compare_models, evaluate_unseen, means

    other = store.load(against, device=device, exact=exact or None)
    told = options.told_noise(sigma, noise)
    parts = {name: middle(image, crop) for name, image in bench.images.items()}
    models = {name: _noise_of(part, told, bench.prior, other) for name, part in parts.items()}
    records = []
    with bench.bar("comparing", 2) as bar:
        for name, prior in ((model, bench.prior), (against, other)):
            found = evaluate_unseen(prior, parts, models, seed=seed, callback=bar.step)
            records.append([record | {"model": name} for record in found])
    compared = compare_models(*records)
    words = compared.in_words(model, against)
    every = [record for each in records for record in each]
    columns = {"model": "model", "images": "count", "sigma": "sigma", "PSNR, estimated": "psnr"}
    facts = {"seed": seed, "against": against, "gain": compared.gain, "error": compared.error}
    bench.finish(every, means(every, "model"), columns, facts | {"words": words})
    typer.echo(words)


def _noise_of(
    image: Tensor, told: NoiseModel | None, first: MultiScalePrior, second: MultiScalePrior
) -> NoiseModel:
    """The noise of an image: what is told, or what the estimator of a model finds."""
    from scalewise.restore import find_noise

    if told is not None:
        return told
    estimator = first.estimator or second.estimator
    return find_noise(image, max(1, first.levels, second.levels), estimator=estimator)

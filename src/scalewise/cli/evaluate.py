"""`scalewise evaluate`: its commands; `compare` has a module of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from scalewise.cli import options
from scalewise.cli.compare import compare
from scalewise.cli.program import Command, Program, add, with_lines
from scalewise.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor

    from scalewise.calibration import Calibration
    from scalewise.cli.console import Record
    from scalewise.prior import MultiScalePrior

evaluate = typer.Typer(
    name="evaluate",
    cls=Program,
    no_args_is_help=True,
    rich_markup_mode=None,
    help=with_lines(
        "Measure a model on images.\n\n"
        "Example:\n  scalewise evaluate denoise images/ --sigma 15 25 50 --json scores.json"
    ),
)


class ManySigmas(Command):
    """A command that takes several values after one `--sigma`."""

    def parse_args(self, ctx: Any, args: list[str]) -> Any:
        """Parse, with `--sigma 15 25` read as `--sigma 15 --sigma 25`."""
        return super().parse_args(ctx, repeat_option(args, "--sigma"))


def repeat_option(args: list[str], option: str) -> list[str]:
    """Put an option's name before every number but the first that follows it."""
    repeated: list[str] = []
    values = -1  # since the option; -1: none is awaited
    for arg in args:
        if arg == option or arg.startswith(f"{option}="):
            values = int("=" in arg)
        elif values >= 0 and _is_number(arg):
            repeated += [option] if values else []
            values += 1
        else:
            values = -1
        repeated.append(arg)
    return repeated


def _is_number(arg: str) -> bool:
    try:
        float(arg)
    except ValueError:
        return False
    return True


def denoise(
    images: options.Images,
    sigma: Annotated[
        list[float] | None,
        typer.Option(
            min=0,
            callback=options.finite_all,
            metavar="FLOAT...",
            help="Noise levels to add, in 8-bit units.  [default: 15 25 50 100]",
            show_default=False,
        ),
    ] = None,
    told: Annotated[
        bool, typer.Option("--told", help="Tell the model the noise level; else it is blind.")
    ] = False,
    model: options.Model = "photos",
    seed: options.Seed = 0,
    device: options.Device = "auto",
    exact: options.Exact = False,
    json_file: options.JsonFile = None,
    force: options.Force = False,
) -> None:
    """Add noise to images, denoise them, and compare.

    Example:
      scalewise evaluate denoise photos/ --sigma 15 25 50 --json scores.json
    """
    from scalewise.cli.bench import Bench

    bench = Bench(images, model, device=device, exact=exact, json_file=json_file, force=force)
    from scalewise.evaluation import SIGMAS, evaluate_denoise, means

    levels = tuple(sigma or SIGMAS)
    with bench.bar("denoising", len(levels)) as bar:
        records = evaluate_denoise(
            bench.prior, bench.images, sigmas=levels, seed=seed, blind=not told, callback=bar.step
        )
    columns = {
        "sigma": "sigma",
        "images": "count",
        "PSNR noisy": "psnr_noisy",
        "PSNR": "psnr",
        "SSIM": "ssim",
        "sigma estimated": "sigma_estimated",
        "seconds": "seconds",
    }
    bench.finish(records, means(records, "sigma"), columns, {"seed": seed, "told": told})


def upscale(
    images: options.Images,
    factor: options.Factor = 2,
    samples: Annotated[
        int, typer.Option(min=1, max=9999, help="How many to draw of each image.")
    ] = 8,
    model: options.Model = "photos",
    seed: options.Seed = 0,
    device: options.Device = "auto",
    exact: options.Exact = False,
    json_file: options.JsonFile = None,
    force: options.Force = False,
) -> None:
    """Reduce images, super-resolve them, and compare.

    PSNR, SSIM, consistency with the input, and whether the samples' spread is their error.

    Example:
      scalewise evaluate upscale photos/ --factor 4 --json scores.json
    """
    from scalewise.cli.bench import Bench

    bench = Bench(images, model, device=device, exact=exact, json_file=json_file, force=force)
    from scalewise.evaluation import evaluate_upscale, means

    bench.prior.check_factor(factor)
    with bench.bar("upscaling", 1) as bar:
        records = evaluate_upscale(
            bench.prior, bench.images, factor=factor, samples=samples, seed=seed, callback=bar.step
        )
    columns = {
        "factor": "factor",
        "images": "count",
        "bicubic": "psnr_bicubic",
        "lanczos": "psnr_lanczos",
        "least squares": "psnr_least_squares",
        "mean of samples": "psnr_mean",
        "one sample": "psnr_sample",
        "calibration": "calibration",
        "seconds a sample": "seconds",
    }
    bench.finish(records, means(records, "factor"), columns, {"seed": seed})


def synthesize(
    images: Annotated[
        Path,
        typer.Argument(
            metavar="IMAGES",
            help="Images of one size that were not trained on: a folder or an array.",
            show_default=False,
        ),
    ],
    training: Annotated[
        Path | None,
        typer.Option(
            metavar="IMAGES",
            help="The training images, for the floor of distances and nearest neighbours.",
            show_default=False,
        ),
    ] = None,
    count: Annotated[
        int, typer.Option("--number", "-n", min=2, max=50_000, help="How many to draw.")
    ] = 256,
    model: options.Model = "faces",
    seed: options.Seed = 0,
    device: options.Device = "auto",
    exact: options.Exact = False,
    json_file: options.JsonFile = None,
    force: options.Force = False,
) -> None:
    """Draw images and compare them with real ones.

    Distances between the distributions, scale by scale, are sliced Wasserstein distances in
    standard deviations of the real images. With --training, `floor` is the distance of as many
    training images.

    Example:
      scalewise evaluate synthesize validation.npz --training training.npz --model faces
    """
    from scalewise.cli.bench import check_inputs, one_array
    from scalewise.cli.console import Bar, table

    check_inputs(images, training, json_file, force)
    from scalewise import store
    from scalewise.evaluation import evaluate_synthesize
    from scalewise.files import write_json

    prior = store.load(model, device=device, exact=exact or None)
    reference = one_array(images, prior.channels)
    known = None if training is None else one_array(training, prior.channels)
    if known is not None and known.shape[1:] != reference.shape[1:]:
        found, wanted = (f"{each.shape[-1]}x{each.shape[-2]}" for each in (known, reference))
        raise UsageError(f"{training}: images are {found}, but those of {images} are {wanted}")
    with Bar("synthesizing", -(-count // 64) * (prior.levels + 1)) as bar:
        record = evaluate_synthesize(
            prior, reference, training=known, count=count, seed=seed, callback=bar.step
        )
    floor = record.get("floor", {})
    rows = [
        (name, distance, floor.get(name, {}).get("mean"))
        for name, distance in record["distances"].items()
    ]
    typer.echo(table(("distance", "samples", "floor"), rows))
    if "nearest" in record:
        nearest = record["nearest"]["image"]
        rows = [(name, nearest[name]["0%"], nearest[name]["50%"]) for name in nearest]
        typer.echo("\n" + table(("nearest training image", "least", "median"), rows))
    if json_file is not None:
        write_json(json_file, {"model": model, "seed": seed, **record})


def likelihood(
    images: options.Images,
    sigma: Annotated[
        float | None,
        typer.Option(
            min=1e-3,
            callback=options.finite,
            help="Noise that smooths the coefficients, in 8-bit units.  [default: 0.242]",
            show_default=False,
        ),
    ] = None,
    model: options.Model = "photos",
    seed: options.Seed = 0,
    device: options.Device = "auto",
    exact: options.Exact = False,
    json_file: options.JsonFile = None,
    force: options.Force = False,
) -> None:
    """Tell how many bits per dimension images take under a model, scale by scale.

    Less is better. The parts add up to the total; `per coefficient` are the bits of each of a
    part's own numbers. From denoising errors over all noise levels down to that of --sigma.

    Example:
      scalewise evaluate likelihood validation.npz --model faces --json bits.json
    """
    from scalewise.cli.bench import Bench

    bench = Bench(images, model, device=device, exact=exact, json_file=json_file, force=force)
    from scalewise.evaluation import evaluate_likelihood, mean_bits
    from scalewise.likelihood import SIGMA_MIN

    sigma_min = SIGMA_MIN if sigma is None else sigma / 255
    with bench.bar("measuring", 1) as bar:
        records = evaluate_likelihood(
            bench.prior, bench.images, seed=seed, sigma_min=sigma_min, callback=bar.step
        )
    columns = {
        "part": "part",
        "images": "count",
        "bits per dimension": "bits",
        "standard error": "standard_error",
        "per coefficient": "per_coefficient",
    }
    settings = {"seed": seed, "sigma": 255 * sigma_min}
    bench.finish(records, mean_bits(records), columns, settings, digits=4)


def calibration(
    images: options.Images,
    sigma: Annotated[
        list[float] | None,
        typer.Option(
            min=0.1,
            callback=options.finite_all,
            metavar="FLOAT...",
            help="Noise levels to add, in 8-bit units.  [default: 15 25 50 100]",
            show_default=False,
        ),
    ] = None,
    samples: Annotated[
        int,
        typer.Option(
            min=0, max=9999, help="How many to draw for the intervals of each scale; 0 for none."
        ),
    ] = 8,
    crop: Annotated[
        int, typer.Option(min=16, help="Side of the middle part of every image that is looked at.")
    ] = 128,
    learn: Annotated[
        bool,
        typer.Option(
            "--learn",
            help="Learn the correction on these images and store it in the model's folder; "
            "measure it on others.",
        ),
    ] = False,
    factor: Annotated[
        int | None,
        typer.Option(
            metavar="2|4|8",
            help="Of enlargements by this instead of denoising.",
            show_default=False,
        ),
    ] = None,
    plot: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.svg|FILE.png",
            help="Also draw the reliability diagram: what intervals held over what they should.",
            show_default=False,
        ),
    ] = None,
    model: options.Model = "photos",
    seed: options.Seed = 0,
    device: options.Device = "auto",
    exact: options.Exact = False,
    json_file: options.JsonFile = None,
    force: options.Force = False,
) -> None:
    """Tell whether the uncertainty of denoising is true: how often intervals hold the truth.

    By noise level, by what is around a pixel, and by scale; with the width of 90 % intervals beside
    that of a baseline, whose intervals are errors of these very images scaled by local contrast.

    Examples:
      scalewise evaluate calibration photos/ --sigma 15 25 50 --json coverage.json
      scalewise evaluate calibration other-photos/ --model my-model --learn
      scalewise evaluate calibration photos/ --factor 2
      scalewise evaluate calibration photos/ --plot reliability.svg
    """
    _check_calibration(factor, sigma, samples)
    if plot is not None:
        _check_plot(plot, learn, force)
    from scalewise.cli.bench import Bench

    bench = Bench(images, model, device=device, exact=exact, json_file=json_file, force=force)
    from scalewise import store
    from scalewise.calibration import COVERAGES
    from scalewise.evaluation import (
        SIGMAS,
        evaluate_calibration,
        evaluate_upscaling_calibration,
        learn_calibration,
        learn_upscaling,
    )

    prior, pictures = bench.prior, bench.images
    if factor is not None:
        prior.check_factor(factor)
    if not prior.noise_conditional:
        raise UsageError(f"{model} is told no noise level: it has no uncertainty to measure")
    if learn and not Path(model).is_dir():
        raise UsageError(f"--learn writes into a model folder, and {model} is none; give its path")
    if factor is None:
        prior = _denoiser_of(pictures, prior, model, learn)
    levels = tuple(sigma or SIGMAS)
    given: dict[str, Any] = {"samples": samples, "seed": seed, "crop": crop}
    learnt_from: Callable[..., Calibration] = learn_calibration
    measured_on: Callable[..., list[Record]] = evaluate_calibration
    if factor is None:
        table, steps, given["sigmas"] = prior.calibration, len(levels), levels
    else:
        table, steps, given["factor"] = prior.upscaling.get(factor), 1, factor
        learnt_from, measured_on = learn_upscaling, evaluate_upscaling_calibration
    with bench.bar("learning" if learn else "measuring", steps) as bar:
        if learn:
            learnt = learnt_from(prior, pictures, callback=bar.step, **given)
            store.store_calibration(model, learnt, factor)
            typer.echo(f"{model}: learnt from {len(pictures)} images and stored")
            return
        records = measured_on(prior, pictures, callback=bar.step, **given)
    if plot is not None:
        _draw(records, plot)
    for record in records:
        record |= {f"{share} %": record["coverage"][share] for share in COVERAGES}
    columns = {name: name for name in ("by", "group", *(f"{share} %" for share in COVERAGES))}
    columns |= {"width of 90 %": "width", "baseline": "baseline"}
    settings = {
        "seed": seed,
        "crop": crop,
        "samples": samples,
        "calibrated": table is not None,
        "coverage": records[0]["coverage"],
    }
    bench.finish(records, records, columns, settings, digits=1)


def _check_calibration(factor: int | None, sigma: list[float] | None, samples: int) -> None:
    """Refuse levels of noise for enlargements, or too few samples of them."""
    if factor is not None and sigma:
        raise UsageError("--sigma is of denoising, --factor of enlargements; give one of them")
    if factor is not None and samples < 2:
        raise UsageError(f"--samples {samples}: an enlargement's uncertainty needs 2 or more")


def _check_plot(plot: Path, learn: bool, force: bool) -> None:
    """Refuse a diagram that nothing is measured for, or that cannot be written."""
    from scalewise.evaluation.reliability import check_matplotlib
    from scalewise.files import check_writable

    if learn:
        raise UsageError("--learn measures nothing to draw; give --plot without it")
    if plot.suffix.lower() not in (".svg", ".png"):
        raise UsageError(f"--plot {plot}: give a name that ends in .svg or .png")
    check_writable(plot, force=force)
    check_matplotlib()


def _draw(records: list[Record], plot: Path) -> None:
    """Write the reliability diagram."""
    from scalewise.evaluation import reliability_diagram
    from scalewise.evaluation.reliability import figure_bytes
    from scalewise.files import write_whole

    kind = plot.suffix.lower().removeprefix(".")
    write_whole(plot, figure_bytes(reliability_diagram(records), plot.stem, kind))


def _denoiser_of(
    images: Mapping[str, Tensor], prior: MultiScalePrior, model: str, learn: bool
) -> MultiScalePrior:
    """The prior that denoises these images; of gray ones perhaps another, which learns alone."""
    one = prior.denoiser_of(max(len(image) for image in images.values()))
    if learn and one is not prior:
        raise UsageError(
            f"the images are gray, and another model denoises those in the place of {model} "
            f"(scalewise info {model} names it): --learn for that one"
        )
    return one


add(evaluate, denoise, cls=ManySigmas)
add(evaluate, upscale)
add(evaluate, synthesize)
add(evaluate, likelihood)
add(evaluate, calibration, cls=ManySigmas)
add(evaluate, compare)

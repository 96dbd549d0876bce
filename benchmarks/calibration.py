"""Whether uncertainty is true: coverage of intervals, their width, bounds.

    python -m benchmarks.calibration --model path/of/photos --learn
    python -m benchmarks.calibration --model photos
    python -m benchmarks.calibration --plot docs/images/reliability.svg
    python -m benchmarks.calibration --model photos --picture docs/images/uncertainty.jpg

The first command learns the correction on every second validation photograph and stores it in the
model's folder; the second measures it on the others; the third draws what was measured. With
`--factors 2 4 8` the same of enlargements. The middle 96x96 of every photograph is looked at.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.common import DATA, RESULTS, facts, load_prior, read_images, read_json, write_json
from scalewise.data.photos import sample_photo
from scalewise.evaluation import (
    evaluate_calibration,
    evaluate_upscaling_calibration,
    learn_calibration,
    learn_upscaling,
    reliability_diagram,
    sheet,
)
from scalewise.evaluation.reliability import figure_bytes
from scalewise.files import write_whole
from scalewise.images import Picture, write_image
from scalewise.posterior import DRAWS
from scalewise.prior import MultiScalePrior
from scalewise.store import store_calibration

CROP = 96
"""Side of the middle parts of images."""

SIGMAS = (5.0, 15.0, 25.0, 50.0, 100.0)
"""Noise levels, in 8-bit units."""


def picture(prior: MultiScalePrior, file: Path) -> None:
    """A noisy photo, the mean, the sharp estimate, two samples, and the deviation, as a sheet."""
    clean = sample_photo("astronaut")[:, :192, 128:320]
    noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))
    posterior = prior.posterior((clean + 50 / 255 * noise)[None], 50 / 255)
    deviation = posterior.variance().sqrt().mean(1, keepdim=True).expand(-1, 3, -1, -1)
    columns: list[Tensor] = [
        posterior.noisy,
        posterior.mean(),
        posterior.faithful(0.5),
        *posterior.samples(2),
        deviation / deviation.max(),
    ]
    drawn = sheet([[column[0] for column in columns]])
    write_image(file, Picture(drawn[None]), force=True, quality=92)


def enlargements(
    prior: MultiScalePrior, images: dict[str, Tensor], options: argparse.Namespace
) -> None:
    """Learn or measure the intervals of enlargements."""
    records = []
    for factor in options.factors:
        print(f"factor {factor}", flush=True)
        if options.learn:
            table = learn_upscaling(prior, images, factor=factor, crop=CROP)
            store_calibration(options.model, table, factor)
            continue
        found = evaluate_upscaling_calibration(prior, images, factor=factor, crop=CROP)
        records += [{**record, "factor": factor} for record in found]
    if not options.learn:
        out = options.out or RESULTS / "calibration-upscaling.json"
        settings = {"images": len(images), "crop": CROP, "samples": DRAWS}
        write_json(
            out, {**facts(), "model": Path(options.model).name, **settings, "records": records}
        )


def main() -> None:
    """Learn, or measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="photos")
    parser.add_argument("--photos", type=Path, default=DATA / "photos" / "validation")
    parser.add_argument("--learn", action="store_true")
    parser.add_argument("--samples", type=int, default=4)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--picture", type=Path)
    parser.add_argument("--plot", type=Path, help="draw what was measured before: an SVG")
    parser.add_argument("--factors", type=int, nargs="+", help="of enlargements instead")
    parser.add_argument("--out", type=Path, help="by default in benchmarks/results")
    options = parser.parse_args()
    if options.plot:
        records = read_json(options.out or RESULTS / "calibration.json")["records"]
        write_whole(options.plot, figure_bytes(reliability_diagram(records), "reliability"))
        return
    prior = load_prior(options.model, options.device)
    if options.picture:
        picture(prior, options.picture)
        return
    images = read_images(options.photos, 3)
    names = list(images)[0 if options.learn else 1 :: 2]
    half = {name: images[name] for name in names}
    if options.factors:
        enlargements(prior, half, options)
        return
    if options.learn:
        learnt = learn_calibration(prior, half, sigmas=SIGMAS, samples=options.samples, crop=CROP)
        store_calibration(options.model, learnt)
        return
    records = evaluate_calibration(prior, half, sigmas=SIGMAS, samples=options.samples, crop=CROP)
    settings = {"images": len(half), "samples": options.samples, "crop": CROP}
    settings["coverage"] = records[0]["coverage"]
    out = options.out or RESULTS / "calibration.json"
    write_json(out, {**facts(), "model": Path(options.model).name, **settings, "records": records})


if __name__ == "__main__":
    main()

"""Super-resolution by a prior, by two and by four, beside bicubic and Lanczos interpolation.

    python -m benchmarks.upscaling --model photos

The small images are the low-pass images of the sharp ones: means of 2x2 and of 4x4 pixels.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks.common import DATA, RESULTS, facts, load_prior, read_images, write_json
from scalewise.evaluation import Record, evaluate_upscale, means


def main(arguments: list[str] | None = None) -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--model", default="photos", help="packaged name or folder")
    parser.add_argument("--photos", type=Path, default=DATA / "photos" / "validation")
    parser.add_argument("--set5", type=Path, default=DATA / "eval" / "set5")
    parser.add_argument("--images", type=int, default=20, help="at most so many of each set")
    parser.add_argument("--factor", type=int, nargs="+", default=[2, 4])
    parser.add_argument("--samples", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", type=Path, default=RESULTS / "upscaling.json")
    options = parser.parse_args(arguments)
    prior = load_prior(options.model, options.device)
    made = {"model": options.model, "seed": options.seed, **facts(options.device)}
    records: list[Record] = []
    for kind, folder in (("photos", options.photos), ("Set5", options.set5)):
        images = read_images(folder, 3, options.images)
        for factor in options.factor:

            def add(record: Record, kind: str = kind) -> None:
                records.append({"set": kind, **record})
                words = [f"{name} {record[f'psnr_{name}']:.2f}" for name in ("bicubic", "mean")]
                words.append(f"least squares {record['psnr_least_squares']:.2f}")
                print(f"{kind:8} {record['image']:14} x{record['factor']}", *words, flush=True)
                averages = means(records, "set", "factor")
                content = {"benchmark": "upscaling", "units": "dB", **made}
                write_json(options.json, {**content, "means": averages, "records": records})

            evaluate_upscale(
                prior,
                images,
                factor=factor,
                samples=options.samples,
                seed=options.seed,
                callback=add,
            )


if __name__ == "__main__":
    main()

"""What the mean of the estimates of an image mirrored and turned gains.

    python -m benchmarks.averaging

The noise is white and its level told. The middles of Set12 in gray and of validation photographs in
colour; the time is that of so many estimates.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.common import DATA, RESULTS, facts, load_prior, read_images, write_json
from scalewise import restore
from scalewise.data.image_set import middle
from scalewise.evaluation import add_noise, compare, means
from scalewise.prior import MultiScalePrior
from scalewise.restore.averaging import estimates

COUNTS = (1, 2, 4, 8)
CROP = 256


def measured(prior: MultiScalePrior, clean: Tensor, sigma: float, index: int) -> list[Any]:
    """PSNR and SSIM of all counts on one image; `sigma` in 8-bit units.

    The first so many of eight estimates are those that a smaller mean is of.
    """
    noisy = add_noise(clean, sigma / 255, 0, index)

    def denoise(images: Tensor) -> Tensor:
        return restore.denoise_plane(images[0], prior, noise=sigma / 255)[0][None]

    found = torch.stack(list(estimates(denoise, noisy[None], COUNTS[-1])))
    return [{"average": n, **compare(clean, found[:n].mean(0)[0])} for n in COUNTS]


def main(arguments: list[str] | None = None) -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--model", default="photos")
    parser.add_argument("--set12", type=Path, default=DATA / "eval" / "set12")
    parser.add_argument("--photos", type=Path, default=DATA / "photos" / "validation")
    parser.add_argument("--images", type=int, default=12, help="at most so many of each set")
    parser.add_argument("--sigma", type=float, nargs="+", default=[15, 25, 50])
    parser.add_argument("--json", type=Path, default=RESULTS / "averaging.json")
    options = parser.parse_args(arguments)
    prior = load_prior(options.model, "cpu")
    sets = {
        "Set12": read_images(options.set12, 1, options.images),
        "photos": read_images(options.photos, 3, options.images),
    }
    records = []
    for kind, images in sets.items():
        for index, (name, image) in enumerate(images.items()):
            clean = middle(image, CROP)
            for sigma in options.sigma:
                head = {"set": kind, "image": name, "sigma": sigma}
                records += [head | one for one in measured(prior, clean, sigma, index)]
            print(
                kind, name, *(f"{one['psnr']:.2f}" for one in records[-len(COUNTS) :]), flush=True
            )
        content = {"benchmark": "averaging", "model": options.model, "crop": CROP}
        averages = means(records, "set", "sigma", "average")
        write_json(
            options.json, content | {"facts": facts(), "means": averages, "records": records}
        )


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()

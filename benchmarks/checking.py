"""How well the PSNR of pictures that other tools cleaned is told without the truth.

    python -m benchmarks.checking --model photos

Whole validation photographs with white noise that is told, as `scalewise check --sigma` looks at
them. One image at a time is measured, and what is in the JSON file is kept, so a run that was
killed goes on.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.common import DATA, RESULTS, facts, load_prior, read_images, read_json, write_json
from benchmarks.restoration import OTHERS
from scalewise import restore
from scalewise.evaluation import Record, add_noise
from scalewise.images import Picture
from scalewise.metrics import psnr
from scalewise.noise_model import NoiseModel
from scalewise.prior import MultiScalePrior
from scalewise.restore.checking import checker

OURS = "Scalewise"


def checked(prior: MultiScalePrior, clean: Tensor, sigma: float, index: int) -> list[Record]:
    """PSNR told and true, of every tool on one image (C, H, W); `sigma` in 8-bit units."""
    noisy = add_noise(clean, sigma / 255, 0, index)
    array = noisy.movedim(0, -1).squeeze(-1).double().numpy()
    cleaned = {OURS: restore.denoise_plane(noisy, prior, noise=sigma / 255)[0]}
    for method, function in OTHERS.items():
        found = function(array, sigma / 255).reshape(*array.shape[:2], -1)
        cleaned[method] = torch.from_numpy(found).movedim(-1, 0).to(noisy)
    look = checker(Picture(noisy[None]), prior, noise=NoiseModel.white(sigma / 255))
    records = []
    for method, image in cleaned.items():
        check = look(Picture(image[None]))
        true = psnr(clean[None], image[None]).item()
        records.append({"method": method, "true": true, "told": check.psnr, "bound": check.bound})
    return records


def summary(records: Iterable[Record]) -> list[Record]:
    """By method and level: how far off the PSNR is in half and in 95 % of images, in dB."""
    groups: dict[tuple[str, float], list[Record]] = {}
    for record in records:
        groups.setdefault((record["method"], record["sigma"]), []).append(record)
    rows = []
    for (method, sigma), found in groups.items():
        over = np.array([record["told"] - record["true"] for record in found])
        held = [record["true"] >= record["bound"] for record in found if record["bound"]]
        row: dict[str, Any] = {"method": method, "sigma": sigma, "images": len(found)}
        row |= {"psnr": float(np.mean([record["true"] for record in found]))}
        row |= {"median": float(np.median(abs(over))), "most": float(np.quantile(abs(over), 0.95))}
        row |= {"over": float(over.mean()), "within": float((abs(over) <= 0.1).mean())}
        rows.append(row | {"bound_holds": float(np.mean(held)) if held else None})
    return rows


def main(arguments: list[str] | None = None) -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--model", default="photos")
    parser.add_argument("--photos", type=Path, default=DATA / "photos" / "validation")
    parser.add_argument("--channels", type=int, choices=(1, 3), default=3)
    parser.add_argument("--images", type=int, default=20)
    parser.add_argument("--sigma", type=float, nargs="+", default=[15, 25, 50])
    parser.add_argument("--json", type=Path, default=RESULTS / "checking.json")
    options = parser.parse_args(arguments)
    prior = load_prior(options.model, "cpu")
    images = read_images(options.photos, options.channels, options.images)
    records: list[Record] = read_json(options.json).get("records", [])
    done = {(record["image"], record["sigma"]) for record in records}
    for index, (name, clean) in enumerate(images.items()):
        for sigma in options.sigma:
            if (name, sigma) in done:
                continue
            head = {"image": name, "size": list(clean.shape), "sigma": sigma}
            records += [head | record for record in checked(prior, clean, sigma, index)]
            print(records[-len(OTHERS) - 1 :], flush=True)
            content = {"benchmark": "checking", "model": Path(options.model).name, **facts()}
            rows = summary(records)
            write_json(options.json, content | {"rows": rows, "records": records})


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()

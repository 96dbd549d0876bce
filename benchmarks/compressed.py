"""Enlargement of small JPEGs: bicubic, ours with the file's losses ignored, and taken into account.

    python -m benchmarks.compressed --model photos

Middle parts of validation photographs, reduced to half by Pillow's bicubic filter and compressed at
quality 75 with chroma subsampled. Nothing of the method was chosen on them.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from benchmarks.common import DATA, RESULTS, facts, load_prior, read_images, write_json
from scalewise.evaluation import sheet
from scalewise.images import Picture, read_coefficients, read_image, write_image
from scalewise.metrics import psnr
from scalewise.prior import MultiScalePrior
from scalewise.restore import enlarge

QUALITY = 75


def measure(
    prior: MultiScalePrior, image: torch.Tensor, side: int, folder: Path
) -> tuple[dict[str, Any], list[torch.Tensor]]:
    """PSNR of the three ways, the share of coefficients that each agrees with, and the images."""
    top, left = ((whole - side) // 2 for whole in image.shape[-2:])
    clean = image[None, :, top : top + side, left : left + side]
    values = (255 * clean[0]).round().to(torch.uint8).permute(1, 2, 0).numpy()
    file = folder / "small.jpg"
    half = (side // 2, side // 2)
    Image.fromarray(values).resize(half, Image.Resampling.BICUBIC).save(file, quality=QUALITY)
    small, held = read_image(file), read_coefficients(file)
    found = {
        "bicubic": F.interpolate(small.pixels, size=(side, side), mode="bicubic").clamp(0, 1),
        "ignored": enlarge(small, (side, side), "bicubic", prior, samples=None).picture.pixels,
        "accounted": enlarge(
            small, (side, side), "bicubic", prior, samples=None, jpeg=held
        ).picture.pixels,
    }
    row: dict[str, Any] = {}
    for name, pixels in found.items():
        row[name] = float(psnr(clean, pixels, clip=True))
        again = (255 * pixels[0]).clamp(0, 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
        other = folder / "again.jpg"
        reduced = Image.fromarray(again).resize(half, Image.Resampling.BICUBIC)
        reduced.save(other, quality=QUALITY)
        off = (read_coefficients(other).values - held.values) / held.steps
        row[f"{name}, same coefficients"] = float(np.mean((off.abs() < 0.5).numpy()))
    return row, [clean[0], *(each[0] for each in found.values())]


def main() -> None:
    """Measure, and write the JSON file and a sheet."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="photos")
    parser.add_argument("--images", type=int, default=4)
    parser.add_argument("--side", type=int, default=96, help="of the large images")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--photos", type=Path, default=DATA / "photos" / "validation")
    parser.add_argument("--sheet", type=Path, help="where to draw the images")
    parser.add_argument("--out", type=Path, default=RESULTS / "compressed.json")
    options = parser.parse_args()
    prior = load_prior(options.model, options.device)
    rows, shown = [], []
    with tempfile.TemporaryDirectory() as folder:
        for title, image in read_images(options.photos, 3, options.images).items():
            row, images = measure(prior, image, options.side, Path(folder))
            rows.append({"image": title, **row})
            shown.append(images)
            print(rows[-1], flush=True)
    write_json(options.out, {**facts(), "quality": QUALITY, "side": options.side, "images": rows})
    if options.sheet:
        write_image(options.sheet, Picture(sheet(shown)[None]), force=True)


if __name__ == "__main__":
    main()

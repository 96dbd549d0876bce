"""Denoising of noise as cameras and microscopes make it: blind, beside others at their best.

    python -m benchmarks.restoration --model photos

Simulated cameras take the pictures of McMaster, a simulated microscope the clean frames of the real
one; real pairs are those of a camera and of a microscope. Scalewise is blind, and for comparison
told the true spectrum of the noise. The others get the best of three strengths for every single
image, chosen by the truth, which no user has. Nothing of Scalewise was chosen on these images.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.common import (
    DATA,
    RESULTS,
    facts,
    load_prior,
    read_images,
    read_json,
    write_json,
)
from benchmarks.denoising import bm3d, non_local_means
from scalewise.data.photos import sample_photo
from scalewise.evaluation import sheet
from scalewise.images import Intensities, Picture, write_image
from scalewise.images.srgb import to_linear, to_srgb
from scalewise.metrics import psnr
from scalewise.prior import MultiScalePrior
from scalewise.restore import denoise, spectrum_of
from scalewise.training.camera import Camera

STRENGTHS = (0.7, 1.0, 1.5)
"""Levels that the others are told, over the true deviation of the noise."""

CAMERAS = {
    "photons, linear": Camera(electrons=200),
    "photons, Bayer": Camera(electrons=200, bayer=True),
    "JPEG, middle ISO": Camera(electrons=600, bayer=True, tone=True, quality=92),
    "JPEG, high ISO": Camera(electrons=120, bayer=True, tone=True, quality=88),
    "soft lens, JPEG, high ISO": Camera(electrons=120, bayer=True, tone=True, quality=88, lens=0.9),
}
"""Cameras by name."""

Pair = tuple[str, Tensor, Tensor]
"""Name, noisy and clean image, (C, H, W) in [0, 1]."""


ROUNDING = 1e-4
"""What numbers of the baselines, which are read back from the file, are rounded to, in dB."""


def total_variation(noisy: np.ndarray, sigma: float) -> np.ndarray:
    """Chambolle's total variation of scikit-image, of a weight in proportion to the noise."""
    from skimage.restoration import denoise_tv_chambolle

    axis = None if noisy.ndim == 2 else -1
    return np.asarray(denoise_tv_chambolle(noisy, weight=1.2 * sigma, channel_axis=axis))


OTHERS: dict[str, Callable[[np.ndarray, float], np.ndarray]] = {
    "non-local means": non_local_means,
    "total variation": total_variation,
    "BM3D": bm3d,
}


def white(scene: Tensor, seed: int, blur: bool) -> Tensor:
    """A scene with white noise of 25, which may go through [1 2 1] / 4 along both axes."""
    noise = torch.randn(scene.shape, generator=torch.Generator().manual_seed(seed))
    if blur:
        kernel = torch.tensor([0.25, 0.5, 0.25])
        padded = F.pad(noise[:, None], [1] * 4, "reflect")
        noise = F.conv2d(padded, kernel.outer(kernel)[None, None])[:, 0]
    return scene + 25 / 255 * noise


def simulated(scenes: dict[str, Tensor]) -> Iterator[tuple[str, list[Pair]]]:
    """Every set of pictures of scenes (3, H, W)."""
    for name, blur in (("white, 25", False), ("white 25, blurred", True)):
        yield name, [(key, white(s, i, blur), s) for i, (key, s) in enumerate(scenes.items())]
    for name, camera in CAMERAS.items():
        pairs = []
        for seed, (key, scene) in enumerate(scenes.items()):
            shown = scene if camera.tone else to_linear(scene)
            taken = camera.take(shown, torch.Generator().manual_seed(seed))
            pairs.append((key, taken, camera.scene(shown)))
        yield name, pairs


def microscope(frames: dict[str, Tensor]) -> list[Pair]:
    """Dark planes of 12 bits: frames (1, H, W) of 300 counts at most, over an offset."""
    pairs = []
    for seed, (key, frame) in enumerate(frames.items()):
        generator = torch.Generator().manual_seed(seed)
        electrons = 300 * frame
        counts = torch.poisson(electrons, generator)
        counts = counts + 2 * torch.randn(counts.shape, generator=generator)
        pairs.append((key, (100 + 2 * counts).round() / 65535, (100 + 2 * electrons) / 65535))
    return pairs


def real(folder: Path) -> Iterator[tuple[str, list[Pair]]]:
    """The pairs of the real camera and microscope; the latter's clean frames are matched."""
    for kind, channels in (("camera", 3), ("microscope", 1)):
        images = read_images(folder / kind, channels)
        fits: dict[int, tuple[float, float]] = {}
        table = folder / kind / "gain_offset.csv"
        if table.exists():
            rows = csv.DictReader(table.read_text().splitlines())
            fits = {int(r["pair"]): (float(r["gain"]), float(r["offset"]) / 255) for r in rows}
        pairs = []
        for name in sorted(images):
            if name.endswith("_noisy.png"):
                key = name.removesuffix("_noisy.png")
                gain, offset = fits.get(int(key), (1.0, 0.0))
                pairs.append((key, images[name], images[f"{key}_clean.png"] * gain + offset))
        yield f"real {kind}", pairs


class Scale:
    """From stored values to intensities; of dark pictures black and white are found in them."""

    def __init__(self, noisy: Tensor, clean: Tensor) -> None:
        self.peak, self.black, self.span = 1.0, 0.0, 1.0
        if float(clean.max()) < 0.1:
            self.peak, self.black = float(clean.max()), float(noisy.quantile(0.001))
            self.span = float(noisy.max()) - self.black

    def of(self, stored: Tensor) -> Tensor:
        """Intensities of stored values."""
        return (stored - self.black) / self.span

    def psnr(self, clean: Tensor, estimate: Tensor) -> float:
        """PSNR in dB of intensities against stored values; the peak is 1, or the brightest."""
        stored = self.black + self.span * estimate
        return psnr(clean[None] / self.peak, stored[None] / self.peak).item()


def ours(prior: MultiScalePrior, noisy: Tensor, clean: Tensor) -> dict[str, Any]:
    """PSNR of Scalewise, blind and told the spectrum of what is wrong; what it found."""
    scale = Scale(noisy, clean)
    seen, levels = scale.of(noisy), max(1, prior.levels)
    picture = Picture(seen[None], depth="float32", intensities=Intensities())
    blind = denoise(picture, prior)
    told = denoise(picture, prior, noise=spectrum_of(seen - scale.of(clean), levels))
    return {
        "blind": scale.psnr(clean, blind.picture.pixels[0]),
        "told": scale.psnr(clean, told.picture.pixels[0]),
        "found": blind.noise[0].in_words(),
    }


def others(noisy: Tensor, clean: Tensor) -> dict[str, float]:
    """PSNR of the noisy image and of the other methods, each at the best of its strengths."""
    scale = Scale(noisy, clean)
    seen = scale.of(noisy)
    deviation = float((seen - scale.of(clean)).square().mean().sqrt())
    array = seen.movedim(0, -1).squeeze(-1).double().numpy()
    found = {"noisy": scale.psnr(clean, seen)}
    for method, function in OTHERS.items():
        results = []
        for strength in STRENGTHS:
            estimate = function(array, strength * deviation).reshape(*array.shape[:2], -1)
            results.append(scale.psnr(clean, torch.from_numpy(estimate).movedim(-1, 0).to(noisy)))
        found[method] = max(results)
    return found


def main(arguments: list[str] | None = None) -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--model", help="packaged name or folder; without, the others alone")
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--count", type=int, default=4, help="scenes and frames of every set")
    parser.add_argument("--side", type=int, default=256, help="of their central crops")
    parser.add_argument("--json", type=Path, default=RESULTS / "restoration.json")
    parser.add_argument("--picture", type=Path, help="also draw two examples")
    options = parser.parse_args(arguments)
    prior = None if options.model is None else load_prior(options.model, "cpu")
    known = {
        (row["set"], record["image"]): record
        for row in read_json(options.json).get("rows", ())
        for record in row["records"]
    }
    rows = []
    for name, pairs in every_set(options.data, options.count, options.side).items():
        records = []
        for image, noisy, clean in pairs:
            record = dict(known.get((name, image), {"image": image}))
            if "BM3D" not in record:
                record |= others(noisy, clean)
            if prior is not None:
                record |= ours(prior, noisy, clean)
            records.append(record)
        keys = [key for key in records[0] if key not in ("image", "found")]
        row: dict[str, Any] = {"set": name, "images": len(records)}
        row |= {key: float(np.mean([record[key] for record in records])) for key in keys}
        if prior is not None:
            row["worse"] = sum(record["blind"] < record["noisy"] - ROUNDING for record in records)
        rows.append(row | {"records": records})
        print({k: round(v, 2) if isinstance(v, float) else v for k, v in row.items()}, flush=True)
    content: dict[str, Any] = {"benchmark": "restoration", "model": options.model, **facts("cpu")}
    write_json(options.json, {**content, "rows": rows})
    if prior is not None and options.picture is not None:
        draw(prior, options.picture)


def draw(prior: MultiScalePrior, file: Path) -> None:
    """A picture for the docs: what two cameras make of a photo, and what becomes of it."""
    photo = sample_photo("coffee")[:, 60:340, 130:450]
    rows = []
    for name in ("JPEG, high ISO", "photons, linear"):
        camera = CAMERAS[name]
        scene = photo if camera.tone else to_linear(photo)
        noisy = camera.take(scene, torch.Generator().manual_seed(0))
        cleaned = denoise(Picture(noisy[None], depth="float32"), prior).picture.pixels[0]
        shown = (noisy, cleaned, scene) if camera.tone else map(to_srgb, (noisy, cleaned, scene))
        rows.append([image.clamp(0, 1) for image in shown])
    drawn = sheet(rows, titles=("noisy", "Scalewise, blind", "without noise"))
    write_image(file, Picture(drawn), force=True)


def every_set(data: Path, count: int, side: int) -> dict[str, list[Pair]]:
    """All sets, of central crops."""

    def crops(images: dict[str, Tensor]) -> dict[str, Tensor]:
        return {name: central(image, side) for name, image in images.items()}

    sets = dict(simulated(crops(read_images(data / "eval" / "mcmaster", 3, count))))
    frames = crops(read_images(data / "realnoise" / "microscope", 1))
    clean = [(name, image) for name, image in frames.items() if name.endswith("_clean.png")]
    sets["microscope, 12 bits"] = microscope(dict(clean[:count]))
    for name, pairs in real(data / "realnoise"):
        sets[name] = [(key, central(n, side), central(c, side)) for key, n, c in pairs]
    return sets


def central(image: Tensor, side: int) -> Tensor:
    """The middle of an image (C, H, W), at even places."""
    top, left = (max(0, (size - side) // 2) // 2 * 2 for size in image.shape[1:])
    return image[:, top : top + side, left : left + side]


if __name__ == "__main__":
    main()

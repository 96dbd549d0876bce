"""Denoising of noise as cameras and microscopes make it: blind, and told the truth, beside others.

    python -m benchmarks.restoration --model photos

Simulated cameras take the pictures of McMaster, a simulated microscope the clean frames of the real
one; real pairs are those of a camera and of a microscope. Scalewise is blind, and for comparison
told the truth: the spectrum of all that is wrong; and that of the noise alone, with how it depends
on the light. The others are blind, told what scikit-image estimates; and at the best of three
strengths for every single image, chosen by the truth, which no user has. BM3D is told the spectrum
of blurred noise, too. What they gave is kept in the JSON file. Nothing of Scalewise was chosen on
these images.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

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
from scalewise.noise_model import REFERENCE, NoiseModel
from scalewise.prior import MultiScalePrior
from scalewise.restore import denoise, spectrum_of
from scalewise.restore.lights import light_line
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

NODES, BINS = 9, 10
"""Intensities of a curve that is told, and parts by brightness that one is measured in."""

SMOOTHING = torch.tensor([0.25, 0.5, 0.25])
"""[1 2 1] / 4, which noise is blurred by along both axes."""


class Pair(NamedTuple):
    """A noisy picture, and the truth.

    Attributes:
        name: of the picture.
        noisy, clean: shape (C, H, W) of stored values in [0, 1].
        growth: deviation of noise by the clean stored value, any shape; None if it is the same.
        shared: whether pixels share noise, so that it has a spectrum.
        blurred: deviation of white noise that went through `SMOOTHING`, 0 where there is none.
        still: what the camera gives without noise, its mosaic and compression alone; else `clean`.
    """

    name: str
    noisy: Tensor
    clean: Tensor
    growth: Callable[[Tensor], Tensor] | None = None
    shared: bool = True
    blurred: float = 0.0
    still: Tensor | None = None


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


def smoothed(image: Tensor) -> Tensor:
    """An image (C, H, W) through `SMOOTHING`, mirrored at its borders."""
    padded = F.pad(image[:, None], [1] * 4, "reflect")
    return F.conv2d(padded, SMOOTHING.outer(SMOOTHING)[None, None])[:, 0]


def white(name: str, scene: Tensor, seed: int, sigma: float = 25 / 255) -> Pair:
    """A scene with white noise."""
    noise = torch.randn(scene.shape, generator=torch.Generator().manual_seed(seed))
    return Pair(name, scene + sigma * noise, scene, shared=False)


def blurred_white(name: str, scene: Tensor, seed: int, sigma: float) -> Pair:
    """A scene with white noise of a deviation that was blurred."""
    noise = torch.randn(scene.shape, generator=torch.Generator().manual_seed(seed))
    return Pair(name, scene + sigma * smoothed(noise), scene, blurred=sigma)


def taken(name: str, scene: Tensor, seed: int, camera: Camera) -> Pair:
    """What a camera takes of a scene in sRGB."""
    shown = scene if camera.tone else to_linear(scene)
    return Pair(
        name,
        camera.take(shown, torch.Generator().manual_seed(seed)),
        camera.scene(shown),
        camera.noise_at,
        shared=camera.bayer,
        still=camera.take(shown, None),
    )


def simulated(scenes: dict[str, Tensor]) -> Iterator[tuple[str, list[Pair]]]:
    """Every set of pictures of scenes (3, H, W)."""
    numbered = list(enumerate(scenes.items()))
    yield "white, 25", [white(key, scene, seed) for seed, (key, scene) in numbered]
    before = 25 / 255
    after = before / float(SMOOTHING.square().sum())
    for name, sigma in (("white 25, blurred", before), ("white, 25 once blurred", after)):
        yield name, [blurred_white(key, scene, seed, sigma) for seed, (key, scene) in numbered]
    for name, camera in CAMERAS.items():
        yield name, [taken(key, scene, seed, camera) for seed, (key, scene) in numbered]


def microscope(frames: dict[str, Tensor]) -> list[Pair]:
    """Dark planes of 12 bits: frames (1, H, W) of 300 counts at most, over an offset."""
    pairs = []
    for seed, (key, frame) in enumerate(frames.items()):
        generator = torch.Generator().manual_seed(seed)
        electrons = 300 * frame
        counts = torch.poisson(electrons, generator)
        counts = counts + 2 * torch.randn(counts.shape, generator=generator)
        noisy, clean = (100 + 2 * counts).round() / 65535, (100 + 2 * electrons) / 65535
        pairs.append(Pair(key, noisy, clean, counted, shared=False))
    return pairs


def counted(stored: Tensor) -> Tensor:
    """Deviation of the noise of `microscope`, photons and read noise, by the clean stored value."""
    electrons = ((65535 * stored - 100) / 2).clamp(min=0)
    return 2 / 65535 * (electrons + 2**2).sqrt()


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
                noisy, clean = images[name], images[f"{key}_clean.png"] * gain + offset
                seen = measured_growth(noisy, clean)
                pairs.append(Pair(key, noisy, clean, seen, shared=kind == "camera"))
        yield f"real {kind}", pairs


def measured_growth(noisy: Tensor, clean: Tensor) -> Callable[[Tensor], Tensor]:
    """Deviation of noise by the clean value, its variance a line through parts by brightness."""
    parts = clean.flatten().argsort().chunk(BINS)
    wrong = (noisy - clean).flatten().double()
    places = torch.stack([clean.flatten()[part].mean() for part in parts]).double()
    variances = torch.stack([wrong[part].square().mean() for part in parts])
    line = light_line(places, variances)
    return lambda stored: line.at(stored.double()).sqrt()


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

    def stored(self, intensities: Tensor) -> Tensor:
        """Stored values of intensities."""
        return self.black + self.span * intensities

    def psnr(self, clean: Tensor, estimate: Tensor) -> float:
        """PSNR in dB of intensities against stored values; the peak is 1, or the brightest."""
        return psnr(clean[None] / self.peak, self.stored(estimate)[None] / self.peak).item()


def ours(prior: MultiScalePrior, pair: Pair) -> dict[str, Any]:
    """PSNR of Scalewise, blind and told the truth; what it found."""
    scale = Scale(pair.noisy, pair.clean)
    seen, levels = scale.of(pair.noisy), max(1, prior.levels)
    picture = Picture(seen[None], depth="float32", intensities=Intensities())
    blind = denoise(picture, prior)
    told = denoise(picture, prior, noise=spectrum_of(seen - scale.of(pair.clean), levels))
    found = {
        "blind": scale.psnr(pair.clean, blind.picture.pixels[0]),
        "told": scale.psnr(pair.clean, told.picture.pixels[0]),
        "found": blind.noise[0].in_words(),
    }
    if pair.growth is not None:
        curved = denoise(picture, prior, noise=with_curve(pair, pair.growth, scale, levels))
        found["told its curve"] = scale.psnr(pair.clean, curved.picture.pixels[0])
    return found


def with_curve(
    pair: Pair, growth: Callable[[Tensor], Tensor], scale: Scale, levels: int
) -> NoiseModel:
    """True noise with its curve by intensity; a spectrum, too, where pixels share it.

    Args:
        pair: the picture.
        growth: that of the pair.
        scale: to the intensities that are denoised.
        levels: of the spectrum.
    """

    def deviation(intensity: Tensor) -> Tensor:
        return growth(scale.stored(intensity)) / scale.span

    nodes = torch.linspace(0, 1, NODES).double()
    middle = float(deviation(torch.tensor(REFERENCE)))
    factors = (deviation(nodes) / middle).square()
    curve = tuple(zip(nodes.tolist(), factors.tolist(), strict=True))
    scales: tuple[tuple[float, ...], ...] = ((middle,),)
    if pair.shared:
        still = pair.clean if pair.still is None else pair.still
        noise = scale.of(pair.noisy) - scale.of(still)
        even = noise / deviation(scale.of(pair.clean)) * middle
        scales = spectrum_of(even, levels).scales
    return NoiseModel(scales=scales, curve=curve)


def others(pair: Pair, known: dict[str, Any]) -> dict[str, float]:
    """PSNR of the noisy image and of the other methods that are not known yet.

    Each is at the best of its strengths, and blind; BM3D is told the spectrum of blurred noise.
    """
    from skimage.restoration import estimate_sigma

    scale = Scale(pair.noisy, pair.clean)
    seen = scale.of(pair.noisy)
    deviation = float((seen - scale.of(pair.clean)).square().mean().sqrt())
    array = seen.movedim(0, -1).squeeze(-1).double().numpy()
    axis = None if array.ndim == 2 else -1
    guess = float(estimate_sigma(array, average_sigmas=True, channel_axis=axis))

    def told(function: Callable[..., np.ndarray], noise: float | np.ndarray) -> float:
        found = function(array, noise).reshape(*array.shape[:2], -1)
        return scale.psnr(pair.clean, torch.from_numpy(found).movedim(-1, 0).to(seen))

    def best(function: Callable[..., np.ndarray]) -> float:
        return max(told(function, each * deviation) for each in STRENGTHS)

    wanted: dict[str, Callable[[], float]] = {
        "noisy": partial(scale.psnr, pair.clean, seen),
        "estimated": lambda: 255 * guess,
    }
    for method, function in OTHERS.items():
        wanted[method] = partial(best, function)
        wanted[f"{method}, blind"] = partial(told, function, guess)
    if pair.blurred:
        power = blurred_power(pair.blurred, array.shape[0], array.shape[1])
        wanted["BM3D, told the spectrum"] = partial(told, bm3d, power)
    return {key: make() for key, make in wanted.items() if key not in known}


def blurred_power(sigma: float, height: int, width: int) -> np.ndarray:
    """Power spectrum (height, width) of white noise that went through `SMOOTHING`, as BM3D's."""
    kernel = np.zeros((height, width))
    kernel[:3, :3] = SMOOTHING.outer(SMOOTHING).numpy()
    found: np.ndarray = sigma**2 * height * width * np.abs(np.fft.fft2(kernel)) ** 2
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
    content: dict[str, Any] = {"benchmark": "restoration", "model": options.model, **facts("cpu")}
    before = {row["set"]: row for row in read_json(options.json).get("rows", ())}
    rows: dict[str, Any] = {}
    for name, pairs in every_set(options.data, options.count, options.side).items():
        known = {record["image"]: record for record in before.get(name, {}).get("records", ())}
        records = []
        for pair in pairs:
            record = known.get(pair.name, {"image": pair.name})
            record = record | others(pair, record)
            records.append(record if prior is None else record | ours(prior, pair))
        rows[name] = row_of(name, records)
        shown = {key: value for key, value in rows[name].items() if key != "records"}
        print({k: round(v, 2) if isinstance(v, float) else v for k, v in shown.items()}, flush=True)
        write_json(options.json, {**content, "rows": list((before | rows).values())})
    write_json(options.json, {**content, "rows": list(rows.values())})
    if prior is not None and options.picture is not None:
        draw(prior, options.picture)


def row_of(name: str, records: list[dict[str, Any]]) -> dict[str, Any]:
    """What a set's pictures came to: means, and how many came out worse than they went in."""
    keys = [key for key in records[0] if key not in ("image", "found")]
    row: dict[str, Any] = {"set": name, "images": len(records)}
    row |= {key: float(np.mean([record[key] for record in records])) for key in keys}
    if "blind" in row:
        row["worse"] = sum(record["blind"] < record["noisy"] - ROUNDING for record in records)
    return row | {"records": records}


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
        sets[name] = [
            pair._replace(noisy=central(pair.noisy, side), clean=central(pair.clean, side))
            for pair in pairs
        ]
    return sets


def central(image: Tensor, side: int) -> Tensor:
    """The middle of an image (C, H, W), at even places."""
    top, left = (max(0, (size - side) // 2) // 2 * 2 for size in image.shape[1:])
    return image[:, top : top + side, left : left + side]


if __name__ == "__main__":
    main()

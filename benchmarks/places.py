"""Noise that is stronger in some places than in others: found, told, and taken for even.

    python -m benchmarks.places --model photos
    python -m benchmarks.places --picture docs/images/places.jpg

White noise of Set12 in gray and of McMaster in colour: of 10 of 255 in the left half of a picture
and 50 in the right; of 13 in the middle and 38 in the corners, as lens shading that was corrected
leaves it; and even, of 25, where none should be found. What decides was chosen on photographs of
BSDS.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.common import DATA, RESULTS, facts, load_prior, read_images, write_json
from scalewise import NoiseModel, Picture, restore
from scalewise.data import sample_photo
from scalewise.images import write_image
from scalewise.metrics import psnr
from scalewise.places import Places
from scalewise.prior import MultiScalePrior

GRID = 32
"""Places along a side of the grid that is told."""


def halves(height: int, width: int) -> Tensor:
    """Two halves."""
    return torch.tensor([10.0, 50.0]).repeat_interleave(width // 2)[:width].expand(height, width)


def shading(height: int, width: int) -> Tensor:
    """Growing towards the corners."""
    rows, columns = (torch.linspace(-1, 1, side) for side in (height, width))
    return 12.5 + 12.5 * (rows[:, None] ** 2 + columns**2)


def even(height: int, width: int) -> Tensor:
    """The same everywhere."""
    return torch.full((height, width), 25.0)


KINDS: dict[str, Callable[[int, int], Tensor]] = {
    "halves": halves,
    "shading": shading,
    "even": even,
}


def told(deviation: Tensor) -> NoiseModel:
    """The description of noise of a deviation (H, W)."""
    grid = F.adaptive_avg_pool2d(deviation.square()[None], GRID)[0].double()
    white = NoiseModel.white(float(grid.mean().sqrt()))
    return white.model_copy(update={"places": Places.of(grid / grid.mean())})


def measured(prior: MultiScalePrior, clean: Tensor, kind: str, index: int) -> dict[str, Any]:
    """PSNR of one picture (C, H, W), by what the networks are told."""
    clean = clean[:, : clean.shape[1] // 2 * 2, : clean.shape[2] // 2 * 2]
    deviation = KINDS[kind](*clean.shape[1:]) / 255
    generator = torch.Generator().manual_seed(index)
    noisy = clean + deviation * torch.randn(clean.shape, generator=generator)
    asked = prior.denoiser_of(len(clean))
    noises = {
        "as if even": restore.noise_for(asked, noisy, whole=False),
        "found": (found := restore.noise_for(asked, noisy)),
        "told": told(deviation),
    }
    scores = {
        name: psnr(clean[None], restore.denoise_plane(noisy, prior, noise=noise)[0][None]).item()
        for name, noise in noises.items()
    }
    places = found.places is not None
    return {"noisy": psnr(clean[None], noisy[None]).item(), **scores, "places": places}


def pictured(prior: MultiScalePrior) -> Tensor:
    """A photograph with shading, denoised as if its noise were even, and by the places found."""
    clean = sample_photo("coffee")[:, :, 100:500]
    generator = torch.Generator().manual_seed(0)
    deviation = 1.5 * shading(*clean.shape[1:]) / 255
    noisy = clean + deviation * torch.randn(clean.shape, generator=generator)
    cleaned = (
        restore.denoise_plane(noisy, prior, noise=restore.noise_for(prior, noisy, whole=whole))[0]
        for whole in (False, True)
    )
    return torch.cat([noisy, *cleaned], dim=2).clamp(0, 1)


def main(arguments: list[str] | None = None) -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--model", default="photos")
    parser.add_argument("--data", type=Path, default=DATA / "eval")
    parser.add_argument("--images", type=int, default=12, help="at most so many of each set")
    parser.add_argument("--json", type=Path, default=RESULTS / "places.json")
    parser.add_argument("--picture", type=Path, help="draw three, in place of measuring")
    options = parser.parse_args(arguments)
    prior = load_prior(options.model, "cpu")
    if options.picture is not None:
        write_image(options.picture, Picture(pictured(prior)), force=True, quality=80)
        return
    records = [
        {"set": name, "kind": kind, "image": file, **measured(prior, image, kind, index)}
        for name, channels in (("Set12", 1), ("McMaster", 3))
        for index, (file, image) in enumerate(
            read_images(options.data / name.lower(), channels, options.images).items()
        )
        for kind in KINDS
    ]
    content = {"benchmark": "places", "model": options.model, "facts": facts()}
    write_json(options.json, content | {"records": records})


if __name__ == "__main__":
    main()

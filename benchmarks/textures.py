"""Textures drawn from scratch: how far they are from the part that was kept apart, and their seams.

    scalewise train ../shared/data/textures/gravel.png --out my-gravel --recipe texture --half
    python -m benchmarks.textures --models gravel deep-field

Crops of samples are compared with crops of the lowest quarter of the texture, which training never
saw, and beside them as many crops of the rest: the floor.

- Sliced Wasserstein distances by level.
- Brightness and contrast.
- Distance to the nearest training crop, of low-pass crops: samples that repeat what was learnt by
  heart would be nearer than what was kept apart.
- Periodic samples: mean squared step across the border over that between neighbours inside, and how
  far the steps inside differ among lines; samples that are not periodic, opposite borders joined.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.common import DATA, RESULTS, ROOT, facts, load_prior, read_json, write_json
from scalewise.data import hold_out_strip, load_image_set
from scalewise.evaluation import level_distances, nearest_distances
from scalewise.evaluation.synthesis import quantiles
from scalewise.images import Picture, write_image
from scalewise.prior import MultiScalePrior
from scalewise.wavelets import low_pass

SIDE = 128
"""Of the crops that are compared, in pixels."""

SMALL = 32
"""Of the crops whose nearest is looked for, in pixels."""


def crops(image: Tensor, side: int, stride: int) -> Tensor:
    """All crops (N, C, side, side) of an image (C, H, W) at every so many pixels."""
    parts = image.unfold(1, side, stride).unfold(2, side, stride)
    return parts.flatten(1, 2).transpose(0, 1)


def turned(images: Tensor) -> Tensor:
    """Images mirrored and transposed in all eight ways, as training has them."""
    both = torch.cat([images, images.transpose(-1, -2)])
    both = torch.cat([both, both.flip(-1)])
    return torch.cat([both, both.flip(-2)])


def seams(images: Tensor) -> dict[str, float]:
    """Mean squared steps across the borders of images (N, C, H, W), over those inside.

    Returns:
        `across`, of the border over the mean of all other lines, and `inside`, the quantiles of 1
        and 99 % of single lines over their mean.
    """
    rows = (images - images.roll(1, -2)).square().mean(dim=(1, 3))
    columns = (images - images.roll(1, -1)).square().mean(dim=(1, 2))
    inner = torch.cat([rows[:, 1:].flatten(), columns[:, 1:].flatten()])
    border = torch.cat([rows[:, 0], columns[:, 0]])
    low, high = (inner / inner.mean()).quantile(torch.tensor([0.01, 0.99])).tolist()
    return {"across": float(border.mean() / inner.mean()), "inside 1%": low, "inside 99%": high}


@torch.no_grad()
def measure(prior: MultiScalePrior, texture: Path, count: int, side: int, seed: int) -> Any:
    """Measure samples of a prior beside the texture that it learnt; give the samples too."""
    known, apart = hold_out_strip(load_image_set(texture, prior.channels))
    training, reference = known.whole([0])[0], apart.whole([0])[0]
    samples = prior.sample(count, seed=seed, size=(side, side), periodic=True, batch=1).clamp(0, 1)
    alone = prior.sample(count, seed=seed, size=(side, side), batch=1).clamp(0, 1)
    drawn = torch.cat([crops(image, SIDE, SIDE) for image in samples])
    aim, rest = crops(reference, SIDE, 16), crops(training, SIDE, SIDE)
    order = torch.randperm(len(drawn), generator=torch.Generator().manual_seed(0))[: len(rest)]
    sets = {"samples": drawn[order], "training": rest[: len(order)]}
    learnt = turned(low_pass(crops(training, SMALL, 4), prior.levels, prior.wavelet))
    nearest = {
        name: quantiles(
            nearest_distances(
                low_pass(crops(image, SMALL, 16), prior.levels, prior.wavelet), learnt
            )
        )
        for name, image in (("samples", samples[0]), ("kept apart", reference))
    }
    pixels = {"samples": samples, "kept apart": reference, "training": training}
    return samples, {
        "distances": {
            name: level_distances(
                found, aim, levels=prior.levels, wavelet=prior.wavelet, patches_per_image=256
            )
            for name, found in sets.items()
        },
        "mean": {name: float(values.mean()) for name, values in pixels.items()},
        "deviation": {name: float(values.std()) for name, values in pixels.items()},
        "nearest": nearest,
        "seams": {"periodic": seams(samples), "not periodic": seams(alone)},
    }


def shown(prior: MultiScalePrior, texture: Path, sample: Tensor, seed: int) -> Tensor:
    """What was learnt, a sample, and a periodic one of half its sides, laid 2x2: (C, H, W)."""
    height, width = sample.shape[-2:]
    size = (height // 2, width // 2)
    tile = prior.sample(1, seed=seed + 1, size=size, periodic=True)[0].clamp(0, 1).tile(2, 2)
    learnt = load_image_set(texture, prior.channels).whole([0])[0][..., :height, :width]
    learnt = F.pad(learnt, (0, width - learnt.shape[-1], 0, height - learnt.shape[-2]), value=1.0)
    row = torch.cat([F.pad(part, (4, 4, 4, 4), value=1.0) for part in (learnt, sample, tile)], -1)
    return row


def main(arguments: list[str] | None = None) -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--models", nargs="+", default=["gravel", "deep-field"], help="or folders")
    parser.add_argument("--textures", type=Path, default=DATA / "textures", help="NAME.png")
    parser.add_argument("--count", type=int, default=4, help="samples")
    parser.add_argument("--side", type=int, default=512, help="of the samples")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--pictures", type=Path, default=ROOT / "docs/images")
    parser.add_argument("--json", type=Path, default=RESULTS / "textures.json")
    options = parser.parse_args(arguments)
    found: dict[str, Any] = dict(read_json(options.json).get("textures", {}))
    options.pictures.mkdir(parents=True, exist_ok=True)
    for model in options.models:
        name = Path(model).name
        prior = load_prior(model, options.device)
        texture = options.textures / f"{name.replace('-', '_')}.png"
        samples, found[name] = measure(prior, texture, options.count, options.side, options.seed)
        row = shown(prior, texture, samples[0], options.seed)
        write_image(options.pictures / f"texture-{name}.jpg", Picture(row[None]), force=True)
        print(name, found[name])
    write_json(
        options.json,
        {"benchmark": "textures", "seed": options.seed, "count": options.count}
        | {"side": options.side, **facts(options.device), "textures": found},
    )


if __name__ == "__main__":
    main()

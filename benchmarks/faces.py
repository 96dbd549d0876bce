"""Faces drawn from scratch: a sheet of uncurated samples, and how far they are from real ones.

    python -m benchmarks.faces --model faces

Every measure is taken on samples beside held-out faces, and beside training faces in their place:
the floor that no sampler can pass.

- Faces and eyes found by OpenCV's cascades (Viola and Jones 2001): share of images with just one
  face, and with just two eyes.
- A classifier trained to tell samples from held-out faces (Lopez-Paz and Oquab, "Revisiting
  classifier two-sample tests", ICLR 2017): its accuracy on images it has not seen, 50 % at best.
- Sliced Wasserstein distances by level, brightness, contrast, and nearest training images, mirrored
  ones included.
"""

from __future__ import annotations

import argparse
import statistics
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.common import DATA, RESULTS, ROOT, facts, load_prior, write_json
from scalewise.data import load_image_set
from scalewise.evaluation import grid, measure_samples
from scalewise.images import Picture, write_image
from scalewise.prior import MultiScalePrior

FOLDS = 5
EPOCHS = 30


def read_faces(source: Path, channels: int) -> Tensor:
    """All images of a folder or an array file, shape (N, C, H, W), float32 in [0, 1]."""
    faces = load_image_set(source, channels)
    return faces.whole(range(len(faces)))


def draw(prior: MultiScalePrior, count: int, seed: int, batch: int) -> tuple[Tensor, float]:
    """Samples (count, C, H, W) clipped to [0, 1], and the seconds that one takes."""
    start = time.perf_counter()
    samples = prior.sample(count, seed=seed, batch=batch).clamp(0, 1).cpu()
    return samples, (time.perf_counter() - start) / count


def found_by_cascades(images: Tensor) -> dict[str, float]:
    """Shares of images with just one face and with just two eyes, by OpenCV's packaged cascades.

    Images (N, 3, H, W) are enlarged twice for the eyes, and padded for the face.
    """
    import cv2

    def cascade(name: str) -> Any:
        return cv2.CascadeClassifier(f"{cv2.data.haarcascades}haarcascade_{name}.xml")

    face, eye = cascade("frontalface_default"), cascade("eye")
    one, two = 0, 0
    for image in images:
        pixels = (255 * image.movedim(0, -1).numpy()).round().astype(np.uint8)
        gray = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
        side = len(gray)
        edge = side // 4
        padded = cv2.copyMakeBorder(gray, edge, edge, edge, edge, cv2.BORDER_REPLICATE)
        one += len(face.detectMultiScale(padded, 1.05, 4, minSize=(side // 2, side // 2))) == 1
        large = cv2.resize(gray, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC)
        upper = large[: int(1.2 * side)]
        sizes = {"minSize": (side // 5, side // 5), "maxSize": (7 * side // 10, 7 * side // 10)}
        two += len(eye.detectMultiScale(upper, 1.05, 4, **sizes)) == 2
    return {"one face": one / len(images), "two eyes": two / len(images)}


def two_sample_accuracy(
    samples: Tensor, reference: Tensor, seed: int = 0, paired: bool = False
) -> dict[str, float]:
    """Accuracy of a small network that tells samples from reference images.

    Cross-validated in `FOLDS` parts: each part is judged by a network trained on the others, with
    mirror images.

    Args:
        samples: shape (N, C, H, W) in [0, 1].
        reference: as many images, the same shape.
        seed: of weights and order.
        paired: whether sample and reference image of one number show the same: then they are in
            the same part, or a network that knows one by heart takes the other for it.

    Returns:
        `accuracy`, 0.5 where nothing tells them apart, and its standard deviation over the parts.
    """
    images = torch.cat([samples, reference]) * 2 - 1
    labels = torch.cat([torch.ones(len(samples)), torch.zeros(len(reference))])
    groups = len(samples) if paired else len(images)
    order = torch.randperm(groups, generator=torch.Generator().manual_seed(seed))
    place = torch.arange(len(images)) % groups
    found = []
    for part in order.chunk(FOLDS):
        inside = torch.isin(place, part)
        held, known = inside.nonzero().flatten(), (~inside).nonzero().flatten()
        network = _train_classifier(images[known], labels[known], seed)
        with torch.no_grad():
            answers = network(images[held]).flatten() > 0
        found.append(float((answers == labels[held].bool()).float().mean()))
    return {"accuracy": statistics.fmean(found), "std": statistics.stdev(found)}


def _train_classifier(images: Tensor, labels: Tensor, seed: int) -> nn.Module:
    """Four strided convolutions and a linear layer, trained for `EPOCHS`."""
    torch.manual_seed(seed)
    widths = (images.shape[1], 24, 32, 48, 64)
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(widths):
        layers += [nn.Conv2d(inputs, outputs, 4, 2, 1), nn.BatchNorm2d(outputs), nn.ReLU()]
    head = [nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Dropout(0.3), nn.Linear(16 * widths[-1], 1)]
    network = nn.Sequential(*layers, *head)
    optimiser = torch.optim.AdamW(network.parameters(), 1e-3, weight_decay=0.01)
    generator = torch.Generator().manual_seed(seed)
    for _ in range(EPOCHS):
        for part in torch.randperm(len(images), generator=generator).split(32):
            batch = images[part]
            mirrored = torch.rand(len(part), generator=generator) < 0.5
            batch = torch.where(mirrored.view(-1, 1, 1, 1), batch.flip(-1), batch)
            loss = nn.functional.binary_cross_entropy_with_logits(
                network(batch).flatten(), labels[part]
            )
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    return network.eval()


def looks(samples: Tensor, validation: Tensor, training: Tensor) -> dict[str, Any]:
    """What cascades and the classifier find, for samples, held-out faces and training faces.

    Training faces are as many as the held-out ones, chosen at random.
    """
    order = torch.randperm(len(training), generator=torch.Generator().manual_seed(1))
    known = training[order[: len(validation)]]
    count = min(len(samples), len(validation))
    sets = {"samples": samples[:count], "held-out": validation, "training": known}
    return {
        "cascades": {name: found_by_cascades(images) for name, images in sets.items()},
        "classifier": {
            name: two_sample_accuracy(sets[name][:count], validation[:count])
            for name in ("samples", "training")
        },
    }


def main(arguments: list[str] | None = None) -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--model", default="faces", help="packaged name or folder")
    parser.add_argument("--faces", type=Path, default=DATA / "faces", help="training, validation")
    parser.add_argument("--count", type=int, help="samples; by default as many as validation has")
    parser.add_argument("--sheet", type=Path, default=ROOT / "docs/images/faces-samples.jpg")
    parser.add_argument("--shown", type=int, default=64, help="samples on the sheet")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", type=Path, default=RESULTS / "faces.json")
    options = parser.parse_args(arguments)
    prior = load_prior(options.model, options.device)
    training = read_faces(options.faces / "training", prior.channels)
    validation = read_faces(options.faces / "validation", prior.channels)
    count = options.count or len(validation)
    samples, seconds = draw(prior, max(count, options.shown), options.seed, options.batch)
    options.sheet.parent.mkdir(parents=True, exist_ok=True)
    write_image(options.sheet, Picture(grid(samples[: options.shown])), force=True)
    mirrored = torch.cat([training, training.flip(-1)])
    with torch.no_grad():
        found = measure_samples(
            samples[:count],
            validation,
            training=mirrored,
            levels=prior.levels,
            wavelet=prior.wavelet,
        )
    found |= looks(samples[:count], validation, training)
    made = {"model": options.model, "seed": options.seed, "seconds_per_sample": seconds}
    write_json(options.json, {"benchmark": "faces", **made, **facts(options.device), **found})
    for level, distance in found["distances"].items():
        print(f"{level}: {distance:.3f}, floor {found['floor'][level]['mean']:.3f}")
    for name in ("cascades", "classifier"):
        print(name, found[name])


if __name__ == "__main__":
    main()

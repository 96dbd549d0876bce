"""Images from linear measurements: super-resolution by the field's protocol, blur, holes, mosaics.

    python -m benchmarks.inverse --model photos
    python -m benchmarks.inverse --model photos --deepinv

The first command compares with what libraries offer without a model. The second wants deepinv, in
an environment of its own (benchmarks/README.md), and gives its algorithms our denoiser: same
images, same physics, which are deepinv's, and as many calls of the networks. Both keep the values
of the other. Nothing was chosen on these images.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.common import DATA, RESULTS, facts, load_prior, read_images, read_json, write_json
from scalewise.data.photos import sample_photo
from scalewise.evaluation import sheet
from scalewise.images import Picture, write_image
from scalewise.inverse import DRAWING, ITERATIONS
from scalewise.metrics import psnr
from scalewise.operators import Blur, Demosaicking, Downscaling, Inpainting, Operator
from scalewise.prior import MultiScalePrior
from scalewise.restore import averaged

SIDE = 128
"""Of the middle parts of McMaster that are measured."""

CALLS = 2 * DRAWING.steps * (1 + ITERATIONS)
"""Calls of the networks that the mean of one image takes; a sample takes half as many."""


def moved() -> Tensor:
    """The kernel of a movement by 9 pixels, aslant."""
    kernel = torch.zeros(9, 9)
    for step in np.linspace(-4, 4, 65):
        kernel[4 + round(0.4 * float(step)), 4 + round(float(step))] += 1
    return kernel


def tasks(side: int) -> dict[str, tuple[Operator, float]]:
    """What is measured, and the noise of it in 8-bit units."""
    known = torch.rand(side, side, generator=torch.Generator().manual_seed(0)) < 0.5
    lines = torch.ones(side, side)
    for place in range(16, side, 32):
        lines[place : place + 3] = lines[:, place : place + 3] = 0
    return {
        "blur of deviation 1.6, σ 2": (Blur.gaussian(1.6), 2.0),
        "movement by 9 pixels, σ 5": (Blur(moved()), 5.0),
        "half of the pixels": (Inpainting(known), 0.0),
        "lines of 3 pixels": (Inpainting(lines), 0.0),
        "Bayer mosaic, σ 10": (Demosaicking(), 10.0),
        "×4 bicubic, σ 2": (Downscaling((side, side), (side // 4, side // 4)), 2.0),
    }


def plain(operator: Operator, seen: Tensor, noise: float, clean: Tensor) -> Tensor:
    """What scikit-image and PyTorch make of a measurement (1, c, h, w)."""
    from skimage import restoration

    if isinstance(operator, Blur):
        blur = operator.kernel.numpy()
        stacks = []
        for balance in (0.001, 0.003, 0.01, 0.03, 0.1, 0.3):  # the best by the truth
            parts = [
                restoration.wiener(part, blur, balance, clip=False) for part in seen[0].numpy()
            ]
            stacks.append(torch.from_numpy(np.stack(parts)).float()[None])
        return max(stacks, key=lambda image: float(psnr(clean, image, clip=True)))
    if isinstance(operator, Inpainting):
        hole = ~operator.mask.numpy()
        image = seen[0].permute(1, 2, 0).numpy()
        filled = restoration.inpaint_biharmonic(image, hole, channel_axis=-1)
        return torch.from_numpy(filled).permute(2, 0, 1)[None].float()
    if isinstance(operator, Demosaicking):
        kernel = torch.tensor([[1.0, 2, 1], [2, 4, 2], [1, 2, 1]])
        there = operator.A_adjoint(torch.ones_like(seen))
        found = [
            F.conv2d(each, kernel.expand(3, 1, 3, 3), padding=1, groups=3)
            for each in (operator.A_adjoint(seen), there)
        ]
        return found[0] / found[1]
    return F.interpolate(seen, size=clean.shape[-2:], mode="bicubic")


def middle(image: Tensor, side: int) -> Tensor:
    """The middle part of an image (C, H, W), as a batch of one."""
    top, left = ((whole - side) // 2 for whole in image.shape[-2:])
    return image[None, :, top : top + side, left : left + side]


def measure(prior: MultiScalePrior, images: dict[str, Tensor]) -> dict[str, Any]:
    """PSNR of every task: mean, sample, and the plain way."""
    found: dict[str, Any] = {}
    for name, (operator, noise) in tasks(SIDE).items():
        rows = []
        for index, (title, image) in enumerate(images.items()):
            clean = middle(image, SIDE)
            generator = torch.Generator().manual_seed(index)
            seen = operator.A(clean)
            seen = seen + noise / 255 * torch.randn(seen.shape, generator=generator)
            start = time.perf_counter()
            mean = prior.restore(seen, operator, noise / 255)
            seconds = time.perf_counter() - start
            sample = prior.restore(seen, operator, noise / 255, samples=1, seed=index)[0]
            values = {
                "plain": plain(operator, seen, noise, clean),
                "mean": mean,
                "sample": sample,
            }
            scores = {key: float(psnr(clean, each, clip=True)) for key, each in values.items()}
            rows.append({"image": title, **scores, "seconds": seconds})
            print(name, rows[-1], flush=True)
        found[name] = rows
    return found


def picture(prior: MultiScalePrior, file: Path) -> None:
    """What was measured and what became of it, as a sheet: blur, holes, a mosaic."""
    clean = sample_photo("astronaut")[None, :, :192, 128:320]
    rows: list[list[Tensor]] = [[], []]
    for name, (operator, noise) in tasks(192).items():
        if name.startswith(("×", "half")):
            continue
        seen = operator.A(clean)
        generator = torch.Generator().manual_seed(0)
        seen = seen + noise / 255 * torch.randn(seen.shape, generator=generator)
        rows[0].append(seen[0].expand(3, -1, -1))
        rows[1].append(prior.restore(seen, operator, noise / 255)[0])
    write_image(file, Picture(sheet(rows)[None]), force=True, quality=92)


def failures(prior: MultiScalePrior, file: Path) -> None:
    """What does not work, as a sheet: a wide hole, and a sample at ×4."""
    clean = sample_photo("astronaut")[None, :, :192, 128:320]
    hole = torch.ones(192, 192)
    hole[36:132, 50:146] = 0
    shown: list[Tensor] = []
    operators = (Inpainting(hole), Downscaling((192, 192), (48, 48)))
    for operator in operators:
        seen = operator.A(clean)
        sample = prior.restore(seen, operator, samples=1)[0]
        shown += [F.interpolate(seen, size=(192, 192)), sample]
    write_image(file, Picture(sheet([[each[0] for each in shown]])[None]), force=True, quality=92)


def luma(image: Tensor) -> Tensor:
    """Luma of ITU-R BT.601 as the field computes it, (1, 1, H, W) in [0, 1]."""
    weights = torch.tensor([65.481, 128.553, 24.966]).view(1, 3, 1, 1)
    return (16 + (image.clamp(0, 1) * weights).sum(1, keepdim=True)) / 255


def field_protocol(prior: MultiScalePrior, images: dict[str, Tensor]) -> dict[str, Any]:
    """Set5: bicubic reduction to 8 bits, luma, as many pixels of the border cut as the factor."""
    found: dict[str, Any] = {}
    for factor in (2, 4):
        rows = []
        for title, image in images.items():
            clean, small = _reduced(image, factor)
            size = (clean.shape[-2], clean.shape[-1])
            values = {
                "bicubic": F.interpolate(small, size=size, mode="bicubic"),
                "mean": _enlarged(prior, small, factor),
            }
            scores = {key: _of_luma(clean, each, factor) for key, each in values.items()}
            rows.append({"image": title, **scores})
            print(factor, rows[-1], flush=True)
        found[f"×{factor}"] = rows
    return found


def means_of(
    prior: MultiScalePrior, images: dict[str, Tensor], count: int, factor: int
) -> dict[str, float]:
    """The same at one factor, of the mean of so many estimates, by image."""
    found = {}
    for title, image in images.items():
        clean, small = _reduced(image, factor)
        mean = averaged(lambda given: _enlarged(prior, given, factor), small, count)
        found[title] = _of_luma(clean, mean, factor)
        print(factor, count, title, found[title], flush=True)
    return found


def _reduced(image: Tensor, factor: int) -> tuple[Tensor, Tensor]:
    """An image cut to whole blocks, and reduced by the bicubic filter to 8 bits."""
    height, width = (side - side % factor for side in image.shape[-2:])
    clean = image[None, :, :height, :width]
    operator = Downscaling((height, width), (height // factor, width // factor))
    return clean, (255 * operator.A(clean)).clamp(0, 255).round() / 255


def _enlarged(prior: MultiScalePrior, small: Tensor, factor: int) -> Tensor:
    height, width = small.shape[-2:]
    operator = Downscaling((factor * height, factor * width), (height, width))
    return prior.restore(small, operator, 1 / (255 * math.sqrt(12)))


def _of_luma(clean: Tensor, estimate: Tensor, factor: int) -> float:
    cut = [luma(one)[..., factor:-factor, factor:-factor] for one in (clean, estimate)]
    return float(psnr(cut[0], cut[1]))


class Counted(nn.Module):
    """A prior as a denoiser of deepinv, which counts its calls."""

    def __init__(self, prior: MultiScalePrior) -> None:
        super().__init__()
        self.prior, self.calls = prior, 0

    def forward(self, x: Tensor, sigma: Any, **_: Any) -> Tensor:
        """Denoise; `sigma` in whatever form an algorithm has it."""
        self.calls += 1
        level = torch.as_tensor(sigma, dtype=torch.float32).flatten()[:1].clamp(min=1e-4)
        return self.prior.denoise(x.float(), level).to(x)


def beside_deepinv(prior: MultiScalePrior, images: dict[str, Tensor]) -> dict[str, Any]:
    """The same denoiser in deepinv's algorithms, on deepinv's physics."""
    import deepinv
    from deepinv.physics.blur import gaussian_blur

    side = SIDE
    shape = (3, side, side)
    known = torch.rand(1, side, side, generator=torch.Generator().manual_seed(0)) < 0.5
    mask = known.float().repeat(3, 1, 1)
    physics = {
        "blur of deviation 1.6, σ 2": (deepinv.physics.BlurFFT(shape, gaussian_blur(1.6)), 2.0),
        "half of the pixels, σ 5": (deepinv.physics.Inpainting(shape, mask=mask), 5.0),
        "×4 bicubic, σ 2": (
            deepinv.physics.Downsampling(shape, filter="bicubic", factor=4, padding="circular"),
            2.0,
        ),
    }
    found: dict[str, Any] = {}
    for name, (operator, noise) in physics.items():
        rows = []
        for index, (title, image) in enumerate(images.items()):
            clean, sigma = middle(image, side), noise / 255
            seen = operator.A(clean)
            generator = torch.Generator().manual_seed(index)
            seen = seen + sigma * torch.randn(seen.shape, generator=generator)
            row: dict[str, Any] = {"image": title}
            for key, run in algorithms(deepinv, prior, sigma).items():
                torch.manual_seed(index)
                counted, start = Counted(prior), time.perf_counter()
                try:
                    image_of = run(counted, operator, seen)
                except Exception as error:  # of a physics that an algorithm does not take
                    row[key] = {"failed": f"{type(error).__name__}: {error}"[:200]}
                    continue
                row[key] = {
                    "psnr": float(psnr(clean, image_of.float().detach(), clip=True)),
                    "calls": counted.calls,
                    "seconds": time.perf_counter() - start,
                }
            rows.append(row)
            print(name, row, flush=True)
        found[name] = rows
    return found


def algorithms(
    deepinv: Any, prior: MultiScalePrior, sigma: float
) -> dict[str, Callable[[Counted, Any, Tensor], Tensor]]:
    """Ours and theirs; those whose number of calls can be chosen have as many as ours."""

    def ours(samples: int | None) -> Callable[[Counted, Any, Tensor], Tensor]:
        def run(counted: Counted, operator: Any, seen: Tensor) -> Tensor:
            counted.calls = CALLS if samples is None else CALLS // 2
            found = prior.restore(seen, operator, sigma, samples=samples)
            return found if samples is None else found[0]

        return run

    def dps(counted: Counted, operator: Any, seen: Tensor) -> Tensor:
        method = deepinv.sampling.DPS(counted, num_steps=CALLS)
        operator.noise_model = deepinv.physics.GaussianNoise(sigma)
        return method(seen, operator)

    def ddrm(counted: Counted, operator: Any, seen: Tensor) -> Tensor:
        operator.noise_model = deepinv.physics.GaussianNoise(sigma)
        return deepinv.sampling.DDRM(counted, sigmas=np.linspace(1, 0, CALLS))(seen, operator)

    def diffpir(counted: Counted, operator: Any, seen: Tensor) -> Tensor:
        method = deepinv.sampling.DiffPIR(
            counted, deepinv.optim.data_fidelity.L2(), sigma=sigma, max_iter=CALLS
        )
        return method(seen, operator)

    def dpir(counted: Counted, operator: Any, seen: Tensor) -> Tensor:
        with torch.no_grad():
            return deepinv.optim.DPIR(sigma=sigma, denoiser=counted)(seen, operator)

    return {
        "ours, mean": ours(None),
        "ours, sample": ours(1),
        "DPIR": dpir,
        "DiffPIR": diffpir,
        "DDRM": ddrm,
        "DPS": dps,
    }


def main() -> None:
    """Measure, and write the JSON file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="photos")
    parser.add_argument("--deepinv", action="store_true")
    parser.add_argument("--mcmaster", type=Path, default=DATA / "eval" / "mcmaster")
    parser.add_argument("--set5", type=Path, default=DATA / "eval" / "set5")
    parser.add_argument("--images", type=int, default=4)
    parser.add_argument("--average", type=int, help="Set5 at one factor alone, mean of so many")
    parser.add_argument("--factor", type=int, default=4, help="that of --average")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--picture", type=Path)
    parser.add_argument("--failures", type=Path)
    parser.add_argument("--out", type=Path, default=RESULTS / "inverse.json")
    options = parser.parse_args()
    prior = load_prior(options.model, options.device)
    for draw, file in ((picture, options.picture), (failures, options.failures)):
        if file:
            draw(prior, file)
            return
    known = read_json(options.out)
    if options.average:
        means = means_of(prior, read_images(options.set5, 3), options.average, options.factor)
        found = {"averages": known.get("averages", {})}
        found["averages"].setdefault(f"×{options.factor}", {})[str(options.average)] = means
    elif options.deepinv:
        found = {"deepinv": beside_deepinv(prior, read_images(options.mcmaster, 3, options.images))}
    else:
        images = read_images(options.mcmaster, 3, options.images)
        set5 = read_images(options.set5, 3)
        found = {"tasks": measure(prior, images), "set5": field_protocol(prior, set5)}
    write_json(options.out, {**known, **facts(), "calls": CALLS, **found})


if __name__ == "__main__":
    main()

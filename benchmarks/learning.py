"""Time to a given validation PSNR: our training beside the plain recipe, learning curves and all.

    python -m benchmarks.learning --photos ../shared/data/photos --minutes 9

One task for both: the details of level 1 of gray photos given the clean low-pass image, networks of
one receptive field, the same crops and noise levels. The plain recipe is the published network as
written, Adam, and a rate that is halved at every quarter of its time, in float32. Ours is what
`scalewise train` does, in a third of the time. Time is processor time, validation left out.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.common import DATA, RESULTS, ROOT, facts, pyplot, write_figure, write_json
from scalewise.data import ImageSet, load_image_set
from scalewise.metrics import pooled_psnr
from scalewise.networks import ConditionalDenoiser, Denoiser
from scalewise.prior import MultiScalePrior
from scalewise.speed.training import PlainLoop
from scalewise.training import Recipe
from scalewise.training.batches import crop_side, draw_batch
from scalewise.training.budget import Budget, train_to
from scalewise.training.chance import Chance
from scalewise.training.level import LevelTrainer
from scalewise.training.objectives import DetailsObjective
from scalewise.wavelets import GAIN, merge, split

SIGMA = 25 / 255
LOOKS = 24
"""Validations of each run."""

RATE = 1e-3


class Curve:
    """PSNR against processor seconds.

    Args:
        measure: PSNR of the network as it is.
        budget: processor seconds of the run.
    """

    def __init__(self, measure: Callable[[], float], budget: float) -> None:
        self.measure, self.budget = measure, budget
        self.points: list[dict[str, float]] = []
        self.began, self.away = time.process_time(), 0.0

    @property
    def seconds(self) -> float:
        """Spent on training."""
        return time.process_time() - self.began - self.away

    def look(self, *_: Any) -> None:
        """Validate, if it is time."""
        spent = self.seconds
        if spent >= self.budget * (len(self.points) + 1) / LOOKS:
            self.points.append({"seconds": spent, "psnr": self.measure()})
            self.away += self.seconds - spent

    def reached(self, psnr: float) -> float | None:
        """Seconds after which a PSNR was reached, interpolated; None if it never was."""
        before = None
        for point in self.points:
            if point["psnr"] >= psnr:
                if before is None:
                    return point["seconds"]
                part = (psnr - before["psnr"]) / (point["psnr"] - before["psnr"])
                return before["seconds"] + part * (point["seconds"] - before["seconds"])
            before = point
        return None


class PlainRecipe(PlainLoop):
    """The plain loop, at the noise levels that our own form learns."""

    def levels(self, count: int) -> Tensor:
        """Noise levels of a batch, shape (count,)."""
        objective: Any = self.trainer.objective
        drawn: Tensor = objective.sampled.draw(count, self.generator)
        return drawn


def trainer_of(recipe: Recipe, images: ImageSet, held_out: ImageSet) -> LevelTrainer:
    """The trainer of level 1 given clean low-pass images; nothing coarser is needed."""
    generator = torch.Generator().manual_seed(0)
    bands = split(images.crops(256, crop_side(images, recipe, 1), generator))[1]
    deviation = round(float(bands.square().mean().sqrt()), 4)
    torch.manual_seed(recipe.seed)
    network: ConditionalDenoiser = recipe.details_network(1, 1, deviation)
    coarser = MultiScalePrior(Denoiser(channels=1))
    objective = DetailsObjective(network, coarser, recipe, 1, deviation)
    return LevelTrainer(objective, images, held_out, recipe, torch.device("cpu"))


@torch.no_grad()
def psnr(clean: Tensor, denoise: Callable[[Tensor, Tensor, float], Tensor]) -> float:
    """PSNR in dB of images whose details were denoised beside their clean low-pass images."""
    generator = torch.Generator().manual_seed(1)
    low, details = split(clean)
    sigma = GAIN * SIGMA
    noisy = details + sigma * torch.randn(details.shape, generator=generator)
    return pooled_psnr(clean, merge(low, denoise(noisy, low, sigma)))


def learn_plainly(trainer: LevelTrainer, clean: Tensor, seconds: float) -> Curve:
    """The plain recipe's curve; `trainer` gives the weights, images and noise levels."""
    loop = PlainRecipe(trainer)

    def measure() -> float:
        loop.network.eval()
        found = psnr(clean, lambda y, low, _: y - loop.network(torch.cat([low, y], dim=1)))
        loop.network.train()
        return found

    curve = Curve(measure, seconds)
    while (spent := curve.seconds) < seconds:
        for group in loop.optimiser.param_groups:
            group["lr"] = RATE * 0.5 ** int(4 * spent / seconds)
        loop.step()
        curve.look()
    return curve


def learn(trainer: LevelTrainer, clean: Tensor, seconds: float) -> Curve:
    """The curve of our training: a constant rate, then one that falls to zero, averaged weights."""
    curve = Curve(
        lambda: psnr(clean, lambda y, low, s: trainer.average(y, low, s).details), seconds
    )
    train_to(
        trainer, Budget(minutes=seconds / 60), clock=lambda: curve.seconds, after_step=curve.look
    )
    curve.points.append({"seconds": curve.seconds, "psnr": curve.measure()})
    return curve


def plot(content: dict[str, Any], file: Path) -> None:
    """Draw the curves."""
    figure, axis = pyplot().subplots(figsize=(6, 3.4), layout="constrained")
    for name, run in content["runs"].items():
        points = run["points"]
        seconds, values = ([p[key] for p in points] for key in ("seconds", "psnr"))
        axis.plot(seconds, values, ".-", label=name)
    axis.set_xlabel("processor seconds")
    axis.set_ylabel("validation PSNR in dB, σ = 25")
    axis.grid(alpha=0.3)
    axis.legend(fontsize="small")
    write_figure(figure, file)


def main(arguments: list[str] | None = None) -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--photos", type=Path, default=DATA / "photos")
    parser.add_argument("--minutes", type=float, default=9.0, help="of the plain recipe")
    parser.add_argument("--receptive-field", type=int, default=13)
    parser.add_argument("--json", type=Path, default=RESULTS / "learning.json")
    parser.add_argument("--plot", type=Path, default=ROOT / "docs" / "images" / "learning.svg")
    options = parser.parse_args(arguments)
    images = load_image_set(options.photos / "training", 1)
    held_out = load_image_set(options.photos / "validation", 1)
    shared: dict[str, Any] = {
        "levels": 1, "receptive_field": options.receptive_field, "batch": 16,
        "denoising_fraction": 0.0, "mean_fraction": 0.0, "gray_fraction": 0.0,
    }  # fmt: skip
    ours = Recipe(**shared)
    chance = Chance.of(48, torch.Generator().manual_seed(2))
    clean = draw_batch(held_out, ours, 1, chance).images
    content: dict[str, Any] = {"benchmark": "learning", **facts(), "runs": {}}
    content |= {"receptive_field": options.receptive_field, "sigma": 25}
    budget = 60 * options.minutes
    runs: dict[str, tuple[Any, dict[str, Any], float]] = {
        "plain recipe, float32": (learn_plainly, {"form": "bias-free", "precision": "float32"}, 1),
        "ours, float32": (learn, {"precision": "float32"}, 1 / 3),
        "ours": (learn, {}, 1 / 3),
    }
    aim = math.inf
    for name, (run, fields, share) in runs.items():
        trainer = trainer_of(Recipe(**(shared | fields)), images, held_out)
        curve = run(trainer, clean, share * budget)
        aim = min(aim, max(point["psnr"] for point in curve.points))
        content["runs"][name] = {
            "precision": trainer.precision,
            "seconds_to_plain_best": curve.reached(aim),
            "points": curve.points,
        }
        print(name, curve.points[-1], "plain's best after", curve.reached(aim), flush=True)
        write_json(options.json, content)
    plot(content, options.plot)


if __name__ == "__main__":
    main()

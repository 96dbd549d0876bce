"""One network for sampling and denoising, or one for each: the same work, measured.

    python -m benchmarks.uses --model photos --photos ../shared/data/photos

Networks of the details of level 1 are trained from scratch, the coarser levels are those of a
model: one for both uses in `--steps` steps, and one for each use alone in half as many.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch

from benchmarks.common import DATA, RESULTS, facts, load_prior, write_json
from scalewise.data import ImageSet, load_image_set
from scalewise.evaluation import evaluate_denoise, means
from scalewise.networks import LocalConditional
from scalewise.prior import MultiScalePrior
from scalewise.training import Recipe
from scalewise.training.batches import draw_batch
from scalewise.training.budget import Budget, train_to
from scalewise.training.chance import Chance
from scalewise.training.level import LevelTrainer
from scalewise.training.objectives import DetailsObjective

USES: dict[str, dict[str, Any]] = {
    "both": {"denoising_fraction": 0.5, "mean_fraction": 0.1},
    "denoising": {"denoising_fraction": 1.0, "mean_fraction": 0.0},
    "sampling": {"denoising_fraction": 0.0, "mean_fraction": 0.1},
}
SIGMAS = (15.0, 25.0, 50.0)


def train(
    prior: MultiScalePrior, uses: str, steps: int, images: ImageSet, held_out: ImageSet
) -> MultiScalePrior:
    """Train a new network of level 1 for some uses, and return the prior with it."""
    torch.manual_seed(0)
    recipe = Recipe(levels=prior.levels, **USES[uses], steps=steps)
    settings: Any = prior.details[0].settings
    network = LocalConditional(**settings)
    objective = DetailsObjective(network, prior.coarser, recipe, 1, network.sigma_data)
    trainer = LevelTrainer(objective, images, held_out, recipe, torch.device("cpu"))
    train_to(trainer, Budget(steps=steps))
    return MultiScalePrior(prior.low, [trainer.average, *prior.conditionals[1:]], prior.wavelet)


@torch.no_grad()
def measure(prior: MultiScalePrior, held_out: ImageSet) -> dict[str, Any]:
    """PSNR of denoising on crops of validation images, and the weighted loss of sampling."""
    generator = torch.Generator().manual_seed(1)
    crops = held_out.crops(24, 128, generator, flips=False)
    records = evaluate_denoise(prior, {str(i): c for i, c in enumerate(crops)}, sigmas=SIGMAS)
    recipe = Recipe(levels=prior.levels, **USES["sampling"])
    network: Any = prior.details[0]
    objective = DetailsObjective(network, prior.coarser, recipe, 1, network.sigma_data)
    losses = []
    for _ in range(20):
        chance = Chance.of(32, generator)
        batch = draw_batch(held_out, recipe, 1, chance).images
        losses.append(objective(batch, chance).item())
    return {
        "psnr": {f"{mean['sigma']:g}": mean["psnr"] for mean in means(records, "sigma")},
        "sampling_loss": sum(losses) / len(losses),
    }


def main(arguments: list[str] | None = None) -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--model", default="photos", help="packaged name or folder")
    parser.add_argument("--photos", type=Path, default=DATA / "photos")
    parser.add_argument("--steps", type=int, default=800)
    parser.add_argument("--json", type=Path, default=RESULTS / "uses.json")
    options = parser.parse_args(arguments)
    prior = load_prior(options.model, "cpu")
    images = load_image_set(options.photos / "training", 3)
    held_out = load_image_set(options.photos / "validation", 3)
    results = {}
    for uses in USES:
        steps = options.steps if uses == "both" else options.steps // 2
        made = measure(train(prior, uses, steps, images, held_out), held_out)
        results[uses] = {"steps": steps, **made}
        print(uses, results[uses], flush=True)
        write_json(options.json, {"benchmark": "uses", **facts("cpu"), "results": results})


if __name__ == "__main__":
    main()

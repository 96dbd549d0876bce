"""One training step, beside a plain loop over the published network; and the loader's share."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from scalewise.data import ImageSet
from scalewise.prior import MultiScalePrior
from scalewise.speed import baseline, layout
from scalewise.speed.layout import Row
from scalewise.speed.machine import Setting
from scalewise.training import Recipe
from scalewise.training.batches import draw_batch
from scalewise.training.chance import Chance
from scalewise.training.level import LevelTrainer
from scalewise.training.objectives import DetailsObjective
from scalewise.training.plan import Segment
from scalewise.wavelets import split

IMAGES, SIDE = 32, 256
"""Images of the training set, and their side."""

STEPS = 4
"""Steps that are timed at once, so that loading can overlap."""


@dataclass(frozen=True)
class Training:
    """What one step of training costs: loading, forward, backward, and the optimiser.

    Attributes:
        receptive_field: of the network.
        batch: crops per step.
        crop: side of the crops, in pixels.
        ratio_to_published: images per second, over those of the plain loop, both in float32 on a
            CPU and in bfloat16 on a GPU.
        ratio_automatic: the same with the precision that training takes by itself.
        precision: what that is.
        share_of_convolution_rate: operations per second, three times those of a forward pass,
            over those of one dense convolution.
        images_per_second: ours.
        images_per_second_published: of the plain loop.
        spread: of ours, from quartile to quartile, over the median.
        gflops: rate of ours.
        convolution_gflops: rate of the dense convolution, measured in turns with it.
        loader_share: time to draw a batch over that of a step; the network waits no longer.
    """

    receptive_field: int
    batch: int
    crop: int
    ratio_to_published: float
    ratio_automatic: float
    precision: str
    share_of_convolution_rate: float
    images_per_second: float
    images_per_second_published: float
    spread: float
    gflops: float
    convolution_gflops: float
    loader_share: float

    def rows(self) -> Iterator[Row]:
        """Lay out the record."""
        crops = f"{self.batch} crops of {self.crop}×{self.crop}"
        ours = f"{self.images_per_second:.1f} images/s"
        plain = f"{self.images_per_second_published:.1f} images/s"
        name = f"training, receptive field {self.receptive_field}, {crops}"
        yield name, ours, plain, f"{self.ratio_to_published:.2f}"
        if self.precision != "float32":
            speed = f"{self.images_per_second_published * self.ratio_automatic:.1f} images/s"
            name = f"  ours in {self.precision}, as it trains here"
            yield name, speed, plain, f"{self.ratio_automatic:.2f}"
        yield layout.rate(self.gflops, self.convolution_gflops)
        yield "  drawing a batch, of a step", layout.percent(self.loader_share), "", ""


class PlainLoop:
    """Training as it is written first: the published network, its normalisation, Adam.

    Args:
        trainer: ours, whose weights, images and recipe it starts with.
    """

    def __init__(self, trainer: LevelTrainer) -> None:
        network: Any = trainer.network
        self.network = baseline.published_form(network).to(trainer.device).train()
        self.network = self.network.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
        self.optimiser = torch.optim.Adam(self.network.parameters(), 1e-3)
        self.trainer, self.generator = trainer, torch.Generator().manual_seed(0)

    def levels(self, count: int) -> Tensor:
        """Noise levels of a batch, shape (count,): from 0 to 1 alike, as published."""
        return torch.rand(count, generator=self.generator)

    def step(self) -> None:
        """Draw a batch, find the noise in its details, and descend."""
        recipe, device = self.trainer.recipe, self.trainer.device
        count = recipe.at("batch", 1)
        chance = Chance.of(count, self.generator)
        images = draw_batch(self.trainer.images, recipe, 1, chance).images
        low, details = split(images.to(device), recipe.wavelet)
        sigma = self.levels(len(images)).view(-1, 1, 1, 1).to(device)
        noise = sigma * torch.randn(details.shape, generator=self.generator).to(device)
        with self.trainer.autocast():
            found = self.network(torch.cat([low, details + noise], dim=1))
            loss = F.mse_loss(found, noise)
        self.optimiser.zero_grad()
        loss.backward()
        self.optimiser.step()


def trainer_of(recipe: Recipe, device: torch.device) -> LevelTrainer:
    """Make the trainer of level 1 of gray images, with random weights and random images."""
    generator = torch.Generator().manual_seed(0)
    side = max(SIDE, 4 * recipe.at("crop", 1))
    shape = (IMAGES, 1, side, side)
    pixels = torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)
    images = ImageSet(list(pixels), "noise")
    network = baseline.details_network(
        1, recipe.at("receptive_field", 1), recipe.at("width", 1), recipe.depth
    )
    coarser = MultiScalePrior(baseline.low_network(1, (side // 2, side // 2), depth=2))
    objective = DetailsObjective(network.requires_grad_(True), coarser, recipe, 1, 0.05)
    return LevelTrainer(objective, images, images, recipe, device)


def measure_training(
    setting: Setting,
    batch: int = 16,
    crop: int = 64,
    receptive_field: int = 13,
    width: int = baseline.WIDTH,
    depth: int = baseline.DEPTH,
) -> Training:
    """Time steps of our trainer and of the plain loop, on crops of `crop` x `crop` pixels.

    Both run in the same precision, float32 on a CPU and bfloat16 on a GPU; ours once more in the
    precision that it takes by itself.
    """
    recipe = Recipe(
        levels=1,
        form="bias-free",
        receptive_field=receptive_field,
        width=width,
        depth=depth,
        batch=batch,
        crop=crop // 2,
        steps=1,
        precision="float32" if setting.device.type == "cpu" else "bfloat16",
    )
    trainer = trainer_of(recipe, setting.device)
    automatic = trainer_of(recipe.model_copy(update={"precision": "auto"}), setting.device)
    plain = PlainLoop(trainer)
    generator = torch.Generator().manual_seed(0)
    dense, dense_flops = setting.dense()

    def steps(trainer: LevelTrainer) -> None:
        step = trainer.state.step
        trainer.run(Segment(1, step, step + STEPS), lambda loss: None)

    def published_steps() -> None:
        for _ in range(STEPS):
            plain.step()

    works = {
        "dense": dense,
        "ours": lambda: steps(trainer),
        "automatic": lambda: steps(automatic),
        "published": published_steps,
        "loader": lambda: draw_batch(trainer.images, recipe, 1, Chance.of(batch, generator)),
    }
    times = setting.clock.compare(works)
    seconds = times["ours"].seconds / STEPS
    flops = 3 * baseline.flops_per_position(trainer.network) * batch * (crop // 2) ** 2
    limit = dense_flops / times["dense"].seconds
    return Training(
        receptive_field=receptive_field,
        batch=batch,
        crop=crop,
        ratio_to_published=times["published"].seconds / times["ours"].seconds,
        ratio_automatic=times["published"].seconds / times["automatic"].seconds,
        precision=automatic.precision,
        share_of_convolution_rate=flops / seconds / limit,
        images_per_second=batch / seconds,
        images_per_second_published=batch * STEPS / times["published"].seconds,
        spread=times["ours"].spread,
        gflops=flops / seconds / 1e9,
        convolution_gflops=limit / 1e9,
        loader_share=times["loader"].seconds / seconds,
    )

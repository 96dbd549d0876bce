"""The memory that a recipe needs, before anything of it is taken."""

from __future__ import annotations

import torch

from scalewise.data import ImageSet
from scalewise.device import memory_of
from scalewise.errors import UsageError
from scalewise.networks import Network
from scalewise.networks.memory import features_bytes, weights_bytes
from scalewise.training.batches import crop_side
from scalewise.training.recipe import Recipe, scale_name


def check_memory(recipe: Recipe, images: ImageSet, device: torch.device) -> None:
    """Refuse a recipe that needs more memory than a device has.

    Raises:
        UsageError: it does.
    """
    there = memory_of(device)
    needed, level = training_bytes(recipe, images, device)
    if there is not None and needed > there:
        scale = scale_name(level, recipe.levels).replace("low-pass", "the low-pass")
        raise UsageError(
            f"this recipe needs about {needed / 1e9:.3g} GB of memory, most of it for {scale}, and "
            f"{device.type} has {there / 1e9:.3g} GB; give smaller width, batch, crop or blocks"
        )


HALF = 0.7
"""Size of features in bfloat16, of which some stay in float32."""


def training_bytes(recipe: Recipe, images: ImageSet, device: torch.device) -> tuple[float, int]:
    """Bytes that training takes beside the images, about, and the level that takes most.

    The weights of all levels are held, and the features of one batch at a time.
    """
    share = HALF if recipe.precision_on(device) == "bfloat16" else 1.0
    weights, features = {}, {}
    for level in range(1, recipe.levels + 2):
        side = crop_side(images, recipe, level) >> min(level, recipe.levels)
        network = _network(recipe, images.channels, level, side)
        count = recipe.at("batch", level) if level <= recipe.levels else recipe.low_batch
        weights[level] = weights_bytes(network)
        shape = (count, images.channels, side, side)
        features[level] = share * features_bytes(network, shape)
    most = max(weights, key=lambda level: weights[level] + features[level])
    return sum(weights.values()) + max(features.values()), most


def _network(recipe: Recipe, channels: int, level: int, side: int) -> Network:
    """A level's network without memory; `levels + 1` stands for the low-pass image."""
    with torch.device("meta"):
        if level <= recipe.levels:
            return recipe.details_network(channels, level, 1.0)
        return recipe.low_network(channels, (side, side), 1.0)

"""What a level learns from: crops of the images, at its scale."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from scalewise.data import ImageSet
from scalewise.errors import ScalewiseError
from scalewise.images import to_channels
from scalewise.noise import NoiseLevels
from scalewise.noise_field import SIDE
from scalewise.training.chance import Chance
from scalewise.training.recipe import Recipe
from scalewise.training.variety import draw_distance, other_colours, reduced
from scalewise.wavelets import low_pass


def crop_side(images: ImageSet, recipe: Recipe, level: int) -> int:
    """Side in pixels of the crops of a level; `levels + 1` stands for the low-pass image.

    Raises:
        ScalewiseError: the images are too small for the levels.
    """
    if level > recipe.levels:
        stride, wanted = 1 << recipe.levels, recipe.low_crop
        if images.size and images.size[0] == images.size[1] <= 4 * wanted * stride:
            wanted = images.size[0] // stride
    else:
        stride, wanted = 1 << level, recipe.at("crop", level)
    side = min(wanted, min(images.smallest) // stride)
    if side < 8:
        raise ScalewiseError(
            f"the smallest image of {images.name!r} has sides of {images.smallest}, too small for "
            f"{recipe.levels} levels: at least {8 * stride} pixels are needed; train with fewer "
            "levels or larger images"
        )
    return side * stride


def largest_crop(recipe: Recipe) -> int:
    """Side in pixels of the largest crops that a recipe asks for."""
    details = [recipe.at("crop", level) << level for level in range(1, recipe.levels + 1)]
    return max([*details, recipe.low_crop << recipe.levels])


class Noise(NamedTuple):
    """What noise images have.

    Attributes:
        levels: in the bands of each level, from the scale of the images on.
        more: other noise like it, of the shape of the images.
    """

    levels: NoiseLevels
    more: Tensor

    def both_ways(self) -> Noise:
        """That of a batch and of the same batch again, `more` in the other direction."""
        levels = self.levels.over(
            lambda level: torch.cat([level, level]) if len(level) > 1 else level
        )
        return Noise(levels, torch.cat([self.more, -self.more]))


class Batch(NamedTuple):
    """Images of one scale to learn from.

    Attributes:
        images: shape (N, C, H, W), float32.
        noise: that they have; None where they are clean.
    """

    images: Tensor
    noise: Noise | None = None

    def to(self, device: torch.device) -> Batch:
        """The same on a device."""
        if self.noise is None:
            return Batch(self.images.to(device))
        levels, more = self.noise
        return Batch(self.images.to(device), Noise(levels.to(device), more.to(device)))


def batch_of(images: ImageSet, pairs: int) -> int:
    """Images of a batch that is to have so many: of noisy ones half, each of which makes two."""
    return -(-pairs // 2) if images.noise else pairs


def draw_batch(
    images: ImageSet, recipe: Recipe, level: int, chance: Chance, *, varied: bool = True
) -> Batch:
    """Draw images of the scale that a level starts from, `x_{level-1}`: those of this process.

    A share `recipe.gray_fraction` of an RGB batch of clean images is made gray; of low-pass images
    the last, which learn to be denoised. Images whose noise is related between pixels stay upright,
    as it may not be the same across as down.

    Args:
        images: from which they are cut.
        recipe: says how.
        level: from 1; `levels + 1` stands for the low-pass image.
        chance: of the batch.
        varied: whether clean images are reduced and get other colours, as often as the recipe says.
    """
    turned, varied = images.field is None, varied and not images.noise
    side = crop_side(images, recipe, level)
    farthest = min(images.smallest) / side
    times = draw_distance(recipe.reduced_fraction, chance, farthest) if varied else 1.0
    crops, places = images.draw(
        chance.count,
        round(times * side),
        chance.generator,
        flips=turned,
        rotate=turned and recipe.rotate,
        only=chance.places,
    )
    if images.noise:
        return _noisy_batch(images, recipe, level, crops, places, chance)
    if times > 1:
        crops = reduced(crops, side)
    if varied and recipe.colour_fraction and images.channels == 3:
        crops = other_colours(crops, recipe.colour_fraction, chance)
    grays = round(recipe.gray_fraction * chance.count) if images.channels == 3 else 0
    if grays:
        last = torch.tensor(chance.places) >= chance.count - grays
        chosen = (last if level > recipe.levels else chance.some(grays)).to(crops.device)
        crops[chosen] = to_channels(crops[chosen], 1)[0]
    return Batch(low_pass(crops, level - 1, recipe.wavelet))


def _noisy_batch(
    images: ImageSet,
    recipe: Recipe,
    level: int,
    crops: Tensor,
    places: list[int],
    chance: Chance,
) -> Batch:
    """Crops of noisy images at a level's scale, and other noise like theirs."""
    models = [images.noise[place] for place in places]
    pairs = zip(models, crops, strict=True)
    wavelet = recipe.wavelet
    levels = NoiseLevels.joined([m.levels(c[None], recipe.levels, wavelet) for m, c in pairs])
    if images.field is None:
        more = levels.shape(chance.white_noise(crops), wavelet)
    else:
        strengths = crops.new_tensor([model.sigma for model in models]).view(-1, 1, 1, 1)
        height, width = crops.shape[-2:]
        white = F.pad(crops, (0, max(0, SIDE - width), 0, max(0, SIDE - height)))
        drawn = images.field.shape(chance.normal(white))
        more = strengths * drawn[..., :height, :width]
    for _ in range(1, level):
        levels = levels.coarser
    low, less = (low_pass(each, level - 1, wavelet) for each in (crops, more))
    return Batch(low, Noise(levels, less))

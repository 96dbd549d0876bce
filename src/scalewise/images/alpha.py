"""Colours under transparent pixels, which no eye sees."""

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from scalewise.images.picture import Picture


def fill_hidden(picture: Picture) -> Picture:
    """Give fully transparent pixels the colours of visible ones near them.

    What is stored under alpha 0 cannot be seen and may be anything. A network that sees it lets it
    bleed into visible edges; so it is replaced by the mean of the visible pixels nearby, weighted
    by alpha, of the finest scale that has any (the pull-push method of Gortler et al. 1996).
    Visible pixels stay as they are.

    Returns:
        The picture with filled pixels; itself if no pixel is fully transparent.
    """
    if picture.alpha is None or bool((picture.alpha > 0).all()):
        return picture
    visible = picture.alpha > 0
    filled = _pull_push(picture.pixels, picture.alpha)
    return replace(picture, pixels=torch.where(visible, picture.pixels, filled))


def _pull_push(pixels: Tensor, weight: Tensor) -> Tensor:
    """Means of visible pixels, from the finest scale that has any."""
    height, width = pixels.shape[-2:]
    if height == width == 1:
        return torch.where(weight > 0, pixels, 0)
    summed, weights = (
        F.avg_pool2d(values, 2, ceil_mode=True, count_include_pad=False)
        for values in (torch.where(weight > 0, pixels * weight, 0), weight)
    )
    coarse = _pull_push(summed / weights.clamp(min=1e-12), weights)
    large = F.interpolate(coarse, size=(height, width), mode="bilinear", align_corners=False)
    return torch.where(weight > 0, pixels, large)

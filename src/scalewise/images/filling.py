"""Filling pixels that hold nothing from those around them."""

import torch
import torch.nn.functional as F
from torch import Tensor


def filled(pixels: Tensor, weight: Tensor) -> Tensor:
    """Fill pixels of weight 0 by means of others, from the finest scale that has any.

    The pull-push method of Gortler et al., The lumigraph, 1996: weighted means of 2x2 pixels are
    taken until one is left, and enlarged again where there is nothing better.

    Args:
        pixels: shape (P, C, H, W).
        weight: shape (P, 1, H, W), not negative.
    """
    height, width = pixels.shape[-2:]
    if height == width == 1:
        return torch.where(weight > 0, pixels, 0)
    summed, weights = (
        F.avg_pool2d(values, 2, ceil_mode=True, count_include_pad=False)
        for values in (torch.where(weight > 0, pixels * weight, 0), weight)
    )
    coarse = filled(summed / weights.clamp(min=1e-12), weights)
    large = F.interpolate(coarse, size=(height, width), mode="bilinear", align_corners=False)
    return torch.where(weight > 0, pixels, large)

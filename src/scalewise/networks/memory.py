"""What a step of training takes in memory, found without taking it."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from scalewise.networks.base import Network

COPIES = 6
"""Arrays as large as the weights: weights, gradients, two moments at most, average and best."""

BACKWARD = 1.4
"""A step's peak over the features that it keeps: gradients, and features that are not kept."""


def weights_bytes(network: Network) -> int:
    """Bytes of a network's weights in training, with all that is kept beside each."""
    return COPIES * sum(tensor.numel() * tensor.element_size() for tensor in network.parameters())


def features_bytes(network: Network, shape: tuple[int, int, int, int]) -> float:
    """Bytes of the features of a step in float32, infinite where they cannot be counted.

    Args:
        network: on PyTorch's meta device, where arrays have shapes and no memory.
        shape: (N, C, h, w) of a batch of images, or of low-pass images for a conditional network.
    """
    weights = {tensor.untyped_storage()._cdata for tensor in network.parameters()}
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in weights:
            kept[storage._cdata] = storage.nbytes()
        return tensor

    try:
        images = torch.empty(shape, device="meta")
        sigma = torch.empty(shape[0], device="meta") if network.noise_conditional else None
        details = [images.repeat(1, 3, 1, 1)] if network.conditional else []
        with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(keep, _same):
            outputs = network.train()(*details, images, sigma)  # kept, so that storages differ
    except RuntimeError:  # more than 2**63
        return math.inf
    del outputs
    return BACKWARD * sum(kept.values())


def _same(tensor: Tensor) -> Tensor:
    return tensor

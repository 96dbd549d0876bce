"""Small images on a GPU: the kernels of a denoiser recorded once as a CUDA graph, and replayed.

Launching the kernels of a network costs more than computing a small image. A graph launches all of
them at once, so a sampler of many calls pays the cost of launching only while it records.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from scalewise.networks.fast import exact

LARGEST = 1 << 20
"""Numbers of a noisy batch above which computing outweighs launching."""


def replayed(
    denoise: Callable[[Tensor, Tensor], Tensor], noisy: Tensor, sigma: Tensor
) -> Callable[[Tensor, Tensor], Tensor]:
    """Return a denoiser whose calls replay a recording; on other devices the one given.

    Args:
        denoise: maps (noisy, sigma of shape (N,)) to the clean estimate, with kernels alone: no
            value of a tensor decides what it does.
        noisy: of the shape of all calls to come, (N, M, H, W).
        sigma: the same, (N,).
    """
    small = noisy.is_cuda and noisy.numel() <= LARGEST
    if not small or exact() or torch.is_grad_enabled():
        return denoise
    given = noisy.clone(), sigma.clone()
    replay, held = recorded(lambda: denoise(*given))

    def call(noisy: Tensor, sigma: Tensor) -> Tensor:
        given[0].copy_(noisy)
        given[1].copy_(sigma)
        replay()
        clean: Tensor = held().clone()
        return clean

    return call


def recorded(work: Callable[[], Any]) -> tuple[Callable[[], None], Callable[[], Any]]:
    """Record the kernels of a work as a CUDA graph; return its replay, and what holds the result.

    What the work reads must stay where it is; new values are written into it.
    """
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):  # libraries choose their kernels and take their memory
            work()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        result = work()
    return graph.replay, lambda: result

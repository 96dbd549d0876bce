"""Small images on a GPU: the kernels of a network recorded once as a CUDA graph, and replayed.

Launching the kernels of a network costs more than computing a small image. A graph launches all of
them at once. Recordings stay with their network, so that a sampler pays for one at its first batch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from threading import Lock
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from scalewise.networks.base import Network

LARGEST = 1 << 20
"""Numbers of a noisy batch above which computing outweighs launching."""

DIRECT = 2
"""Calls before one is recorded: a few calls alone are not worth it."""

KEPT = 4
"""Recordings that a network has at most; each holds the memory of all its features."""


def replayed(network: Network) -> Callable[..., Any]:
    """Return a network for many calls, which replays its kernels where that pays.

    That is on a GPU, for small inputs, when nothing is differentiated and no hook wants to see the
    call.

    Args:
        network: works by kernels alone: no value of a tensor decides what it does. It gives a
            tensor or a named tuple of tensors, and its weights stay where they are meanwhile.

    Returns:
        Takes the inputs of `forward`, in its order; the first is as large as any.
    """
    places = cache(lambda: _places(network))

    def call(*inputs: Tensor) -> Any:
        if not suits(network, inputs):
            return network(*inputs)
        with _LOCK:
            tapes = _TAPES.setdefault(network, {})
            own = _LOCKS.setdefault(network, Lock())
        with own:
            key = (places(), *_kind(network, inputs))
            tapes[key] = tape = tapes.pop(key, None) or Tape()
            for oldest in list(tapes)[:-KEPT]:
                del tapes[oldest]
            return tape.play(network, inputs)

    return call


def suits(network: Network, inputs: Sequence[Tensor]) -> bool:
    """Tell whether a call may be replayed, and is small enough to gain by it."""
    if not inputs[0].is_cuda or inputs[0].numel() > LARGEST or network.exact:
        return False
    if torch.is_grad_enabled() or network._forward_pre_hooks or network._forward_hooks:
        return False
    # a recording would read weights that autocast keeps for as long as its context lasts
    return not (torch.is_autocast_enabled("cuda") and torch.is_autocast_cache_enabled())


class Tape:
    """The calls of a network on inputs of one kind: the first directly, the rest recorded.

    Attributes:
        calls: so far.
        given: the inputs that the recording reads, once there is one.
        replay: computes the result from `given`.
        result: gives what was computed last.
    """

    def __init__(self) -> None:
        self.calls = 0
        self.given: list[Tensor] = []
        self.replay: Callable[[], None] = lambda: None
        self.result: Callable[[], Any] = lambda: None

    def play(self, network: Network, inputs: Sequence[Tensor]) -> Any:
        """Return what the network gives for inputs of the kind of all calls before."""
        self.calls += 1
        if self.calls <= DIRECT:
            return network(*inputs)
        if not self.given:
            self.given = [value.clone() for value in inputs]
            with _RECORDING:
                self.replay, self.result = recorded(lambda: network(*self.given))
        torch._foreach_copy_(self.given, list(inputs))
        self.replay()
        found = self.result()
        if isinstance(found, Tensor):
            return found.clone()
        return type(found)(*(value.clone() for value in found))


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
    with torch.cuda.graph(graph, capture_error_mode="thread_local"):  # others may play theirs
        result = work()
    return graph.replay, lambda: result


_TAPES: WeakKeyDictionary[Network, dict[tuple[object, ...], Tape]] = WeakKeyDictionary()
_LOCKS: WeakKeyDictionary[Network, Lock] = WeakKeyDictionary()
"""Held while a network's recordings are made or played: one thread at a time writes its inputs."""
_LOCK, _RECORDING = Lock(), Lock()
"""Held while a network's recordings are looked up, and while any network is recorded."""


def _places(network: Network) -> tuple[int, ...]:
    """Where a network's weights are; a quarter of a millisecond for a U-Net."""
    return tuple(weight.data_ptr() for weight in [*network.parameters(), *network.buffers()])


def _kind(network: Network, inputs: Sequence[Tensor]) -> tuple[object, ...]:
    """What else a recording depends on: kinds of inputs, and modes; no values."""
    device = inputs[0].device
    stream = torch.cuda.current_stream(device) if device.type == "cuda" else None
    autocast = torch.is_autocast_enabled(device.type) and torch.get_autocast_dtype(device.type)
    kinds = tuple((v.shape, v.dtype, v.device) for v in inputs)
    modes = network.training, network.precision, autocast, torch.is_inference_mode_enabled()
    return stream, modes, kinds

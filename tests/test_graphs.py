"""Replayed networks: recorded once for each kind of call, and giving what direct calls give."""

from __future__ import annotations

import gc
from collections.abc import Callable
from threading import Thread
from typing import Any

import pytest
import torch
from torch import Tensor

from scalewise.networks import LocalConditional, LocalDenoiser, Network, graphs
from scalewise.prior import MultiScalePrior
from scalewise.speed.sampling import counted

SIGMA = torch.tensor([0.1])


def details() -> LocalConditional:
    """A network of details with random weights, none of them zero."""
    network = LocalConditional(1, 5, width=4, blocks=1).eval()
    torch.nn.init.normal_(network.leave.weight)
    return network


def bands(count: int = 1, side: int = 6) -> tuple[Tensor, Tensor, Tensor]:
    """What a network of details is given: noisy details, low-pass image, noise level."""
    return torch.rand(count, 3, side, side), torch.rand(count, 1, side, side), SIGMA


class Recorder:
    """Records as a CUDA graph does: what a replay computes is read from where it was then."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, work: Callable[[], Any]) -> tuple[Callable[[], None], Callable[[], Any]]:
        self.count += 1
        results: list[Any] = []

        def again() -> None:
            results[:] = [work()]

        return again, lambda: results[0]


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    """Have small inputs on the CPU recorded, by a stand-in for CUDA graphs."""
    recorder = Recorder()
    monkeypatch.setattr(graphs, "recorded", recorder)
    monkeypatch.setattr(graphs, "suits", lambda network, inputs: not network._forward_pre_hooks)
    return recorder


@torch.no_grad()
def test_gives_what_calls_give(recorder: Recorder) -> None:
    network = details()
    kept = []
    for _ in range(5):
        given = bands()
        found = graphs.replayed(network)(*given)
        kept.append((found, network(*given)))
    assert recorder.count == 1
    for found, expected in kept:  # a result is the caller's: later calls leave it alone
        assert torch.equal(found.details, expected.details)
        assert torch.equal(found.low, expected.low)


@torch.no_grad()
def test_a_few_calls_are_not_worth_a_recording(recorder: Recorder) -> None:
    network = details()
    for _ in range(graphs.DIRECT):
        graphs.replayed(network)(*bands())
    assert recorder.count == 0
    graphs.replayed(network)(*bands())
    assert recorder.count == 1


@torch.no_grad()
def test_later_batches_take_the_recording(recorder: Recorder) -> None:
    low = LocalDenoiser(1, 5, width=4, blocks=1).eval()
    prior = MultiScalePrior(low, [details()])
    direct = prior.sample(2, size=(8, 8), batch=1)
    assert recorder.count == 2  # one for each network
    assert torch.equal(prior.sample(2, size=(8, 8), batch=1), direct)
    assert recorder.count == 2


@torch.no_grad()
def test_every_kind_of_call_has_its_own(recorder: Recorder) -> None:
    network = details()
    kinds = [bands(), bands(2), bands(side=8)]
    for _ in range(graphs.DIRECT + 2):
        for given in kinds:
            assert torch.equal(graphs.replayed(network)(*given).details, network(*given).details)
    assert recorder.count == len(kinds)


@torch.no_grad()
def test_the_oldest_is_forgotten(recorder: Recorder) -> None:
    network = details()
    for side in range(4, 4 + graphs.KEPT + 1):
        for _ in range(graphs.DIRECT + 1):
            graphs.replayed(network)(*bands(side=side))
    assert len(graphs._TAPES[network]) == graphs.KEPT
    assert recorder.count == graphs.KEPT + 1
    graphs.replayed(network)(*bands(side=5))
    assert recorder.count == graphs.KEPT + 1


@torch.no_grad()
def test_weights_that_moved_are_recorded_anew(recorder: Recorder) -> None:
    network = details()
    given = bands()
    for _ in range(graphs.DIRECT + 1):
        graphs.replayed(network)(*given)
    network.leave.weight.mul_(2)  # in place: the recording reads it
    assert torch.equal(graphs.replayed(network)(*given).details, network(*given).details)
    network.leave.weight = torch.nn.Parameter(3 * network.leave.weight)
    for _ in range(graphs.DIRECT + 1):
        assert torch.equal(graphs.replayed(network)(*given).details, network(*given).details)
    assert recorder.count == 2


@torch.no_grad()
def test_hooks_see_every_call(recorder: Recorder) -> None:
    low = LocalDenoiser(1, 5, width=4, blocks=1).eval()
    prior = MultiScalePrior(low, [details()])
    with counted(prior) as calls:
        prior.sample(1, size=(8, 8))
    assert calls == {"low": 40, "level 1": 11}  # the first tells where to begin


@torch.no_grad()
def test_recordings_go_with_their_network(
    recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def graph(work: Callable[[], Any]) -> tuple[Callable[[], None], Callable[[], Any]]:
        result = work()
        return lambda: None, lambda: result  # unlike the recorder, a graph lets go of the work

    monkeypatch.setattr(graphs, "recorded", graph)
    network = details()
    gc.collect()
    before = len(graphs._TAPES)
    for _ in range(graphs.DIRECT + 1):
        graphs.replayed(network)(*bands())
    assert len(graphs._TAPES) == before + 1
    del network
    gc.collect()
    assert len(graphs._TAPES) == before


@torch.no_grad()
def test_is_for_gpus() -> None:
    network = details()
    for _ in range(graphs.DIRECT + 1):
        graphs.replayed(network)(*bands())
    assert network not in graphs._TAPES


def on_gpu(network: Network, *inputs: Tensor) -> bool:
    """Whether a call would be replayed if its inputs were on a GPU."""

    class Elsewhere:
        is_cuda = True

        def numel(self) -> int:
            return inputs[0].numel()

    return graphs.suits(network, [Elsewhere()])  # type: ignore[list-item]


def test_is_for_small_inputs_and_nothing_to_differentiate(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    network = details()
    small, large = torch.empty(1, 3, 8, 8), torch.empty(1, 3, 1024, 1024)
    assert not on_gpu(network, small)
    with torch.no_grad():
        assert on_gpu(network, small)
        assert not on_gpu(network, large)
        with monkeypatch.context() as patch:  # autocast for GPUs turns itself off without one
            patch.setattr(torch, "is_autocast_enabled", lambda device: True)
            assert not on_gpu(network, small)
        hook = network.register_forward_hook(lambda *_: None)
        assert not on_gpu(network, small)
        hook.remove()
        network.exact = True
        assert not on_gpu(network, small)


@pytest.mark.gpu
@torch.no_grad()
def test_gives_what_calls_give_on_a_gpu() -> None:
    network = details().cuda()
    for _ in range(graphs.DIRECT + 2):
        given = [value.cuda() for value in bands()]
        found = graphs.replayed(network)(*given)
        assert torch.allclose(found.details, network(*given).details, atol=1e-5)
    assert [tape.calls for tape in graphs._TAPES[network].values()] == [graphs.DIRECT + 2]


@torch.no_grad()
def test_networks_do_not_wait_for_each_other(recorder: Recorder) -> None:
    """One network is played within the call of another, as another thread would."""
    inner, outer = details(), details()
    answers = []

    def within(*_: Any) -> None:
        thread = Thread(target=lambda: answers.append(graphs.replayed(inner)(*bands())))
        thread.start()
        thread.join(10)

    outer.exact = True  # layer by layer, so that the hook is called
    outer.leave.register_forward_hook(within)
    graphs.replayed(outer)(*bands())
    assert len(answers) == 1

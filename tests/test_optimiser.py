"""Steps of weights: what moves them, in any layout, and what is kept of them."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from scalewise.networks import BiasFreeDenoiser, LocalConditional, Network, UNet
from scalewise.training.optimiser import KERNEL_RATE, Optimiser


def network() -> Network:
    torch.manual_seed(0)
    return LocalConditional(channels=1, receptive_field=9, width=16, blocks=2)


def with_gradients(module: nn.Module, seed: int = 1) -> dict[str, Tensor]:
    """Give every weight a random gradient; return what the weights are."""
    generator = torch.Generator().manual_seed(seed)
    for weight in module.parameters():
        drawn = torch.randn(weight.shape, generator=generator)
        weight.grad = torch.empty_like(weight).copy_(drawn)  # laid out alike, as autograd does
    return {name: weight.detach().clone() for name, weight in module.named_parameters()}


def moved(module: nn.Module, before: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: weight.detach() - before[name] for name, weight in module.named_parameters()}


def test_kernels_between_features_take_steps_of_equal_singular_values() -> None:
    """Outputs and inputs of the first and last convolution are the image's: those are AdamW's."""
    module = network()
    optimiser = Optimiser(module, 0.01, 0.0)
    before = with_gradients(module)
    optimiser.step()
    steps = moved(module, before)
    inner = {name for name in steps if "spatial.weight" in name or "pointwise.weight" in name}
    assert len(inner) == 4
    for name, step in steps.items():
        if name in inner:
            matrix = step.flatten(1) / (
                KERNEL_RATE * 0.01 * 0.2 * max(step.flatten(1).shape) ** 0.5
            )
            values = torch.linalg.svdvals(matrix)
            assert 0.5 < values.min() < values.max() < 1.5
            gradient = dict(module.named_parameters())[name].grad
            assert gradient is not None
            assert float((step * gradient).sum()) < 0
        else:
            assert step.abs().allclose(torch.tensor(0.01), rtol=1e-3)  # AdamW's first step


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_layouts_change_nothing(layout: torch.memory_format) -> None:
    one, other = network(), copy.deepcopy(network())
    other.to(memory_format=layout)  # type: ignore[call-overload]
    for module in (one, other):
        optimiser = Optimiser(module, 0.01, 1e-4)
        for turn in range(3):
            with_gradients(module, turn)
            optimiser.step()
    for left, right in zip(one.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(left, right, rtol=1e-4, atol=2e-4)  # Muon computes in bfloat16


@pytest.mark.parametrize(
    "module", [network(), UNet(1, (16, 16), width=8), BiasFreeDenoiser(1, [3, 3, 3])]
)
def test_a_run_that_goes_on_steps_as_the_one_that_was_not_broken_off(module: Network) -> None:
    twin = copy.deepcopy(module)
    optimiser = Optimiser(module, 0.01, 1e-4)
    with_gradients(module)
    optimiser.step()
    twin.load_state_dict(module.state_dict())
    resumed = Optimiser(twin, 0.01, 1e-4)
    resumed.load_state_dict(copy.deepcopy(optimiser.state_dict()))
    for one, its in ((module, optimiser), (twin, resumed)):
        with_gradients(one, 2)
        its.step()
    for left, right in zip(module.parameters(), twin.parameters(), strict=True):
        assert torch.equal(left, right)


def test_weights_without_a_gradient_stay_and_gradients_are_forgotten() -> None:
    module = network()
    optimiser = Optimiser(module, 0.01, 1e-4)
    before = with_gradients(module)
    optimiser.zero_grad()
    optimiser.step()
    assert not any(step.any() for step in moved(module, before).values())


def test_state_of_an_earlier_version_is_refused() -> None:
    """Its runs were AdamW's alone."""
    module = network()
    state = torch.optim.AdamW(module.parameters()).state_dict()
    with pytest.raises(ValueError, match="of an earlier version"):
        Optimiser(module, 0.01, 1e-4).load_state_dict(state)

"""Steps of weights: Muon for the kernels between features, AdamW for all others."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from scalewise.networks import Network

KERNEL_RATE, RMS = 3.0, 0.2
"""How many times the rate of AdamW that of Muon is, once root mean squares of their steps agree;
and that of a step of AdamW of rate 1 (Liu et al., "Muon is scalable for LLM training", 2025)."""

MOMENTUM, QUINTIC = 0.95, ((3.4445, -4.7750, 2.0315),) * 5
"""Of Muon; and the polynomials that take singular values from 0 to 1 towards 1, one after the other
(Jordan et al., "Muon: an optimizer for hidden layers in neural networks", 2024)."""

KEPT = {"kernels": {"momentum"}, "others": {"exp_avg", "exp_avg_sq", "step"}}
"""What each part keeps of a weight."""


class Muon(torch.optim.Optimizer):
    """Steps along gradients whose singular values are all made about one (Jordan et al. 2024).

    As `torch.optim.Muon`, but in the precision of the weights: that one rounds to bfloat16, so that
    runs on several processes, whose sums differ by rounding, went ways of their own.

    Args:
        matrices: weights of two axes.
        weight_decay: of them.
    """

    def __init__(self, matrices: list[nn.Parameter], weight_decay: float) -> None:
        super().__init__(matrices, {"lr": 0.0, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]
        """Move the weights that have a gradient."""
        for group in self.param_groups:
            for matrix in group["params"]:
                if matrix.grad is None:
                    continue
                kept = self.state[matrix]
                if not kept:
                    kept["momentum"] = torch.zeros_like(matrix)
                momentum = kept["momentum"]
                momentum.lerp_(matrix.grad, 1 - MOMENTUM)
                ahead = matrix.grad.lerp(momentum, MOMENTUM)  # Nesterov's
                matrix.mul_(1 - group["lr"] * group["weight_decay"])
                size = RMS * max(matrix.shape) ** 0.5
                matrix.add_(orthogonal(ahead), alpha=-group["lr"] * size)


def orthogonal(matrix: Tensor) -> Tensor:
    """About the nearest matrix with singular values of one: they come out from 0.7 to 1.2.

    Args:
        matrix: any; singular values that are tiny beside the largest stay small.
    """
    wide = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    wide = wide / wide.norm().clamp(min=1e-30)
    for linear, cubic, quintic in QUINTIC:
        gram = wide @ wide.T
        wide = torch.addmm(
            wide, torch.addmm(gram, gram, gram, beta=cubic, alpha=quintic), wide, beta=linear
        )
    return wide if matrix.shape[0] <= matrix.shape[1] else wide.T


class Optimiser:
    """One optimiser of a network's weights.

    The kernels of a convolution between features, seen as a matrix of outputs times inputs, take
    steps whose singular values are all about one (`Muon`), by which a local network learns in 700
    steps what takes AdamW 1,200 (`benchmarks/LOG.md`). AdamW moves what has no such matrix: kernels
    that meet the image (the first and the last of a network), biases, and what tells the noise
    level; and all of a blind network, whose batch normalisation leaves the size of its kernels no
    meaning, and which learnt no faster by Muon.

    Args:
        network: whose weights are moved, already on its device and in its layout.
        rate: of AdamW; that of Muon follows.
        weight_decay: of all of them.

    Attributes:
        rate: of the steps to come.
    """

    def __init__(self, network: Network, rate: float, weight_decay: float) -> None:
        self.rate, self.network = rate, network
        layers = [layer for layer in network.modules() if isinstance(layer, nn.Conv2d)]
        inner = layers[1:-1] if network.noise_conditional else []
        self.kernels = [layer.weight for layer in inner]
        moved = set(map(id, self.kernels))
        others = [weight for weight in network.parameters() if id(weight) not in moved]
        self.matrices = [
            nn.Parameter(_as_matrix(kernel.detach(), kernel)) for kernel in self.kernels
        ]
        fused = all(weight.device.type in ("cpu", "cuda") for weight in others)
        self.parts: dict[str, torch.optim.Optimizer] = {
            "others": torch.optim.AdamW(
                others, betas=(0.9, 0.99), weight_decay=weight_decay, fused=fused
            )
        }
        if self.matrices:
            self.parts["kernels"] = Muon(self.matrices, weight_decay)

    def zero_grad(self) -> None:
        """Forget the gradients of all weights."""
        self.network.zero_grad()

    def step(self) -> None:
        """Move the weights along their gradients."""
        for matrix, kernel in zip(self.matrices, self.kernels, strict=True):
            matrix.grad = None if kernel.grad is None else _as_matrix(kernel.grad, kernel)
        for name, part in self.parts.items():
            for group in part.param_groups:
                group["lr"] = self.rate * (KERNEL_RATE if name == "kernels" else 1.0)
            part.step()

    def state_dict(self) -> dict[str, Any]:
        """What a run that goes on needs of it: the moments of its parts."""
        return {name: part.state_dict()["state"] for name, part in self.parts.items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go back to what `state_dict` gave.

        Raises:
            ValueError: it is of other weights, of another optimiser, or damaged.
        """
        if state.keys() != self.parts.keys():
            raise ValueError("its steps were of another optimiser, of an earlier version")
        for name, part in self.parts.items():
            part.load_state_dict(part.state_dict() | {"state": state[name]})
            for weight, kept in part.state.items():
                _check(KEPT[name], kept, weight)


def _as_matrix(tensor: Tensor, kernel: Tensor) -> Tensor:
    """Outputs times inputs, laid out as a kernel is, in memory of channels first or last."""
    first = kernel.is_contiguous()
    return (tensor if first else tensor.permute(0, 2, 3, 1)).reshape(len(kernel), -1)


def _check(names: set[str], kept: dict[str, Any], weight: Tensor) -> None:
    """Raise a `ValueError` if what is kept of a weight cannot go on."""
    if kept.keys() != names:
        raise ValueError("moments of another optimiser")
    for name, value in kept.items():
        if (value.numel() != 1) if name == "step" else (value.shape != weight.shape):
            raise ValueError("moments of other weights")

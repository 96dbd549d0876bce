"""Whether fast computing keeps the quality: every precision against float64 on the CPU."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from scalewise.metrics import pooled_psnr
from scalewise.prior import MultiScalePrior
from scalewise.speed.forward import ready
from scalewise.speed.layout import Row
from scalewise.speed.machine import autocast

LOST = 0.02
"""Decibels of PSNR by which a precision may change the result."""

PRECISIONS = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}


@dataclass(frozen=True)
class Agreement:
    """How one precision does on a device.

    Attributes:
        precision: a name in `PRECISIONS`.
        psnr_change: PSNR less that of float64 on the CPU, in dB.
        error: greatest difference of the images.
        holds: whether the PSNR changes by no more than `LOST`.
    """

    precision: str
    psnr_change: float
    error: float
    holds: bool

    def rows(self) -> Iterator[Row]:
        """Lay out the record."""
        holds = "holds" if self.holds else "FAILS"
        name = f"denoising in {self.precision}, {holds}"
        yield name, f"{self.psnr_change:+.4f} dB", "float64 on the CPU", ""


@torch.no_grad()
def measure_agreement(
    prior: MultiScalePrior, clean: Tensor, device: torch.device, sigma: float = 25 / 255
) -> list[Agreement]:
    """Denoise images (N, C, H, W) in every precision, and compare with float64 on the CPU."""
    noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))
    noisy = clean + sigma * noise
    exact = copy.deepcopy(prior).cpu().double().denoise(noisy.double(), sigma)
    expected = pooled_psnr(clean, exact)
    prior = ready(copy.deepcopy(prior), device)
    found = []
    for name, dtype in PRECISIONS.items():
        with autocast(device, dtype):
            result = prior.denoise(noisy.to(device), sigma).cpu().double()
        change, error = pooled_psnr(clean, result) - expected, (result - exact).abs().max().item()
        found.append(Agreement(name, change, error, abs(change) <= LOST))
    return found


def best_precision(found: list[Agreement]) -> torch.dtype:
    """The fastest precision that holds: bfloat16, float16, else float32."""
    held = {agreement.precision for agreement in found if agreement.holds}
    names = [name for name in ("bfloat16", "float16") if name in held]
    return PRECISIONS[names[0] if names else "float32"]

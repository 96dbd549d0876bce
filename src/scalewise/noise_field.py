"""Noise like that of images: stationary Gaussian fields of a spectrum that was measured."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

SIDE = 32
"""Side of the blocks of which a spectrum is measured: noise further apart is taken as unrelated."""


@dataclass(frozen=True)
class NoiseField:
    """Stationary Gaussian noise, related between near pixels and between channels.

    Attributes:
        kernel: what white noise is convolved with, shape (C, C, `SIDE`, `SIDE`), symmetric, its
            middle at the upper left corner.
    """

    kernel: Tensor

    @classmethod
    def of(cls, blocks: Tensor) -> NoiseField:
        """That of which noise was cut out.

        The mean of their periodograms under a Hann window, whose root is the kernel.

        Args:
            blocks: noise, and hardly anything else, shape (M, C, `SIDE`, `SIDE`).
        """
        line = torch.hann_window(SIDE + 1, periodic=False)[1:].to(blocks)
        window = line[:, None] * line
        window = window / window.square().mean().sqrt()
        level = blocks.mean(dim=(-2, -1), keepdim=True)
        modes = torch.fft.fft2((blocks - level) * window, norm="ortho").permute(0, 2, 3, 1)
        spectrum = torch.einsum("mhwc,mhwd->hwcd", modes, modes.conj()) / len(blocks)
        spectrum[0, 0] = (spectrum[0, 1] + spectrum[1, 0]) / 2  # the mean was taken away
        values, vectors = torch.linalg.eigh(spectrum)
        root = (vectors * values.clamp(min=0).sqrt()[..., None, :]) @ vectors.mH
        return cls(torch.fft.ifft2(root.permute(2, 3, 0, 1)).real.contiguous())

    def times(self, strength: float) -> NoiseField:
        """That of noise so many times as strong."""
        return NoiseField(strength * self.kernel)

    def shape(self, white: Tensor) -> Tensor:
        """Turn white noise of deviation 1 into it.

        Args:
            white: shape (N, C, H, W), H and W at least `SIDE`; periodic.
        """
        height, width = white.shape[-2:]
        half = SIDE // 2
        kernel = torch.zeros(*self.kernel.shape[:2], height, width).to(white)
        kernel[..., :SIDE, :SIDE] = self.kernel.roll((half, half), (-2, -1)).to(white)
        kernel = kernel.roll((-half, -half), (-2, -1))
        modes = torch.einsum("cdhw,ndhw->nchw", torch.fft.fft2(kernel), torch.fft.fft2(white))
        return torch.fft.ifft2(modes).real

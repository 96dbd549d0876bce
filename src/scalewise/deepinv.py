"""A prior in the algorithms of deepinv, and a denoiser of deepinv in a prior.

deepinv (https://deepinv.github.io) is not imported: its algorithms take any module that is called
as its own are, `denoiser(x, sigma)` and `reconstructor(y, physics)`.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from scalewise.errors import UsageError
from scalewise.networks import Denoiser
from scalewise.networks.base import unit_of
from scalewise.posterior import of_gray
from scalewise.score import Sigma, per_image


class DeepinvDenoiser(nn.Module):
    """A prior as a denoiser of deepinv: for PnP, RED, DiffPIR, DPS, DDRM, Langevin, its SDEs.

    `deepinv.optim.ScorePrior(denoiser)` and `deepinv.optim.PnP(denoiser)` make priors of it.
    Gradients flow through it.

    Args:
        prior: a `MultiScalePrior`; `prior.as_deepinv()` does this.

    Examples:
        >>> denoiser = scalewise.load("photos").as_deepinv()
        >>> denoiser(torch.rand(2, 3, 32, 32), torch.tensor([0.05, 0.1])).shape
        torch.Size([2, 3, 32, 32])
        >>> denoiser(torch.rand(1, 1, 32, 32), 0.1).shape  # gray
        torch.Size([1, 1, 32, 32])
    """

    def __init__(self, prior: Any) -> None:
        super().__init__()
        self.prior = prior

    def forward(self, x: Tensor, sigma: Any = None, **ignored: Any) -> Tensor:
        """Return the least-squares estimate of the clean images.

        Args:
            x: noisy images, shape (N, C, H, W), in [0, 1] plus noise, of any floating type; a prior
                of colours denoises gray images too, and one of gray images each channel.
            sigma: standard deviation of white noise in the same units: a number of any kind, a
                tensor of one element or of shape (N,), or a map; where it is 0 images stay as they
                are. None to have it estimated.
            ignored: what algorithms pass to networks of other kinds.

        Returns:
            The denoised images, of the shape and type of `x`; not clipped.
        """
        images = x.to(*unit_of(self))
        channels = self.prior.channels
        if images.shape[1] != channels and 1 not in (images.shape[1], channels):
            raise UsageError(
                f"x must have {channels} channels, or 1, for this prior, found {images.shape[1]}"
            )
        if sigma is None:
            level = None
        else:
            level = torch.as_tensor(sigma, dtype=images.dtype, device=images.device)
            level = level if level.ndim == 4 else level.reshape(-1)
        if channels == 1 < images.shape[1]:
            parts = [self._denoised(part, level) for part in images.split(1, dim=1)]
            clean = torch.cat(parts, dim=1)
        elif images.shape[1] == 1 < channels:
            clean = of_gray(self._denoised, channels)(images, level)
        else:
            clean = self._denoised(images, level)
        if level is not None:
            clean = torch.where(per_image(level, images) > 0, clean, images)
        return clean.to(x.dtype)

    def _denoised(self, images: Tensor, level: Tensor | None) -> Tensor:
        if level is None:
            return self.prior.denoise(images)
        return self.prior(images, level)


class DeepinvReconstructor(nn.Module):
    """A prior as a reconstruction method of deepinv: `method(y, physics)`, as its benchmarks call.

    Args:
        prior: a `MultiScalePrior`.
        samples: None for the mean; 1 for a sample, which is sharp.
        seed: of the samples.
        iterations: calls of the networks in each step.

    Examples:
        >>> from scalewise.deepinv import DeepinvReconstructor
        >>> from scalewise.operators import Blur  # stands here for a physics of deepinv
        >>> blur = Blur.gaussian(1.0)
        >>> method = DeepinvReconstructor(scalewise.load("photos"), iterations=1)
        >>> method(blur.A(torch.full((1, 3, 32, 32), 0.5)), blur).shape
        torch.Size([1, 3, 32, 32])
    """

    def __init__(
        self, prior: Any, *, samples: int | None = None, seed: int = 0, iterations: int = 6
    ) -> None:
        super().__init__()
        if samples not in (None, 1):
            raise UsageError(f"samples must be None or 1: a method gives one, found {samples}")
        self.prior, self.samples, self.seed, self.iterations = prior, samples, seed, iterations

    def forward(self, y: Tensor, physics: Any, **ignored: Any) -> Tensor:
        """Return images of which `y` is the measurement.

        Args:
            y: measurements of white Gaussian noise, or of none.
            physics: linear, of deepinv; its `noise_model.sigma` tells the noise.
            ignored: what algorithms pass to networks of other kinds.
        """
        sigma = getattr(getattr(physics, "noise_model", None), "sigma", 0.0)
        told = torch.as_tensor(sigma, dtype=y.dtype, device=y.device).reshape(-1)
        found = self.prior.restore(
            y,
            physics,
            float(told) if told.numel() == 1 else told,
            samples=self.samples,
            seed=self.seed,
            iterations=self.iterations,
        )
        return (found if self.samples is None else found[0]).to(y.dtype)


class FromDeepinv(Denoiser):
    """A denoiser of deepinv as the network of the low-pass image of a prior.

    `MultiScalePrior(FromDeepinv(DRUNet(...), channels=3), details)`. It is not of our own kind, so
    such a prior denoises, upscales and samples but cannot be saved.

    Args:
        denoiser: called as `denoiser(x, sigma)`, for images in [0, 1].
        channels: C of the images.
        size: height and width of the images that `sample` draws when not told.
        sigma_range: noise levels from which and to which to sample.

    Examples:
        >>> from scalewise.deepinv import FromDeepinv
        >>> theirs = scalewise.load("photos").as_deepinv()  # stands here for a denoiser of deepinv
        >>> prior = scalewise.MultiScalePrior(FromDeepinv(theirs, channels=3, size=(32, 32)))
        >>> prior.denoise(torch.rand(1, 3, 32, 32), 0.1).shape
        torch.Size([1, 3, 32, 32])
    """

    noise_conditional = True

    def __init__(
        self,
        denoiser: nn.Module,
        channels: int,
        size: tuple[int, int] | None = None,
        sigma_range: tuple[float, float] = (10.0, 0.005),
    ) -> None:
        super().__init__(channels=channels, size=size)
        self.denoiser, self._sigma_range = denoiser, sigma_range

    @property
    def sigma_range(self) -> tuple[float, float]:
        """As given."""
        return self._sigma_range

    def forward(self, noisy: Tensor, sigma: Sigma | None = None) -> Tensor:
        """Denoise images (N, C, H, W), told one level each: the root mean square of a map."""
        level = per_image(self.need(sigma), noisy).square().mean(dim=(1, 2, 3)).sqrt()
        return self.denoiser(noisy, level.expand(noisy.shape[0]))

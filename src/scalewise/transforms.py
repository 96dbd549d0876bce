"""Steps of a data pipeline: callables that take an image and give it back denoised."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np
from PIL import Image
from torch import Tensor

from scalewise import restore, store
from scalewise.errors import UsageError
from scalewise.images import picture_of
from scalewise.prior import MultiScalePrior

AnImage = TypeVar("AnImage", Tensor, "np.ndarray[Any, Any]", Image.Image)


class Denoise:
    """Remove the noise of an image, as a step of `torchvision.transforms.Compose` and the like.

    It can be sent to the workers of a `DataLoader`: a model given by name is loaded in each.

    Args:
        model: a prior, or what `scalewise.load` takes.
        sigma: standard deviation of white noise in [0, 1]; None to estimate what the noise is like.

    Raises:
        UsageError: `sigma` is negative or not finite.

    Examples:
        >>> from scalewise.transforms import Denoise
        >>> step = Denoise("photos", sigma=10 / 255)
        >>> step(torch.rand(3, 32, 32)).shape
        torch.Size([3, 32, 32])
    """

    def __init__(
        self, model: MultiScalePrior | str | Path = "photos", sigma: float | None = None
    ) -> None:
        if sigma is not None and not 0 <= sigma < math.inf:
            raise UsageError(f"sigma must be 0 or more, in [0, 1] intensities, found {sigma}")
        self.model, self.sigma = model, sigma
        self._prior: MultiScalePrior | None = None

    def __call__(self, image: AnImage) -> AnImage:
        """Denoise one image.

        Args:
            image: a tensor (C, H, W) of floats in [0, 1], C = 1 or 3; or an array or an image of
                Pillow, as `images.picture_of` takes them.

        Returns:
            The denoised image, of the kind, shape and type of `image`; tensors are not clipped.
        """
        prior = self._loaded()
        if isinstance(image, Tensor):
            clean, _ = restore.denoise_plane(image, prior, noise=self.sigma)
            return clean.expand(image.shape).to(image)
        made = restore.denoise(picture_of(image), prior, sigma=self.sigma)
        if isinstance(image, Image.Image):
            return made.image
        return cast("AnImage", made.array.reshape(image.shape).astype(image.dtype))

    def __repr__(self) -> str:
        """What it was made with."""
        return f"{type(self).__name__}(model={self.model!r}, sigma={self.sigma})"

    def __getstate__(self) -> dict[str, Any]:
        """Without what was loaded by name."""
        return {**self.__dict__, "_prior": None}

    def _loaded(self) -> MultiScalePrior:
        if isinstance(self.model, MultiScalePrior):
            return self.model
        if self._prior is None:
            self._prior = store.load(self.model)
        return self._prior

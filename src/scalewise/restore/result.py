"""What became of a picture, and what a prior of other channels does to it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import Tensor

from scalewise.errors import UsageError
from scalewise.images import Picture, to_array, to_channels, to_pil
from scalewise.noise_model import NoiseModel
from scalewise.prior import MultiScalePrior

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL import Image


@dataclass(frozen=True)
class Restored:
    """What became of one picture.

    Args:
        pictures: the outputs: one, or one per sample.
        noise: that of each plane, as given or estimated; empty for upscaled pictures.
        deviation: standard deviation of every pixel, or half widths of intervals, in the unit of
            the file, where it was asked for.
        notes: sentences on what was converted, found or left alone.

    Examples:
        >>> picture, prior = scalewise.Picture(torch.rand(3, 32, 32)), scalewise.load("photos")
        >>> restored = scalewise.restore.denoise(picture, prior, sigma=0.1, samples=2)
        >>> len(restored.pictures), restored.array.dtype, restored.image.size, restored.sigma
        (2, dtype('uint8'), (32, 32), (0.1,))
    """

    pictures: tuple[Picture, ...]
    noise: tuple[NoiseModel, ...] = ()
    deviation: Picture | None = None
    notes: tuple[str, ...] = ()

    @property
    def picture(self) -> Picture:
        """The first output."""
        return self.pictures[0]

    @property
    def array(self) -> NDArray[Any]:
        """The first output as a NumPy array of the picture's type; see `images.to_array`."""
        return to_array(self.picture)

    @property
    def image(self) -> Image.Image:
        """The first output as an image of Pillow; see `images.to_pil`."""
        return to_pil(self.picture)

    @property
    def sigma(self) -> tuple[float, ...]:
        """Noise level of each plane, in [0, 1]; that of the noisiest channel where they differ."""
        return tuple(model.sigma for model in self.noise)


def check_mask(mask: Tensor, picture: Picture) -> None:
    """Refuse a mask (H, W) of another size than the picture.

    Raises:
        UsageError: it is of another size.
    """
    height, width = picture.pixels.shape[-2:]
    if tuple(mask.shape) != (height, width):
        raise UsageError(
            f"the mask is {mask.shape[-1]}x{mask.shape[-2]}, the picture {width}x{height}; they "
            "must be the same size"
        )


def difference_picture(picture: Picture, differences: Tensor) -> Picture:
    """A picture of differences between intensities, of the kind of another one.

    Args:
        picture: whose unit and resolution count.
        differences: in [0, 1] intensities, shape (P, C, H, W).
    """
    return Picture(
        differences,
        depth="float32",
        intensities=picture.intensities.differences(),
        resolution=picture.resolution,
    )


def conversion(picture: Picture, prior: MultiScalePrior) -> list[str]:
    """What a prior of other channels does to a picture, in a sentence."""
    _, note = to_channels(picture.pixels[:1, :, :1, :1], prior.channels)
    return [] if note is None else [f"{note} for the model"]

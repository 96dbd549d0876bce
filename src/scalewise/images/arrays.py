"""Pictures from and to the arrays of NumPy and the images of Pillow."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from scalewise.errors import UsageError
from scalewise.images.kinds import DEPTHS, Array
from scalewise.images.metadata import Metadata
from scalewise.images.picture import Picture, check_size
from scalewise.images.reading import photo
from scalewise.images.writing import stored_values

AnyImage = Picture | Array | Image.Image
"""What stands for a picture: one of ours, a NumPy array, or an image of Pillow."""

_MODES = {"1": "L", "P": "RGBA", "PA": "RGBA", "CMYK": "RGB", "YCbCr": "RGB", "LAB": "RGB"}
_MODES |= {"HSV": "RGB", "RGBX": "RGB", "La": "LA", "RGBa": "RGBA"}


def picture_of(image: AnyImage) -> Picture:
    """A picture of what stands for one; which values are black and white as for files.

    Args:
        image: a picture; an array (H, W) or (H, W, C) with C = 1 (gray), 2 (and alpha), 3 (RGB) or
            4 (and alpha), of integers of its type, or floats in [0, 1]; or an image of Pillow,
            which is turned upright.

    Raises:
        UsageError: it is another thing, of another shape or type, or holds NaN.
        ScalewiseError: it is larger than `PIXEL_LIMIT` pixels.
    """
    if isinstance(image, Picture):
        return image
    metadata = Metadata()
    if isinstance(image, Image.Image):
        upright = ImageOps.exif_transpose(image)
        mode = "RGBA" if "transparency" in upright.info else _MODES.get(upright.mode, upright.mode)
        metadata = Metadata(icc=upright.info.get("icc_profile"))
        array = np.asarray(upright.convert(mode) if mode != upright.mode else upright)
    elif isinstance(image, np.ndarray):
        array = image
    else:
        raise UsageError(
            "image must be a Picture, a NumPy array or an image of Pillow, found "
            f"{type(image).__name__}; scalewise.read_image reads files, and tensors go to the prior"
        )
    return photo(_checked(array), metadata, None, None, None)


def to_array(picture: Picture) -> Array:
    """Values as a file of the picture's depth would hold them: rounded, and clipped to its type.

    Returns:
        Shape (H, W) or (H, W, C), alpha last; of a stack (P, H, W) or (P, H, W, C).
    """
    values = stored_values(picture, Path("the array"))
    values = values[..., 0] if values.shape[-1] == 1 else values
    return values[0] if len(values) == 1 else values


def to_pil(picture: Picture) -> Image.Image:
    """An image of Pillow.

    Raises:
        UsageError: Pillow has no image of such values: a stack, or colours of more than 8 bits.
    """
    values = to_array(picture)
    if len(picture.pixels) > 1 or (values.ndim == 3 and values.dtype != np.uint8):
        what = f"{len(picture.pixels)} planes" if len(picture.pixels) > 1 else f"{values.dtype}"
        raise UsageError(f"Pillow has no colour images of {what}; take the array instead")
    if picture.depth in ("float16", "float64"):
        values = values.astype(np.float32)
    image = Image.fromarray(values)
    if picture.icc is not None:
        image.info["icc_profile"] = picture.icc
    return image


def _checked(array: Array) -> Array:
    """Values (H, W, C) of a type that files have."""
    array = array.astype(np.uint8) * 255 if array.dtype == bool else array
    if array.dtype.name not in DEPTHS:
        raise UsageError(
            f"an array must hold integers of up to 32 bits or floats, found {array.dtype}"
        )
    array = array[..., None] if array.ndim == 2 else array
    if array.ndim != 3 or array.shape[2] not in (1, 2, 3, 4) or 0 in array.shape:
        raise UsageError(
            f"an array must have shape (H, W) or (H, W, C) with C from 1 to 4, found "
            f"{array.shape}; give planes one by one, channels last"
        )
    check_size(array.shape[1], array.shape[0])
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise UsageError("the array holds NaN or infinite values; replace them first")
    return np.ascontiguousarray(array)

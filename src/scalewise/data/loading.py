"""Training sets read from folders, lists, arrays and single images."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from scalewise.data.image_set import ImageSet, to_float
from scalewise.data.streaming import on_own_pages
from scalewise.errors import ScalewiseError
from scalewise.images import (
    IMAGE_SUFFIXES,
    ImageFiles,
    Picture,
    find_images,
    to_channels,
)
from scalewise.images.filling import filled
from scalewise.images.kinds import Array
from scalewise.images.picture import to_tensor
from scalewise.images.reading import read_stored
from scalewise.images.tiff_layout import TiffLayout

ARRAY_SUFFIXES = (".npy", ".npz")


def load_image_set(source: str | Path, channels: int | None = None) -> ImageSet:
    """Read a training set into memory.

    Images of 8 bits stay uint8; if any has 16 bits or floats, all become float32. Alpha is left
    out.

    Args:
        source: a folder (searched with its subfolders), one image file, a `.npy` or `.npz` array
            (key `images` or the only one; [N, H, W], [N, H, W, C] or [N, C, H, W] with 1 or 3
            channels; uint8, uint16, or float in [0, 1]), or a `.txt` list of image files, one a
            line, relative to the list (blank lines and lines starting with # are skipped).
        channels: 1 or 3 to convert every image; None for RGB if any image is RGB, else gray.

    Returns:
        The images, in the sorted order of their paths, or that of the list or array.

    Raises:
        ScalewiseError: if the source is missing, empty, damaged, of another kind, or holds
            values that are not intensities; the message names the file.
    """
    path, files, notes = Path(source), tuple[str, ...](), tuple[str, ...]()
    if not path.exists():
        raise ScalewiseError(f"{path}: no such file or folder; expected images to train on")
    if path.suffix.lower() in ARRAY_SUFFIXES and path.is_file():
        images = _array_images(path, channels)
    else:
        found = image_files(path)
        files = tuple(str(file) for file in found)
        notes = found.notes
        images = [on_own_pages(training_image(read_stored(f), f, channels)) for f in found]
    if channels is None:
        most = max(image.shape[0] for image in images)
        images = [to_channels(image, most)[0] for image in images]
    if len({image.dtype for image in images}) > 1:
        images = [to_float(image) for image in images]
    return ImageSet(
        images, Path(os.path.realpath(path)).name, files, (*notes, *_useless(images, path))
    )


def _useless(images: list[Tensor], path: Path) -> list[str]:
    """What is odd about a set: images of one colour, and one image many times."""
    notes = []
    plain = sum(_is_plain(image) for image in images)
    if plain:
        notes.append(f"{path}: {plain} of {len(images)} images are each of a single colour")
    if len(images) > 1 and all(torch.equal(image, images[0]) for image in images):
        notes.append(f"{path}: all {len(images)} images are the same")
    return notes


def _is_plain(image: Tensor) -> bool:
    """Whether an image (C, H, W) is of one colour."""
    return bool((image == image[:, :1, :1]).all())


def image_files(path: Path) -> ImageFiles:
    """Files of a folder, of a list, or the one image itself."""
    if path.is_dir():
        return find_images(path)
    suffix = path.suffix.lower()
    if suffix in IMAGE_SUFFIXES:
        return ImageFiles((path,))
    if suffix != ".txt":
        raise ScalewiseError(
            f"{path}: cannot be read as a training set; expected a folder, an image, "
            f"a .npy or .npz array, or a .txt list of files"
        )
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ScalewiseError(f"{path}: cannot be read as a list of files: {error}") from error
    names = [line.strip() for line in lines]
    files = tuple(path.parent / name for name in names if name and not name.startswith("#"))
    if not files:
        raise ScalewiseError(f"{path}: lists no file; expected one image file a line")
    return ImageFiles(files)


def training_image(
    stored: tuple[Array, Picture], file: object, channels: int | None = None
) -> Tensor:
    """A file's values as (C, H, W): uint8 where it has 8 bits, else float32 in [0, 1].

    Args:
        stored: what `read_stored` gives, of one plane.
        file: what it is called in errors.
        channels: 1 or 3 to convert it.
    """
    values, picture = stored
    if len(values) > 1:
        raise ScalewiseError(
            f"{file}: holds {len(values)} planes; expected a single image to train on"
        )
    values = values[..., : picture.pixels.shape[1]]
    if picture.depth.startswith("float"):
        _check_range(float(values.min()), float(values.max()), str(file))
    tiff = picture.origin if isinstance(picture.origin, TiffLayout) else None
    multiplied = picture.alpha if tiff is not None and tiff.associated else None
    if picture.depth == "uint8" and picture.missing is None and multiplied is None:
        pixels = torch.from_numpy(np.ascontiguousarray(values[0].transpose(2, 0, 1)))
    else:
        pixels = to_tensor(values, picture.intensities.at)
        if multiplied is not None:
            pixels = torch.where(multiplied > 0, pixels / multiplied, 0)
        if picture.missing is not None:
            pixels = filled(pixels, (~picture.missing).float())
        pixels = pixels[0]
    if channels is not None:
        pixels = to_channels(pixels, channels)[0]
    rounds = picture.depth == "uint8" and pixels.is_floating_point()
    return (pixels * 255).round().to(torch.uint8) if rounds else pixels


def _array_images(path: Path, channels: int | None) -> list[Tensor]:
    """Images of a `.npy` or `.npz` file, each (C, H, W)."""
    array = _read_array(path)
    check_axes(array.shape, path)
    array = channels_first(array)
    if array.dtype != np.uint8:
        array = intensities(array, path)
    batch = torch.from_numpy(np.ascontiguousarray(array))
    if channels is not None:
        batch = to_channels(batch, channels)[0]
    return list(batch)


def check_axes(shape: tuple[int, ...], path: object) -> None:
    """Refuse an array that does not hold images: [N, H, W], [N, H, W, C] or [N, C, H, W].

    Raises:
        ScalewiseError: it does not.
    """
    colours = len(shape) == 3 or (len(shape) == 4 and {shape[-1], shape[1]} & {1, 3})
    if not colours or 0 in shape:
        raise ScalewiseError(
            f"{path}: expected images of shape [N, H, W] or [N, H, W, C] with 1 or 3 channels, "
            f"found {list(shape)}"
        )


def channels_first(array: np.ndarray) -> np.ndarray:
    """Images of any of these orders of axes as [N, C, H, W]."""
    if not channels_last(array.shape):
        return array
    return array[:, None] if array.ndim == 3 else array.transpose(0, 3, 1, 2)


def channels_last(shape: tuple[int, ...]) -> bool:
    """Whether channels are the last axis of images of this shape, or left out."""
    return len(shape) == 3 or shape[-1] in (1, 3)


def _read_array(path: Path) -> np.ndarray:
    """Read the one array of a file, never unpickling."""
    try:
        with path.open("rb") as stream:
            loaded = np.load(stream, allow_pickle=False)
            if isinstance(loaded, np.ndarray):
                return loaded
            keys = loaded.files
            key = "images" if "images" in keys else keys[0] if len(keys) == 1 else None
            if key is not None:
                return np.asarray(loaded[key])
    except Exception as error:  # numpy, zipfile and zlib raise a dozen types on damaged files
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ScalewiseError(f"{path}: cannot be read as an array of numbers: {reason}") from error
    names = ", ".join(repr(key)[1:-1] for key in keys)
    raise ScalewiseError(
        f"{path}: expected one array or a key 'images', found {names or 'nothing'}"
    )


def check_type(dtype: np.dtype, path: object) -> None:
    """Refuse an array of other numbers than uint8, uint16 and floats.

    Raises:
        ScalewiseError: it has them.
    """
    if dtype not in (np.uint8, np.uint16) and dtype.kind != "f":
        raise ScalewiseError(f"{path}: expected uint8, uint16 or floats in [0, 1], found {dtype}")


def intensities(array: np.ndarray, path: object) -> np.ndarray:
    """Turn uint16, or floats in [0, 1], into float32."""
    check_type(array.dtype, path)
    if array.dtype == np.uint16:
        return array.astype(np.float32) / 65535
    _check_range(float(array.min()), float(array.max()), str(path))
    return array.astype(np.float32)


def _check_range(least: float, most: float, name: str) -> None:
    """Refuse NaN, infinite values, and values outside [0, 1]."""
    if not (least >= 0 and most <= 1):
        raise ScalewiseError(
            f"{name}: expected intensities in [0, 1], found {least:g} to {most:g}; rescale them"
        )

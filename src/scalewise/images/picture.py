"""What is known of an image once its file is read."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import KW_ONLY, dataclass, replace

import numpy as np
import torch
from torch import Tensor

from scalewise.errors import ScalewiseError
from scalewise.images.intensities import Intensities, type_range
from scalewise.images.kinds import Array, Depth
from scalewise.images.resolution import Resolution
from scalewise.images.tiff_layout import TiffLayout

LUMA = (0.299, 0.587, 0.114)
"""Parts of red, green and blue in a gray image (ITU-R BT.601)."""

PIXEL_LIMIT = 500_000_000
"""Most pixels of a plane of a file that is read."""

_all_planes: ContextVar[int | None] = ContextVar("pixels of all planes", default=None)

_FLIPS = {2: (2,), 3: (1, 2), 4: (1,), 6: (2,), 7: (1, 2), 8: (1,)}  # of (P, H, W); 5-8 transpose


@dataclass(frozen=True)
class JpegTables:
    """How a JPEG was compressed.

    Args:
        tables: quantization tables of 64 numbers.
        subsampling: 0 for 4:4:4, 1 for 4:2:2, 2 for 4:2:0, -1 for another.
        progressive: sent in several scans.
        segments: comments and IPTC facts that Scalewise does not interpret, by marker.
    """

    tables: tuple[tuple[int, ...], ...]
    subsampling: int
    progressive: bool = False
    segments: tuple[tuple[int, bytes], ...] = ()


@dataclass(frozen=True)
class PngChunks:
    """Chunks of a PNG on colour and text that Scalewise does not interpret, by kind and data."""

    chunks: tuple[tuple[bytes, bytes], ...]


_OF_THE_TYPE = Intensities()  # stands for the range of the depth, where none is given


@dataclass(frozen=True)
class Picture:
    """An image, or a stack of planes, with what its file says about it.

    Args:
        pixels: float32 of shape (P, C, H, W): P planes, each an image of its own, of C = 1 (gray)
            or 3 (RGB) channels. A photo has one plane; (C, H, W) is taken for that. Intensities:
            0 is black and 1 is white in `intensities`; floats may go beyond.
        alpha: float32 of shape (P, 1, H, W), 1 where opaque, not multiplied into `pixels`; or
            None.
        depth: type of a value in the file.
        intensities: black and white in the unit of the file; those of `depth` if not given.
        icc: colour profile.
        exif: EXIF block, starting with `Exif`; it holds no orientation, since `pixels` stand
            upright.
        xmp: XMP packet.
        resolution: how large a pixel is.
        origin: what only a file of the same format can hold: axes and metadata of a TIFF, tables
            of a JPEG, further chunks of a PNG.
        missing: bool of shape (P, 1, h, w), true where a TIFF holds its word for "no data"; there
            `pixels` are filled from others around, and a TIFF gets that word again, at its size.
            Or None.
        notes: sentences on what reading changed, found or left out.

    Raises:
        ScalewiseError: if a shape is another.

    Examples:
        >>> picture = scalewise.Picture(torch.rand(3, 20, 30), depth="uint16")
        >>> picture.pixels.shape, picture.intensities.white
        (torch.Size([1, 3, 20, 30]), (65535.0,))
    """

    pixels: Tensor
    alpha: Tensor | None = None
    _: KW_ONLY
    depth: Depth = "uint8"
    intensities: Intensities = _OF_THE_TYPE
    icc: bytes | None = None
    exif: bytes | None = None
    xmp: bytes | None = None
    resolution: Resolution | None = None
    origin: TiffLayout | JpegTables | PngChunks | None = None
    missing: Tensor | None = None
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Check shapes, and fill in what follows from others."""
        for name in ("pixels", "alpha"):
            values = getattr(self, name)
            if values is not None and values.ndim == 3:
                object.__setattr__(self, name, values[None])
        if self.intensities is _OF_THE_TYPE:
            object.__setattr__(self, "intensities", type_range(self.depth))
        shape = tuple(self.pixels.shape)
        if len(shape) != 4 or shape[1] not in (1, 3) or 0 in shape:
            raise ScalewiseError(f"pixels must be (P, 1, H, W) or (P, 3, H, W), found {shape}")
        if self.alpha is not None and self.alpha.shape != (shape[0], 1, *shape[2:]):
            raise ScalewiseError(
                f"alpha must be {(shape[0], 1, *shape[2:])} as the pixels, "
                f"found {tuple(self.alpha.shape)}"
            )
        if len(self.intensities.black) not in (1, shape[0]):
            raise ScalewiseError(
                f"intensities must have one range, or one for each of {shape[0]} planes, "
                f"found {len(self.intensities.black)}"
            )

    @property
    def is_jpeg(self) -> bool:
        """Whether the file is a JPEG of gray or colours."""
        return isinstance(self.origin, JpegTables)

    def scaled(self, factor: float) -> "Picture":
        """The same pixels, of which `factor` more go into a length: for an enlarged image.

        Args:
            factor: of the enlargement, above 0.

        Examples:
            >>> from scalewise.images import Resolution
            >>> dots = Resolution(300.0, 300.0)
            >>> picture = scalewise.Picture(torch.rand(3, 20, 30), resolution=dots)
            >>> picture.scaled(2).resolution.x
            600.0
        """
        resolution, origin, notes = self.resolution, self.origin, self.notes
        if resolution is not None:
            resolution = resolution.scaled(factor)
        if isinstance(origin, TiffLayout):
            notes += ("regions (ROI) of ImageJ were left out",) if origin.has_regions else ()
            origin = origin.scaled(factor)
        return replace(self, resolution=resolution, origin=origin, notes=notes)


def to_channels(pixels: Tensor, channels: int) -> tuple[Tensor, str | None]:
    """Convert gray to RGB by repeating it, or RGB to gray by 0.299 R + 0.587 G + 0.114 B.

    Args:
        pixels: shape (..., C, H, W) with C = 1 or 3, of any type and range; or C = `channels`.
        channels: number of channels wanted.

    Returns:
        Pixels of shape (..., channels, H, W), and a sentence that says what was done, or None.

    Raises:
        ScalewiseError: if there is no such conversion.
    """
    found = pixels.shape[-3]
    if found == channels:
        return pixels, None
    if (found, channels) == (1, 3):
        return pixels.repeat_interleave(3, -3), "gray image converted to RGB"
    if (found, channels) == (3, 1):
        red, green, blue = pixels.unsqueeze(-4).unbind(-3)
        gray = LUMA[0] * red + LUMA[1] * green + LUMA[2] * blue
        if not pixels.is_floating_point():
            gray = gray.round()
        return gray.to(pixels.dtype), "RGB image converted to gray"
    raise ScalewiseError(f"images of {found} channels cannot be converted to {channels} channels")


@contextmanager
def pixel_limit(most: int) -> Iterator[None]:
    """Have files of more pixels refused, all planes together, before they are decoded."""
    token = _all_planes.set(most)
    try:
        yield
    finally:
        _all_planes.reset(token)


def check_size(width: int, height: int, planes: int = 1) -> None:
    """Refuse decompression bombs, before they are decoded."""
    most = _all_planes.get()
    planes, most = (1, PIXEL_LIMIT) if most is None else (planes, most)
    if width * height * planes > most:
        several = f"{planes} planes of " if planes > 1 else ""
        raise ScalewiseError(
            f"its header announces {several}{width} x {height} pixels, "
            f"more than the {most / 10**6:.3g} million that are allowed"
        )


def upright(array: Array, orientation: int) -> Array:
    """A view of (P, H, W, S) samples that stands upright, from its EXIF orientation."""
    if orientation in (5, 6, 7, 8):
        array = array.swapaxes(1, 2)
    return np.flip(array, _FLIPS.get(orientation, ()))


Convert = Callable[[Array, Callable[[int], tuple[float, float]]], Tensor]
"""Makes intensities of stored values, as `to_tensor` does."""


def to_tensor(array: Array, ends: Callable[[int], tuple[float, float]]) -> Tensor:
    """Intensities of (P, H, W, C) stored values, as float32 (P, C, H, W).

    Args:
        array: stored values.
        ends: gives black and white of each plane.
    """
    count, height, width, channels = array.shape
    result = np.empty((count, channels, height, width), np.float32)
    for plane in range(count):
        black, white = ends(plane)
        kind = np.float32 if black == 0 and array.itemsize < 4 else np.float64
        for channel in range(channels):
            values: Array = array[plane, :, :, channel].astype(kind)
            values -= black
            values /= white - black
            with np.errstate(over="ignore"):
                result[plane, channel] = values
    return torch.from_numpy(result)

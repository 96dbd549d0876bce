"""How the planes of a picture lie in a TIFF file, and what the file says about them."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from dataclasses import dataclass, replace
from math import prod
from typing import Any, Literal

import numpy as np

from scalewise.images.kinds import Array

Kind = Literal["plain", "shaped", "ImageJ", "OME"]
Tag = tuple[int, int, int, Any]
"""Code, type, count and value, as `tifffile` takes extra tags."""

_REGIONS = ("ROI", "Overlays")  # in pixels
_GEOGRAPHIC = (33550, 33922, 34264, 34735)
NO_DATA = 42113
PIXEL_SCALE, TIE_POINTS, TRANSFORMATION = 33550, 33922, 34264


@dataclass(frozen=True)
class TiffLayout:
    """Axes and metadata of a TIFF, to write it back as it was.

    Args:
        axes: one letter for each axis of the array in the file: Y and X, S for samples of a
            pixel, and others that count planes, such as T, Z and C.
        shape: length of each axis; those of Y and X are the picture's.
        split: the samples of a pixel are no colours, and each is a plane of its own.
        kind: whose metadata the file holds.
        photometric: name of what the samples mean, as `tifffile` says it.
        extrasamples: meaning of the samples beyond the colours.
        description: OME-XML, or the words of a plain file.
        metadata: of ImageJ, or of the JSON that `tifffile` writes.
        colormap: colours in which ImageJ shows gray planes.
        bits: of a value, where they are packed.
        tags: further tags to be kept, such as those of GeoTIFF.
    """

    axes: str
    shape: tuple[int, ...]
    split: bool = False
    kind: Kind = "plain"
    photometric: str = "minisblack"
    extrasamples: tuple[int, ...] = ()
    description: str | None = None
    metadata: dict[str, Any] | None = None
    colormap: Array | None = None
    bits: int | None = None
    tags: tuple[Tag, ...] = ()

    @property
    def lead(self) -> tuple[int, ...]:
        """Lengths of the axes that count planes, without those of samples."""
        return tuple(self.shape[i] for i in self._places()[: -self._inner()])

    @property
    def samples(self) -> int:
        """Samples of a pixel."""
        return self.shape[self.axes.index("S")] if "S" in self.axes else 1

    @property
    def nodata(self) -> float | None:
        """The value that says that there is none (GDAL)."""
        words = [value for code, _, _, value in self.tags if code == NO_DATA]
        try:
            return float(words[0])
        except (IndexError, TypeError, ValueError):
            return None

    @property
    def has_regions(self) -> bool:
        """It says where in the image something lies."""
        return any(name in (self.metadata or {}) for name in _REGIONS)

    @property
    def is_geographic(self) -> bool:
        """It says where on the ground the image lies."""
        return any(code in _GEOGRAPHIC for code, *_ in self.tags)

    @property
    def associated(self) -> bool:
        """Alpha is multiplied into the stored colours."""
        return self.extrasamples == (1,) and not self.split

    @property
    def separate(self) -> bool:
        """The samples of a pixel lie apart, in planes."""
        return "S" in self.axes and self.axes.index("S") < self.axes.rindex("Y")

    @property
    def planes(self) -> int:
        """Number of planes of the picture."""
        return prod(self.lead) * (self.samples if self.split else 1)

    def to_planes(self, array: Array) -> Array:
        """From the array of the file to (P, H, W, S)."""
        array = array.transpose(self._places())
        if "S" not in self.axes:
            array = array[..., None]
        if self.split:
            array = np.moveaxis(array, -1, -3)[..., None]
        return array.reshape(-1, *array.shape[-3:])

    def from_planes(self, planes: Array) -> Array:
        """From (P, H, W, S) to the array of the file."""
        height, width, samples = planes.shape[1:]
        if self.split:
            array = planes.reshape(*self.lead, self.samples, height, width)
            array = np.moveaxis(array, -3, -1)
        else:
            array = planes.reshape(*self.lead, height, width, samples)
        if "S" not in self.axes:
            array = array[..., 0]
        return array.transpose(np.argsort(self._places()))

    def channels(self) -> tuple[int, ...]:
        """For each plane the number of its channel; planes of one channel share a range."""
        if self.split:
            return tuple(range(self.samples)) * prod(self.lead)
        letters = [self.axes[i] for i in self._places()[: -self._inner()]]
        index = np.zeros(self.lead, dtype=int)
        for axis, letter in enumerate(letters):
            if letter == "C":
                steps = np.arange(self.lead[axis])
                index += steps.reshape([-1 if i == axis else 1 for i in range(len(letters))])
        return tuple(int(i) for i in index.reshape(-1))

    def scaled(self, factor: float) -> TiffLayout:
        """The same for an image with `factor` times the pixels a side, of the same scene."""
        description, metadata = self.description, self.metadata
        if self.kind == "OME" and description:
            description = _scaled_ome(description, factor)
        if metadata:
            metadata = {k: v for k, v in metadata.items() if k not in _REGIONS}
            for name in ("xorigin", "yorigin"):
                if isinstance(metadata.get(name), int | float):
                    metadata[name] *= factor
        tags = tuple(_scaled_tag(tag, factor) for tag in self.tags)
        return replace(self, description=description, metadata=metadata, tags=tags)

    def _places(self) -> list[int]:
        """Order of the axes with planes first, then Y, X and S."""
        inner = [self.axes.rindex(letter) for letter in "YX"]
        inner += [self.axes.index("S")] if "S" in self.axes else []
        return [i for i in range(len(self.axes)) if i not in inner] + inner

    def _inner(self) -> int:
        return 3 if "S" in self.axes else 2


def fitted_ome(description: str, *, pages: int, width: int, height: int, pixel_type: str) -> str:
    """OME-XML of planes that lie one after the other in one file, of another size and type."""
    root, pixels = _ome(description)
    space = root.tag.removesuffix("OME")
    pixels.attrib |= {"SizeX": str(width), "SizeY": str(height), "Type": pixel_type}
    pixels.attrib.pop("SignificantBits", None) if pixel_type.startswith("f") else None
    for name in ("TiffData", "BinData", "MetadataOnly"):
        for child in pixels.findall(f"{space}{name}"):
            pixels.remove(child)
    channels = len(pixels.findall(f"{space}Channel"))
    pixels.insert(channels, ET.Element(f"{space}TiffData", {"IFD": "0", "PlaneCount": str(pages)}))
    return _text(root)


def ome_pixels(description: str) -> dict[str, str]:
    """What OME-XML says of the pixels of its first image."""
    return dict(_ome(description)[1].attrib)


def _ome(description: str) -> tuple[ET.Element, ET.Element]:
    root = ET.fromstring(description)
    space = root.tag.removesuffix("OME")
    pixels = root.find(f"{space}Image/{space}Pixels")
    if pixels is None:
        raise ValueError("no Pixels in the OME-XML")
    return root, pixels


def _text(root: ET.Element) -> str:
    ET.register_namespace("", root.tag.removesuffix("OME").strip("{}"))
    head = '<?xml version="1.0" encoding="UTF-8"?>'
    return head + ET.tostring(root, encoding="unicode")


def _scaled_ome(description: str, factor: float) -> str:
    root, pixels = _ome(description)
    for name in ("PhysicalSizeX", "PhysicalSizeY"):
        if name in pixels.attrib:
            pixels.attrib[name] = f"{float(pixels.attrib[name]) / factor:.12g}"
    return _text(root)


def _scaled_tag(tag: Tag, factor: float) -> Tag:
    """GeoTIFF: a pixel covers less ground, and lies elsewhere in the image."""
    code, kind, count, value = tag
    if code == PIXEL_SCALE and len(value) >= 2:
        value = (value[0] / factor, value[1] / factor, *value[2:])
    elif code == TIE_POINTS:
        value = tuple(v * factor if i % 6 < 2 else v for i, v in enumerate(value))
    elif code == TRANSFORMATION:
        value = tuple(v / factor if i % 4 < 2 else v for i, v in enumerate(value))
    return code, kind, count, value

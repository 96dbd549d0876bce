"""What files say of a picture beside its pixels: profile, EXIF, XMP and resolution."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from PIL import Image

from scalewise.images.resolution import Resolution

ORIENTATION, X_RESOLUTION, Y_RESOLUTION, RESOLUTION_UNIT = 0x0112, 0x011A, 0x011B, 0x0128
EXIF_IFD, GPS_IFD, INTEROP = 0x8769, 0x8825, 0xA005
_FACTS = (271, 272, 306, 315, 33432, EXIF_IFD, GPS_IFD)  # other tags lay out the file
_UNITS: dict[int, str | None] = {1: None, 2: "inch", 3: "cm"}
_LONGEST_PROFILE = 2**25


@dataclass(frozen=True)
class Metadata:
    """What a file says of a picture, as `Picture` has it; and the orientation of its pixels."""

    orientation: int = 1
    icc: bytes | None = None
    exif: bytes | None = None
    xmp: bytes | None = None
    resolution: Resolution | None = None
    notes: tuple[str, ...] = ()

    def facts(self) -> dict[str, Any]:
        """The arguments of a picture."""
        names = ("icc", "exif", "xmp", "resolution", "notes")
        return {name: getattr(self, name) for name in names}


def read_metadata(
    load: Callable[[], Image.Exif],
    *,
    icc: object = None,
    xmp: object = None,
    resolution: Resolution | None = None,
) -> Metadata:
    """Gather what a file says, and leave out what is damaged.

    Args:
        load: gives the EXIF block.
        icc: colour profile.
        xmp: XMP packet.
        resolution: where the file has it outside EXIF.
    """
    orientation, block = 1, None
    try:
        exif = load()
        orientation = exif.pop(ORIENTATION, 1)
        found = exif_resolution(
            exif.pop(X_RESOLUTION, None),
            exif.pop(Y_RESOLUTION, None),
            exif.pop(RESOLUTION_UNIT, 2),
        )
        block = exif.tobytes() if len(exif) else None
        resolution = resolution or found
    except Exception:  # a damaged EXIF block does not spoil the pixels
        block = None
    if resolution and orientation in (5, 6, 7, 8):
        resolution = Resolution(resolution.y, resolution.x, resolution.unit)
    profile, notes = _sound_profile(icc)
    packet = None
    if isinstance(xmp, bytes):
        packet = re.sub(rb'(tiff:Orientation(?:="|>))\d', rb"\g<1>1", xmp)
    return Metadata(orientation, profile, block, packet, resolution, notes)


def exif_resolution(x: Any, y: Any, unit: Any) -> Resolution | None:
    """Resolution of the tags of EXIF and TIFF, where they make sense."""
    try:
        x, y = (float(v[0]) / float(v[1]) if isinstance(v, tuple) else float(v) for v in (x, y))
        known = _UNITS[int(unit)]
    except (TypeError, ValueError, ZeroDivisionError, KeyError):
        return None
    sensible = all(math.isfinite(v) and v > 0 for v in (x, y))
    plain = known is None and x == y == 1
    return Resolution(x, y, known) if sensible and not plain else None


def resolution_tags(resolution: Resolution) -> tuple[float, float, int]:
    """X, y and unit of a resolution, as EXIF and TIFF have them."""
    for code, unit in ((2, "inch"), (3, "cm")):
        if resolution.unit == unit:
            return resolution.x, resolution.y, code
    metric = resolution.per("cm")
    if metric is None:
        return resolution.x, resolution.y, 1
    return *metric, 3


def exif_block(exif: bytes | None, resolution: Resolution | None) -> bytes | None:
    """An EXIF block that tells the resolution."""
    if resolution is None:
        return exif
    block = Image.Exif()
    if exif:
        block.load(exif)
    block[X_RESOLUTION], block[Y_RESOLUTION], block[RESOLUTION_UNIT] = resolution_tags(resolution)
    return block.tobytes()


def camera_facts(tags: Image.Exif) -> Image.Exif:
    """Camera, place, date and author, of the tags of a TIFF."""
    exif = Image.Exif()
    for tag in _FACTS:
        if tag in (EXIF_IFD, GPS_IFD) and tag in tags:
            facts = tags.get_ifd(tag)
            exif[tag] = {key: value for key, value in facts.items() if key != INTEROP}
        elif tag in tags:
            exif[tag] = tags[tag]
    return exif


def _sound_profile(icc: object) -> tuple[bytes | None, tuple[str, ...]]:
    """The profile, if it is one."""
    if icc is None or icc == b"":
        return None, ()
    if not isinstance(icc, bytes) or icc[36:40] != b"acsp":
        return None, ("the colour profile is damaged: it was left out",)
    if len(icc) > _LONGEST_PROFILE:
        return None, ("the colour profile is longer than 32 MB: it was left out",)
    return icc, ()

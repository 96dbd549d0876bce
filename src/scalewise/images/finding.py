"""Finding the image files of a folder."""

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from scalewise.errors import ScalewiseError
from scalewise.images.formats import IMAGE_SUFFIXES

_OTHER_IMAGES = frozenset(
    ".apng .arw .avif .bmp .cr2 .cr3 .dcm .dng .exr .fits .gif .hdr .heic .heif .hif .ico .j2k "
    ".jp2 .jpx .jxl .nef .nrrd .orf .pbm .pgm .pnm .ppm .psd .raf .rw2 .svg .tga .xcf .czi .lif "
    ".lsm .nd2 .oib .svs .vsi".split()
)


@dataclass(frozen=True)
class ImageFiles:
    """The images of a folder.

    Args:
        files: those that can be read, sorted.
        notes: sentences on what was left out: other kinds of pictures, folders that cannot be
            entered.
    """

    files: tuple[Path, ...]
    notes: tuple[str, ...] = ()


def find_images(folder: str | Path) -> ImageFiles:
    """List the images of a folder and its subfolders.

    Links are followed, each folder once. Hidden files and folders are left out.

    Args:
        folder: where to look.

    Returns:
        Files whose suffix is in `IMAGE_SUFFIXES`, in any case, and what was left out.

    Raises:
        ScalewiseError: if the folder is missing, cannot be entered, or holds no image.
    """
    root = Path(folder)
    if not root.is_dir():
        raise ScalewiseError(f"{root}: expected a folder of images, found none of this name")
    closed: list[str] = []
    files = sorted(_walk(root, closed, ()))
    found = tuple(file for file in files if file.suffix.lower() in IMAGE_SUFFIXES)
    notes = tuple(f"{name}: folder cannot be entered; it was left out" for name in closed)
    others = Counter(file.suffix.lower() for file in files if file.suffix.lower() in _OTHER_IMAGES)
    if others:
        kinds = ", ".join(f"{suffix} ({count})" for suffix, count in sorted(others.items()))
        total = sum(others.values())
        notes += (
            f"{root}: {total} picture{'s' if total > 1 else ''} of other kinds "
            f"{'were' if total > 1 else 'was'} left out: {kinds}; convert to PNG or TIFF",
        )
    if not found:
        told = "; ".join(notes) or f"expected {', '.join(IMAGE_SUFFIXES)} files"
        raise ScalewiseError(f"{root}: holds no image; {told}")
    return ImageFiles(found, notes)


def _walk(folder: Path, closed: list[str], above: tuple[str, ...]) -> Iterator[Path]:
    """Files below a folder; folders that cannot be entered are listed in `closed`."""
    real = os.path.realpath(folder)
    if real in above:  # a loop of links
        return
    try:
        entries = [entry for entry in os.scandir(folder) if not entry.name.startswith(".")]
    except OSError:
        closed.append(str(folder))
        return
    for entry in entries:
        if entry.is_dir():
            yield from _walk(folder / entry.name, closed, (*above, real))
        elif entry.is_file():
            yield folder / entry.name

"""Finding the image files of a folder."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import overload

from scalewise.errors import ScalewiseError
from scalewise.images.formats import IMAGE_SUFFIXES
from scalewise.images.reading import is_image

RAW_SUFFIXES = tuple(
    ".3fr .arw .cr2 .cr3 .crw .dng .erf .iiq .kdc .mef .mos .mrw .nef .nrw .orf .pef .raf .raw "
    ".rw2 .rwl .sr2 .srf .srw .x3f".split()
)
"""Suffixes of raw files of cameras."""

_OTHERS = frozenset(RAW_SUFFIXES) | frozenset(
    ".apng .avif .avifs .czi .dcm .emf .eps .exr .fits .fts .gif .hdr .heic .heif .hif .ico "
    ".ims .j2c .j2k .jp2 .jpc .jpf .jpx .jxl .jxr .lif .lsm .nd2 .nrrd .oib .oif .pbm .pcx "
    ".pgm .pnm .ppm .psb .psd .qoi .sgi .svg .svs .tga .vsi .wdp .wmf .xbm .xcf .xpm".split()
)
"""Suffixes of pictures of other formats: phones, cameras, microscopes and painters write them."""


@dataclass(frozen=True)
class ImageFiles(Sequence[Path]):
    """The images of a folder: a sequence of files, and notes.

    Args:
        files: those that can be read, sorted.
        notes: sentences on what was left out: pictures of other kinds, and folders that cannot
            be entered.
    """

    files: tuple[Path, ...]
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        """Number of files."""
        return len(self.files)

    @overload
    def __getitem__(self, index: int) -> Path: ...

    @overload
    def __getitem__(self, index: slice) -> tuple[Path, ...]: ...

    def __getitem__(self, index: int | slice) -> Path | tuple[Path, ...]:
        """A file, or some."""
        return self.files[index]


def find_images(folder: str | Path, suffixes: Collection[str] = IMAGE_SUFFIXES) -> ImageFiles:
    """List the images of a folder and its subfolders.

    Links are followed; each folder comes once. Hidden files and folders are left out.

    Args:
        folder: where to look.
        suffixes: of the files that are wanted, such as `RAW_SUFFIXES`.

    Returns:
        Files whose suffix is one of these, in any case, and what was left out.

    Raises:
        ScalewiseError: if the folder is missing or holds no image.
    """
    root = Path(folder)
    if not root.is_dir():
        raise ScalewiseError(f"{root}: expected a folder of images, found none of this name")
    notes: list[str] = []
    files = sorted(_walk(root, notes))
    found = tuple(file for file in files if file.suffix.lower() in suffixes)
    others = Counter(kind for file in files if (kind := _other_kind(file)))
    if others and suffixes is IMAGE_SUFFIXES:
        notes.append(f"{root}: {_count(others)}; convert them to PNG, TIFF or JPEG")
    if not found:
        told = "; ".join(notes) or f"expected {', '.join(suffixes)} files"
        raise ScalewiseError(f"{root}: holds no image; {told}")
    return ImageFiles(found, tuple(notes))


def _walk(root: Path, notes: list[str]) -> Iterator[Path]:
    """Files below a folder; folders that cannot be entered get a note."""
    seen: set[str] = set()
    folders, links = [root], list[Path]()
    while folders or links:
        folder = folders.pop() if folders else links.pop(0)  # links last: each folder comes once
        real = os.path.realpath(folder)
        if real in seen:
            continue
        seen.add(real)
        try:
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError as error:
            notes.append(f"{folder}: cannot be entered ({error.strerror}); it was left out")
            continue
        for entry in entries:
            if entry.name.startswith("."):
                continue
            with suppress(OSError):  # a link to itself is neither
                if entry.is_dir():
                    (links if entry.is_symlink() else folders).append(folder / entry.name)
                elif entry.is_file():
                    yield folder / entry.name


def _other_kind(file: Path) -> str | None:
    """The suffix of a picture that is not read, or that it has none."""
    if file.suffix:
        return file.suffix.lower() if file.suffix.lower() in _OTHERS else None
    return "without suffix" if is_image(file) else None


def _count(others: Counter[str]) -> str:
    kinds = ", ".join(f"{kind} ({count})" for kind, count in sorted(others.items()))
    if others.total() == 1:
        return f"1 picture of another kind was left out: {kinds}"
    return f"{others.total()} pictures of other kinds were left out: {kinds}"

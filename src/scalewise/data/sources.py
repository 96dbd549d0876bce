"""Training sets of any size: in memory where they fit, else read as needed."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import torch
from torch import Tensor

from scalewise.data.image_set import ImageSet, to_float
from scalewise.data.loading import (
    channels_first,
    channels_last,
    check_axes,
    check_type,
    image_files,
    intensities,
    load_image_set,
    training_image,
)
from scalewise.data.shards import HEAD, Entry, Seen, glance, shard_entries, shard_names
from scalewise.data.streaming import Source, Streamed, Window, on_own_pages, whole
from scalewise.device import memory_of
from scalewise.errors import ScalewiseError
from scalewise.images import to_channels
from scalewise.images.reading import decode_stored

SHARE = 0.5
"""Share of the machine's memory that images may take, unless more or less is asked for."""

UNPACKED = 60
"""Bytes of images in memory, over those of their files, at most; but for rare ones."""


@dataclass(frozen=True)
class Reading:
    """How much of a training set may be in memory.

    Args:
        stream: read images as they are needed, also where all fit.
        memory: gigabytes that images may take; half of the machine's by default, shared between
            the processes that train there.
    """

    stream: bool = False
    memory: float | None = None

    @property
    def bytes(self) -> int:
        """Bytes that images may take in this process."""
        if self.memory is not None:
            return int(self.memory * 1e9)
        there = memory_of(torch.device("cpu")) or 1 << 33
        return int(SHARE * there / int(os.environ.get("LOCAL_WORLD_SIZE", "1")))


def open_image_set(
    source: str | Path,
    channels: int | None = None,
    reading: Reading | None = None,
    note: Callable[[str], None] = lambda _: None,
) -> ImageSet:
    """Read a training set into memory, or, where it does not fit, read its images as needed.

    Crops are the same either way, to the bit: which image is next depends on chance and on the
    images' sizes alone, which the first bytes of a file tell.

    Args:
        source: what `load_image_set` takes; tar shards (one file, a folder of them,
            `shards/*.tar` or `shards/{000..099}.tar`), whose images are told by suffix; or a Zarr
            array of shape [N, H, W], [N, H, W, C] or [N, C, H, W].
        channels: 1 or 3 to convert every image; None for RGB if any image is RGB, else gray.
        reading: how much may be in memory.
        note: told of images that turn out to be damaged while they are read as needed.

    Returns:
        The images, in the order of their names, shards or numbers.

    Raises:
        ScalewiseError: the source is missing, empty, damaged or of another kind.
    """
    reading = reading or Reading()
    found, notes = _source(source, channels, reading)
    if found is None:
        return load_image_set(source, channels)
    name = Path(os.path.realpath(source)).name
    if not reading.stream and found.bytes <= reading.bytes:
        return _in_memory(found, name, notes)
    images = Streamed.of(found, reading.bytes, note)
    return ImageSet(images, name, found.names, notes)


def _in_memory(source: Source, name: str, notes: tuple[str, ...]) -> ImageSet:
    """All images that can be read; of the others it is told."""
    images, names, told = list[Tensor](), list[str](), list[str]()
    for number, each in enumerate(source.names):
        try:
            images.append(on_own_pages(source.read(number, whole(*source.shapes[number]))))
            names.append(each)
        except ScalewiseError as error:
            told.append(f"{error}: left out")
    if not images:
        raise ScalewiseError(f"none of the {len(told)} images of {name} can be read: {told[0]}")
    return ImageSet(images, name, tuple(names), (*notes, *told))


def _source(
    source: str | Path, channels: int | None, reading: Reading
) -> tuple[Source | None, tuple[str, ...]]:
    """Where images lie that `load_image_set` does not read; None where it does."""
    shards, path = shard_names(source), Path(source)
    if _is_zarr(path):
        return _of_array(_open_zarr(path), path, channels), ()
    if shards is not None:
        return _of_entries(shard_entries(shards), channels)
    large = path.is_file() and path.stat().st_size > reading.bytes
    if path.suffix.lower() == ".npy" and (reading.stream or large):
        return _of_array(_mapped(path), path, channels), ()
    if path.suffix.lower() in (".npy", ".npz") or not path.exists():
        return None, ()
    files = image_files(path)
    stored = sum(file.stat().st_size for file in files if file.exists())
    if not reading.stream and stored * UNPACKED <= reading.bytes:
        return None, ()
    found, notes = _of_entries([Entry(file, str(file)) for file in files], channels)
    if not reading.stream and found.bytes <= reading.bytes:
        return None, ()
    return found, (*files.notes, *notes)


def _of_entries(entries: list[Entry], channels: int | None) -> tuple[Source, tuple[str, ...]]:
    """Images in files or shards; those whose first bytes are damaged are left out, and told."""
    seen, notes = list[tuple[Entry, Seen]](), list[str]()
    for entry in entries:
        try:
            seen.append((entry, glance(entry) or _looked_at(entry)))
        except ScalewiseError as error:
            notes.append(f"{error}: left out")
    if not seen:
        raise ScalewiseError(f"none of the {len(entries)} images can be read: {notes[0]}")
    colours = channels or max(facts.channels for _, facts in seen)
    as_bytes = all(facts.bytes for _, facts in seen)
    each = [entry for entry, _ in seen]

    def read(number: int, window: Window) -> Tensor:
        image = _decoded(each[number], channels)[:, *window]
        image = to_channels(image, colours)[0]
        return image if as_bytes else to_float(image)

    return Source(
        read,
        tuple(entry.name for entry in each),
        tuple(facts.shape for _, facts in seen),
        colours,
        torch.uint8 if as_bytes else torch.float32,
        tuple(f"{Path(entry.name).name} {facts.mark}" for entry, facts in seen),
    ), tuple(notes)


def _decoded(entry: Entry, channels: int | None) -> Tensor:
    return training_image(decode_stored(entry.bytes(), entry.name), entry.name, channels)


def _looked_at(entry: Entry) -> Seen:
    """What an image is whose first bytes do not say it."""
    image, mark = _decoded(entry, None), crc32(entry.bytes(HEAD))
    return Seen((image.shape[1], image.shape[2]), image.shape[0], image.dtype == torch.uint8, mark)


def _is_zarr(path: Path) -> bool:
    return path.is_dir() and any((path / name).exists() for name in ("zarr.json", ".zarray"))


def _open_zarr(path: Path) -> Any:
    """A Zarr array, opened to read."""
    try:
        import zarr
    except ImportError as error:
        raise ScalewiseError(
            f"{path}: to read Zarr arrays, install zarr: pip install 'scalewise[big]'"
        ) from error
    try:
        return zarr.open_array(path, mode="r")
    except Exception as error:  # zarr and its codecs raise a dozen types on damaged stores
        raise ScalewiseError(
            f"{path}: cannot be read as a Zarr array ({str(error) or type(error).__name__}); give "
            "the folder of one array"
        ) from error


def _mapped(path: Path) -> Any:
    """A `.npy` array, whose numbers stay on disk."""
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise ScalewiseError(f"{path}: cannot be read as an array of numbers: {error}") from error


def _of_array(array: Any, path: Path, channels: int | None) -> Source:
    """Images along the first axis of an array that need not be in memory."""
    check_axes(array.shape, path)
    check_type(array.dtype, path)
    as_bytes = array.dtype == np.uint8
    _, colours, height, width = channels_first(np.broadcast_to(np.uint8(0), array.shape)).shape
    last = channels_last(array.shape)
    channels_of = () if last else (slice(None),)
    chunk = getattr(array, "chunks", array.shape)
    smaller = np.prod(chunk[1:]) < np.prod(array.shape[1:])

    def read(number: int, window: Window) -> Tensor:
        try:
            image = np.asarray(array[(number, *channels_of, *window)])
            image = np.moveaxis(np.atleast_3d(image), -1, 0) if last else image
        except Exception as error:  # codecs raise a dozen types on damaged chunks
            raise ScalewiseError(f"image {number} of {path}: cannot be read: {error}") from error
        if not as_bytes:
            image = intensities(image, f"image {number} of {path}")
        found = torch.from_numpy(np.array(image, order="C"))
        return found if channels is None else to_channels(found, channels)[0]

    return Source(
        read,
        tuple(f"image {number} of {path}" for number in range(array.shape[0])),
        ((height, width),) * array.shape[0],
        channels or colours,
        torch.uint8 if as_bytes else torch.float32,
        tuple(map(str, range(array.shape[0]))),
        in_windows=array.dtype.kind == "u" and bool(smaller or isinstance(array, np.memmap)),
    )

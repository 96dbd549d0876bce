"""Images that are read as they are needed, by threads, and kept as far as memory was given."""

from __future__ import annotations

import mmap
import os
import threading
import zlib
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from threading import Barrier
from typing import overload

import torch
from torch import Tensor

from scalewise.device import use_threads
from scalewise.errors import ScalewiseError
from scalewise.images.pillow import known_whole

LARGE = 1 << 18
"""Bytes from which an image gets pages of its own."""

READERS = 8
"""Threads that read and decode, at most; the processes of a machine share its cores."""


def on_own_pages(image: Tensor) -> Tensor:
    """The same image, apart from what was allocated while it was read, if it is large.

    Between such allocations, four times as large, images would leave holes that fit nothing: a set
    takes up to four times its memory then.
    """
    if image.nbytes < LARGE:
        return image
    pages = mmap.mmap(-1, image.nbytes)
    return torch.frombuffer(pages, dtype=image.dtype).view(image.shape).copy_(image)


Window = tuple[slice, slice]
"""Rows and columns of an image."""

Cut = Callable[[int, int], Window]
"""Tells which part of an image of height H and width W is wanted."""


def whole(height: int, width: int) -> Window:
    """All of an image."""
    return slice(0, height), slice(0, width)


@dataclass(frozen=True)
class Source:
    """Where images lie, and what is known of them without reading them.

    Args:
        read: gives a window (rows, columns) of an image by its number, shape (C, h, w), uint8 or
            float32 in [0, 1]; a `ScalewiseError` where it is damaged.
        names: of the images.
        shapes: (H, W) of each.
        channels: C of all.
        dtype: of all.
        marks: what tells each from others, wherever it lies.
        in_windows: whether a window is read by itself, at less cost than the image.
    """

    read: Callable[[int, Window], Tensor]
    names: tuple[str, ...]
    shapes: tuple[tuple[int, int], ...]
    channels: int
    dtype: torch.dtype
    marks: tuple[str, ...]
    in_windows: bool = False

    @property
    def bytes(self) -> int:
        """Memory that all images would take."""
        return sum(map(self.bytes_of, range(len(self.shapes))))

    def bytes_of(self, number: int) -> int:
        """Memory of an image."""
        height, width = self.shapes[number]
        return height * width * self.channels * self.dtype.itemsize


class Kept:
    """Images that were read last, up to a number of bytes; for all parts of a source.

    Args:
        source: where they are read.
        limit: bytes.
        tell: called with a sentence on each damaged image, once.
    """

    def __init__(self, source: Source, limit: int, tell: Callable[[str], None]) -> None:
        self.source, self.limit, self.tell, self.held = source, limit, tell, 0
        self.images: OrderedDict[int, Tensor] = OrderedDict()
        self.damaged: set[int] = set()
        self.whole = bytearray(len(source.names))
        self.lock, self.readers = threading.Lock(), _readers()

    def get(self, number: int, cut: Cut = whole) -> Tensor | None:
        """A part of an image; None, told once, where it is damaged."""
        with self.lock:
            if number in self.images:
                self.images.move_to_end(number)
                return _part(self.images[number], cut)
        shape = self.source.shapes[number]
        wanted = cut(*shape) if self.source.in_windows else whole(*shape)
        try:
            with known_whole(bool(self.whole[number])):
                image = self.source.read(number, wanted)
        except ScalewiseError as error:
            self._tell_once(number, error)
            return None
        self.whole[number] = True
        if self.source.in_windows:
            return image
        self._keep(number, image)
        return _part(image, cut)

    def all_of(self, numbers: Iterable[int], cuts: Iterable[Cut]) -> list[Tensor | None]:
        """Parts of images, read side by side."""
        return list(self.readers.map(self.get, numbers, cuts))

    def _keep(self, number: int, image: Tensor) -> None:
        size, image = image.nbytes, on_own_pages(image)
        with self.lock:
            if number in self.images or size > self.limit:
                return
            self.images[number] = image
            self.held += size
            while self.held > self.limit:
                _, oldest = self.images.popitem(last=False)
                self.held -= oldest.nbytes

    def _tell_once(self, number: int, error: ScalewiseError) -> None:
        with self.lock:
            known = number in self.damaged
            self.damaged.add(number)
        if not known:
            self.tell(f"{error}: left out")


def _part(image: Tensor, cut: Cut) -> Tensor:
    """A part of an image, apart from the memory of the others."""
    height, width = image.shape[1:]
    rows, columns = cut(height, width)
    part = image[:, rows, columns]
    return part if part.shape == image.shape else part.clone()


def _readers() -> ThreadPoolExecutor:
    """Threads that each compute alone, lest their teams make that of the training step sleep."""
    cores = (os.cpu_count() or 1) // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    threads, count = torch.get_num_threads(), min(READERS, max(1, cores))
    readers, all_there = ThreadPoolExecutor(count, "reader", use_threads, (1,)), Barrier(count)
    for begun in [readers.submit(all_there.wait) for _ in range(count)]:
        begun.result()
    torch.set_num_threads(threads)  # it was set for threads to come, too
    return readers


class Streamed(Sequence[Tensor]):
    """A sequence of images that are read when they are asked for.

    What an image is depends on its number alone, never on what was read before: in place of a
    damaged one comes the next that can be read.

    Args:
        kept: the source, and what is kept of it.
        numbers: of the images of this part.
    """

    def __init__(self, kept: Kept, numbers: Sequence[int]) -> None:
        self.kept, self.numbers = kept, tuple(numbers)

    @classmethod
    def of(cls, source: Source, limit: int, tell: Callable[[str], None]) -> Streamed:
        """All images of a source, of which `limit` bytes are kept in memory; see `Kept`."""
        return cls(Kept(source, limit, tell), range(len(source.shapes)))

    @property
    def shapes(self) -> list[tuple[int, int]]:
        """(H, W) of each image."""
        return [self.kept.source.shapes[number] for number in self.numbers]

    @property
    def channels(self) -> int:
        """Number of channels of every image."""
        return self.kept.source.channels

    @property
    def dtype(self) -> torch.dtype:
        """Of every image."""
        return self.kept.source.dtype

    @property
    def identity(self) -> int:
        """Tells these images from others: by their marks and sizes."""
        source = self.kept.source
        told = (f"{source.marks[n]} {source.shapes[n]}" for n in self.numbers)
        return zlib.crc32("\n".join(told).encode("utf-8", "surrogateescape"))

    def part(self, places: Sequence[int]) -> Streamed:
        """Some of the images; what is kept in memory is kept for all parts together."""
        return Streamed(self.kept, [self.numbers[place] for place in places])

    def take(self, places: Sequence[int], cuts: Sequence[Cut]) -> list[Tensor]:
        """Parts of the images at these places, read side by side."""
        found = self.kept.all_of((self.numbers[place] for place in places), cuts)
        triples = zip(places, cuts, found, strict=True)
        return [self._at(place, cut) if part is None else part for place, cut, part in triples]

    def __len__(self) -> int:
        """Number of images."""
        return len(self.numbers)

    @overload
    def __getitem__(self, place: int) -> Tensor: ...

    @overload
    def __getitem__(self, place: slice) -> Streamed: ...

    def __getitem__(self, place: int | slice) -> Tensor | Streamed:
        """The image at a place, or the next that can be read; or a part.

        Raises:
            ScalewiseError: no image can be read.
        """
        if isinstance(place, slice):
            return self.part(range(len(self))[place])
        return self._at(range(len(self))[place], whole)

    def _at(self, place: int, cut: Cut) -> Tensor:
        """A part of the image at a place, or of the next that can be read."""
        for number in (*self.numbers[place:], *self.numbers[:place]):
            part = self.kept.get(number, cut)
            if part is not None:
                return part
        first = self.kept.source.names[self.numbers[0]]
        raise ScalewiseError(
            f"none of the {len(self)} images of a part of the set can be read, {first} first; "
            "replace what is damaged, or remove it"
        )

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

LARGE = 1 << 18
"""Bytes from which an image gets pages of its own."""

READERS = 4
"""Threads that read and decode, at most."""


def on_own_pages(image: Tensor) -> Tensor:
    """The same image, apart from what was allocated while it was read, if it is large.

    Between such allocations, four times as large, images would leave holes that fit nothing: a set
    takes up to four times its memory then.
    """
    if image.nbytes < LARGE:
        return image
    pages = mmap.mmap(-1, image.nbytes)
    return torch.frombuffer(pages, dtype=image.dtype).view(image.shape).copy_(image)


@dataclass(frozen=True)
class Source:
    """Where images lie, and what is known of them without reading them.

    Args:
        read: gives an image by its number, shape (C, H, W), uint8 or float32 in [0, 1]; a
            `ScalewiseError` where it is damaged.
        names: of the images.
        shapes: (H, W) of each.
        channels: C of all.
        dtype: of all.
    """

    read: Callable[[int], Tensor]
    names: tuple[str, ...]
    shapes: tuple[tuple[int, int], ...]
    channels: int
    dtype: torch.dtype

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
        self.lock, self.readers = threading.Lock(), _readers()

    def get(self, number: int) -> Tensor | None:
        """An image; None, told once, where it is damaged."""
        with self.lock:
            if number in self.images:
                self.images.move_to_end(number)
                return self.images[number]
        try:
            image = self.source.read(number)
        except ScalewiseError as error:
            self._tell_once(number, error)
            return None
        self._keep(number, image)
        return image

    def all_of(self, numbers: Iterable[int]) -> list[Tensor | None]:
        """Images, read side by side."""
        return list(self.readers.map(self.get, numbers))

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


def _readers() -> ThreadPoolExecutor:
    """Threads that each compute alone, lest their teams make that of the training step sleep."""
    threads, count = torch.get_num_threads(), min(READERS, os.cpu_count() or 1)
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
        """Tells these images from others: by their names and sizes."""
        source = self.kept.source
        told = (f"{source.names[n]} {source.shapes[n]}" for n in self.numbers)
        return zlib.crc32("\n".join(told).encode("utf-8", "surrogateescape"))

    def part(self, places: Sequence[int]) -> Streamed:
        """Some of the images; what is kept in memory is kept for all parts together."""
        return Streamed(self.kept, [self.numbers[place] for place in places])

    def take(self, places: Sequence[int]) -> list[Tensor]:
        """Images at these places, read side by side; hold few at a time."""
        found = self.kept.all_of(self.numbers[place] for place in places)
        pairs = zip(places, found, strict=True)
        return [self[place] if image is None else image for place, image in pairs]

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
        place = range(len(self))[place]
        for number in (*self.numbers[place:], *self.numbers[:place]):
            image = self.kept.get(number)
            if image is not None:
                return image
        raise ScalewiseError(
            f"none of the {len(self)} images can be read, from {self.kept.source.names[0]} on; "
            "see whether they are damaged"
        )

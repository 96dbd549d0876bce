"""Bounds of a TIFF, checked before anything is decoded: what it announces must be there."""

from __future__ import annotations

import os
import struct
import zlib
from math import prod
from typing import Any, BinaryIO

from scalewise.errors import ScalewiseError
from scalewise.images.kinds import DEPTHS
from scalewise.images.picture import check_size

_CUT = "damaged or cut short"
_MOST_PAGES = 1_000_000
_SIZES, _WITHIN = (256, 257, 277, 322, 323, 32997, 32998), 330
_WHOLE = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q", 18: "Q"}
"""Of tags: sizes of pages, directories within a page; and numbers from 0 on, by their type."""

_DEFLATE, _JPEG = (8, 32946), 7
_HARMLESS = 2**26
_RATIOS = {8: 1040, 32946: 1040, 5: 4100, 32773: 130, 7: 512, 6: 512}
"""Most bytes (JPEG: pixels) that one byte can stand for, by compression."""


def check_chain(stream: BinaryIO) -> int:
    """Follow the directories of a file from one to the next; return how many there are."""
    file = _Directories(stream)
    offset, seen, within = file.first, set[int](), set[int]()
    while offset:
        if offset in seen or len(seen) >= _MOST_PAGES:
            raise ScalewiseError("damaged: its pages go round in a circle")
        seen.add(offset)
        offset, inner = file.read(offset)
        within.update(inner)
    if not seen:
        raise ScalewiseError("damaged: it holds no page")
    new = within - seen
    while new and len(within) < _MOST_PAGES:  # as they are reached, each once
        inner = [each for offset in new for each in file.read(offset)[1]]
        new = set(inner) - within - seen
        within |= new
    stream.seek(0)
    return len(seen)


class _Directories:
    """Those of a file, of which nothing but the bounds is looked at."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream, self._size = stream, stream.seek(0, os.SEEK_END)
        stream.seek(0)
        head = stream.read(16)
        order = "<" if head[:2] == b"II" else ">"
        big = struct.unpack(f"{order}H", head[2:4])[0] == 43
        self._order, self._offset = order, struct.Struct(order + ("Q" if big else "I"))
        self._count = struct.Struct(order + ("Q" if big else "H"))
        self._entry = struct.Struct(f"{order}HH{'Q8s' if big else 'I4s'}")
        self.first = self._number(8 if big else 4, self._offset)

    def read(self, offset: int) -> tuple[int, list[int]]:
        """Where the directory after the one there is, and those within that one."""
        start = offset + self._count.size
        length = self._number(offset, self._count) * self._entry.size
        if start + length + self._offset.size > self._size:
            self._bytes(self._size, 1)
        within: list[int] = []
        for code, kind, count, value in self._entry.iter_unpack(self._bytes(start, length)):
            if code in _SIZES and kind not in _WHOLE:
                raise ScalewiseError("damaged: the size of a page is told in no whole numbers")
            if code == _WITHIN and kind in _WHOLE:
                within += self._values(_WHOLE[kind], count, value)
        return self._number(start + length, self._offset), [place for place in within if place > 7]

    def _values(self, form: str, count: int, value: bytes) -> tuple[int, ...]:
        """Numbers of a tag, in its place or elsewhere."""
        length = count * struct.calcsize(form)
        if length > len(value):
            value = self._bytes(self._offset.unpack(value)[0], length)
        return struct.unpack(f"{self._order}{count}{form}", value[:length])

    def _number(self, at: int, form: struct.Struct) -> int:
        return int(form.unpack(self._bytes(at, form.size))[0])

    def _bytes(self, at: int, length: int) -> bytes:
        if at + length > self._size:
            raise ScalewiseError(f"{_CUT}: a directory of pages lies beyond the end of the file")
        self._stream.seek(at)
        return self._stream.read(length)


def check_pages(series: Any, file: Any) -> None:
    """Stop what is too large, incomplete, or of a kind that is not read.

    Args:
        series: of `tifffile`.
        file: handle of `tifffile`.
    """
    page, size = series.keyframe, file.size
    width, height = page.imagewidth, page.imagelength
    samples = width * height * max(1, page.samplesperpixel)
    check_size(width, height, prod(series.shape) // max(1, samples))
    if str(page.dtype) not in (*DEPTHS, "bool") or isinstance(page.bitspersample, tuple):
        raise ScalewiseError(
            f"holds {page.dtype} values of {page.bitspersample} bits; expected integers of up to "
            "32 bits, or floats of 16, 32 or 64"
        )
    pages = list(series.pages)
    missing = sum(part is None for part in pages)
    if missing:
        raise ScalewiseError(
            f"holds {len(pages) - missing} of {len(pages)} planes: the others are missing, or lie "
            "in other files of the set; merge them first"
        )
    if len(pages) == 1 and series.dataoffset is not None and series.nbytes > page.nbytes:
        _check_virtual(series, size)
        return
    if prod(series.shape) > len(pages) * prod(page.shape):
        raise ScalewiseError(
            f"{_CUT}: {len(pages)} pages of {page.imagewidth} x {page.imagelength} pixels, where "
            f"its description announces {'x'.join(map(str, series.shape))} values"
        )
    for number, part in enumerate(pages, 1):
        _check_page(part, page, number, size)
        if int(page.compression) in _DEFLATE:
            _check_unpacked(part, page, number, file)
        if int(page.compression) == _JPEG:
            _check_ends(part, number, file)


def _check_virtual(series: Any, size: int) -> None:
    """A stack behind one page: all of it must be there."""
    if series.keyframe.compression != 1 or series.dataoffset + series.nbytes > size:
        raise ScalewiseError(
            f"{_CUT}: {series.nbytes} bytes of {'x'.join(map(str, series.shape))} values do not "
            f"fit into the file"
        )


def _check_page(part: Any, page: Any, number: int, size: int) -> None:
    """All segments of a page are there, and hold as much as they can."""
    offsets, counts = part.dataoffsets, part.databytecounts
    expected = prod(page.chunked)
    if len(offsets) != expected or len(counts) != expected:
        raise ScalewiseError(
            f"{_CUT}: page {number} holds {min(len(offsets), len(counts))} of {expected} strips "
            "or tiles"
        )
    if not all(counts) or not all(offsets):
        raise ScalewiseError(f"{_CUT}: a strip or tile of page {number} is empty")
    if max(map(sum, zip(offsets, counts, strict=True))) > size:
        raise ScalewiseError(f"{_CUT}: its pixels lie beyond the end of the file")
    bits = page.bitspersample * page.imagewidth * page.imagelength * page.samplesperpixel
    held, compression = sum(counts), int(page.compression)
    if compression == 1:
        lacking = 8 * held < bits
    elif compression in (6, 7):
        lacking = _RATIOS[compression] * held < page.imagewidth * page.imagelength
    else:
        lacking = 8 * held * _RATIOS.get(compression, 10**9) < bits
    if lacking:
        raise ScalewiseError(
            f"{_CUT}: page {number} holds {held} bytes, too few for {page.imagewidth} x "
            f"{page.imagelength} pixels"
        )


def _check_ends(part: Any, number: int, file: Any) -> None:
    """JPEG data that end early are decoded as gray, without a word."""
    for offset, count in zip(part.dataoffsets, part.databytecounts, strict=True):
        tail = min(count, 32)
        file.seek(offset + count - tail)
        if b"\xff\xd9" not in file.read(tail):
            raise ScalewiseError(f"{_CUT}: JPEG data of page {number} have no end")


def _check_unpacked(part: Any, page: Any, number: int, file: Any) -> None:
    """No strip or tile unpacks to more than its pixels, which would fill the memory."""
    rows = page.tilelength if page.is_tiled else page.rowsperstrip
    columns = page.tilewidth if page.is_tiled else page.imagewidth
    samples = page.samplesperpixel if page.planarconfig == 1 else 1
    expected = rows * columns * samples * max(1, page.bitspersample // 8)
    for offset, count in zip(part.dataoffsets, part.databytecounts, strict=True):
        if count * _RATIOS[8] <= 4 * expected + _HARMLESS:
            continue
        file.seek(offset)
        unpack, found, rest = zlib.decompressobj(), 0, file.read(count)
        while rest and not unpack.eof and found <= 2 * expected + _HARMLESS:
            found += len(unpack.decompress(rest, 2**22))
            rest = unpack.unconsumed_tail
        if found > 2 * expected + _HARMLESS:
            raise ScalewiseError(
                f"damaged: a strip or tile of page {number} unpacks to more than the {expected} "
                "bytes of its pixels"
            )

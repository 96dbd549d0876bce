"""PNG, of which Pillow reads pixels only: chunks are checked and kept here, and 16 bits encoded."""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from io import BytesIO
from typing import BinaryIO

import numpy as np
from PIL import Image, PngImagePlugin

from scalewise.errors import ScalewiseError
from scalewise.images.kinds import Array
from scalewise.images.metadata import Metadata, read_metadata
from scalewise.images.picture import Picture, PngChunks, check_size
from scalewise.images.pillow import Described, pixels_of
from scalewise.images.resolution import METRES, Resolution

PNG_HEAD = b"\x89PNG\r\n\x1a\n"
_SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by colour type
_COLOUR_TYPES = {1: 0, 2: 4, 3: 2, 4: 6}  # by the number of samples, alpha included
_NEEDED = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")
_KEPT = (b"gAMA", b"cHRM", b"sRGB", b"cICP", b"mDCV", b"cLLI")
_TEXTS = (b"tEXt", b"zTXt", b"iTXt")
_LONGEST_TEXT = 2**20
_LONG = "text above 1 MB was left out: few programs would open the file"
_PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2),
           (0, 1, 1, 2))  # Adam7: first column and row, and steps  # fmt: skip
_XMP = b"XML:com.adobe.xmp\0"
_LONGEST = 2**25
_CUT = "damaged or cut short"
_DENSEST = 1032  # most bytes that one of deflate can stand for

Chunks = list[tuple[bytes, memoryview]]


def decode_png(stream: BinaryIO) -> tuple[Array, Metadata, PngChunks | None]:
    """Read (H, W, S) values of 8 or 16 bits, and what the file says."""
    chunks = list(_chunks(stream))
    width, height, bits, colour = _check_header(chunks)
    check_size(width, height)
    _check_length(chunks, chunks[0][1], bits * _SAMPLES[colour])
    metadata, kept = _metadata(chunks)
    bare = PNG_HEAD + b"".join(_packed(kind, data) for kind, data in chunks if kind in _NEEDED)
    del chunks
    if bits < 16:
        return pixels_of(PngImagePlugin.PngImageFile(BytesIO(bare))), metadata, kept
    array = _decode16(bare, colour)
    key = PngImagePlugin.PngImageFile(BytesIO(bare)).info.get("transparency")
    if key is not None:
        opaque = (array != np.asarray(key)).any(-1, keepdims=True)
        array = np.concatenate([array, opaque.astype(np.uint16) * 65535], -1)
    return array, metadata, kept


def describe_png(stream: BinaryIO) -> Described | None:
    """What a file says beside its pixels; None if those are not plain rows of all samples.

    Or if there are too few bytes to hold them: `decode_png` says so.
    """
    length = stream.seek(0, os.SEEK_END)
    chunks = list(_chunks(stream, pixels=False))
    width, height, bits, colour = _check_header(chunks)
    kinds = {kind for kind, _ in chunks}
    interlaced = chunks[0][1][12]
    if colour == 3 or bits < 8 or interlaced or b"tRNS" in kinds:
        return None
    if width * height * _SAMPLES[colour] * bits // 8 > _DENSEST * length:
        return None
    _check_length(_chunks(stream), chunks[0][1], bits * _SAMPLES[colour], end=True)
    return Described(*_metadata(chunks))


def _chunks(stream: BinaryIO, *, pixels: bool = True) -> Iterator[tuple[bytes, memoryview]]:
    """Kind and content of each chunk, whose checksums must be right; pixels may be passed over."""
    stream.seek(len(PNG_HEAD))
    while True:
        head = stream.read(8)
        if len(head) < 8:
            raise ScalewiseError(f"{_CUT}: it ends before its last chunk")
        length, kind = struct.unpack(">I4s", head)
        if kind == b"IDAT" and not pixels:
            stream.seek(length + 4, os.SEEK_CUR)
            continue
        content, check = memoryview(stream.read(length)), stream.read(4)
        if len(check) < 4 or zlib.crc32(content, zlib.crc32(kind)) != struct.unpack(">I", check)[0]:
            raise ScalewiseError(f"{_CUT}: the checksum of chunk {kind!r} is wrong")
        yield kind, content
        if kind == b"IEND":
            return


def _check_header(chunks: Chunks) -> tuple[int, int, int, int]:
    """Width, height, bits of a sample and colour type."""
    kind, header = chunks[0]
    if kind != b"IHDR" or len(header) != 13:
        raise ScalewiseError("damaged: it does not begin with a header")
    width, height, bits, colour, *_ = struct.unpack(">IIBBBBB", header)
    if colour not in _SAMPLES or bits not in (1, 2, 4, 8, 16) or not width or not height:
        raise ScalewiseError(f"damaged: its header tells of colour type {colour} and {bits} bits")
    frames = [struct.unpack(">I", data[:4])[0] for kind, data in chunks if kind == b"acTL"]
    if max(frames, default=1) > 1:
        raise ScalewiseError("is an animation; expected a single image")
    return width, height, bits, colour


def _check_length(
    chunks: Iterable[tuple[bytes, memoryview]], header: memoryview, bits: int, *, end: bool = False
) -> None:
    """Unpack without keeping: there must be as many bytes as the header asks for.

    Args:
        chunks: of the file.
        header: the first of them.
        bits: of a pixel.
        end: the checksum behind them must be right, too.
    """
    width, height = struct.unpack(">II", header[:8])
    passes = _PASSES if header[12] else ((0, 0, 1, 1),)
    expected = 0
    for left, top, across, down in passes:
        columns, rows = -(-(width - left) // across), -(-(height - top) // down)
        if columns > 0 and rows > 0:
            expected += rows * (1 + -(-columns * bits // 8))
    found, unpack = 0, zlib.decompressobj()
    for kind, data in chunks:
        rest: bytes | memoryview = data if kind == b"IDAT" else b""
        while len(rest) and (end or found < expected) and not unpack.eof:
            found += len(unpack.decompress(rest, 2**20))
            rest = unpack.unconsumed_tail
    while found < expected and not unpack.eof and (more := unpack.decompress(b"", 2**20)):
        found += len(more)
    if found < expected:
        raise ScalewiseError(
            f"{_CUT}: it holds {found} of the {expected} bytes of {width} x {height} pixels"
        )


def _metadata(chunks: Chunks) -> tuple[Metadata, PngChunks | None]:
    """What the chunks beside the pixels say, and those that are kept as they are."""
    by_kind = {kind: bytes(data) for kind, data in chunks if kind in (b"iCCP", b"eXIf", b"pHYs")}
    kept, xmp, long = [], None, False
    for kind, data in chunks:
        if kind == b"iTXt" and bytes(data[: len(_XMP)]) == _XMP:
            xmp = _international_text(bytes(data))
        elif kind in _TEXTS and _is_long(kind, bytes(data)):
            long = True
        elif kind in (*_KEPT, *_TEXTS):
            kept.append((kind, bytes(data)))
    block = by_kind.get(b"eXIf", b"")

    def load() -> Image.Exif:
        exif = Image.Exif()
        if block:
            exif.load(b"Exif\0\0" + block.removeprefix(b"Exif\0\0"))
        return exif

    metadata = read_metadata(
        load,
        icc=_profile(by_kind.get(b"iCCP")),
        xmp=xmp,
        resolution=_resolution(by_kind.get(b"pHYs")),
    )
    if long:
        metadata = replace(metadata, notes=(*metadata.notes, _LONG))
    return metadata, PngChunks(tuple(kept)) if kept else None


def _is_long(kind: bytes, chunk: bytes) -> bool:
    """Tell whether a text unpacks to more than common readers take."""
    text = chunk.partition(b"\0")[2]
    if kind == b"tEXt" or (kind == b"iTXt" and not text[:1].strip(b"\0")):
        return len(text) > _LONGEST_TEXT
    packed = text[1:] if kind == b"zTXt" else text[2:].partition(b"\0")[2].partition(b"\0")[2]
    try:
        return len(zlib.decompressobj().decompress(packed, _LONGEST_TEXT + 1)) > _LONGEST_TEXT
    except zlib.error:
        return True


def _profile(chunk: bytes | None) -> object:
    """Unpack the colour profile; something that is none if it is damaged."""
    if chunk is None:
        return None
    with suppress(zlib.error):
        return zlib.decompressobj().decompress(chunk.partition(b"\0")[2][1:], _LONGEST + 1)
    return False


def _international_text(chunk: bytes) -> bytes | None:
    """Text of an iTXt chunk."""
    packed, rest = chunk[len(_XMP)], chunk[len(_XMP) + 2 :]
    text = rest.partition(b"\0")[2].partition(b"\0")[2]
    if not packed:
        return text
    with suppress(zlib.error):
        return zlib.decompressobj().decompress(text, _LONGEST)
    return None


def _resolution(chunk: bytes | None) -> Resolution | None:
    if chunk is None or len(chunk) != 9:
        return None
    x, y, unit = struct.unpack(">IIB", chunk)
    if not x or not y or (unit != 1 and x == y):
        return None
    if unit != 1:
        return Resolution(x, y, None)
    dots = [round(value * METRES["inch"]) for value in (x, y)]
    if [round(value / METRES["inch"]) for value in dots] == [x, y]:  # the file has whole numbers
        return Resolution(float(dots[0]), float(dots[1]))
    return Resolution(x, y, "m")


def _decode16(bare: bytes, colour: int) -> Array:
    """Decode to (H, W, S) uint16, of which Pillow by itself keeps the high bytes only."""

    def decode(data: bytes, raw_mode: str | None = None) -> Array:
        with PngImagePlugin.PngImageFile(BytesIO(data)) as image:
            if raw_mode:
                image.tile = [image.tile[0]._replace(args=raw_mode)]
            return np.asarray(image)

    if colour == 0:
        return decode(bare)[..., None].astype(np.uint16)
    if colour == 4:  # 16-bit gray and alpha lie in the file as 8-bit RGBA does
        header = bytearray(bare[16:29])
        header[8:10] = b"\x08\x06"
        changed = bare[:8] + _packed(b"IHDR", bytes(header)) + bare[33:]
        return decode(changed).view(">u2").astype(np.uint16)
    mode = "RGB" if colour == 2 else "RGBA"
    result = decode(bare, f"{mode};16B").astype(np.uint16)
    result <<= 8
    result |= decode(bare, f"{mode};16L")
    return result


def encode_png(array: Array, picture: Picture) -> bytes:
    """Encode (H, W, S) values of 8 or 16 bits, with all that the picture says."""
    if array.dtype == np.uint8:
        buffer = BytesIO()
        Image.fromarray(array[..., 0] if array.shape[-1] == 1 else array).save(buffer, "PNG")
        data = buffer.getvalue()
    else:
        data = _encode16(array)
    said = b"".join(_packed(kind, content) for kind, content in _said(picture))
    return data[:33] + said + data[33:]


def stream_png(
    stream: BinaryIO, bands: Iterable[Array], shape: tuple[int, ...], picture: Picture
) -> None:
    """Write a PNG of 8 or 16 bits, some rows (h, W, S) at a time.

    Args:
        stream: where to.
        bands: all rows, from top to bottom.
        shape: height, width and samples.
        picture: which says what else it holds.
    """
    height, width, samples = shape
    bits = 8 if picture.depth == "uint8" else 16
    header = struct.pack(">IIBBBBB", width, height, bits, _COLOUR_TYPES[samples], 0, 0, 0)
    stream.write(PNG_HEAD + _packed(b"IHDR", header))
    for kind, content in _said(picture):
        stream.write(_packed(kind, content))
    squeeze, above = zlib.compressobj(), np.zeros((1, width * samples * bits // 8), np.uint8)
    for band in bands:
        rows = band.astype(f">u{bits // 8}").view(np.uint8).reshape(len(band), -1)
        filtered = np.full((len(rows), rows.shape[1] + 1), 2, np.uint8)  # 2: minus the row above
        filtered[:, 1:] = np.diff(rows, axis=0, prepend=above)
        above = rows[-1:]
        if packed := squeeze.compress(filtered.tobytes()):
            stream.write(_packed(b"IDAT", packed))
    stream.write(_packed(b"IDAT", squeeze.flush()) + _packed(b"IEND", b""))


def _said(picture: Picture) -> Iterator[tuple[bytes, bytes]]:
    """Chunks beside the pixels; they follow the header."""
    if isinstance(picture.origin, PngChunks):
        yield from picture.origin.chunks
    if picture.icc:
        yield b"iCCP", b"ICC Profile\0\0" + zlib.compress(picture.icc)
    if picture.exif:
        yield b"eXIf", picture.exif.removeprefix(b"Exif\0\0")
    if picture.xmp:
        yield b"iTXt", _XMP + b"\0\0\0\0" + picture.xmp
    if picture.resolution:
        metric = picture.resolution.per("m")
        x, y = metric or (picture.resolution.x, picture.resolution.y)
        scale = 1 if metric else 1000 / max(x, y)  # a ratio
        ends = [round(value * scale) for value in (x, y)]
        if 0 < min(ends) and max(ends) < 2**31:
            yield b"pHYs", struct.pack(">IIB", *ends, 1 if metric else 0)


def _encode16(array: Array) -> bytes:
    """Encode (H, W, S) uint16: gray, gray and alpha, RGB or RGBA."""
    height, width, samples = array.shape
    rows = array.astype(">u2").view(np.uint8).reshape(height, -1)
    filtered = np.full((height, rows.shape[1] + 1), 2, np.uint8)  # filter 2: minus the row above
    filtered[:, 1:] = np.diff(rows, axis=0, prepend=np.zeros_like(rows[:1]))
    header = struct.pack(">IIBBBBB", width, height, 16, _COLOUR_TYPES[samples], 0, 0, 0)
    packed, longest = zlib.compress(filtered.tobytes()), 2**30
    parts = [packed[i : i + longest] for i in range(0, len(packed), longest)]
    chunks = [(b"IHDR", header), *((b"IDAT", part) for part in parts), (b"IEND", b"")]
    return PNG_HEAD + b"".join(_packed(kind, data) for kind, data in chunks)


def _packed(kind: bytes, data: bytes | memoryview) -> bytes:
    """A chunk: length, kind, content and checksum."""
    check = zlib.crc32(data, zlib.crc32(kind))
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", check)

"""PNG of 16 bits per channel, which Pillow reads and writes only in gray."""

import struct
import zlib
from io import BytesIO
from typing import BinaryIO

import numpy as np
from PIL import PngImagePlugin

from scalewise.images.picture import Array

_COLOUR_TYPES = {1: 0, 2: 4, 3: 2, 4: 6}  # by the number of samples, alpha included


def decode_png16(stream: BinaryIO, colour_type: int) -> Array:
    """Decode to (H, W, S) uint16, of which Pillow by itself keeps the high bytes only."""

    def decode(data: BinaryIO, raw_mode: str | None = None) -> Array:
        data.seek(0)
        image = PngImagePlugin.PngImageFile(data)
        if raw_mode:
            image.tile = [image.tile[0]._replace(args=raw_mode)]
        return np.asarray(image)

    if colour_type == 0:
        return decode(stream)[..., None].astype(np.uint16)
    if colour_type == 4:  # 16-bit gray and alpha lie in the file as 8-bit RGBA does
        stream.seek(0)
        data = bytearray(stream.read())
        data[24:26] = b"\x08\x06"
        data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
        return decode(BytesIO(data)).view(">u2").astype(np.uint16)
    mode = "RGB" if colour_type == 2 else "RGBA"
    high, low = decode(stream, f"{mode};16B"), decode(stream, f"{mode};16L")
    return high.astype(np.uint16) << 8 | low


def encode_png16(array: Array, icc: bytes | None, exif: bytes | None) -> bytes:
    """Encode (H, W, S) uint16: gray, gray and alpha, RGB or RGBA."""
    height, width, samples = array.shape
    rows = array.astype(">u2").view(np.uint8).reshape(height, -1)
    filtered = np.full((height, rows.shape[1] + 1), 2, np.uint8)  # filter 2: minus the row above
    filtered[:, 1:] = np.diff(rows, axis=0, prepend=np.zeros_like(rows[:1]))
    header = struct.pack(">IIBBBBB", width, height, 16, _COLOUR_TYPES[samples], 0, 0, 0)
    chunks = [(b"IHDR", header)]
    if icc:
        chunks.append((b"iCCP", b"ICC Profile\0\0" + zlib.compress(icc)))
    if exif:
        chunks.append((b"eXIf", exif.removeprefix(b"Exif\0\0")))
    packed, longest = zlib.compress(filtered.tobytes()), 2**30
    chunks += [(b"IDAT", packed[i : i + longest]) for i in range(0, len(packed), longest)]
    chunks.append((b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )

"""Damage valid image files at random, and look for what is not refused in a sentence.

    python -m tests.fuzz_images findings --minutes 20

Each finding is a file in the folder, named by what was wrong: another error than a sentence, more
than a second, more memory than the pixels ask for, an image that is read and cannot be written, or
a process that died. Findings that are mended become tests in `test_damaged.py`.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import resource
import signal
import struct
import sys
import time
import warnings
import zlib
from collections import Counter
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import tifffile
from PIL import Image

from scalewise.errors import ScalewiseError
from scalewise.images import read_image, write_image

BATCH, SECONDS, MEGABYTES = 200, 3.0, 200
SPECIAL = (0, 1, 2, 255, 256, 32767, 32768, 65535, 2**24, 2**31 - 1, 2**31, 2**32 - 1)


def valid_files() -> dict[str, bytes]:
    """Small files of every kind that is read."""
    rng = np.random.default_rng(0)
    byte = rng.integers(0, 256, (20, 27, 4)).astype(np.uint8)
    word, unit = byte.astype(np.uint16) * 257, byte.astype(np.float32) / 255
    files = {}

    def pillow(name: str, array: Any, kind: str, **options: Any) -> None:
        buffer = BytesIO()
        exif = Image.Exif()
        exif[271], exif[306] = "Maker", "2020:01:02 03:04:05"
        extra = {} if kind == "BMP" else {"exif": exif}
        Image.fromarray(array).save(buffer, kind, **extra, **options)
        files[name] = buffer.getvalue()

    def tiff(name: str, array: Any, **options: Any) -> None:
        buffer = BytesIO()
        tifffile.imwrite(buffer, array, **options)
        files[name] = buffer.getvalue()

    pillow("gray.png", byte[..., 0], "PNG", dpi=(300, 300))
    pillow("rgb.png", byte[..., :3], "PNG")
    pillow("rgba.png", byte, "PNG")
    pillow("gray16.png", word[..., 0], "PNG")
    pillow("bits.png", byte[..., 0] > 127, "PNG")
    pillow("rgb.jpg", byte[..., :3], "JPEG", dpi=(300, 300))
    pillow("gray.jpg", byte[..., 0], "JPEG", progressive=True)
    pillow("rgb.webp", byte[..., :3], "WEBP")
    pillow("rgba.webp", byte, "WEBP", lossless=True)
    pillow("rgb.bmp", byte[..., :3], "BMP")
    tiff("plain.tif", byte[..., :3], photometric="rgb", metadata=None, rowsperstrip=7)
    tiff("tiles.tif", word[..., 0], tile=(16, 16), compression="zlib", predictor=True)
    tiff("lzw.tif", word[..., :3], photometric="rgb", compression="lzw")
    tiff("float.tif", unit[..., 0], compression="zlib", predictor=3)
    tiff("big.tif", byte, photometric="rgb", extrasamples=["unassalpha"], bigtiff=True)
    tiff("packed.tif", word[..., 0] >> 4, bitspersample=12)
    tiff("bool.tif", byte[..., 0] > 127, photometric="miniswhite")
    tiff("jpeg.tif", byte[..., :3], photometric="rgb", compression="jpeg")
    tiff("zstd.tif", byte[..., 0], compression="zstd")
    tiff("webp.tif", byte[..., :3], photometric="rgb", compression="webp")
    tiff("packbits.tif", byte[..., 0], compression="packbits", byteorder=">")
    stack = np.moveaxis(word, -1, 0)
    tiff("imagej.tif", stack, imagej=True, metadata={"unit": "um", "Labels": list("abcd")})
    tiff("virtual.tif", stack, imagej=True, truncate=True)
    tiff("ome.tif", stack, ome=True, metadata={"axes": "ZYX", "PhysicalSizeX": 0.1})
    tiff("shaped.tif", stack, photometric="minisblack", metadata={"axes": "CYX"})
    tiff("separate.tif", stack, photometric="minisblack", planarconfig="separate", metadata=None)
    return files


def damaged(data: bytes, rng: np.random.Generator, png: bool) -> bytes:
    """Change, cut, repeat or drop a few parts."""
    changed = bytearray(data)
    for _ in range(int(rng.choice([1, 1, 1, 2, 4]))):
        size = len(changed)
        at = int(rng.integers(min(size, 400) if rng.random() < 0.5 else size))
        action = rng.random()
        if action < 0.4:
            changed[at] = int(rng.integers(256))
        elif action < 0.75:
            form = rng.choice(["<H", ">H", "<I", ">I"])
            value = int(rng.choice(SPECIAL)) % 256 ** struct.calcsize(form)
            part = struct.pack(form, value)
            changed[at : at + len(part)] = part
        elif action < 0.85:
            changed = changed[: max(16, at)]
        else:
            length = int(rng.integers(1, 40))
            part = bytes(changed[at : at + length])
            changed[at : at + length] = b"" if action < 0.92 else part * 2
        if len(changed) < 16:
            return bytes(data[:16])
    return with_checksums(bytes(changed)) if png and rng.random() < 0.7 else bytes(changed)


def with_checksums(data: bytes) -> bytes:
    """Mend the checksums of a PNG, so that damage gets further."""
    result, at = bytearray(data[:8]), 8
    while at + 12 <= len(data):
        (length,) = struct.unpack(">I", data[at : at + 4])
        if at + 12 + length > len(data):
            break
        body = data[at + 4 : at + 8 + length]
        result += data[at : at + 4] + body + struct.pack(">I", zlib.crc32(body))
        at += 12 + length
    return bytes(result + data[at:])


def inputs(first: int) -> Iterator[tuple[str, bytes]]:
    """The damaged files of a batch, by name."""
    files = valid_files()
    names = sorted(files)
    for seed in range(first, first + BATCH):
        rng = np.random.default_rng(seed)
        name = str(rng.choice(names))
        yield f"{seed}-{name}", damaged(files[name], rng, name.endswith(".png"))


class TooLong(BaseException):
    """Raised by the alarm."""


def _alarm(signum: int, frame: FrameType | None) -> None:
    raise TooLong


def judged(file: Path) -> str:
    """What reading a file, and writing what was read, led to."""
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    pixels = 0
    try:
        picture = read_image(file)
        pixels = picture.pixels.numel()
        result = "read"
        target = file.with_name(f"out{file.suffix}")
        write_image(target, picture, force=True)
        read_image(target)
    except ScalewiseError as error:
        result = "refused"
        if "\n" in str(error) or "cannot be encoded" in str(error):
            result = f"words-{type(error.__cause__).__name__}"
    except TooLong:
        result = "time"
    except Exception as error:
        result = f"error-{type(error).__name__}"
    used = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    if used > MEGABYTES + 60 * pixels / 2**20:
        return f"memory-{used:.0f}MB"
    if time.process_time() - start > 1 + pixels / 1e6 and result != "time":
        return f"slow-{result}"
    return result


def batch(first: int, folder: Path, results: Any) -> None:
    """Judge a batch in a process of its own."""
    warnings.simplefilter("ignore")
    os.nice(19)
    signal.signal(signal.SIGALRM, _alarm)
    counts: Counter[str] = Counter()
    for name, data in inputs(first):
        current = folder / f"current{Path(name).suffix}"
        current.write_bytes(data)
        (folder / "current.txt").write_text(name)
        signal.setitimer(signal.ITIMER_REAL, 20 * SECONDS)
        result = judged(current)
        signal.setitimer(signal.ITIMER_REAL, 0)
        counts[result] += 1
        if result not in ("read", "refused"):
            current.rename(folder / f"{result}-{name}")
    results.put(counts)


def main(arguments: list[str] | None = None) -> None:
    """Run batches until the time is over, and count."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="for the findings")
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    options.folder.mkdir(parents=True, exist_ok=True)
    context = multiprocessing.get_context("spawn")
    counts: Counter[str] = Counter()
    end, first = time.monotonic() + 60 * options.minutes, options.seed
    while time.monotonic() < end:
        results = context.Queue()
        process = context.Process(target=batch, args=(first, options.folder, results))
        process.start()
        process.join(BATCH * SECONDS)
        if process.is_alive() or process.exitcode:
            kind = "hang" if process.is_alive() else f"died{process.exitcode}"
            process.kill()
            name = (options.folder / "current.txt").read_text()
            current = options.folder / f"current{Path(name).suffix}"
            current.rename(options.folder / f"{kind}-{name}")
            counts[kind] += 1
        else:
            counts += results.get()
        first += BATCH
        sys.stdout.write(f"{sum(counts.values())} files: {dict(counts)}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()

"""Where the images of tar shards lie, and what their first bytes say of them."""

from __future__ import annotations

import glob
import io
import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from zlib import crc32

from PIL import Image

from scalewise.errors import ScalewiseError
from scalewise.images import IMAGE_SUFFIXES
from scalewise.images.silence import silent

HEAD = 1 << 16
"""Bytes of a file that tell its size and kind, but for rare ones."""

MOST_SHARDS = 100_000
"""Names that braces may stand for."""

_COLOURS = {"1": 1, "L": 1, "LA": 1, "RGB": 3, "RGBA": 3, "CMYK": 3, "YCbCr": 3}
_COMPRESSED = (b"\x1f\x8b", b"BZ", b"\xfd7", b"\x28\xb5")
_TURNED = (5, 6, 7, 8)
_ORIENTATION = 0x0112


@dataclass(frozen=True, slots=True)
class Entry:
    """An image in a file, or a file.

    Attributes:
        file: where it lies.
        name: what it is called in sentences.
        start: its first byte.
        size: how many bytes; -1 for all.
    """

    file: Path
    name: str
    start: int = 0
    size: int = -1

    def bytes(self, most: int = -1) -> bytes:
        """Its content, or the first bytes of it.

        Raises:
            ScalewiseError: it cannot be read.
        """
        wanted = self.size if most < 0 or 0 <= self.size < most else most
        try:
            with self.file.open("rb") as stream:
                stream.seek(self.start)
                return stream.read(wanted)
        except OSError as error:
            raise ScalewiseError(f"{self.name}: cannot be opened: {error.strerror}") from error


@dataclass(frozen=True, slots=True)
class Seen:
    """What the first bytes of an image say: its size, channels, and whether it has 8 bits.

    The bytes' checksum tells the image from others.
    """

    shape: tuple[int, int]
    channels: int
    bytes: bool
    mark: int


def glance(entry: Entry) -> Seen | None:
    """Read the size and kind of an image off its first bytes; None where they do not tell."""
    for most in (HEAD, -1):
        head = entry.bytes(most)
        try:
            with silent(), Image.open(io.BytesIO(head)) as image:
                if image.format not in ("PNG", "JPEG", "WEBP", "BMP"):
                    return None
                channels = _COLOURS.get(image.mode)
                width, height = image.size
                turned = image.format != "PNG" and image.getexif().get(_ORIENTATION) in _TURNED
                deep = image.format == "PNG" and head[24] > 8
        except Exception:  # Pillow raises a dozen types, here for lack of bytes too
            continue
        shape = (width, height) if turned else (height, width)
        animated = getattr(image, "n_frames", 1) > 1
        seen = None if channels is None else Seen(shape, channels, not deep, crc32(head[:HEAD]))
        return None if animated else seen
    return None


def shard_names(source: str | Path) -> list[Path] | None:
    """The tar files that a name stands for: one, `*`, `{000..099}`, or a folder without images.

    Returns:
        Sorted files; None where it stands for no tar files.

    Raises:
        ScalewiseError: none is there.
    """
    text, path = str(source), Path(source)
    if path.is_dir():
        shards = sorted(path.glob("*.tar"))
        images = bool(shards) and any(_is_image(file.name) for file in path.rglob("*"))
        return None if images else shards or None
    if not text.endswith(".tar"):
        return None
    if path.exists():
        return [path]
    found = [Path(name) for each in _spelt_out(text) for name in sorted(glob.glob(each))]
    missing = [name for name in _spelt_out(text) if not glob.has_magic(name)]
    missing = [name for name in missing if not Path(name).exists()]
    if missing or not found:
        raise ScalewiseError(f"{(missing or [text])[0]}: no such tar file; see its name")
    return found


def _spelt_out(text: str) -> list[str]:
    """The names that `{000..099}` stands for."""
    braces = re.search(r"\{(\d+)\.\.(\d+)\}", text)
    if braces is None:
        return [text]
    first, last = int(braces[1]), int(braces[2])
    if not 0 <= last - first < MOST_SHARDS:
        raise ScalewiseError(
            f"{text}: {braces[0]} must count upwards, and stand for at most {MOST_SHARDS} files"
        )
    before, after, width = text[: braces.start()], text[braces.end() :], len(braces[1])
    numbers = range(first, last + 1)
    return [name for n in numbers for name in _spelt_out(f"{before}{n:0{width}}{after}")]


def shard_entries(shards: list[Path]) -> list[Entry]:
    """The images of tar shards, by suffix, in the order in which they lie there.

    Raises:
        ScalewiseError: a shard is damaged, cut short or compressed, or none holds an image.
    """
    entries = [entry for shard in shards for entry in _members(shard)]
    if not entries:
        many = f"{shards[0]}: holds" if len(shards) == 1 else f"{shards[0]} and others: hold"
        raise ScalewiseError(f"{many} no image; expected {', '.join(IMAGE_SUFFIXES)} members")
    return entries


def _members(shard: Path) -> Iterator[Entry]:
    try:
        with tarfile.open(shard, "r:") as archive:
            for member in archive:
                name = f"{shard}: {member.name}"
                hidden = Path(member.name).name.startswith(".")
                if member.isreg() and not hidden and _is_image(member.name):
                    yield Entry(shard, name, member.offset_data, member.size)
            end = archive.offset
        if end >= shard.stat().st_size:
            raise tarfile.ReadError("the mark of its end is missing")
    except tarfile.ReadError as error:
        with shard.open("rb") as stream:
            compressed = stream.read(2) in _COMPRESSED
        reason = f"is damaged or cut short ({error}); copy it again"
        if compressed:
            reason = "is compressed, so that single images cannot be read; unpack it first: gunzip"
        raise ScalewiseError(f"{shard}: {reason}") from error
    except OSError as error:
        raise ScalewiseError(f"{shard}: cannot be opened: {error.strerror}") from error


def _is_image(name: str) -> bool:
    return Path(name).suffix.lower() in IMAGE_SUFFIXES

"""Ways to damage a valid file: its bytes, tags of TIFF, text, trees, members of archives."""

from __future__ import annotations

import io
import json
import struct
import zipfile
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np

Damage = Callable[[str, bytes, np.random.Generator], bytes]
"""From the name and content of a valid file, and chance, to a damaged one."""

SPECIAL = (0, 1, 2, 255, 256, 32767, 32768, 65535, 2**24, 2**31 - 1, 2**31, 2**32 - 1)

ODD: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 2, 0.5, -0.0, 7, 1e308, 1e400, -1e400, float("nan"), 2**31, 2**63,
    2**64, 10**30, "", "a", "photos", "\0", "é" * 50, "9" * 5000, [], [[]], [0] * 2000, [None],
    ["a", 1], {}, {"": 0}, {"a": {"b": [1]}}, [[[[[[1]]]]]], [-1, 5], "haar", "db99", "nan",
)  # fmt: skip
"""Values where others are expected."""


def of_bytes(name: str, data: bytes, rng: np.random.Generator) -> bytes:
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
    return bytes(changed)


def of_png(name: str, data: bytes, rng: np.random.Generator) -> bytes:
    """Bytes, whose checksums are mostly mended, so that damage gets further."""
    changed = of_bytes(name, data, rng)
    return with_checksums(changed) if rng.random() < 0.7 else changed


def with_checksums(data: bytes) -> bytes:
    """Mend the checksums of a PNG."""
    result, at = bytearray(data[:8]), 8
    while at + 12 <= len(data):
        (length,) = struct.unpack(">I", data[at : at + 4])
        if at + 12 + length > len(data):
            break
        body = data[at + 4 : at + 8 + length]
        result += data[at : at + 4] + body + struct.pack(">I", zlib.crc32(body))
        at += 12 + length
    return bytes(result + data[at:])


def of_tiff(name: str, data: bytes, rng: np.random.Generator) -> bytes:
    """Fields of its tags, or bytes."""
    if rng.random() < 0.4:
        return of_bytes(name, data, rng)
    changed = bytearray(data)
    order = "<" if data[:2] == b"II" else ">"
    big = struct.unpack_from(order + "H", data, 2)[0] == 43
    tags = _tags(data, order, big)
    if not tags:
        return of_bytes(name, data, rng)
    wide = "Q" if big else "I"
    for _ in range(int(rng.choice([1, 1, 2, 3]))):
        at = tags[int(rng.integers(len(tags)))]
        field = int(rng.integers(5))  # code, type, count, value, or a short value
        offset, form = ((0, "H"), (2, "H"), (4, wide), (12 if big else 8, wide), (8, "H"))[field]
        values = (*range(20), 254, 256, 257, 258, 259, 273, 277, 279, 320, 338, 339, 34675)
        choices = values if form == "H" else (*SPECIAL, 3, 5, 20, 27, len(data) - 1, len(data))
        value = int(rng.choice(choices)) % 256 ** struct.calcsize(form)
        if at + offset + struct.calcsize(form) <= len(changed):
            struct.pack_into(order + form, changed, at + offset, value)
    return bytes(changed)


def _tags(data: bytes, order: str, big: bool) -> list[int]:
    """Where each tag of a valid TIFF's pages stands."""
    number, size, pointer = ("Q", 20, "Q") if big else ("H", 12, "I")
    places: list[int] = []
    (page,) = struct.unpack_from(order + pointer, data, 8 if big else 4)
    while page and page + struct.calcsize(number) <= len(data) and len(places) < 2000:
        (count,) = struct.unpack_from(order + number, data, page)
        first = page + struct.calcsize(number)
        places += [first + size * place for place in range(count)]
        (page,) = struct.unpack_from(order + pointer, data, first + size * count)
    return places


def of_text(name: str, data: bytes, rng: np.random.Generator) -> bytes:
    """A word or line, moved, dropped, repeated or replaced; or bytes."""
    if rng.random() < 0.3 and len(data) > 16:
        return of_bytes(name, data, rng)
    odd = ("[", "]", "=", '"', "'", "\n", "\0", "#", "..", "/", "nan", "1e999", "\ufeff", "\r", "é")
    words = data.decode().split(" ")
    for _ in range(int(rng.choice([1, 1, 2, 4]))):
        at = int(rng.integers(len(words)))
        words[at : at + 1] = [[], [words[at]] * 2, [str(rng.choice(odd))]][int(rng.integers(3))]
        words = words or [""]
    return " ".join(words).encode()


def tree(value: Any, rng: np.random.Generator, odd: tuple[Any, ...] = ODD) -> Any:
    """A copy of nested dictionaries and lists with an entry replaced, dropped, moved or added."""
    if isinstance(value, dict) and value and rng.random() < 0.9:
        keys = list(value)
        key = keys[int(rng.integers(len(keys)))]
        action = rng.random()
        if action < 0.08:
            return {k: v for k, v in value.items() if k != key}
        if action < 0.12:
            return {**value, "unknown": odd[int(rng.integers(len(odd)))]}
        if action < 0.16:
            return {**value, key: value[keys[int(rng.integers(len(keys)))]]}
        return {**value, key: tree(value[key], rng, odd)}
    if isinstance(value, list) and value and rng.random() < 0.8:
        at = int(rng.integers(len(value)))
        action = rng.random()
        middle = [] if action < 0.1 else [value[at]] * 2 if action < 0.2 else None
        middle = [tree(value[at], rng, odd)] if middle is None else middle
        return [*value[:at], *middle, *value[at + 1 :]]
    return odd[int(rng.integers(len(odd)))]


def of_json(name: str, data: bytes, rng: np.random.Generator) -> bytes:
    """Its values, one or several; or its text."""
    if rng.random() < 0.25:
        return of_text(name, data, rng)
    value = json.loads(data)
    for _ in range(int(rng.choice([1, 1, 1, 2, 3]))):
        value = tree(value, rng)
    return json.dumps(value, ensure_ascii=bool(rng.random() < 0.5)).encode()


def of_request(name: str, data: bytes, rng: np.random.Generator) -> bytes:
    """As of JSON, or a few characters of its texts."""
    if rng.random() < 0.6:
        return of_json(name, data, rng)
    odd = (*"[]{}<>()/:;,.?&=%#@+*-_~'\"\\ \0\n\r\t", "..", "//", "%00", "é", "\u2100", "\ud800")
    value = json.loads(data)
    texts = [place for place in value if value[place] and isinstance(value[place], str | dict)]
    for _ in range(int(rng.choice([1, 1, 2, 3]))):
        held, key = value, texts[int(rng.integers(len(texts)))]
        if isinstance(value[key], dict):
            held = value[key]
            key = list(held)[int(rng.integers(len(held)))]
        text = str(held[key])
        start, end = sorted(rng.integers(0, len(text) + 1, 2).tolist())
        end = start if rng.random() < 0.6 else end
        held[key] = text[:start] + odd[int(rng.integers(len(odd)))] + text[end:]
    return json.dumps(value).encode()


def of_zip(name: str, data: bytes, rng: np.random.Generator) -> bytes:
    """The bytes of a member, packed again with the right checksum; or of the archive."""
    if rng.random() < 0.4 or not zipfile.is_zipfile(io.BytesIO(data)):
        return of_bytes(name, data, rng)
    packed = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(packed, "w") as new:
        members = old.namelist()
        # small members hold the structure
        weights = np.array([1 / (64 + old.getinfo(member).file_size) for member in members])
        chosen = str(rng.choice(members, p=weights / weights.sum()))
        for member in members:
            content = old.read(member)
            if member == chosen:
                content = of_bytes(member, content, rng) if len(content) > 16 else b"\xff" * 8
                if rng.random() < 0.05:
                    continue
            new.writestr(member, content)
    return packed.getvalue()

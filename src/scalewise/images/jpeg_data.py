"""Whether the data of a JPEG reach to its last pixel, of which decoders say nothing.

Where data end early, decoders fill up with gray. Where they are whole, decoders pass over what
stands between them and the next marker. So junk put there changes the picture only if data are
missing. Restart markers are counted.
"""

from __future__ import annotations

import random
import re
import struct
from dataclasses import dataclass, field
from math import ceil

import numpy as np

_JUNK = bytes(random.Random(0).choices(range(255), k=4096))  # no 255, no marker
_MARKER = re.compile(rb"\xff+([\x01-\xfe])")
_EOI, _SOS, _DRI = 0xD9, 0xDA, 0xDD
_FRAMES = (0xC0, 0xC1, 0xC2)
_RESTARTS = 0xD0  # to 0xD7


@dataclass
class JpegData:
    """What following the markers of a JPEG has told.

    Args:
        junked: the same file with junk behind the data of each scan.
        restarts_lacking: how many fewer restart markers than the frame asks for.
    """

    junked: bytes
    restarts_lacking: int


@dataclass
class _Frame:
    width: int = 0
    height: int = 0
    factors: dict[int, tuple[int, int]] = field(default_factory=dict)

    def units(self, components: list[int]) -> int:
        """Number of coded units of a scan: blocks of one component, or groups of all."""
        across, down = (max(factor[i] for factor in self.factors.values()) for i in (0, 1))
        if len(components) > 1:
            return ceil(self.width / (8 * across)) * ceil(self.height / (8 * down))
        x, y = self.factors[components[0]]
        width, height = ceil(self.width * x / across), ceil(self.height * y / down)
        return ceil(width / 8) * ceil(height / 8)


def follow(data: bytes) -> JpegData | None:
    """Follow the markers of a file; None if they lead nowhere."""
    parts: list[bytes] = []
    frame, interval, lacking, done, at = _Frame(), 0, 0, 0, 2
    while (found := _MARKER.match(data, at)) and len(data) >= found.end() + 2:
        kind, start = found[1][0], found.end()
        if kind == _EOI:
            break
        at = start + struct.unpack(">H", data[start : start + 2])[0]
        body = data[start + 2 : at]
        if kind in _FRAMES:
            frame = _frame(body)
        elif kind == _DRI:
            interval = struct.unpack(">H", body[:2])[0]
        elif kind == _SOS:
            restarts, at = _scan_end(data, at)
            components = [body[1 + 2 * i] for i in range(body[0])]
            if interval and frame.factors:
                lacking += max(0, ceil(frame.units(components) / interval) - 1 - restarts)
            parts += [data[done:at], _JUNK]
            done = at
    if found is None or found[1][0] != _EOI:
        return None
    return JpegData(b"".join(parts) + data[done:], lacking)


def _frame(body: bytes) -> _Frame:
    height, width, count = struct.unpack(">HHB", body[1:6])
    parts = [body[6 + 3 * i : 9 + 3 * i] for i in range(count)]
    return _Frame(width, height, {part[0]: (part[1] >> 4, part[1] & 15) for part in parts})


def _scan_end(data: bytes, at: int) -> tuple[int, int]:
    """Number of restarts in a scan, and where the next other marker stands."""
    values = np.frombuffer(data, np.uint8, offset=at)
    kinds = values[1:]
    places = np.flatnonzero((values[:-1] == 0xFF) & (kinds != 0) & (kinds != 0xFF))
    others = np.flatnonzero(kinds[places] & 0xF8 != _RESTARTS)
    if not len(others):
        return len(places), len(data)
    end = at + int(places[others[0]])
    while data[end - 1] == 0xFF and end > at:  # bytes that fill up
        end -= 1
    return int(others[0]), end

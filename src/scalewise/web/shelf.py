"""Pictures and outputs that are kept while somebody looks at them: in memory, by secret names."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Lock

from torch import Tensor

from scalewise.errors import ScalewiseError
from scalewise.images import Picture
from scalewise.noise_model import NoiseModel
from scalewise.restore import Restored


class Gone(ScalewiseError):
    """What a browser names is not kept, or never was."""


@dataclass
class Entry:
    """A picture, what was found in it, and what was made of it last.

    Attributes:
        name: of its file.
        picture: as read.
        seen: intensities (P, C, H, W) with hidden pixels filled.
        noise: of the planes that were looked at, by model and plane.
        output: what was made of it last, and its name.
    """

    name: str
    picture: Picture | None = None
    seen: Tensor | None = None
    noise: dict[tuple[str, int], NoiseModel] = field(default_factory=dict)
    output: tuple[str, Restored] | None = None
    used: float = 0.0

    @property
    def pixels(self) -> int:
        """Numbers that are kept, in pixels of three channels."""
        pictures = [self.picture] if self.picture is not None else []
        if self.output is not None:
            made = self.output[1]
            pictures += [*made.pictures, *([made.deviation] if made.deviation else [])]
        return sum(picture.pixels.numel() for picture in pictures) // 3


class Shelf:
    """Entries by names that nobody can guess; what was not used for longest goes first.

    Args:
        pixels: most that are kept.
        seconds: after so many without use an entry goes.
        clock: tells seconds.
    """

    def __init__(
        self, pixels: int, seconds: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._pixels, self._seconds, self._clock = pixels, seconds, clock
        self._entries: dict[str, Entry] = {}
        self._lock = Lock()

    def __len__(self) -> int:
        return len(self._entries)

    def add(self, entry: Entry) -> str:
        """Keep an entry; its secret name."""
        key = secrets.token_urlsafe(16)
        with self._lock:
            entry.used = self._clock()
            self._entries[key] = entry
            self._tidy(entry)
        return key

    def get(self, key: str) -> Entry:
        """The entry of a name.

        Raises:
            Gone: there is none.
        """
        with self._lock:
            self._tidy(None)
            entry = self._entries.get(key)
            if entry is None:
                raise Gone("this picture is no longer kept here; open it again")
            entry.used = self._clock()
            return entry

    def finish(self, entry: Entry, made: Restored) -> str:
        """Keep what was made of an entry, in place of what was before; its secret name."""
        name = secrets.token_urlsafe(16)
        with self._lock:
            entry.output, entry.used = (name, made), self._clock()
            self._tidy(entry)
        return name

    def forget(self, key: str) -> None:
        """Drop an entry, if it is there."""
        with self._lock:
            self._entries.pop(key, None)

    def _tidy(self, newest: Entry | None) -> None:
        """Drop what is old, and then what was not used for longest while there is too much."""
        now = self._clock()
        oldest_first = sorted(self._entries.items(), key=lambda item: item[1].used)
        total = sum(entry.pixels for _, entry in oldest_first)
        for key, entry in oldest_first:
            if entry is newest:
                continue
            if now - entry.used > self._seconds or total > self._pixels:
                del self._entries[key]
                total -= entry.pixels

"""Runs over blocks: what was done is remembered beside the output, so that a run can go on."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np

from scalewise.device import give_memory_back
from scalewise.errors import ScalewiseError, UsageError
from scalewise.files import write_json
from scalewise.parts import hold
from scalewise.prior import MultiScalePrior
from scalewise.rasters.opening import need_zarr
from scalewise.windows import Window, windows

SUFFIX = ".partial"
"""What is added to the name of an output, for the folder of what is done so far."""

CODE = 2
"""Changed whenever blocks of an older Scalewise would not fit those of this one."""

RUN = "run.json"
"""What a run is of, in its folder."""

Part = TypeVar("Part")

Step = Callable[[MultiScalePrior, Window], Any]
"""Computes and writes one block."""


class DamagedBlock(ScalewiseError):
    """What was done before cannot be read: it is done again.

    Args:
        name: of the array.
    """

    def __init__(self, name: str) -> None:
        super().__init__(
            f"{name}: a block of what was done cannot be read, or is missing; it is computed anew "
            "when the command is given again"
        )
        self.name = name

    def __reduce__(self) -> tuple[type[DamagedBlock], tuple[str]]:
        """Workers send it."""
        return DamagedBlock, (self.name,)


class Team(Protocol):
    """Who computes blocks, or other parts of some work."""

    @property
    def workers(self) -> int:
        """How many at once."""

    def results(
        self, step: Callable[[Any, Part], Any], parts: Sequence[Part]
    ) -> Iterator[tuple[Part, Any]]:
        """What a step returned for each part, as they are done."""


@dataclass
class Alone:
    """Block by block, in this process."""

    prior: MultiScalePrior | None
    workers: int = 1

    def results(
        self, step: Callable[[Any, Part], Any], parts: Sequence[Part]
    ) -> Iterator[tuple[Part, Any]]:
        """What a step returned for each part, as they are done."""
        for part in parts:
            yield part, step(self.prior, part)
            give_memory_back()


@dataclass
class Run:
    """A run over blocks.

    Args:
        team: who computes them.
        side: of the blocks, in pixels of each array.
        folder: what is done so far; None to keep arrays in memory.
        advance: called with the number of pixels of each block that is done.
    """

    team: Team
    side: int
    folder: Path | None = None
    advance: Callable[[int], object] = lambda pixels: None
    _seen: set[str] = field(default_factory=set)
    _arrays: dict[str, Any] = field(default_factory=dict)

    def array(self, name: str, channels: int, size: tuple[int, int]) -> Any:
        """An array (C, H, W) of float32 for what comes between source and result."""
        shape = (channels, *size)
        if self.folder is None:
            return np.zeros(shape, np.float32)
        chunks = (channels, min(self.side, size[0]), min(self.side, size[1]))
        return self.on_disk(name, shape, chunks, "float32", compressed=False)

    def on_disk(
        self,
        name: str,
        shape: tuple[int, ...],
        chunks: tuple[int, ...],
        kind: str,
        *,
        compressed: bool = True,
        version: int = 3,
    ) -> Any:
        """An array of Zarr in the folder, with checksums: as it is there, or made."""
        assert self.folder is not None
        zarr = need_zarr("to keep what is done on disk")
        place = self.folder / name
        if place.exists():
            with suppress(Exception):  # made anew where it is damaged or another
                found = zarr.open_array(str(place), mode="r+")
                same = (found.shape, found.chunks, str(found.dtype)) == (shape, chunks, kind)
                if same and found.metadata.zarr_format == version:
                    self._arrays[name] = found
                    return found
            shutil.rmtree(place, ignore_errors=True)
            shutil.rmtree(self.folder / "done", ignore_errors=True)
        self._arrays[name] = make_array(
            place, shape, chunks, kind, compressed=compressed, version=version
        )
        return self._arrays[name]

    def do(
        self, name: str, step: Step, size: tuple[int, int], parts: list[Window] | None = None
    ) -> list[Any]:
        """Compute all blocks of an array that are not done; return what the step returned.

        Args:
            name: of the step, of which there is one in a run.
            step: what to compute.
            size: height and width of the array.
            parts: its blocks; squares of the run's side by default.
        """
        assert name not in self._seen, name
        self._seen.add(name)
        parts = list(windows(size, self.side)) if parts is None else parts
        done = self._done(name)
        found = {part: done[part] for part in parts if part in done}
        self.advance(sum(part.size[0] * part.size[1] for part in found))
        missing = [part for part in parts if part not in found]
        try:
            for part, result in self.team.results(step, missing):
                self._remember(name, part, result)
                found[part] = result
                self.advance(part.size[0] * part.size[1])
        except OSError as error:
            raise ScalewiseError(
                f"a block cannot be written or read ({error.strerror or error}){self._kept()}"
            ) from error
        except DamagedBlock as error:
            self.forget(error.name)
            raise
        if name in self._arrays:
            self.check_whole(name)
        return [found[part] for part in parts]

    @cached_property
    def _of(self) -> str:
        """What blocks on disk are made of: the hash of input, settings and model."""
        if self.folder is None or not (self.folder / RUN).exists():
            return ""
        return str(json.loads((self.folder / RUN).read_text(encoding="utf-8"))["key"])

    def holds(self, name: str) -> bool:
        """Whether an array of this name is on disk."""
        return name in self._arrays

    def check_whole(self, name: str) -> None:
        """Refuse an array on disk of which blocks are missing, which would be read as black.

        Raises:
            DamagedBlock: there are fewer than there should be.
        """
        array = self._arrays[name]
        if array.nchunks_initialized < array.nchunks:
            self.forget(name)
            raise DamagedBlock(name)

    def forget(self, name: str) -> None:
        """Have an array computed anew by the next run; all of it, where no step has its name."""
        if self.folder is not None:
            done = self.folder / "done"
            shutil.rmtree(done / name if (done / name).is_dir() else done, ignore_errors=True)

    def _kept(self) -> str:
        """A sentence on what is kept."""
        if self.folder is None:
            return ""
        return f"; what is done is kept in {self.folder}, and the same command goes on"

    def _done(self, name: str) -> dict[Window, Any]:
        """What was done before, and its results."""
        found: dict[Window, Any] = {}
        if self.folder is None or not (self.folder / "done" / name).is_dir():
            return found
        for file in (self.folder / "done" / name).glob("*.json"):
            with suppress(
                ValueError, OSError, TypeError, KeyError
            ):  # half-written by a crash: done again
                record = json.loads(file.read_text(encoding="utf-8"))
                if record["of"] == self._of:
                    found[Window(*record["window"])] = record["result"]
        return found

    def _remember(self, name: str, part: Window, result: Any) -> None:
        if self.folder is None:
            return
        place = self.folder / "done" / name
        place.mkdir(parents=True, exist_ok=True)
        record = {"of": self._of, "window": list(part), "result": result}
        write_json(place / f"{part.top}-{part.left}.json", record, indent=None)


def make_array(
    place: Path,
    shape: tuple[int, ...],
    chunks: tuple[int, ...],
    kind: str,
    *,
    compressed: bool = True,
    version: int = 3,
    names: list[str] | None = None,
) -> Any:
    """A new array of Zarr, whose chunks have checksums."""
    zarr = need_zarr("to write Zarr")
    from zarr.codecs import Crc32cCodec, ZstdCodec

    codecs: Any = [ZstdCodec(level=3), Crc32cCodec()] if compressed else [Crc32cCodec()]
    if version == 2:
        from numcodecs import CRC32, Zstd

        codecs = [Zstd(level=3), CRC32()] if compressed else [CRC32()]
    options: dict[str, Any] = {"dimension_names": names} if version == 3 and names else {}
    return zarr.create_array(
        store=str(place),
        shape=shape,
        chunks=tuple(max(1, min(chunk, side)) for chunk, side in zip(chunks, shape, strict=True)),
        dtype=kind,
        compressors=codecs if version == 3 else codecs[0],
        zarr_format=version,
        config={"write_empty_chunks": True},
        fill_value=0,
        chunk_key_encoding=None if version == 3 else {"name": "v2", "separator": "/"},
        **options,
    )


@contextmanager
def partial(output: Path, key: dict[str, object], force: bool) -> Iterator[tuple[Path, int | None]]:
    """The folder of what is done so far for an output, held by this process alone.

    Yields:
        The folder, and the side of its blocks, where it is that of a run that was cut short.

    Raises:
        ScalewiseError: another run writes the output, or what is there is of a run with other
            settings, which `force` lets go.
    """
    folder = output.with_name(output.name + SUFFIX)
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()
    side = None
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise ScalewiseError(f"{folder}: cannot be made: {error.strerror}") from error
    with hold(folder) as alone:
        if not alone:
            raise ScalewiseError(f"{output} is being written by another run; wait for it")
        known = _known(folder)
        if known is not None and known.get("key") != digest:
            changed = sorted(
                name for name, value in key.items() if known.get("settings", {}).get(name) != value
            )
            if not force:
                raise ScalewiseError(
                    f"{folder} holds a run with other settings "
                    f"({', '.join(changed) or 'unknown'}); "
                    "give the same ones to go on, remove it, or give --force to begin anew"
                )
            _empty(folder)
            known = None
        if known is not None:
            side = int(known["side"])
        yield folder, side


def remember_run(folder: Path, key: dict[str, object], side: int) -> None:
    """Write what a run is of, so that it can go on."""
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()
    write_json(folder / RUN, {"key": digest, "side": side, "settings": key, "code": CODE})


def _known(folder: Path) -> dict[str, Any] | None:
    """What a folder says of its run; None if it is new."""
    file = folder / RUN
    if not file.exists():
        _empty(folder)
        return None
    try:
        known = json.loads(file.read_text(encoding="utf-8"))
        if isinstance(known, dict) and known.get("code") == CODE and int(known["side"]) > 0:
            return known
    except (ValueError, KeyError, TypeError):
        pass
    return {"key": "", "side": 1}


def _empty(folder: Path) -> None:
    for entry in folder.iterdir():
        shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()


def check_space(folder: Path, needed: int) -> None:
    """Refuse a run for which the disk is too small, before it begins.

    Raises:
        UsageError: there is less free than it needs.
    """
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise UsageError(
            f"{folder.parent}: {needed / 1e9:.1f} GB are needed for the result and what comes "
            f"between, {free / 1e9:.1f} GB are free; give an OUTPUT on another disk"
        )


def move_to(place: Path, output: Path) -> None:
    """Put a finished file or folder where it belongs; what was there before goes."""
    if output.is_dir() and not output.is_symlink():
        shutil.rmtree(output)
    os.replace(place, output)

"""What runs write to disk, under random orders of writing, crashes and damage."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import hypothesis.extra.numpy as npst
import hypothesis.strategies as st
import numpy as np
import pytest
import zarr
from hypothesis import assume, note, settings
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)
from zarr.storage import LocalStore
from zarr.testing.stateful import ZarrHierarchyStateMachine
from zarr.testing.strategies import node_names

from scalewise.blocks.run import Alone, DamagedBlock, Run, make_array, partial, remember_run
from scalewise.blocks.steps import Stored
from scalewise.windows import Window, windows

pytestmark = pytest.mark.slow


class Arrays(ZarrHierarchyStateMachine):  # type: ignore[misc]
    """Zarr's own rules, on arrays that `make_array` made, beside plain ones in memory.

    Written in parts, in any index; resized; with chunks, arrays and groups that are removed.
    """

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp())
        super().__init__(LocalStore(self.folder))

    def teardown(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)

    @rule(
        data=st.data(),
        name=node_names,
        kind=st.sampled_from(["uint8", "uint16", "float32"]),
        shape=npst.array_shapes(min_dims=2, max_dims=4, max_side=6),
        compressed=st.booleans(),
    )
    def add_array(
        self, data: Any, name: str, kind: str, shape: tuple[int, ...], compressed: bool
    ) -> None:
        groups = sorted(self.all_groups)
        parent = data.draw(st.sampled_from(groups)) if groups else ""
        path = f"{parent}/{name.lower()}".lstrip("/")
        assume(self.can_add(path))
        chunks = tuple(data.draw(st.integers(1, side)) for side in shape)
        values = data.draw(npst.arrays(np.dtype(kind), shape))
        note(f"{path}: {kind}, {shape} in {chunks}")
        make_array(self.folder / path, shape, chunks, kind, compressed=compressed)[...] = values
        model: dict[str, Any] = {"shape": shape, "chunks": chunks, "dtype": kind, "fill_value": 0}
        model["config"] = {"write_empty_chunks": True}
        zarr.create_array(self.model, name=path, **model)[...] = values
        self.all_arrays.add(path)


SIZE, SIDE = (11, 9), 4
PARTS = list(windows(SIZE, SIDE))


class Runs(RuleBasedStateMachine):
    """A run that writes some blocks, dies, is begun again, and finds what was damaged meanwhile.

    Its model is what each block of two arrays was last written to hold. Whatever happened, a block
    is as it should be, or its reader is told that it is damaged; and the run gets to its end.
    """

    names = ("first", "second")

    def __init__(self) -> None:
        super().__init__()
        self.output = Path(tempfile.mkdtemp()) / "o.zarr"
        self.salt = 0
        self.damaged: set[tuple[str, Window]] = set()
        self.computed: list[Window] = []

    def teardown(self) -> None:
        shutil.rmtree(self.output.parent, ignore_errors=True)

    def value(self, name: str, part: Window) -> Any:
        """What a block holds."""
        dice = np.random.default_rng([self.salt, self.names.index(name), *part])
        return dice.random((2, *part.size), dtype=np.float32)

    @property
    def folder(self) -> Path:
        return self.output.with_name("o.zarr.partial")

    def chunk(self, name: str, part: Window) -> Path:
        return self.folder / name / "c" / "0" / str(part.top // SIDE) / str(part.left // SIDE)

    def go(self, name: str, dies: int | None = None, before_mark: bool = False) -> None:
        """Begin, and compute an array; die after so many blocks, perhaps before the mark of one."""
        with partial(self.output, {"salt": self.salt}, force=False) as (folder, side):
            if side is None:
                remember_run(folder, {"salt": self.salt}, SIDE)
            run = Run(Alone(None), SIDE, folder)
            target = run.array(name, 2, SIZE)
            self.computed = []

            def step(prior: Any, part: Window) -> list[int]:
                if dies is not None and len(self.computed) == dies:
                    if before_mark:
                        target[part.place] = self.value(name, part)
                        self.damaged.discard((name, part))
                    raise KeyboardInterrupt
                target[part.place] = self.value(name, part)
                self.damaged.discard((name, part))
                self.computed.append(part)
                return [part.top, part.left]

            results = run.do(name, step, SIZE)
            assert results == [[part.top, part.left] for part in PARTS]

    @initialize()
    def begin(self) -> None:
        self.go("first", dies=None)

    @rule(name=st.sampled_from(names), dies=st.integers(0, len(PARTS) - 1), late=st.booleans())
    def killed(self, name: str, dies: int, late: bool) -> None:
        """The process dies."""
        try:
            self.go(name, dies, late)
        except (KeyboardInterrupt, DamagedBlock):
            return

    @rule(name=st.sampled_from(names), part=st.sampled_from(PARTS), data=st.data())
    def flipped(self, name: str, part: Window, data: Any) -> None:
        """One bit of a block on disk is another."""
        chunk = self.chunk(name, part)
        assume(chunk.exists())
        held = bytearray(chunk.read_bytes())
        place = data.draw(st.integers(0, len(held) - 1))
        held[place] ^= 1 << data.draw(st.integers(0, 7))
        chunk.write_bytes(held)
        self.damaged.add((name, part))

    @rule(name=st.sampled_from(names), part=st.sampled_from(PARTS))
    def lost(self, name: str, part: Window) -> None:
        """A block on disk is gone."""
        assume(self.chunk(name, part).exists())
        self.chunk(name, part).unlink()
        self.damaged.add((name, part))

    @rule(name=st.sampled_from(names), part=st.sampled_from(PARTS), keep=st.integers(0, 40))
    def half_a_mark(self, name: str, part: Window, keep: int) -> None:
        """A mark is cut short, as a crash of the machine leaves it."""
        mark = self.folder / "done" / name / f"{part.top}-{part.left}.json"
        assume(mark.exists())
        mark.write_bytes(mark.read_bytes()[:keep])

    @rule(name=st.sampled_from(names))
    def forgotten(self, name: str) -> None:
        """What a reader of a damaged block does."""
        Run(Alone(None), SIDE, self.folder).forget(name)

    @rule()
    def another_run(self) -> None:
        """Other settings are refused; with `force` they begin anew."""
        self.salt += 1
        with pytest.raises(Exception, match="holds a run with other settings"):
            self.go("first")
        with partial(self.output, {"salt": self.salt}, force=True) as (folder, side):
            assert side is None
            assert sorted(entry.name for entry in folder.iterdir()) == []
            remember_run(folder, {"salt": self.salt}, SIDE)
        self.damaged.clear()

    @invariant()
    def blocks_are_right_or_known_to_be_damaged(self) -> None:
        done = self.folder / "done"
        for name in self.names:
            for mark in (done / name).glob("*.json"):
                try:
                    part = Window(*json.loads(mark.read_text())["window"])
                except ValueError:
                    continue
                array = zarr.open_array(str(self.folder / name), mode="r")
                if not self.chunk(name, part).exists():
                    assert (name, part) in self.damaged  # noticed by number: `check_whole`
                    continue
                if (name, part) in self.damaged:
                    with pytest.raises(DamagedBlock):
                        Stored(array).read(part)
                else:
                    assert np.array_equal(Stored(array).read(part)[0], self.value(name, part))

    @rule(name=st.sampled_from(names))
    def finished(self, name: str) -> None:
        """Begun again until nothing is damaged, it ends with the right array."""
        for _ in range(3):
            try:
                self.go(name)
                array = zarr.open_array(str(self.folder / name), mode="r")
                found = Stored(array).read(Window(0, SIZE[0], 0, SIZE[1]))[0]
            except DamagedBlock as error:
                Run(Alone(None), SIDE, self.folder).forget(error.name)
                continue
            break
        else:
            raise AssertionError("it does not come to an end")
        for part in PARTS:
            assert np.array_equal(found[part.place], self.value(name, part))
        assert not any(there == name for there, _ in self.damaged)


@pytest.mark.parametrize("machine", [Arrays, Runs])
def test_states(machine: type[RuleBasedStateMachine]) -> None:
    run_state_machine_as_test(
        machine, settings=settings(max_examples=40, stateful_step_count=25, deadline=None)
    )

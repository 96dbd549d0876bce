"""A short run of the fuzzer (`tests/fuzz.py`), the same each time: nothing but read or refused."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import fuzz
import pytest
from fuzz_readers import READERS, Reader

from scalewise.errors import ScalewiseError

COUNTS = {"tiff": 250, "training": 10, "published": 25, "config": 80}
"""Damaged files per reader, within a few seconds; `OTHERS` of those that are not named."""

OTHERS = 100


@pytest.mark.parametrize("kind", READERS)
def test_valid_files_are_read(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else damage would tell nothing."""
    monkeypatch.chdir(tmp_path)
    for name, data in READERS[kind].valid().items():
        (tmp_path / name).write_bytes(data)
        assert fuzz.judged(READERS[kind], tmp_path / name) == "read"


@pytest.mark.parametrize("kind", READERS)
def test_damaged_files_are_read_or_refused(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    reader, bad = READERS[kind], {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for seed in range(COUNTS.get(kind, OTHERS)):
            name, data = fuzz.damaged(reader, 10**9 + seed)
            (tmp_path / name).write_bytes(data)
            result = fuzz.judged(reader, tmp_path / name)
            if result not in fuzz.GOOD:
                bad[seed] = result
    assert bad == {}


def test_what_is_wrong_is_named(tmp_path: Path) -> None:
    """The judge itself, on readers that are bad."""

    def judge(read: object) -> str:
        reader = Reader(dict, lambda _, data, __: data, read)  # type: ignore[arg-type]
        return fuzz.judged(reader, tmp_path)

    def fail(_: Path) -> int:
        raise KeyError("x")

    def hoard(_: Path) -> int:
        return len(b"\1" * 400_000_000) and 1

    def lines(_: Path) -> int:
        raise ScalewiseError("two\nlines")

    assert judge(fail) == "error-KeyError"
    assert judge(hoard).startswith("memory-")
    assert judge(lines) == "words-NoneType"
    assert judge(lambda _: 1) == "read"


def test_long_runs_add_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "counts.json").write_text('{"lists": {"read": 7}}')
    fuzz.main([str(tmp_path), "--minutes", "0.001", "--reader", "lists", "--turn", "0.3"])
    counts = json.loads((tmp_path / "counts.json").read_text())
    assert counts.keys() == {"lists"}
    assert counts["lists"].keys() <= set(fuzz.GOOD)
    assert sum(counts["lists"].values()) > 7


def test_what_kills_a_process_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With what was counted before it."""

    class Ended:
        exitcode = -9

        def __init__(self, target: object, args: tuple[object, ...]) -> None:
            self.place = args[2]

        def start(self) -> None:
            assert isinstance(self.place, Path)
            (self.place / "a.png").write_bytes(b"bad")
            (self.place / "current").write_text('7\na.png\n{"read": 3, "refused": 4}')

        def is_alive(self) -> bool:
            return False

        kill = join = start

    class Spawning:
        Process = Ended

        @staticmethod
        def Queue() -> object:
            return object()

    monkeypatch.setattr("multiprocessing.get_context", lambda _: Spawning)
    counts = fuzz.run_turn("png", 0, tmp_path)
    assert counts == {"read": 3, "refused": 4, "died-9": 1}
    assert (tmp_path / "png-died-9-7-a.png").read_bytes() == b"bad"


def test_of_one_fault_some_files_are_kept(tmp_path: Path) -> None:
    file = tmp_path / "a"
    file.write_bytes(b"bad")
    for seed in range(fuzz.KEPT + 5):
        fuzz.keep(file, tmp_path, "png-time", seed, "a.png")
    assert len(list(tmp_path.glob("png-time-*"))) == fuzz.KEPT


CRASHES = sorted((Path(__file__).parent / "crashes").iterdir())


@pytest.mark.parametrize("file", CRASHES, ids=lambda file: file.name)
def test_what_crashed_once(file: Path, tmp_path: Path) -> None:
    """Files that the fuzzer found, named by their reader and what was wrong."""
    copy = tmp_path / file.name
    copy.write_bytes(file.read_bytes())
    kind = max((kind for kind in READERS if file.name.startswith(kind)), key=len)
    READERS[kind].valid()  # what is made once is not of its time
    assert fuzz.judged(READERS[kind], copy) in fuzz.GOOD

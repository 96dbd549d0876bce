"""Files written whole or not at all: modes, links, names, and JSON."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path
from typing import BinaryIO

import pytest

from scalewise import parts
from scalewise.errors import ScalewiseError
from scalewise.files import check_writable, longest_name, write_json, write_whole
from scalewise.parts import part_file, part_folder


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_bytes_and_functions(tmp_path: Path) -> None:
    write_whole(tmp_path / "a", b"one")
    write_whole(tmp_path / "b", lambda stream: stream.write(b"two"))
    assert (tmp_path / "a").read_bytes() + (tmp_path / "b").read_bytes() == b"onetwo"
    assert sorted(os.listdir(tmp_path)) == ["a", "b"]


@pytest.mark.parametrize("bits", [0o600, 0o640, 0o755])
def test_permissions_are_kept_from_the_first_byte(tmp_path: Path, bits: int) -> None:
    file = tmp_path / "a"
    file.write_bytes(b"old")
    file.chmod(bits)

    def content(stream: BinaryIO) -> None:
        (part,) = tmp_path.glob(".*.part")
        assert mode(part) == bits
        stream.write(b"new")

    write_whole(file, content)
    assert file.read_bytes() == b"new"
    assert mode(file) == bits


def test_new_files_have_the_permissions_of_any_other(tmp_path: Path) -> None:
    (tmp_path / "plain").write_bytes(b"")
    write_whole(tmp_path / "a", b"")
    assert mode(tmp_path / "a") == mode(tmp_path / "plain")


def test_links_are_written_through(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    target = tmp_path / "disk" / "target"
    target.write_bytes(b"old")
    link = tmp_path / "link"
    link.symlink_to("disk/target")
    (tmp_path / "second").symlink_to("link")
    for path in (link, tmp_path / "second"):
        write_whole(path, os.fsencode(path.name))
        assert path.is_symlink()
        assert target.read_bytes() == os.fsencode(path.name)
    assert os.listdir(tmp_path / "disk") == ["target"]


def test_a_link_to_nowhere_makes_its_target(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("new")
    with pytest.raises(ScalewiseError, match="link exists; give --force"):
        check_writable(tmp_path / "link")
    check_writable(tmp_path / "link", force=True)
    write_whole(tmp_path / "link", b"new")
    assert (tmp_path / "new").read_bytes() == b"new"


@pytest.mark.parametrize("name", ["x" * 255, "é" * 127, "x" * 251 + ".png"])
def test_the_longest_names(tmp_path: Path, name: str) -> None:
    check_writable(tmp_path / name)
    write_whole(tmp_path / name, b"long")
    write_whole(tmp_path / name, b"longer")
    assert os.listdir(tmp_path) == [name]


def test_names_that_are_too_long_are_found_out_before_the_work(tmp_path: Path) -> None:
    longest = longest_name(tmp_path)
    words = rf"its name has {longest + 1} bytes, more than the {longest} that the folder takes"
    with pytest.raises(ScalewiseError, match=words):
        check_writable(tmp_path / ("x" * (longest + 1)))
    with pytest.raises(ScalewiseError, match="cannot be written: File name too long"):
        write_whole(tmp_path / ("x" * (longest + 1)), b"")
    assert os.listdir(tmp_path) == []


def test_names_that_are_not_utf8(tmp_path: Path) -> None:
    file = tmp_path / os.fsdecode(b"caf\xe9\n")
    write_whole(file, b"1")
    assert os.listdir(os.fsencode(tmp_path)) == [b"caf\xe9\n"]


def test_what_is_no_file_is_not_replaced(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    (tmp_path / "loop").symlink_to("loop")
    for name, words in [
        ("pipe", "is no file that can be replaced"),
        ("folder", "is a folder"),
        ("loop", "is no file that can be replaced"),
        ("none/a", "none does not exist; create it first"),
    ]:
        with pytest.raises(ScalewiseError, match=words):
            check_writable(tmp_path / name, force=True)
        with pytest.raises(ScalewiseError, match="cannot be written"):
            write_whole(tmp_path / name, b"")
    assert sorted(os.listdir(tmp_path)) == ["folder", "loop", "pipe"]
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)


def test_an_error_leaves_what_was_there(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"precious")

    def fail(stream: BinaryIO) -> None:
        stream.write(b"half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_whole(tmp_path / "a", fail)
    assert (tmp_path / "a").read_bytes() == b"precious"
    assert os.listdir(tmp_path) == ["a"]


def test_json_has_no_nan(tmp_path: Path) -> None:
    value = {"a": [float("nan"), 1.5, (float("inf"), "é")], "b": {"c": -float("inf")}}
    write_json(tmp_path / "a.json", value)
    text = (tmp_path / "a.json").read_text(encoding="utf-8")
    assert json.loads(text) == {"a": [None, 1.5, [None, "é"]], "b": {"c": None}}
    assert text.endswith("}\n")


KILLED = """
import os, signal, sys
from pathlib import Path
from scalewise import parts
from scalewise.files import write_whole
def die(stream):
    stream.write(b"half")
    stream.flush()
    os.kill(os.getpid(), signal.SIGKILL)
if sys.argv[2] == "file":
    write_whole(Path(sys.argv[1]) / "a.png", die)
with parts.part_folder(Path(sys.argv[1])) as part:
    with (part / "weights").open("wb") as stream:
        die(stream)
"""

ALIVE = """
import sys
from scalewise.files import write_whole
def wait(stream):
    stream.write(b"slow")
    print("writing", flush=True)
    sys.stdin.readline()
write_whole(sys.argv[1], wait)
"""


def parts_in(folder: Path) -> list[str]:
    return sorted(name for name in os.listdir(folder) if name.endswith(".part"))


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_what_a_killed_process_left_is_removed_at_the_next_writing(
    tmp_path: Path, kind: str
) -> None:
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path), kind])
    assert done.returncode == -signal.SIGKILL
    (left,) = parts_in(tmp_path)
    assert (tmp_path / left).is_dir() == (kind == "folder")
    write_whole(tmp_path / "b.png", b"whole")
    assert os.listdir(tmp_path) == ["b.png"]


def test_what_a_living_process_writes_is_left_alone(tmp_path: Path) -> None:
    command = [sys.executable, "-c", ALIVE, str(tmp_path / "a")]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, text=True, stdin=pipe, stdout=pipe) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "writing\n"
        (part,) = parts_in(tmp_path)
        write_whole(tmp_path / "b", b"quick")
        with part_folder(tmp_path) as folder:
            assert parts_in(tmp_path) == sorted([part, folder.name])
        assert parts_in(tmp_path) == [part]
        other.communicate("go on\n")
    assert other.returncode == 0
    assert (tmp_path / "a").read_bytes() == b"slow"
    assert sorted(os.listdir(tmp_path)) == ["a", "b"]


def test_parts_of_others_are_left_alone(tmp_path: Path) -> None:
    """Those of other machines, of other programs, and what is neither file nor folder."""
    with part_file(tmp_path) as (part, _):
        own = part.name
    machine = own.split("-")[1]
    assert machine != "00c0ffee"
    token = "0123456789abcdef"
    for name in (
        f".scalewise-00c0ffee-{token}.part",
        f".scalewise-{machine}-{token}.part.txt",
        f"scalewise-{machine}-{token}.part",
        f".scalewise-{machine}-notes.part",
        "film.part",
        ".a.part",
    ):
        (tmp_path / name).write_bytes(b"precious")
    os.mkfifo(tmp_path / own.replace(own[-21:-5], "1" * 16))
    (tmp_path / own.replace(own[-21:-5], "2" * 16)).symlink_to("film.part")
    before = sorted(os.listdir(tmp_path))
    parts._clean.cache_clear()
    write_whole(tmp_path / "a", b"")
    assert sorted(os.listdir(tmp_path)) == sorted([*before, "a"])
    assert (tmp_path / "film.part").read_bytes() == b"precious"


def test_a_part_taken_for_a_leftover_before_it_was_locked_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, taken = parts._lock, list[str]()

    def late(number: int, *, wait: bool) -> bool:
        if wait and len(taken) < 2:
            (name,) = parts_in(tmp_path)
            taken.append(name)
            parts._remove_dead(tmp_path / name)
        return real(number, wait=wait)

    monkeypatch.setattr(parts, "_lock", late)
    write_whole(tmp_path / "a", b"1")
    assert len(taken) == 2
    taken.clear()
    with part_folder(tmp_path) as part:
        (part / "b").write_bytes(b"2")
        part.rename(tmp_path / "folder")
    assert len(taken) == 2
    assert sorted(os.listdir(tmp_path)) == ["a", "folder"]
    assert os.listdir(tmp_path / "folder") == ["b"]

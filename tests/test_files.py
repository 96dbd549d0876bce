"""Files written whole or not at all: modes, links, names, and JSON."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import BinaryIO

import pytest

from scalewise.errors import ScalewiseError
from scalewise.files import check_writable, longest_name, write_json, write_whole


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

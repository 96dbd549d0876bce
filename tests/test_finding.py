"""Images of a folder: hidden ones, links, closed folders, other kinds, odd names."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from scalewise.errors import ScalewiseError
from scalewise.images import find_images


def put(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"")


def found(root: Path) -> list[str]:
    files = find_images(root)
    assert len(files) == len(files.files) == len(list(files[:1])) + len(files[1:])
    return [file.relative_to(root).as_posix() for file in files]


def test_every_suffix_in_any_case(tmp_path: Path) -> None:
    put(tmp_path, "z.png", "b/a.JPG", "b/c/x.tiff", "notes.txt", "b/y.webp", "c.jfif", "d.JPE")
    (tmp_path / "folder.png").mkdir()
    assert found(tmp_path) == ["b/a.JPG", "b/c/x.tiff", "b/y.webp", "c.jfif", "d.JPE", "z.png"]
    assert find_images(tmp_path).notes == ()


def test_hidden_files_and_folders_are_left_out(tmp_path: Path) -> None:
    put(
        tmp_path,
        "a.png",
        ".c.png",
        ".ipynb_checkpoints/a.png",
        "b/.thumbnails/x/a.png",
        "b/._a.jpg",
    )
    assert found(tmp_path) == ["a.png"]
    put(tmp_path, ".hidden/a.png")
    assert found(tmp_path / ".hidden") == ["a.png"]


def test_links_to_folders_are_followed_and_loops_end(tmp_path: Path) -> None:
    put(tmp_path, "disk/train/0.png", "disk/train/1.png", "data/here.png")
    data = tmp_path / "data"
    (data / "train").symlink_to("../disk/train")
    (data / "link.png").symlink_to("../disk/train/0.png")
    (data / "loop").symlink_to("../data")
    (data / "deep").symlink_to("..")
    (tmp_path / "only").symlink_to("disk/train")
    (data / "gone.png").symlink_to("nowhere.png")
    (data / "self.png").symlink_to("self.png")
    (data / "self").symlink_to("self")
    there = ["deep/disk/train/0.png", "deep/disk/train/1.png", "here.png", "link.png"]
    assert found(data) == there
    (data / "deep").unlink()
    assert found(data) == [*there[2:], "train/0.png", "train/1.png"]
    assert found(tmp_path / "only") == ["0.png", "1.png"]


def test_folders_that_link_to_each_other_end(tmp_path: Path) -> None:
    for i in range(12):
        put(tmp_path, f"{i:02d}/a.png")
        for j in range(12):
            (tmp_path / f"{i:02d}" / f"to-{j}").symlink_to(f"../{j:02d}")
    assert found(tmp_path) == [f"{i:02d}/a.png" for i in range(12)]


def test_closed_folders_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path, "a.png", "closed/b.png")
    scandir = os.scandir

    def refuse(folder: Path) -> object:
        if Path(folder).name == "closed":
            raise PermissionError(13, "Permission denied")
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", refuse)
    assert found(tmp_path) == ["a.png"]
    told = f"{tmp_path / 'closed'}: cannot be entered (Permission denied); it was left out"
    assert find_images(tmp_path).notes == (told,)
    with pytest.raises(ScalewiseError, match=r"holds no image; .*closed: cannot be entered"):
        find_images(tmp_path / "closed")


def test_pictures_of_other_kinds_are_told(tmp_path: Path) -> None:
    put(tmp_path, "a.JPG", "b.png", "f.gif", "x/g.avif", "h.HEIC", "x/i.heic", "j.DNG", "k.txt")
    assert found(tmp_path) == ["a.JPG", "b.png"]
    assert find_images(tmp_path).notes == (
        f"{tmp_path}: 5 pictures of other kinds were left out: .avif (1), .dng (1), .gif (1), "
        ".heic (2); convert them to PNG, TIFF or JPEG",
    )
    put(tmp_path, "one/a.heic")
    with pytest.raises(ScalewiseError, match=r"holds no image; .* 1 picture of another kind was"):
        find_images(tmp_path / "one")


def test_pictures_without_a_suffix_are_told(tmp_path: Path) -> None:
    put(tmp_path, "a.png", "README")
    (tmp_path / "noname").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(20))
    assert found(tmp_path) == ["a.png"]
    (note,) = find_images(tmp_path).notes
    assert "1 picture of another kind was left out: without suffix (1)" in note


def test_names_that_are_not_utf8(tmp_path: Path) -> None:
    names = [b"caf\xe9.png", b"a\nb.tif", "фото.PNG".encode(), b"-a.jpg", b"x" * 250 + b".png"]
    for name in names:
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name)).write_bytes(b"")
    (tmp_path / os.fsdecode(b"sub\xff")).mkdir()
    (tmp_path / os.fsdecode(b"sub\xff") / "a.png").write_bytes(b"")
    files = {os.fsencode(file.name) for file in find_images(tmp_path).files}
    assert files == {*names, b"a.png"}


def test_none_is_found(tmp_path: Path) -> None:
    with pytest.raises(ScalewiseError, match=r"holds no image; expected \.png"):
        find_images(tmp_path)
    with pytest.raises(ScalewiseError, match="expected a folder of images"):
        find_images(tmp_path / "none")

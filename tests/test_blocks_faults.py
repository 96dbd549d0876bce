"""Faults on purpose: nothing silently wrong, nothing lost, a sentence each."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import zarr
from block_tools import image, raster_of, tiny

from scalewise import blocks, store
from scalewise.blocks import Limits
from scalewise.errors import ScalewiseError, UsageError
from scalewise.noise_model import NoiseModel
from scalewise.rasters import Raster, open_raster

WHITE = NoiseModel.white(0.1)
DISK = Limits(tile=16, on_disk=True)


@pytest.fixture
def source(tmp_path: Path) -> Raster:
    return raster_of(image(50, 70), tmp_path)


def run(source: Raster, output: Path, **options: Any) -> blocks.Outcome:
    choices: dict[str, Any] = {"noise": WHITE, "limits": DISK} | options
    return blocks.denoise(source, tiny(), output, **choices)


def wanted(source: Raster, tmp_path: Path) -> Any:
    run(source, tmp_path / "wanted.zarr")
    return read(tmp_path / "wanted.zarr")


def read(path: Path) -> Any:
    node = zarr.open(str(path), mode="r")
    return node["0"][...] if hasattr(node, "array_keys") else node[...]


@contextmanager
def failing(number: int, kind: int) -> Iterator[list[int]]:
    """The writes to disk of this process fail from one on: of blocks, markers and results."""
    from zarr.storage import _local

    from scalewise import files

    calls, put, whole, replace = [0], _local._put, files.write_whole, os.replace

    def counted(function: Any) -> Any:
        def call(*args: Any, **options: Any) -> Any:
            calls[0] += 1
            if calls[0] >= number:
                raise OSError(kind, os.strerror(kind))
            return function(*args, **options)

        return call

    patch = pytest.MonkeyPatch()
    patch.setattr(_local, "_put", counted(put))
    patch.setattr(files, "write_whole", counted(whole))
    patch.setattr(os, "replace", counted(replace))
    try:
        yield calls
    finally:
        patch.undo()


class TestWrites:
    @pytest.mark.parametrize("kind", [errno.ENOSPC, errno.EIO])
    def test_every_one_may_be_the_first_that_fails(
        self, kind: int, source: Raster, tmp_path: Path
    ) -> None:
        """A sentence, no output, and the next run ends as if nothing had been."""
        right = wanted(source, tmp_path)
        with failing(10**9, kind) as calls:
            run(source, tmp_path / "counted.zarr")
        total = calls[0]
        assert total > 50
        numbers = range(1, total + 1, 1 if kind == errno.ENOSPC else 7)
        for number in numbers:
            output = tmp_path / "o.zarr"
            with failing(number, kind), pytest.raises(ScalewiseError, match=os.strerror(kind)):
                run(source, output)
            assert not output.exists()
            run(source, output)
            assert np.array_equal(read(output), right)
            assert not output.with_name("o.zarr.partial").exists()
            run(source, output, force=True)
            for file in sorted(output.rglob("*"), reverse=True):
                file.rmdir() if file.is_dir() else file.unlink()
            output.rmdir()

    def test_a_disk_that_is_too_small_is_told_before(
        self, source: Raster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        import shutil

        usage = shutil.disk_usage(tmp_path)
        monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1000))
        with pytest.raises(UsageError, match=r"GB are needed .* are free"):
            run(source, tmp_path / "o.zarr")
        assert [file.name for file in tmp_path.iterdir()] == ["in.npy"]


class TestDamage:
    def cut_short(self, source: Raster, output: Path, step: str, **options: Any) -> Path:
        """A run that ended after some step."""
        from scalewise.blocks.run import Run

        do = Run.do

        def until(self: Run, name: str, *args: Any, **rest: Any) -> Any:
            if name == step:
                raise KeyboardInterrupt
            return do(self, name, *args, **rest)

        patch = pytest.MonkeyPatch()
        patch.setattr(Run, "do", until)
        with pytest.raises(KeyboardInterrupt):
            run(source, output, **options)
        patch.undo()
        return output.with_name(output.name + ".partial")

    @pytest.mark.parametrize("how", ["flip", "cut", "remove"])
    def test_a_block_of_what_was_done(self, how: str, source: Raster, tmp_path: Path) -> None:
        """Flipped bits, truncation and loss are noticed, and what was damaged is done again."""
        right, output = wanted(source, tmp_path), tmp_path / "o.zarr"
        partial = self.cut_short(source, output, "plane0-clean1")
        chunk = partial / "plane0-noisy1" / "c" / "0" / "1" / "1"
        held = bytearray(chunk.read_bytes())
        if how == "flip":
            held[len(held) // 2] ^= 4
            chunk.write_bytes(held)
        elif how == "cut":
            chunk.write_bytes(held[: len(held) // 2])
        else:
            chunk.unlink()
        with pytest.raises(ScalewiseError, match="computed anew when the command is given again"):
            run(source, output)
        assert not output.exists()
        run(source, output)
        assert np.array_equal(read(output), right)

    def test_a_marker_that_a_crash_left_half_written(self, source: Raster, tmp_path: Path) -> None:
        right, output = wanted(source, tmp_path), tmp_path / "o.zarr"
        partial = self.cut_short(source, output, "plane0-clean0")
        (partial / "done" / "plane0-noisy1" / "0-0.json").write_text('{"win')
        run(source, output)
        assert np.array_equal(read(output), right)

    def test_the_store_that_is_read(self, tmp_path: Path) -> None:
        array = zarr.create_array(
            str(tmp_path / "in.zarr"), shape=(64, 64), chunks=(32, 32), dtype="uint8"
        )
        array[...] = np.random.default_rng(0).integers(0, 255, (64, 64))
        source = open_raster(tmp_path / "in.zarr")
        chunk = tmp_path / "in.zarr" / "c" / "1" / "0"
        chunk.write_bytes(chunk.read_bytes()[:20])
        with pytest.raises(ScalewiseError, match=r"in.zarr: rows .* damaged or cut short"):
            blocks.denoise(source, tiny(1), tmp_path / "o.zarr", noise=WHITE)
        assert not (tmp_path / "o.zarr").exists()

    def test_a_truncated_tile_of_a_tiff(self, tmp_path: Path) -> None:
        values = np.random.default_rng(0).integers(0, 255, (256, 256, 3)).astype(np.uint8)
        file = tmp_path / "in.tif"
        tifffile.imwrite(file, values, tile=(64, 64), photometric="rgb", compression="zlib")
        with tifffile.TiffFile(file) as tiff:
            page = tiff.pages[0]
            place, length = page.dataoffsets[5], page.databytecounts[5]
        held = bytearray(file.read_bytes())
        held[place + 8 : place + length] = bytes(length - 8)
        file.write_bytes(held)
        with pytest.raises(ScalewiseError, match="damaged or cut short"):
            blocks.denoise(open_raster(file), tiny(), tmp_path / "o.tif", noise=WHITE)
        assert not (tmp_path / "o.tif").exists()

    def test_times_do_not_count(self, source: Raster, tmp_path: Path) -> None:
        """Neither of what was done nor of the input, which may have been touched, or moved."""
        right, output = wanted(source, tmp_path), tmp_path / "o.zarr"
        partial = self.cut_short(source, output, "plane0-clean0")
        for file in (*partial.rglob("*"), Path(source.name)):
            os.utime(file, (1, 1))
        there = Path(source.name).rename(tmp_path / "moved.npy")
        seen: list[int] = []
        run(open_raster(there, black=0, white=1), output, progress=lambda total: seen.append)
        assert np.array_equal(read(output), right)
        assert seen[0] == 26 * 36  # all of the first step at once

    def test_a_block_of_another_run(self, source: Raster, tmp_path: Path) -> None:
        """A mark holds what its block was made of; one of another picture does not count."""
        right, output = wanted(source, tmp_path), tmp_path / "o.zarr"
        partial = self.cut_short(source, output, "plane0-clean0")
        mark = partial / "done" / "plane0-noisy1" / "0-0.json"
        mark.write_text(mark.read_text().replace('"of": "', '"of": "0'))
        zarr.open_array(str(partial / "plane0-noisy1"))[:, :16, :16] = 0
        run(source, output)
        assert np.array_equal(read(output), right)


class TestRuns:
    def test_one_that_goes_on_does_what_is_missing_alone(
        self, source: Raster, tmp_path: Path
    ) -> None:
        right, output = wanted(source, tmp_path), tmp_path / "o.zarr"
        TestDamage().cut_short(source, output, "plane0-clean0")
        seen: list[int] = []

        def progress(total: int) -> Any:
            return seen.append

        run(source, output, progress=progress)
        assert np.array_equal(read(output), right)
        assert seen[0] == 26 * 36  # all of the first step at once

    @pytest.mark.parametrize("change", ["noise", "model", "input", "mask"])
    def test_one_with_other_settings_is_told_apart(
        self, change: str, source: Raster, tmp_path: Path
    ) -> None:
        """Also where one pixel changed that neither the size nor the time of a file tells."""
        output = tmp_path / "o.zarr"
        np.save(tmp_path / "mask.npy", np.full((50, 70), 255, np.uint8))
        mask = open_raster(tmp_path / "mask.npy")
        options: dict[str, Any] = {"noise": WHITE, "limits": DISK, "mask": mask}
        TestDamage().cut_short(source, output, "plane0-clean0", mask=mask)
        prior = tiny()
        if change == "noise":
            options["noise"] = NoiseModel.white(0.2)
        elif change == "model":
            prior = tiny(field=9)
        else:
            file = tmp_path / ("in.npy" if change == "input" else "mask.npy")
            before, values = file.stat(), np.load(file)
            values[7, 11] = 0
            np.save(file, values)
            os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
            assert file.stat().st_size == before.st_size
        with pytest.raises(ScalewiseError, match=f"a run with other settings .*{change}"):
            blocks.denoise(source, prior, output, **options)
        blocks.denoise(source, prior, output, **options, force=True)
        assert output.exists()
        assert not output.with_name("o.zarr.partial").exists()

    def test_two_at_once_to_one_output(self, source: Raster, tmp_path: Path) -> None:
        from scalewise.parts import hold

        output = tmp_path / "o.zarr"
        partial = output.with_name("o.zarr.partial")
        partial.mkdir()
        with hold(partial) as alone:
            assert alone
            with pytest.raises(ScalewiseError, match="being written by another run"):
                run(source, output)

    @pytest.mark.slow
    def test_killed_at_random_moments_it_ends_the_same(
        self, source: Raster, tmp_path: Path
    ) -> None:
        """SIGKILL of the whole process, again and again, until a run gets through."""
        right = wanted(source, tmp_path)
        store.save(tiny(), tmp_path / "model")
        command = [sys.executable, "-m", "scalewise", "denoise", str(tmp_path / "in.npy")]
        command += [str(tmp_path / "o.zarr"), "--model", str(tmp_path / "model"), "--sigma", "25.5"]
        command += ["--tile", "8", "--black", "0", "--white", "1"]
        output, null = tmp_path / "o.zarr", subprocess.DEVNULL
        for attempt in range(12):
            process = subprocess.Popen(command, stderr=null, stdout=null)
            try:
                process.wait(timeout=3.0 + 0.7 * attempt)
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
                process.wait()
            if output.exists():  # then it is whole
                break
        else:
            assert subprocess.run(command, check=False).returncode == 0
        assert np.abs(read(tmp_path / "o.zarr") - right).max() < 1e-5


def test_what_is_remembered_is_json(source: Raster, tmp_path: Path) -> None:
    partial = TestDamage().cut_short(source, tmp_path / "o.zarr", "plane0-clean0")
    told = json.loads((partial / "run.json").read_text())
    assert (told["side"], told["settings"]["task"]) == (16, "denoise")

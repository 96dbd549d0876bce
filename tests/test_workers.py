"""Several images at once: the same results, and an orderly end."""

from __future__ import annotations

import logging
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from threading import Barrier, Event, Lock, Thread

import pytest
import torch
from cli_tools import picture_file, save_models, scalewise, smooth, tree

from scalewise.cli import console, signals
from scalewise.cli.workers import at_once
from scalewise.images import Picture, read_image, write_image
from scalewise.images.silence import silent

PATIENCE = 60.0


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_models(tmp_path_factory.mktemp("models"))


@pytest.fixture
def alone() -> Iterator[None]:
    """One thread per image, whatever their number: PyTorch's sums depend on it in the last bit."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Pictures of many sizes and kinds, of which one is none."""
    place = tmp_path / "in"
    (place / "below").mkdir(parents=True)
    generator = torch.Generator().manual_seed(1)
    for number in range(7):
        height, width, channels = 90 - 11 * number, 20 + 9 * number, 1 if number % 3 else 3
        pixels = smooth(height, width, channels)
        noise = 0.05 * torch.randn(pixels.shape, generator=generator)
        name = f"below/{number}.tif" if number == 2 else f"{number}.png"
        picture = Picture((pixels + noise).clamp(0, 1), depth="uint16")
        write_image(place / name, replace(picture, depth="float32") if number == 2 else picture)
    (place / "4b.png").write_bytes(b"no picture")
    return place


class TestAtOnce:
    def test_results_come_as_they_are_ready(self) -> None:
        second = Event()

        def work(number: int) -> int:
            if number == 0:
                assert second.wait(PATIENCE)
            return number

        with at_once(work, [0, 1, 2], 2) as results:
            found = []
            for result in results:
                found.append(result)
                if result == 2:
                    second.set()
        assert found == [1, 2, 0]

    @pytest.mark.parametrize("count", [1, 3])
    def test_no_more_than_so_many(self, count: int) -> None:
        lock, now, most = Lock(), 0, 0

        def work(number: int) -> int:
            nonlocal now, most
            with lock:
                now, most = now + 1, max(most, now + 1)
            time.sleep(0.01)
            with lock:
                now -= 1
            return number

        with at_once(work, range(12), count) as results:
            assert sorted(results) == list(range(12))
        assert most == count

    def test_threads_of_the_processor_are_divided(self) -> None:
        before = torch.get_num_threads()
        torch.set_num_threads(7)
        try:
            together = Barrier(3)

            def work(number: int) -> int:
                together.wait(PATIENCE)
                return torch.get_num_threads()

            with at_once(work, range(3), 5) as results:
                assert list(results) == [2, 2, 2]
            assert torch.get_num_threads() == 7
            found: list[int] = []
            later = Thread(target=lambda: found.append(torch.get_num_threads()))
            later.start()
            later.join()
            assert found == [7]
        finally:
            torch.set_num_threads(before)

    @pytest.mark.parametrize("kind", [ValueError, SystemExit])
    def test_what_is_raised_ends_the_others(self, kind: type[BaseException]) -> None:
        put_in_order = Event()

        def work(number: int) -> None:
            if number == 0:
                raise kind("of the first")
            try:
                while True:
                    time.sleep(0.01)
            finally:
                put_in_order.set()

        def all_of_them() -> None:
            with at_once(work, range(9), 2) as results:
                time.sleep(0.1)
                list(results)

        begin = time.monotonic()
        with pytest.raises(kind, match="of the first"):
            all_of_them()
        assert put_in_order.is_set()
        assert time.monotonic() - begin < PATIENCE / 2

    @pytest.mark.parametrize("count", [1, 4])
    def test_nothing_to_do(self, count: int) -> None:
        with at_once(str, [], count) as results:
            assert list(results) == []

    def test_a_finalizer_does_not_swallow_the_end(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sys, "unraisablehook", signals._swallowed)
        within = Event()

        class Final:
            def __del__(self) -> None:
                within.set()
                while True:
                    time.sleep(0.01)

        def work(number: int) -> None:
            Final()
            while True:
                time.sleep(0.01)

        def stopped() -> None:
            with at_once(work, range(2), 2):
                assert within.wait(PATIENCE)
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            stopped()


@pytest.mark.usefixtures("alone")
class TestFolders:
    @pytest.mark.parametrize(
        "words",
        [
            ("denoise",),
            ("denoise", "--samples", 2, "--seed", 3),
            ("denoise", "--uncertainty", "apart"),
            ("upscale", "--samples", 2),
            pytest.param(
                ("deblur", "--kernel", "gaussian:1", "--sigma", 10), marks=pytest.mark.slow
            ),
            pytest.param(("inpaint",), marks=pytest.mark.slow),
        ],
        ids=lambda words: "-".join(map(str, words)),
    )
    def test_results_are_those_of_one_at_a_time(
        self, words: tuple[object, ...], folder: Path, models: Path, tmp_path: Path
    ) -> None:
        command, *more = words
        counts = (1, 2, 3, 7) if command in ("denoise", "upscale") else (1, 3)
        if command in ("deblur", "inpaint"):
            for file in folder.rglob("[0-4].*"):
                file.unlink()
        if command == "inpaint":
            (tmp_path / "masks" / "below").mkdir(parents=True)
            for file in folder.rglob("*.*"):
                if file.name != "4b.png":
                    mask = torch.zeros(1, *read_image(file).pixels.shape[-2:])
                    mask[..., 3:8, 4:9] = 1
                    write_image(tmp_path / "masks" / file.relative_to(folder), Picture(mask))
            masks: tuple[object, ...] = (tmp_path / "masks",)
        else:
            masks = ()
        found = []
        for count in counts:
            out = tmp_path / f"out-{count}"
            here = [tmp_path / f"apart-{count}" if word == "apart" else word for word in more]
            done = scalewise(
                command, folder, *masks, out, "--model", models / "photos", *here,
                "--jobs", count, "--json",
            )  # fmt: skip
            assert done.code == 1, done.stderr
            assert done.sentence.endswith(" images failed; the others are written")
            records = {
                Path(record["input"]).name: {
                    key: value
                    for key, value in record.items()
                    if key not in ("seconds", "output", "uncertainty")
                }
                for record in done.records
            }
            assert len(records) == len(list(folder.rglob("*.*")))
            assert [name for name in records if "error" in records[name]] == ["4b.png"]
            deviations = tmp_path / f"apart-{count}"
            found.append((records, tree(out), tree(deviations) if deviations.exists() else {}))
        assert len(found[0][1]) > 1
        assert all(each == found[0] for each in found)

    def test_summary_and_sheet_keep_the_order(
        self, folder: Path, models: Path, tmp_path: Path
    ) -> None:
        (folder / "1b.png").write_bytes(b"neither")
        sheets = []
        for count in (1, 3):
            out, sheet = tmp_path / f"out-{count}", tmp_path / f"{count}.png"
            words = ("denoise", folder, out, "--model", models / "photos", "--sheet", sheet)
            done = scalewise(*words, "--jobs", count)
            assert done.code == 1
            assert done.stdout.splitlines()[-1] == "7 done, 2 failed: 1b.png, 4b.png"
            assert done.stderr.count("Error: ") == 3
            sheets.append(sheet.read_bytes())
        assert sheets[0] == sheets[1]

    def test_images_are_counted_in_a_log(
        self, folder: Path, models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(console, "QUIET_SECONDS", 0.01)
        words = ("upscale", folder, tmp_path / "out", "--model", models / "photos", "--jobs", 2)
        lines = scalewise(*words).stderr.splitlines()
        told = {line.split(" after ")[0] for line in lines if line.startswith("upscaling")}
        assert told <= {f"upscaling: {number} of 8 images" for number in range(9)}
        assert len(told) > 1


@pytest.mark.parametrize("count", ["0", "-1", "65", "two", "1.5"])
@pytest.mark.parametrize("command", ["denoise", "upscale", "inpaint", "deblur"])
def test_bad_numbers_are_refused(command: str, count: str, tmp_path: Path) -> None:
    masks = (tmp_path,) if command == "inpaint" else ()
    kernel = ("--kernel", "gaussian:1") if command == "deblur" else ()
    done = scalewise(command, tmp_path, *masks, tmp_path / "out", *kernel, "--jobs", count)
    assert done.code == 2
    assert "Invalid value for '--jobs'" in done.sentence


@pytest.mark.parametrize(
    ("number", "sentence"), [(signal.SIGINT, "Stopped."), (signal.SIGTERM, "Ended by SIGTERM.")]
)
@pytest.mark.parametrize("delay", [0.0, 0.3, 1.0])
def test_signals_end_all_images(
    number: signal.Signals, sentence: str, delay: float, models: Path, tmp_path: Path
) -> None:
    (tmp_path / "in").mkdir()
    content = picture_file(tmp_path / "0.png", 300, 300).read_bytes()
    for name in range(200):
        (tmp_path / "in" / f"{name}.png").write_bytes(content)
    script = (
        "import signal\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from scalewise import cli; from scalewise.cli import workers\n"
        "begin = workers._Team.start\n"
        "def started(team): begin(team); print('ready', flush=True)\n"
        "workers._Team.start = started; cli.main()"
    )
    words = ("denoise", tmp_path / "in", tmp_path / "out", "--model", models / "photos")
    command = [sys.executable, "-c", script, *map(str, words), "--jobs", "3"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        time.sleep(delay)
        process.send_signal(number)
        begin = time.monotonic()
        told, said = process.communicate(timeout=PATIENCE)
        took = time.monotonic() - begin
    assert (process.returncode, said) == (128 + number, f"{sentence}\n")
    assert took < PATIENCE / 4
    assert not list(tmp_path.rglob("*.part"))
    written = sorted((tmp_path / "out").glob("*")) if (tmp_path / "out").exists() else []
    assert len(told.splitlines()) <= len(written) < 200
    for file in written:
        assert read_image(file).pixels.shape == (1, 3, 300, 300)


def _in_thread(work: Callable[[], None]) -> Thread:
    thread = Thread(target=work)
    thread.start()
    return thread


def test_silence_lasts_until_the_last_thread_leaves() -> None:
    log, inside, leave = logging.getLogger("tifffile"), Event(), Event()

    def second() -> None:
        with silent():
            inside.set()
            assert leave.wait(PATIENCE)

    before, filters = log.disabled, list(warnings.filters)
    with silent():
        thread = _in_thread(second)
        assert inside.wait(PATIENCE)
    assert log.disabled
    assert warnings.filters != filters
    leave.set()
    thread.join()
    assert log.disabled == before
    assert warnings.filters == filters

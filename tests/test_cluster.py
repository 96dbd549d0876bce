"""Blocks and folders on real processes: killed at random moments, in networks of their own."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from block_tools import image, raster_of, tiny
from cli_tools import Outcome, save_models, scalewise, smooth, tree

from benchmarks.cluster import Killer, cluster, computing, kills, namespaces, network_namespaces
from benchmarks.cluster import scheduler as without_scheduler
from scalewise import blocks, store
from scalewise.blocks import Limits
from scalewise.blocks import cluster as teams
from scalewise.cli import batches
from scalewise.cli.jobs import Job
from scalewise.errors import ScalewiseError
from scalewise.images import Picture, read_image, write_image
from scalewise.noise_model import NoiseModel
from scalewise.rasters import Raster, open_raster

WHITE = NoiseModel.white(0.1)

KILLS = int(os.environ.get("SCALEWISE_KILLS", "6"))
"""SCALEWISE_KILLS=100 kills a hundred."""


@pytest.fixture
def source(tmp_path: Path) -> Raster:
    return raster_of(image(50, 70), tmp_path)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_models(tmp_path_factory.mktemp("models"))


def denoised(source: Raster, output: Path, **limits: Any) -> Any:
    blocks.denoise(source, tiny(), output, noise=WHITE, limits=Limits(tile=16, **limits))
    return np.load(output)


@pytest.mark.slow
class TestBlocks:
    def test_workers_give_the_same_though_one_is_killed(
        self, source: Raster, tmp_path: Path
    ) -> None:
        right = denoised(source, tmp_path / "right.npy", on_disk=True)
        marks = tmp_path / "o.npy.partial" / "done"
        killer = Killer(
            lambda: computing(os.getpid()), lambda: len(list(marks.glob("*/*"))), 1, pause=0.05
        )
        killer.start()
        assert np.array_equal(denoised(source, tmp_path / "o.npy", workers=2), right)
        killer.stop()
        assert killer.killed == 1

    @pytest.mark.parametrize("mean", [False, True])
    def test_workers_fill_holes_the_same(self, mean: bool, source: Raster, tmp_path: Path) -> None:
        hole = np.zeros((50, 70), np.uint8)
        hole[10:14, 5:30] = hole[30:44, 50:53] = hole[40:42, 10:12] = 255
        np.save(tmp_path / "hole.npy", hole)
        mask, found = open_raster(tmp_path / "hole.npy"), []
        prior = store.load("photos", device="cpu")
        for workers in (1, 2):
            output, limits = tmp_path / f"{workers}.npy", Limits(tile=16, workers=workers)
            blocks.inpaint(source, mask, prior, output, mean=mean, seed=3, limits=limits)
            found.append(np.load(output))
        assert np.array_equal(*found)
        assert np.array_equal(found[0][hole == 0], np.load(source.name)[hole == 0])
        assert not np.array_equal(found[0][hole > 0], np.load(source.name)[hole > 0])

    def test_no_block_is_lost_when_workers_are_killed(self, tmp_path: Path) -> None:
        told = kills(tmp_path, KILLS, side=128)
        assert told["identical"]
        assert told["kills"] == KILLS

    @pytest.mark.parametrize("fault", ["waits", "looks in vain"])
    def test_a_worker_that_dies_while_the_model_is_sent(
        self, fault: str, source: Raster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Dask then waits without end, or tells an address: it is sent anew."""
        from distributed import Client

        right = denoised(source, tmp_path / "right.npy", on_disk=True)
        real, sent = Client._scatter, []

        async def scatter(self: Client, *given: Any, **options: Any) -> Any:
            sent.append(1)
            if len(sent) == 1 and fault == "waits":
                await asyncio.sleep(60)
            if len(sent) == 1:
                raise KeyError("tcp://127.0.0.1:1")
            return await real(self, *given, **options)

        monkeypatch.setattr(Client, "_scatter", scatter)
        monkeypatch.setattr(teams, "SENDING", 0.5)
        assert np.array_equal(denoised(source, tmp_path / "o.npy", workers=2), right)
        assert len(sent) > 2

    def test_nothing_is_sent_to_all_workers_at_once(
        self, source: Raster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Dask waits for good for one that dies then, and holds up everything that is sent."""
        from distributed import Scheduler

        async def replicate(self: Scheduler, *given: Any, **options: Any) -> None:
            await asyncio.sleep(3600)

        right = denoised(source, tmp_path / "right.npy", on_disk=True)
        monkeypatch.setattr(Scheduler, "replicate", replicate)
        monkeypatch.setattr(teams, "SENDING", 2.0)
        monkeypatch.setattr(teams, "AGAIN", 3)
        assert np.array_equal(denoised(source, tmp_path / "o.npy", workers=2), right)

    def test_a_worker_that_dies_while_it_starts(
        self, source: Raster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Others are started in its place; where that does not help, a sentence says so."""
        from distributed import Nanny

        right, real = denoised(source, tmp_path / "right.npy", on_disk=True), Nanny.start_unsafe
        started: list[Nanny] = []

        async def start(self: Nanny) -> Any:
            started.append(self)
            if len(started) == 1:
                raise RuntimeError("Nanny failed to start worker process")
            return await real(self)

        monkeypatch.setattr(Nanny, "start_unsafe", start)
        assert np.array_equal(denoised(source, tmp_path / "o.npy", workers=2), right)
        monkeypatch.setattr(teams, "STARTS", 1)
        started.clear()
        with pytest.raises(ScalewiseError, match="the 2 workers could not be started"):
            denoised(source, tmp_path / "p.npy", workers=2)

    def test_a_scheduler_that_is_killed(self, tmp_path: Path) -> None:
        """A sentence; and with another one the same command goes on."""
        told = without_scheduler(tmp_path, side=128)
        assert told["code"] == 1
        assert told["said"].startswith("Error: the scheduler of Dask, or the last of its workers,")
        assert told["said"].endswith(", with the --scheduler that is there then")
        assert told["kept"]
        assert told["done_before"] >= 40
        assert told["code_again"] == 0
        assert told["identical"]

    def test_a_scheduler_that_is_not_there(
        self, source: Raster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(teams, "PATIENCE", 2.0)
        with pytest.raises(ScalewiseError, match="no scheduler of Dask answers at tcp://127"):
            denoised(source, tmp_path / "o.npy", scheduler="tcp://127.0.0.1:9")
        with (
            cluster(workers=0) as there,
            pytest.raises(ScalewiseError, match=f"at {there.address} has no workers; start some"),
        ):
            denoised(source, tmp_path / "o.npy", scheduler=there.address)

    def test_in_networks_of_their_own(self, tmp_path: Path) -> None:
        try:
            with network_namespaces(["one"]):
                pass
        except OSError as error:
            pytest.skip(f"network namespaces are not permitted here: {error}")
        told = namespaces(tmp_path, side=64)
        assert (told["code"], told["networks"]) == (0, 3), told["said"]
        assert told["address"].startswith("tcp://10.77.0.1:")
        assert told["identical"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Pictures of a few sizes and kinds, of which one is none."""
    place = tmp_path / "in"
    (place / "below").mkdir(parents=True)
    generator = torch.Generator().manual_seed(1)
    for number in range(36):
        size = [(40, 40), (40, 40), (25, 33), (12, 20)][number % 4]
        pixels = smooth(*size, 1 if number % 9 == 8 else 3)
        noise = 0.05 * torch.randn(pixels.shape, generator=generator)
        name = f"below/{number}.tif" if number % 7 == 6 else f"{number:02}.png"
        write_image(place / name, Picture((pixels + noise).clamp(0, 1)))
    (place / "13b.png").write_bytes(b"no picture")
    return place


def records(done: Outcome) -> dict[str, Any]:
    return {
        record["input"]: {k: v for k, v in record.items() if k not in ("seconds", "output")}
        for record in done.records
    }


class TestBatches:
    def test_images_of_one_size_are_together(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(batches, "IMAGES", 3)
        monkeypatch.setattr(batches, "PIXELS", 400)
        jobs = [Job(Path(name), ()) for name in "12345678"]
        sides = {**dict.fromkeys("12468", 10), "3": 20, "5": 20}
        sizes = {job: (sides[job.source.name],) * 2 for job in jobs if job.source.name != "7"}
        found = batches._batches(jobs, sizes)
        names = ["".join(job.source.name for job in part) for part in found]
        assert names == ["124", "3", "5", "68", "7"]

    def test_a_batch_is_denoised_at_once(
        self, folder: Path, models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """And gives what one by one gives, but for rounding; what fails, fails alone."""
        from scalewise.prior import MultiScalePrior

        counts: list[int] = []
        denoise = MultiScalePrior.denoise

        def counted(self: Any, noisy: Any, sigma: Any = None) -> Any:
            counts.append(len(noisy))
            return denoise(self, noisy, sigma)

        monkeypatch.setattr(MultiScalePrior, "denoise", counted)
        found = {}
        for words in (("--jobs", 1), ("--jobs", 2), ("--jobs", 2, "--exact")):
            counts.clear()
            out = tmp_path / "-".join(map(str, words))
            told = ("--model", models / "photos", "--json", *words)
            done = scalewise("denoise", folder, out, *told)
            assert done.sentence == "Error: 1 of 37 images failed; the others are written"
            found[words] = records(done), tree(out), max(counts)
        one, both, exact = found.values()
        assert (one[2], exact[2]) == (1, 1)
        assert both[2] > 3
        assert one[0] == both[0]
        assert one[1].keys() == both[1].keys()
        for file in (tmp_path / "--jobs-1").rglob("*.*"):
            other = tmp_path / "--jobs-2" / file.relative_to(tmp_path / "--jobs-1")
            far = (read_image(file).pixels - read_image(other).pixels).abs()
            assert far.max() < 1.01 / 255
            assert (far > 0).float().mean() < 0.001

    def test_what_does_not_go_together_is_refused(self, folder: Path, tmp_path: Path) -> None:
        sheet = ("--workers", 2, "--sheet", tmp_path / "s.png")
        done = scalewise("denoise", folder, tmp_path / "out", *sheet)
        assert done.code == 2
        assert "--sheet is of images that this process works on" in done.sentence


@pytest.mark.slow
class TestFolders:
    @pytest.mark.parametrize("command", ["denoise", "upscale", "inpaint"])
    def test_workers_give_the_same(
        self, command: str, folder: Path, models: Path, tmp_path: Path
    ) -> None:
        masks: tuple[Path, ...] = ()
        if command == "inpaint":
            masks = (tmp_path / "masks",)
            for file in folder.rglob("*.*"):
                if file.name[0] in "123" and file.name != "13b.png":
                    file.unlink()
                elif file.name != "13b.png":
                    mask = torch.zeros(1, *read_image(file).pixels.shape[-2:])
                    mask[..., 3:6, 4:9] = 1
                    there = masks[0] / file.relative_to(folder).with_suffix(".png")
                    there.parent.mkdir(parents=True, exist_ok=True)
                    write_image(there, Picture(mask))
        found = []
        for number, words in enumerate((("--jobs", 1), ("--workers", 2))):
            out = tmp_path / f"out{number}"
            told = ("--model", models / "photos", "--exact", "--json", *words)
            done = scalewise(command, folder, *masks, out, *told)
            assert done.sentence.startswith("Error: 1 of ")
            assert done.sentence.endswith(" images failed; the others are written")
            found.append((records(done), tree(out)))
        assert found[0] == found[1]
        files = [file.relative_to(folder) for file in folder.rglob("*.*") if file.name != "13b.png"]
        assert {str(file) for file in files} <= found[0][1].keys()

    def test_files_of_killed_workers_are_done_again(
        self, folder: Path, models: Path, tmp_path: Path
    ) -> None:
        for number in range(600):
            shutil.copy(folder / f"{number % 4:02}.png", folder / f"copy{number}.png")
        words = ["denoise", str(folder), "--model", str(models / "photos"), "--exact"]
        begin = [sys.executable, "-m", "scalewise", *words]
        subprocess.run([*begin, str(tmp_path / "right")], capture_output=True, check=False)
        command = [*begin, str(tmp_path / "out"), "--workers", "2"]
        pipe = subprocess.PIPE
        with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True) as run:
            written = tmp_path / "out"
            killer = Killer(
                lambda: computing(run.pid), lambda: len(list(written.glob("*"))), 3, pause=1.0
            )
            killer.start()
            said, errors = run.communicate()
            killer.stop()
        assert killer.killed >= 1
        assert said.splitlines()[-1] == "636 done, 1 failed: 13b.png"
        assert errors.splitlines()[-1] == "Error: 1 of 637 images failed; the others are written"
        assert tree(tmp_path / "out") == tree(tmp_path / "right")

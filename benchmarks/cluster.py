"""Blocks and folders on a cluster of real processes: what it stands, and how fast it is.

    python -m benchmarks.cluster --part kills --kills 100    # and scheduler, namespaces, ...

The processes are those of `dask scheduler` and `dask worker`, workers are killed with SIGKILL at
random moments, and `namespaces` puts each process into a network namespace of its own, which takes
the rights of root.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch
import zarr

from benchmarks.common import RESULTS, facts, read_json, write_json
from scalewise import blocks, store
from scalewise.blocks import Limits
from scalewise.images import Picture, read_image, write_image
from scalewise.networks import LocalConditional, UNet
from scalewise.noise_model import NoiseModel
from scalewise.prior import MultiScalePrior
from scalewise.rasters import open_raster
from scalewise.rasters.opening import same_file

Command = list[str]

SOME = 40
"""Blocks that are done when the scheduler is killed."""

PATIENCE = 600.0
"""Seconds that something is waited for."""

WAYS = ("--jobs 1", "--jobs 2", "--workers 2")
"""How a folder may be worked on; the first is one image after the other."""

SIDE, TILE, SIGMA = 256, 16, 25.5
"""Of the image that is denoised in blocks: its side and theirs, and the noise in 8-bit units."""


def computing(*parents: int) -> list[psutil.Process]:
    """The workers that processes have started: those that compute now."""
    found = []
    for parent in parents:
        with suppress(psutil.Error):
            for process in psutil.Process(parent).children(recursive=True):
                with suppress(psutil.Error):
                    if "spawn_main" in " ".join(process.cmdline()):
                        found.append(process)
    return found


class Cluster:
    """A scheduler and its workers, each a process with those that it starts.

    Args:
        within: what is put before the command of a process, by its name: scheduler, worker0, ...
        host: address that the scheduler listens at.
    """

    def __init__(
        self, within: Callable[[str], Command] = lambda name: [], host: str = "127.0.0.1"
    ) -> None:
        self.within, self.host, self.address = within, host, ""
        self._scheduler: subprocess.Popen[str] | None = None
        self._nannies: list[subprocess.Popen[str]] = []

    def begin(self, workers: int) -> None:
        """Start a scheduler, and workers that are started again where they die."""
        command = ["dask", "scheduler", "--host", self.host, "--port", "0", "--no-dashboard"]
        self._scheduler = self._start("scheduler", command, stderr=subprocess.PIPE)
        assert self._scheduler.stderr is not None
        lines = iter(self._scheduler.stderr)
        line = next(line for line in lines if "Scheduler at:" in line)
        self.address = line.split("Scheduler at:")[1].strip()
        self._reader = threading.Thread(target=lambda: list(lines), daemon=True)
        self._reader.start()
        told = ["dask", "worker", self.address, "--nthreads", "1", "--no-dashboard"]
        for number in range(workers):
            nanny = self._start(f"worker{number}", [*told, "--memory-limit", "0"])
            self._nannies.append(nanny)

    def computing(self) -> list[psutil.Process]:
        """The processes that compute now."""
        return computing(*(nanny.pid for nanny in self._nannies))

    def kill_scheduler(self) -> None:
        """At once."""
        assert self._scheduler is not None
        self._scheduler.kill()
        self._scheduler.wait()

    def end(self) -> None:
        """End all processes."""
        for process in (*self._nannies, self._scheduler):
            if process is not None:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        if self._scheduler is not None and self._scheduler.stderr is not None:
            self._reader.join()
            self._scheduler.stderr.close()

    def _start(
        self, name: str, command: Command, stderr: int = subprocess.DEVNULL
    ) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*self.within(name), sys.executable, "-m", *command],
            stdout=subprocess.DEVNULL,
            stderr=stderr,
            text=True,
            start_new_session=True,
        )


@contextmanager
def cluster(
    workers: int = 2, within: Callable[[str], Command] = lambda name: [], host: str = "127.0.0.1"
) -> Iterator[Cluster]:
    """A cluster that runs; its processes end with the block."""
    there = Cluster(within, host)
    try:
        there.begin(workers)
        yield there
    finally:
        there.end()


class Killer(threading.Thread):
    """Kills workers at random moments of their work, one at a time.

    Args:
        alive: the workers there are.
        progress: how far the work is; they are let alone until it is further than at the last kill.
        count: how many.
        pause: seconds between, at most.
        seed: of the moments.
    """

    def __init__(
        self,
        alive: Callable[[], list[psutil.Process]],
        progress: Callable[[], int],
        count: int,
        pause: float = 2.0,
        seed: int = 0,
    ) -> None:
        super().__init__(daemon=True)
        self.alive, self.progress, self.count, self.pause = alive, progress, count, pause
        self.dice, self.killed, self.ended = random.Random(seed), 0, threading.Event()

    def run(self) -> None:
        """Kill, until it is told to end, or so many are killed."""
        far = 0
        while self.killed < self.count and not self.ended.wait(self.dice.uniform(0, self.pause)):
            if (now := self.progress()) > far:
                with suppress(psutil.Error, IndexError):
                    self.dice.choice(self.alive()).kill()
                    self.killed, far = self.killed + 1, now

    def stop(self) -> None:
        """End."""
        self.ended.set()
        self.join()


def small_prior() -> MultiScalePrior:
    """Random networks that change an image by much."""
    torch.manual_seed(5)
    details = [LocalConditional(3, 7, width=8, blocks=2, sigma_data=0.1) for _ in range(2)]
    prior = MultiScalePrior(UNet(3, (16, 16), width=16, multiples=(1, 1), blocks=1), details)
    with torch.no_grad():
        for parameter in prior.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return prior.eval()


class Case:
    """An image, a model, and what denoising it in this process gives.

    Args:
        folder: where they lie.
        side: of the image.
    """

    def __init__(self, folder: Path, side: int = SIDE) -> None:
        self.folder = folder
        np.save(folder / "in.npy", np.random.default_rng(0).uniform(0, 1, (side, side, 3)))
        store.save(small_prior(), folder / "model")
        source, noise = (
            open_raster(folder / "in.npy", black=0, white=1),
            NoiseModel.white(SIGMA / 255),
        )
        wanted, limits = folder / "wanted.zarr", Limits(tile=TILE)
        blocks.denoise(source, store.load(folder / "model"), wanted, noise=noise, limits=limits)
        self.wanted = zarr.open(str(wanted), mode="r")["0"][...]

    def command(self, address: str, name: str = "out.zarr") -> Command:
        """What denoises it on a cluster."""
        paths = [str(self.folder / part) for part in ("in.npy", name, "model")]
        words = ["--model", paths.pop(), "--black", "0", "--white", "1", "--sigma", str(SIGMA)]
        program = [sys.executable, "-m", "scalewise", "denoise", *paths, *words]
        return [*program, "--tile", str(TILE), "--scheduler", address]

    def start(self, address: str, name: str = "out.zarr") -> subprocess.Popen[str]:
        """Begin to denoise it."""
        pipe = subprocess.PIPE
        return subprocess.Popen(self.command(address, name), stderr=pipe, stdout=pipe, text=True)

    def done(self, name: str = "out.zarr") -> int:
        """How many blocks are done of a run that goes on."""
        return len(list((self.folder / f"{name}.partial" / "done").glob("*/*.json")))

    def is_right(self, name: str = "out.zarr") -> bool:
        """Whether a result is what it should be, value by value, and nothing else is left."""
        found = zarr.open(str(self.folder / name), mode="r")["0"][...]
        alone = not (self.folder / f"{name}.partial").exists()
        return alone and bool(np.array_equal(found, self.wanted))


def kills(folder: Path, count: int, side: int = SIDE) -> dict[str, Any]:
    """Kill so many workers while an image is denoised, as often as that takes."""
    case, start, right, total, runs = Case(folder, side), time.perf_counter(), True, 0, 0
    while total < count:
        name = f"out{runs}.zarr"
        with cluster() as there:
            run = case.start(there.address, name)
            progress = partial(case.done, name)
            killer = Killer(there.computing, progress, count - total, seed=runs)
            killer.start()
            _, said = run.communicate()
            killer.stop()
        if run.returncode:
            raise RuntimeError(said)
        total, runs, right = total + killer.killed, runs + 1, right and case.is_right(name)
        print(f"run {runs}: {total} killed, {'the same' if right else 'ANOTHER'}", flush=True)
    seconds = time.perf_counter() - start
    return {"kills": total, "runs": runs, "identical": right, "seconds": seconds}


def scheduler(folder: Path, side: int = SIDE) -> dict[str, Any]:
    """Kill the scheduler in the middle of a run, and go on with another."""
    case = Case(folder, side)
    with cluster() as there:
        run = case.start(there.address)
        end = time.monotonic() + PATIENCE
        while case.done() < SOME and run.poll() is None and time.monotonic() < end:
            time.sleep(0.02)
        there.kill_scheduler()
        _, said = run.communicate()
    before, kept = case.done(), (folder / "out.zarr.partial").is_dir()
    with cluster() as there:
        again = subprocess.run(case.command(there.address), capture_output=True, text=True)
    return {
        "code": run.returncode,
        "said": said.strip().splitlines()[-1],
        "kept": kept,
        "done_before": before,
        "code_again": again.returncode,
        "identical": case.is_right(),
    }


@contextmanager
def network_namespaces(names: Sequence[str]) -> Iterator[dict[str, tuple[Command, str]]]:
    """A network namespace for each name, all on one bridge that is in one of its own.

    Yields:
        By name, what is put before a command to run in it, and its address.

    Raises:
        OSError: this is not permitted here, or not known.
    """
    holders: list[subprocess.Popen[bytes]] = []

    def held() -> Command:
        holder = subprocess.Popen(["unshare", "--net", "sleep", "infinity"])
        holders.append(holder)
        own, end = os.readlink("/proc/self/ns/net"), time.monotonic() + 5
        while os.readlink(f"/proc/{holder.pid}/ns/net") == own:
            if holder.poll() is not None or time.monotonic() > end:
                raise OSError("unshare --net: no namespace came to be")
            time.sleep(0.01)
        return ["nsenter", "--target", str(holder.pid), "--net"]

    def ip(within: Command, words: str) -> None:
        done = subprocess.run([*within, "ip", *words.split()], capture_output=True, text=True)
        if done.returncode:
            raise OSError(f"ip {words}: {done.stderr.strip()}")

    try:
        hub, found = held(), {}
        ip(hub, "link add bridge type bridge")
        ip(hub, "link set bridge up")
        for number, name in enumerate(names):
            inner, address = held(), f"10.77.0.{number + 1}"
            ip(hub, f"link add v{number} type veth peer name eth0 netns {holders[-1].pid}")
            ip(hub, f"link set v{number} master bridge up")
            ip(inner, "link set lo up")
            ip(inner, f"addr add {address}/24 dev eth0")
            ip(inner, "link set eth0 up")
            found[name] = inner, address
        yield found
    finally:
        for holder in holders:
            holder.kill()
            holder.wait()


def namespaces(folder: Path, side: int = SIDE) -> dict[str, Any]:
    """A scheduler, two workers and the program that asks, each in a network of its own."""
    case = Case(folder, side)
    with network_namespaces(["scheduler", "worker0", "worker1", "program"]) as there:
        prefix = {name: within for name, (within, _) in there.items()}
        with cluster(2, lambda name: prefix[name], there["scheduler"][1]) as running:
            command = [*prefix["program"], *case.command(running.address)]
            done = subprocess.run(command, capture_output=True, text=True)
            networks = {os.readlink(f"/proc/{each.pid}/ns/net") for each in running.computing()}
    networks.add(os.readlink("/proc/self/ns/net"))
    return {
        "code": done.returncode,
        "said": done.stderr.strip(),
        "address": running.address,
        "networks": len(networks),
        "identical": done.returncode == 0 and case.is_right(),
    }


def hashing(place: Path, side: int = 8192, denoised: int = 768) -> dict[str, float]:
    """Seconds for each gigabyte of an image: to tell it from others, and to denoise it."""
    values = np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8)
    shape, chunks = values.shape, (512, 512, 3)
    np.save(place / "a.npy", values)
    array = zarr.create_array(str(place / "a.zarr"), shape=shape, chunks=chunks, dtype="uint8")
    array[...] = values
    found = {}
    for name in ("a.npy", "a.zarr"):
        start = time.perf_counter()
        same_file(place / name)
        found[name[2:]] = 1e9 / values.nbytes * (time.perf_counter() - start)
    part = values[:denoised, :denoised]
    np.save(place / "part.npy", part)
    source, prior = open_raster(place / "part.npy"), store.load("photos", device="cpu")
    start, noise = time.perf_counter(), NoiseModel.white(SIGMA / 255)
    blocks.denoise(source, prior, place / "clean.npy", noise=noise)
    return found | {"denoising": 1e9 / part.nbytes * (time.perf_counter() - start)}


def make_folder(place: Path, count: int, side: int) -> None:
    """Write so many noisy squares."""
    place.mkdir()
    dice = torch.Generator().manual_seed(0)
    rows, columns = torch.arange(side)[:, None], torch.arange(side)[None]
    for number in range(count):
        clean = 0.5 + 0.2 * torch.sin(rows / (7 + number % 5) + columns / 9)
        noise = (0.05 + 0.1 * (number % 7) / 7) * torch.randn(3, side, side, generator=dice)
        write_image(place / f"{number:05}.png", Picture((clean + noise).clamp(0, 1)))


def apart(first: Path, second: Path) -> dict[str, float]:
    """How far two folders of 8-bit images are apart: the most, and the share of values."""
    most, other, values = 0.0, 0, 0
    for file in sorted(first.iterdir()):
        a, b = (255 * read_image(place / file.name).pixels for place in (first, second))
        far = (a - b).abs().round()
        most, other, values = (
            max(most, far.max().item()),
            other + int(far.sum()),
            values + a.numel(),
        )
    return {"most": most, "share": other / values}


def folder(place: Path, count: int, side: int, ways: Sequence[str] = WAYS) -> list[dict[str, Any]]:
    """Denoise a folder of small images in some ways; seconds of the program, start and all."""
    make_folder(place / "in", count, side)
    rows: list[dict[str, Any]] = []
    for words in ways:
        output, start = place / words.replace(" ", ""), time.perf_counter()
        command = [sys.executable, "-m", "scalewise", "denoise", str(place / "in"), str(output)]
        subprocess.run([*command, *words.split()], check=True, stdout=subprocess.DEVNULL)
        row = {"how": words, "images": count, "side": side, "seconds": time.perf_counter() - start}
        row |= {"written": len(list(output.iterdir())), "load": os.getloadavg()[0]}
        alone = place / WAYS[0].replace(" ", "")
        rows.append(row | (apart(alone, output) if alone.exists() else {}))
        print(json.dumps(rows[-1]), flush=True)
    return rows


def main() -> None:
    """Measure what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, default=RESULTS / "cluster.json")
    names = ["kills", "scheduler", "namespaces", "hashing", "folder"]
    parser.add_argument("--part", choices=names, action="append")
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--side", type=int, default=SIDE, help="of the image in blocks")
    parser.add_argument("--images", type=int, nargs=2, default=[10_000, 64], metavar=("N", "SIDE"))
    parser.add_argument("--how", nargs="+", default=WAYS, metavar="OPTIONS", help="of a folder")
    parser.add_argument("--running", default="", help="what else the machine did")
    options = parser.parse_args()
    parts: dict[str, Callable[[Path], Any]] = {
        "kills": lambda place: kills(place, options.kills, options.side),
        "scheduler": lambda place: scheduler(place, options.side),
        "namespaces": lambda place: namespaces(place, options.side),
        "hashing": hashing,
        "folder": lambda place: folder(place, count, side, options.how),
    }
    content, (count, side) = read_json(options.json), options.images
    for name in options.part or parts:
        with tempfile.TemporaryDirectory() as place:
            found = parts[name](Path(place))
        if name == "folder":
            rows = {(row["images"], row["how"]): row for row in (*content.get(name, ()), *found)}
            found = list(rows.values())
        content[name] = found
        print(name, json.dumps(content[name])[:400], flush=True)
        told = {"benchmark": "cluster", "running": options.running, "facts": facts()}
        write_json(options.json, told | {key: content[key] for key in parts if key in content})


if __name__ == "__main__":
    main()

"""Our blocks beside the tiles of deepinv and CAREamics: one network, the whole image as the truth.

    benchmarks/tilers.sh FOLDER       # makes an environment of its own there, and runs this in it

Two networks: the packaged prior `photos`, told the noise, which sees all of an image in its
low-pass network; and a plain one of ten convolutions that sees 21×21 pixels, trained here for a
minute. All tilers compute parts of 256×256 with a halo to each side, one thread, no gradients. What
others call an overlap is the halo in deepinv, and two halos in CAREamics; its tiles are a little
larger where 32 would not divide them. CAREamics loads none but its own U-Nets, so the network takes
the place of one, and a checkpoint of it that of its training.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from functools import cache
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.common import RESULTS, facts, read_json, write_json
from scalewise import blocks
from scalewise.blocks import Limits
from scalewise.noise_model import NoiseModel
from scalewise.prior import MultiScalePrior
from scalewise.rasters import open_raster
from scalewise.speed import machine
from scalewise.store import load
from scalewise.windows import windows

SIGMA = 25 / 255
PART = 256
"""Side of the parts, without their halos: deepinv's default."""
DEPTH, WIDTH = 10, 16
"""Convolutions of the plain network, so the pixels to each side that it sees; and its channels."""
MULTIPLE = 32
"""Of which a tile's side is one: `photos` halves an image three times, its U-Net twice more."""
HALOS = {"photos": (0, 16, 32, 64, 128, 192), "plain": (0, 4, 8, DEPTH, 24, 64)}
LARGE = (2048, 2048)
SIZES = ((1024, 1024), LARGE, (1003, 1501))
"""Of the images; on the large one no other halos are tried. The last cannot be divided by 8, the
pixels to one of the low-pass image of `photos`."""
BORDER = 32
"""Pixels that count as the border of an image: what a tiler pads there is no seam."""
SMALLEST = 1e-5 * 255
"""Gray levels to which our blocks promise to be the whole image."""
PACKAGES = ("torch", "torchvision", "numpy", "deepinv", "careamics", "lightning", "dask", "zarr")

Run = Callable[[], Any]
"""Denoises `noisy.npy` or `noisy.zarr` of a folder; an array (3, H, W), or where it lies."""
Prepare = Callable[[nn.Module, int, Path], Run]
"""Of a network, a halo and a folder, a run."""


class Plain(nn.Module):
    """Ten convolutions of 3×3 without anything that looks further, zeros around the image."""

    def __init__(self) -> None:
        super().__init__()
        widths = [3, *[WIDTH] * (DEPTH - 1), 3]
        layers: list[nn.Module] = []
        for inner, outer in pairwise(widths):
            layers += [nn.Conv2d(inner, outer, 3, padding=1), nn.ReLU()]
        self.body = nn.Sequential(*layers[:-1])

    def forward(self, noisy: Tensor) -> Tensor:
        """Less the noise that is found."""
        return noisy - self.body(noisy)


class Told(nn.Module):
    """A prior's denoiser that is told the noise, as a network of images alone."""

    def __init__(self, prior: MultiScalePrior) -> None:
        super().__init__()
        self.prior = prior

    def forward(self, noisy: Tensor) -> Tensor:
        """The mean given a noisy image."""
        return self.prior.denoise(noisy, SIGMA)


class Tiler(NamedTuple):
    """One way to denoise in parts.

    Attributes:
        prepare: makes a run.
        halo: its default; None where it finds what is needed itself.
        step: of a halo, pixels from one part to the next.
        shift: whether the first part has no halo before it, and is the larger for that.
    """

    prepare: Prepare
    halo: int | None
    step: Callable[[int], int] = lambda _: PART
    shift: bool = False

    def cuts(self, length: int, halo: int) -> list[int]:
        """Pixels at which a part begins, but the first."""
        step, shift = self.step(halo), halo if self.shift else 0
        return [cut + shift for cut in range(step, length - 2 * shift, step)]


def tile_of(halo: int) -> int:
    """Side of a tile of CAREamics, halos included, as its guide wants it for the network."""
    return PART + 2 * halo + -(PART + 2 * halo) % MULTIPLE


def whole(network: nn.Module, _: int, folder: Path) -> Run:
    """The network on all of the image."""
    return lambda: network(_noisy(folder))[0].numpy()


def ours(network: nn.Module, _: int, folder: Path) -> Run:
    """`prior.denoise` of a Dask array; of a plain network, the windows that it is made of."""

    def lazily() -> Any:
        import dask.array as da

        stored = np.load(folder / "noisy.npy", mmap_mode="r")[None]
        noisy = da.from_array(stored, chunks=(1, 3, PART, PART))
        assert isinstance(network, Told)
        clean: Any = network.prior.denoise(noisy, SIGMA)
        return clean.compute(scheduler="synchronous")[0]

    def by_windows() -> Any:
        noisy = _noisy(folder)
        clean, size = torch.empty_like(noisy), (noisy.shape[-2], noisy.shape[-1])
        for part in windows(size, PART):
            outer = part.grown(DEPTH, size)
            clean[part.place] = network(noisy[outer.place])[part.inside(outer).place]
        return clean[0].numpy()

    return lazily if isinstance(network, Told) else by_windows


def ours_to_disk(network: nn.Module, _: int, folder: Path) -> Run:
    """`blocks.denoise`, from file to file; of priors."""
    assert isinstance(network, Told)
    prior, noise, limits = network.prior, NoiseModel.white(SIGMA), Limits(tile=PART)

    def run() -> Any:
        source, target = open_raster(folder / "noisy.npy"), folder / "clean.npy"
        blocks.denoise(source, prior, target, noise=noise, limits=limits, force=True)
        return target

    return run


def _deepinv(at_once: int | None) -> Prepare:
    def prepare(network: nn.Module, halo: int, folder: Path) -> Run:
        _lend_names()
        from deepinv.distributed import DistributedContext, distribute

        def run() -> Any:
            with DistributedContext(device_mode="cpu") as context:
                tiled = distribute(
                    network,
                    context,
                    type_object="denoiser",
                    tiling_dims=(-2, -1),
                    patch_size=PART,
                    overlap=halo,
                    max_batch_size=at_once,
                )
                return tiled(_noisy(folder))[0].numpy()

        return run

    return prepare


def _careamics(to_disk: bool) -> Prepare:
    def prepare(network: nn.Module, halo: int, folder: Path) -> Run:
        _lend_names()
        from careamics import CAREamist
        from careamics.config.factories.care_n2n_factory import create_advanced_care_config

        work = Path(tempfile.mkdtemp(dir=folder))
        config = create_advanced_care_config(
            experiment_name="tilers",
            data_type="zarr" if to_disk else "array",
            axes="CYX",
            patch_size=[64, 64],
            batch_size=1,
            n_channels_in=3,
            n_channels_out=3,
            normalization="none",
            num_workers=0,
            trainer_params={"accelerator": "cpu"},
        )
        careamist = CAREamist(config, work_dir=work, enable_progress_bar=False)
        setattr(careamist.model, "model", network)  # noqa: B010
        careamist.trainer.strategy.connect(careamist.model)
        careamist.trainer.save_checkpoint(work / "network.ckpt")
        asked: Any = {
            "checkpoint": work / "network.ckpt",
            "tile_size": (tile_of(halo), tile_of(halo)),
            "tile_overlap": (2 * halo, 2 * halo),
        }

        def run() -> Any:
            if not to_disk:
                return careamist.predict(np.load(folder / "noisy.npy"), **asked)[0][0]
            target = Path(tempfile.mkdtemp(dir=folder))  # what lies there would be written into
            careamist.predict_to_disk(
                folder / "noisy.zarr", prediction_dir=target, write_type="zarr", **asked
            )
            return target

        return run

    return prepare


TILERS = {
    "whole": Tiler(whole, None),
    "Scalewise": Tiler(ours, None),
    "Scalewise, file to file": Tiler(ours_to_disk, None),
    "deepinv": Tiler(_deepinv(None), 64),
    "deepinv, one tile at a time": Tiler(_deepinv(1), 64),
    "CAREamics": Tiler(_careamics(False), 24, lambda halo: tile_of(halo) - 2 * halo, True),
    "CAREamics, Zarr to Zarr": Tiler(
        _careamics(True), 24, lambda halo: tile_of(halo) - 2 * halo, True
    ),
}


@cache
def _lend_names() -> torch.library.Library:
    """Names of its CUDA library that torchvision wants beside PyTorch for the CPU."""
    library = torch.library.Library("torchvision", "FRAGMENT")
    for name in ("nms", "qnms"):
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    return library


def _noisy(folder: Path) -> Tensor:
    return torch.from_numpy(np.load(folder / "noisy.npy"))[None]


def photograph(size: tuple[int, int]) -> Any:
    """A photograph and its mirror images, (3, H, W) in [0, 1], without an edge between them."""
    from skimage import data

    photo = np.asarray(data.astronaut(), np.float32) / 255
    pads = [(0, max(0, side + 100 - 512)) for side in size]
    grown = np.pad(photo, [*pads, (0, 0)], mode="symmetric")[100:, 100:]
    return np.ascontiguousarray(grown[: size[0], : size[1]].transpose(2, 0, 1))


def noisy(size: tuple[int, int]) -> Any:
    """The photograph with white noise."""
    dice = np.random.default_rng(0)
    clean = photograph(size)
    return clean + SIGMA * dice.standard_normal(clean.shape, dtype=np.float32)


def write_noisy(folder: Path, size: tuple[int, int]) -> None:
    """Write the image as each tiler reads it."""
    import zarr

    values = noisy(size)
    np.save(folder / "noisy.npy", values)
    group = zarr.open_group(folder / "noisy.zarr", mode="w")
    store = group.create_array("image", shape=values.shape, chunks=(3, PART, PART), dtype="f4")
    store[:] = values


def train(steps: int = 600) -> Plain:
    """The plain network, of crops of three photographs."""
    from scalewise.data.photos import sample_photo

    torch.manual_seed(0)
    network, dice = Plain(), torch.Generator().manual_seed(0)
    photos = [sample_photo(name) for name in ("astronaut", "coffee", "chelsea")]
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-3)
    for _ in range(steps):
        clean = torch.stack([_crop(photo, dice) for photo in photos for _ in range(2)])
        found = network(clean + SIGMA * torch.randn(clean.shape, generator=dice))
        loss = (found - clean).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    print(f"plain network: {-10 * loss.log10():.1f} dB")
    return network


def _crop(photo: Tensor, dice: torch.Generator, side: int = 48) -> Tensor:
    top, left = (int(torch.randint(n - side, (), generator=dice)) for n in photo.shape[1:])
    return photo[:, top : top + side, left : left + side]


def network_of(name: str, folder: Path) -> nn.Module:
    """The network of a name; the plain one from where it was written."""
    if name == "photos":
        return Told(load("photos")).eval()
    network = Plain()
    network.load_state_dict(torch.load(folder / "plain.pt", weights_only=True))
    return network.eval()


def tilers_of(network: str) -> dict[str, Tiler]:
    """Those that can run a network."""
    only = {"Scalewise, file to file"} if network != "photos" else set()
    return {name: tiler for name, tiler in TILERS.items() if name not in only}


def read_result(found: Any) -> Any:
    """What a run made, as an array (3, H, W)."""
    if not isinstance(found, Path):
        return found
    if found.suffix == ".npy":
        return np.load(found)
    import zarr

    (store,) = found.glob("*.zarr")
    group = zarr.open(store, mode="r")
    array: Any = group
    while not hasattr(array, "shape"):
        (array,) = (member for _, member in array.members())
    return array[:]


def psnr(found: Any, clean: Any) -> dict[str, float]:
    """PSNR against the clean image, of all and of the border alone."""
    square = (np.asarray(found, np.float64) - clean) ** 2
    border = np.ones(clean.shape[1:], bool)
    border[BORDER:-BORDER, BORDER:-BORDER] = False
    means = {"psnr": square.mean(), "psnr_border": square[:, border].mean()}
    return {name: float(-10 * np.log10(mean)) for name, mean in means.items()}


def compared(found: Any, truth: Any, cuts: tuple[list[int], list[int]]) -> dict[str, float]:
    """How far an image is from another, in gray levels of 255.

    Args:
        found: in parts, (3, H, W).
        truth: as a whole.
        cuts: rows and columns at which parts begin.

    Returns:
        `largest` difference; `inside`, the largest but at the border; `rms`; `seam`, the largest
        step of the difference from one side of a cut to the other, but at the border.
    """
    off = 255 * (np.asarray(found, np.float64) - truth)
    inner = off[:, BORDER:-BORDER, BORDER:-BORDER]
    sides = zip(cuts, inner.shape[1:], strict=True)
    rows, columns = ([cut - BORDER for cut in each if 0 < cut - BORDER < n] for each, n in sides)
    before = [row - 1 for row in rows], [column - 1 for column in columns]
    steps = [inner[:, rows] - inner[:, before[0]], inner[..., columns] - inner[..., before[1]]]
    return {
        "largest": float(abs(off).max()),
        "inside": float(abs(inner).max()),
        "rms": float(np.sqrt(np.mean(off**2))),
        "seam": max((float(abs(step).max()) for step in steps if step.size), default=0.0),
    }


def seams(folder: Path, sizes: tuple[tuple[int, int], ...] = SIZES) -> list[dict[str, Any]]:
    """Differences to the whole image, at the default halo and at others."""
    rows = []
    for size in sizes:
        write_noisy(folder, size)
        for name in HALOS:
            network = network_of(name, folder)
            truth, clean = whole(network, 0, folder)(), photograph(size)
            for kind, tiler in tilers_of(name).items():
                default = tiler.halo
                swept = kind in ("deepinv", "CAREamics") and size != LARGE
                more = HALOS[name] if swept else ()
                halos = sorted({default or 0, *more})
                for halo in halos:
                    found = read_result(tiler.prepare(network, halo, folder)())
                    cuts = tiler.cuts(size[0], halo), tiler.cuts(size[1], halo)
                    rows.append(
                        {
                            "network": name,
                            "size": size,
                            "tiler": kind,
                            "halo": None if default is None else halo,
                            "default": halo == (default or 0),
                            **compared(found, truth, cuts),
                            **psnr(found, clean),
                        }
                    )
                    print(rows[-1], flush=True)
    return rows


def times(folder: Path, repeats: int) -> list[dict[str, Any]]:
    """Processor seconds at the default halo, over those of the whole; all take turns."""
    rows = []
    for size in SIZES[:2]:
        write_noisy(folder, size)
        for name in HALOS:
            network = network_of(name, folder)
            runs = {
                kind: tiler.prepare(network, tiler.halo or 0, folder)
                for kind, tiler in tilers_of(name).items()
            }
            taken: dict[str, list[tuple[float, float]]] = {kind: [] for kind in runs}
            for _ in range(repeats):
                for kind, run in runs.items():
                    before = time.process_time(), time.perf_counter()
                    run()
                    after = time.process_time(), time.perf_counter()
                    taken[kind].append((after[0] - before[0], after[1] - before[1]))
            for kind, found in taken.items():
                ratios = [
                    one[0] / all_of[0] for one, all_of in zip(found, taken["whole"], strict=True)
                ]
                rows.append(
                    {
                        "network": name,
                        "size": size,
                        "tiler": kind,
                        "ratio": median(ratios),
                        "ratios": ratios,
                        "processor_seconds": median(one[0] for one in found),
                        "seconds": median(one[1] for one in found),
                    }
                )
                print(rows[-1], flush=True)
    return rows


def memory(folder: Path) -> list[dict[str, Any]]:
    """Largest memory of a process for each, at the default halo."""
    rows = []
    (folder / "small").mkdir()
    write_noisy(folder / "small", (PART + 64, PART + 64))
    for size in SIZES[:2]:
        write_noisy(folder, size)
        for name in HALOS:
            for kind in tilers_of(name):
                words = ["--one", name, kind, str(folder)]
                done = subprocess.run(
                    [sys.executable, "-m", "benchmarks.tilers", *words],
                    stdout=subprocess.PIPE,
                    text=True,
                    check=True,
                )
                found = json.loads(done.stdout.splitlines()[-1])
                rows.append({"network": name, "size": size, "tiler": kind, **found})
                print(rows[-1], flush=True)
    return rows


def one(network: str, kind: str, folder: Path) -> dict[str, float]:
    """Memory of this process in MB: the `peak`, and `beyond` what it holds after a small image."""
    tiler, loaded = TILERS[kind], network_of(network, folder)
    tiler.prepare(loaded, tiler.halo or 0, folder / "small")()  # what is imported in a first call
    run = tiler.prepare(loaded, tiler.halo or 0, folder)
    Path("/proc/self/clear_refs").write_text("5")  # the peak until here is not that of the run
    before = _status("VmRSS")
    run()
    peak = _status("VmHWM")
    return {"peak": peak, "beyond": peak - before}


def _status(field: str) -> float:
    """A field of what the system tells of this process, in MB."""
    words = Path("/proc/self/status").read_text().split(f"{field}:")[1].split()
    return int(words[0]) * 1024 / 1e6


def main() -> None:
    """Measure what is asked for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", type=Path, default=RESULTS / "tilers.json")
    parser.add_argument("--part", choices=["seams", "times", "memory"], action="append")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    torch.set_grad_enabled(False)
    if options.one:
        network, kind, folder = options.one
        print(json.dumps(one(network, kind, Path(folder))))
        return
    content = read_json(options.json)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with torch.enable_grad():
            torch.save(train().state_dict(), folder / "plain.pt")
        measures = {
            "seams": lambda: seams(folder),
            "times": lambda: times(folder, options.repeats),
            "memory": lambda: memory(folder),
        }
        for part in options.part or measures:
            content = content | {part: measures[part]()}
            content = (
                content
                | facts()
                | {"versions": machine.facts(torch.device("cpu"), PACKAGES)["versions"]}
            )
            write_json(options.json, content)


if __name__ == "__main__":
    main()

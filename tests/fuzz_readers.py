"""All that reads files of others: valid ones of each kind, how to damage them, the reader."""

from __future__ import annotations

import io
import json
import tarfile
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from io import BytesIO
from pathlib import Path
from typing import Any
from unittest import mock

import fuzz_damage
import numpy as np
import tifffile
import torch
import typer
from fuzz_damage import Damage
from fuzz_page import answer, requests
from PIL import Image

from benchmarks.raw_files import write_dng
from scalewise import published, store
from scalewise.cli import defaults
from scalewise.cli.commands import app
from scalewise.data import Reading, load_image_set, open_image_set
from scalewise.errors import ScalewiseError
from scalewise.images import read_image, write_image
from scalewise.networks import BiasFreeConditional
from scalewise.noise_model import NoiseModel
from scalewise.store.config import build, parse_config

Files = dict[str, bytes]


@dataclass(frozen=True)
class Reader:
    """One kind of files.

    Attributes:
        valid: small files, by name.
        damage: makes damaged ones of them.
        read: reads one as the program does, and returns how many pixels or numbers it holds.
    """

    valid: Callable[[], Files]
    damage: Damage
    read: Callable[[Path], int]


def _planes() -> tuple[Any, Any, Any]:
    byte = np.random.default_rng(0).integers(0, 256, (20, 27, 4)).astype(np.uint8)
    return byte, byte.astype(np.uint16) * 257, byte.astype(np.float32) / 255


def _pillow(array: Any, kind: str, **options: Any) -> bytes:
    buffer = BytesIO()
    exif = Image.Exif()
    exif[271], exif[306] = "Maker", "2020:01:02 03:04:05"
    extra = {} if kind == "BMP" else {"exif": exif}
    Image.fromarray(array).save(buffer, kind, **extra, **options)
    return buffer.getvalue()


@cache
def pngs() -> Files:
    """PNG of every depth."""
    byte, word, _ = _planes()
    return {
        "gray.png": _pillow(byte[..., 0], "PNG", dpi=(300, 300)),
        "rgb.png": _pillow(byte[..., :3], "PNG"),
        "rgba.png": _pillow(byte, "PNG"),
        "gray16.png": _pillow(word[..., 0], "PNG"),
        "bits.png": _pillow(byte[..., 0] > 127, "PNG"),
    }


@cache
def jpegs() -> Files:
    """JPEG, plain and progressive."""
    byte = _planes()[0]
    return {
        "rgb.jpg": _pillow(byte[..., :3], "JPEG", dpi=(300, 300)),
        "gray.jpg": _pillow(byte[..., 0], "JPEG", progressive=True),
    }


@cache
def others() -> Files:
    """WebP and BMP."""
    byte = _planes()[0]
    return {
        "rgb.webp": _pillow(byte[..., :3], "WEBP"),
        "rgba.webp": _pillow(byte, "WEBP", lossless=True),
        "rgb.bmp": _pillow(byte[..., :3], "BMP"),
    }


@cache
def tiffs() -> Files:
    """TIFF of many layouts, compressions and dialects."""
    byte, word, unit = _planes()
    files = {}

    def tiff(name: str, array: Any, **options: Any) -> None:
        buffer = BytesIO()
        tifffile.imwrite(buffer, array, **options)
        files[name] = buffer.getvalue()

    tiff("plain.tif", byte[..., :3], photometric="rgb", metadata=None, rowsperstrip=7)
    tiff("tiles.tif", word[..., 0], tile=(16, 16), compression="zlib", predictor=True)
    tiff("lzw.tif", word[..., :3], photometric="rgb", compression="lzw")
    tiff("float.tif", unit[..., 0], compression="zlib", predictor=3)
    tiff("big.tif", byte, photometric="rgb", extrasamples=["unassalpha"], bigtiff=True)
    tiff("packed.tif", word[..., 0] >> 4, bitspersample=12)
    tiff("bool.tif", byte[..., 0] > 127, photometric="miniswhite")
    tiff("jpeg.tif", byte[..., :3], photometric="rgb", compression="jpeg")
    tiff("zstd.tif", byte[..., 0], compression="zstd")
    tiff("webp.tif", byte[..., :3], photometric="rgb", compression="webp")
    tiff("packbits.tif", byte[..., 0], compression="packbits", byteorder=">")
    stack = np.moveaxis(word, -1, 0)
    tiff("imagej.tif", stack, imagej=True, metadata={"unit": "um", "Labels": list("abcd")})
    tiff("virtual.tif", stack, imagej=True, truncate=True)
    tiff("ome.tif", stack, ome=True, metadata={"axes": "ZYX", "PhysicalSizeX": 0.1})
    tiff("shaped.tif", stack, photometric="minisblack", metadata={"axes": "CYX"})
    tiff("separate.tif", stack, photometric="minisblack", planarconfig="separate", metadata=None)
    return files


@cache
def raws() -> Files:
    """Raw files of cameras."""
    with tempfile.TemporaryDirectory() as folder:
        frame = np.random.default_rng(0).uniform(0.2, 0.6, (24, 32))
        return {"frame.dng": write_dng(Path(folder) / "frame.dng", frame).read_bytes()}


@cache
def arrays() -> Files:
    """Arrays of NumPy, plain and packed."""
    images = np.random.default_rng(0).integers(0, 256, (3, 16, 16, 3)).astype(np.uint8)
    files = {}
    plain: dict[str, Any] = {"bytes.npy": images, "floats.npy": images / 255}
    for name, array in plain.items():
        np.save(stream := BytesIO(), array)
        files[name] = stream.getvalue()
    np.savez(stream := BytesIO(), images=images, labels=np.arange(3))
    files["plain.npz"] = stream.getvalue()
    np.savez_compressed(stream := BytesIO(), images.transpose(0, 3, 1, 2))
    files["packed.npz"] = stream.getvalue()
    return files


@cache
def shards() -> Files:
    """Tar files of images."""
    files = {}
    for name, kind in (("plain.tar", tarfile.USTAR_FORMAT), ("long.tar", tarfile.PAX_FORMAT)):
        with tarfile.open(fileobj=(stream := BytesIO()), mode="w", format=kind) as archive:
            for member, data in (("a.png", pngs()["rgb.png"]), ("b.jpg", jpegs()["rgb.jpg"])):
                about = tarfile.TarInfo(("long/" * 30 if name == "long.tar" else "") + member)
                about.size = len(data)
                archive.addfile(about, BytesIO(data))
        files[name] = stream.getvalue()
    return files


def _read_shard(file: Path) -> int:
    held = open_image_set(file)
    streamed = open_image_set(file, None, Reading(stream=True, memory=0.01))
    for image in streamed.images:
        assert image.shape[0] == streamed.channels
    return sum(image.numel() for image in held.images)


@cache
def lists() -> Files:
    """Lists of images."""
    return {"names.txt": b"# faces\na.png\n\n b.png \n./a.png\n", "one.txt": b"a.png"}


def _read_list(file: Path) -> int:
    for name in ("a.png", "b.png"):
        if not (file.parent / name).exists():
            (file.parent / name).write_bytes(pngs()["rgb.png"])
    return _read_set(file)


def _read_set(file: Path) -> int:
    return sum(image.numel() for image in load_image_set(file).images)


def _read_picture(file: Path) -> int:
    """Read an image, write what was read, and read that."""
    picture = read_image(file)
    target = file.with_name(f"out{file.suffix}")
    write_image(target, picture, force=True)
    read_image(target)
    return picture.pixels.numel()


def _read_unpacked(file: Path) -> int:
    """Read an image as large ones are; what is read so must be what is read at once."""
    from scalewise.rasters import open_raster
    from scalewise.windows import Window

    with (
        mock.patch("scalewise.rasters.strips.SMALL", 0),
        mock.patch.multiple("scalewise.rasters.opening", SMALL=0),
    ):
        raster = open_raster(file, unpack_to=file.parent)
    pixels = raster.pixels(0, Window(0, raster.size[0], 0, raster.size[1]))
    try:
        whole = read_image(file).pixels
    except ScalewiseError as error:
        raise AssertionError(f"read in strips, but not at once: {error}") from error
    assert torch.equal(pixels, whole[0]) or raster.picture.intensities.source == "found"
    return 2 * pixels.numel()


def _read_coefficients(file: Path) -> int:
    from scalewise.images.jpeg_coefficients import read_coefficients

    return 2 * read_coefficients(file).values.numel()  # in double precision


def _read_raw(file: Path) -> int:
    from scalewise.images.raw import read_raw

    return read_raw(file).values.numel()


@cache
def configs() -> Files:
    """`config.json` of the packaged models, of networks that are quick to build."""
    files = {}
    for name in store.packaged():
        config = json.loads((store.resolve(name) / "config.json").read_text())
        small = {"multiples": [1, 2]} if config["low"]["kind"] == "unet" else {"receptive_field": 5}
        config["low"]["settings"] |= {"blocks": 1, **small}
        for network in config["details"]:
            network["settings"] |= {"blocks": 1, "receptive_field": 5}
        files[f"{name}.json"] = json.dumps(config).encode()
    return files


def _read_config(file: Path) -> int:
    from scalewise.store.folders import read_config

    folder = file.with_name("model")
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_bytes(file.read_bytes())
    build(read_config(folder), str(file))
    return 0


@cache
def noises() -> Files:
    """Descriptions of noise."""
    white, photons = NoiseModel.white([0.1, 0.2, 0.1]), NoiseModel.photons(0.01, 0.02, 0.003)
    return {
        "white.json": white.model_dump_json().encode(),
        "photons.json": photons.model_dump_json().encode(),
    }


def _read_noise(file: Path) -> int:
    from scalewise.cli.options import told_noise

    model = told_noise(None, file)
    if model is not None:
        model.in_words()
        model.levels(torch.full((1, model.channels or 1, 16, 16), 0.5), 2)
    return 0


@cache
def tomls() -> Files:
    """Files of defaults."""
    text = (
        '# of this project\n[denoise]\nmodel = "photos-free"\nsigma = 25.5\njobs = 2\n'
        "one-camera = true\n\n[evaluate.denoise]\nsigma = [15, 25]\n[upscale]\nfactor = 4\n"
    )
    return {"scalewise.toml": text.encode()}


@cache
def _program() -> Any:
    command: Any = typer.main.get_command(app)
    return command.make_context("scalewise", ["models"])


def _read_toml(file: Path) -> int:
    context = _program()
    defaults._tables(file, defaults._read(file), context.command, context, ())
    return 0


@cache
def _model() -> tuple[str, bytes]:
    from cli_tools import blind_prior

    with tempfile.TemporaryDirectory() as folder:
        store.save(blind_prior(), Path(folder) / "model")
        text = (Path(folder) / "model" / "config.json").read_text()
        return text, (Path(folder) / "model" / "model.safetensors").read_bytes()


@cache
def weights() -> Files:
    """Weights of a model."""
    return {"model.safetensors": _model()[1]}


def _read_weights(file: Path) -> int:
    from scalewise.store.folders import _read_weights as read

    prior = build(parse_config(_model()[0], "config.json"))
    return sum(tensor.numel() for tensor in read(file, prior.state_dict()).values())


@cache
def checkpoints() -> Files:
    """Networks in the form of the paper's files, of a few weights."""
    network = BiasFreeConditional(channels=1, kernels=[3, 3] + [1] * 19, width=2)
    ours = network.state_dict()
    state = {
        name: tensor if tensor.ndim == 4 else tensor.reshape(1, -1, 1, 1)
        for name, tensor in (
            (name, ours[o]) for name, o in published._places(network.trunk).items()
        )
    }
    files = {}
    for name, zipped in (("zip.pt", True), ("old.pt", False)):
        torch.save(state, stream := io.BytesIO(), _use_new_zipfile_serialization=zipped)
        files[name] = stream.getvalue()
    return files


def _read_checkpoint(file: Path) -> int:
    with mock.patch.object(published, "WIDTH", 2):  # that of `checkpoints`
        published._read_network(file, BiasFreeConditional, 5, 21)
    return 0


def _damage_state(
    name: str, data: bytes, rng: np.random.Generator, tree_share: float = 0.6
) -> bytes:
    """Damage what a file of PyTorch holds, or the file."""
    if rng.random() > tree_share:
        return fuzz_damage.of_zip(name, data, rng)
    value = _loaded(data)
    odd = (*fuzz_damage.ODD[:12], "a", [], {}, [1, "a"], torch.zeros(2), torch.tensor(1.5), 10**30)
    torch.save(fuzz_damage.tree(value, rng, odd), stream := BytesIO())
    return stream.getvalue()


@cache
def _loaded(data: bytes) -> Any:
    """What a valid file of PyTorch holds; not to be changed."""
    return torch.load(BytesIO(data), weights_only=True)


@cache
def _run(folder: Path) -> Any:
    """A tiny training run, made anew to be resumed in a folder."""
    from test_training import dead_leaves

    from scalewise.training.recipe import Recipe

    recipe = Recipe(
        levels=1, receptive_field=5, width=4, blocks=1, low_width=8, low_local=True, steps=4,
        batch=2, low_batch=2, crop=8, low_crop=8, estimator_fraction=0,
    )  # fmt: skip
    return recipe, dead_leaves(4, 24, 0), dead_leaves(2, 24, 1)


class Unheard:
    """Hears how a run goes on, and does nothing."""

    def on_step(self, *_: object) -> None:
        """Ignore a step."""

    on_validation = on_prior = on_step


def _training(folder: Path) -> Any:
    from scalewise.training import TrainingRun

    recipe, images, held_out = _run(Path())
    return TrainingRun(recipe, images, held_out, folder, torch.device("cpu"), Unheard())


@cache
def states() -> Files:
    """What a training run leaves to go on from."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _training(folder).run()
        return {path.name: path.read_bytes() for path in sorted(folder.glob("*.pt"))}


def _read_state(file: Path) -> int:
    """Go on from a run of which one file is damaged, and look at what it has.

    Its other files are read once.
    """
    from scalewise.training import level
    from scalewise.training import run as run_of
    from scalewise.training.files import load_state
    from scalewise.training.run import saved_options, saved_recipe

    folder = file.with_name("run")
    folder.mkdir(exist_ok=True)
    for name, content in states().items():
        (folder / name).write_bytes(content)
    damaged = folder / _undamaged(file)
    damaged.write_bytes(file.read_bytes())
    saved_recipe(folder)
    saved_options(folder)
    run = _resumable(folder)

    def load(path: Path) -> Any:
        return load_state(path) if path == damaged else _loaded(states()[path.name])

    with (
        mock.patch.object(level, "load_state", load),
        mock.patch.object(run_of, "load_state", load),
    ):
        run.resume()
    run.summary()
    run._next()
    run.prior()
    return 0


def _undamaged(file: Path) -> str:
    """Which file of the run a damaged one is of."""
    return next(name for name in states() if file.name.endswith(name))


@cache
def _resumable(folder: Path) -> Any:
    return _training(folder)


READERS = {
    "tiff": Reader(tiffs, fuzz_damage.of_tiff, _read_picture),
    "png": Reader(pngs, fuzz_damage.of_png, _read_picture),
    "jpeg": Reader(jpegs, fuzz_damage.of_bytes, _read_picture),
    "unpacked-png": Reader(pngs, fuzz_damage.of_png, _read_unpacked),
    "unpacked-jpeg": Reader(jpegs, fuzz_damage.of_bytes, _read_unpacked),
    "coefficients": Reader(jpegs, fuzz_damage.of_bytes, _read_coefficients),
    "webp-bmp": Reader(others, fuzz_damage.of_bytes, _read_picture),
    "raw": Reader(raws, fuzz_damage.of_tiff, _read_raw),
    "arrays": Reader(arrays, fuzz_damage.of_zip, _read_set),
    "shards": Reader(shards, fuzz_damage.of_bytes, _read_shard),
    "lists": Reader(lists, fuzz_damage.of_text, _read_list),
    "config": Reader(configs, fuzz_damage.of_json, _read_config),
    "noise": Reader(noises, fuzz_damage.of_json, _read_noise),
    "defaults": Reader(tomls, fuzz_damage.of_text, _read_toml),
    "weights": Reader(weights, fuzz_damage.of_bytes, _read_weights),
    "published": Reader(checkpoints, partial(_damage_state, tree_share=0.3), _read_checkpoint),
    "training": Reader(states, _damage_state, _read_state),
    "page": Reader(requests, fuzz_damage.of_request, answer),
}
"""By name; TIFF first, the largest."""

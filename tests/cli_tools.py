"""What the tests of the command line share: tiny models, pictures, and ways to run the program."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageCms
from typer.testing import CliRunner

import scalewise as package
from scalewise import store
from scalewise.cli.commands import app
from scalewise.images import Picture, write_image
from scalewise.networks import BiasFreeConditional, BiasFreeDenoiser, LocalConditional, UNet
from scalewise.prior import MultiScalePrior


def tiny_prior(channels: int, low_size: tuple[int, int], levels: int) -> MultiScalePrior:
    """Random networks, told the noise level, that change an image by a little."""
    torch.manual_seed(channels)
    details = [
        LocalConditional(channels, 5, width=8, blocks=1, sigma_data=0.02) for _ in range(levels)
    ]
    prior = MultiScalePrior(UNet(channels, low_size, width=16, multiples=(1, 1), blocks=1), details)
    with torch.no_grad():
        for parameter in prior.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    return prior.eval()


def blind_prior() -> MultiScalePrior:
    """Random networks of the published form, for gray images."""
    torch.manual_seed(0)
    low = BiasFreeDenoiser(1, [3, 3], width=4, size=(8, 8))
    return MultiScalePrior(low, [BiasFreeConditional(1, [3, 3], width=4)]).eval()


def save_models(folder: Path) -> Path:
    """Save tiny models `photos` and `faces` (RGB), `gray` and `blind`; return the folder."""
    folder.mkdir(exist_ok=True)
    store.save(tiny_prior(3, (8, 8), 3), folder / "photos", description="Tiny photos.")
    store.save(tiny_prior(3, (8, 8), 2), folder / "faces", description="Tiny faces.")
    store.save(tiny_prior(1, (8, 8), 2), folder / "gray")
    store.save(blind_prior(), folder / "blind")
    return folder


def smooth(height: int, width: int, channels: int = 3) -> torch.Tensor:
    """A smooth mid-gray image (channels, height, width) of 8-bit values in [0.3, 0.7]."""
    rows, columns = torch.arange(height)[:, None], torch.arange(width)[None, :]
    phases = torch.arange(channels)[:, None, None]
    image = 0.5 + 0.1 * torch.sin(rows / 5 + phases) + 0.1 * torch.cos(columns / 7 - phases)
    return (image * 255).round() / 255


def picture_file(path: Path, height: int = 20, width: int = 28, channels: int = 3) -> Path:
    """Write an 8-bit image file."""
    write_image(path, Picture(smooth(height, width, channels)))
    return path


def rich_picture(height: int = 21, width: int = 27) -> Picture:
    """A 16-bit RGB picture with alpha, a profile and EXIF."""
    generator = torch.Generator().manual_seed(0)
    pixels = (torch.rand(3, height, width, generator=generator) * 65535).round() / 65535
    alpha = (torch.rand(1, height, width, generator=generator) * 65535).round() / 65535
    exif = Image.Exif()
    exif[0x013B] = "Somebody"
    icc = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return Picture(pixels, alpha, depth="uint16", icc=icc, exif=exif.tobytes())


def bomb(path: Path, side: int = 60_000) -> Path:
    """Write a small PNG whose header announces `side * side` pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        checksum = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", checksum)

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    pixels = zlib.compress(bytes(1000))
    chunks = chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunks)
    return path


def stored(path: Path) -> np.ndarray[Any, Any]:
    """Pixels of an 8-bit file as they are stored, (H, W) or (H, W, C)."""
    with Image.open(path) as image:
        return np.asarray(image)


def tree(folder: Path) -> dict[str, bytes | None]:
    """Everything below a folder: names, and contents of files."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
    }


class Outcome:
    """How a run of the program ended."""

    def __init__(self, code: int, stdout: str, stderr: str) -> None:
        self.code, self.stdout, self.stderr = code, stdout, stderr

    @property
    def records(self) -> list[dict[str, Any]]:
        """What `--json` printed."""
        return [json.loads(line) for line in self.stdout.splitlines()]

    @property
    def sentence(self) -> str:
        """The error, which must be the last line of stderr, and no traceback."""
        assert "Traceback" not in self.stderr
        return self.stderr.splitlines()[-1]


def scalewise(*arguments: object) -> Outcome:
    """Run the program within this process."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return Outcome(result.exit_code, result.stdout, result.stderr)


def scalewise_process(*arguments: object, cwd: Path | None = None) -> Outcome:
    """Run the program as people do, in a process of its own."""
    command = [sys.executable, "-m", "scalewise", *map(str, arguments)]
    place = str(Path(package.__file__).parents[1])
    environment = os.environ | {"PYTHONPATH": place}
    done = subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=environment)
    return Outcome(done.returncode, done.stdout, done.stderr)

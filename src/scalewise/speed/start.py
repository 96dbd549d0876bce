"""Commands from a cold process, and the packaged priors at their daily work."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

import scalewise
from scalewise import store
from scalewise.data import sample_photo
from scalewise.errors import ScalewiseError
from scalewise.images import Picture, write_image
from scalewise.speed import layout
from scalewise.speed.layout import Row
from scalewise.speed.machine import Setting

SIGMA = 25 / 255
BATCH = 16


@dataclass(frozen=True)
class Start:
    """Seconds of whole commands, each in a new process.

    Attributes:
        side: height and width of the photo.
        help: `scalewise --help`.
        denoise: `scalewise denoise` of the photo plus noise.
        import_torch: `import torch` alone.
    """

    side: int
    help: float
    denoise: float
    import_torch: float

    def rows(self) -> Iterator[Row]:
        """Lay out the record."""
        yield "scalewise --help, from cold", layout.seconds(self.help), "", ""
        name = f"scalewise denoise, {self.side}×{self.side}, from cold"
        torch_alone = f"import torch: {layout.seconds(self.import_torch)}"
        yield name, layout.seconds(self.denoise), torch_alone, ""


@dataclass(frozen=True)
class Packaged:
    """Seconds of the packaged priors within a process.

    Attributes:
        denoise: of one noisy photo, blind, with `photos`.
        side: height and width of the photo.
        sample: of one face, drawn in a batch with `faces`.
        batch: images drawn at a time.
    """

    denoise: float
    side: int
    sample: float
    batch: int

    def rows(self) -> Iterator[Row]:
        """Lay out the record."""
        name = f"denoise a photo of {self.side}×{self.side}, photos"
        yield name, layout.seconds(self.denoise), "", ""
        name = f"sample of faces, in a batch of {self.batch}"
        yield name, layout.seconds(self.sample), "", ""


def noisy_photo(side: int = 512) -> Tensor:
    """Give the photo plus noise of `SIGMA`."""
    clean = sample_photo()[:, :side, :side]
    return clean + SIGMA * torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))


def measure_start(setting: Setting, side: int = 512, model: str = "photos") -> Start:
    """Time commands from cold, in turns.

    Raises:
        ScalewiseError: a command failed.
    """
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "noisy.png", Path(folder) / "clean.png"
        write_image(source, Picture(noisy_photo(side).clamp(0, 1)))
        command = [sys.executable, "-m", "scalewise"]
        denoise = ["denoise", str(source), str(target), "--model", model, "--force"]
        denoise += ["--device", str(setting.device)]
        times = setting.clock.compare(
            {
                "help": partial(_run, [*command, "--help"]),
                "denoise": partial(_run, [*command, *denoise]),
                "import_torch": partial(_run, [sys.executable, "-c", "import torch"]),
            }
        )
    return Start(side, **{name: timing.seconds for name, timing in times.items()})


@torch.no_grad()
def measure_packaged(
    setting: Setting,
    side: int = 512,
    batch: int = BATCH,
    models: tuple[str, str] = ("photos", "faces"),
) -> Packaged:
    """Time denoising of a photo and drawing of faces, in turns."""
    photos, faces = (store.load(model, device=str(setting.device)) for model in models)
    noisy = noisy_photo(side)[None].to(setting.device)

    def denoise() -> None:
        with setting.autocast():
            photos.denoise(noisy)

    def sample() -> None:
        with setting.autocast():
            faces.sample(batch, batch=batch)

    times = setting.clock.compare({"denoise": denoise, "sample": sample})
    return Packaged(times["denoise"].seconds, side, times["sample"].seconds / batch, batch)


def _run(command: list[str]) -> None:
    """Run a command with this package, whether installed or not."""
    places = [str(Path(scalewise.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, places))}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise ScalewiseError(f"{' '.join(command[1:4])} failed while it was timed: {last}")

"""What the evaluations share: reading images, and what becomes of the records."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from scalewise.cli.console import Bar, Record, table, tell
from scalewise.cli.paths import check_json, refuse_dash
from scalewise.cli.program import report
from scalewise.errors import ScalewiseError
from scalewise.files import write_json

if TYPE_CHECKING:
    from torch import Tensor


class Bench:
    """Clean images and a model, read and checked, and what to do with the records.

    Args:
        source: where the images are.
        model: name of the model.
        device: where to compute.
        exact: compute as written.
        json_file: where the records go.
        force: `json_file` may exist.
    """

    def __init__(
        self,
        source: Path,
        model: str,
        *,
        device: str,
        exact: bool,
        json_file: Path | None,
        force: bool,
    ) -> None:
        check_inputs(source, None, json_file, force)
        from scalewise import store

        self.model, self.json_file = model, json_file
        self.images, self.failed = clean_images(source)
        self.prior = store.load(model, device=device, exact=exact or None)

    def bar(self, title: str, steps: int) -> Bar:
        """A progress bar of so many steps per image."""
        return Bar(title, steps * len(self.images))

    def finish(
        self,
        records: list[Record],
        means: list[Record],
        columns: dict[str, str],
        settings: Record,
        digits: int = 2,
    ) -> None:
        """Print the means, write all, and fail if an image could not be read."""
        rows = [[mean.get(name) for name in columns.values()] for mean in means]
        typer.echo(table(list(columns), rows, digits))
        if self.json_file is not None:
            facts = {"model": self.model, **settings, "means": means, "records": records}
            write_json(self.json_file, facts)
        if self.failed:
            raise ScalewiseError(
                f"could not be read: {self.failed} of the images; the rest is measured"
            )


def check_inputs(images: Path, training: Path | None, json_file: Path | None, force: bool) -> None:
    """Check what was typed before anything is loaded."""
    refuse_dash(images, training)
    for source in (images, training):
        if source is not None and not source.exists():
            raise ScalewiseError(f"{source}: expected images, found nothing of this name")
    check_json(json_file, force)


def clean_images(source: Path) -> tuple[dict[str, Tensor], int]:
    """Images by name, and how many could not be read."""
    from scalewise.data import ARRAY_SUFFIXES, load_image_set
    from scalewise.images import find_images, read_image

    if source.suffix.lower() in (*ARRAY_SUFFIXES, ".txt") and source.is_file():
        known = load_image_set(source)
        tell(known.notes)
        return {f"{place:04d}": _as_float(image) for place, image in enumerate(known.images)}, 0
    if not source.is_dir():
        return _planes(source.name, read_image(source).pixels), 0
    images: dict[str, Tensor] = {}
    files = find_images(source)
    tell(files.notes)
    for file in files:
        try:
            images |= _planes(str(file.relative_to(source)), read_image(file).pixels)
        except ScalewiseError as error:
            report(error)
    if not images:
        raise ScalewiseError(f"{source}: none of its {len(files)} images could be read")
    return images, len(files) - len(images)


def _planes(name: str, pixels: Tensor) -> dict[str, Tensor]:
    """The planes of a picture by name; a photo has one."""
    if len(pixels) == 1:
        return {name: pixels[0]}
    return {f"{name}, plane {number}": plane for number, plane in enumerate(pixels, 1)}


def one_array(source: Path, channels: int) -> Tensor:
    """Images of one size, shape (N, channels, H, W)."""
    from scalewise.data import load_image_set

    images = load_image_set(source, channels)
    tell(images.notes)
    return images.whole(range(len(images)))


def _as_float(image: Tensor) -> Tensor:
    return image if image.is_floating_point() else image / 255

"""What experiments are given: data, networks, the published models, and how much to compute."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import KW_ONLY, dataclass, replace
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from scalewise import store
from scalewise.data import ImageSet, load_image_set
from scalewise.errors import ScalewiseError, UsageError
from scalewise.images import to_channels
from scalewise.prior import MultiScalePrior
from scalewise.published import import_reference
from scalewise.reproduce.networks import Networks
from scalewise.reproduce.scale import Scale

LEVELS = 2
"""Wavelet levels of the faces: 128 pixels to 32."""


@dataclass(frozen=True)
class Images:
    """Training and validation images of one size, in gray and as they are.

    Attributes:
        training: gray, to train on.
        validation: gray, to choose by.
        colour: training and validation images as they came, or None where they came gray.
    """

    training: ImageSet
    validation: ImageSet
    colour: tuple[ImageSet, ImageSet] | None = None

    def held_out(self, count: int) -> Tensor:
        """The first validation images, shape (count, 1, H, W)."""
        return self.validation.whole(range(min(count, len(self.validation))))


def load_faces(folder: Path) -> Images:
    """Read training and validation faces.

    Args:
        folder: holds `training` and `validation`, each what `scalewise train` takes: a folder of
            images, an array `.npz` or `.npy`, or a list `.txt`; or `faces_train.npz` and
            `faces_validation.npz`.

    Raises:
        ScalewiseError: a part is missing, or the images are not all square, of one size, and
            large enough for the levels.
    """
    names = ("training", "faces_train"), ("validation", "faces_validation")
    training, validation = (load_image_set(_part(folder, part)) for part in names)
    return check_images(training, validation)


def _part(folder: Path, names: tuple[str, str]) -> Path:
    """The first of some names that is there, as a folder or with the suffix of an image set."""
    for name in names:
        for suffix in ("", ".npz", ".npy", ".txt"):
            if (folder / f"{name}{suffix}").exists():
                return folder / f"{name}{suffix}"
    raise ScalewiseError(
        f"{folder}: holds no {' or '.join(names)}; --faces is a folder that holds training and "
        "validation images, as folders, arrays or lists"
    )


def check_images(training: ImageSet, validation: ImageSet) -> Images:
    """Make gray sets of training and validation images, or say why they will not do.

    Raises:
        ScalewiseError: mixed sizes, sides that the levels do not divide, or images too small.
    """
    sizes = {training.size, validation.size}
    if len(sizes) > 1 or None in sizes:
        raise ScalewiseError(
            f"images of {training.name!r} and {validation.name!r} must all have one size, found "
            f"{training.size or 'mixed sizes'} and {validation.size or 'mixed sizes'}; "
            "crop or resize them"
        )
    height, width = training.size or (0, 0)
    if height != width or height % (1 << LEVELS) or height < 8 << LEVELS:
        raise ScalewiseError(
            f"images of {training.name!r} are {height}x{width}; the report needs square images "
            f"whose side is a multiple of {1 << LEVELS}, at least {8 << LEVELS}: {LEVELS} wavelet "
            "levels are taken off them"
        )
    gray = [replace(part, images=_gray(part.images)) for part in (training, validation)]
    colour = (training, validation) if training.channels == validation.channels == 3 else None
    return Images(gray[0], gray[1], colour)


def _gray(images: Sequence[Tensor]) -> list[Tensor]:
    return list(to_channels(torch.stack(list(images)), 1)[0])


@dataclass(frozen=True)
class Context:
    """All that an experiment is given.

    Attributes:
        scale: how much to compute.
        seed: of everything drawn.
        folder: the report's folder, for networks.
        device: where to compute.
        say: hears of progress.
        images: faces, or None.
        reference: folder of the published checkpoints, or None.
        textures: folder of textures, or None.
    """

    scale: Scale
    seed: int
    folder: Path
    _: KW_ONLY
    device: torch.device
    say: Callable[[str], None]
    images: Images | None = None
    reference: Path | None = None
    textures: Path | None = None

    @property
    def faces(self) -> Images:
        """The faces.

        Raises:
            UsageError: none were given.
        """
        if self.images is None:
            raise UsageError("this experiment needs faces; give their folder with --faces")
        return self.images

    @cached_property
    def networks(self) -> Networks:
        """The shared networks of gray faces, trained when first asked for."""
        return self.trained_on(self.faces.training, self.faces.validation)

    @cached_property
    def retrained(self) -> list[Networks]:
        """The shared networks of details again, from other weights and batches each time."""
        return self.retrained_on(self.faces.training, self.faces.validation)

    def retrained_on(
        self,
        training: ImageSet,
        validation: ImageSet,
        tag: str = "",
        share: float = 1.0,
        wavelet: str = "haar",
    ) -> list[Networks]:
        """Networks as `trained_on` makes them, from other weights and batches each time.

        They share the low-pass networks of those.
        """
        return [
            self.trained_on(
                training,
                validation,
                f"{tag}-again{chance}" if tag else f"again{chance}",
                share,
                wavelet,
                chance,
                low_tag=tag,
            )
            for chance in range(1, self.scale.trainings)
        ]

    def trained_on(
        self,
        training: ImageSet,
        validation: ImageSet,
        tag: str = "",
        share: float = 1.0,
        wavelet: str = "haar",
        chance: int = 0,
        low_tag: str | None = None,
    ) -> Networks:
        """Networks trained on other images.

        Args:
            training: gray images to train on.
            validation: gray images to validate on.
            tag: begins their names.
            share: of the budget.
            wavelet: between the scales.
            chance: added to the seed, for networks that start from other weights.
            low_tag: begins the names of the low-pass networks; `tag` by default.
        """
        return Networks(
            self.folder / "networks",
            training,
            validation,
            self.scale,
            seed=self.seed + chance,
            device=self.device,
            say=self.say,
            tag=tag,
            low_tag=low_tag,
            share=share,
            wavelet=wavelet,
        )

    def published(self, name: str) -> MultiScalePrior | None:
        """A published model by the name of its folder, or None if there are none."""
        if self.reference is None:
            return None
        models = self.folder / "reference"
        if not models.is_dir():
            self.say("reading the published networks")
            part = self.folder / ".reference.part"
            import_reference(self.reference, part, force=True)
            part.rename(models)
        if not (models / name).is_dir():
            return None
        return store.load(models / name, device=self.device.type)


def published_families(context: Context) -> dict[str, dict[int, MultiScalePrior]]:
    """The published networks by family and receptive field; none where they were not given."""
    names = {"flat": "flat160-rf{}", "multi-scale": "faces160-rf{}"}
    found: dict[str, dict[int, MultiScalePrior]] = {}
    for family, name in names.items():
        for field in (5, 9, 13, 23, 43):
            prior = context.published(name.format(field))
            if prior is not None:
                found.setdefault(family, {})[field] = prior
    return found if len(found) == len(names) else {}

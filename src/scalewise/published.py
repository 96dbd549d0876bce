"""The published checkpoints of Kadkhodaie et al. (ICLR 2023) as model folders.

The networks are bias-free and blind, 64 channels wide, and predict the noise; details are divided
by two per level, which is the normalisation of `scalewise.wavelets`.
"""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Callable, Set
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

import torch
from pydantic import JsonValue
from torch import Tensor, nn

from scalewise.errors import ScalewiseError
from scalewise.networks import BiasFreeConditional, BiasFreeDenoiser
from scalewise.networks.bias_free import BiasFreeNorm
from scalewise.networks.convolution import field_of
from scalewise.prior import MultiScalePrior
from scalewise.store import check_folder, load, read_config, save

WIDTH = 64
FIELDS = (5, 9, 13, 23, 43)
FILE = "model.pt"


@dataclass(frozen=True)
class Published:
    """One published set of networks, which becomes one model folder.

    Attributes:
        name: name of the model folder.
        family: folder of the checkpoints, relative to the root of all.
        field: receptive field of the networks of the details or, without levels, of the only one.
        levels: number of wavelet levels.
        side: height and width of the images, in pixels.
    """

    name: str
    family: str
    field: int
    levels: int
    side: int

    @property
    def low(self) -> Path:
        """Checkpoint of the low-pass image, or of the image itself where there are no levels."""
        return self._file("40x40_low" if self.levels else f"{self.field}x{self.field}")

    @property
    def details(self) -> list[Path]:
        """Checkpoints of the details, level 1 (finest) first."""
        field = f"{self.field}x{self.field}"
        return [self._file(f"{field}_scale_{scale}") for scale in range(self.levels)]

    def _file(self, what: str) -> Path:
        return Path(self.family, f"noise_range_0to255_RF_{what}", FILE)


_FLAT, _SMALL, _LARGE = (
    "flat/celebA_160x160_gray",
    "multi_scale/celebA_160x160_gray",
    "multi_scale/celebA_320x320_gray",
)
PUBLISHED = [
    *(Published(f"faces160-rf{field}", _SMALL, field, levels=2, side=160) for field in FIELDS),
    Published("faces320-rf13", _LARGE, 13, levels=3, side=320),
    *(Published(f"flat160-rf{field}", _FLAT, field, levels=0, side=160) for field in FIELDS),
]
"""All that was published."""


def import_reference(source: str | Path, out: str | Path, force: bool = False) -> list[Path]:
    """Turn the published checkpoints into model folders.

    Nothing is written before every checkpoint has been read and checked. An import that was cut
    short goes on: models that are there with the same weights are left as they are. Pickles are
    read with PyTorch's `weights_only=True`: code in them is refused, not run.

    Args:
        source: the folder that holds `flat` and `multi_scale`, or one that holds it as
            `checkpoints`. A family of networks may be absent as a whole (`flat`, the 160x160 or
            the 320x320 one), not in part.
        out: folder of the model folders, made if needed.
        force: overwrite models that are there already, whatever they hold.

    Returns:
        The model folders.

    Raises:
        ScalewiseError: not the published layout, a checkpoint that is missing, damaged or not of
            the published form, or an output that cannot be written.
    """
    root, out = Path(source), Path(out)
    if not _families(root) and _families(root / "checkpoints"):
        root = root / "checkpoints"
    wanted = _complete(root)
    _make_folder(out)
    there = {each.name for each in wanted if not force and _is_imported(out / each.name)}
    for published in wanted:
        if published.name not in there:
            check_folder(out / published.name, force)
    priors = [_read_prior(root, published) for published in wanted]
    for published, prior in zip(wanted, priors, strict=True):
        if published.name in there and not _is_equal(prior, out / published.name):
            check_folder(out / published.name)
    for published, prior in zip(wanted, priors, strict=True):
        if published.name in there:
            continue
        save(
            prior,
            out / published.name,
            description=_description(published),
            training=_TRAINING,
            license="mit",
            force=force,
        )
    return [out / published.name for published in wanted]


_TRAINING: dict[str, JsonValue] = {
    "data": {
        "name": "CelebA, aligned and cropped, grayscale",
        "license": "non-commercial research only",
        "url": "https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html",
    },
    "recipe": "Kadkhodaie, Guth, Mallat and Simoncelli, Learning multi-scale local conditional "
    "probability models of images, ICLR 2023, appendix; noise of standard deviation 0 to 255 "
    "(8-bit units); details were trained on clean low-pass images",
    "imported_from": "the authors' published checkpoints, "
    "LabForComputationalVision/local-probability-models-of-images",
}


def _description(published: Published) -> str:
    field, side = published.field, published.side
    if published.levels == 0:
        return f"Published pixel-domain denoiser of {side}×{side} faces, receptive field {field}."
    return (
        f"Published multi-scale prior of {side}×{side} grayscale faces: {published.levels} levels "
        f"of {field}×{field} conditional denoisers over a 40×40 low-pass image."
    )


def _families(root: Path) -> list[str]:
    """The families of networks that a folder holds, whole or in part."""
    return [family for family in (_FLAT, _SMALL, _LARGE) if (root / family).is_dir()]


def _complete(root: Path) -> list[Published]:
    """What a folder holds, provided that every family is complete or absent."""
    present = _families(root)
    if not present:
        raise ScalewiseError(
            f"{root}: not the published checkpoints; expected at least one of the folders "
            f"{_FLAT}, {_SMALL} and {_LARGE} in it, found {_listing(root)}"
        )
    wanted = [published for published in PUBLISHED if published.family in present]
    files = dict.fromkeys(file for each in wanted for file in (each.low, *each.details))
    missing = [file for file in files if not (root / file).is_file()]
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise ScalewiseError(
            f"{root}: incomplete, {missing[0]}{more} missing; restore it, or leave out the whole "
            f"folder {missing[0].parents[1]}"
        )
    return wanted


def _listing(root: Path) -> str:
    if not root.is_dir():
        return "a file" if root.exists() else "no such folder"
    names = sorted(entry.name for entry in root.iterdir())
    return ", ".join(names[:5] + ["..."] * (len(names) > 5)) or "nothing"


def _make_folder(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ScalewiseError(f"{out}: cannot be made: {error.strerror or error}") from error


def _is_imported(folder: Path) -> bool:
    """Tell whether a folder holds a model that was imported before."""
    try:
        return read_config(folder).training.get("imported_from") == _TRAINING["imported_from"]
    except ScalewiseError:
        return False


def _is_equal(prior: MultiScalePrior, folder: Path) -> bool:
    """Tell whether a model folder holds the weights of a prior."""
    try:
        found = load(folder, device="cpu").state_dict()
    except ScalewiseError:
        return False
    wanted = prior.state_dict()
    return found.keys() == wanted.keys() and all(
        torch.equal(found[name], tensor) for name, tensor in wanted.items()
    )


def _read_prior(root: Path, published: Published) -> MultiScalePrior:
    side = published.side >> published.levels
    make = partial(BiasFreeDenoiser, size=(side, side))
    if published.levels == 0:
        return MultiScalePrior(_read_network(root / published.low, make, published.field, 21))
    low = _read_network(root / published.low, make, 41, 20)
    details = [
        _read_network(root / file, BiasFreeConditional, published.field, 21)
        for file in published.details
    ]
    return MultiScalePrior(low, details)


N = TypeVar("N", bound=BiasFreeDenoiser | BiasFreeConditional)


def _read_network(file: Path, make: Callable[..., N], field: int, depth: int) -> N:
    """One network from its checkpoint.

    Args:
        file: the checkpoint.
        make: the network's constructor.
        field: the receptive field that it must have.
        depth: number of convolutions.
    """
    state = _read_state(file)
    names = [f"module.conv_layers.{place}.weight" for place in range(depth)]
    pointwise = {name for name, tensor in state.items() if tensor.shape[2:] == (1, 1)}
    kernels = [1 if name in pointwise else 3 for name in names]
    network = make(channels=1, kernels=kernels, width=WIDTH)
    ours = network.state_dict()
    places = _places(network.trunk)
    _check_names(file, state.keys(), places.keys())
    for name, place in places.items():
        shape = tuple(ours[place].shape)
        published = shape if len(shape) == 4 else (1, *shape, 1, 1)
        _check_values(file, name, state[name], published)
    if field_of(kernels) != field:
        raise ScalewiseError(
            f"{file}: expected a receptive field of {field}x{field}, found {field_of(kernels)}x"
            f"{field_of(kernels)} by its kernels; it is not the published checkpoint"
        )
    network.load_state_dict({o: state[name].reshape(ours[o].shape) for name, o in places.items()})
    network.eval()
    return network


def _read_state(file: Path) -> dict[str, Tensor]:
    """The tensors of a checkpoint; nothing else in it is ever made or run."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about the pickle's protocol
            state = torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ScalewiseError(
            f"{file}: damaged, or holds code or objects (none was run) where only weights should "
            "be; download the published file again"
        ) from error
    except Exception as error:  # zipfile and PyTorch raise a dozen types
        raise ScalewiseError(
            f"{file}: cannot be read as a checkpoint: damaged or truncated; download the published "
            "file again"
        ) from error
    if not isinstance(state, dict) or not all(
        isinstance(value, Tensor) and value.layout == torch.strided for value in state.values()
    ):
        raise ScalewiseError(
            f"{file}: expected named weights, found {type(state).__name__} of other things; "
            "download the published file again"
        )
    return {str(name): tensor for name, tensor in state.items()}


def _places(trunk: nn.Sequential) -> dict[str, str]:
    """Published name of every weight, and its name here."""
    names = {}
    convolutions = [i for i, layer in enumerate(trunk) if isinstance(layer, nn.Conv2d)]
    norms = [i for i, layer in enumerate(trunk) if isinstance(layer, BiasFreeNorm)]
    for count, place in enumerate(convolutions):
        names[f"module.conv_layers.{count}.weight"] = f"trunk.{place}.weight"
    for count, place in enumerate(norms):
        names[f"module.BN_layers.{count}.gammas"] = f"trunk.{place}.gain"
        names[f"module.BN_layers.{count}.running_sd"] = f"trunk.{place}.running_sd"
    return names


def _check_names(file: Path, found: Set[str], expected: Set[str]) -> None:
    for problem, names in (("missing", expected - found), ("unexpected", found - expected)):
        if names:
            raise ScalewiseError(
                f"{file}: {problem} weights {min(names)!r} ({len(expected)} names expected, "
                f"{len(found)} found); it is not the published checkpoint"
            )


def _check_values(file: Path, name: str, tensor: Tensor, shape: tuple[int, ...]) -> None:
    if tuple(tensor.shape) != shape or not tensor.is_floating_point():
        raise ScalewiseError(
            f"{file}: weights {name!r} should have shape {shape} and hold floats, found "
            f"{tuple(tensor.shape)} of {tensor.dtype}; it is not the published checkpoint"
        )
    if not bool(tensor.isfinite().all()):
        raise ScalewiseError(
            f"{file}: weights {name!r} hold NaN or infinite values; download the published "
            "file again"
        )
    if name.endswith("running_sd") and not bool((tensor > 0).all()):
        raise ScalewiseError(
            f"{file}: {name!r} should be standard deviations above 0, found "
            f"{float(tensor.min()):g}; download the published file again"
        )

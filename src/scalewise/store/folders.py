"""Writing and reading model folders, whole or not at all."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Literal

import safetensors.torch
import torch
from pydantic import JsonValue
from safetensors import SafetensorError
from torch import Tensor

from scalewise.calibration import Calibration
from scalewise.device import pick_device
from scalewise.errors import ScalewiseError, UsageError
from scalewise.parts import part_folder
from scalewise.prior import MultiScalePrior
from scalewise.store.card import card
from scalewise.store.config import ModelConfig, build, describe, parse_config
from scalewise.store.names import CARD, CONFIG, PACKAGED, TRAINING, WEIGHTS, resolve


def save(
    prior: MultiScalePrior,
    folder: str | Path,
    *,
    name: str | None = None,
    description: str = "",
    training: dict[str, JsonValue] | None = None,
    scores: dict[str, JsonValue] | None = None,
    license: str = "other",
    gray: str | None = None,
    dtype: Literal["float32", "float16"] = "float32",
    force: bool = False,
) -> ModelConfig:
    """Write a prior to a model folder, whole or not at all.

    Args:
        prior: what to save, on any device.
        folder: where; its parent must exist.
        name: short name of the model; that of the folder by default.
        description: one or two sentences for the model card.
        training: how it was made, free JSON; see `ModelConfig`.
        scores: what was measured, free JSON.
        license: licence of the weights, an identifier as on the Hugging Face hub.
        gray: name of the model that denoises gray images in its place: of a folder beside this one,
            or of a packaged model.
        dtype: float16 stores what is learnt in half the space; `load` gives float32.
        force: overwrite a model that is there already; other files in its folder stay.

    Returns:
        What was written as `config.json`.

    Raises:
        ScalewiseError: something stands in the way, the weights are not finite, or the folder
            cannot be written.

    Examples:
        >>> import tempfile
        >>> prior = scalewise.load("photos")
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     config = scalewise.save(prior, f"{folder}/mine", description="A copy.")
        >>> config.name
        'mine'
    """
    path = Path(folder)
    check_folder(path, force)
    config = describe(
        prior,
        name=name or Path(os.path.realpath(path)).name,
        description=description,
        training=training or {},
        scores=scores or {},
        license=license,
        gray=gray,
    )
    files = {
        WEIGHTS: safetensors.torch.save(_packed(prior, dtype), metadata={"format": "pt"}),
        CONFIG: config.to_json().encode(),
        CARD: card(config).encode(),
    }
    _write_whole(path, files)
    return config


PRECISIONS = {"float32": None, "bfloat16": torch.bfloat16, "float16": torch.float16}
"""Names of the precisions of convolutions, and what autocast is told."""


def load(
    name: str | Path,
    *,
    device: str = "auto",
    precision: str = "float32",
    exact: bool | None = None,
) -> MultiScalePrior:
    """Load a prior: in evaluation mode, float32, its weights frozen and laid out channels-last.

    Gradients flow to images that ask for them; to train the weights on, `requires_grad_()` them.

    Args:
        name: a model folder, the name of a packaged model, or a hub id `owner/name`.
        device: "auto", "cpu", "cuda" or "mps".
        precision: of convolutions. "bfloat16", and "float16" on a GPU, are faster on processors
            that compute with them, and round intermediate values to 3 or 4 digits.
        exact: compute layer by layer, as written, rather than by the forms that are faster and
            equal to rounding; by default as the variable SCALEWISE_EXACT says, or not.

    Raises:
        UsageError: the device or precision is unknown.
        ScalewiseError: nothing has that name, or the folder's files are missing, damaged, made
            by a newer Scalewise, or disagree.

    Examples:
        >>> prior = scalewise.load("photos")
        >>> prior.levels, prior.channels
        (3, 3)
    """
    target = pick_device(device)
    if precision not in PRECISIONS:
        raise UsageError(f"precision must be one of {', '.join(PRECISIONS)}, found {precision!r}")
    folder = resolve(name)
    config = read_config(folder)
    gray = None
    if config.gray is not None:
        beside = _gray_folder(folder, config)
        gray = load(beside, device=device, precision=precision, exact=exact)
    prior = build(config, str(folder / CONFIG), gray)
    weights = _read_weights(folder / WEIGHTS, prior.state_dict())
    prior.load_state_dict(weights, assign=True)
    prior.requires_grad_(False)
    prior.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    for network in (prior.low, *prior.conditionals):
        network.precision = PRECISIONS[precision]
        network.exact = network.exact if exact is None else exact
    return prior.to(target).eval()


def _gray_folder(folder: Path, config: ModelConfig) -> Path:
    """Where the model stands that denoises gray images in the place of another."""
    assert config.gray is not None
    beside = folder.resolve().parent / config.gray
    if not (beside / CONFIG).is_file():
        beside = PACKAGED / config.gray
    where = f"{folder / CONFIG}: gray names {config.gray!r}"
    if not (beside / CONFIG).is_file():
        raise ScalewiseError(
            f"{where}, but no such model stands beside the folder or is packaged; copy it there, "
            "or take the field out"
        )
    found = read_config(beside)
    if found.channels != 1 or found.gray is not None or config.channels == 1:
        raise ScalewiseError(
            f"{where}, which denoises gray images in the place of a model of colours: not this one "
            f"of {config.channels} channels, or not that of {found.channels}; take the field out"
        )
    return beside


def fingerprint(prior: MultiScalePrior) -> str:
    """What tells the weights of a prior from others: 16 hexadecimal digits."""
    digest = hashlib.sha256()
    for name, tensor in sorted(prior.state_dict().items()):
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(tensor.detach().cpu().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]


def read_config(folder: str | Path) -> ModelConfig:
    """Read and check the `config.json` of a model folder.

    Raises:
        ScalewiseError: it is missing, not JSON, of a newer version, or breaks the schema.
    """
    file = Path(folder) / CONFIG
    try:
        text = _read(file).decode()
    except UnicodeDecodeError as error:
        raise ScalewiseError(f"{file}: not valid JSON ({error}); restore the file") from error
    return parse_config(text, str(file))


def store_calibration(
    folder: str | Path, calibration: Calibration, factor: int | None = None
) -> None:
    """Write a calibration into the config of a model folder, whose weights stay.

    Args:
        folder: of the model.
        calibration: what was learnt.
        factor: of enlargement; None where it is of denoising.

    Raises:
        ScalewiseError: the folder holds no model, or cannot be written.
    """
    path = Path(folder)
    config = read_config(path)
    update: dict[str, object] = {"calibration": calibration}
    if factor is not None:
        update = {"upscaling": {**config.upscaling, factor: calibration}}
    config = config.model_copy(update=update)
    _write_whole(path, {CONFIG: config.to_json().encode(), CARD: card(config).encode()})


def check_folder(folder: str | Path, force: bool = False) -> None:
    """Check before long work that a model can be saved.

    Args:
        folder: where; it may exist if it holds nothing but training state and hidden entries.
        force: it may hold a model.

    Raises:
        ScalewiseError: the parent is missing or not writable, a file or a folder of other things
            is there, or a model and `force` is false.
    """
    path = Path(folder)
    parent = Path(os.path.realpath(path)).parent
    if not parent.is_dir():
        raise ScalewiseError(f"{path}: folder {parent} does not exist; create it first")
    if path.exists() and not path.is_dir():
        raise ScalewiseError(f"{path}: is a file; a model is a folder, give another name")
    if not os.access(path if path.is_dir() else parent, os.W_OK):
        raise ScalewiseError(f"{path}: cannot be written there; choose a writable folder")
    if not path.is_dir() or all(_is_ours(entry) for entry in path.iterdir()):
        return
    if _is_unfinished(path):
        return
    if not _holds_model(path):
        raise ScalewiseError(
            f"{path}: exists and holds something other than a Scalewise model; give another name"
        )
    if not force:
        raise ScalewiseError(f"{path}: a model is there already; give --force to overwrite it")


def _is_ours(entry: Path) -> bool:
    """Tell whether an entry may stand in a folder that becomes a model's."""
    return entry.name.startswith(".") or (entry.name == TRAINING and entry.is_dir())


def _is_unfinished(folder: Path) -> bool:
    """Tell whether a training was killed there between the moves of its first publication."""
    ours = {WEIGHTS, CONFIG, CARD}
    entries = list(folder.iterdir())
    published = all(_is_ours(entry) or entry.name in ours for entry in entries)
    return published and (folder / TRAINING).is_dir() and not (folder / CONFIG).exists()


def _holds_model(folder: Path) -> bool:
    """Tell whether a folder's config is Scalewise's, of whatever version."""
    import json

    try:
        fields = json.loads((folder / CONFIG).read_bytes())
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(fields, dict) and {"format_version", "low", "details"} <= fields.keys()


def _packed(prior: MultiScalePrior, dtype: str) -> dict[str, Tensor]:
    """Weights as they are stored: contiguous, on the CPU; what standardises always in float32."""
    learnt = {name for name, _ in prior.named_parameters()}
    packed = {}
    for name, tensor in prior.state_dict().items():
        half = dtype == "float16" and (name in learnt or tensor.ndim > 1)
        stored = torch.float16 if half else torch.float32
        packed[name] = tensor.detach().to("cpu", stored, copy=True).contiguous()
        if not bool(packed[name].isfinite().all()):
            raise ScalewiseError(
                f"weights {name!r} hold values that are NaN, infinite or too large for "
                f"{stored}; the model is not saved"
            )
    return packed


def _read_weights(file: Path, expected: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights in float32, checked against the names and shapes that the config asks for."""
    try:
        found = safetensors.torch.load(_read(file))
    except (SafetensorError, ValueError, KeyError, RuntimeError) as error:
        raise ScalewiseError(
            f"{file}: damaged or truncated ({error}); copy or download the model again"
        ) from error
    for problem, names in (
        ("lacks", expected.keys() - found.keys()),
        ("holds the unexpected", found.keys() - expected.keys()),
    ):
        if names:
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            raise ScalewiseError(
                f"{file}: {problem} tensor {min(names)!r}{more}; it does not belong to the "
                f"{CONFIG} beside it, copy both from the same model"
            )
    for name, tensor in found.items():
        shape = tuple(expected[name].shape)
        if tuple(tensor.shape) != shape or not tensor.is_floating_point():
            raise ScalewiseError(
                f"{file}: tensor {name!r} should have shape {shape} and hold floats, found "
                f"{tuple(tensor.shape)} of {tensor.dtype}; it does not belong to the {CONFIG} "
                "beside it"
            )
        if not bool(tensor.isfinite().all()):
            raise ScalewiseError(
                f"{file}: tensor {name!r} holds NaN or infinite values; the model is broken, "
                "train or download it again"
            )
    return {name: tensor.to(torch.float32, copy=True) for name, tensor in found.items()}


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except FileNotFoundError as error:
        training = (file.parent / TRAINING).is_dir()
        raise ScalewiseError(
            f"{file.parent}: {file.name} is missing; a model folder holds {CONFIG} and {WEIGHTS}"
            + ("; join a level that was trained alone by scalewise assemble" if training else "")
        ) from error
    except OSError as error:
        raise ScalewiseError(f"{file}: cannot be read: {error.strerror or error}") from error


def _write_whole(folder: Path, files: dict[str, bytes]) -> None:
    """Write all files into a hidden folder beside it, then move that, or each file, into place."""
    try:
        with part_folder(Path(os.path.realpath(folder)).parent) as part:
            for name, content in files.items():
                with (part / name).open("xb") as stream:
                    stream.write(content)
                    stream.flush()
                    os.fsync(stream.fileno())
            if not folder.exists():
                part.rename(folder)
                return
            for name in files:
                (part / name).replace(folder / name)
    except OSError as error:
        raise ScalewiseError(f"{folder}: cannot be written: {error.strerror or error}") from error

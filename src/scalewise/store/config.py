"""The schema of `config.json`, and the prior that it describes."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Callable
from functools import cache
from typing import Annotated, Any, Literal, TypeVar, get_type_hints

import torch
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    PositiveInt,
    ValidationError,
    create_model,
    field_validator,
    model_validator,
)

from scalewise.calibration import Calibration
from scalewise.errors import ScalewiseError
from scalewise.networks import (
    BiasFreeConditional,
    BiasFreeDenoiser,
    ConditionalDenoiser,
    Denoiser,
    LocalConditional,
    LocalDenoiser,
    Network,
    NoiseEstimator,
    UNet,
)
from scalewise.prior import MultiScalePrior
from scalewise.wavelets import filters, is_haar

FORMAT_VERSION = 1
"""Version of the folder format that this Scalewise writes, and the newest that it reads."""

NETWORKS: dict[str, type[Network]] = {
    "unet": UNet,
    "local-denoiser": LocalDenoiser,
    "bias-free-denoiser": BiasFreeDenoiser,
    "bias-free-conditional": BiasFreeConditional,
    "local-conditional": LocalConditional,
}
"""Names of networks in `config.json`."""

N = TypeVar("N", bound=Network)


LARGEST = {"blocks": 1024, "channels": 64, "multiples": 64, "receptive_field": 4099, "width": 2**20}
LARGEST_OTHER, MOST_ENTRIES = 2**20, 1024
"""What the settings of a network may be at most, and how many entries a list may have."""


class NetworkConfig(BaseModel):
    """One network.

    Attributes:
        kind: a name of `NETWORKS`.
        settings: arguments of its constructor.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: str
    settings: dict[str, JsonValue]

    @field_validator("kind")
    @classmethod
    def _known(cls, kind: str) -> str:
        if kind not in NETWORKS:
            raise ValueError(f"expected one of {', '.join(NETWORKS)}")
        return kind

    @field_validator("settings")
    @classmethod
    def _of_a_size_that_can_be(cls, settings: dict[str, JsonValue]) -> dict[str, JsonValue]:
        """Refuse sizes that would take minutes or all memory to build."""
        for name, value in settings.items():
            values = value if isinstance(value, list) else [value]
            most = LARGEST.get(name, LARGEST_OTHER)
            if len(values) > MOST_ENTRIES:
                raise ValueError(f"{name} has {len(values)} entries, more than {MOST_ENTRIES}")
            for number in values:
                if isinstance(number, int | float) and not -most <= number <= most:
                    raise ValueError(f"{name} is {number}, more than {most}")
        return settings


NUMBERS = re.compile(r"\[\s+(-?[\d.eE+-]+(?:,\s+-?[\d.eE+-]+)*)\s+\]")
"""A list of numbers, each on a line of its own."""


def _in_a_line(found: re.Match[str]) -> str:
    """The same list in one line."""
    return f"[{', '.join(found[1].replace(',', ' ').split())}]"


class EstimatorConfig(BaseModel):
    """The estimator of noise: arguments of its constructor."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    width: Annotated[int, Field(ge=1, le=1024)] = 32
    depth: Annotated[int, Field(ge=2, le=64)] = 5
    channels: Literal[0, 1, 3] = 0


TOLD = ("name", "description", "training", "scores", "license", "gray")
"""What a config says of a model that its prior does not."""


class ModelConfig(BaseModel):
    """What `config.json` says of a model.

    Attributes:
        format_version: version of the folder format.
        name: short name of the model.
        channels: channels of the images.
        levels: number of wavelet levels J.
        wavelet: the orthogonal wavelet between the scales.
        value_range: intensities that mean black and white.
        color_space: what the channels are.
        low: the network of the low-pass image.
        details: the networks of the details, level 1 (finest) first.
        estimator: of noise that is not told; older models have none.
        calibration: of the uncertainty that noise leaves, learnt on images kept apart.
        upscaling: the same of enlargements, by factor.
        noise_floor: standard deviation of the noise of the images it learnt from; 0 for clean ones.
        denoises_only: it learnt to remove noise, and neither draws nor enlarges.
        gray: name of the model that denoises gray images in its place: that of a folder beside it,
            or of a packaged model.
        description: one or two sentences for the model card.
        training: how it was made, free JSON; the card shows `data` (name, counts, license) and
            `recipe` in places of their own.
        scores: what was measured, free JSON.
        license: licence of the weights, an identifier as on the Hugging Face hub.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    format_version: int = FORMAT_VERSION
    name: str
    channels: PositiveInt
    levels: int
    wavelet: str = "haar"
    value_range: tuple[float, float] = (0.0, 1.0)
    color_space: Literal["gray", "sRGB", "other"]
    low: NetworkConfig
    details: list[NetworkConfig]
    estimator: EstimatorConfig | None = None
    calibration: Calibration | None = None
    upscaling: dict[int, Calibration] = {}
    noise_floor: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    denoises_only: bool = False
    gray: Annotated[str, Field(pattern=r"^[\w-][\w.-]*$")] | None = None
    description: str = ""
    training: dict[str, JsonValue] = {}
    scores: dict[str, JsonValue] = {}
    license: str = "other"

    @model_validator(mode="after")
    def _consistent(self) -> ModelConfig:
        if self.levels != len(self.details):
            raise ValueError(
                f"levels is {self.levels}, but details lists {len(self.details)} networks"
            )
        known = [1 << level for level in range(1, self.levels + 1)]
        if unknown := set(self.upscaling) - set(known):
            raise ValueError(f"upscaling has factor {min(unknown)}, but the levels span {known}")
        if self.value_range != (0.0, 1.0):
            raise ValueError(f"value_range must be [0, 1], found {list(self.value_range)}")
        return self

    @property
    def draws(self) -> bool:
        """Whether it learnt clean images, and to draw them."""
        return not self.noise_floor and not self.denoises_only

    @property
    def told(self) -> dict[str, Any]:
        """What is said of the model beside its prior, by name: for `save`, to say it again."""
        return {name: getattr(self, name) for name in TOLD}

    def to_json(self) -> str:
        """Return the text of `config.json`; NaN and infinite numbers become null."""
        return NUMBERS.sub(_in_a_line, self.model_dump_json(indent=2)) + "\n"


def describe(prior: MultiScalePrior, **facts: Any) -> ModelConfig:
    """Describe a prior.

    Args:
        prior: made of networks that `NETWORKS` names.
        facts: `name`, `description`, `training`, `scores`, `license` and `gray` of `ModelConfig`.

    Raises:
        ScalewiseError: a network has no name, or the facts are not JSON.
    """
    spaces = {1: "gray", 3: "sRGB"}
    low, *details = [_entry(network) for network in (prior.low, *prior.details)]
    fields = {
        "format_version": FORMAT_VERSION,
        "channels": prior.channels,
        "levels": prior.levels,
        "wavelet": prior.wavelet,
        "color_space": spaces.get(prior.channels, "other"),
        "low": low,
        "details": details,
        "estimator": None if prior.estimator is None else prior.estimator.settings,
        "calibration": None if prior.calibration is None else prior.calibration.model_dump(),
        "upscaling": {factor: table.model_dump() for factor, table in prior.upscaling.items()},
        "noise_floor": prior.noise_floor,
        "denoises_only": prior.denoises_only,
    }
    return _explained(lambda: ModelConfig.model_validate(fields | facts), "model description")


def parse_config(text: str, source: str) -> ModelConfig:
    """Check the text of a `config.json`.

    Args:
        text: the text.
        source: name of the file, for messages.

    Raises:
        ScalewiseError: it is not JSON, of a newer version, or breaks the schema.
    """
    try:
        fields = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ScalewiseError(f"{source}: not valid JSON ({error}); restore the file") from error
    version = fields.get("format_version") if isinstance(fields, dict) else None
    if not isinstance(version, int) or version < 1:
        raise ScalewiseError(
            f"{source}: not the config of a Scalewise model: expected format_version "
            f"{FORMAT_VERSION}, found {version!r}; give a folder that Scalewise wrote"
        )
    if version > FORMAT_VERSION:
        raise ScalewiseError(
            f"{source}: made by a newer Scalewise (format_version {version}, this one reads up "
            f"to {FORMAT_VERSION}); upgrade with: pip install --upgrade scalewise"
        )
    return _explained(lambda: ModelConfig.model_validate(fields), source)


def build(
    config: ModelConfig, source: str = "config", gray: MultiScalePrior | None = None
) -> MultiScalePrior:
    """Build the prior that a config describes, on PyTorch's meta device: without memory.

    Args:
        config: what to build.
        source: name of the file, for messages.
        gray: the model that denoises gray images in its place.

    Raises:
        ScalewiseError: settings that a network does not take, channels that disagree, a network
            in the wrong place, or an unknown wavelet.
    """
    try:
        if not is_haar(config.wavelet):
            filters(config.wavelet)
    except ScalewiseError as error:
        raise ScalewiseError(f"{source}: {error}") from error
    with torch.device("meta"):
        low = _network(config.low, Denoiser, f"{source}: low")
        details = [
            _network(part, ConditionalDenoiser, f"{source}: details of level {level}")
            for level, part in enumerate(config.details, start=1)
        ]
        told = config.estimator
        estimator = None if told is None else NoiseEstimator(**told.model_dump())
        prior = MultiScalePrior(
            low,
            details,
            config.wavelet,
            estimator,
            config.calibration,
            config.noise_floor,
            config.upscaling,
            config.denoises_only,
            gray,
        )
    for place, network in zip(places(config), (low, *details), strict=True):
        found = network.channels
        if found != config.channels:
            raise ScalewiseError(
                f"{source}: channels is {config.channels}, but the network of {place} has "
                f"{found}; restore the file"
            )
    return prior


def places(config: ModelConfig) -> list[str]:
    """Names of the scales: the low-pass image, then the details from level 1."""
    details = [f"details of level {level}" for level in range(1, config.levels + 1)]
    return ["low-pass image" if config.levels else "image", *details]


def _entry(network: torch.nn.Module) -> dict[str, Any]:
    names = {made: name for name, made in NETWORKS.items()}
    if type(network) not in names or not isinstance(network, Network):
        raise ScalewiseError(
            f"a network of type {type(network).__name__} cannot be saved; expected one of "
            f"{', '.join(made.__name__ for made in names)}"
        )
    return {"kind": names[type(network)], "settings": json.loads(json.dumps(network.settings))}


def _network(part: NetworkConfig, role: type[N], where: str) -> N:
    """One network on the current device, its settings checked against its constructor."""
    made = NETWORKS[part.kind]
    schema = _schema(part.kind)
    if not issubclass(made, role):
        fitting = [name for name, kind in NETWORKS.items() if issubclass(kind, role)]
        raise ScalewiseError(
            f"{where}: a network of kind {part.kind!r} cannot stand here; expected one of "
            f"{', '.join(fitting)}"
        )
    settings = _explained(lambda: schema.model_validate(part.settings), f"{where}: settings")
    try:
        return made(**settings.model_dump(exclude_unset=True))
    except Exception as error:  # torch raises a dozen types on impossible sizes
        raise ScalewiseError(
            f"{where}: settings {part.settings} do not make a {part.kind} network: {error}"
        ) from error


@cache
def _schema(kind: str) -> type[BaseModel]:
    """The arguments of a network's constructor as a schema."""
    network = NETWORKS[kind]
    hints = get_type_hints(network.__init__)
    fields: dict[str, Any] = {
        name: (hints[name], ... if argument.default is argument.empty else argument.default)
        for name, argument in inspect.signature(network).parameters.items()
    }
    strict = ConfigDict(extra="forbid", allow_inf_nan=False)
    return create_model(network.__name__, __config__=strict, **fields)


M = TypeVar("M", bound=BaseModel)


def _explained(validate: Callable[[], M], source: str) -> M:
    """Run a validation, and tell its first complaint in one sentence."""
    try:
        return validate()
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        if first["type"] == "extra_forbidden":
            raise ScalewiseError(
                f"{source}: unknown field {field!r}; remove it, or upgrade Scalewise"
            ) from error
        if first["type"] == "missing":
            raise ScalewiseError(f"{source}: field {field!r} is missing; restore it") from error
        message = first["msg"].removeprefix("Value error, ")
        found = f", found {first['input']!r:.80}" if field else ""
        about = f"field {field!r} is wrong: " if field else ""
        raise ScalewiseError(f"{source}: {about}{message}{found}") from error

"""Every choice of a training run, in one record that is stored with the model."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal, TypeAlias, TypeVar

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator

from scalewise.networks import (
    BiasFreeConditional,
    BiasFreeDenoiser,
    ConditionalDenoiser,
    Denoiser,
    LocalConditional,
    LocalDenoiser,
    UNet,
    spread_kernels,
)
from scalewise.wavelets import GAIN, filters, is_haar

Fraction = Annotated[float, Field(ge=0, le=1)]

SELDOM = 4.5
"""Deviations of ln(sigma) below its mean from which on noise is as good as never drawn."""

PER_LEVEL = ("receptive_field", "width", "blocks", "added_blocks", "batch", "crop")
"""Fields that may be lists, one entry per level of details, level 1 (finest) first."""

OF_LOCAL = ("receptive_field", "width", "blocks")
OF_LOW = ("low_width", "low_multiples", "low_blocks", "low_local", "low_dropout")
OF_NETWORKS = ("form", "depth", *OF_LOCAL, *OF_LOW)
"""Fields that say what new networks are made of: local ones, those of low-pass images, all."""

Form = Literal["noise-conditional", "bias-free"]

Value = TypeVar("Value")
PerLevel: TypeAlias = Value | tuple[Value, ...]


_RENAMED = {
    "average": "ema_gamma",
    "averaging": "mean_fraction",
    "denoising": "denoising_fraction",
    "favour": "level_weights",
    "gray": "gray_fraction",
    "image_spread": "denoising_P_std",
    "low_denoising": "low_denoising_fraction",
    "prior_spread": "P_std",
    "turns": "rotate",
}


class Recipe(BaseModel):
    """How to train a prior; the defaults suit a few hundred photographs.

    `receptive_field`, `width`, `blocks`, `added_blocks`, `batch` and `crop` are one number, or a
    list of one number per level of details, level 1 (finest) first: a level costs a quarter of the
    next finer one, so coarse levels can afford more. `at` gives the value of a level.

    Attributes:
        levels: number of wavelet levels J; 0 learns images in the pixel domain.
        wavelet: the orthogonal wavelet.
        form: "noise-conditional" (ours; low-pass by a U-Net) or "bias-free" (the published form).
        receptive_field: of the networks of the details; of the image where there are no levels.
        width: channels of the networks of the details.
        blocks: residual blocks of noise-conditional local networks; more where
            `receptive_field` needs them.
        depth: convolutions of every network ("bias-free").
        low_width: channels of the finest scale of the U-Net.
        low_multiples: channels of its scales, in multiples of `low_width`.
        low_blocks: residual blocks per scale of the U-Net.
        low_local: whether a local network of `receptive_field` learns the low-pass image, not a
            U-Net; without levels that is a denoiser in the pixel domain ("noise-conditional").
        low_dropout: share of the U-Net's hidden features left out in training.
        batch: crops per step for the details.
        crop: side of the crops, in coefficients of a level's bands.
        low_batch: low-pass images per step.
        low_crop: side of the crops of low-pass images; images that all have one size up to
            `4 * low_crop` are taken whole.
        rotate: mirror top to bottom and transpose, besides left to right.
        gray_fraction: share of an RGB batch that is made gray, noise included.
        colour_fraction: share of clean RGB images that get other colours: hues turned, paler or
            brighter.
        reduced_fraction: share of the batches of clean images that are reduced, up to 2.5 times,
            where the images are large enough.
        denoising_fraction: share of a batch of details that trains denoising, from an estimate
            of the low-pass image.
        low_denoising_fraction: share of a batch of low-pass images with noise to remove, not of
            sampling.
        structured_fraction: share of the noise to remove that is not white: blurred, related
            between channels, of other strength in each, stronger in bright places. Networks then
            see maps of the noise ("noise-conditional").
        mean_fraction: share of a batch that trains the least-squares estimate without measurement.
        denoising_P_mean: mean of ln(sigma) of the noise to remove, sigma in [0, 1] image units.
        denoising_P_std: standard deviation of ln(sigma) of the noise to remove.
        P_mean: mean of ln(sigma / sigma_data) of the noise of sampling (Karras et al. 2022).
        P_std: standard deviation of ln(sigma / sigma_data).
        learning_rate: peak rate of AdamW for the details; that of Muon follows (`Optimiser`).
        low_learning_rate: the same for the low-pass network.
        weight_decay: of both.
        warmup: steps of linear warm-up.
        decay: last share of the run, in which the learning rate falls to zero.
        ema_gamma: exponent of the running average of the weights; about
            `1 / ema_gamma` of all steps so far count.
        minutes: time budget, split over the levels by where validation error still falls.
        level_weights: how many times more of the time some levels get than by their speed of
            learning; "low" (or `levels + 1`) is the low-pass image.
        steps: steps of every level, in place of a time budget.
        estimator_fraction: share of the time, or of the steps of a level, that is kept for an
            estimator of noise, learnt from images of at least 128 pixels a side, where the networks
            want to be told ("noise-conditional") and the run starts with none.
        precision: of convolutions in training: "float32", "bfloat16" (weights and sums stay in
            float32), or "auto", bfloat16 where the processor computes with it.
        seed: of everything drawn.
        start: model whose networks the run starts with, in place of new ones; their sizes then
            count, not the recipe's. Networks of colours become those of gray images where these
            are what is learnt.
        fresh: levels, or "low", that begin with new networks all the same.
        added_blocks: residual blocks that networks of details of `start` get more, which add
            nothing until they learn; each makes the receptive field larger by 2.
        only_level: the one level that this run trains, or "low" for the low-pass image and the
            estimator of noise; others train the rest, and `scalewise assemble` joins them. Where
            a level needs a coarser estimate of its low-pass image to learn denoising, it comes
            from the networks of `start`, or a packaged denoiser stands in.

    Examples:
        >>> from scalewise.training import Recipe
        >>> recipe = Recipe(levels=2, receptive_field=[9, 13], minutes=30)
        >>> recipe.at("receptive_field", 1), recipe.wavelet
        (9, 'haar')
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    levels: Annotated[int, Field(ge=0, le=8)] = 3
    wavelet: str = "haar"
    form: Form = "noise-conditional"
    receptive_field: PerLevel[Annotated[int, Field(ge=3, le=511)]] = 13
    width: PerLevel[Annotated[int, Field(ge=4, le=2048)]] = 64
    blocks: PerLevel[Annotated[int, Field(ge=1, le=256)]] = 4
    depth: Annotated[int, Field(ge=2, le=256)] = 21
    low_width: Annotated[int, Field(ge=8, le=1024)] = 32
    low_multiples: Annotated[
        tuple[Annotated[int, Field(ge=1, le=16)], ...], Field(min_length=1, max_length=8)
    ] = (1, 2, 2)
    low_blocks: Annotated[int, Field(ge=1, le=256)] = 2
    low_local: bool = False
    low_dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    batch: PerLevel[Annotated[int, Field(ge=2, le=65536)]] = 8
    crop: PerLevel[Annotated[int, Field(ge=8)]] = 32
    low_batch: Annotated[int, Field(ge=1, le=65536)] = 16
    low_crop: Annotated[int, Field(ge=8)] = 24
    rotate: bool = True
    gray_fraction: Fraction = 0.15
    colour_fraction: Fraction = 0.0
    reduced_fraction: Fraction = 0.0
    denoising_fraction: Fraction = 0.5
    low_denoising_fraction: Fraction = 0.5
    structured_fraction: Fraction = 0.0
    mean_fraction: Fraction = 0.1
    denoising_P_mean: float = -2.12
    denoising_P_std: Annotated[float, Field(ge=0)] = 0.9
    P_mean: float = 0.0
    P_std: Annotated[float, Field(ge=0)] = 1.3
    learning_rate: Annotated[float, Field(gt=0, le=10)] = 2e-3
    low_learning_rate: Annotated[float, Field(gt=0, le=10)] = 1e-3
    weight_decay: Annotated[float, Field(ge=0, le=1)] = 1e-4
    warmup: Annotated[int, Field(ge=0)] = 200
    decay: Fraction = 0.3
    ema_gamma: Annotated[float, Field(gt=0)] = 12.0
    minutes: Annotated[float, Field(gt=0)] | None = None
    level_weights: dict[int | Literal["low"], Annotated[float, Field(gt=0)]] = {}
    steps: Annotated[int, Field(ge=1)] | None = None
    estimator_fraction: Annotated[float, Field(ge=0, le=0.5)] = 0.05
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    start: str | None = None
    fresh: tuple[int | Literal["low"], ...] = ()
    added_blocks: PerLevel[Annotated[int, Field(ge=0, le=256)]] = 0
    only_level: int | Literal["low"] | None = None

    @model_validator(mode="before")
    @classmethod
    def _renamed(cls, fields: Any) -> Any:
        """Take the names that recipes had before 0.2."""
        if not isinstance(fields, dict):
            return fields
        fields = {_RENAMED.get(name, name): value for name, value in fields.items()}
        for old, new in (("image_sigma", "denoising_P_mean"), ("prior_sigma", "P_mean")):
            if old in fields:
                sigma = fields.pop(old)
                if not isinstance(sigma, int | float) or not 0 < sigma < math.inf:
                    raise ValueError(f"{old} must be a number above 0, found {sigma!r:.60}")
                fields[new] = math.log(sigma)
        if fields.get("form") == "told":
            fields["form"] = "noise-conditional"
        return fields

    @model_validator(mode="after")
    def _of_levels_that_are_there(self) -> Recipe:
        known = {"low", *range(1, self.levels + 1)}
        only = () if self.only_level is None else (self.only_level,)
        for name, named in (("fresh", self.fresh), ("only_level", only)):
            for unknown in set(named) - known:
                raise ValueError(
                    f"{name} must name low or a level from 1 to {self.levels}, found {unknown}"
                )
        return self

    @model_validator(mode="after")
    def _consistent(self) -> Recipe:
        if self.minutes is not None and self.steps is not None:
            raise ValueError("minutes and steps are two ways to say one thing; give one of them")
        if self.denoising_fraction + self.mean_fraction > 1:
            raise ValueError(
                "denoising_fraction and mean_fraction are shares of a batch; their sum is above 1"
            )
        if self.low_local and self.form == "bias-free":
            raise ValueError(
                "low_local chooses between noise-conditional networks; leave one or the other out"
            )
        if not is_haar(self.wavelet):
            filters(self.wavelet)
        for name in PER_LEVEL:
            value = getattr(self, name)
            more = {self.levels + 1} if self.low_local else set()
            if isinstance(value, tuple) and len(value) not in {max(1, self.levels)} | more:
                raise ValueError(
                    f"{name} must be one number or a list of {max(1, self.levels)}, one per "
                    f"level, finest first; found {len(value)}"
                )
        widest = 2 * self.depth + 1 if self.form == "bias-free" else 999
        least = 3 if self.form == "bias-free" else 5
        for field in {self.at("receptive_field", level) for level in range(1, self.levels + 2)}:
            if field % 2 == 0 or not least <= field <= widest:
                raise ValueError(
                    f"receptive_field must be odd and from {least} to {widest}, found {field}"
                )
        return self

    @model_validator(mode="after")
    def _deepens_what_is_there(self) -> Recipe:
        deeper = [j for j in range(1, self.levels + 1) if self.at("added_blocks", j)]
        if (self.at("added_blocks", 1) and not self.levels) or (deeper and self.start is None):
            raise ValueError("added_blocks are added to networks of details of start; give blocks")
        for level in set(deeper) & set(self.fresh):
            raise ValueError(
                f"level {level} begins with a new network; give its blocks, not added_blocks"
            )
        return self

    def at(self, name: str, level: int) -> int:
        """Value of a field of `PER_LEVEL` at a level, from 1; beyond the last, that of the last.

        Args:
            name: of the field.
            level: from 1, the finest.

        Examples:
            >>> from scalewise.training import Recipe
            >>> recipe = Recipe(levels=3, width=[64, 96, 128])
            >>> [recipe.at("width", level) for level in (1, 2, 3)]
            [64, 96, 128]
        """
        value: int | tuple[int, ...] = getattr(self, name)
        if isinstance(value, int):
            return value
        return value[min(level, len(value)) - 1]

    @property
    def trained(self) -> list[int]:
        """Levels that the run trains, the coarsest first; `levels + 1` is the low-pass image."""
        if self.only_level is None:
            return list(range(self.levels + 1, 0, -1))
        return [self.levels + 1 if self.only_level == "low" else self.only_level]

    @property
    def denoises_only(self) -> bool:
        """Whether networks learn to remove noise, and nothing of what is drawn or enlarged."""
        details = self.levels == 0 or self.denoising_fraction == 1
        return self.form != "bias-free" and details and self.low_denoising_fraction == 1

    @property
    def unsaid(self) -> set[str]:
        """Fields of `OF_NETWORKS` that count for nothing: `start` says what its networks are."""
        if self.start is None:
            return set()
        if not self.fresh:
            return set(OF_NETWORKS)
        local = self.low_local or set(self.fresh) != {"low"}
        return set(() if local else OF_LOCAL) | set(() if "low" in self.fresh else OF_LOW)

    def least_sigma(self, level: int) -> float:
        """Least noise that teaches a level, or the low-pass image, `levels + 1`, in its own units.

        That of sampling has none.
        """
        details = level <= self.levels
        if (self.denoising_fraction if details else self.low_denoising_fraction) < 1:
            return 0.0
        least = math.exp(self.denoising_P_mean - SELDOM * self.denoising_P_std)
        return round(least * GAIN ** min(level, self.levels), 6)

    def begins_anew(self, level: int) -> bool:
        """Whether a level, or the low-pass image, `levels + 1`, takes no network of `start`."""
        return scale_key(level, self.levels) in self.fresh

    def level_weight(self, level: int) -> float:
        """Weight of a level, or of the low-pass image, `levels + 1`."""
        weights = {
            self.levels + 1 if key == "low" else key: value
            for key, value in self.level_weights.items()
        }
        return weights.get(level, 1.0)

    def precision_on(self, device: torch.device) -> str:
        """The precision, "float32" or "bfloat16", in which a device trains."""
        if self.precision != "auto":
            return self.precision
        return "bfloat16" if computes_bfloat16(device) else "float32"

    def details_network(self, channels: int, level: int, sigma_data: float) -> ConditionalDenoiser:
        """Make the network of a level's details; `sigma_data` is their root mean square."""
        if self.form == "bias-free":
            kernels = spread_kernels(self.at("receptive_field", level), self.depth)
            return BiasFreeConditional(channels, kernels, width=self.at("width", level))
        return LocalConditional(
            channels,
            **self._local(level),
            sigma_data=sigma_data,
            noise_maps=self.structured_fraction > 0,
            least_sigma=self.least_sigma(level),
        )

    def _local(self, level: int) -> dict[str, int]:
        """Receptive field, width and blocks of a local network: as many as the field needs."""
        field = self.at("receptive_field", level)
        return {
            "receptive_field": field,
            "width": self.at("width", level),
            "blocks": max(self.at("blocks", level), (field - 5) // 2),
        }

    def low_network(self, channels: int, size: tuple[int, int], sigma_data: float) -> Denoiser:
        """Make the network of the low-pass image, or of the image where there are no levels."""
        least = self.least_sigma(self.levels + 1)
        if self.low_local:
            local = self._local(self.levels + 1)
            return LocalDenoiser(channels, **local, sigma_data=sigma_data, least_sigma=least)
        if self.form == "noise-conditional":
            return UNet(
                channels,
                size,
                width=self.low_width,
                multiples=self.low_multiples,
                blocks=self.low_blocks,
                sigma_data=sigma_data,
                dropout=self.low_dropout,
                noise_maps=self.structured_fraction > 0,
                least_sigma=least,
            )
        depth = self.depth if self.levels == 0 else self.depth - 1
        field = self.at("receptive_field", 1) if self.levels == 0 else 2 * depth + 1
        width = self.at("width", self.levels + 1)
        return BiasFreeDenoiser(channels, spread_kernels(field, depth), width=width, size=size)


def scale_key(level: int, levels: int) -> int | Literal["low"]:
    """What a scale is called in recipes, logs and records: its level, or "low"."""
    return level if level <= levels else "low"


def scale_name(level: int, levels: int) -> str:
    """What a scale is called: a level of details, or the low-pass image, `levels + 1`."""
    return f"level {level}" if level <= levels else "low-pass image"


def computes_bfloat16(device: torch.device) -> bool:
    """Whether a device multiplies bfloat16 numbers itself, so that they are faster than float32."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type != "cpu" or not hasattr(torch.cpu, "get_capabilities"):
        return False
    known = torch.cpu.get_capabilities()
    return bool(known.get("avx512_bf16") or known.get("amx_bf16"))

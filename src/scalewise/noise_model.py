"""The noise of pictures, described: how strong it is in each scale and channel, and where."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Annotated

import torch
import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from torch import Tensor

from scalewise.errors import UsageError
from scalewise.noise import NoiseLevels
from scalewise.places import ALIKE, Places
from scalewise.wavelets import GAIN, low_pass
from scalewise.windows import Window, size_of

MOST_SCALES = 16
"""Of a description."""

LARGEST = 1e9
"""Of deviations and intensities, so that their squares are finite in single precision."""

Deviation = Annotated[float, Field(ge=0, le=LARGEST, allow_inf_nan=False)]
Intensity = Annotated[float, Field(ge=-LARGEST, le=LARGEST, allow_inf_nan=False)]
Factor = Annotated[float, Field(ge=0, le=LARGEST**2, allow_inf_nan=False)]

REFERENCE = 0.5
"""Intensity at which a curve of photon noise is 1."""

DARK, BRIGHT, GROWTH = 0.1, 0.9, 1.3
"""Intensities that are compared, and the ratio of deviations from which noise grows with them."""

UNEVEN = 1.6
"""Ratio of the noise of channels from which they differ much."""


class NoiseModel(BaseModel):
    """What the noise of a picture is like: a spectrum, per channel, a curve, and where.

    White noise has one number; noise that was interpolated, blurred or compressed has more in the
    coarse scales than in the fine ones, that of sensors grows with the intensity and differs
    between channels. Networks are told of each of their bands what it is there (`levels`).

    Attributes:
        scales: deviation in each scale, level 1 (finest) first, then the next coarser ones; the
            last is that of all coarser ones and of the low-pass image. Each as the standard
            deviation in [0, 1] of the white noise that would be as strong in that scale, one number
            for all channels, or one per channel.
        curve: how its variance depends on the intensity: pairs (intensity in [0, 1], factor of the
            variance), linear between, constant beyond; empty where it does not.
        places: how its variance depends on the place; None where it does not.

    Examples:
        >>> correlated = scalewise.NoiseModel(scales=((0.04,), (0.08,), (0.06,)))
        >>> clean = scalewise.load("photos").denoise(torch.rand(1, 3, 32, 32), correlated)
        >>> f"{correlated.sigma:.3f}"  # of a pixel
        '0.051'
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    scales: Annotated[
        tuple[tuple[Deviation, ...], ...], Field(min_length=1, max_length=MOST_SCALES)
    ]
    curve: tuple[tuple[Intensity, Factor], ...] = ()
    places: Places | None = None

    @model_validator(mode="after")
    def _consistent(self) -> NoiseModel:
        counts = {len(scale) for scale in self.scales}
        if not counts <= {1, 3} or len(counts) != 1:
            raise ValueError("scales must hold one number each, or three: one per channel")
        places = [place for place, _ in self.curve]
        if places != sorted(set(places)):
            raise ValueError("curve must be pairs of a rising intensity and a factor")
        if self.curve and max(factor for _, factor in self.curve) == 0:
            raise ValueError("curve must be above 0 somewhere")
        return self

    @classmethod
    def white(cls, sigma: float | Sequence[float]) -> NoiseModel:
        """White noise: one deviation in [0, 1], or one per channel.

        Args:
            sigma: 0 or more, one number or three.

        Raises:
            UsageError: it is negative, not finite, beyond `LARGEST`, or another number of them.

        Examples:
            >>> scalewise.NoiseModel.white(25 / 255).in_words()
            ['standard deviation 25 of 255', 'white: alike in all scales']
        """
        levels = tuple(sigma) if isinstance(sigma, Sequence) else (sigma,)
        if len(levels) not in (1, 3) or not all(0 <= level <= LARGEST for level in levels):
            raise UsageError(
                f"sigma must be 0 or more, one number or three, at most {LARGEST:g}, found {sigma}"
            )
        return cls(scales=(levels,))

    @classmethod
    def photons(cls, gain: float, offset: float = 0.0, read: float = 0.0) -> NoiseModel:
        """Counted photons and read noise: variance `gain * (x - offset) + (gain * read) ** 2`.

        Args:
            gain: intensity of one photo-electron, in [0, 1].
            offset: intensity without light.
            read: standard deviation of read noise, in electrons.

        Raises:
            UsageError: `gain` is not above 0, `read` is negative, or one is beyond `LARGEST`.

        Examples:
            >>> noise = scalewise.NoiseModel.photons(gain=0.002, read=2.0)
            >>> noise.grows, f"{noise.sigma:.4f}"  # the root of 0.002 * 0.5 + 0.004**2
            (True, '0.0319')
        """
        usable = 0 < gain <= LARGEST and 0 <= gain * read <= LARGEST and abs(offset) <= LARGEST
        floor = (gain * read) ** 2 if usable else 0.0
        middle = gain * max(REFERENCE - offset, gain) + floor
        top = max(1.0, offset + gain)
        most = gain * (top - offset) + floor if usable else math.inf
        if not 0 < middle <= LARGEST**2 or top <= offset or most > LARGEST**2 * middle:
            raise UsageError(
                f"gain must be above 0, read noise 0 or more, found gain {gain:g}, offset "
                f"{offset:g}, read noise {read:g}"
            )
        curve = ((offset, floor / middle), (top, most / middle))
        return cls(scales=((math.sqrt(middle),),), curve=curve)

    @classmethod
    def from_json(cls, text: str, name: str) -> NoiseModel:
        """Read what `scalewise noise` wrote: `model_dump` as JSON.

        Args:
            text: of the file.
            name: of the file, for errors.

        Raises:
            UsageError: it is no description of noise.
        """
        try:
            said = json.loads(text)
            if not isinstance(said, dict):
                raise ValueError(f"an object of scales and a curve is expected, found {text:.20}")
            return cls(**said)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"])) or "the file"
            reason = f"{where}: {first['msg']}"
        except (ValueError, TypeError) as error:
            reason = str(error)
        raise UsageError(
            f"{name} holds no description of noise ({reason}); scalewise noise makes one"
        )

    @property
    def channels(self) -> int:
        """1, or 3 where the channels differ."""
        return len(self.scales[0])

    @property
    def uneven(self) -> bool:
        """Whether the channels differ much."""
        strongest = [max(channel) for channel in zip(*self.scales, strict=True)]
        return max(strongest) > UNEVEN * min(strongest)

    def channel(self, index: int) -> NoiseModel:
        """That of one channel, as of a gray image."""
        scales = tuple((scale[index],) for scale in self.scales)
        return self.model_copy(update={"scales": scales})

    @property
    def is_white(self) -> bool:
        """Whether one number says all."""
        return not self.varies and len({level for scale in self.scales for level in scale}) == 1

    @property
    def varies(self) -> bool:
        """Whether it differs between the pixels of a picture, by intensity or place."""
        return bool(self.curve) or self.places is not None

    @property
    def even(self) -> NoiseModel:
        """The same everywhere, as strong as it is where curve and places are 1."""
        return self.model_copy(update={"curve": (), "places": None})

    @property
    def plain(self) -> NoiseModel | float:
        """The one number that says all, where it does."""
        return self.scales[0][0] if self.is_white else self

    @property
    def grows(self) -> bool:
        """Whether it is clearly stronger in the lights, as counted photons make it."""
        dark, bright = self.at(torch.tensor([DARK, BRIGHT])).tolist()
        return bright > GROWTH * dark

    @property
    def sigma(self) -> float:
        """Deviation in [0, 1] of a pixel where curve and places are 1, in the noisiest channel."""
        return max(math.sqrt(_variance(channel)) for channel in zip(*self.scales, strict=True))

    def at(self, intensity: Tensor) -> Tensor:
        """Factor of the deviation where a picture has some intensity.

        Args:
            intensity: in [0, 1]; beyond the curve its ends count.

        Returns:
            Factors of the deviation, the shape of `intensity`.

        Examples:
            >>> noise = scalewise.NoiseModel.photons(gain=0.002)
            >>> noise.at(torch.tensor([0.125, 0.5])).round(decimals=2)
            tensor([0.5000, 1.0000])
        """
        if not self.curve:
            return torch.ones_like(intensity)
        places, factors = (intensity.new_tensor(values) for values in zip(*self.curve, strict=True))
        if len(places) == 1:
            return factors.sqrt().expand_as(intensity)
        above = torch.searchsorted(places, intensity.contiguous()).clamp(1, len(places) - 1)
        start, end = places[above - 1], places[above]
        share = ((intensity - start) / (end - start)).clamp(0, 1)
        return torch.lerp(factors[above - 1], factors[above], share).sqrt()

    def factor(self, noisy: Tensor) -> Tensor:
        """Factor of the deviation at the pixels of pictures.

        Args:
            noisy: shape (N, C, H, W), or about the clean ones: their intensities count, smoothed.

        Returns:
            Shape (N, C, H, W), or (1, 1, H, W) where intensities do not count.

        Examples:
            >>> noise = scalewise.NoiseModel.photons(gain=0.002)
            >>> noise.factor(torch.full((1, 1, 8, 8), 0.125)).unique().round(decimals=2)
            tensor([0.5000])
        """
        at = self.at(smoothed(noisy)) if self.curve else noisy.new_ones(1, 1, *size_of(noisy))
        return at if self.places is None else at * self.places.at(size_of(noisy)).to(at)

    def part(self, window: Window, size: tuple[int, int]) -> NoiseModel:
        """That of a part of a picture.

        Args:
            window: the part.
            size: height and width of the picture.

        Examples:
            >>> from scalewise.places import ALIKE, Places
            >>> from scalewise.windows import Window
            >>> halves = scalewise.NoiseModel(scales=((0.1,),), places=Places(factors=((1, 4),)))
            >>> left = halves.part(Window(0, 8, 0, 2), (8, 8))
            >>> left.factor(torch.rand(1, 1, 8, 2))[0, 0, 0]
            tensor([1., 1.])
        """
        if self.places is None:
            return self
        return self.model_copy(update={"places": self.places.part(window, size)})

    def scale(self, level: int) -> tuple[float, ...]:
        """Deviations of a scale, from 1; beyond the last those of the last.

        Examples:
            >>> noise = scalewise.NoiseModel(scales=((0.04,), (0.08,)))
            >>> noise.scale(1), noise.scale(5)
            ((0.04,), (0.08,))
        """
        return self.scales[min(level, len(self.scales)) - 1]

    def levels(self, noisy: Tensor, levels: int, wavelet: str = "haar") -> NoiseLevels:
        """What the bands of noisy images have of it, for the networks of a prior.

        Args:
            noisy: shape (N, C, H, W), sides multiples of `2 ** levels`.
            levels: number of levels of details, J.
            wavelet: between the levels.
        """
        if self.channels > 1 and self.channels != noisy.shape[1]:
            raise UsageError(
                f"the noise is described for {self.channels} channels, the image has "
                f"{noisy.shape[1]}"
            )

        def there(level: int, scale: int) -> Tensor:
            deviation = noisy.new_tensor(self.scale(scale)).view(1, -1, 1, 1) * GAIN**level
            if not self.varies:
                return deviation
            return deviation * self.factor(low_pass(noisy, level, wavelet))

        details = tuple(there(level, level) for level in range(1, levels + 1))
        return NoiseLevels(details, there(levels, levels + 1))

    def times(self, strength: float) -> NoiseModel:
        """That of noise so many times as strong, 0 or more.

        Examples:
            >>> scalewise.NoiseModel.white(0.25).times(2).sigma
            0.5
        """
        scaled = tuple(tuple(strength * one for one in scale) for scale in self.scales)
        return self.model_copy(update={"scales": scaled})

    def coarser(self, levels: int) -> NoiseModel:
        """That of the image reduced by means over squares of `2 ** levels` pixels."""
        scales = [self.scale(level) for level in range(1 + levels, 1 + len(self.scales))]
        left = self.model_copy(update={"scales": tuple(scales) or self.scales[-1:]})
        return left.times(GAIN**levels)

    def as_gray(self, gain: float) -> NoiseModel:
        """That of the gray image made of an RGB one.

        Args:
            gain: noise of the gray image over that of independent channels of one deviation.
        """
        scales = tuple(
            (gain * math.sqrt(sum(level**2 for level in scale) / len(scale)),)
            for scale in self.scales
        )
        return self.model_copy(update={"scales": scales})

    def in_words(self) -> list[str]:
        """What a person would say of it, deviations in 8-bit units.

        Examples:
            >>> scalewise.NoiseModel(scales=((0.05,), (0.1,))).in_words()[0]
            'standard deviation 16.9 of 255'
        """
        found = [f"standard deviation {255 * self.sigma:.3g} of 255"]
        loudest = [max(scale) for scale in self.scales]
        if max(loudest) == 0:
            return ["no noise was found"]
        if max(loudest) <= ALIKE * min(loudest):
            found.append("white: alike in all scales")
        elif loudest[0] < max(loudest):
            level = 1 + loudest.index(max(loudest))
            ratio = loudest[level - 1] / loudest[0] if loudest[0] else math.inf
            found.append(
                f"correlated: {ratio:.2g} times as strong at structures of {1 << level} pixels as "
                "at single pixels, which interpolation, blur or compression leaves"
            )
        else:
            found.append("sharpened: strongest at single pixels")
        if self.channels == 3:
            found += _channels_in_words(self.scales)
        if self.curve:
            dark, bright = self.at(torch.tensor([DARK, BRIGHT])).tolist()
            if max(dark, bright) > ALIKE * min(dark, bright):
                where = "shadows" if dark > bright else "lights"
                ratio = max(dark, bright) / max(1e-9, min(dark, bright))
                found.append(f"{ratio:.2g} times as strong in the {where}")
        return found if self.places is None else [*found, self.places.in_words()]


def _variance(deviations: Sequence[float]) -> float:
    """Of a pixel: each scale has three quarters of what is left, the low-pass image the rest."""
    left, found = 1.0, 0.0
    for deviation in deviations:
        found += 0.75 * left * deviation**2
        left /= 4
    return found + left * deviations[-1] ** 2


def smoothed(images: Tensor) -> Tensor:
    """Means over squares of 3x3 pixels."""
    return F.avg_pool2d(F.pad(images, [1] * 4, "replicate"), 3, 1)


def _channels_in_words(scales: Sequence[Sequence[float]]) -> list[str]:
    strength = {
        name: math.sqrt(sum(level**2 for level in channel) / len(channel))
        for name, channel in zip(("red", "green", "blue"), zip(*scales, strict=True), strict=True)
    }
    least, most = min(strength, key=strength.__getitem__), max(strength, key=strength.__getitem__)
    ratio = strength[most] / strength[least] if strength[least] else math.inf
    return [f"{most} {ratio:.2g} times {least}"] if ratio > ALIKE else []

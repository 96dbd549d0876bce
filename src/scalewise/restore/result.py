"""What became of a picture, and what a prior of other channels does to it."""

from __future__ import annotations

from dataclasses import dataclass

from scalewise.images import Picture, to_channels
from scalewise.noise_model import NoiseModel
from scalewise.prior import MultiScalePrior


@dataclass(frozen=True)
class Restored:
    """What became of one picture.

    Args:
        pictures: the outputs: one, or one per sample.
        noise: that of each plane, as given or estimated; empty for upscaled pictures.
        deviation: standard deviation of the samples, if there are several.
        notes: sentences on what was converted, found or left alone.
    """

    pictures: tuple[Picture, ...]
    noise: tuple[NoiseModel, ...] = ()
    deviation: Picture | None = None
    notes: tuple[str, ...] = ()

    @property
    def picture(self) -> Picture:
        """The first output."""
        return self.pictures[0]

    @property
    def sigma(self) -> tuple[float, ...]:
        """Noise level of each plane, in [0, 1]; that of the noisiest channel where they differ."""
        return tuple(model.sigma for model in self.noise)


def conversion(picture: Picture, prior: MultiScalePrior) -> list[str]:
    """What a prior of other channels does to a picture, in a sentence."""
    _, note = to_channels(picture.pixels[:1, :, :1, :1], prior.channels)
    return [] if note is None else [f"{note} for the model"]

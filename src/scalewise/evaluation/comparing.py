"""Which of two models is better on the same images, and whether these images can tell."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from scalewise.evaluation.records import Record

TELLING = 2.0
"""Standard errors from which a difference is no chance."""


@dataclass(frozen=True)
class Comparison:
    """What two models' errors on the same images say.

    Attributes:
        gain: by how many dB the first one's mean square error is smaller.
        error: standard error of that, from image to image; None of one image.
        better: on how many images the first one is better.
        images: how many there are.
    """

    gain: float
    error: float | None
    better: int
    images: int

    @property
    def told(self) -> bool:
        """Whether the difference is more than chance."""
        return self.error is not None and abs(self.gain) > TELLING * self.error

    def in_words(self, first: str, second: str) -> str:
        """A sentence, with the models' names."""
        if self.error is None:
            return f"{first} has {self.gain:+.2f} dB over {second} on the one image there is"
        doubt = f"standard error {self.error:.2f}"
        if not self.told:
            found = f"{self.gain:+.2f} dB, {doubt}"
            return f"{first} and {second} do not differ by more than chance ({found})"
        kind = "better" if self.gain > 0 else "worse"
        count, found = f"{self.better} of {self.images} images", f"{abs(self.gain):.2f} dB, {doubt}"
        return f"{first} is {kind} than {second} by {found}; it is better on {count}"


def compare_models(first: Sequence[Record], second: Sequence[Record]) -> Comparison:
    """Compare two models by the mean square errors of the same images.

    Args:
        first: records of one, with `error`, the mean square error of an image.
        second: of the other, in the same order.

    Returns:
        The gain of the first over the second in dB, its standard error, and whether it is told.

    Examples:
        >>> from scalewise.evaluation import compare_models
        >>> first = [{"error": error} for error in (1.0, 1.1, 0.9)]
        >>> second = [{"error": error} for error in (2.0, 2.2, 1.9)]
        >>> compare_models(first, second).in_words("ours", "theirs")
        'ours is better than theirs by 3.08 dB, standard error 0.10; it is better on 3 of 3 images'
    """
    ours, theirs = ([float(record["error"]) for record in records] for records in (first, second))
    mean, other = sum(ours) / len(ours), sum(theirs) / len(theirs)
    floor = 1e-12
    gain = 10 * math.log10(max(other, floor) / max(mean, floor))
    differences = [b - a for a, b in zip(ours, theirs, strict=True)]
    error = None
    if len(ours) > 1:
        middle = sum(differences) / len(differences)
        variance = sum((each - middle) ** 2 for each in differences) / (len(ours) - 1)
        per_dB = 10 / math.log(10) / max((mean + other) / 2, floor)
        error = per_dB * math.sqrt(variance / len(ours))
    return Comparison(gain, error, sum(each > 0 for each in differences), len(ours))

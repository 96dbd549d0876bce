"""Noise that grows with the light, measured where pictures are flattest.

Texture tells nothing of it there, and the finest diagonal details are noise alone. In a picture of
much texture even the flattest places may hold some, and then more of it in the lights: but texture
has less in the diagonal details than in the others, where white noise has as much in all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from scipy import optimize
from torch import Tensor

from scalewise.data.image_set import middle
from scalewise.estimation import usable_pixels
from scalewise.noise_model import NoiseModel
from scalewise.wavelets import GAIN, low_pass, split

LOOKED_AT = 384
"""Side of the middle of an image that is looked at."""

NOTHING = 1e-9
"""Variance that counts as none: of 0.008 of 255."""

TINY = 1e-10
"""Least variance of the sensors of cameras."""

FLAT = 0.2
"""Share of their blocks, the flattest, that are measured."""

PATCH, BINS = 8, 10
"""Side of the blocks that have one brightness, and parts of an image by brightness."""

FEWEST, ALONE = 8, 100
"""Least number of blocks; and of an image alone, as 80x80 pixels have: white noise in fewer seems
to grow now and then."""

DARKEST = 0.3
"""Least variance of a line, over the least that was measured (`benchmarks/LOG.md`)."""

SMOOTH = 2
"""Scales by which an image is smoothed for a first look."""

STEEP, MAYBE = 2.2, 2.0
"""Ratio of the variance at the brightest place to that at the darkest from which noise grows with
the light; and from which, at a first look, it may."""

ALIKE, PERHAPS = 0.65, 0.45
"""Energy of the diagonal details over that of the others from which they are noise and no texture;
and from which, at a first look, they may be. Noise of photons had 0.62 to 1.08, clean photographs
0.29 to 0.39, with faint white noise up to 0.61."""

FALSE = 1.5
"""That ratio from which a curve that falls is no noise's."""

FLATTER = 4.0
"""How many times nearer variances are to one for all than to a curve from which it is no noise's.
Of white noise with a false curve it was 4.3 to 7.2, of noise of shadows up to 2.7, and once 6."""

FAINT = 4 / 255
"""Deviation at the brightest place below which noise may be the grain of a photograph that is
taken for clean."""

CUT = 0.12
"""Share of the pixels at the least value from which noise in the darks was cut off: what is left of
white noise grows with the light, too. Of noisy pictures that gained, it was 0.10 at most, of those
that lost much, 0.14 to 0.26."""


class Spreads(NamedTuple):
    """The finest details of the flattest blocks, by brightness, the darkest first.

    Attributes:
        variances: of the diagonal details, as those of pixels.
        others: of the horizontal and vertical ones.
        places: brightness of the blocks.
    """

    variances: Tensor
    others: Tensor
    places: Tensor

    @property
    def alike(self) -> float:
        """The diagonal details over the others, in the lights."""
        bright = len(self.places) // 2
        return float((self.variances / self.others)[bright:].mean())

    @property
    def line(self) -> Line:
        """The line through the variances."""
        return light_line(self.places, self.variances)

    def contradict(self, curve: Sequence[tuple[float, float]]) -> bool:
        """Whether their logarithms are far nearer to one for all than to a curve of variances."""
        nodes, factors = zip(*curve, strict=True)
        expected = torch.from_numpy(np.interp(self.places.numpy(), nodes, factors)).log()
        found = self.variances.log()
        return bool(FLATTER * found.var() < (found - expected).var())

    def grow(self, steep: float, alike: float) -> bool:
        """Whether they are noise that grows with the light so many times, and no texture."""
        line = self.line
        return self.alike >= alike and line.ratio >= steep and line.bright >= FAINT**2


class Line(NamedTuple):
    """How the variance of noise depends on the light, where that was measured.

    Attributes:
        darkest, brightest: the intensities between which it was measured.
        dark, bright: the variances there.
    """

    darkest: float
    brightest: float
    dark: float
    bright: float

    @property
    def ratio(self) -> float:
        """How many times as large it is where it is brightest."""
        return self.bright / self.dark

    def at(self, places: Tensor) -> Tensor:
        """The variance at intensities: that of the darkest below it, on the line beyond."""
        rise = (self.bright - self.dark) / max(TINY, self.brightest - self.darkest)
        line = self.dark + rise * (places - self.darkest).clamp(min=0)
        return line.clamp(min=DARKEST * min(self.dark, self.bright))

    def noise(self, at: Tensor, times: float = 1.0) -> NoiseModel:
        """Its description; the deviation is that of a typical pixel of these intensities.

        Args:
            at: intensities, any shape.
            times: how many times as strong.
        """
        nodes = torch.tensor(sorted({0.0, self.darkest, self.brightest, 1.0})).double()
        typical = float(self.at(at.double().clamp(0, 1)).mean())
        curve = zip(nodes.tolist(), (self.at(nodes) / typical).tolist(), strict=True)
        return NoiseModel(scales=((times * typical**0.5,),), curve=tuple(curve))


def seen_in_lights(
    found: NoiseModel,
    noisy: Tensor,
    valid: Tensor | None,
    denoise: Callable[[Tensor], Tensor],
) -> NoiseModel:
    """What is found of the noise of an image, once its flattest places were looked at.

    That of photons, where noise grows with the light as theirs does; white, where a curve was found
    of which nothing is seen there; else what was found.

    Args:
        found: noise that pixels do not share, alike in all channels.
        noisy: shape (C, H, W) in [0, 1] intensities; its middle is looked at.
        valid: bool of shape (1, H, W), true where pixels count; all by default.
        denoise: maps an image to about the clean one; called only where noise may depend on light.
    """
    part = middle(noisy.detach().cpu(), LOOKED_AT)
    inside = None if valid is None else middle(valid.cpu(), LOOKED_AT)[0]
    high, wide = (side - side % (2 << SMOOTH) for side in part.shape[-2:])
    if min(high, wide) < PATCH or float((part == part.amin()).float().mean()) > CUT:
        return found
    part, inside = part[:, :high, :wide], None if inside is None else inside[:high, :wide]
    usable = usable_pixels(part, inside)
    usable = None if usable is None else usable.all(0)
    small = low_pass(part[None], SMOOTH)
    first = F.interpolate(small, scale_factor=1 << SMOOTH, mode="bilinear", align_corners=False)
    spreads = flat_spreads(part, first[0], usable, ALONE)
    if spreads is None or not (found.curve or spreads.grow(MAYBE, PERHAPS)):
        return found
    clean = denoise(part)
    spreads = flat_spreads(part, clean, usable, ALONE)
    if spreads is None:
        return found
    if spreads.grow(STEEP, ALIKE):
        return spreads.line.noise(clean)
    if found.curve:
        rising = found.curve[-1][1] > found.curve[0][1]
        texture = spreads.alike < ALIKE if rising else spreads.line.ratio > FALSE
        falsely = texture or spreads.contradict(found.curve)
        return NoiseModel.white(found.sigma) if falsely else found
    return found


def flat_spreads(
    noisy: Tensor, clean: Tensor, usable: Tensor | None = None, fewest: int = FEWEST
) -> Spreads | None:
    """Variance of noise in the flattest blocks of an image, by brightness.

    Args:
        noisy: shape (C, H, W), even H and W.
        clean: about what is in it, same shape.
        usable: bool of shape (H, W), true where pixels hold all of the noise; all by default.
        fewest: blocks that must count.

    Returns:
        None where fewer do.
    """
    details = split(noisy[None] / GAIN)[1][0]
    energy = blocks(details, PATCH // 2).square().mean(dim=(2, 3))
    there = blocks(clean, PATCH)
    flat, place = there.var(dim=(2, 3)).mean(dim=1), there.mean(dim=(1, 2, 3))
    if usable is not None:
        whole = blocks(usable[None].float(), PATCH).amin(dim=(1, 2, 3)) == 1
        energy, flat, place = energy[whole], flat[whole], place[whole]
    if len(place) < fewest:
        return None
    chosen = [
        part[flat[part].argsort()[: max(1, round(FLAT * len(part)))]]
        for part in place.argsort().chunk(BINS)
    ]
    diagonal, others = energy[:, -len(noisy) :].mean(1), energy[:, : -len(noisy)].mean(1)
    return Spreads(
        *(
            torch.stack([each[part].mean() for part in chosen]).double().clamp(min=least)
            for each, least in ((diagonal, NOTHING), (others, NOTHING), (place, -torch.inf))
        )
    )


def blocks(image: Tensor, side: int) -> Tensor:
    """The blocks (M, C, side, side) of an image (C, H, W)."""
    parts = image.unfold(1, side, side).unfold(2, side, side)
    return parts.flatten(1, 2).movedim(1, 0)


def variance_line(places: np.ndarray, variances: np.ndarray) -> tuple[float, float]:
    """The line that fits variances over intensities, relative to them: its growth, and at 0.

    Neither is below 0.
    """
    return _fit(np.stack([places, np.ones_like(places)]), variances)


def _fit(parts: np.ndarray, variances: np.ndarray) -> tuple[float, float]:
    weights = 1 / np.maximum(variances, TINY)
    (one, other), _ = optimize.nnls((parts * weights).T, variances * weights)
    return float(one), float(other)


def light_line(places: Tensor, variances: Tensor) -> Line:
    """The line that fits variances best between the darkest and the brightest place.

    It is not far below all that were measured: where noise grows faster than the light, it would go
    to nothing in the darks, which a transform that makes noise even cannot bear.
    """
    at = places.clamp(0, 1)
    darkest, brightest = float(at.min()), float(at.max())
    share = ((at - darkest) / max(TINY, brightest - darkest)).numpy()
    dark, bright = _fit(np.stack([1 - share, share]), variances.numpy())
    least = DARKEST * float(variances.min())
    return Line(darkest, brightest, max(least, dark), max(least, bright))

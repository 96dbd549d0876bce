"""What a camera does to a scene: photons, a mosaic of colours, a tone curve, reduction, JPEG.

Each step can be left out, so that one sees which of them a method fails on.
"""

from __future__ import annotations

import io
import math
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from scalewise.filters import weights
from scalewise.images import to_channels
from scalewise.images.srgb import to_linear, to_srgb

MIDDLE = 0.214
"""Linear light of middle gray in sRGB, whose curve has a slope of about 1 there."""

SMALLER, LEAST_TIMES, MOST_TIMES = 0.15, 1.2, 2.5
"""Share of the cameras that are drawn whose pictures were reduced, and by how much."""

DEVELOPED, COLOURS, SHARPENED = 0.4, (0.5, 2.5), 1.0
"""Share of the cameras that are drawn which smooth colours and sharpen; the deviation of that blur
in pixels, from and to; and how much is added of what one pixel's blur removes, at most."""

CLEANED, HIDDEN, GRAIN = 0.35, (0.3, 0.95), (0.5, 2.0)
"""Share of the cameras that are drawn which denoise; how much of the fine noise they hide, and the
deviation in pixels of what they leave, from and to."""

LEAST = 1e-3
"""Least deviation of noise that is told of a pixel, in [0, 1]."""


@dataclass(frozen=True, kw_only=True)
class Camera:
    """How light becomes a picture.

    Attributes:
        electrons: photo-electrons at white, in linear light.
        read: standard deviation of read noise, in electrons.
        balance: what each channel is multiplied by after it was counted, to make white white.
        lens: standard deviation of the lens' blur in pixels.
        bayer: whether each pixel sees one colour (RGGB), and the others are interpolated linearly.
        tone: whether the file holds sRGB; it holds linear light otherwise.
        hidden: share of the fine noise that the camera's own denoising takes away; the scene is
            left as it is, as edges and texture are by the best of them.
        grain: deviation in pixels of the blur that noise has after that: what is finer was hidden.
        colours: deviation in pixels of the blur of colours, by which cameras hide noise; the luma
            is left.
        sharpened: how many times what a blur of one pixel removes of the luma is added to it.
        reduced: how many times larger pictures were taken than they are; they were reduced then,
            which leaves noise that neighbours share.
        filter: by which they were reduced, as for `filters.weights`.
        quality: of JPEG with chroma subsampled 4:2:0; None for none.
    """

    electrons: float
    read: float = 4.0
    balance: tuple[float, float, float] = (1.0, 1.0, 1.0)
    lens: float = 0.0
    bayer: bool = False
    tone: bool = False
    hidden: float = 0.0
    grain: float = 1.0
    colours: float = 0.0
    sharpened: float = 0.0
    reduced: float = 1.0
    filter: str = "bicubic"
    quality: int | None = None

    def scene(self, picture: Tensor) -> Tensor:
        """What a camera without noise, mosaic and compression makes of it: the lens counts."""
        return blurred(picture, self.lens) if self.lens else picture

    def take(self, picture: Tensor, generator: torch.Generator | None) -> Tensor:
        """Photograph a picture.

        Args:
            picture: in [0, 1], in sRGB where `tone`, else in linear light; shape (C, H, W), C = 1
                or 3; even sides where `bayer`. A camera whose pixels see colours takes gray
                pictures in colour, and they are made gray after that.
            generator: of the noise; None for none.

        Returns:
            What the file holds, of the same shape.
        """
        if self.reduced > 1:
            return self._take_larger(picture, generator)
        if self.bayer and len(picture) == 1:
            return to_channels(self.take(picture.expand(3, -1, -1), generator)[None], 1)[0][0]
        scene = self.scene(picture)
        light = to_linear(scene) if self.tone else scene
        gain = torch.tensor(self.balance[: len(light)]).view(-1, 1, 1)
        counts = light * self.electrons / gain
        if generator is not None:
            counts = torch.poisson(counts.clamp(min=0), generator)
            counts = counts + self.read * torch.randn(counts.shape, generator=generator)
        taken = counts * gain / self.electrons
        if self.bayer:
            taken = demosaiced(taken)
        if self.tone:
            taken = to_srgb(taken.clamp(0, 1))
        if self.hidden and generator is not None:
            still = replace(self, hidden=0.0, colours=0.0, sharpened=0.0, quality=None)
            noise = taken - still.take(picture, None)
            taken = taken + self.hidden * (blurred(noise, self.grain) - noise)
        if self.colours or self.sharpened:
            taken = self._developed(taken)
        return taken if self.quality is None else jpeg(taken, self.quality)

    def _developed(self, taken: Tensor) -> Tensor:
        """Smooth colours, and sharpen the luma."""
        luma = to_channels(taken[None], 1)[0][0]
        colours = taken - luma
        if self.colours and len(taken) == 3:
            colours = blurred(colours, self.colours)
        if self.sharpened:
            luma = luma + self.sharpened * (luma - blurred(luma, 1.0))
        return luma + colours

    def _take_larger(self, picture: Tensor, generator: torch.Generator | None) -> Tensor:
        """Photograph an enlarged picture, and reduce what comes out."""
        size = [2 * round(self.reduced * side / 2) for side in picture.shape[1:]]
        larger = F.interpolate(self.scene(picture)[None], size, mode="bicubic")[0]
        taken = replace(self, reduced=1.0, lens=0.0, quality=None).take(larger, generator)
        rows, columns = (
            weights(big, small, self.filter).to(taken)
            for big, small in zip(size, picture.shape[1:], strict=True)
        )
        taken = rows @ taken @ columns.T
        return taken if self.quality is None else jpeg(taken, self.quality)

    def noise_at(self, picture: Tensor) -> Tensor:
        """Deviation of the noise of single pixels by how bright they are: any shape.

        Where pictures are reduced, about that: of noise that pixels did not share before.
        """
        light = to_linear(picture.clamp(0, 1)) if self.tone else picture.clamp(min=0)
        deviation = (light / self.electrons + (self.read / self.electrons) ** 2).sqrt()
        if self.tone:
            lower = (light - deviation).clamp(min=0)
            deviation = (to_srgb(light + deviation) - to_srgb(lower)) / 2
        return (deviation / self.reduced).clamp(min=LEAST)


def between(bounds: tuple[float, float], share: float) -> float:
    """The number at a share of the way from the first to the second."""
    least, most = bounds
    return least + (most - least) * share


def draw_camera(picture: Tensor, sigma: float, generator: torch.Generator) -> Camera:
    """A camera whose noise in a picture (C, H, W) in [0, 1] has a deviation of about `sigma`."""
    chance = torch.rand(17, generator=generator).tolist()
    times = between((LEAST_TIMES, MOST_TIMES), chance[8] / SMALLER)
    developed, cleaned = chance[12] < DEVELOPED, chance[14] < CLEANED
    camera = Camera(
        electrons=max(4.0, MIDDLE / sigma**2),
        read=6 * chance[2],
        balance=(1 + 1.2 * chance[0], 1.0, 1 + 1.2 * chance[1]) if chance[3] < 0.7 else (1, 1, 1),
        bayer=chance[4] < 0.6,
        tone=chance[5] < 0.8,
        hidden=between(HIDDEN, chance[15]) if cleaned else 0.0,
        grain=between(GRAIN, chance[16]),
        colours=between(COLOURS, chance[11]) if developed and chance[10] < 0.7 else 0.0,
        sharpened=SHARPENED * chance[13] if developed and chance[10] > 0.3 else 0.0,
        reduced=times if chance[8] < SMALLER else 1.0,
        filter="bicubic" if chance[9] < 0.5 else "lanczos",
        quality=70 + int(29 * chance[6]) if chance[7] < 0.5 else None,
    )
    found = float(camera.noise_at(picture).square().mean().sqrt())
    return replace(camera, electrons=max(4.0, camera.electrons * (found / sigma) ** 2))


def demosaiced(colours: Tensor) -> Tensor:
    """Keep one colour per pixel (RGGB), and interpolate the others linearly: (3, H, W)."""
    mask = torch.zeros_like(colours)
    mask[0, ::2, ::2] = mask[2, 1::2, 1::2] = 1
    mask[1, ::2, 1::2] = mask[1, 1::2, ::2] = 1
    near = torch.tensor([0.5, 1.0, 0.5])
    cross = torch.tensor([[0.0, 0.25, 0.0], [0.25, 1.0, 0.25], [0.0, 0.25, 0.0]])
    kernels = torch.stack([near.outer(near), cross, near.outer(near)])[:, None].to(colours)
    return F.conv2d(F.pad((mask * colours)[None], [1] * 4, "reflect"), kernels, groups=3)[0]


def jpeg(picture: Tensor, quality: int) -> Tensor:
    """What a JPEG file, of 4:2:0 chroma, gives back of a picture (C, H, W) in [0, 1]."""
    file = io.BytesIO()
    values = (255 * picture.clamp(0, 1)).round().byte().movedim(0, -1).numpy()
    Image.fromarray(values.squeeze(-1) if len(picture) == 1 else values).save(
        file, "JPEG", quality=quality, subsampling=2
    )
    found = torch.from_numpy(np.asarray(Image.open(file)).copy()) / 255
    return found.reshape(*picture.shape[1:], -1).movedim(-1, 0)


def blurred(picture: Tensor, deviation: float) -> Tensor:
    """A picture (C, H, W) blurred by a Gaussian, mirrored at its borders."""
    reach = min(math.ceil(3 * deviation), min(picture.shape[1:]) - 1)
    places = torch.arange(-reach, reach + 1, dtype=picture.dtype)
    kernel = (-0.5 * (places / deviation) ** 2).exp()
    kernel = kernel / kernel.sum()
    planes = F.pad(picture[:, None], [reach] * 4, "reflect")
    return F.conv2d(planes, kernel.outer(kernel)[None, None])[:, 0]

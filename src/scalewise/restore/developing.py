"""From what a sensor counted to intensities that priors know, and from there to a picture."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from scalewise.errors import UsageError
from scalewise.images import Mosaic, Picture
from scalewise.images.picture import upright
from scalewise.images.srgb import to_srgb
from scalewise.operators import Demosaicking
from scalewise.restore.sensing import SensorNoise, photon_curve
from scalewise.stabilise import Stabiliser

AROUND = 5
"""Side of the squares whose mean says how strong the noise of a pixel is."""


class Curve:
    """The same curve of balanced intensities for all colours, and for each its own way back.

    It makes the noise of photons even, and is much like that of displays (a square root).

    Args:
        noise: of the sensor.
        balance: factors of red, green and blue, shape (3,).
    """

    def __init__(self, noise: SensorNoise, balance: Tensor) -> None:
        shape = photon_curve(noise)
        self.colours = [Stabiliser(noise.times(float(factor)).model, shape) for factor in balance]

    def forward(self, counts: Tensor, operator: Demosaicking) -> tuple[Tensor, Tensor]:
        """A balanced mosaic (1, 1, H, W) after the curve, and the deviation of its noise there."""
        padded = F.pad(operator.fill(counts), [AROUND // 2] * 4, "reflect")
        around = F.avg_pool2d(padded, AROUND, 1).clamp(0, 1)
        levels = [
            colour.deviation(plane)
            for colour, plane in zip(self.colours, around.unbind(1), strict=True)
        ]
        return self.colours[0].forward(counts), operator.A(torch.stack(levels, dim=1))

    def inverse(self, clean: Tensor) -> Tensor:
        """Balanced intensities (3, H, W) of what was restored."""
        return torch.stack(
            [colour.inverse(plane) for colour, plane in zip(self.colours, clean, strict=True)]
        )


def balanced(balance: tuple[float, float, float]) -> Tensor:
    """Factors of the colours, shape (3,), the least 1.

    Raises:
        UsageError: they are not three numbers above 0.
    """
    factors = torch.tensor(balance, dtype=torch.float32)
    if len(factors) != 3 or not bool((factors.isfinite() & (factors > 0)).all()):
        raise UsageError(
            "white balance must be three numbers above 0, of red, green and blue, found "
            f"{', '.join(f'{factor:g}' for factor in balance)}"
        )
    return factors / factors.min()


def developed(linear: Tensor, mosaic: Mosaic, exposure: float) -> Picture:
    """The picture of balanced camera colours: 16 bits, sRGB, upright.

    What is above 1 in any colour is cut before colours are mixed, so that what is blown out in all
    of them is white.

    Args:
        linear: shape (3, H, W).
        mosaic: whose matrix, orientation and EXIF count.
        exposure: in stops.
    """
    colours = torch.einsum("ij,jhw->ihw", mosaic.matrix, linear.clamp(max=1))
    shown = to_srgb((2.0**exposure * colours).clamp(0, 1))
    turned = upright(shown.permute(1, 2, 0)[None].numpy(), mosaic.orientation)[0]
    pixels = torch.from_numpy(np.ascontiguousarray(turned)).permute(2, 0, 1)
    return Picture(pixels, depth="uint16", exif=mosaic.exif)

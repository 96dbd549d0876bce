"""Agreement of enlarged pictures with the coefficients of a JPEG."""

from __future__ import annotations

from dataclasses import replace

from scalewise.errors import UsageError
from scalewise.images import JpegCoefficients, Picture
from scalewise.inverse import pseudo_inverse
from scalewise.operators import Decimation, Downscaling
from scalewise.prior import MultiScalePrior
from scalewise.restore.result import Restored

AGREEING = 3
"""Projections to agreement with a JPEG: what pixels cannot be takes some of it away again."""

INSIDE = 0.45
"""How far from a coefficient of a JPEG, in steps, is near enough; beyond 0.5 it would be another,
and outputs are rounded."""


def check_coefficients(jpeg: JpegCoefficients, picture: Picture, prior: MultiScalePrior) -> None:
    """Refuse coefficients that are not of this picture, or that the model has no channels for.

    Raises:
        UsageError: they are of another size or other channels.
    """
    channels = len(jpeg.operator.factors)
    shape = (1, channels, *jpeg.operator.size)
    if tuple(picture.pixels.shape) != shape:
        raise UsageError(
            f"the coefficients are of pictures of shape {shape}, the picture is of "
            f"{tuple(picture.pixels.shape)}"
        )
    if channels > prior.channels:
        raise UsageError("a model of gray images takes no JPEG of colours into account")


def keeping(
    restored: Restored, reduction: Downscaling | Decimation, jpeg: JpegCoefficients
) -> Restored:
    """Pictures moved as little as it takes to compress to the coefficients of a JPEG.

    Args:
        restored: pictures that were enlarged.
        reduction: what makes them small again.
        jpeg: coefficients of the small picture.

    Returns:
        The pictures, and a note that tells the share of coefficients that they agree with.
    """
    pictures, kept = [], []
    for each in restored.pictures:
        pixels = each.pixels.clamp(0, 1)
        for _ in range(AGREEING):
            off = (jpeg.operator.A(reduction.A(pixels)) - jpeg.values) / jpeg.steps
            change = (off.clamp(-INSIDE, INSIDE) - off) * jpeg.steps
            moved = pseudo_inverse(reduction, jpeg.operator.A_dagger(change))
            pixels = (pixels + moved).clamp(0, 1)
        off = (jpeg.operator.A(reduction.A(pixels)) - jpeg.values) / jpeg.steps
        kept.append(float((off.abs() <= 0.5).float().mean()))
        pictures.append(replace(each, pixels=pixels))
    share = f"{100 * min(kept):.1f} % of its coefficients"
    note = f"the losses of the JPEG were taken into account; the output agrees with {share}"
    return replace(restored, pictures=tuple(pictures), notes=(*restored.notes, note))

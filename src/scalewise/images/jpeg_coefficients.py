"""What a JPEG says of its picture: coefficients, and how far each may be off.

Decoders of Python give pixels. Their luma and chroma, before colours are made of them, tell the
coefficients back: the enlargement of chroma is undone by least squares, and coefficients are
multiples of the quantisation steps. Blocks that the border cuts are not told exactly.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, JpegImagePlugin
from torch import Tensor

from scalewise.compression import SIDE, Compression, cosines
from scalewise.errors import ScalewiseError
from scalewise.images.metadata import ORIENTATION


@dataclass(frozen=True)
class JpegCoefficients:
    """The content of a JPEG as a measurement by `Compression`.

    Args:
        operator: of the size and the chroma subsampling of the file.
        values: coefficients of intensities in [0, 1], shape (1, 1, 1, M).
        steps: quantisation step of each, in the same unit: it was within half a step.
    """

    operator: Compression
    values: Tensor
    steps: Tensor


def read_coefficients(path: str | Path) -> JpegCoefficients:
    """Read the coefficients of a JPEG file.

    Raises:
        ScalewiseError: it is no JPEG, or one that is turned by EXIF, or of other colours than
            those of JFIF.
    """
    try:
        with JpegImagePlugin.JpegImageFile(path) as image:
            return _coefficients(image, path)
    except ScalewiseError:
        raise
    except Exception as error:  # Pillow raises a dozen types on damaged files
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ScalewiseError(f"{path}: is no JPEG, or a damaged one ({reason})") from None


def _coefficients(image: JpegImagePlugin.JpegImageFile, path: str | Path) -> JpegCoefficients:
    _check(image, path)
    layers: list[Any] = list(image.layer)
    most = [max(layer[axis] for layer in layers) for axis in (2, 1)]
    if any(most[0] % layer[2] or most[1] % layer[1] for layer in layers):
        raise ScalewiseError(f"{path}: its components are reduced by no whole number")
    factors = tuple((most[0] // layer[2], most[1] // layer[1]) for layer in layers)
    tables = [
        torch.tensor(image.quantization[layer[3]], dtype=torch.float64).view(SIDE, SIDE)
        for layer in layers
    ]
    if len(layers) == 3:
        image.draft("YCbCr", None)
    planes = torch.from_numpy(np.array(image, dtype=np.float64))
    height, width = planes.shape[:2]
    values, steps = [], []
    for index, (plane, pair, table) in enumerate(
        zip(planes.view(height, width, -1).unbind(-1), factors, tables, strict=True)
    ):
        blocks = cosines(_nearest(plane - 128, pair)[None, None])
        whole = tuple(side // (SIDE * by) for side, by in zip(plane.shape, pair, strict=True))
        told = blocks.clone()  # rounded where the border cuts no block
        inside = told[:, : whole[0], : whole[1]]
        inside.copy_((inside / table).round() * table)
        if index == 0:
            told[..., 0, 0] += 128 * SIDE  # luma is stored about middle gray
        values.append(told.flatten())
        steps.append(table.expand_as(blocks).flatten())
    operator = Compression((height, width), factors)
    joined = (torch.cat(each).float()[None, None, None] / 255 for each in (values, steps))
    return JpegCoefficients(operator, *joined)


def _check(image: Image.Image, path: str | Path) -> None:
    """Refuse what is not luma and chroma as it stands."""
    if image.mode not in ("L", "RGB"):
        raise ScalewiseError(f"{path}: a JPEG of {image.mode} is not taken into account")
    names = bytes(layer[0] for layer in image.layer)  # type: ignore[attr-defined]
    if image.mode == "RGB" and (image.info.get("adobe_transform") == 0 or names == b"RGB"):
        raise ScalewiseError(f"{path}: a JPEG that holds RGB is not taken into account")
    if image.getexif().get(ORIENTATION, 1) != 1:
        raise ScalewiseError(f"{path}: a JPEG turned by EXIF is not taken into account")


def _nearest(plane: Tensor, factors: Sequence[int]) -> Tensor:
    """The reduced plane that, enlarged one of the ways, comes nearest to what was decoded."""
    ways = [(_repeated, _weighted) if factor == 2 else (_repeated,) for factor in factors]
    found = []
    for down, across in itertools.product(*ways):
        small = down(plane, factors[0]).T
        small = across(small, factors[1]).T
        back = across(down(small, factors[0], plane.shape[0]).T, factors[1], plane.shape[1]).T
        found.append((float((back - plane).square().mean()), small))
    return min(found, key=lambda pair: pair[0])[1]


def _repeated(lines: Tensor, factor: int, side: int | None = None) -> Tensor:
    """Lines repeated to `side` of them, as a decoder may enlarge; without `side`, its inverse."""
    if side is not None:
        return lines.repeat_interleave(factor, dim=0)[:side]
    groups = torch.arange(len(lines)) // factor
    sums = lines.new_zeros(int(groups[-1]) + 1, lines.shape[1]).index_add(0, groups, lines)
    return sums / groups.bincount()[:, None]


def _weighted(lines: Tensor, factor: int, side: int | None = None) -> Tensor:
    """Lines enlarged by 2, the nearer one of two weighted 3 to 1; without `side`, least squares."""
    from scipy import sparse  # takes long to load

    large = side or len(lines)
    count = -(-large // factor)
    place = np.arange(large)
    near = place // factor
    far = (near + np.where(place % 2 == 0, -1, 1)).clip(0, count - 1)
    weights = np.repeat([0.75, 0.25], large), (np.tile(place, 2), np.concatenate([near, far]))
    enlarged = sparse.coo_array(weights, (large, count)).tocsr()
    if side is not None:
        return torch.from_numpy(enlarged @ lines.numpy())
    normal = sparse.linalg.splu((enlarged.T @ enlarged).tocsc())
    return torch.from_numpy(normal.solve(enlarged.T @ lines.numpy()))

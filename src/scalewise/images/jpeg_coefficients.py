"""What a JPEG says of its picture: coefficients, and how far each may be off.

Decoders of Python give pixels. Their luma and chroma, before colours are made of them, tell the
coefficients back: the enlargement of chroma is undone by least squares, and coefficients are
multiples of the quantisation steps. Blocks that the border cuts are not told exactly.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

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
        image = JpegImagePlugin.JpegImageFile(path)
    except (OSError, SyntaxError) as error:
        raise ScalewiseError(f"{path}: is no JPEG ({error})") from None
    with image:
        _check(image, path)
        layers = list(image.layer)
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
        rows, columns = (_reduced(side, by) for side, by in zip(plane.shape, pair, strict=True))
        blocks = cosines(_nearest(plane - 128, rows, columns)[None, None])
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


def _reduced(side: int, factor: int) -> list[Tensor]:
    """How a decoder may enlarge a line to `side`: as it is, or repeated and weighted 3 to 1."""
    small = -(-side // factor)
    places = torch.arange(side)
    repeated = torch.eye(small, dtype=torch.float64)[places // factor]
    if factor != 2:
        return [repeated]
    other = (places // 2 + torch.where(places % 2 == 0, -1, 1)).clamp(0, small - 1)
    return [repeated, 0.75 * repeated + 0.25 * torch.eye(small, dtype=torch.float64)[other]]


def _nearest(plane: Tensor, rows: list[Tensor], columns: list[Tensor]) -> Tensor:
    """The reduced plane that, enlarged one of the ways, comes nearest to what was decoded."""
    found = []
    for down in rows:
        for across in columns:
            small = torch.linalg.pinv(down) @ plane @ torch.linalg.pinv(across).T
            rest = down @ small @ across.T - plane
            found.append((float(rest.square().mean()), small))
    return min(found, key=lambda pair: pair[0])[1]

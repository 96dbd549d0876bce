"""The linear part of JPEG: luma and chroma, chroma of means, cosines of 8x8 blocks.

What a JPEG holds are these coefficients, rounded to multiples of its quantisation steps (ITU-T
T.81; the colours are those of JFIF, ITU-R BT.601). To a restoration it is a measurement by
`Compression`, whose noise is uniform, of deviation `step / sqrt(12)`.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from scalewise.checks import Shape
from scalewise.errors import UsageError

SIDE = 8
"""Of a block."""

_YCC = (
    (0.299, 0.587, 0.114),
    (-0.168736, -0.331264, 0.5),
    (0.5, -0.418688, -0.081312),
)


class Compression:
    """Coefficients that JPEG rounds, component by component.

    Args:
        size: height and width of the images.
        factors: by how much each component is reduced, (down, across): of one component for gray
            images, of three for RGB.

    Raises:
        UsageError: there is another number of components, or factors are not whole numbers from 1.
    """

    def __init__(self, size: tuple[int, int], factors: tuple[tuple[int, int], ...]) -> None:
        if len(factors) not in (1, 3) or any(each < 1 for pair in factors for each in pair):
            raise UsageError(
                f"a JPEG must have one or three components, reduced by 1 or more, found {factors}"
            )
        self.size, self.factors = size, factors
        self.images = Shape(size, "the JPEG is", len(factors))
        blocks = [[-(-side // SIDE) for side in self._sides(*pair)] for pair in factors]
        count = sum(SIDE**2 * math.prod(pair) for pair in blocks)
        self.coefficients = Shape((1, count), "the coefficients of the JPEG are", 1)

    def A(self, x: Tensor) -> Tensor:
        """Coefficients of images in [0, 1], shape (N, 1, 1, M), without the shift of levels."""
        self.images.check(x, "image")
        found = [cosines(plane).flatten(1) for plane in self.components(x)]
        return torch.cat(found, dim=1)[:, None, None]

    def A_adjoint(self, y: Tensor) -> Tensor:
        """The transpose, by reverse differentiation."""
        self.coefficients.check(y, "measurement")
        with torch.enable_grad():
            images = y.new_zeros(len(y), len(self.factors), *self.size, requires_grad=True)
            return torch.autograd.grad(self.A(images), images, y)[0]

    def A_dagger(self, y: Tensor) -> Tensor:
        """Images of these coefficients, exact but for blocks that the border cuts."""
        self.coefficients.check(y, "measurement")
        planes, done = [], 0
        for down, across in self.factors:
            height, width = self._sides(down, across)
            blocks = (-(-height // SIDE), -(-width // SIDE))
            count = math.prod(blocks) * SIDE**2
            part = y[:, 0, 0, done : done + count].view(-1, *blocks, SIDE, SIDE)
            plane = from_cosines(part)[..., :height, :width]
            plane = plane.repeat_interleave(down, -2).repeat_interleave(across, -1)
            planes.append(plane[..., : self.size[0], : self.size[1]])
            done += count
        joined = torch.cat(planes, dim=1)
        return joined if len(planes) == 1 else _mixed(torch.linalg.inv(_matrix(joined)), joined)

    def components(self, x: Tensor) -> list[Tensor]:
        """The reduced components of images, (N, 1, h, w) each."""
        joined = x if len(self.factors) == 1 else _mixed(_matrix(x), x)
        return [
            F.avg_pool2d(_extended(plane, factors), factors)
            for plane, factors in zip(joined.split(1, dim=1), self.factors, strict=True)
        ]

    def _sides(self, down: int, across: int) -> tuple[int, int]:
        return -(-self.size[0] // down), -(-self.size[1] // across)


def cosines(plane: Tensor) -> Tensor:
    """Orthonormal cosine transform of the blocks of a plane, which goes on beyond its border.

    Args:
        plane: shape (N, 1, h, w).

    Returns:
        Shape (N, rows, columns, 8, 8).
    """
    basis = _basis(plane)
    parts = _extended(plane, (SIDE, SIDE))[:, 0].unfold(1, SIDE, SIDE).unfold(2, SIDE, SIDE)
    return basis @ parts @ basis.T


def from_cosines(blocks: Tensor) -> Tensor:
    """The plane (N, 1, 8 rows, 8 columns) of coefficients (N, rows, columns, 8, 8)."""
    basis = _basis(blocks)
    parts = basis.T @ blocks @ basis
    count, rows, columns = blocks.shape[:3]
    return parts.transpose(2, 3).reshape(count, 1, rows * SIDE, columns * SIDE)


def _extended(plane: Tensor, multiple: tuple[int, int]) -> Tensor:
    """A plane whose last row and column are repeated to multiples of two sides."""
    down, across = (-side % each for side, each in zip(plane.shape[-2:], multiple, strict=True))
    return F.pad(plane, (0, across, 0, down), "replicate")


def _basis(like: Tensor) -> Tensor:
    places = torch.arange(SIDE, dtype=torch.float64)
    waves = torch.cos(math.pi * (places + 0.5) * places[:, None] / SIDE) * math.sqrt(2 / SIDE)
    waves[0] /= math.sqrt(2)
    return waves.to(like)


def _matrix(like: Tensor) -> Tensor:
    return torch.tensor(_YCC, dtype=torch.float64).to(like)


def _mixed(matrix: Tensor, images: Tensor) -> Tensor:
    return torch.einsum("dc,nchw->ndhw", matrix, images)

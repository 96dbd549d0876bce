"""Linear measurements of images: what is known of an image when it is restored.

An operator has the interface of deepinv's linear physics (Tachella et al., "DeepInverse: a Python
package for solving imaging inverse problems with deep learning", 2025), so that those serve as
well: `A` measures images, `A_adjoint` is its transpose, and `A_dagger`, which it need not have, its
pseudo-inverse.
"""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import count
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from scalewise.checks import Shape, check_floats, whole_number
from scalewise.errors import UsageError
from scalewise.filters import weights

ANY = Shape()
"""Of images of any channels and size."""


class Operator(Protocol):
    """A linear map of images (N, C, H, W) to measurements (N, c, h, w).

    Examples:
        >>> class Flip:  # one of your own
        ...     def A(self, x: torch.Tensor) -> torch.Tensor:
        ...         return x.flip(-1)
        ...     A_adjoint = A_dagger = A
        >>> scalewise.load("photos").restore(torch.rand(1, 3, 32, 32), Flip()).shape
        torch.Size([1, 3, 32, 32])
    """

    def A(self, x: Tensor) -> Tensor:
        """Measure images."""

    def A_adjoint(self, y: Tensor) -> Tensor:
        """The transpose of `A`: the inner product of `A(x)` and `y` is that of `x` and this."""


class Filling(Operator, Protocol):
    """An operator that can also interpolate what it does not measure."""

    def fill(self, y: Tensor) -> Tensor:
        """A linear estimate of the images."""


class Inpainting:
    """Pixels that are known.

    Args:
        mask: what is known, 1 or anything but 0, and what is not, 0; shape (H, W) or (C, H, W).

    Raises:
        UsageError: the mask has another shape, holds NaN, or is 0 everywhere.

    Examples:
        >>> from scalewise.operators import Inpainting
        >>> known = Inpainting(torch.tensor([[1.0, 0.0], [1.0, 1.0]]))
        >>> known.A(torch.full((1, 1, 2, 2), 0.5)).flatten()
        tensor([0.5000, 0.0000, 0.5000, 0.5000])
    """

    def __init__(self, mask: Tensor) -> None:
        self.mask, self.images = _known(mask)

    def A(self, x: Tensor) -> Tensor:
        """The known pixels of images (N, C, H, W), same shape; zero elsewhere.

        Examples:
            >>> from scalewise.operators import Inpainting
            >>> Inpainting(torch.eye(2)).A(torch.ones(1, 1, 2, 2)).flatten()
            tensor([1., 0., 0., 1.])
        """
        return self._masked(x, "image")

    def A_adjoint(self, y: Tensor) -> Tensor:
        """The same, which is its own transpose.

        Examples:
            >>> from scalewise.operators import Inpainting
            >>> Inpainting(torch.eye(2)).A_adjoint(torch.ones(1, 1, 2, 2)).flatten()
            tensor([1., 0., 0., 1.])
        """
        return self._masked(y, "measurement")

    A_dagger = A_adjoint

    def _masked(self, array: Tensor, name: str) -> Tensor:
        self.images.check(array, name)
        return array * self.mask.to(array)


class Demosaicking:
    """The mosaic of a camera: at every pixel one of three colours.

    Args:
        pattern: colours of the upper left 2x2 pixels, row by row, such as "RGGB".

    Raises:
        UsageError: the pattern is none of a Bayer mosaic.

    Examples:
        >>> from scalewise.operators import Demosaicking
        >>> mosaic = Demosaicking("GRBG").A(torch.rand(1, 3, 8, 8))
        >>> scalewise.load("photos").restore(mosaic, Demosaicking("GRBG"), iterations=1).shape
        torch.Size([1, 3, 8, 8])
    """

    images, mosaics = Shape(channels=3), Shape(channels=1)

    def __init__(self, pattern: str = "RGGB") -> None:
        if not isinstance(pattern, str) or sorted(pattern) != sorted("RGGB"):
            raise UsageError(
                f"pattern must name one red, two green and one blue pixel, such as RGGB, found "
                f"{pattern!r}"
            )
        colours = torch.tensor(["RGB".index(colour) for colour in pattern]).view(2, 2)
        self.masks = torch.stack([colours == colour for colour in range(3)])

    def A(self, x: Tensor) -> Tensor:
        """The mosaics (N, 1, H, W) of RGB images (N, 3, H, W).

        Examples:
            >>> from scalewise.operators import Demosaicking
            >>> colours = torch.tensor([0.1, 0.2, 0.3]).view(1, 3, 1, 1).expand(1, 3, 2, 2)
            >>> Demosaicking("RGGB").A(colours).flatten()
            tensor([0.1000, 0.2000, 0.2000, 0.3000])
        """
        self.images.check(x, "image")
        return (x * self._there(x)).sum(dim=1, keepdim=True)

    def A_adjoint(self, y: Tensor) -> Tensor:
        """Each value of mosaics (N, 1, H, W) in its channel, (N, 3, H, W); zero elsewhere.

        Examples:
            >>> from scalewise.operators import Demosaicking
            >>> Demosaicking("RGGB").A_adjoint(torch.ones(1, 1, 2, 2)).sum((2, 3))
            tensor([[1., 2., 1.]])
        """
        self.mosaics.check(y, "measurement")
        return y * self._there(y)

    A_dagger = A_adjoint

    def fill(self, y: Tensor) -> Tensor:
        """A linear estimate of the images, which agrees with `y`, of sides from 3 pixels.

        Each missing colour is interpolated, and corrected by the gradient of the colour that is
        there (Malvar, He and Cutler, "High-quality linear interpolation for demosaicing of
        Bayer-patterned color images", ICASSP 2004).

        Raises:
            UsageError: `y` is no mosaic, or smaller.

        Examples:
            >>> from scalewise.operators import Demosaicking
            >>> Demosaicking("RGGB").fill(torch.full((1, 1, 8, 8), 0.5)).mean((2, 3))
            tensor([[0.5000, 0.5000, 0.5000]])
        """
        self.mosaics.check(y, "measurement")
        if min(y.shape[-2:]) < 3:
            raise UsageError(
                f"a mosaic must have sides of 3 pixels or more, found {y.shape[-1]}x{y.shape[-2]}"
            )
        green, row, column, cross = F.conv2d(
            F.pad(y, [2] * 4, "reflect"), _MALVAR[:, None].to(y) / 16
        ).split(1, dim=1)
        red, there, blue = self._there(y).split(1, dim=0)
        found = []
        for own, other in ((red, blue), (blue, red)):
            in_row, in_column = own.amax(2, keepdim=True), own.amax(1, keepdim=True)
            at_green = in_row * row + in_column * column
            found.append(own * y + there * at_green + other * cross)
        return torch.cat([found[0], there * y + (1 - there) * green, found[1]], dim=1)

    def _there(self, like: Tensor) -> Tensor:
        height, width = like.shape[-2:]
        tiles = self.masks.repeat(1, -(-height // 2), -(-width // 2))
        return tiles[:, :height, :width].to(like)


_MALVAR = torch.tensor(
    [
        [0, 0, -2, 0, 0, 0, 0, 4, 0, 0, -2, 4, 8, 4, -2, 0, 0, 4, 0, 0, 0, 0, -2, 0, 0],
        [0, 0, 1, 0, 0, 0, -2, 0, -2, 0, -2, 8, 10, 8, -2, 0, -2, 0, -2, 0, 0, 0, 1, 0, 0],
        [0, 0, -2, 0, 0, 0, -2, 8, -2, 0, 1, 0, 10, 0, 1, 0, -2, 8, -2, 0, 0, 0, -2, 0, 0],
        [0, 0, -3, 0, 0, 0, 4, 0, 4, 0, -3, 0, 12, 0, -3, 0, 4, 0, 4, 0, 0, 0, -3, 0, 0],
    ]
).view(4, 5, 5)
"""Green at red or blue; red (blue) at green between two of it in a row, in a column; red at blue
and blue at red. In sixteenths."""


class Blur:
    """A convolution; beyond the border images go on as at it.

    Args:
        kernel: shape (h, w), of odd sides; its sum is made 1, so that brightness stays.

    Raises:
        UsageError: the kernel is no tensor of floats, has no middle pixel, or its sum is not above
            0.

    Examples:
        >>> from scalewise.operators import Blur
        >>> motion = Blur(torch.tensor([[1.0, 1.0, 1.0]]))
        >>> motion.A(torch.tensor([[[[0.0, 0.0, 3.0, 0.0, 0.0]]]])).flatten()[1:4].round(decimals=3)
        tensor([1., 1., 1.])
    """

    def __init__(self, kernel: Tensor) -> None:
        check_floats(kernel, "kernel")
        if kernel.ndim != 2 or kernel.shape[0] % 2 == 0 or kernel.shape[1] % 2 == 0:
            raise UsageError(
                f"a blur kernel must have odd sides, found {'x'.join(map(str, kernel.shape))}"
            )
        if not bool(kernel.isfinite().all()) or float(kernel.sum()) <= 0:
            raise UsageError("the values of a blur kernel must be finite and their sum above 0")
        self.kernel = kernel / kernel.sum()

    @classmethod
    def gaussian(cls, deviation: float) -> Blur:
        """A Gaussian kernel, cut at four deviations (in pixels).

        Raises:
            UsageError: the deviation is not above 0.

        Examples:
            >>> from scalewise.operators import Blur
            >>> Blur.gaussian(1.5).kernel.shape
            torch.Size([13, 13])
        """
        if not 0 < deviation < math.inf:
            raise UsageError(f"the deviation of a blur must be above 0, found {deviation:g}")
        reach = math.ceil(4 * deviation)
        line = torch.arange(-reach, reach + 1, dtype=torch.float64)
        bell = torch.exp(-0.5 * (line / deviation) ** 2)
        return cls(bell[:, None] * bell)

    def check_fits(self, size: tuple[int, ...]) -> None:
        """Refuse images (height, width) that are smaller than the kernel.

        Raises:
            UsageError: they are smaller.

        Examples:
            >>> from scalewise.operators import Blur
            >>> Blur.gaussian(1.0).check_fits((32, 32))
        """
        if any(side > whole for side, whole in zip(self.kernel.shape, size, strict=True)):
            raise UsageError(
                f"the kernel is {self.kernel.shape[1]}x{self.kernel.shape[0]}, larger than the "
                "picture"
            )

    def A(self, x: Tensor) -> Tensor:
        """Blurred images, shape (N, C, H, W) as the images.

        Examples:
            >>> from scalewise.operators import Blur
            >>> Blur.gaussian(1.0).A(torch.ones(1, 3, 16, 16)).shape
            torch.Size([1, 3, 16, 16])
        """
        ANY.check(x, "image")
        self.check_fits(x.shape[-2:])
        height, width = x.shape[-2:]
        up, left = (side // 2 for side in self.kernel.shape)
        padded = F.pad(x, (left, left, up, up), "replicate")
        size = [_quick(side) for side in padded.shape[-2:]]
        transfer = torch.fft.rfft2(self.kernel.to(x), s=size)
        blurred = torch.fft.irfft2(transfer * torch.fft.rfft2(padded, s=size), s=size)
        return blurred[..., 2 * up : 2 * up + height, 2 * left : 2 * left + width]

    def A_adjoint(self, y: Tensor) -> Tensor:
        """The transpose, by reverse differentiation, shape (N, C, H, W) as `y`.

        Examples:
            >>> from scalewise.operators import Blur
            >>> x, y, blur = torch.rand(1, 1, 16, 16), torch.rand(1, 1, 16, 16), Blur.gaussian(1.0)
            >>> torch.allclose((blur.A(x) * y).sum(), (x * blur.A_adjoint(y)).sum())
            True
        """
        ANY.check(y, "measurement")
        with torch.enable_grad():
            images = torch.zeros_like(y, requires_grad=True)
            return torch.autograd.grad(self.A(images), images, y)[0]


class Downscaling:
    """Reduction to a smaller size by a filter, as image programs do it.

    Args:
        size: height and width of the images.
        small: height and width of the reduced ones, no larger.
        filter: "mean" (of the area of a pixel), "bicubic", "lanczos", or "gaussian:DEVIATION" in
            pixels of the reduced image.

    Raises:
        UsageError: the sizes or the filter are none.

    Examples:
        >>> from scalewise.operators import Downscaling
        >>> reduce = Downscaling((32, 32), (20, 20), "lanczos")
        >>> reduce.A(torch.rand(1, 3, 32, 32)).shape
        torch.Size([1, 3, 20, 20])
    """

    def __init__(
        self, size: tuple[int, int], small: tuple[int, int], filter: str = "bicubic"
    ) -> None:
        size, small = _sides(size, "size"), _sides(small, "small")
        if not all(after <= before for before, after in zip(size, small, strict=True)):
            raise UsageError(
                f"a reduced image must be smaller: {small[0]}x{small[1]} of {size[0]}x{size[1]}"
            )
        self.images, self.reduced = _reduction(size, small)
        self.rows, self.columns = (
            weights(before, after, filter) for before, after in zip(size, small, strict=True)
        )
        self.inverses = torch.linalg.pinv(self.rows), torch.linalg.pinv(self.columns)

    def A(self, x: Tensor) -> Tensor:
        """Reduced images (N, C, h, w) of images (N, C, H, W).

        Examples:
            >>> from scalewise.operators import Downscaling
            >>> image = torch.tensor([[[[0.1, 0.3], [0.5, 0.7]]]])
            >>> Downscaling((2, 2), (1, 1), "mean").A(image).flatten()
            tensor([0.4000])
        """
        self.images.check(x, "image")
        return self.rows.to(x) @ x @ self.columns.to(x).T

    def A_adjoint(self, y: Tensor) -> Tensor:
        """The transpose, of reduced images (N, C, h, w), shape (N, C, H, W).

        Examples:
            >>> from scalewise.operators import Downscaling
            >>> Downscaling((2, 2), (1, 1), "mean").A_adjoint(torch.ones(1, 1, 1, 1)).flatten()
            tensor([0.2500, 0.2500, 0.2500, 0.2500])
        """
        self.reduced.check(y, "measurement")
        return self.rows.to(y).T @ y @ self.columns.to(y)

    def A_dagger(self, y: Tensor) -> Tensor:
        """The least images (N, C, H, W) that are reduced to `y` (N, C, h, w).

        Examples:
            >>> from scalewise.operators import Downscaling
            >>> small, reduce = torch.rand(1, 3, 16, 16), Downscaling((32, 32), (16, 16), "bicubic")
            >>> torch.allclose(reduce.A(reduce.A_dagger(small)), small, atol=1e-4)
            True
        """
        self.reduced.check(y, "measurement")
        rows, columns = (inverse.to(y) for inverse in self.inverses)
        return rows @ y @ columns.T


class Decimation:
    """A blur of which every so many pixels are kept, from the first of each side.

    Args:
        size: height and width of the images, multiples of `factor`.
        factor: of the reduction, from 1.
        blur: what goes before.

    Raises:
        UsageError: the sizes are no multiples, or the kernel is larger than the images.

    Examples:
        >>> from scalewise.operators import Blur, Decimation
        >>> reduce = Decimation((32, 32), 2, Blur.gaussian(0.8))
        >>> reduce.A(torch.rand(1, 3, 32, 32)).shape
        torch.Size([1, 3, 16, 16])
    """

    def __init__(self, size: tuple[int, int], factor: int, blur: Blur) -> None:
        size, factor = _sides(size, "size"), whole_number(factor, "factor")
        if any(side % factor for side in size):
            raise UsageError(f"{size[0]}x{size[1]} pixels cannot be decimated by {factor}")
        if not isinstance(blur, Blur):
            raise UsageError(f"blur must be a Blur, found {type(blur).__name__}")
        blur.check_fits(size)
        self.size, self.factor, self.blur = size, factor, blur
        self.images, self.reduced = _reduction(size, (size[0] // factor, size[1] // factor))

    def A(self, x: Tensor) -> Tensor:
        """Reduced images (N, C, h, w) of images (N, C, H, W), `h = H / factor`.

        Examples:
            >>> from scalewise.operators import Blur, Decimation
            >>> none = Blur(torch.ones(1, 1))
            >>> Decimation((4, 4), 2, none).A(torch.arange(16.0).view(1, 1, 4, 4)).flatten()
            tensor([ 0.,  2.,  8., 10.])
        """
        self.images.check(x, "image")
        return self.blur.A(x)[..., :: self.factor, :: self.factor]

    def A_adjoint(self, y: Tensor) -> Tensor:
        """The transpose, of reduced images (N, C, h, w), shape (N, C, H, W).

        Examples:
            >>> from scalewise.operators import Blur, Decimation
            >>> none = Blur(torch.ones(1, 1))
            >>> Decimation((2, 2), 2, none).A_adjoint(torch.ones(1, 1, 1, 1)).flatten()
            tensor([1., 0., 0., 0.])
        """
        self.reduced.check(y, "measurement")
        spread = y.new_zeros(*y.shape[:2], *self.size)
        spread[..., :: self.factor, :: self.factor] = y
        return self.blur.A_adjoint(spread)


class MaskedFourier:
    """Some frequencies of images, as magnetic resonance measures them.

    Args:
        mask: which are measured, 1 or anything but 0, of the grid of `torch.fft.fft2`, shape (H, W)
            or (C, H, W).

    Raises:
        UsageError: the mask has another shape, holds NaN, or is 0 everywhere.

    Examples:
        >>> from scalewise.operators import MaskedFourier
        >>> mask = (torch.rand(32, 32, generator=torch.Generator().manual_seed(0)) < 0.3).float()
        >>> MaskedFourier(mask).A(torch.rand(1, 1, 32, 32)).shape
        torch.Size([1, 2, 32, 32])
    """

    def __init__(self, mask: Tensor) -> None:
        self.mask, self.images = _known(mask)
        channels = self.images.channels
        self.frequencies = replace(self.images, channels=channels and 2 * channels)

    def A(self, x: Tensor) -> Tensor:
        """Orthonormal Fourier coefficients: real parts of all channels, then imaginary ones.

        Examples:
            >>> from scalewise.operators import MaskedFourier
            >>> MaskedFourier(torch.ones(4, 4)).A(torch.ones(1, 1, 4, 4))[0, 0, 0, 0]
            tensor(4.)
        """
        self.images.check(x, "image")
        modes = torch.fft.fft2(x, norm="ortho") * self.mask.to(x)
        return torch.cat([modes.real, modes.imag], dim=1)

    def A_adjoint(self, y: Tensor) -> Tensor:
        """The transpose, (N, 2C, H, W) to (N, C, H, W): the real part of the inverse.

        Examples:
            >>> from scalewise.operators import MaskedFourier
            >>> image, every = torch.rand(1, 1, 8, 8), MaskedFourier(torch.ones(8, 8))
            >>> torch.allclose(every.A_adjoint(every.A(image)), image, atol=1e-6)
            True
        """
        self.frequencies.check(y, "measurement")
        if y.shape[1] % 2:
            raise UsageError(
                "measurement must have an even number of channels, real parts and then imaginary "
                f"ones, found {y.shape[1]}"
            )
        real, imaginary = y.chunk(2, dim=1)
        modes = torch.complex(real, imaginary) * self.mask.to(y)
        return torch.fft.ifft2(modes, norm="ortho").real

    def A_dagger(self, y: Tensor) -> Tensor:
        """Real images of these coefficients; a coefficient tells that of the opposite frequency.

        Examples:
            >>> from scalewise.operators import MaskedFourier
            >>> image, mask = torch.rand(1, 1, 8, 8), (torch.arange(64) % 3 == 0).view(8, 8).float()
            >>> some = MaskedFourier(mask)
            >>> seen = some.A(image)
            >>> torch.allclose(some.A(some.A_dagger(seen)), seen, atol=1e-5)
            True
        """
        self.frequencies.check(y, "measurement")
        mask = self.mask.to(y)
        opposite = mask.flip(-2, -1).roll((1, 1), (-2, -1))
        twice = (2 / (mask + opposite).clamp(min=1)).expand(y.shape[1] // 2, *y.shape[-2:])
        return self.A_adjoint(y * twice.repeat(2, 1, 1))


class Chain:
    """One measurement of what another one gives.

    Args:
        first: measures images.
        then: measures what that gives.

    Examples:
        >>> from scalewise.operators import Blur, Chain, Inpainting
        >>> both = Chain(Blur.gaussian(1.0), Inpainting(torch.eye(16)))
        >>> both.A(torch.rand(1, 3, 16, 16)).shape
        torch.Size([1, 3, 16, 16])
    """

    def __init__(self, first: Operator, then: Operator) -> None:
        check_operator(first, "first")
        check_operator(then, "then")
        self.first, self.then = first, then

    def A(self, x: Tensor) -> Tensor:
        """Both measurements.

        Examples:
            >>> from scalewise.operators import Blur, Chain, Inpainting
            >>> Chain(Blur.gaussian(0.5), Inpainting(torch.eye(8))).A(torch.ones(1, 1, 8, 8)).sum()
            tensor(8.)
        """
        return self.then.A(self.first.A(x))

    def A_adjoint(self, y: Tensor) -> Tensor:
        """The transpose: that of the second, then that of the first.

        Examples:
            >>> from scalewise.operators import Blur, Chain, Inpainting
            >>> both = Chain(Blur.gaussian(0.5), Inpainting(torch.eye(8)))
            >>> x, y = torch.rand(1, 1, 8, 8), torch.rand(1, 1, 8, 8)
            >>> torch.allclose((both.A(x) * y).sum(), (x * both.A_adjoint(y)).sum())
            True
        """
        return self.first.A_adjoint(self.then.A_adjoint(y))


def check_operator(operator: object, name: str = "operator") -> None:
    """Refuse what has not the two functions of an operator.

    Args:
        operator: what was passed.
        name: of the argument.

    Raises:
        UsageError: it has not `A` and `A_adjoint`, or is a class and no object of it.

    Examples:
        >>> from scalewise.operators import Blur, check_operator
        >>> check_operator(Blur.gaussian(1.0))
    """
    named = ("A", "A_adjoint")
    if isinstance(operator, type) or not all(callable(getattr(operator, k, None)) for k in named):
        kind = operator.__name__ if isinstance(operator, type) else type(operator).__name__
        found = f"the class {kind}" if isinstance(operator, type) else kind
        raise UsageError(
            f"{name} must have A and A_adjoint, as those of scalewise.operators have, found {found}"
        )


def _quick(size: int) -> int:
    """The next length of which Fourier transforms are fast: a product of twos, threes and fives."""
    return next(length for length in count(size) if pow(30, 64, length) == 0)


def _known(mask: Tensor) -> tuple[Tensor, Shape]:
    """A mask as true and false, and the shape of the images that it is for."""
    if not isinstance(mask, Tensor):
        raise UsageError(f"a mask must be a tensor, found {type(mask).__name__}")
    if mask.ndim not in (2, 3):
        raise UsageError(f"a mask must have shape (H, W) or (C, H, W), found {tuple(mask.shape)}")
    if bool(mask.isnan().any()):
        raise UsageError("the mask holds NaN; it must be 1 where the image is known, and else 0")
    if not bool(mask.any()):
        raise UsageError("the mask is black everywhere: nothing is known of the image")
    channels = mask.shape[0] if mask.ndim == 3 and mask.shape[0] > 1 else None
    return mask.bool(), Shape((mask.shape[-2], mask.shape[-1]), "the mask is", channels)


def _reduction(size: tuple[int, int], small: tuple[int, int]) -> tuple[Shape, Shape]:
    """The shapes of images and of reduced ones."""
    return Shape(size, "the operator reduces images of"), Shape(small, "the operator reduces to")


def _sides(size: tuple[int, int], name: str) -> tuple[int, int]:
    """Height and width, as whole numbers from 1."""
    try:
        height, width = size
    except (TypeError, ValueError):
        raise UsageError(f"{name} must be height and width, found {size!r}") from None
    return whole_number(height, f"the height of {name}"), whole_number(
        width, f"the width of {name}"
    )

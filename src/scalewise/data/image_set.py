"""Training sets, in memory or read as needed: random crops of them, and a part held out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial

import torch
from torch import Tensor

from scalewise.data.streaming import Cut, Streamed, Window
from scalewise.errors import ScalewiseError
from scalewise.noise_field import NoiseField
from scalewise.noise_model import NoiseModel


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Images, all with the same number of channels and the same type.

    Args:
        images: at least one tensor of shape (C, H, W): uint8, or float32 in [0, 1]. Heights and
            widths may differ. A list, held in memory, or `Streamed`, read as they are needed.
        name: base name of the source, without its folder.
        files: where each image was read from; empty for arrays.
        notes: sentences on what was left out, and on images that teach nothing.
        noise: of each image, where they are noisy; empty where they are clean.
        field: how their noise is related between near pixels and channels, of deviation 1; None
            where it is not.

    Raises:
        ScalewiseError: if there is no image, or channels or types differ, or the noise is not that
            of as many images.
    """

    images: Sequence[Tensor]
    name: str
    files: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    noise: tuple[NoiseModel, ...] = ()
    field: NoiseField | None = None

    def __post_init__(self) -> None:
        """Check that the images belong together."""
        if not self.images:
            raise ScalewiseError(f"image set {self.name!r} holds no image; expected at least one")
        if isinstance(self.images, Streamed):  # alike by how they are read
            return
        kinds = {(image.ndim, image.shape[0], image.dtype) for image in self.images}
        if len(kinds) > 1:
            found = sorted({f"{image.shape[0]} of {image.dtype}" for image in self.images})
            raise ScalewiseError(
                f"images of {self.name!r} must share channels and type, found {', '.join(found)}"
            )
        ndim, _, dtype = kinds.pop()
        if ndim != 3 or dtype not in (torch.uint8, torch.float32):
            raise ScalewiseError(
                f"images of {self.name!r} must be (C, H, W) tensors of uint8 or float32; "
                f"found {ndim} axes of {dtype}"
            )
        if self.noise and len(self.noise) != len(self.images):
            raise ScalewiseError(
                f"the noise of {len(self.noise)} images is told, {self.name!r} holds "
                f"{len(self.images)}"
            )

    def __len__(self) -> int:
        """Number of images."""
        return len(self.images)

    @property
    def channels(self) -> int:
        """Number of channels of every image."""
        images = self.images
        return images.channels if isinstance(images, Streamed) else images[0].shape[0]

    @property
    def dtype(self) -> torch.dtype:
        """Type of every image."""
        images = self.images
        return images.dtype if isinstance(images, Streamed) else images[0].dtype

    @property
    def device(self) -> torch.device:
        """Where crops are drawn."""
        images = self.images
        return torch.device("cpu") if isinstance(images, Streamed) else images[0].device

    @property
    def ahead(self) -> int:
        """Batches to draw before they are needed."""
        return 4 if isinstance(self.images, Streamed) else 1

    @cached_property
    def shapes(self) -> list[tuple[int, int]]:
        """(H, W) of each image."""
        if isinstance(self.images, Streamed):
            return self.images.shapes
        return [_pair(tuple(image.shape[1:])) for image in self.images]

    @cached_property
    def identity(self) -> int:
        """Tells these images from others."""
        if isinstance(self.images, Streamed):
            return self.images.identity
        return sum(int(image[:, ::7, ::7].double().sum() * 255) for image in self.images)

    @cached_property
    def size(self) -> tuple[int, int] | None:
        """(H, W) if all images have the same, else None."""
        sizes = set(self.shapes)
        return sizes.pop() if len(sizes) == 1 else None

    @cached_property
    def smallest(self) -> tuple[int, int]:
        """(least height, least width) over all images."""
        heights, widths = zip(*self.shapes, strict=True)
        return min(heights), min(widths)

    @cached_property
    def _pixels_before(self) -> Tensor:
        """Cumulative number of pixels, float64 of shape (N,)."""
        return torch.tensor([height * width for height, width in self.shapes]).cumsum(0).double()

    def without_small(self, side: int) -> tuple[ImageSet, list[str]]:
        """Leave out odd images that are smaller than the crops of the others.

        Crops are at most `side` pixels wide, and fit every image; so that one small image does not
        shrink all of them, up to a tenth of the images (at least one of five) may be left out.

        Returns:
            The set without them, and their names and sizes.
        """
        sides = torch.tensor([min(shape) for shape in self.shapes])
        spare = max(1, len(self) // 10) if len(self) >= 5 else 0
        least = min(side, int(sides.sort().values[spare]))
        kept = [index for index, found in enumerate(sides.tolist()) if found >= least]
        small = [
            f"{self.files[index] if self.files else f'image {index + 1} of {self.name}'} "
            f"({self.shapes[index][1]}x{self.shapes[index][0]})"
            for index in sorted(set(range(len(self))) - set(kept))
        ]
        if not small:
            return self, []
        return self.part(kept), small

    def to(self, device: torch.device) -> ImageSet:
        """The same images in the memory of a device, where crops are then drawn.

        Those that are read as needed stay where they are.
        """
        if isinstance(self.images, Streamed):
            return self
        return replace(self, images=[image.to(device) for image in self.images])

    def part(self, indices: Sequence[int]) -> ImageSet:
        """Some of the images, by their numbers."""
        return replace(
            self,
            images=_some(self.images, indices),
            files=tuple(self.files[index] for index in indices) if self.files else (),
            noise=tuple(self.noise[index] for index in indices) if self.noise else (),
        )

    def crops(
        self,
        count: int,
        size: int,
        generator: torch.Generator,
        flips: bool = True,
        rotate: bool = False,
    ) -> Tensor:
        """Draw random square crops, of shape (count, C, size, size): those of `draw`."""
        return self.draw(count, size, generator, flips, rotate)[0]

    def draw(
        self,
        count: int,
        size: int,
        generator: torch.Generator,
        flips: bool = True,
        rotate: bool = False,
        only: Sequence[int] | None = None,
    ) -> tuple[Tensor, list[int]]:
        """Draw random square crops, and tell of which images they are.

        An image is drawn with probability proportional to its number of pixels, a position in
        it uniformly. The same state of `generator` gives the same crops.

        Args:
            count: number of crops.
            size: side of a crop, in pixels.
            generator: CPU generator, the only source of chance.
            flips: mirror each crop left to right with probability 1/2.
            rotate: also mirror top to bottom and transpose, each with probability 1/2.
            only: numbers of the crops that are wanted, of which alone images are read; all by
                default.

        Returns:
            Crops of shape (n, C, size, size), float32 in [0, 1], and the positions in the set of
            their images.

        Raises:
            ScalewiseError: if an image is smaller than a crop.
        """
        if min(self.smallest) < size:
            raise ScalewiseError(
                f"crops of {size}x{size} pixels do not fit: the smallest height and width in "
                f"{self.name!r} are {self.smallest[0]} and {self.smallest[1]}; "
                f"use smaller crops or leave small images out"
            )
        chance = torch.rand(6, count, generator=generator, dtype=torch.float64)
        chance = chance if only is None else chance[:, list(only)]
        places = torch.searchsorted(
            self._pixels_before, chance[0] * self._pixels_before[-1], right=True
        ).clamp_(max=len(self) - 1)
        shape = (len(places), self.channels, size, size)
        batch = torch.empty(shape, dtype=self.dtype, device=self.device)
        cuts: list[Cut] = [partial(_square, size, *each) for each in chance[1:3].T.tolist()]
        for crop, found in zip(batch, self._parts(places.tolist(), cuts), strict=True):
            crop.copy_(found)
        chance = chance.to(self.device)
        if flips or rotate:
            _where(batch, chance[3] < 0.5, batch.flip(-1))
        if rotate:
            _where(batch, chance[4] < 0.5, batch.flip(-2))
            _where(batch, chance[5] < 0.5, batch.transpose(-1, -2))
        return to_float(batch), places.tolist()

    def _parts(self, places: list[int], cuts: list[Cut]) -> Iterable[Tensor]:
        """A part of each of the images at these places."""
        if isinstance(self.images, Streamed):
            return self.images.take(places, cuts)
        pairs = zip((self.images[place] for place in places), cuts, strict=True)
        return (image[:, *cut(*image.shape[1:])] for image, cut in pairs)

    def whole(self, indices: Sequence[int] | Tensor) -> Tensor:
        """Give whole images as one batch.

        Args:
            indices: n positions in the set.

        Returns:
            Images of shape (n, C, H, W), float32 in [0, 1].

        Raises:
            ScalewiseError: if the images differ in size.
        """
        if self.size is None:
            raise ScalewiseError(
                f"images of {self.name!r} differ in size and do not make one batch; "
                f"use images of one size, or crops"
            )
        return to_float(torch.stack([self.images[int(index)] for index in indices]))


def hold_out(
    image_set: ImageSet, fraction: float = 0.05, seed: int = 0
) -> tuple[ImageSet, ImageSet]:
    """Split a set at random into training and validation images.

    Args:
        image_set: at least two images.
        fraction: share of validation images, between 0 and 1; at least one image goes to each
            part.
        seed: the same seed gives the same split.

    Returns:
        The training set and the validation set, each in the original order.

    Raises:
        ScalewiseError: if there are fewer than two images or the fraction is out of range.
    """
    if not 0 < fraction < 1:
        raise ScalewiseError(f"fraction must lie between 0 and 1, found {fraction}")
    total = len(image_set)
    if total < 2:
        raise ScalewiseError(
            f"{image_set.name!r} holds {total} image; a split needs at least 2, "
            f"one to train on and one to validate on"
        )
    count = min(max(1, round(fraction * total)), total - 1)
    order = torch.randperm(total, generator=torch.Generator().manual_seed(seed)).tolist()
    training, validation = sorted(order[count:]), sorted(order[:count])
    return (
        image_set.part(training),
        image_set.part(validation),
    )


def hold_out_strip(image_set: ImageSet, fraction: float = 0.25) -> tuple[ImageSet, ImageSet]:
    """Split one image, such as that of a texture: its lowest rows are for validation.

    Args:
        image_set: one image.
        fraction: share of its rows for validation.

    Returns:
        The upper part and the lower one, with a row each at least.
    """
    image = image_set.images[0]
    rows = image.shape[1] - max(1, round(fraction * image.shape[1]))
    parts = (image[:, : max(1, rows)], image[:, rows:])
    first, second = (replace(image_set, images=[part], notes=()) for part in parts)
    return first, second


def _square(size: int, down: float, across: float, height: int, width: int) -> Window:
    """A square of an image, at a place of such shares of its height and width."""
    top, left = int(down * (height - size + 1)), int(across * (width - size + 1))
    return slice(top, top + size), slice(left, left + size)


def to_float(images: Tensor) -> Tensor:
    """Intensities in [0, 1], of bytes or floats."""
    return images.float().div_(255) if images.dtype == torch.uint8 else images


def middle(image: Tensor, side: int) -> Tensor:
    """The middle of an image (C, H, W), of at most so many pixels a side."""
    height, width = image.shape[-2:]
    top, left = max(0, height - side) // 2, max(0, width - side) // 2
    return image[:, top : top + side, left : left + side]


def _where(batch: Tensor, chosen: Tensor, changed: Tensor) -> None:
    """Replace the chosen items of a batch, in place."""
    batch.copy_(torch.where(chosen[:, None, None, None], changed, batch))


def _some(images: Sequence[Tensor], indices: Sequence[int]) -> Sequence[Tensor]:
    """A part of the images, which stay where they are."""
    if isinstance(images, Streamed):
        return images.part(indices)
    return [images[index] for index in indices]


def _pair(size: tuple[int, ...]) -> tuple[int, int]:
    height, width = size
    return height, width

"""Chance of a batch, of which every process draws what its own images need."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from scalewise import processes


@dataclass(frozen=True)
class Chance:
    """Random numbers of the images of a batch, by their places in it: of all processes' images.

    A few numbers of each image are drawn for all of them. What is as large as an image is drawn
    from a generator of its own, so that no process draws what others need.

    Attributes:
        generator: from which all comes.
        count: images of the batch.
        places: of the images of this process in it, in order.
    """

    generator: torch.Generator
    count: int
    places: tuple[int, ...]

    @classmethod
    def of(cls, count: int, generator: torch.Generator, *, shared: bool = False) -> Chance:
        """That of a batch of so many: of all, or, where it is shared, of this process's images."""
        return cls(generator, count, processes.places(count) if shared else tuple(range(count)))

    def each(self, draw: Callable[[int, torch.Generator], Tensor]) -> Tensor:
        """What `draw(count, generator)` gives, shape (count, ...), of this process's images."""
        return draw(self.count, self.generator)[list(self.places)]

    def uniform(self, *shape: int) -> Tensor:
        """Numbers in [0, 1), shape (n, *shape) of n images of this process."""
        return self.each(lambda count, g: torch.rand(count, *shape, generator=g))

    def some(self, chosen: int) -> Tensor:
        """So many of all images: which of those of this process are, bool (n,)."""
        return self.each(lambda count, g: torch.randperm(count, generator=g) < chosen)

    def seeds(self) -> list[int]:
        """One for each image of this process."""
        drawn = self.each(lambda count, g: torch.randint(2**62, (count,), generator=g))
        return [int(seed) for seed in drawn]

    def generators(self) -> list[torch.Generator]:
        """One for each image of this process."""
        return [torch.Generator().manual_seed(seed) for seed in self.seeds()]

    def normal(self, images: Tensor) -> Tensor:
        """Standard normal numbers of the shape of images (n, C, H, W), drawn on their device."""
        noise = torch.empty(images.shape, device=images.device)
        generator = torch.Generator(images.device)
        for seed, one in zip(self.seeds(), noise, strict=True):
            one.normal_(generator=generator.manual_seed(seed))
        return noise

    def white_noise(self, images: Tensor) -> Tensor:
        """Standard white noise for images (n, C, H, W): for gray ones the same in all channels."""
        noise = self.normal(images)
        gray = (images == images[:, :1]).flatten(1).all(dim=1).view(-1, 1, 1, 1)
        return torch.where(gray, noise[:, :1], noise)

    def part(self, first: int, last: int) -> tuple[slice, Chance]:
        """That of the images from place `first` to before `last`, and which of ours they are."""
        seed = int(torch.randint(2**62, (), generator=self.generator))
        inside = [place - first for place in self.places if first <= place < last]
        start = sum(place < first for place in self.places)
        generator = torch.Generator().manual_seed(seed)
        return slice(start, start + len(inside)), Chance(generator, last - first, tuple(inside))

    def both_ways(self) -> Chance:
        """That of a batch and the same batch again."""
        again = (place + self.count for place in self.places)
        return Chance(self.generator, 2 * self.count, (*self.places, *again))

    def mean(self, of_ours: Callable[[], Tensor]) -> Tensor | float:
        """This process's part of a mean over the batch: the sum of all processes' is the mean.

        Args:
            of_ours: the mean over this process's images; not called where it has none.
        """
        if not self.places:
            return 0.0
        with processes.part(self.places, self.count):
            return of_ours() * (len(self.places) / self.count)

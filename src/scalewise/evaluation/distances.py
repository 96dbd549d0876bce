"""How far apart two sets of images are as distributions, and how near one comes to the other."""

from __future__ import annotations

import torch
from torch import Tensor

from scalewise.errors import UsageError
from scalewise.wavelets import split

LEAST_SPREAD = 1e-9
"""Standard deviation below which images count as constant."""


def sliced_wasserstein(a: Tensor, b: Tensor, *, projections: int = 256, seed: int = 0) -> float:
    """Sliced 2-Wasserstein distance between two sets of points.

    The root mean square, over random directions, of the exact 2-Wasserstein distance between the
    projections, which matches their quantiles; the sets may differ in size. A shift by `m` in
    `D` dimensions gives `|m| / sqrt(D)`. Source: Rabin, Peyré, Delon and Bernot, "Wasserstein
    barycenter and its application to texture mixing", SSVM 2011, equation 6.

    Args:
        a: points, shape (N, ...), flattened to (N, D).
        b: points, shape (M, ...).
        projections: number of random directions.
        seed: of the directions.

    Returns:
        The distance, in the units of the coordinates.

    Examples:
        >>> from scalewise.evaluation import sliced_wasserstein
        >>> points = torch.randn(100, 16, generator=torch.Generator().manual_seed(0))
        >>> round(sliced_wasserstein(points, points + 0.5), 1)  # |shift| / sqrt(16)
        0.5
    """
    a, b = a.flatten(1).float(), b.flatten(1).float()
    generator = torch.Generator().manual_seed(seed)
    directions = torch.randn(a.shape[1], projections, generator=generator)
    directions = (directions / directions.norm(dim=0)).to(a.device)
    first, second = (a @ directions).sort(dim=0).values, (b @ directions).sort(dim=0).values
    rank_a, rank_b, weight = (part.to(a.device) for part in _couple(len(a), len(b)))
    gaps = (first[rank_a] - second[rank_b]).double().square()
    return (weight @ gaps).mean().sqrt().item()


def level_distances(
    samples: Tensor,
    reference: Tensor,
    *,
    levels: int,
    wavelet: str = "haar",
    patch: int = 7,
    patches_per_image: int = 32,
    projections: int = 256,
    seed: int = 0,
) -> dict[str, float]:
    """Sliced Wasserstein distance between two sets of images, scale by scale.

    The details of each level are compared as local patches of all their bands together, at
    random places, every band divided by its standard deviation in the reference; the low-pass
    image is compared as a whole, divided by its standard deviation. So all distances count in
    standard deviations of the reference. They depend on the number of images: compare only
    distances between sets of equal sizes.

    Args:
        samples: shape (N, C, H, W).
        reference: shape (M, C, H, W).
        levels: number of wavelet levels.
        wavelet: the wavelet between them.
        patch: side of the patches, in pixels of the level.
        patches_per_image: how many per image and level.
        projections: number of random directions.
        seed: of the places and directions.

    Returns:
        Distances by name: `level 1` (finest) to `level J`, and `low`.

    Raises:
        UsageError: reference images do not vary at some scale, or samples are of another size.
    """
    if samples.shape[1:] != reference.shape[1:]:
        shapes = [list(images.shape[1:]) for images in (samples, reference)]
        raise UsageError(
            f"images that are compared must have one shape, found {shapes[0]} and {shapes[1]}; "
            "cut or scale them"
        )
    distances = {}
    for level in range(1, levels + 1):
        samples, details = split(samples, wavelet)
        reference, aim = split(reference, wavelet)
        scale = aim.std(dim=(0, 2, 3), keepdim=True)
        _check_spread(scale, f"level {level}")
        found = _patches(details / scale, patch, patches_per_image, seed)
        wanted = _patches(aim / scale, patch, patches_per_image, seed)
        distances[f"level {level}"] = sliced_wasserstein(
            found, wanted, projections=projections, seed=seed
        )
    _check_spread(reference.std(), "the low-pass image")
    distance = sliced_wasserstein(samples, reference, projections=projections, seed=seed)
    distances["low"] = distance / reference.std().item()
    return distances


def _check_spread(scale: Tensor, where: str) -> None:
    """Say that there is nothing to measure by, where reference images do not vary."""
    if not bool((scale > LEAST_SPREAD).all()):
        raise UsageError(
            f"reference images do not vary at {where}, and distances are in their standard "
            "deviations; give other images, or more of them"
        )


def radial_power_spectrum(images: Tensor) -> tuple[Tensor, Tensor]:
    """Mean power spectrum of images as a function of spatial frequency.

    `|FFT|^2 / (H W)` of each image less its mean, averaged over images, channels and rings of
    frequencies one cycle per image wide. White noise of standard deviation s has power s^2
    everywhere.

    Args:
        images: shape (N, C, H, W).

    Returns:
        Frequencies in cycles per pixel, up to 1/2, and the power at each, both of shape
        (min(H, W) // 2,).

    Examples:
        >>> from scalewise.evaluation import radial_power_spectrum
        >>> white = 0.1 * torch.randn(64, 1, 32, 32, generator=torch.Generator().manual_seed(0))
        >>> frequency, power = radial_power_spectrum(white)
        >>> frequency.shape, power.mean().round(decimals=3)
        (torch.Size([16]), tensor(0.0100, dtype=torch.float64))
    """
    height, width = images.shape[-2:]
    centred = images.double() - images.double().mean(dim=(-2, -1), keepdim=True)
    power = torch.fft.fft2(centred).abs().square().mean(dim=(0, 1)) / (height * width)
    rows, columns = torch.fft.fftfreq(height), torch.fft.fftfreq(width)
    frequency = (rows[:, None] ** 2 + columns**2).sqrt()
    count = min(height, width) // 2
    ring = (frequency * min(height, width)).round().long().flatten()
    members = torch.bincount(ring, minlength=count + 1)[1 : count + 1]
    sums = torch.bincount(ring, power.cpu().flatten(), minlength=count + 1)[1 : count + 1]
    return torch.arange(1, count + 1) / min(height, width), sums / members


def nearest_distances(
    queries: Tensor, training: Tensor, *, exclude_self: bool = False, chunk: int = 256
) -> Tensor:
    """Euclidean distance from each image to the nearest one of a training set.

    Args:
        queries: shape (N, ...), of intensities.
        training: shape (M, ...), the same but for M.
        exclude_self: `queries` are the training set itself, and no image is its own neighbour.
        chunk: how many queries at a time.

    Returns:
        Distances, shape (N,).
    """
    queries, training = queries.flatten(1).float(), training.flatten(1).float()
    squares = training.square().sum(1)
    distances = []
    for first in range(0, len(queries), chunk):
        part = queries[first : first + chunk]
        relative = squares - 2 * part @ training.T  # squared distances, but for a constant
        if exclude_self:
            own = torch.arange(len(part), device=part.device)
            relative[own, first + own] = torch.inf
        distances.append((part - training[relative.argmin(1)]).norm(dim=1))
    return torch.cat(distances)


def _couple(count_a: int, count_b: int) -> tuple[Tensor, Tensor, Tensor]:
    """Optimal coupling of two sorted samples: ranks in each, and the mass of every pair."""
    edges = torch.cat(
        [torch.arange(1, count + 1, dtype=torch.float64) / count for count in (count_a, count_b)]
    )
    edges = edges.sort().values
    mass = edges.diff(prepend=edges.new_zeros(1))
    middle = edges - mass / 2
    ranks = [(middle * count).long().clamp(max=count - 1) for count in (count_a, count_b)]
    return ranks[0], ranks[1], mass


def _patches(images: Tensor, side: int, per_image: int, seed: int) -> Tensor:
    """Random square patches, shape (N * per_image, C * side * side); the seed tells the places."""
    side = min(side, *images.shape[-2:])
    windows = images.unfold(2, side, 1).unfold(3, side, 1)
    generator = torch.Generator().manual_seed(seed)
    shape = (2, len(images), per_image)
    places = torch.rand(shape, generator=generator, dtype=torch.float64).to(images.device)
    top, left = (places[0] * windows.shape[2]).long(), (places[1] * windows.shape[3]).long()
    number = torch.arange(len(images), device=images.device)[:, None]
    return windows[number, :, top, left].flatten(0, 1).flatten(1)

"""Training on noisy images alone: what their noise is, and what can be learnt from them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from scalewise.data import ImageSet
from scalewise.data.image_set import middle, to_float
from scalewise.errors import UsageError
from scalewise.evaluation import evaluate_unseen
from scalewise.images import read_image
from scalewise.noise_field import NoiseField
from scalewise.noise_model import NoiseModel
from scalewise.prior import MultiScalePrior
from scalewise.restore import (
    measured_field,
    noise_together,
    photon_noise,
    spectrum_of,
)
from scalewise.stabilise import stabiliser_of
from scalewise.training import Recipe

JUDGED, SIDE = 8, 128
"""About how many images noise is checked on, and the side of their middles."""

HARDLY = 0.5
"""Deviation of 255 below which there is no noise to learn from: what rounding to 8 bits hides."""


@dataclass(frozen=True)
class Photons:
    """Noise of counted photons, in the stored values of image files.

    Attributes:
        gain: stored value of one photo-electron, above 0.
        offset: stored value without light.
        read: standard deviation of read noise in electrons.

    Examples:
        >>> photons = scalewise.train.Photons(gain=2.5, offset=100.0, read=3.0)
        >>> photons.gain  # scalewise.train.train_model(images, out, noise=photons)
        2.5
    """

    gain: float
    offset: float = 0.0
    read: float = 0.0

    def of(self, images: ImageSet) -> tuple[NoiseModel, ...]:
        """That of each image, in its own intensities.

        Raises:
            UsageError: the images are no files, or the numbers do not fit one.
        """
        if not images.files:
            raise UsageError(
                "what photon counts are needs image files, whose black and white are known; of an "
                "array, describe the noise in a file and give it by --noise"
            )
        return tuple(
            photon_noise(read_image(file), gain=self.gain, offset=self.offset, read=self.read)
            for file in images.files
        )


def of_noisy_images(recipe: Recipe, images: ImageSet) -> Recipe:
    """A recipe for what noisy images teach: denoising, at their noise and above.

    Raises:
        UsageError: its networks are blind to the noise.
    """
    if recipe.form != "noise-conditional":
        raise UsageError(
            "from noisy images networks learn by being told their noise; leave --form out"
        )
    white = all(noise.is_white for noise in images.noise)
    return recipe.model_copy(
        update={
            "denoising_fraction": 1.0,
            "low_denoising_fraction": 1.0,
            "mean_fraction": 0.0,
            "gray_fraction": 0.0,
            "structured_fraction": 0.0 if white else 1.0,
            "estimator_fraction": 0.0,
        }
    )


def with_noise(
    images: ImageSet,
    noise: NoiseModel | Photons | None,
    prior: MultiScalePrior,
    note: Callable[[str], None],
    field: NoiseField | None = None,
) -> ImageSet:
    """Say what the noise of each image is: what is told, or what is found in it.

    Images whose noise depends on the intensity are stabilised, as `restore.denoise` does. Where it
    is related between near pixels, how is measured in their flattest parts.

    Args:
        images: noisy.
        noise: of all of them, or what counts are; None to estimate that of each.
        prior: at whose levels, and by whose estimator, noise is looked at.
        note: told what was found.
        field: how noise is related, where it is known from images of the same kind.

    Raises:
        UsageError: hardly any noise is there, or it is told for other channels.
    """
    found = _evened(replace(images, noise=noise_of_set(images, noise, prior, note)))
    if all(model.is_white for model in found.noise):
        return found
    field = field or measured_field(as_floats(found), found.noise, prior)
    spectrum = spectrum_of(field.shape(_white(found.channels))[0], max(1, prior.levels))
    field, spectrum = field.times(1 / spectrum.sigma), spectrum.times(1 / spectrum.sigma)
    return replace(
        found, noise=tuple(spectrum.times(model.sigma) for model in found.noise), field=field
    )


def as_floats(images: ImageSet) -> list[Tensor]:
    """The images in [0, 1] intensities."""
    return [to_float(image) for image in images.images]


def check_noise(images: ImageSet, prior: MultiScalePrior) -> None:
    """Refuse noise that is not what the images have, as far as a denoiser can tell.

    By Stein's estimate images that have less noise than is told, or noise that was cut off at
    black, would be denoised with less than no error; training would make them worse.

    Args:
        images: with the noise of each, even in all intensities.
        prior: that denoises.

    Raises:
        UsageError: it is not.
    """
    chosen = images.part(range(0, len(images), max(1, len(images) // JUDGED)))
    parts = {str(place): middle(image, SIDE) for place, image in enumerate(as_floats(chosen))}
    told = dict(zip(parts, chosen.noise, strict=True))
    errors = [record["error"] for record in evaluate_unseen(prior, parts, told)]
    if sum(errors) <= 0:
        raise UsageError(
            "the images have other noise than was told or found: weaker, or cut off at black; by "
            "it they would be denoised without any error, and nothing can be learnt. Tell it by "
            "--sigma, --gain or --noise, or leave training: scalewise denoise --one-camera"
        )


def _white(channels: int) -> Tensor:
    """White noise, enough to measure a spectrum on."""
    generator = torch.Generator().manual_seed(0)
    return torch.randn(1, channels, 512, 512, generator=generator)


def _evened(images: ImageSet) -> ImageSet:
    """The same images, with noise that does not depend on the intensity."""
    pairs = zip(images.images, images.noise, strict=True)
    each = [(image, noise, stabiliser_of(noise)) for image, noise in pairs]
    if not any(stabiliser for _, _, stabiliser in each):
        return images
    return replace(
        images,
        images=[
            stabiliser.forward(to_float(image)) if stabiliser else to_float(image)
            for image, _, stabiliser in each
        ],
        noise=tuple(stabiliser.noise if stabiliser else noise for _, noise, stabiliser in each),
    )


def noise_of_set(
    images: ImageSet,
    noise: NoiseModel | Photons | None,
    prior: MultiScalePrior,
    note: Callable[[str], None],
) -> tuple[NoiseModel, ...]:
    """The noise of each image: as `with_noise`, before anything is made even."""
    if isinstance(noise, Photons):
        return noise.of(images)
    if noise is not None:
        if noise.channels not in (1, images.channels):
            raise UsageError(
                f"the noise is described for {noise.channels} channels, the images have "
                f"{images.channels}"
            )
        if noise.sigma == 0:
            raise UsageError("images without noise are clean ones; train without --noisy")
        return (noise,) * len(images)
    found = tuple(noise_together(as_floats(images), prior))
    levels_found = sorted(255 * model.sigma for model in found)
    median = levels_found[len(found) // 2]
    count = sum(level < HARDLY for level in levels_found)
    if count:
        raise UsageError(
            f"hardly any noise was found in {count} of the {len(found)} images: clean images train "
            "without --noisy; where there is noise that is not seen, --sigma tells its level"
        )
    note(
        f"noise of the images: standard deviation {median:.3g} of 255 (from {levels_found[0]:.3g} "
        f"to {levels_found[-1]:.3g}); {'; '.join(found[0].in_words()[1:]) or 'white'}"
    )
    return found

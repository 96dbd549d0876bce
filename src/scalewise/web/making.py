"""What a browser may ask for, and how it is made: by `scalewise.restore`, as for commands."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter
from torch import Tensor

from scalewise import restore
from scalewise.data.image_set import middle
from scalewise.errors import UsageError
from scalewise.evaluation import grid
from scalewise.images import Picture, to_channels
from scalewise.networks.strips import watched
from scalewise.noise_model import NoiseModel
from scalewise.prior import MultiScalePrior
from scalewise.restore import Restored, Strength
from scalewise.web import views
from scalewise.web.patches import View, parts
from scalewise.web.shelf import Entry
from scalewise.web.work import Job
from scalewise.windows import size_of

TRIAL = 64
"""Side of the trial that tells how many pixels the networks compute for each of the picture."""

Seed = Annotated[int, Field(ge=0, le=2**31)]
Count = Annotated[int, Field(ge=0, le=16)]
Share = Annotated[float, Field(ge=0, le=1)]
Priors = Callable[[str | None], MultiScalePrior]


class Asked(BaseModel):
    """What all requests say.

    Attributes:
        model: one of those that are offered; None for the first.
        view: what is looked at, to be computed first.
        plane: of a stack, which is looked at.
        seed: of what is drawn at random.
    """

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    model: str | None = None
    view: View | None = None
    plane: Annotated[int, Field(ge=0)] = 0
    seed: Seed = 0

    def quick(self, entry: Entry, priors: Priors, job: Job) -> None:
        """Show what is visible."""

    def whole(self, entry: Entry, priors: Priors, job: Job) -> Restored:
        """Make all of it."""
        raise NotImplementedError


class Denoise(Asked):
    """Remove noise.

    Attributes:
        sigma: deviation of white noise in 8-bit units; None to estimate what the noise is like.
        strength, chroma: how much of the noise of brightness, and of colour, to remove.
        fidelity: 1 for the least error, 0 for as sharp as clean photos.
        samples: how many to draw; 0 for the estimate.
        uncertainty: also tell the deviation of every pixel.
    """

    kind: Literal["denoise"]
    sigma: Annotated[float, Field(ge=0, le=255)] | None = None
    strength: Annotated[float, Field(ge=0, le=restore.STRONGEST)] = 1.0
    chroma: Annotated[float, Field(ge=0, le=restore.STRONGEST)] | None = None
    fidelity: Share = 1.0
    samples: Count = 0
    uncertainty: bool = False

    def quick(self, entry: Entry, priors: Priors, job: Job) -> None:
        """The noise, and the least-squares estimate of what is visible."""
        prior, seen = priors(self.model), seen_of(entry, self.plane)
        noise = self._noise(entry, prior)
        job.say(noise=described(noise))
        if self.view is None:
            return
        for part in parts(self.view, size_of(seen)):
            with watched(lambda _: job.check()):
                cut, inner = part.cut(seen)
                told = noise.coarser(part.levels).part(part.around(size_of(seen)), size_of(seen))
                clean, _ = restore.denoise_plane(cut, prior, noise=told, strength=self._strength)
            job.check()
            job.say(patch=part[:4], png=views.text(views.png(clean[:, *inner])))

    def whole(self, entry: Entry, priors: Priors, job: Job) -> Restored:
        """The same of all planes, or samples."""
        prior, picture = priors(self.model), picture_of(entry)
        one = self._noise(entry, prior) if len(picture.pixels) == 1 else None

        def make(picture: Picture) -> Restored:
            return restore.denoise(
                picture,
                prior,
                sigma=None if self.sigma is None else self.sigma / 255,
                noise=one if self.sigma is None else None,
                strength=self._strength,
                samples=self.samples or None,
                fidelity=self.fidelity,
                uncertainty=self.uncertainty,
                seed=self.seed,
            )

        return followed(make, picture, job)

    @property
    def _strength(self) -> Strength:
        return Strength(self.strength, self.strength if self.chroma is None else self.chroma)

    def _noise(self, entry: Entry, prior: MultiScalePrior) -> NoiseModel:
        """What the noise of the plane is like: as told, or as found once for each model."""
        if self.sigma is not None:
            return NoiseModel.white(self.sigma / 255)
        place = (self.model or "", self.plane)
        if place not in entry.noise:
            picture = picture_of(entry)
            shown = restore.visible(picture)
            valid = None if shown is None else shown[self.plane]
            entry.noise[place] = restore.noise_for(prior, seen_of(entry, self.plane), valid)
        return entry.noise[place]


class Upscale(Asked):
    """Enlarge.

    Attributes:
        factor: of each side.
        samples: how many sharp pictures to draw; 0 for the least error.
        uncertainty: also tell the deviation of every pixel.
    """

    kind: Literal["upscale"]
    factor: Literal[2, 4, 8] = 2
    samples: Count = 1
    uncertainty: bool = False

    def quick(self, entry: Entry, priors: Priors, job: Job) -> None:
        """The least-squares estimate of what is visible."""
        prior, seen = priors(self.model), seen_of(entry, self.plane)
        prior.check_factor(self.factor)
        if self.view is None or self.view.zoom <= 1:  # no more is visible than the picture has
            return
        for part in parts(self.view, size_of(seen), factor=self.factor):
            cut, inner = part.cut(seen)
            with watched(lambda _: job.check()):
                small = to_channels(cut, prior.channels)[0]
                large = prior.upscale_mean(small[None], self.factor)[0].cpu()
            rows, columns = (_times(place, self.factor) for place in inner)
            job.check()
            place = [self.factor * value for value in part[:4]]
            job.say(patch=place, png=views.text(views.png(large[:, rows, columns])))

    def whole(self, entry: Entry, priors: Priors, job: Job) -> Restored:
        """Sharp pictures, or the least-squares estimate."""
        prior = priors(self.model)

        def make(picture: Picture) -> Restored:
            return restore.upscale(
                picture,
                prior,
                factor=self.factor,
                samples=self.samples or None,
                uncertainty=self.uncertainty,
                seed=self.seed,
            )

        return followed(make, picture_of(entry), job)


class Inpaint(Asked):
    """Fill what was painted over.

    Attributes:
        mask: a PNG of the picture's size, in base64, opaque where it is to be filled.
        samples: how many to draw; 0 for the mean, which is smooth.
    """

    kind: Literal["inpaint"]
    mask: str
    samples: Count = 1

    def whole(self, entry: Entry, priors: Priors, job: Job) -> Restored:
        """The picture with its holes filled; nothing else of it changes."""
        picture = picture_of(entry)
        hole = views.mask_of(self.mask, size_of(picture.pixels))
        if hole is None:
            raise UsageError("what was painted is no picture of the same size; paint it again")
        if not bool((hole > 0).any()):
            raise UsageError("paint over what is to be filled first")

        def callback(share: float) -> None:
            job.check()
            job.say(progress=share)

        with watched(lambda _: job.check()):
            return restore.inpaint(
                picture,
                hole,
                priors(self.model),
                samples=self.samples or None,
                seed=self.seed,
                callback=callback,
            )


class Synthesize(Asked):
    """Draw new pictures from scratch.

    Attributes:
        count: how many, on one sheet.
    """

    kind: Literal["synthesize"]
    count: Annotated[int, Field(ge=1, le=16)] = 4

    def whole(self, entry: Entry, priors: Priors, job: Job) -> Restored:
        """A sheet of them; every scale is shown as it comes."""
        prior = priors(self.model)
        if prior.size is None:
            raise UsageError("this model does not say which size it learnt; choose another")
        done = 0

        def callback(level: int, images: Tensor) -> None:
            nonlocal done
            done += 1
            job.check()
            job.say(progress=done / (prior.levels + 1))
            job.say(scale=level, png=views.text(views.png(grid(images.cpu()))))

        with watched(lambda _: job.check()):
            images = prior.sample(self.count, seed=self.seed, callback=callback).cpu()
        return Restored((Picture(grid(images)),))


AnyAsked = Annotated[Denoise | Upscale | Inpaint | Synthesize, Field(discriminator="kind")]
asked: TypeAdapter[AnyAsked] = TypeAdapter(AnyAsked)


def picture_of(entry: Entry) -> Picture:
    """The picture of an entry."""
    if entry.picture is None:
        raise UsageError("open a picture first")
    return entry.picture


def seen_of(entry: Entry, plane: int) -> Tensor:
    """What a network sees of a plane, (C, H, W)."""
    picture_of(entry)
    assert entry.seen is not None
    if plane >= len(entry.seen):
        raise UsageError(f"the picture has {len(entry.seen)} planes, found plane {plane + 1}")
    return entry.seen[plane]


def followed(make: Callable[[Picture], Restored], picture: Picture, job: Job) -> Restored:
    """Make something of a picture, telling how much is done, until nobody waits.

    How many pixels the networks compute for each pixel of the picture is counted in a trial.
    """
    planes, _, height, width = picture.pixels.shape
    corner = middle(picture.pixels[0], TRIAL)
    trial, counted = replace(_plain(picture), pixels=corner), 0

    def count(pixels: int) -> None:
        nonlocal counted
        job.check()
        counted += pixels

    with watched(count):
        make(trial)
    most = counted * planes * height * width / (corner.shape[-2] * corner.shape[-1])
    done, told = 0, 0.0

    def follow(pixels: int) -> None:
        nonlocal done, told
        job.check()
        done += pixels
        share = min(0.99, done / most)
        if share >= told + 0.01:
            told = share
            job.say(progress=share)

    with watched(follow):
        return make(picture)


def _plain(picture: Picture) -> Picture:
    """A picture without what depends on its size."""
    return replace(picture, alpha=None, missing=None, origin=None)


def described(noise: NoiseModel) -> dict[str, Any]:
    """What is shown of noise: in words, by scale and by intensity, in 8-bit units."""
    return {
        "words": noise.in_words(),
        "sigma": 255 * noise.sigma,
        "scales": [[255 * level for level in scale] for scale in noise.scales],
        "curve": [[place, 255 * noise.sigma * factor**0.5] for place, factor in noise.curve],
    }


def _times(place: slice, factor: int) -> slice:
    return slice(place.start * factor, place.stop * factor)

"""What the noise of a picture is like: white if it may be, else a spectrum and a curve."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from scalewise.errors import UsageError
from scalewise.estimation import (
    counting_channels,
    estimate_sigma,
    quiet_sigma,
    usable_pixels,
)
from scalewise.images import Picture, to_channels
from scalewise.images.picture import LUMA
from scalewise.networks import NoiseEstimator, unit_of
from scalewise.noise_model import UNEVEN, NoiseModel
from scalewise.prior import MultiScalePrior
from scalewise.restore.defects import remove_defects, share_of_impulses
from scalewise.restore.lights import seen_in_lights
from scalewise.restore.regions import seen_in_places
from scalewise.spectrum import (
    BELIEVED,
    HIDDEN,
    HIGHER,
    LESS,
    Estimate,
    deviations_of,
    estimate_noise,
    overall,
    rises,
)
from scalewise.wavelets import split

GRAY_GAIN = math.hypot(*LUMA)
"""Noise of a gray image over that of the RGB image which it was made of."""

FAINT, WEAK = 4 / 255, 6 / 255
"""Noise that texture is mistaken for, even in colours; what is weaker is white in gray images."""

DOUBTED = 0.2
"""Confidence in an estimate from which noise that is not white is believed; faint noise needs that
of `BELIEVED`."""

FAINTER, COARSE = 3 / 255, 1.3
"""Noise of gray images from which on less and less of what is found is taken for texture; how many
times stronger texture is at the second scale than at the finest, as white noise that would be as
strong."""

NEVER, ALWAYS, NOT_WHITE = 0.1, 0.2, 0.6
"""Confidence in an estimate of fainter noise of gray images up to which it is taken for texture,
from which for noise, and from which for noise whatever the second scale holds."""

FINE, STEEP = 4.5 / 255, 1.45
"""Noise of the finest scale below which, and how many times stronger noise over all scales from
which on, it may be texture: it needs as much confidence as faint noise does."""

FAINTEST, GRAYEST = 1 / 255, 1.9 / 255
"""Least deviation of correlated noise at the second scale, by a learnt spectrum, in colours and in
gray images."""

CLEAR, HARDLY = 7 / 255, 0.05
"""Noise of all channels that texture is not mistaken for, and the confidence it needs."""

VISIBLE = 8 / 255
"""Noise that is plain to see, so that it is not mistaken for texture."""

WITHIN, FEW = 0.2, 0.8 / 255
"""What estimates of white noise differ by from each other: of its level, and at least."""

STRONG, ABOVE = 32 / 255, 1.05
"""Noise of gray images from which texture no longer misleads a statistic of white noise, which is
then more exact than the estimator; and how many times the estimate it may be at the most."""

LOUDER = 3.0
"""How many times stronger in the lights than was found noise in colours may be, whose texture is
told from noise by their channels. That of photons was up to 2.1 times as strong."""

SPOILING = 0.001
"""Share of impulses from which they may hide noise."""

EVEN = 12.0
"""Ratio of the strongest to the median energy of a frame's parts from which it is not even."""


def noise_for(
    prior: MultiScalePrior, noisy: Tensor, valid: Tensor | None = None, *, whole: bool = True
) -> NoiseModel:
    """What the noise of an image is like, at the scales of a prior and by its estimator.

    Dead pixels hide noise: where there are many impulses, it is the larger of what is found with
    them, and with the values around in their place. What pixels do not share is measured once more
    where the image is flattest, for there is no dark flat place in many (`lights`), and part by
    part (`regions`).

    Args:
        prior: that is to be told; of gray images `prior.gray`, where there is one.
        noisy: as for `find_noise`.
        valid: as for `find_noise`.
        whole: whether it is a whole picture; else its noise is not looked at by place, nor where
            the prior's networks see no maps of it.
    """
    prior = prior.denoiser_of(len(noisy))

    def found(image: Tensor) -> NoiseModel:
        return find_noise(image, max(1, prior.levels), valid=valid, estimator=prior.estimator)

    noise = found(noisy)
    if share_of_impulses(noisy) > SPOILING:  # which may be the tail of photon noise, too
        cleared = found(remove_defects(noisy, ("impulses",)))
        noise = max(noise, cleared, key=lambda one: one.sigma)
    if len(noise.scales) > 1 or noise.uneven or prior.estimator is None:
        return noise

    @torch.no_grad()
    def denoise(image: Tensor) -> Tensor:
        shown, _ = to_channels(image[None].to(*unit_of(prior)), prior.channels)
        return to_channels(prior(shown, noise)[0].cpu().to(image.dtype), len(image))[0]

    lit = seen_in_lights(noise, noisy, valid, denoise)
    if len(noisy) == 1 or lit.sigma <= LOUDER * noise.sigma:
        noise = lit
    if not (whole and prior.noise_maps):
        return noise
    return seen_in_places(noise, noisy, valid, prior.estimator)


def find_noise(
    noisy: Tensor,
    levels: int,
    *,
    valid: Tensor | None = None,
    estimator: NoiseEstimator | None = None,
) -> NoiseModel:
    """Estimate what the noise of an image is like.

    Noise is correlated where the statistic of white noise finds hardly any of it in all channels
    together; in gray images, or by an estimator that has not learnt spectra, where the second scale
    has far more than the finest. Else it is white, and has the estimate of the finest scale, which
    is the most exact; where that agrees with the statistic, which is exact to a percent, it has
    that; in gray images, which have less to tell texture by, only strong noise has. Faint noise is
    taken for texture when in doubt: in gray images where the estimator is not sure, or finds more
    at the second scale; and what only the statistic finds, not the estimator, is texture.
    Without an estimator noise is always taken for white, or white in each channel.

    Args:
        noisy: shape (C, H, W), C = 1 or 3, in [0, 1] intensities.
        levels: how many scales to look at.
        valid: bool of shape (1, H, W), true where pixels count.
        estimator: that of a prior.

    Returns:
        The noise, its deviations in [0, 1] intensities.

    Examples:
        >>> estimator = scalewise.load("photos", device="cpu").estimator
        >>> generator = torch.Generator().manual_seed(0)
        >>> noisy = torch.linspace(0, 1, 128) + 0.1 * torch.randn(3, 128, 128, generator=generator)
        >>> found = scalewise.restore.find_noise(noisy, 3, estimator=estimator)
        >>> round(found.sigma, 2), found.is_white
        (0.1, True)
    """
    if estimator is None:
        return NoiseModel.white(noise_levels(noisy, valid=valid))
    noisy = noisy[_telling(noisy, valid)]
    gray = len(noisy) == 1

    def statistic() -> float:
        return float(estimate_sigma(noisy[None], valid=_batch(valid)))

    joint = math.inf if gray else statistic()
    seen = estimate_noise(noisy, levels, estimator, white=joint, valid=valid)
    found, finest = seen.noise, seen.noise.scales[0]
    believed, correlated = _judged(seen, joint)
    if gray:
        joint = finest[0]
        if joint > STRONG and joint < (exact := statistic()) < ABOVE * joint:
            joint = exact
        joint -= _texture(joint, found, seen.confidence)
    if believed and correlated:
        return found
    alike = _near(finest, len(finest) * (joint,)) and not found.curve
    if believed and found.sigma > WEAK and not alike:
        return found.model_copy(update={"scales": (finest,)})
    texture = joint < FAINT or 0 < max(finest) < LESS * joint
    return NoiseModel.white(min(joint, *finest) if texture else joint)


def _telling(noisy: Tensor, valid: Tensor | None) -> list[int]:
    """The channels that are looked at: one where all are alike, or no other counts; else all."""
    if bool((noisy == noisy[:1]).all()):
        return [0]
    usable = usable_pixels(noisy.detach().cpu(), None if valid is None else valid[0].cpu())
    counting = [] if usable is None else counting_channels(usable)
    return counting if len(counting) == 1 else list(range(len(noisy)))


def _judged(seen: Estimate, joint: float) -> tuple[bool, bool]:
    """Whether an estimate is to be believed, and is of noise that is correlated.

    A learnt spectrum is told only where the network is sure of it. Others have the confidence of
    their places alone: faint noise needs more of it, which may be texture, and so does what
    statistics contradict, or have nothing to say of.

    Args:
        seen: the estimate.
        joint: what a statistic of white noise finds in all channels together; infinite in gray
            images, in which it tells too little.
    """
    noise, finest = seen.noise, seen.noise.scales[0]
    hidden = joint < min(HIDDEN * max(finest), *finest) or (seen.own and rises(noise))
    if seen.learnt:
        coarser = overall(noise.scale(2))
        if math.isinf(joint):
            return True, rises(noise, HIGHER) and coarser > GRAYEST
        return True, hidden and coarser > FAINTEST
    clear = HARDLY if min(finest) > CLEAR else DOUBTED
    textured = max(finest) < FINE and noise.sigma > STEEP * max(finest)
    needed = BELIEVED if noise.sigma < FAINT or textured else clear
    believed = seen.confidence > max(needed, seen.needed)
    return believed, hidden or (noise.sigma > WEAK and rises(noise))


def _texture(level: float, found: NoiseModel, confidence: float) -> float:
    """How much of the level of faint noise of a gray image is taken for texture.

    White noise is as strong at the second scale as at the finest, texture stronger: what the second
    has more is texture, and so is a part of the finest. Between `FAINTER` and `FAINT` that counts
    ever less.
    """
    doubt = min(1.0, max(0.0, (FAINT - level) / (FAINT - FAINTER)))
    (finest,), (second,) = found.scale(1), found.scale(2)
    sure = min(1.0, max(0.0, (confidence - NEVER) / (ALWAYS - NEVER)))
    texture = 0.0
    if confidence < NOT_WHITE:
        texture = max(0.0, second**2 - finest**2) / (COARSE**2 - 1)
    return doubt * (level - math.sqrt(max(0.0, (sure * level) ** 2 - texture)))


def _batch(valid: Tensor | None) -> Tensor | None:
    """A mask of one image as one of a batch."""
    return None if valid is None else valid[None]


def _near(found: Sequence[float], wanted: Sequence[float]) -> bool:
    """Whether deviations may be estimates of others."""
    pairs = zip(found, wanted, strict=True)
    return all(abs(level - there) <= max(WITHIN * there, FEW) for level, there in pairs)


def noise_of_frame(frame: Tensor, levels: int) -> NoiseModel:
    """The noise of a frame that shows nothing: a dark frame, or one of an even area.

    Args:
        frame: shape (C, H, W) in [0, 1] intensities.
        levels: how many scales to tell.

    Raises:
        UsageError: the frame shows something, or is too small.

    Examples:
        >>> generator = torch.Generator().manual_seed(0)
        >>> frame = 0.1 + 0.02 * torch.randn(3, 128, 128, generator=generator)
        >>> round(scalewise.restore.noise_of_frame(frame, 2).sigma, 2)
        0.02
    """
    if min(frame.shape[1:]) < 8 << levels:
        raise UsageError(
            f"a frame of {frame.shape[1]}x{frame.shape[2]} is too small to tell its noise; at "
            f"least {8 << levels}x{8 << levels} pixels are needed"
        )
    energy = split(frame[None].double())[1][0].square().mean(0)
    parts = energy.unfold(0, 4, 4).unfold(1, 4, 4).mean(dim=(2, 3)).flatten()
    if float(parts.quantile(0.99)) > EVEN * float(parts.median()):
        raise UsageError(
            "the frame shows more than noise; give a dark frame, or one of an even area"
        )
    return spectrum_of(frame, levels)


def spectrum_of(noise: Tensor, levels: int) -> NoiseModel:
    """The deviation of noise alone at each scale, per channel.

    Args:
        noise: shape (C, H, W).
        levels: how many scales to tell.

    Returns:
        Deviations in the units of `noise`, of white noise that would be as strong in each scale.

    Examples:
        >>> noise = 0.1 * torch.randn(1, 128, 128, generator=torch.Generator().manual_seed(0))
        >>> [round(level, 2) for (level,) in scalewise.restore.spectrum_of(noise, 2).scales]
        [0.1, 0.1]
    """
    return NoiseModel(scales=tuple(map(tuple, deviations_of(noise, levels).tolist())))


def photon_noise(
    picture: Picture, *, gain: float, offset: float = 0.0, read: float = 0.0
) -> NoiseModel:
    """The noise of counted photons, described in the unit of a file.

    Args:
        picture: of which the noise is.
        gain: stored value of one photo-electron, above 0.
        offset: stored value without light.
        read: standard deviation of read noise in electrons.

    Raises:
        UsageError: one is out of range, or hardly a pixel is above the offset.

    Examples:
        >>> picture = scalewise.Picture(torch.full((1, 8, 8), 0.5), depth="uint16")
        >>> noise = scalewise.restore.photon_noise(picture, gain=4.0, offset=100.0, read=3.0)
        >>> noise.grows, f"{65535 * noise.sigma:.0f}"  # in stored values, at half of white
        (True, '362')
    """
    black, white = picture.intensities.at(0)
    model = NoiseModel.photons(gain / (white - black), (offset - black) / (white - black), read)
    stored = picture.intensities.stored(picture.pixels)
    if float(stored.median()) < offset - 3 * gain * max(read, 1.0):
        raise UsageError(
            f"the offset, {offset:g}, is above most of the picture, whose median is "
            f"{float(stored.median()):g}; --offset is the stored value without light"
        )
    return model


def check_channels(noise: NoiseModel, channels: int) -> None:
    """Check that a description of noise fits a picture.

    Raises:
        UsageError: it is of another number of channels.
    """
    if noise.channels not in (1, channels):
        raise UsageError(
            f"the noise is described for {noise.channels} channels, the picture has {channels}; "
            "describe that of this camera (scalewise noise makes it from a picture)"
        )


def noise_levels(noisy: Tensor, *, valid: Tensor | None = None) -> list[float]:
    """Estimate white noise by statistics: one level, or one per channel where they differ much.

    The statistic of all channels together is exact for white noise that is alike in them, and finds
    hardly any where chroma was subsampled, as in most JPEG files. Then noise that is plain to see
    in the quietest blocks of the luma counts.

    Args:
        noisy: shape (C, H, W), C = 1 or 3, in [0, 1] intensities.
        valid: bool of shape (1, H, W), true where pixels count.

    Returns:
        Standard deviations in the units of `noisy`.
    """
    mask = _batch(valid)
    joint = estimate_sigma(noisy[None], valid=mask).item()
    if len(noisy) == 1 or bool((noisy == noisy[:1]).all()):
        return [joint]
    masks = None if mask is None else mask.expand(len(noisy), -1, -1, -1)
    each = estimate_sigma(noisy[:, None], valid=masks).tolist()
    if max(each) > VISIBLE and max(each) > UNEVEN * min(each):
        return each
    luma, _ = to_channels(noisy[None], 1)
    plain = quiet_sigma(luma, valid=mask).item() / GRAY_GAIN
    hidden = VISIBLE < plain < math.inf and joint < plain / 2
    return [plain if hidden else joint]

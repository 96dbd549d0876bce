"""How much is computed: the budget of a training, and the sizes of everything."""

from __future__ import annotations

from dataclasses import dataclass

from scalewise.training.budget import Budget


@dataclass(frozen=True)
class Scale:
    """How much is computed.

    Attributes:
        budget: of one network; the same for every network that is compared.
        fields: receptive fields that are compared.
        width: channels of the local networks.
        depth: convolutions of the published form.
        low_width: channels of the finest scale of the U-Net.
        sigmas: noise levels in 8-bit units.
        images: validation images that are denoised and upscaled.
        samples: images drawn from scratch.
        trainings: how often networks are trained, from other weights each time, where a verdict
            hangs on a small difference.
        halves: numbers of training images of each of two priors on disjoint images.
        fields_drawn: realisations of Gaussian fields.
        largest: side in pixels of the largest image of the cost experiment.
        ascent: low-pass samples drawn by the paper's ascent, in thousands of steps; 0 for none.
        packaged: also measure the packaged prior of faces.
        quick: too little is learnt for verdicts to say anything.
    """

    budget: Budget
    fields: tuple[int, ...] = (5, 9, 13, 23, 43)
    width: int = 32
    depth: int = 21
    low_width: int = 24
    sigmas: tuple[float, ...] = (3, 10, 30, 60, 100, 200, 300, 600)
    images: int = 32
    samples: int = 64
    trainings: int = 3
    halves: tuple[int, ...] = (32, 256, 1108)
    fields_drawn: int = 256
    largest: int = 1280
    ascent: int = 8
    packaged: bool = True
    quick: bool = False


FULL = Scale(Budget(minutes=2.0))
QUICK = Scale(
    Budget(minutes=0.06),
    width=16,
    low_width=16,
    sigmas=(10, 50, 200),
    images=4,
    samples=8,
    trainings=1,
    halves=(32, 256),
    fields_drawn=64,
    largest=320,
    ascent=0,
    packaged=False,
    quick=True,
)


def small_field(fields: tuple[int, ...]) -> int:
    """The local receptive field of the claim: 9, or the smallest where 9 is not compared."""
    return 9 if 9 in fields else min(fields)

"""The experiment on flat synthesis: exact priors near and far from the data, and its rule."""

from types import SimpleNamespace
from typing import cast

import pytest
import torch
from torch import Tensor

from scalewise.data import ImageSet
from scalewise.exact import GaussianDenoiser, gaussian_prior, power_law_spectrum
from scalewise.prior import MultiScalePrior
from scalewise.reproduce.context import Context, Images
from scalewise.reproduce.experiment import AHEAD
from scalewise.reproduce.experiments import flat_synthesis
from scalewise.reproduce.experiments.flat_synthesis import FARTHER, TRAINING, Measured
from scalewise.reproduce.measure import denoising_psnr

SIDE, SIGMAS = 32, (25.0, 50.0)
SPECTRUM = 0.1**2 * power_law_spectrum((SIDE, SIDE), 1 / 8)


def texture(field: int) -> Tensor:
    """A spectrum without structure larger than a field of so many pixels."""
    frequency = torch.fft.fftfreq(SIDE).square()
    long = (frequency[:, None] + frequency[None]).sqrt() < 1 / field
    return torch.where(long, 1e-3 * SPECTRUM, SPECTRUM)


class ExactContext:
    """Flat priors that know textures alone; the multi-scale one knows the law."""

    seed = 1
    scale = SimpleNamespace(fields=(5, 9, 43), samples=24, images=4, sigmas=SIGMAS)

    def __init__(self) -> None:
        law = GaussianDenoiser(SPECTRUM, 0.5).law
        drawn = law.draw(80, torch.Generator().manual_seed(0)).clamp(0, 1).float()
        self.faces = Images(ImageSet([*drawn[:48]], "training"), ImageSet([*drawn[48:]], "held"))
        self.networks, self.told = self, list[str]()

    def flat(self, field: int) -> MultiScalePrior:
        spectrum = SPECTRUM if field == 43 else texture(field)
        return gaussian_prior(spectrum, 0, mean=0.5)

    def multi_scale(self, field: int) -> MultiScalePrior:
        assert field == 9
        return gaussian_prior(SPECTRUM, 2, mean=0.5)

    def published(self, name: str) -> None:
        return None

    def say(self, text: str) -> None:
        self.told.append(text)


def test_textures_are_far_in_the_low_pass_image() -> None:
    pytest.importorskip("matplotlib")
    context = ExactContext()
    measured = flat_synthesis.measure(cast(Context, context))
    assert context.told[-1] == "drawing 24 samples, multi-scale 9x9"
    assert list(measured.distances) == [
        "flat 5x5", "flat 9x9", "flat 43x43", "multi-scale 9x9", TRAINING,
    ]  # fmt: skip
    found = measured.distances
    multi = found["multi-scale 9x9"]
    assert found["flat 5x5"]["low"] > found["flat 9x9"]["low"] > 1.05 * multi["low"]
    assert found["flat 5x5"]["low"] > 1.5 * multi["low"]
    for near in (found["flat 43x43"], found[TRAINING]):
        assert near["low"] == pytest.approx(multi["low"], rel=0.15)
    spectra = {name: by["coarse spectrum"] for name, by in found.items()}
    assert min(spectra["flat 5x5"], spectra["flat 9x9"]) > 2  # a thousandth is 3 decades
    assert max(spectra["flat 43x43"], spectra["multi-scale 9x9"], spectra[TRAINING]) < 0.15
    images = context.faces.held_out(4)
    for field, psnr in measured.psnr.items():
        values = denoising_psnr(context.flat(field), images, SIGMAS, 1)
        assert psnr == pytest.approx(sum(values) / 2)
    assert sorted(measured.psnr) == [9, 43]
    assert measured.reference == 32
    assert measured.published == {}
    shown = flat_synthesis.show(measured)
    assert [figure.name for figure in shown.figures] == ["samples", "distance"]


def test_samples_are_from_the_same_noise() -> None:
    measured = flat_synthesis.measure(cast(Context, ExactContext()))
    large, multi = measured.samples["flat 43x43"], measured.samples["multi-scale 9x9"]
    again = ExactContext().flat(43).sample(24, seed=1, size=(SIDE, SIDE))
    torch.testing.assert_close(large, again)
    assert large.shape == multi.shape == (24, 1, SIDE, SIDE)
    first, second = large[0] - 0.5, large[17] - 0.5
    assert abs(float((first * second).mean() / first.square().mean())) < 0.9


def distances(flat: tuple[float, float], large: tuple[float, float]) -> dict[str, dict[str, float]]:
    """Of a multi-scale prior at distance 1, in both measures, and flat ones."""

    def of(low: float, spectrum: float) -> dict[str, float]:
        return {"low": low, "spectrum": 0.0, "coarse spectrum": spectrum}

    return {
        "flat 5x5": of(9.0, 9.0),
        "flat 9x9": of(*flat),
        "flat 13x13": of(9.0, 9.0),
        "flat 43x43": of(*large),
        "multi-scale 9x9": of(1.0, 1.0),
        TRAINING: of(0.5, 0.5),
    }


@pytest.mark.parametrize(
    ("flat", "large", "ahead", "verdict"),
    [
        ((FARTHER, FARTHER), (1.01, 1.01), 0.0, "holds"),
        ((FARTHER - 0.01, FARTHER), (1.01, 1.01), 0.0, "partly"),
        ((FARTHER, FARTHER - 0.01), (1.01, 1.01), 0.0, "partly"),
        ((FARTHER, FARTHER), (1.0, 1.01), 0.0, "partly"),
        ((FARTHER, FARTHER), (1.01, 1.0), 0.0, "partly"),
        ((1.0, 1.0), (1.0, 1.0), 0.0, "does not hold"),
        ((FARTHER, FARTHER), (1.01, 1.01), AHEAD, "holds"),
        ((FARTHER, FARTHER), (1.01, 1.01), AHEAD + 0.01, "not tested"),
    ],
)
def test_the_rule(
    flat: tuple[float, float], large: tuple[float, float], ahead: float, verdict: str
) -> None:
    found, doubt, _ = flat_synthesis.decide(distances(flat, large), (5, 9, 13, 43), ahead)
    assert found == verdict
    assert bool(doubt) == (verdict == "not tested")


def test_what_is_shown() -> None:
    pytest.importorskip("matplotlib")
    found = distances((2.0, 2.0), (1.2, 1.2))
    samples = {name: torch.rand(2, 1, 8, 8) for name in found if name != TRAINING}
    published = {"flat 9x9": torch.rand(2, 1, 8, 8)}
    measured = Measured((5, 9, 13, 43), samples, found, {9: 30.0, 43: 30.2}, 7, published)
    shown = flat_synthesis.show(measured)
    assert shown.verdict == "holds"
    assert shown.sentence.startswith(
        "Distance of the low-pass image of samples to validation faces: 2.00 for the best flat "
        "denoiser up to 13x13, 1.20 for flat 43x43, 1.00 for multi-scale 9x9, 0.50 for as many"
    )
    assert shown.tables[0].title.startswith("Distances of 2 samples from 7 validation faces")
    assert shown.tables[0].rows[1] == ["flat 9x9", 2, 0, 2]
    assert [figure.name for figure in shown.figures] == [
        "samples", "distance", "samples-published",
    ]  # fmt: skip
    behind = Measured((5, 9, 13, 43), samples, found, {9: 30.4, 43: 30.2}, 7, {})
    assert flat_synthesis.show(behind).verdict == "not tested"

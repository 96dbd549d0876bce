"""The experiment on the drift to dark images: exact priors and closed forms, and its rule."""

from types import SimpleNamespace
from typing import cast

import pytest
import torch
from torch import Tensor
from zoo import randomised

from scalewise.data import ImageSet
from scalewise.exact import GaussianDenoiser, gaussian_prior, power_law_spectrum
from scalewise.networks import BiasFreeDenoiser
from scalewise.prior import MultiScalePrior
from scalewise.reproduce.context import LEVELS, Context, Images
from scalewise.reproduce.experiments import brightness
from scalewise.reproduce.experiments.brightness import DATA, OURS, PUBLISHED, Measured
from scalewise.reproduce.measure import white
from scalewise.samplers import StochasticAscent, paper_ascent

SIDE = 32
SPECTRUM = 0.15**2 * power_law_spectrum((SIDE, SIDE), 1 / 8)


def prior(mean: float = 0.5, contrast: float = 1.0) -> MultiScalePrior:
    return gaussian_prior(contrast**2 * SPECTRUM, LEVELS, mean=mean)


class TestHomogeneity:
    """How far `f(ay)` is from `a f(y)`."""

    def test_of_a_network_without_biases_it_is_zero(self) -> None:
        network = randomised(BiasFreeDenoiser(1, [3, 3, 3], width=4)).double()
        images = torch.rand(2, 1, 8, 8, dtype=torch.float64)
        found = brightness.homogeneity(network, images, seed=0)
        assert found == pytest.approx([0, 0, 0], abs=1e-9)

    def test_of_white_fields_it_is_known(self) -> None:
        """Told `a sigma` with `ay`: `f(ay) = m + v / (v + a^2 sigma^2) (ay - m)`."""
        variance, mean, sigma = 0.04, 0.3, 0.2
        network = GaussianDenoiser(torch.full((8, 8), variance).double(), mean)
        images = torch.rand(5, 1, 8, 8, dtype=torch.float64)
        noisy = images + sigma * white(images, 7)
        plain = mean + variance / (variance + sigma**2) * (noisy - mean)
        expected = []
        for a in brightness.FACTORS:
            scaled = mean + variance / (variance + (a * sigma) ** 2) * (a * noisy - mean)
            difference = (scaled - a * plain).square().sum() / (a * plain).square().sum()
            expected.append(float(difference) ** 0.5)
        assert brightness.homogeneity(network, images, seed=7) == pytest.approx(expected)
        assert min(expected) > 0.1


class TestSamples:
    """Low-pass images alone, as the prior draws them."""

    def test_they_have_the_law_of_the_low_pass_image(self) -> None:
        exact = prior(mean=0.4)
        law = cast(GaussianDenoiser, exact.low).law
        samples = brightness.low_samples(exact, 96, seed=1)
        assert samples.shape == (96, 1, SIDE >> LEVELS, SIDE >> LEVELS)
        expected = law.draw(4000, torch.Generator().manual_seed(0))
        assert float(samples.std()) == pytest.approx(float(expected.std()), rel=0.06)
        assert float(samples.mean()) == pytest.approx(0.4, abs=0.02)
        means = samples.flatten(1).mean(1)
        assert float(means.std()) == pytest.approx(
            float(expected.flatten(1).mean(1).std()), rel=0.25
        )

    def test_every_sample_and_seed_has_noise_of_its_own(self) -> None:
        first, more, other = (
            brightness.low_samples(prior(), count, seed=seed)
            for count, seed in ((2, 1), (18, 1), (2, 2))
        )
        torch.testing.assert_close(first, more[:2])
        assert not torch.allclose(first, other)
        a, b = (samples - samples.mean() for samples in (more[1].flatten(), more[17].flatten()))
        assert abs(float(a @ b / (a.norm() * b.norm()))) < 0.6

    def test_the_ascent_is_the_paper_s_but_for_its_limit(self) -> None:
        network = BiasFreeDenoiser(1, [3, 3], width=4)
        rule = brightness.ascent(network)
        paper = cast(StochasticAscent, paper_ascent(network))
        assert isinstance(rule, StochasticAscent)
        assert (rule.limit, rule.h, rule.beta) == (6000, 0.01, 0.01)
        assert (rule.start, rule.end, rule.blind) == (paper.start, paper.end, True)
        assert not rule.growing


def test_brightness_and_contrast_are_of_each_image() -> None:
    images = torch.tensor([[0.0, 1.0, 0.0, 1.0], [0.5, 0.5, 0.5, 0.5]]).reshape(2, 1, 2, 2)
    means, contrasts = brightness.brightness({"a": images, "b": images[:1] / 2})
    assert means["a"].tolist() == [0.5, 0.5]
    assert contrasts["a"].tolist() == pytest.approx([(1 / 3) ** 0.5, 0])
    assert means["b"].tolist() == [0.25]


class ExactContext:
    """Hands out a prior that knows the images, and as the published form one that is dark."""

    seed = 5

    def __init__(self, ascent: int = 0, authors: bool = False) -> None:
        law = GaussianDenoiser(SPECTRUM, 0.5).law
        drawn = law.draw(64, torch.Generator().manual_seed(0)).clamp(0, 1).float()
        training, validation = ImageSet(list(drawn), "training"), ImageSet([drawn[0] * 0], "none")
        self.faces = Images(training, validation)
        self.scale = SimpleNamespace(fields=(5, 9, 13), samples=40, ascent=ascent)
        self.networks, self.authors, self.told = self, authors, list[str]()

    def multi_scale(self, field: int, form: str = "noise-conditional") -> MultiScalePrior:
        assert field == 9
        return prior(0.3, 0.5) if form == "bias-free" else prior()

    def published(self, name: str) -> MultiScalePrior | None:
        return prior(0.7) if self.authors and name == "faces160-rf9" else None

    def say(self, text: str) -> None:
        self.told.append(text)


class TestMeasure:
    """Which prior draws which samples, and which samples decide."""

    def test_of_exact_priors(self) -> None:
        measured = brightness.measure(cast(Context, ExactContext()))
        assert list(measured.means) == list(measured.contrasts) == [DATA, OURS, PUBLISHED]
        assert list(measured.samples) == [OURS, PUBLISHED]
        assert {name: len(values) for name, values in measured.means.items()} == {
            DATA: 64,
            OURS: 40,
            PUBLISHED: 40,
        }
        middle = [float(values.median()) for values in measured.means.values()]
        assert middle == pytest.approx([0.5, 0.5, 0.3], abs=0.02)
        data, ours, published = (float(values.mean()) for values in measured.contrasts.values())
        assert ours == pytest.approx(data, rel=0.06)
        assert published == pytest.approx(data / 2, rel=0.1)
        assert measured.drawn == PUBLISHED
        assert brightness.show(measured).verdict == "holds"
        assert measured.homogeneity[PUBLISHED] != measured.homogeneity[OURS]

    def test_the_ascent_decides_where_it_is_drawn(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(brightness, "LIMIT", 5)
        context = ExactContext(ascent=8, authors=True)
        measured = brightness.measure(cast(Context, context))
        assert {name: len(images) for name, images in measured.samples.items()} == {
            OURS: 40,
            PUBLISHED: 40,
            "authors' weights": 40,
            f"{PUBLISHED}, ascent": 8,
            "authors' weights, ascent": 2,
        }
        assert measured.drawn == f"{PUBLISHED}, ascent"
        for name in (PUBLISHED, "authors' weights"):
            drawn = measured.samples[f"{name}, ascent"]
            few_steps = measured.samples[name][: len(drawn)]
            assert not torch.allclose(drawn, few_steps, atol=1e-2)
        assert float(measured.means["authors' weights"].median()) == pytest.approx(0.7, abs=0.02)
        assert list(measured.homogeneity) == [OURS, PUBLISHED, "authors' weights"]
        assert context.told == ["drawing by the paper's ascent, in thousands of steps"]


def values(**shift: float) -> dict[str, Tensor]:
    """Of the data 0 to 100, quartiles 25 and 75; of others around a median."""
    others = {DATA: 50.0, OURS: 50.0, PUBLISHED: 20.0, "chosen": 20.0} | shift
    return {
        name: torch.linspace(middle - 50, middle + 50, 101) / 100 for name, middle in others.items()
    }


class TestRule:
    """What decides, and how it is told."""

    @pytest.mark.parametrize(
        ("chosen", "mean", "contrast", "held"),
        [
            (20, 50, 50, (True, True, True)),
            (24, 25, 75, (True, True, True)),
            (25, 50, 50, (False, True, True)),
            (20, 24, 50, (True, False, True)),
            (20, 76, 50, (True, False, True)),
            (20, 50, 24, (True, True, False)),
            (20, 50, 76, (True, True, False)),
            (90, 10, 90, (False, False, False)),
        ],
    )
    def test_thresholds(
        self, chosen: float, mean: float, contrast: float, held: tuple[bool, bool, bool]
    ) -> None:
        means = values(chosen=chosen, ours=mean)
        verdict, parts = brightness.decide(means, values(ours=contrast, chosen=99), "chosen")
        assert tuple(parts.values()) == held
        assert verdict == ("holds" if all(held) else "partly" if any(held) else "does not hold")

    def test_what_is_shown(self) -> None:
        samples = {OURS: torch.rand(3, 1, 4, 4), PUBLISHED: torch.rand(3, 1, 4, 4)}
        means, contrasts = values(), values(ours=10)
        for by in (means, contrasts):
            del by["chosen"]
        homogeneous = {OURS: [0.5, 0.25, 0.75], PUBLISHED: [0.0, 0.0, 0.0]}
        shown = brightness.show(Measured(samples, means, contrasts, homogeneous, PUBLISHED))
        assert shown.verdict == "partly"
        assert shown.sentence.startswith(
            "Median brightness and contrast of low-pass images: training images 0.500 and 0.500, "
            "ours 0.500 and 0.100, published form 0.200 and 0.200 (the median"
        )
        mean, contrast, table = shown.tables
        assert mean.columns == ["images", "0%", "5%", "25%", "50%", "75%", "95%", "100%"]
        assert mean.rows[0] == [
            DATA,
            *(pytest.approx(q) for q in (0, 0.05, 0.25, 0.5, 0.75, 0.95, 1)),
        ]
        assert contrast.rows[1][4] == pytest.approx(0.1)
        assert table.rows[0] == ["ours", 0.5, 0.25, 0.75]
        assert shown.numbers["homogeneity"] == homogeneous

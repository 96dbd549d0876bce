"""Spectra of noise told by statistics of images: the network by hand, the statistics, training."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from cli_tools import tiny_prior
from test_estimator import photos, seeded
from torch import Tensor
from zoo import randomised

from scalewise import store
from scalewise.data.photos import sample_photo
from scalewise.networks import NoiseEstimator
from scalewise.networks.spectrum import FAINT, SCALES, SpectrumNetwork, count_of
from scalewise.restore import spectrum_of
from scalewise.spectrum import Statistics, estimate_noise, look_at
from scalewise.spectrum.looking import look
from scalewise.training import spectrum as training
from scalewise.training.spectrum import draw_examples, truth_of, with_spectrum


def estimator(channels: int = 0) -> NoiseEstimator:
    made = randomised(NoiseEstimator(width=4, depth=3, channels=channels))
    return made.eval().requires_grad_(False)


def noisy(channels: int = 3, side: int = 160) -> Tensor:
    light = torch.linspace(0.2, 0.8, side).expand(channels, side, side)
    return light + 0.05 * torch.randn(channels, side, side, generator=seeded())


def packaged(name: str) -> NoiseEstimator:
    found = store.load(name, device="cpu").estimator
    assert found is not None
    return found


class Saying(SpectrumNetwork):
    """Says the same of every image."""

    def __init__(self, deviations: Tensor, error: float = 0.1) -> None:
        super().__init__(deviations.shape[1])
        self.deviations, self.error = deviations, error

    def forward(self, statistics: Tensor, guess: Tensor) -> tuple[Tensor, Tensor]:
        assert statistics.shape == (1, len(self.mean) - guess.numel())
        levels = (self.deviations + FAINT).log()[None]
        return levels, torch.full_like(levels, math.log(self.error))


class TestNetwork:
    def test_by_hand(self) -> None:
        """Two hidden layers of what is known, standardised and bounded; their answer is added."""
        network = randomised(SpectrumNetwork(1, width=5)).eval().double()
        count = count_of(1)
        network.mean.copy_(torch.linspace(-1, 1, count))
        network.scale.copy_(torch.linspace(0.5, 2, count))
        values = torch.randn(2, count - SCALES, generator=seeded()).double()
        values[0, 0] = 1e6
        guess = torch.randn(2, SCALES, 1, generator=seeded()).double()
        known = torch.cat([values, guess[..., 0]], 1)
        hidden = ((known - network.mean) / network.scale).clamp(-4, 4)
        for layer in (network.layers[0], network.layers[3]):
            hidden = hidden @ layer.weight.T + layer.bias  # type: ignore[operator]
            hidden = hidden / (1 + (-hidden).exp())
        last = network.layers[6]
        answer = hidden @ last.weight.T + last.bias  # type: ignore[operator]
        levels, errors = network(values, guess)
        torch.testing.assert_close(levels[..., 0], guess[..., 0] + answer[:, :SCALES])
        torch.testing.assert_close(errors[..., 0], answer[:, SCALES:].clamp(-6, 3))


class TestStatistics:
    @pytest.mark.parametrize("channels", [1, 3])
    def test_as_many_as_the_network_knows(self, channels: int) -> None:
        found = look_at(noisy(channels), estimator())
        assert found is not None
        assert len(found.values) + SCALES * channels == count_of(channels)
        assert torch.tensor(found.guess).shape == (SCALES, channels)
        assert all(map(math.isfinite, found.values))

    def test_small_images_have_none(self) -> None:
        assert look_at(noisy(side=120), estimator()) is None

    @pytest.mark.parametrize("value", [0.0, 0.5])
    def test_constant_images_have_finite_ones_or_none(self, value: float) -> None:
        found = look_at(torch.full((3, 160, 160), value), estimator())
        assert found is None or all(map(math.isfinite, found.values))

    @pytest.mark.parametrize("size", [(160, 161), (251, 255), (1050, 1201)])
    @pytest.mark.parametrize("channels", [1, 3])
    def test_of_any_size_with_areas_that_do_not_count(
        self, size: tuple[int, int], channels: int
    ) -> None:
        """A white area has no say; of images that are large some crops have."""
        image = 0.5 + 0.1 * torch.randn(channels, *size, generator=seeded())
        image[:, : size[0] // 2, : size[1] // 2] = 1
        found = look_at(image, estimator())
        assert found is not None
        assert len(found.values) == count_of(channels) - SCALES * channels
        median = found.values[4 + (3 if channels == 1 else 21) + 3]
        assert median == pytest.approx(math.log(0.1), abs=0.05)

    def test_relations_of_channels(self) -> None:
        """The last three of every scale: correlations of red and green, green and blue, both."""
        noise = 0.05 * torch.randn(2, 256, 256, generator=seeded())
        image = 0.5 + torch.stack([noise[0], noise[0], noise[1]])
        found = look_at(image, estimator())
        assert found is not None
        finest = found.values[4 : 4 + 73]
        assert finest[-3] == pytest.approx(1, abs=1e-3)
        assert finest[-2:] == pytest.approx([0, 0], abs=0.1)

    def test_energy_of_white_noise(self) -> None:
        """Quantiles of blocks lie around its deviation, at all scales; diagonals hold as much."""
        found = look_at(0.5 + 0.1 * torch.randn(1, 512, 512, generator=seeded()), estimator())
        assert found is not None
        for level in range(SCALES):
            numbers = found.values[4 + 10 * level : 4 + 10 * (level + 1)]
            least, *_, median, most = numbers[3:8]
            here = math.log(0.1 / 2**level)
            assert least < here < most
            assert median == pytest.approx(here, abs=0.05)
            assert numbers[8:] == pytest.approx([0, 0], abs=0.15)


class TestChannelsWithoutNoise:
    """Those that are black or white nearly everywhere have what another channel has."""

    def test_places_are_those_of_the_channel_with_most(self) -> None:
        image = noisy()
        image[0] = 1.0
        image[1, :40] = 0.0
        seen, pixels = look(image, SCALES, estimator(), None)
        assert [len(scale.places) for scale in seen] == [3, 3, 3]
        for scale in seen:
            assert scale.places[0] is scale.places[2]
            assert len(scale.places[1].levels) < len(scale.places[2].levels)
            assert scale.apart == []  # no place has all three
        assert pixels.shape == (3, 160 * 160)
        assert look_at(image, estimator()) is None

    def test_few_pixels_tell_nothing(self) -> None:
        """A channel of which a tenth of what another has is left is one of those."""
        for rows, tells in ((10, False), (40, True)):
            image = noisy(side=200)
            image[1, rows:] = 0.0
            seen, _ = look(image, 1, estimator(), None)
            assert (seen[0].places[1] is not seen[0].places[0]) == tells

    def test_places_among_letters(self) -> None:
        """Where no place sees nothing but pixels that count, those are enough that are near."""
        looking = NoiseEstimator(width=4, depth=5).eval().requires_grad_(False)
        plane = torch.rand(1, 128, 128, generator=seeded())
        valid = torch.ones_like(plane, dtype=torch.bool)
        valid[:, ::24, ::24] = False
        assert looking.seen == 12
        places = looking.places(plane, valid)
        assert places is not None
        assert 64**2 * 0.05 < len(places.levels) < 0.9 * 64**2
        valid[:, ::8, ::8] = False
        few = looking.places(plane, valid)
        assert few is not None
        assert len(few.levels) < len(places.levels)
        valid[:, ::3, ::3] = False
        assert looking.places(plane, valid) is None


class TestEstimates:
    def test_what_the_network_says_is_found(self) -> None:
        said = torch.tensor([[0.02, 0.03, 0.04], [0.05, 0.06, 0.07], [0.06, 0.08, 0.09]])
        looking = estimator()
        looking.spectrum = Saying(said)
        found = estimate_noise(noisy(), SCALES, looking)
        torch.testing.assert_close(torch.tensor(found.noise.scales[:SCALES]), said)
        assert len(found.noise.scales) == SCALES + 1  # and what is expected of coarser ones
        assert found.learnt

    def test_less_is_told_where_the_network_is_less_sure(self) -> None:
        said, looking = torch.full((SCALES, 3), 0.2), estimator()
        looking.spectrum = Saying(said, 0.35)
        found = estimate_noise(noisy(), SCALES, looking).noise
        expected = (said + FAINT) * math.exp(-0.4 * 0.25) - FAINT
        torch.testing.assert_close(torch.tensor(found.scales[:SCALES]), expected)

    @pytest.mark.parametrize(("error", "believed"), [(0.3, True), (0.55, True), (0.65, False)])
    def test_who_is_not_sure_is_not_believed(self, error: float, believed: bool) -> None:
        """It is left to the places, then, as if no spectra had been learnt."""
        looking, without = estimator(), estimator()
        looking.spectrum = Saying(torch.full((SCALES, 3), 0.2), error)
        found = estimate_noise(noisy(), SCALES, looking)
        assert found.learnt is believed
        assert (found == estimate_noise(noisy(), SCALES, without)) is not believed

    @pytest.mark.parametrize(
        ("error", "sees", "learnt", "needed"),
        [
            (0.3, 0.001, True, 0.0),  # it is sure
            (0.5, 0.001, False, 0.5),  # places are, too
            (0.5, 0.2, True, 0.0),  # they agree
            (0.7, 0.001, False, 0.5),
            (0.7, 0.2, False, 0.0),
        ],
    )
    def test_places_that_are_believed_contradict_who_sees_far_less(
        self, error: float, sees: float, learnt: bool, needed: float
    ) -> None:
        looking = packaged("photos")
        looking.spectrum = Saying(torch.full((SCALES, 3), sees), error)
        generator = seeded()
        smooth = torch.linspace(0.2, 0.8, 192).expand(3, 192, 192)
        white = 0.1 * torch.randn(3, 1, 192, 192, generator=generator)
        kernel = torch.tensor([0.25, 0.5, 0.25])
        shared = F.conv2d(white, kernel.outer(kernel)[None, None], padding=1)[:, 0]
        found = estimate_noise(smooth + shared, SCALES, looking, white=0.001)
        assert (found.learnt, found.needed) == (learnt, needed)

    @pytest.mark.parametrize(
        ("says", "learnt"), [([0.05, 0.05, 0.05], False), ([0.05, 0.07, 0.08], True)]
    )
    def test_white_noise_of_gray_images_is_what_places_say(
        self, says: list[float], learnt: bool
    ) -> None:
        """A network tells which is correlated; places tell the level of the other better."""
        looking, without = packaged("photos-gray"), packaged("photos-gray")
        looking.spectrum = Saying(torch.tensor(says)[:, None])
        without.spectrum = None
        found = estimate_noise(noisy(1), SCALES, looking)
        assert found.learnt is learnt
        assert (found == estimate_noise(noisy(1), SCALES, without)) is not learnt

    def test_who_is_not_sure_and_sees_far_less_in_gray_tells_how_much_at_the_most(self) -> None:
        looking = packaged("photos-gray")
        looking.spectrum = Saying(torch.full((SCALES, 1), 0.002), 0.8)
        texture = sample_photo("grass")[:, :160, :160]
        found = estimate_noise(texture, SCALES, looking)
        assert found.confidence < found.needed
        scales = [found.noise.scale(level)[0] for level in range(1, SCALES + 1)]
        assert float(torch.tensor(scales).square().mean().sqrt()) == pytest.approx(0.002, rel=1e-4)
        assert scales[0] < scales[1]  # as places have it: texture, which is taken from it

    def test_gray_networks_are_told_no_curve_that_falls(self) -> None:
        light = torch.linspace(0, 1, 256).expand(1, 256, 256)
        colours = packaged("photos")
        colours.spectrum = None
        for deviation, told in ((0.02 + 0.1 * light, True), (0.12 - 0.1 * light, False)):
            image = light + deviation * torch.randn(3, 256, 256, generator=seeded())
            assert estimate_noise(image, SCALES, colours).noise.curve != ()
            gray = estimate_noise(image[:1], SCALES, packaged("photos-gray")).noise
            assert bool(gray.curve) is told

    def test_places_need_more_confidence_where_no_place_has_all_channels(self) -> None:
        image = noisy()
        image[0] = 1.0
        with_spectra, without = estimator(3), estimator()
        assert estimate_noise(image, SCALES, with_spectra).needed == 0.35
        assert estimate_noise(image, SCALES, without).needed == 0
        assert estimate_noise(image[:, :96, :96], SCALES, with_spectra).needed == 0

    def test_noise_of_each_channel_that_is_not_white_has_no_curve(self) -> None:
        """Alike in all, it has their mean at every scale."""
        photos = packaged("photos")
        said = torch.tensor([[0.03, 0.03, 0.031], [0.05, 0.06, 0.07], [0.06, 0.08, 0.09]])
        photos.spectrum = Saying(said)
        white = 0.13 * torch.randn(3, 1, 192, 192, generator=seeded())
        kernel = torch.tensor([0.25, 0.5, 0.25])
        noise = F.conv2d(white, kernel.outer(kernel)[None, None], padding=1)[:, 0]
        light = torch.linspace(0.2, 0.8, 192).expand(3, 192, 192)
        found = estimate_noise(light + noise, SCALES, photos, white=0.001).noise
        assert found.curve == ()
        for scale, told in zip(found.scales, said, strict=False):
            assert scale == pytest.approx(3 * [float(told.square().mean().sqrt())])
        shared = estimate_noise(light + noise[:1], SCALES, photos, white=0.001).noise
        torch.testing.assert_close(torch.tensor(shared.scales[:SCALES]), said)

    @pytest.mark.parametrize(("channels", "side"), [(1, 160), (3, 96)])
    def test_other_channels_and_small_images_do_without(self, channels: int, side: int) -> None:
        looking, without = estimator(3), estimator()
        without.load_state_dict(looking.state_dict(), strict=False)
        image = noisy(channels, side)
        assert estimate_noise(image, SCALES, looking) == estimate_noise(image, SCALES, without)

    @pytest.mark.parametrize("channels", [0, 1, 3])
    def test_stored_and_loaded(self, channels: int, tmp_path: Path) -> None:
        prior = tiny_prior(1, (8, 8), 1)
        prior.estimator = estimator(channels)
        store.save(prior, tmp_path / "model")
        again = store.load(tmp_path / "model", device="cpu").estimator
        assert again is not None
        assert again.settings == prior.estimator.settings
        assert (again.spectrum is None) is (channels == 0)
        for name, value in prior.estimator.state_dict().items():
            assert again.state_dict()[name].equal(value)


class TestTraining:
    def test_examples_are_of_the_noise(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(training, "SIDES", (160,))
        seen: list[Tensor] = []

        def looking(image: Tensor, looks: NoiseEstimator) -> Statistics | None:
            seen.append(image)
            return look_at(image, looks)

        monkeypatch.setattr("scalewise.training.spectrum.look_at", looking)
        drawn = list(draw_examples(photos(), estimator(), seeded()))
        again = list(draw_examples(photos(), estimator(), seeded()))
        told = [look_at(image, estimator()) for image in seen[: len(seen) // 2]]
        assert len(told) == 3
        assert [one.seen for one in drawn] == [one for one in told if one is not None] != []
        assert [one.seen for one in drawn] == [one.seen for one in again]
        for one, other in zip(drawn, again, strict=True):
            assert one.truth.equal(other.truth)

    def test_truth_is_the_spectrum(self) -> None:
        noise = 0.1 * torch.randn(3, 128, 128, generator=seeded())
        expected = torch.tensor(spectrum_of(noise, SCALES).scales)
        torch.testing.assert_close(truth_of(noise).exp() - FAINT, expected)

    def test_it_learns_and_says_how_well(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A statistic tells by how much the guess is wrong, but for a Laplacian rest of 0.1."""
        monkeypatch.setattr(training, "EPOCHS", 40)
        looking, generator = estimator(), seeded()
        values = torch.randn(2000, count_of(1) - SCALES, generator=generator)
        guess = torch.randn(2000, SCALES, 1, generator=generator)
        flat = torch.rand(2000, SCALES, 1, generator=generator) - 0.5
        rest = -0.1 * flat.sign() * (1 - 2 * flat.abs()).clamp(min=1e-6).log()
        truth = guess + 0.5 * values[:, :1, None] + rest
        told = with_spectrum(looking, values[:1800], guess[:1800], truth[:1800])
        assert looking.spectrum is None
        assert told.spectrum is not None
        assert told.settings["channels"] == 1
        assert told.level.weight.equal(looking.level.weight)
        with torch.no_grad():
            levels, errors = told.spectrum(values[1800:], guess[1800:])
        assert float((levels - truth[1800:]).abs().mean()) < 0.2
        assert 0.06 < float(errors.exp().mean()) < 0.25

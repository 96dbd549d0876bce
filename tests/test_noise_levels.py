"""Noise that is not white: told to every level, and drawn to train with."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from scalewise.errors import UsageError
from scalewise.networks import LocalConditional, UNet
from scalewise.noise import NoiseLevels, in_bands
from scalewise.prior import MultiScalePrior
from scalewise.training import Recipe
from scalewise.training.chance import Chance
from scalewise.training.objectives import DetailsObjective, LowObjective
from scalewise.training.structured import structured_noise
from scalewise.wavelets import GAIN, decompose, merge, split


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def random_weights(network: Any) -> Any:
    """Weights that let every input show in the output."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        for weight in network.parameters():
            torch.nn.init.normal_(weight, std=0.2 / math.sqrt(max(1, weight[0].numel())))
    return network.eval()


def prior_with_maps(levels: int = 2) -> MultiScalePrior:
    details = [LocalConditional(3, 5, width=8, blocks=1, noise_maps=True) for _ in range(levels)]
    low = UNet(3, (8, 8), width=8, multiples=(1,), blocks=1, noise_maps=True)
    return MultiScalePrior(
        random_weights(low), [random_weights(network) for network in details]
    ).eval()


class TestNoiseLevels:
    def test_white_noise_is_halved_from_level_to_level_and_whole_again(self) -> None:
        levels = NoiseLevels((0.2 * GAIN, 0.2 * GAIN**2), 0.2 * GAIN**2)
        assert float(levels.whole) == pytest.approx(0.2)
        assert float(levels.coarser.whole) == pytest.approx(0.2 * GAIN)
        assert in_bands(0.2) == (0.1, 0.1)
        bands: Any
        bands, coarser = in_bands(levels)
        details, low, _ = bands
        assert [float(details), float(low)] == pytest.approx([0.1, 0.1])
        assert coarser == levels.coarser
        assert in_bands(None) == (None, None)

    def test_whole_is_the_deviation_of_the_merged_image(self) -> None:
        told = NoiseLevels((torch.tensor([0.02, 0.05, 0.1]).view(1, 3, 1, 1), 0.08), 0.3)
        generator = seeded()
        image = 0.3 * torch.randn(64, 3, 16, 16, generator=generator)
        for each in reversed(told.details):
            shape = (image.shape[0], 9, *image.shape[2:])
            noise = torch.randn(shape, generator=generator)
            scale = each.repeat(1, 3, 1, 1) if isinstance(each, torch.Tensor) else each
            image = merge(image, scale * noise)
        found = image.square().mean(dim=(0, 2, 3)).sqrt()
        assert torch.allclose(found, told.whole.flatten(), rtol=0.02)

    def test_maps_are_taken_to_the_bands_place_by_place(self) -> None:
        left = torch.cat([torch.full((1, 1, 4, 4), 0.1), torch.full((1, 1, 4, 4), 0.4)], dim=3)
        bands: Any
        bands, coarser = in_bands(left)
        assert torch.allclose(bands[..., :2], torch.tensor(0.05))
        assert torch.allclose(bands[..., 2:], torch.tensor(0.2))
        assert coarser is not None
        assert bands.equal(coarser)
        again = NoiseLevels((bands,), bands).whole
        assert torch.allclose(again, left)
        small = torch.tensor([[0.1, 0.2], [0.3, 0.4]]).view(1, 1, 2, 2)
        assert torch.allclose(
            NoiseLevels((small / 2,), 0.0).whole.square().mean(), small.square().mean() * 3 / 4
        )
        assert NoiseLevels((small / 2,), small / 2).whole.shape == (1, 1, 4, 4)


class TestNetworksAndPrior:
    @pytest.mark.parametrize("maps", [False, True])
    def test_a_map_of_one_value_is_the_number(self, maps: bool) -> None:
        network = random_weights(LocalConditional(3, 5, width=8, blocks=1, noise_maps=maps))
        details, low = torch.rand(2, 9, 6, 6), torch.rand(2, 3, 6, 6)
        number = network(details, low, 0.1, low + 0.05)
        spread = torch.full((2, 3, 6, 6), 0.1)
        for sigma in (spread, (spread, 0.1), (0.1, spread)):
            for ours, wanted in zip(network(details, low, sigma, low + 0.05), number, strict=True):
                assert torch.allclose(ours, wanted, atol=1e-5)

    def test_each_map_tells_on_the_result_only_where_it_differs(self) -> None:
        network = random_weights(LocalConditional(1, 5, width=8, blocks=1, noise_maps=True))
        details, low = torch.rand(1, 3, 9, 9), torch.rand(1, 1, 9, 9)
        plain = network(details, low, 0.1, low + 0.05)
        here = torch.full((1, 1, 9, 9), 0.1)
        here[..., 4, 4] = 0.1001  # the overall level hardly moves
        there = network(details, low, (0.1, here * 1.0), low + 0.05)
        change = (there.low - plain.low).abs()[0, 0]
        assert change[4, 4] > 100 * max(change[0, 0], change[8, 8], 1e-9)

    def test_without_maps_only_the_overall_level_counts(self) -> None:
        network = random_weights(LocalConditional(1, 5, width=8, blocks=1))
        details, low = torch.rand(1, 3, 8, 8), torch.rand(1, 1, 8, 8)
        sigma = torch.rand(1, 1, 8, 8, generator=seeded())
        number = float(sigma.square().mean().sqrt())
        ours = network(details, low, (sigma, 0.7), low)
        for one, other in zip(ours, network(details, low, number, low), strict=True):
            assert torch.allclose(one, other, atol=1e-5)

    def test_networks_are_told_a_little_where_there_is_none_at_all(self) -> None:
        """A twentieth of that beside it, place by place."""
        told = NoiseLevels((0.1, 0.4), 0.4).finest()
        assert told.details == 0.1
        assert float(told.low) == pytest.approx(0.8)
        none = NoiseLevels((torch.tensor([[[[0.0, 0.3]]]]), 0.4), 0.4)
        low = torch.tensor([0.8])
        found = torch.as_tensor(none.finest().details).flatten().tolist()
        assert found[0] == pytest.approx(0.05 * float(low.flatten()[0]))
        assert found[1] == pytest.approx(0.3)
        assert float(torch.as_tensor(NoiseLevels((0.0,), 0.0).finest().details)) == 0

    def test_every_level_of_a_prior_is_told_its_own(self) -> None:
        prior, noisy = prior_with_maps(), torch.rand(2, 3, 12, 12, generator=seeded())
        white = prior.denoise(noisy, 0.2)
        same = NoiseLevels((0.1, 0.05), 0.05)
        assert torch.allclose(prior.denoise(noisy, same), white, atol=1e-5)
        others = (
            NoiseLevels((0.2, 0.05), 0.05),
            NoiseLevels((0.1, 0.1), 0.05),
            NoiseLevels((0.1, 0.05), 0.1),
        )
        for other in others:
            assert (prior.denoise(noisy, other) - white).abs().max() > 1e-3

    @pytest.mark.parametrize("size", [(12, 12), (7, 13), (1, 1)])
    def test_a_map_of_the_image_may_have_any_size(self, size: tuple[int, int]) -> None:
        prior, noisy = prior_with_maps(), torch.rand(1, 3, *size)
        white = prior.denoise(noisy, 0.2)
        assert torch.allclose(
            prior.denoise(noisy, torch.full((1, 1, *size), 0.2)), white, atol=1e-5
        )
        channels = torch.tensor([0.1, 0.2, 0.3]).view(1, 3, 1, 1)
        assert prior.denoise(noisy, channels).shape == noisy.shape
        assert (prior.denoise(noisy, channels) - white).abs().max() > 1e-4

    def test_noise_of_other_levels_or_shape_is_refused(self) -> None:
        prior, noisy = prior_with_maps(), torch.rand(2, 3, 8, 8)
        with pytest.raises(UsageError, match="the model's 2 levels of details, found 1"):
            prior.denoise(noisy, NoiseLevels((0.1,), 0.1))
        with pytest.raises(UsageError, match=r"finite and 0 or more, found -0\.1"):
            prior.denoise(noisy, NoiseLevels((0.1, -0.1), 0.1))
        with pytest.raises(UsageError, match=r"shape \(2,\), one per image, found \(2, 2, 8, 8\)"):
            prior.denoise(noisy, torch.full((2, 2, 8, 8), 0.1))


def ones(count: int) -> Tensor:
    return torch.ones(count, 1, 1, 1)


class TestStructuredNoise:
    def test_what_is_told_is_what_is_there(self) -> None:
        generator = seeded(1)
        images = torch.rand(48, 3, 1, 1, generator=generator).expand(-1, -1, 32, 32).contiguous()
        white = Chance.of(48, generator).white_noise(images)
        chosen = (torch.arange(48) < 40).view(-1, 1, 1, 1)
        told: Any
        noise, unseen, told = structured_noise(
            images, white, ones(48), chosen, 2, "haar", Chance.of(48, generator), taken=0.0
        )
        assert not unseen.any()
        assert torch.equal(noise[40:], white[40:])
        assert torch.equal(told.whole[40:], torch.ones_like(images[40:]))
        low, details = decompose(noise, 2)
        for bands, sigma in ((details[0], told.details[0]), (details[1], told.details[1])):
            found = bands.unflatten(1, (3, 3)).square().mean(dim=(1, 3, 4)).sqrt()
            assert torch.allclose(found[:40], sigma[:40, :, 0, 0], rtol=1e-4)
        found = low.square().mean(dim=(2, 3)).sqrt()
        assert torch.allclose(found[:40], told.low[:40, :, 0, 0], rtol=1e-4)

    def test_images_differ_in_spectrum_channels_and_growth_with_brightness(self) -> None:
        generator = seeded(2)
        ramp = torch.linspace(0, 1, 32).view(1, 1, 1, 32).expand(64, 3, 32, 32).contiguous()
        ramp[:, 0] = ramp[:, 0] * 0.999  # not gray
        chance = Chance.of(64, generator)
        white = chance.white_noise(ramp)
        every = torch.ones(64, 1, 1, 1, dtype=torch.bool)
        told: Any
        _, _, told = structured_noise(ramp, white, ones(64), every, 2, "haar", chance, taken=0)
        fine, low = told.details[0][..., 8, 8], told.low[..., 4, 4]
        assert (low / fine).std() > 0.1  # white: 0.5 for all
        assert (fine[:, 0] / fine[:, 1]).log().std() > 0.2
        growth = told.details[0][:, 0, 8, 15] / told.details[0][:, 0, 8, 1]
        assert (growth > 1.2).float().mean() > 0.3
        assert torch.isclose(growth, torch.ones(())).float().mean() > 0.3

    def test_noise_of_gray_images_stays_gray(self) -> None:
        gray = torch.rand(6, 1, 16, 16, generator=seeded()).expand(-1, 3, -1, -1)
        chance = Chance.of(6, seeded(3))
        white = chance.white_noise(gray)
        every = torch.ones(6, 1, 1, 1, dtype=torch.bool)
        told: Any
        noise, unseen, told = structured_noise(gray, white, ones(6), every, 1, "haar", chance)
        assert torch.allclose(unseen[:, :1].expand_as(unseen), unseen, atol=1e-6)
        assert torch.allclose(noise[:, :1].expand_as(noise), noise, atol=1e-6)
        assert torch.allclose(told.low[:, :1].expand_as(told.low), told.low, atol=1e-6)

    def test_cameras_are_told_as_well(self) -> None:
        generator = seeded(6)
        images = (0.2 + 0.6 * torch.rand(12, 3, 1, 1, generator=generator)).expand(-1, -1, 64, 64)
        sigma = torch.linspace(0.01, 0.1, 12).view(-1, 1, 1, 1)
        every = torch.ones(12, 1, 1, 1, dtype=torch.bool)
        chance = Chance.of(12, generator)
        white = chance.white_noise(images.contiguous())
        made = structured_noise(images, white, sigma, every, 2, "haar", chance, taken=1)
        size = made.noise.square().mean(dim=(1, 2, 3), keepdim=True).sqrt()
        assert ((size / sigma).log().abs() < 1.1).all()
        told: Any = made.told
        _, details = decompose(made.noise, 2)
        for bands, there in zip(details, told.details, strict=True):
            found = bands.unflatten(1, (3, 3)).square().mean(dim=(1, 3, 4)).sqrt()
            assert torch.allclose(found, there.square().mean(dim=(2, 3)).sqrt(), rtol=0.02)
        assert (made.unseen.abs().mean(dim=(1, 2, 3)) < 0.02).all()  # even areas keep their colour

    def test_objectives_remove_it_with_networks_that_see_maps(self) -> None:
        recipe = Recipe(levels=1, structured_fraction=0.5, low_width=8, low_multiples=(1,), width=8)
        low: Any = LowObjective(recipe.low_network(3, (8, 8), 0.2), recipe, 2, 0.2)
        assert low.network.settings["noise_maps"] is True
        images = torch.rand(8, 3, 16, 16, generator=seeded())
        details = DetailsObjective(
            recipe.details_network(3, 1, 0.1), MultiScalePrior(low.network), recipe, 1, 0.1
        )
        assert details.network.settings["noise_maps"] is True
        for objective, batch in ((low, split(images)[0]), (details, images)):
            random_weights(objective.network).train()
            loss = objective(batch, Chance.of(8, seeded(5)))
            assert loss.isfinite()
            assert loss > 0
            assert torch.equal(loss, objective(batch, Chance.of(8, seeded(5))))
            loss.backward()
            enter = objective.network.get_parameter("enter.weight").grad
            assert enter is not None
            assert bool((enter.abs().amax(dim=(0, 2, 3)) > 0).all())  # every input counts, maps too

    def test_a_recipe_without_it_makes_the_networks_of_before(self) -> None:
        recipe = Recipe(levels=1)
        details, low = recipe.details_network(3, 1, 0.1), recipe.low_network(3, (8, 8), 0.1)
        assert details.get_parameter("enter.weight").shape[1] == 15
        assert low.get_parameter("enter.weight").shape[1] == 3

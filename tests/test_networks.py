"""Networks keep what they declare: receptive field, homogeneity, shapes, images out."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from zoo import randomised

from scalewise.errors import UsageError
from scalewise.networks import (
    Bands,
    BiasFreeConditional,
    BiasFreeDenoiser,
    ConditionalDenoiser,
    Denoiser,
    LocalConditional,
    LocalDenoiser,
    Network,
    UNet,
    deepened,
    parameters_of,
    probe_receptive_field,
    spread_kernels,
    unit_of,
)
from scalewise.networks.base import precondition
from scalewise.networks.bias_free import BiasFreeCNN, BiasFreeNorm, rectified_deviation
from scalewise.networks.convolution import field_of

Make = Callable[..., Network]


def bias_free(channels: int = 1, field: int = 9, depth: int = 6, width: int = 6) -> Network:
    return randomised(BiasFreeDenoiser(channels, spread_kernels(field, depth), width=width))


def bias_free_conditional(
    channels: int = 1, field: int = 9, depth: int = 6, width: int = 6
) -> Network:
    return randomised(BiasFreeConditional(channels, spread_kernels(field, depth), width=width))


def local(channels: int = 1, field: int = 9, depth: int = 6, width: int = 6) -> Network:
    return randomised(LocalConditional(channels, field, width=width, blocks=depth - 2))


def local_denoiser(channels: int = 1, field: int = 9, depth: int = 6, width: int = 6) -> Network:
    return randomised(LocalDenoiser(channels, field, width=width, blocks=depth - 2))


def unet(channels: int = 1, field: None = None, depth: int = 2, width: int = 16) -> Network:
    return randomised(UNet(channels, (8, 8), width=width, multiples=(1, 2)[:depth], blocks=1))


LOCAL: list[Make] = [bias_free, bias_free_conditional, local, local_denoiser]
ALL: list[Make] = [*LOCAL, unet]
HOMOGENEOUS: list[Make] = [bias_free, bias_free_conditional]


def inputs_of(network: Network, size: tuple[int, int], count: int = 2) -> list[Tensor]:
    """Random (noisy,) or (noisy, low, noisy_low), of the network's type."""
    channels = network.settings["channels"]
    dtype = unit_of(network)[1]
    if not network.conditional:
        return [torch.rand(count, channels, *size, dtype=dtype)]
    return [torch.rand(count, k * channels, *size, dtype=dtype) for k in (3, 1, 1)]


def outputs_of(network: Network, inputs: list[Tensor], sigma: object = 0.1) -> Tensor:
    """All outputs, in one array."""
    if isinstance(network, ConditionalDenoiser):
        noisy, low, *rest = inputs
        return torch.cat(network(noisy, low, sigma, *rest), dim=1)
    return network(*inputs, sigma)


def names(make: Make) -> str:
    return make.__name__


class TestReceptiveField:
    """What a network declares is what its gradients show."""

    @pytest.mark.parametrize(
        ("field", "depth"), [(5, 4), (7, 4), (9, 6), (13, 6), (23, 12), (43, 21)]
    )
    @pytest.mark.parametrize("make", LOCAL, ids=names)
    def test_declared_is_probed(self, make: Make, field: int, depth: int) -> None:
        network = make(field=field, depth=depth)
        assert network.receptive_field == field
        assert probe_receptive_field(network) == field

    @pytest.mark.parametrize("make", LOCAL, ids=names)
    def test_every_odd_field_that_the_depth_can_give(self, make: Make) -> None:
        depth = 7
        for field in range(5, 2 * depth + 2, 2):
            assert probe_receptive_field(make(field=field, depth=depth)) == field

    @pytest.mark.parametrize(("field", "depth"), [(5, 5), (9, 6), (13, 9), (23, 11)])
    @pytest.mark.parametrize("make", LOCAL, ids=names)
    def test_field_is_a_full_square_about_the_output(
        self, make: Make, field: int, depth: int
    ) -> None:
        network = randomised(make(field=field, depth=depth), positive=True).double()
        side = field + 6
        *plain, last = inputs_of(network, (side, side), count=1)
        inputs = [*plain, last + 1]  # a measurement above the estimate keeps all units on
        for values in inputs:
            values.requires_grad_()
        centre = outputs_of(network, inputs)[..., side // 2, side // 2].sum()
        expected = torch.zeros(side, side, dtype=torch.bool)
        expected[3:-3, 3:-3] = True
        for gradient in torch.autograd.grad(centre, inputs, allow_unused=True):
            if gradient is not None:  # the blind form does not look at the measurement
                assert torch.equal(gradient.abs().sum((0, 1)) > 0, expected)

    @pytest.mark.parametrize("declared", [5, 7, 13, 21])
    def test_a_wrong_declaration_is_found_out(self, declared: int) -> None:
        network = local(field=9)
        network.receptive_field = declared
        assert probe_receptive_field(network) == 9

    def test_a_hidden_global_mean_is_found_out(self) -> None:
        class Hidden(BiasFreeDenoiser):
            def forward(self, noisy: Tensor, sigma: object = None) -> Tensor:
                return super().forward(noisy) + noisy.mean(dim=(2, 3), keepdim=True)

        assert probe_receptive_field(Hidden(1, [3, 3], width=4), largest=33) is None

    def test_a_global_network_declares_none(self) -> None:
        assert unet().receptive_field is None
        assert probe_receptive_field(unet()) is None

    @pytest.mark.parametrize(("field", "depth"), [(4, 4), (11, 4), (0, 4), (-1, 4), (8, 6)])
    def test_even_and_too_large_fields_are_refused(self, field: int, depth: int) -> None:
        largest = 2 * depth + 1
        with pytest.raises(
            UsageError, match=f"odd and from 1 to {largest} for {depth} layers, found {field}$"
        ):
            spread_kernels(field, depth)

    @pytest.mark.parametrize("field", [3, 4, 10, 15])
    def test_our_form_refuses_fields_it_cannot_have(self, field: int) -> None:
        with pytest.raises(UsageError, match="receptive_field must be odd"):
            LocalConditional(1, field, blocks=4)

    @pytest.mark.parametrize("depth", [1, 2, 5, 20])
    def test_kernels_are_spread_evenly(self, depth: int) -> None:
        for field in range(1, 2 * depth + 2, 2):
            kernels = spread_kernels(field, depth)
            assert len(kernels) == depth
            assert field_of(kernels) == field
            threes = [place for place, kernel in enumerate(kernels) if kernel == 3]
            assert threes[:1] in ([], [0])
            gaps = np.diff([*threes, depth])
            assert len(threes) == 0 or max(gaps) - min(gaps) <= 1


class TestDeepened:
    @pytest.mark.parametrize("make", [LocalConditional, LocalDenoiser])
    def test_more_blocks_add_nothing_and_learn(self, make: type[Any]) -> None:
        network = randomised(make(1, 9, width=8, blocks=2))
        deeper = deepened(network, 3).eval()
        assert deeper.receptive_field == probe_receptive_field(deeper) == 15
        given = torch.rand(2, 3 if make is LocalConditional else 1, 12, 12)
        low = {"low": torch.rand(2, 1, 12, 12)} if make is LocalConditional else {}
        found, before = deeper(given, sigma=0.1, **low), network(given, sigma=0.1, **low)
        torch.testing.assert_close(found, before)
        (found.details if low else found).square().mean().backward()
        assert all(block.pointwise.weight.grad.abs().max() > 0 for block in deeper.blocks[-3:])

    @pytest.mark.parametrize(
        "network", [LocalConditional(1, 7, width=8, blocks=2), UNet(1, (16, 16), width=8)]
    )
    def test_others_are_refused(self, network: Network) -> None:
        with pytest.raises(UsageError, match="only local networks of 3x3 convolutions throughout"):
            deepened(network, 1)


class TestHomogeneity:
    """Bias-free networks know no unit of intensity."""

    @pytest.mark.parametrize("factor", [1e-3, 0.4, 255.0])
    @pytest.mark.parametrize("make", HOMOGENEOUS, ids=names)
    def test_outputs_scale_with_inputs(self, make: Make, factor: float) -> None:
        network = make(channels=2).double()
        assert network.homogeneous
        inputs = inputs_of(network, (12, 11))
        scaled = outputs_of(network, [factor * values for values in inputs])
        torch.testing.assert_close(scaled, factor * outputs_of(network, inputs), rtol=1e-9, atol=0)

    @pytest.mark.parametrize("make", [local, local_denoiser, unet], ids=names)
    def test_those_that_are_told_sigma_do_not_claim_it(self, make: Make) -> None:
        network = make()
        assert network.noise_conditional
        assert not network.homogeneous

    def test_normalisation_divides_by_the_running_deviation(self) -> None:
        norm = BiasFreeNorm(3, momentum=0.25)
        features = 2 + torch.randn(8, 3, 16, 16) * torch.tensor([1.0, 2.0, 3.0])[:, None, None]
        deviations = features.std(dim=(0, 2, 3))
        positive, factor = norm.rectified(features)
        normalised = positive * factor[:, None, None]
        wanted = features.relu() / deviations[:, None, None]
        torch.testing.assert_close(normalised, wanted, rtol=1e-3, atol=1e-5)
        expected = 0.75 + 0.25 * deviations
        torch.testing.assert_close(norm.running_sd, expected, rtol=1e-3, atol=0)
        with torch.no_grad():
            norm.gain.copy_(torch.tensor([1.0, -2.0, 0.5]))
        torch.testing.assert_close(norm.sign, torch.tensor([1.0, -1.0, 1.0]))
        wanted = torch.tensor([1.0, -2.0, 0.5]) / expected
        torch.testing.assert_close(norm.scale.flatten(), wanted, rtol=1e-3, atol=0)
        assert (norm.rectified(features)[1] > 0).all()

    def test_gradients_of_rectified_features_and_their_deviation(self) -> None:
        features = torch.randn(2, 3, 4, 5, dtype=torch.float64, requires_grad=True)
        assert torch.autograd.gradcheck(
            lambda x: rectified_deviation(x, 1e-5), (features,), nondet_tol=1e-12
        )

    @pytest.mark.parametrize("kind", [torch.float64, torch.float32, torch.bfloat16])
    def test_the_deviation_does_not_depend_on_the_layout(self, kind: torch.dtype) -> None:
        features = (1 + 3 * torch.randn(4, 6, 9, 7, dtype=torch.float64)).to(kind)
        expected = (features.double().var(dim=(0, 2, 3), correction=0) + 1e-5).sqrt()
        for layout in (torch.contiguous_format, torch.channels_last):
            positive, sd = rectified_deviation(features.to(memory_format=layout), 1e-5)
            assert sd.dtype == torch.promote_types(kind, torch.float32)
            torch.testing.assert_close(sd.double(), expected, rtol=1e-5, atol=0)
            assert torch.equal(positive, features.relu())

    def test_folding_the_normalisation_is_exact(self) -> None:
        trunk = randomised(BiasFreeCNN(2, 3, [3, 1, 3, 3], 8)).double()
        features = torch.randn(2, 2, 9, 7, dtype=torch.float64)
        plain = features
        for layer in trunk.children():
            plain = plain * layer.scale if isinstance(layer, BiasFreeNorm) else layer(plain)
        torch.testing.assert_close(trunk(features), plain)
        assert not any(
            isinstance(m, torch.nn.Conv2d) and m.bias is not None for m in trunk.children()
        )


class TestShapes:
    """Any size, any number of channels, any way to say the noise level."""

    @pytest.mark.parametrize("size", [(1, 1), (1, 5), (3, 2), (8, 8), (13, 10)], ids=str)
    @pytest.mark.parametrize("channels", [1, 2, 3, 5])
    @pytest.mark.parametrize("make", ALL, ids=names)
    def test_output_is_shaped_as_the_input(
        self, make: Make, channels: int, size: tuple[int, int]
    ) -> None:
        network = make(channels=channels)
        inputs = inputs_of(network, size, count=3)
        if isinstance(network, ConditionalDenoiser):
            bands = network(inputs[0], inputs[1], 0.1, inputs[2])
            assert isinstance(bands, Bands)
            assert bands.details.shape == (3, 3 * channels, *size)
            assert bands.low.shape == (3, channels, *size)
            assert network(inputs[0], inputs[1], 0.1).details.shape == bands.details.shape
        else:
            assert network(inputs[0], 0.1).shape == (3, channels, *size)

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    @pytest.mark.parametrize("make", ALL, ids=names)
    def test_output_has_the_type_of_the_weights(self, make: Make, dtype: torch.dtype) -> None:
        network = make().to(dtype)
        assert outputs_of(network, inputs_of(network, (8, 8))).dtype == dtype

    @pytest.mark.parametrize("make", ALL, ids=names)
    def test_the_level_may_come_in_any_form(self, make: Make) -> None:
        network = make()
        inputs = inputs_of(network, (8, 8))
        expected = outputs_of(network, inputs, 0.25)
        forms = [np.float64(0.25), np.float32(0.25), torch.tensor(0.25), torch.full((2,), 0.25)]
        for sigma in [*forms, torch.tensor([0.25]), torch.tensor(0.25, dtype=torch.float64)]:
            torch.testing.assert_close(outputs_of(network, inputs, sigma), expected)

    @pytest.mark.parametrize("make", ALL, ids=names)
    @pytest.mark.parametrize("size", [(9, 6), (1, 1)], ids=str)
    def test_every_image_is_denoised_on_its_own(self, make: Make, size: tuple[int, int]) -> None:
        network = make(channels=2).double()
        inputs = inputs_of(network, size, count=4)
        levels = torch.tensor([0.0, 0.01, 0.3, 5.0])
        together = outputs_of(network, inputs, levels)
        for index in range(4):
            alone = [values[index : index + 1] for values in inputs]
            single = outputs_of(network, alone, levels[index])
            torch.testing.assert_close(single, together[index : index + 1])

    @pytest.mark.parametrize("make", [local, local_denoiser, unet], ids=names)
    def test_the_level_that_is_told_matters(self, make: Make) -> None:
        network = make()
        inputs = inputs_of(network, (8, 8))
        with torch.no_grad():
            difference = outputs_of(network, inputs, 0.02) - outputs_of(network, inputs, 0.2)
        assert float(difference.abs().mean()) > 1e-3

    @pytest.mark.parametrize("sigma", [0.0, 1e-6, 0.04, 80.0, 1e6])
    @pytest.mark.parametrize("make", ALL, ids=names)
    def test_outputs_are_finite_at_any_level(self, make: Make, sigma: float) -> None:
        network = make()
        noisy, *rest = inputs_of(network, (8, 8))
        noisy = noisy + sigma * torch.randn_like(noisy)
        assert torch.isfinite(outputs_of(network, [noisy, *rest], sigma)).all()

    @pytest.mark.parametrize("make", [local, local_denoiser, unet], ids=names)
    def test_the_level_is_needed_where_it_is_told(self, make: Make) -> None:
        network = make()
        name = type(network).__name__
        with pytest.raises(UsageError, match=f"sigma is needed: {name} is told the noise level"):
            outputs_of(network, inputs_of(network, (8, 8)), None)

    @pytest.mark.parametrize("make", HOMOGENEOUS, ids=names)
    def test_the_level_is_not_needed_where_it_is_not(self, make: Make) -> None:
        network = make()
        inputs = inputs_of(network, (8, 8))
        blind = outputs_of(network, inputs, None)
        assert torch.equal(blind, outputs_of(network, inputs, 0.3))


class TestImagesOut:
    """Denoisers return images, never residuals."""

    @pytest.mark.parametrize("make", [local, local_denoiser, unet], ids=names)
    def test_without_noise_the_input_comes_back(self, make: Make) -> None:
        network = make().double()
        inputs = inputs_of(network, (8, 8))
        expected = torch.cat([inputs[0], *inputs[1:2]], dim=1)
        torch.testing.assert_close(outputs_of(network, inputs, 0.0), expected, rtol=0, atol=1e-9)
        with torch.no_grad():
            change = [
                float((outputs_of(network, inputs, sigma) - expected).abs().mean())
                for sigma in (1e-6, 1e-2)
            ]
        assert change[0] < 2e-4 * change[1]

    @pytest.mark.parametrize("make", [bias_free, bias_free_conditional], ids=names)
    def test_a_trunk_of_zeros_returns_the_input(self, make: Make) -> None:
        network = make()
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.zero_()
        inputs = inputs_of(network, (8, 8))
        expected = torch.cat([inputs[0], *inputs[1:2]], dim=1)
        assert torch.equal(outputs_of(network, inputs), expected)

    def test_an_untrained_network_shrinks_details_as_wiener_would(self) -> None:
        network = LocalConditional(1, 9, width=8, sigma_data=0.05)
        noisy, low, noisy_low = inputs_of(network, (8, 8))
        bands = network(noisy, low, 0.05, noisy_low)
        torch.testing.assert_close(bands.details, noisy / 2)
        torch.testing.assert_close(bands.low, low)

    def test_an_untrained_unet_shrinks_towards_its_mean(self) -> None:
        network = UNet(1, (8, 8), width=8, multiples=(1, 2), blocks=1, sigma_data=0.25)
        network.prior_mean((8, 8)).copy_(torch.rand(1, 1, 8, 8))
        (noisy,) = inputs_of(network, (8, 8))
        expected = (noisy + network.prior_mean((8, 8))) / 2
        torch.testing.assert_close(network(noisy, 0.25), expected)

    @pytest.mark.parametrize("denoising", [True, False])
    def test_nothing_known_is_an_infinite_level(self, denoising: bool) -> None:
        network = local(channels=2)
        noisy, low, noisy_low = inputs_of(network, (8, 8))
        nothing = torch.zeros_like(noisy)
        measured = noisy_low if denoising else None
        bands = network.requires_grad_(False)(nothing, low, math.inf, measured)
        assert torch.isfinite(bands.details).all()
        assert float(bands.details.abs().mean()) > 1e-4
        torch.testing.assert_close(network(nothing, low, 1e9, measured), bands)

    def test_low_is_corrected_only_with_a_measurement(self) -> None:
        network = local().requires_grad_(False)
        noisy, low, noisy_low = inputs_of(network, (8, 8))
        assert network(noisy, low, 0.1).low is low
        assert float((network(noisy, low, 0.1, noisy_low).low - low).abs().mean()) > 1e-3

    def test_preconditioning_keeps_unit_size(self) -> None:
        sigma = torch.tensor([0.0, 0.1, 0.25, 3.0, math.inf], dtype=torch.float64)
        skip, out, inside = precondition(sigma, 0.25)
        finite = sigma[:-1]
        assert skip.tolist() == pytest.approx([*(0.0625 / (0.0625 + finite**2)).tolist(), 0])
        variance = (finite**2 + 0.0625) * inside[:-1] ** 2
        assert variance.tolist() == pytest.approx([1] * 4)
        error = (skip[:-1] * finite) ** 2 + (1 - skip[:-1]) ** 2 * 0.0625
        assert out[:-1].square().tolist() == pytest.approx(error.tolist())
        assert out[-1] == 0.25


class TestLearning:
    """What training relies on."""

    @pytest.mark.parametrize("training", [True, False])
    @pytest.mark.parametrize("make", ALL, ids=names)
    def test_gradients_reach_every_weight(self, make: Make, training: bool) -> None:
        network = make(channels=2).train(training)
        outputs_of(network, inputs_of(network, (12, 12))).square().sum().backward()
        for name, parameter in network.named_parameters():
            assert parameter.grad is not None, name
            assert torch.isfinite(parameter.grad).all(), name
            assert parameter.grad.abs().sum() > 0, name

    @pytest.mark.parametrize("make", ALL, ids=names)
    def test_settings_make_the_same_network_again(self, make: Make) -> None:
        network = make(channels=2)
        again = type(network)(**network.settings).eval()
        again.load_state_dict(network.state_dict())
        inputs = inputs_of(network, (8, 8))
        assert torch.equal(outputs_of(again, inputs), outputs_of(network, inputs))
        assert again.receptive_field == network.receptive_field

    def test_parameters_are_counted(self) -> None:
        assert parameters_of(BiasFreeDenoiser(1, [3, 3, 1], width=4)) == 9 * 4 + 9 * 16 + 4 + 4

    def test_the_unet_centres_on_its_mean_at_any_size(self) -> None:
        network = UNet(2, (8, 8), width=8, multiples=(1, 2), blocks=1)
        mean = network.prior_mean((8, 8))
        mean.copy_(torch.tensor([0.2, 0.7]).view(1, 2, 1, 1).expand_as(mean))
        for size in [(8, 8), (5, 12), (1, 1)]:
            centre = network.prior_mean(size)
            assert centre.shape == (1, 2, *size)
            torch.testing.assert_close(centre.mean(dim=(0, 2, 3)), torch.tensor([0.2, 0.7]))

    def test_a_local_denoiser_centres_on_its_colour(self) -> None:
        network = LocalDenoiser(2, 9, width=8, blocks=2)
        network.mean.copy_(torch.tensor([0.2, 0.7]).view(2, 1, 1))
        assert network.prior_mean((3, 5)).shape == (1, 2, 3, 5)
        images = network(torch.rand(2, 2, 6, 7), 1e6)
        torch.testing.assert_close(images, network.mean.expand_as(images), rtol=0, atol=1e-3)

    def test_the_unet_sees_all_of_the_image(self) -> None:
        network = unet().double()
        (noisy,) = inputs_of(network, (16, 16), count=1)
        noisy.requires_grad_()
        (gradient,) = torch.autograd.grad(network(noisy, 0.1)[0, 0, 0, 0], noisy)
        assert (gradient != 0).all()

    @pytest.mark.parametrize("make", ALL, ids=names)
    def test_levels_to_sample_between_are_in_order(self, make: Make) -> None:
        high, low = make().sigma_range
        assert high > low > 0

    def test_the_default_centre_is_mid_gray(self) -> None:
        network = bias_free()
        assert isinstance(network, Denoiser)
        assert network.prior_mean((4, 4)) == 0.5


@pytest.mark.gpu
@pytest.mark.parametrize("make", ALL, ids=names)
def test_the_device_does_not_matter(make: Make) -> None:
    network = make()
    inputs = inputs_of(network, (16, 16))
    expected = outputs_of(network, inputs)
    found = outputs_of(network.cuda(), [values.cuda() for values in inputs])
    assert found.device.type == "cuda"
    torch.testing.assert_close(found.cpu(), expected, rtol=1e-3, atol=1e-3)

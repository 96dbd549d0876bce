"""Networks computed by hand, from their weights alone: every sign, scale and order."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from zoo import randomised

from scalewise.errors import ScalewiseError, UsageError
from scalewise.networks import LocalConditional, LocalDenoiser, UNet
from scalewise.networks.base import LEAST_SPREAD, Network, noise_features, overall, relative
from scalewise.networks.unet import ResidualBlock, SelfAttention, _norm
from scalewise.wavelets import filters

SIGMA_DATA = 0.3


def features_of(sigma: Tensor) -> Tensor:
    """Sine and cosine of the logarithm of sigma / sigma_data at eight frequencies."""
    level = (sigma / SIGMA_DATA).log().view(-1, 1)
    angles = level * torch.linspace(0.1, 0.8, 8)
    return torch.cat([angles.sin(), angles.cos()], dim=1)


def trunk(network: Any, seen: Tensor, told: Tensor) -> Tensor:
    """Enter, residual blocks scaled and shifted, leave."""
    first, second = network.modulate[0], network.modulate[2]
    hidden = F.linear(told, first.weight, first.bias)
    values = F.linear(hidden * torch.sigmoid(hidden), second.weight, second.bias)
    here = F.conv2d(seen, network.enter.weight, network.enter.bias, padding=1)
    width = here.shape[1]
    for number, block in enumerate(network.blocks):
        scale, shift = values[:, 2 * number * width :][:, : 2 * width].split(width, dim=1)
        around = block.spatial.weight.shape[-1] // 2
        inner = F.conv2d(here, block.spatial.weight, block.spatial.bias, padding=around)
        inner = inner * (1 + scale[:, :, None, None]) + shift[:, :, None, None]
        inner = inner.clamp(min=0)
        here = here + F.conv2d(inner, block.pointwise.weight, block.pointwise.bias)
    return F.conv2d(here, network.leave.weight, network.leave.bias, padding=1)


def scales(sigma: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Skip, out and inside of Karras et al. 2022, table 1."""
    total = sigma**2 + SIGMA_DATA**2
    return SIGMA_DATA**2 / total, sigma * SIGMA_DATA / total.sqrt(), 1 / total.sqrt()


def arrays(channels: int) -> tuple[Tensor, Tensor, Tensor]:
    """Noisy details, an estimate of the low-pass image, and the noisy one."""
    generator = torch.Generator().manual_seed(1)
    shapes = [(2, 3 * channels, 7, 9), (2, channels, 7, 9), (2, channels, 7, 9)]
    details, low, noisy_low = (torch.rand(*shape, generator=generator) for shape in shapes)
    return details - 0.5, low, noisy_low


def details_network(**more: Any) -> Any:
    made = LocalConditional(2, 7, width=6, blocks=2, sigma_data=SIGMA_DATA, **more)
    return randomised(made)


@pytest.mark.parametrize("denoising", [False, True])
def test_details_given_the_low_pass_image(denoising: bool) -> None:
    network, sigma = details_network(), torch.tensor([0.1, 0.7])
    details, low, noisy_low = arrays(2)
    skip, out, inside = (scale.view(-1, 1, 1, 1) for scale in scales(sigma))
    missing = inside * (noisy_low - low) if denoising else torch.zeros_like(low)
    seen = torch.cat([inside * details, missing, 4 * low - 2], dim=1)
    told = torch.cat([features_of(sigma), torch.full((2, 1), float(denoising))], dim=1)
    found = trunk(network, seen, told)
    bands = network(details, low, sigma, noisy_low if denoising else None)
    assert torch.allclose(bands.details, skip * details + out * found[:, :6], atol=1e-5)
    corrected = low + out * found[:, 6:] if denoising else low
    assert torch.allclose(bands.low, corrected, atol=1e-5)


def test_details_with_maps_of_the_noise() -> None:
    network = details_network(noise_maps=True)
    details, low, noisy_low = arrays(2)
    generator = torch.Generator().manual_seed(2)
    sigma, sigma_low = (0.05 + torch.rand(2, 2, 7, 9, generator=generator) for _ in range(2))
    level = sigma.square().mean(dim=(1, 2, 3)).sqrt()
    skip, out, inside = (torch.cat([scale] * 3, dim=1) for scale in scales(sigma))
    _, out_low, inside_low = scales(sigma_low)
    whole = level.view(-1, 1, 1, 1)
    maps = [(sigma / whole).log().clamp(-3, 3), (sigma_low / whole).log().clamp(-3, 3)]
    seen = [inside * details, inside_low * (noisy_low - low), 4 * low - 2, *maps]
    told = torch.cat([features_of(level), torch.ones(2, 1)], dim=1)
    found = trunk(network, torch.cat(seen, dim=1), told)
    bands = network(details, low, (sigma, sigma_low), noisy_low)
    assert torch.allclose(bands.details, skip * details + out * found[:, :6], atol=1e-5)
    assert torch.allclose(bands.low, low + out_low * found[:, 6:], atol=1e-5)


def test_images_in_the_pixel_domain() -> None:
    network: Any = randomised(LocalDenoiser(2, 7, width=6, blocks=2, sigma_data=SIGMA_DATA))
    network.set_mean(torch.tensor([0.2, 0.7]).view(2, 1, 1) + torch.tensor([-0.1, 0.1]))
    noisy, sigma = torch.rand(2, 2, 7, 9), torch.tensor([0.1, 0.7])
    mean = torch.tensor([0.2, 0.7]).view(1, 2, 1, 1)
    skip, out, inside = (scale.view(-1, 1, 1, 1) for scale in scales(sigma))
    found = trunk(network, inside * (noisy - mean), features_of(sigma))
    wanted = mean + skip * (noisy - mean) + out * found
    assert torch.allclose(network(noisy, sigma), wanted, atol=1e-5)
    assert torch.equal(network.prior_mean((3, 4)), mean.expand(1, 2, 3, 4))


@pytest.mark.parametrize("maps", [False, True])
def test_what_the_unet_sees_and_returns(monkeypatch: pytest.MonkeyPatch, maps: bool) -> None:
    network: Any = randomised(
        UNet(2, (8, 8), width=8, multiples=(1, 2), blocks=1, sigma_data=SIGMA_DATA, noise_maps=maps)
    )
    network.set_mean(torch.rand(2, 8, 8))
    inner, seen = network._network, []

    def spy(given: Tensor, level: Tensor) -> Any:
        seen.append((given, level))
        return inner(given, level)

    monkeypatch.setattr(network, "_network", spy)
    noisy, sigma = torch.rand(3, 2, 8, 8), torch.tensor([0.1, 0.4, 2.0])
    ours = network(noisy, sigma)
    ((given, level),) = seen
    skip, out, inside = (scale.view(-1, 1, 1, 1) for scale in scales(sigma))
    centred = noisy - network.mean
    assert torch.allclose(given[:, :2], inside * centred, atol=1e-6)
    assert given.shape[1] == (4 if maps else 2)
    assert torch.all(given[:, 2:] == 0)
    assert torch.equal(level.flatten(), sigma)
    wanted = network.mean + skip * centred + out * inner(given, level)
    assert torch.allclose(ours, wanted, atol=1e-6)


@pytest.mark.parametrize(("blocks", "multiples"), [(1, (1, 2)), (2, (1, 2, 2))])
def test_the_unet_has_the_layers_that_it_says(blocks: int, multiples: tuple[int, ...]) -> None:
    network = UNet(1, (8, 8), width=8, multiples=multiples, blocks=blocks)
    convolutions = [
        layer for layer in network.modules()
        if isinstance(layer, torch.nn.Conv2d) and layer.kernel_size == (3, 3)
    ]  # fmt: skip
    down, up = blocks * len(multiples), (blocks + 1) * len(multiples)
    assert len(convolutions) == 2 + 2 * (down + 2 + up)  # two ends, two in every block
    assert network.stride == 2 ** (len(multiples) - 1)
    assert network.embed[0].out_features == 4 * 8


def test_a_block_of_the_unet() -> None:
    block: Any = randomised(ResidualBlock(16, 24, embedding=5))
    features, level = torch.rand(2, 16, 6, 5), torch.rand(2, 5)
    scale, shift = F.linear(level, block.modulate.weight, block.modulate.bias).split(24, dim=1)
    silu = torch.nn.SiLU()
    inner = silu(F.group_norm(features, 8, block.norm1.weight, block.norm1.bias))
    inner = F.conv2d(inner, block.conv1.weight, block.conv1.bias, padding=1)
    inner = F.group_norm(inner, 8, block.norm2.weight, block.norm2.bias)
    inner = silu(inner * (1 + scale[:, :, None, None]) + shift[:, :, None, None])
    inner = F.conv2d(inner, block.conv2.weight, block.conv2.bias, padding=1)
    wanted = inner + F.conv2d(features, block.skip.weight, block.skip.bias)
    assert torch.allclose(block(features, level), wanted, atol=1e-5)


def test_attention_of_the_unet() -> None:
    attention: Any = randomised(SelfAttention(16))
    features = torch.rand(2, 16, 3, 5)
    normal = F.group_norm(features, 8, attention.norm.weight, attention.norm.bias)
    query, key, value = F.conv2d(normal, attention.qkv.weight, attention.qkv.bias).split(16, 1)
    likeness = torch.einsum("nchw,ncij->nhwij", query, key).flatten(3) / 4
    weights = likeness.softmax(dim=3)
    mixed = torch.einsum("nhwk,nck->nchw", weights, value.flatten(2))
    wanted = features + F.conv2d(mixed, attention.out.weight, attention.out.bias)
    assert torch.allclose(attention(features), wanted, atol=1e-5)


@pytest.mark.parametrize(("height", "width"), [(5, 8), (8, 7), (6, 5)])
def test_the_unet_repeats_the_border_where_scales_do_not_fit(height: int, width: int) -> None:
    network: Any = randomised(UNet(1, (8, 8), width=8, multiples=(1, 1, 1), blocks=1))
    seen, level = torch.rand(1, 1, height, width), torch.full((1, 1, 1, 1), 0.2)
    below, right = seen[:, :, -1:].expand(-1, -1, 8 - height, -1), 8 - width
    padded = torch.cat([seen, below], dim=2)
    padded = torch.cat([padded, padded[..., -1:].expand(-1, -1, -1, right)], dim=3)
    wanted = network._network(padded, level)[..., :height, :width]
    assert torch.allclose(network._network(seen, level), wanted, atol=1e-6)


def test_levels_that_sampling_begins_and_ends_at() -> None:
    local = LocalConditional(1, 5, width=4, blocks=1, sigma_data=SIGMA_DATA)
    assert local.sigma_range == pytest.approx((30 * SIGMA_DATA, 0.05 * SIGMA_DATA))
    flat = LocalDenoiser(1, 5, width=4, blocks=1, sigma_data=SIGMA_DATA)
    unet = UNet(1, (8, 8), width=8, multiples=(1,), blocks=1, sigma_data=SIGMA_DATA)
    for network in (flat, unet):
        assert network.sigma_range == pytest.approx((40 * SIGMA_DATA, 0.005 * SIGMA_DATA))


def test_blocks_begin_near_the_identity() -> None:
    """The second convolution of a block starts at half of what is usual, the last at zero."""
    torch.manual_seed(0)
    network: Any = LocalConditional(1, 7, width=64, blocks=2)
    usual = math.sqrt(2 / 64)  # He et al. 2015
    for block in network.blocks:
        assert block.pointwise.weight.std().item() == pytest.approx(usual / 2, rel=0.05)
    assert torch.all(network.leave.weight == 0)


def test_noise_features_end_at_a_thousandth_and_a_thousand() -> None:
    found = noise_features(torch.tensor([0.0, 1e-4, 2e-3, 1e9]), 2.0)
    within = noise_features(torch.tensor([2e-3, 2e-3, 2e-3, 2e3]), 2.0)
    assert found.equal(within)
    angles = math.log(1e-3) * torch.linspace(0.1, 0.8, 8)
    assert torch.allclose(within[0], torch.cat([angles.sin(), angles.cos()]))


def test_data_that_hardly_vary_or_vary_absurdly_are_refused() -> None:
    for sigma_data in (LEAST_SPREAD, 1 / LEAST_SPREAD):
        Network(channels=1, sigma_data=sigma_data)
    for sigma_data in (0.9 * LEAST_SPREAD, 1.1 / LEAST_SPREAD):
        with pytest.raises(UsageError, match="sigma_data must be from"):
            Network(channels=1, sigma_data=sigma_data)


@pytest.mark.parametrize(
    ("channels", "groups"), [(1, 1), (2, 1), (4, 2), (8, 4), (6, 2), (16, 8), (24, 8), (7, 1)]
)
def test_groups_hold_two_channels_at_least(channels: int, groups: int) -> None:
    assert _norm(channels).num_groups == groups


def test_a_network_that_says_nothing_samples_from_1_to_a_hundredth() -> None:
    assert Network(channels=1).sigma_range == (1.0, 0.01)


def test_fields_beyond_the_blocks_are_refused() -> None:
    for receptive_field in (5, 9, 11):
        LocalConditional(1, receptive_field, width=4, blocks=3)
    for receptive_field in (3, 8, 13):
        with pytest.raises(UsageError, match="odd and from 5 to 11 for 3 blocks, found"):
            LocalConditional(1, receptive_field, width=4, blocks=3)


def test_maps_are_logarithms_within_bounds() -> None:
    like = torch.zeros(6, 1, 1, 1)
    sigma = torch.tensor([math.e**2, math.e**5, math.e**-5, 0.0, math.inf, 0.0]).view(-1, 1, 1, 1)
    level = torch.tensor([1.0, 1.0, 1.0, 0.0, math.inf, 1.0]).view(-1, 1, 1, 1)
    assert relative(sigma, level, like).flatten().tolist() == pytest.approx([2, 3, -3, 0, 0, -3])
    pair = torch.tensor([3.0, 4.0]).view(1, 2, 1, 1)
    assert overall(pair).item() == pytest.approx(math.sqrt(12.5))
    assert overall(torch.full((2, 1, 1, 1), 0.25)).flatten().tolist() == [0.25, 0.25]


@pytest.mark.parametrize(
    "taps",
    [(0.5, 0.5, 0.5, 0.5), (1.0, 1.0, 1.0, -1.0)],
    ids=["shifts overlap", "not of unit length"],
)
def test_a_filter_that_only_claims_to_be_orthogonal(
    monkeypatch: pytest.MonkeyPatch, taps: tuple[float, ...]
) -> None:
    """Filters of unit length whose shifts overlap, and the other way round."""
    import pywt

    class Claims:
        orthogonal = True
        dec_lo = dec_hi = taps

    monkeypatch.setattr(pywt, "Wavelet", lambda name: Claims)
    filters.cache_clear()
    try:
        with pytest.raises(ScalewiseError, match="not orthogonal"):
            filters("db2")
    finally:
        filters.cache_clear()

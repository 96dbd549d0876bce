"""The transform against PyWavelets, and its own promises."""

import numpy as np
import pytest
import pywt
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from scalewise.errors import ScalewiseError
from scalewise.wavelets import (
    GAIN,
    decompose,
    filters,
    half,
    low_pass,
    merge,
    mirror_to_multiple,
    split,
)

WAVELETS = ["haar", "db1", "db2", "db4", "sym4", "coif1", "db8"]
SIZES = [(8, 8), (16, 6), (7, 8), (9, 5), (1, 1), (2, 3), (33, 20)]


def oracle(image: Tensor, wavelet: str, mode: str = "periodization") -> tuple[Tensor, Tensor]:
    """One level by PyWavelets, in this package's normalisation and order of bands."""
    low, rest = pywt.dwt2(image.double().numpy(), wavelet, mode=mode)
    bands = [torch.from_numpy(GAIN * band) for band in (low, *rest)]
    return bands[0], torch.cat(bands[1:], dim=1)


def close(found: Tensor, expected: Tensor, tolerance: float) -> None:
    torch.testing.assert_close(found, expected, rtol=0, atol=tolerance, check_dtype=False)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("wavelet", WAVELETS)
def test_split_equals_pywavelets(wavelet: str, size: tuple[int, int], dtype: torch.dtype) -> None:
    image = torch.rand(2, 3, *size, dtype=dtype)
    low, details = split(image, wavelet)
    assert low.dtype == details.dtype == dtype
    tolerance = 1e-6 if dtype == torch.float32 else 1e-12
    for found, expected in zip((low, details), oracle(image, wavelet), strict=True):
        close(found, expected, tolerance)


@pytest.mark.parametrize("size", [(7, 8), (9, 5), (1, 1), (2, 3), (12, 6)], ids=str)
def test_haar_needs_no_boundary_but_its_own_pixel(size: tuple[int, int]) -> None:
    image = torch.rand(1, 2, *size, dtype=torch.float64)
    expected = oracle(image, "haar", "symmetric")
    for found, wanted in zip(split(image), expected, strict=True):
        close(found, wanted, 1e-12)


@settings(max_examples=60)
@given(
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    wavelet=st.sampled_from([*WAVELETS, "sym9", "db20"]),
    seed=st.integers(0, 2**31),
)
def test_any_size_agrees_and_is_rebuilt(height: int, width: int, wavelet: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    image = torch.from_numpy(rng.standard_normal((1, 2, height, width)))
    low, details = split(image, wavelet)
    assert low.shape == (1, 2, half(height), half(width))
    assert details.shape == (1, 6, half(height), half(width))
    for found, expected in zip((low, details), oracle(image, wavelet), strict=True):
        close(found, expected, 1e-10)
    close(merge(low, details, wavelet, (height, width)), image, 1e-10)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("wavelet", WAVELETS)
def test_reconstruction_is_exact_over_levels(wavelet: str, dtype: torch.dtype) -> None:
    image = torch.rand(2, 3, 37, 50, dtype=dtype)
    low, details = decompose(image, 4, wavelet)
    assert [tuple(level.shape[1:]) for level in details] == [
        (9, 19, 25),
        (9, 10, 13),
        (9, 5, 7),
        (9, 3, 4),
    ]
    sizes = [(half(37, j), half(50, j)) for j in range(4)]
    for level, size in zip(reversed(details), reversed(sizes), strict=True):
        low = merge(low, level, wavelet, size)
    assert low.dtype == dtype
    close(low, image, 2e-6 if dtype == torch.float32 else 1e-11)


@pytest.mark.parametrize("size", [(8, 6), (7, 9), (1, 4)], ids=str)
@pytest.mark.parametrize("wavelet", WAVELETS)
def test_energy_of_the_even_image_is_kept(wavelet: str, size: tuple[int, int]) -> None:
    image = torch.randn(1, 2, *size, dtype=torch.float64)
    even = np.pad(image.numpy(), [(0, 0), (0, 0)] + [(0, side % 2) for side in size], mode="edge")
    low, details = split(image, wavelet)
    energy = float(low.square().sum() + details.square().sum())
    assert energy == pytest.approx(GAIN**2 * float((even**2).sum()), rel=1e-10)


@pytest.mark.parametrize("wavelet", WAVELETS)
def test_merge_is_the_adjoint_of_split(wavelet: str) -> None:
    image = torch.randn(2, 2, 10, 6, dtype=torch.float64)
    low, details = torch.randn(2, 2, 5, 3).double(), torch.randn(2, 6, 5, 3).double()
    found_low, found_details = split(image, wavelet)
    forwards = float((found_low * low).sum() + (found_details * details).sum())
    backwards = float((image * merge(low, details, wavelet)).sum())
    assert forwards == pytest.approx(GAIN**2 * backwards, rel=1e-12)


@pytest.mark.parametrize("wavelet", ["haar", "db2"])
def test_gradients_are_right(wavelet: str) -> None:
    image = torch.randn(1, 2, 5, 6, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: split(x, wavelet), (image,))
    low = torch.randn(1, 2, 3, 3, dtype=torch.float64, requires_grad=True)
    details = torch.randn(1, 6, 3, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda a, b: merge(a, b, wavelet, (5, 6)), (low, details))


@pytest.mark.parametrize("wavelet", WAVELETS)
def test_white_noise_halves_per_level_and_stays_white(wavelet: str) -> None:
    sigma = 0.3
    noise = sigma * torch.randn(1, 1, 512, 512, dtype=torch.float64)
    low, details = decompose(noise, 3, wavelet)
    for level, bands in enumerate(details, start=1):
        if level == 3:
            bands = torch.cat([low, bands], dim=1)
        count = bands[0, 0].numel()
        spread = 5 / (2 * count) ** 0.5
        assert (
            bands[0].std(dim=(1, 2)).tolist()
            == [pytest.approx(sigma * 0.5**level, rel=spread)] * bands.shape[1]
        )
        correlation = torch.corrcoef(bands[0].flatten(1)) - torch.eye(bands.shape[1])
        assert float(correlation.abs().max()) < 5 / count**0.5
        neighbours = (bands[..., 1:] * bands[..., :-1]).mean() / bands.square().mean()
        assert abs(float(neighbours)) < 5 / count**0.5


@pytest.mark.parametrize("levels", [0, 1, 2, 3])
def test_haar_low_pass_is_the_mean_of_blocks(levels: int) -> None:
    image = torch.rand(2, 3, 16, 24, dtype=torch.float64)
    expected = torch.nn.functional.avg_pool2d(image, 2**levels) if levels else image
    close(low_pass(image, levels), expected, 1e-12)


@pytest.mark.parametrize("wavelet", WAVELETS)
def test_low_pass_keeps_intensities_and_flat_images_have_no_details(wavelet: str) -> None:
    low, details = decompose(torch.full((1, 1, 9, 12), 0.7, dtype=torch.float64), 3, wavelet)
    close(low, torch.full_like(low, 0.7), 1e-10)
    assert max(float(level.abs().max()) for level in details) < 1e-10


def test_bands_are_named_after_what_they_show() -> None:
    stripes = torch.zeros(1, 1, 4, 4)
    stripes[..., 0::2, :] = 1
    _, details = split(stripes)
    assert details[0, :, 0, 0].tolist() == [0.5, 0, 0]
    _, details = split(stripes.mT)
    assert details[0, :, 0, 0].tolist() == [0, 0.5, 0]


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_channels_are_independent_and_bands_come_in_blocks(channels: int) -> None:
    image = torch.rand(1, channels, 8, 8)
    low, details = split(image)
    torch.testing.assert_close(merge(low, details), image)
    for channel in range(channels):
        _, alone = split(image[:, channel : channel + 1])
        assert torch.equal(details[:, channel::channels], alone)


def test_half_rounds_up_at_every_level() -> None:
    assert [half(37, level) for level in range(7)] == [37, 19, 10, 5, 3, 2, 1]


def test_every_wavelet_of_the_orthogonal_families_is_known() -> None:
    for family in ("haar", "db", "sym", "coif"):
        for name in pywt.wavelist(family):
            low, high = filters(name)["low"], filters(name)["high"]
            assert sum(low) == pytest.approx(2**0.5, abs=1e-6)
            assert sum(high) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("wavelet", ["bior2.2", "rbio1.3", "bior1.1", "dmey"])
def test_wavelets_that_are_not_orthogonal_are_refused(wavelet: str) -> None:
    with pytest.raises(ScalewiseError, match=f"'{wavelet}' is not orthogonal; take one of"):
        split(torch.rand(1, 1, 8, 8), wavelet)


@pytest.mark.parametrize("wavelet", ["nonsense", "mexh", ""])
def test_wavelets_that_do_not_exist_are_refused(wavelet: str) -> None:
    with pytest.raises(ScalewiseError, match=f"'{wavelet}' is not known; take an orthogonal"):
        merge(torch.rand(1, 1, 4, 4), torch.rand(1, 3, 4, 4), wavelet)


@pytest.mark.parametrize("multiple", [1, 2, 4, 8])
@pytest.mark.parametrize("size", [(1, 1), (1, 5), (2, 3), (7, 9), (8, 16)], ids=str)
def test_mirroring_equals_numpy(size: tuple[int, int], multiple: int) -> None:
    images = torch.rand(2, 3, *size)
    padding = [(0, 0), (0, 0)] + [(0, -side % multiple) for side in size]
    expected = np.pad(images.numpy(), padding, mode="reflect")
    assert np.array_equal(mirror_to_multiple(images, multiple).numpy(), expected)


def test_one_pixel_is_repeated() -> None:
    mirrored = mirror_to_multiple(torch.full((1, 1, 1, 1), 0.3), 4)
    assert torch.equal(mirrored, torch.full((1, 1, 4, 4), 0.3))


@pytest.mark.gpu
@pytest.mark.parametrize("wavelet", ["haar", "db4"])
def test_the_device_does_not_matter(wavelet: str) -> None:
    image = torch.rand(2, 3, 37, 50)
    low, details = split(image.cuda(), wavelet)
    assert low.device.type == details.device.type == "cuda"
    expected_low, expected_details = split(image, wavelet)
    close(low.cpu(), expected_low, 1e-6)
    close(details.cpu(), expected_details, 1e-6)
    close(merge(low, details, wavelet, (37, 50)).cpu(), image, 2e-6)

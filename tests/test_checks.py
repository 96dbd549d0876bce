"""What is passed by mistake is told in a sentence; what is merely unusual works."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from scalewise.errors import UsageError
from scalewise.exact import gaussian_prior, power_law_spectrum
from scalewise.prior import MultiScalePrior

PRIOR = gaussian_prior(0.04 * power_law_spectrum((16, 16)), 1)
IMAGES = 0.5 + 0.2 * torch.randn(2, 1, 16, 16, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("images", "words"),
    [
        ((255 * IMAGES).clamp(0, 255).byte(), r"found uint8; convert them: noisy\.float\(\) / 255"),
        ((1000 * IMAGES).to(torch.int16), r"found int16; .* / 32767"),
        (IMAGES > 0.5, r"found bool; convert them: noisy\.float\(\) / 1$"),
        (255 * IMAGES, r"found values to [\d.]+; divide by 255"),
        (65535 * IMAGES.clamp(0, 1), r"divide by 65535"),
        (1e7 * IMAGES.clamp(0, 1), r"divide by 1e\+07|divide by \d"),
        (IMAGES.to(torch.complex64), "found complex64; take their real part"),
        (IMAGES.numpy(), r"found ndarray; scalewise\.restore takes NumPy arrays and pictures"),
        (IMAGES.tolist(), "found list"),
        (IMAGES.to("meta"), "on the meta device, without values"),
        (IMAGES.to_sparse(), r"found one torch\.sparse_coo"),
        (IMAGES[0], r"must have shape \(N, 1, H, W\)"),
        (IMAGES.expand(2, 3, 16, 16), r"found \(2, 3, 16, 16\)"),
        (IMAGES[:, :, :0], "with H and W from 1"),
        (IMAGES.where(IMAGES > 0.5, torch.nan), "NaN or infinite"),
        (IMAGES.where(IMAGES > 0.5, -torch.inf), "NaN or infinite"),
    ],
)
def test_images_that_cannot_be_meant(images: Any, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        PRIOR.denoise(images, 0.1)


@pytest.mark.parametrize(
    ("sigma", "words"),
    [
        (float("nan"), "finite and 0 or more, found nan"),
        (-0.1, "found -0.1"),
        (float("inf"), "finite"),
        (25, r"found 25 for images in \[0, 1\]; 25 of 255 is 0\.09804"),
        (torch.tensor([0.1, 0.2, 0.3]), r"of shape \(2,\), one per image, found \(3,\)"),
        ("loud", "a number or one per image, found str"),
        (torch.tensor([0.1, torch.nan]), "found nan"),
    ],
)
def test_levels_that_cannot_be_meant(sigma: Any, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        PRIOR.denoise(IMAGES, sigma)


@pytest.mark.parametrize("sigma", [0.0, -1.0, float("nan")])
def test_a_score_needs_noise(sigma: float) -> None:
    with pytest.raises(UsageError, match="sigma must be finite and above 0"):
        PRIOR.score(IMAGES, sigma)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda p: p.sample(0), "count must be 1 or more, found 0"),
        (lambda p: p.sample(1.5), r"count must be an integer, found 1\.5"),
        (lambda p: p.sample(1, batch=0), "batch must be 1 or more"),
        (lambda p: p.sample(1, size=(0, 16)), "size must be 1 or more"),
        (lambda p: p.sample(1, seed=-1), r"from 0 to 2\^63 - 1, found -1"),
        (lambda p: p.sample(1, seed=2**63), r"from 0 to 2\^63 - 1"),
        (lambda p: p.sample(1, seed="a"), "seed must be an integer from 0 .* found 'a'"),
        (lambda p: p.upscale(IMAGES, 2.0), r"factor must be an integer, found 2\.0"),
        (lambda p: p.upscale(IMAGES, 2, samples=0), "samples must be 1 or more"),
        (lambda p: p.upscale(255 * IMAGES, 2), "small must be in .* divide by 255"),
        (lambda p: p.upscale_mean(IMAGES.byte(), 2), "small must hold floats"),
        (lambda p: p.nll(IMAGES, batch=0), "batch must be 1 or more"),
        (lambda p: p.nll(255 * IMAGES), "images must be in"),
    ],
)
def test_calls_that_cannot_be_meant(call: Callable[[MultiScalePrior], Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        call(PRIOR)


def test_zero_noise_gives_the_images_back() -> None:
    assert torch.allclose(PRIOR.denoise(IMAGES, 0.0), IMAGES.double(), atol=1e-9)


@pytest.mark.parametrize("sigma", [0.05, np.float64(0.05), torch.tensor(0.05), np.array(0.05)])
def test_numbers_of_every_kind(sigma: Any) -> None:
    assert torch.allclose(PRIOR.denoise(IMAGES, sigma), PRIOR.denoise(IMAGES, 0.05))


@pytest.mark.parametrize("sigma", [1.0, 80.0])
def test_very_noisy_images_are_no_mistake(sigma: float) -> None:
    noise = torch.randn(IMAGES.shape, generator=torch.Generator().manual_seed(1))
    assert PRIOR.denoise(IMAGES + sigma * noise, sigma).isfinite().all()
    assert PRIOR.score(IMAGES + sigma * noise, sigma).isfinite().all()


@pytest.mark.parametrize("number", [np.int64(3), np.uint8(3), torch.tensor(3)])
def test_integers_of_every_kind(number: Any) -> None:
    assert torch.equal(PRIOR.sample(number, seed=number), PRIOR.sample(3, seed=3))


@pytest.mark.parametrize(
    "change",
    [
        lambda x: x.double(),
        lambda x: x.half(),
        lambda x: x.to(torch.float8_e4m3fn),
        lambda x: x.mT.contiguous().mT,
        lambda x: x.clone().requires_grad_(),
        lambda x: torch.cat([x, 20 * torch.ones(2, 1, 16, 1)], dim=3)[..., 1:],
    ],
)
def test_unusual_images_work(change: Callable[[Tensor], Tensor]) -> None:
    images = change(IMAGES)
    found = PRIOR.denoise(images, 0.1)
    assert torch.allclose(found, PRIOR.denoise(images.detach().double(), 0.1))

"""Our adapters in deepinv's own algorithms, on its own physics; run by `tests/deepinv.sh`.

In an environment of its own: deepinv imports torchvision, which nothing else of ours ever sees.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import scalewise
from scalewise.data.photos import sample_photo
from scalewise.deepinv import DeepinvReconstructor, FromDeepinv
from scalewise.metrics import psnr
from scalewise.networks import LocalConditional
from scalewise.prior import MultiScalePrior

# torchvision of PyPI wants these names of its CUDA library beside PyTorch for the CPU
_NAMES = torch.library.Library("torchvision", "FRAGMENT")
for _name in ("nms", "qnms"):
    _NAMES.define(f"{_name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")

deepinv: Any = pytest.importorskip("deepinv", reason="needs deepinv: tests/deepinv.sh")

SIDE, SIGMA = 48, 5 / 255


@pytest.fixture(scope="module")
def prior() -> MultiScalePrior:
    return scalewise.load("photos")


@pytest.fixture(scope="module")
def clean() -> Tensor:
    return sample_photo("astronaut")[None, :, 88 : 88 + SIDE, 188 : 188 + SIDE]


def physics_of(name: str) -> Any:
    """A physics of deepinv, with noise."""
    shape = (3, SIDE, SIDE)
    noise = deepinv.physics.GaussianNoise(SIGMA, rng=torch.Generator().manual_seed(0))
    if name == "denoising":
        return deepinv.physics.Denoising(deepinv.physics.GaussianNoise(25 / 255, rng=noise.rng))
    if name == "deblurring":
        kernel = deepinv.physics.blur.gaussian_blur(1.5)
        return deepinv.physics.BlurFFT(shape, kernel, noise_model=noise)
    if name == "inpainting":
        known = torch.rand(1, SIDE, SIDE, generator=torch.Generator().manual_seed(1)) < 0.5
        mask = known.float().repeat(3, 1, 1)
        return deepinv.physics.Inpainting(shape, mask=mask, noise_model=noise)
    if name == "super-resolution":
        return deepinv.physics.Downsampling(
            shape, filter="bicubic", factor=2, padding="circular", noise_model=noise
        )
    assert name == "MRI"
    lines = torch.ones(SIDE, SIDE)
    lines[:, 1::2] = 0
    lines[:, SIDE // 2 - 4 : SIDE // 2 + 4] = 1
    return deepinv.physics.MRI(mask=lines, img_size=(2, SIDE, SIDE), noise_model=noise)


PHYSICS = ["deblurring", "inpainting", "super-resolution"]


def algorithms(denoiser: Any) -> dict[str, Callable[[Any, Tensor], Tensor]]:
    """Algorithms of deepinv with their own settings, or few steps."""
    fidelity = deepinv.optim.data_fidelity.L2()

    def pnp(physics: Any, y: Tensor) -> Tensor:
        method = deepinv.optim.optim_builder(
            iteration="PGD",
            prior=deepinv.optim.PnP(denoiser),
            data_fidelity=fidelity,
            max_iter=20,
            params_algo={"stepsize": 1.0, "g_param": 0.03},
        )
        return method(y, physics)

    def red(physics: Any, y: Tensor) -> Tensor:
        method = deepinv.optim.optim_builder(
            iteration="GD",
            prior=deepinv.optim.RED(denoiser),
            data_fidelity=fidelity,
            max_iter=60,
            params_algo={"stepsize": 0.8, "g_param": 0.03, "lambda": 0.1},
        )
        return method(y, physics)

    def langevin(physics: Any, y: Tensor) -> Tensor:
        method = deepinv.sampling.ULA(
            prior=deepinv.optim.ScorePrior(denoiser),
            data_fidelity=deepinv.optim.data_fidelity.L2(sigma=4 * SIGMA),
            max_iter=120,
            step_size=1e-4,
            alpha=1.0,
            sigma=0.03,
            clip=(-1, 2),
            burnin_ratio=0.4,
            thinning=1,
        )
        small = y.shape != physics.A_adjoint(y).shape
        start = physics.A_dagger(y) if small else physics.A_adjoint(y)
        return method(y, physics, x_init=start)[0]

    def dps(physics: Any, y: Tensor) -> Tensor:
        return deepinv.sampling.DPS(denoiser, num_steps=100, weight=10.0)(y, physics)

    def ddrm(physics: Any, y: Tensor) -> Tensor:
        return deepinv.sampling.DDRM(denoiser, sigmas=np.linspace(1, 0, 40))(y, physics)

    return {
        "PnP": pnp,
        "RED": red,
        "DPIR": lambda physics, y: deepinv.optim.DPIR(sigma=SIGMA, denoiser=denoiser)(y, physics),
        "DiffPIR": lambda physics, y: deepinv.sampling.DiffPIR(
            denoiser, fidelity, sigma=SIGMA, max_iter=30
        )(y, physics),
        "DDRM": ddrm,
        "DPS": dps,
        "Langevin": langevin,
    }


FLOORS = {
    "PnP": (26.0, 7.5, 27.5),
    "RED": (27.0, 6.0, 29.0),
    "DPIR": (28.0, 11.0, 29.5),
    "DiffPIR": (15.0, 20.0, 25.5),
    "DDRM": (27.0, 28.0, None),
    "DPS": (16.0, 15.0, 15.0),
    "Langevin": (23.0, 6.5, 26.5),
}
"""PSNR that each reaches on `PHYSICS`, less about a decibel; with few steps, and nothing tuned."""


@pytest.mark.parametrize("name", PHYSICS)
@pytest.mark.parametrize("algorithm", list(FLOORS))
def test_algorithms_take_it_unchanged(
    prior: MultiScalePrior, clean: Tensor, name: str, algorithm: str
) -> None:
    torch.manual_seed(0)
    physics = physics_of(name)
    y = physics(clean)
    floor = FLOORS[algorithm][PHYSICS.index(name)]
    if floor is None:
        pytest.skip("deepinv's DDRM wants a physics with singular values")
    found = algorithms(prior.as_deepinv())[algorithm](physics, y).detach().float()
    assert found.shape == clean.shape
    assert bool(found.isfinite().all())
    reached = float(psnr(clean, found, clip=True))
    print(f"{name}, {algorithm}: {reached:.2f} dB")
    assert reached > floor


GAINS = {"denoising": 10.5, "deblurring": 26.5, "inpainting": 24.0, "super-resolution": 3.0}
"""What `PICTURES` gain over the pseudo-inverse in the mean, less about half a decibel."""

PICTURES = {"astronaut": (88, 188), "coffee": (100, 200), "chelsea": (100, 150)}
"""Photos, and the upper left corners of their crops: one of 48 pixels alone says little."""


@pytest.mark.parametrize("name", list(GAINS))
def test_reconstruction(prior: MultiScalePrior, name: str) -> None:
    """What its public benchmark calls: `method(y, physics)`."""
    clean = torch.stack(
        [
            sample_photo(photo)[:, top : top + SIDE, left : left + SIDE]
            for photo, (top, left) in PICTURES.items()
        ]
    )
    physics = physics_of(name)
    y = physics(clean)
    found = DeepinvReconstructor(prior)(y, physics)
    gained = psnr(clean, found, clip=True) - psnr(clean, physics.A_dagger(y), clip=True)
    print(f"{name}: {', '.join(f'{each:+.2f}' for each in gained)} dB")
    assert float(gained.min()) > 1.5
    assert float(gained.mean()) > GAINS[name]


def test_mri(prior: MultiScalePrior, clean: Tensor) -> None:
    """Complex images, real and imaginary part as two channels, by the gray side of the prior."""
    physics = physics_of("MRI")
    image = torch.cat([clean.mean(1, keepdim=True), torch.zeros(1, 1, SIDE, SIDE)], dim=1)
    y = physics(image)
    denoiser = prior.as_deepinv()

    class Complex(torch.nn.Module):
        def forward(self, x: Tensor, sigma: Any) -> Tensor:
            return torch.cat([denoiser(part, sigma) for part in x.split(1, dim=1)], dim=1)

    method = deepinv.optim.optim_builder(
        iteration="PGD",
        prior=deepinv.optim.PnP(Complex()),
        data_fidelity=deepinv.optim.data_fidelity.L2(),
        max_iter=30,
        params_algo={"stepsize": 1.0, "g_param": 0.03},
    )
    found, plain = method(y, physics)[:, :1], physics.A_dagger(y)[:, :1]
    gained = float(psnr(image[:, :1], found, clip=True) - psnr(image[:, :1], plain, clip=True))
    print(f"MRI: {gained:+.2f} dB")
    assert gained > 1.0


@pytest.mark.parametrize("make", ["MedianFilter", "DnCNN"])
def test_its_denoisers_are_low_pass_networks(make: str, clean: Tensor) -> None:
    torch.manual_seed(0)
    options = {"in_channels": 3, "out_channels": 3, "pretrained": None} if make == "DnCNN" else {}
    denoiser = getattr(deepinv.models, make)(**options)
    low = FromDeepinv(denoiser, channels=3, size=(16, 16))
    details = [LocalConditional(3, 5, width=8, blocks=1) for _ in range(2)]
    prior = MultiScalePrior(low, details).eval()
    with torch.no_grad():
        denoised = prior.denoise(clean, 0.1)
        small = torch.nn.functional.avg_pool2d(clean, 4)
        alone = denoiser(small, torch.tensor([0.025]))
        torch.testing.assert_close(low(small, 0.025), alone)
    assert denoised.shape == clean.shape
    sample = prior.upscale(small.clamp(0, 1), 4)[0]
    torch.testing.assert_close(torch.nn.functional.avg_pool2d(sample, 4), small)

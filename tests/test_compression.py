"""The linear part of JPEG, beside scipy's cosines and Pillow's files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import fft
from skimage import data
from torch import Tensor
from zoo import condition, dense_covariance, smooth_spectrum

from scalewise.compression import Compression, cosines, from_cosines
from scalewise.errors import ScalewiseError, UsageError
from scalewise.exact import gaussian_prior
from scalewise.images import read_coefficients
from scalewise.samplers import Multistep

SUBSAMPLED = ((1, 1), (2, 2), (2, 2))


def photo() -> Image.Image:
    return Image.fromarray(data.astronaut()[:96, 100:212])


def tensor(image: Image.Image) -> Tensor:
    values = np.array(image).reshape(image.height, image.width, -1)
    return torch.from_numpy(values).permute(2, 0, 1)[None] / 255


@pytest.mark.parametrize("size", [(16, 32), (19, 21)])
@pytest.mark.parametrize("factors", [((1, 1),), SUBSAMPLED, ((1, 1), (1, 4), (1, 4))])
class TestOperator:
    def test_adjoint(self, size: tuple[int, int], factors: tuple[tuple[int, int], ...]) -> None:
        operator = Compression(size, factors)
        images = torch.randn(2, len(factors), *size, dtype=torch.float64)
        seen = operator.A(images)
        other = torch.randn_like(seen)
        torch.testing.assert_close((seen * other).sum(), (images * operator.A_adjoint(other)).sum())

    def test_pseudo_inverse(
        self, size: tuple[int, int], factors: tuple[tuple[int, int], ...]
    ) -> None:
        if size == (19, 21):
            pytest.skip("blocks that the border cuts are not inverted")
        operator = Compression(size, factors)
        seen = operator.A(torch.rand(2, len(factors), *size, dtype=torch.float64))
        again = operator.A(operator.A_dagger(seen))
        torch.testing.assert_close(again, seen, rtol=0, atol=1e-5)


def test_cosines_are_those_of_scipy() -> None:
    plane = torch.rand(1, 1, 16, 24, dtype=torch.float64)
    found = cosines(plane)
    expected = fft.dctn(plane[0, 0, 8:, 16:].numpy(), norm="ortho")
    np.testing.assert_allclose(found[0, 1, 2].numpy(), expected, atol=1e-12)
    torch.testing.assert_close(from_cosines(found), plane)


class TestFiles:
    @pytest.mark.parametrize("subsampling", [0, 1, 2])
    @pytest.mark.parametrize("quality", [50, 90])
    def test_what_was_compressed_is_within_half_a_step(
        self, tmp_path: Path, subsampling: int, quality: int
    ) -> None:
        image = photo()
        image.save(tmp_path / "a.jpg", quality=quality, subsampling=subsampling)
        found = read_coefficients(tmp_path / "a.jpg")
        off = (found.operator.A(tensor(image)) - found.values) / found.steps
        assert (off.abs() <= 0.5).float().mean() > 0.97  # Pillow rounds colours, too
        # decoded, they are the picture
        again = found.operator.A_dagger(found.values) - tensor(Image.open(tmp_path / "a.jpg"))
        assert again.abs().mean() < (1.2 if subsampling else 0.6) / 255

    def test_progressive_files_say_the_same(self, tmp_path: Path) -> None:
        for progressive in (False, True):
            photo().save(tmp_path / f"{progressive}.jpg", progressive=progressive)
        first, second = (read_coefficients(tmp_path / f"{each}.jpg") for each in (False, True))
        assert torch.equal(first.values, second.values)

    def test_gray_of_odd_size(self, tmp_path: Path) -> None:
        image = photo().convert("L").crop((0, 0, 51, 45))
        image.save(tmp_path / "a.jpg", quality=80)
        found = read_coefficients(tmp_path / "a.jpg")
        assert found.operator.factors == ((1, 1),)
        off = (found.operator.A(tensor(image)) - found.values) / found.steps
        assert (off.abs() <= 0.51).float().mean() > 0.98

    def test_refused(self, tmp_path: Path) -> None:
        photo().save(tmp_path / "a.png")
        photo().convert("CMYK").save(tmp_path / "cmyk.jpg")
        photo().save(tmp_path / "rgb.jpg", keep_rgb=True)
        exif = Image.Exif()
        exif[0x112] = 6
        photo().save(tmp_path / "turned.jpg", exif=exif)
        for name, sentence in {
            "a.png": "is no JPEG",
            "none.jpg": "is no JPEG",
            "cmyk.jpg": "a JPEG of CMYK",
            "rgb.jpg": "holds RGB",
            "turned.jpg": "turned by EXIF",
        }.items():
            with pytest.raises(ScalewiseError, match=sentence):
                read_coefficients(tmp_path / name)

    def test_components(self) -> None:
        with pytest.raises(UsageError, match="one or three components"):
            Compression((8, 8), ((1, 1), (1, 1)))
        with pytest.raises(UsageError, match="reduced by 1 or more"):
            Compression((8, 8), ((0, 1),))


def test_the_mean_is_exact_for_gaussian_images() -> None:
    spectrum = smooth_spectrum((8, 8))
    covariance = dense_covariance(spectrum)
    generator = torch.Generator().manual_seed(0)
    white = torch.randn(64, dtype=torch.float64, generator=generator)
    clean = 0.5 + (torch.linalg.cholesky(covariance) @ white).view(1, 1, 8, 8)
    operator = Compression((8, 8), ((1, 1),))
    noise = torch.linspace(0.02, 0.3, 64, dtype=torch.float64).view(1, 1, 1, 64)
    seen = operator.A(clean)
    seen = seen + noise * torch.randn(seen.shape, dtype=torch.float64, generator=generator)
    units = torch.eye(64, dtype=torch.float64).view(64, 1, 8, 8)
    look = operator.A(units).flatten(1).T
    middle = torch.full((64,), 0.5, dtype=torch.float64)
    mean, left = condition(middle, covariance, look, seen.flatten(1), noise.flatten() ** 2)
    rule = Multistep(8.0, 0.002, steps=40, rho=5.0, eta=1.0)
    found = gaussian_prior(spectrum, 2).restore(seen, operator, noise, iterations=12, rule=rule)
    error = (found.flatten(1) - mean).square().mean().sqrt()
    assert error < 0.03 * left.diagonal().mean().sqrt()

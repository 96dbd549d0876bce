"""The mean of the estimates of an image that is mirrored and turned."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import pytest
import torch
from cli_tools import blind_prior, picture_file, save_models, scalewise, smooth, tiny_prior
from torch import Tensor

from scalewise import restore
from scalewise.errors import UsageError
from scalewise.images import Picture, read_coefficients, read_image, write_image
from scalewise.noise_model import NoiseModel
from scalewise.operators import Blur, Downscaling
from scalewise.restore import averaged


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_models(tmp_path_factory.mktemp("models"))


def noisy(*shape: int, sigma: float = 0.08) -> Tensor:
    channels, height, width = shape[-3:]
    noise = torch.randn(shape, generator=torch.Generator().manual_seed(5))
    return smooth(height, width, channels).expand(shape) + sigma * noise


def lopsided(images: Tensor) -> Tensor:
    """An estimate that no symmetry commutes with."""
    rows, columns = (torch.arange(side, dtype=images.dtype) for side in images.shape[2:])
    return images.roll(1, 3) + 2 * images.roll(2, 2) ** 2 + 0.1 * rows[:, None] + columns**2


def test_eight_are_all_turns_of_the_image_and_of_its_mirror_image() -> None:
    images = torch.rand(2, 3, 5, 7, dtype=torch.float64)
    expected = torch.zeros_like(images)
    for turns, mirrored in product(range(4), (False, True)):
        turned = torch.rot90(images.flip(3) if mirrored else images, turns, (2, 3))
        back = torch.rot90(lopsided(turned), -turns, (2, 3))
        expected += (back.flip(3) if mirrored else back) / 8
    torch.testing.assert_close(averaged(lopsided, images, 8), expected)


def test_two_and_four_are_its_mirror_images() -> None:
    images = torch.rand(2, 3, 5, 7, dtype=torch.float64)
    parts = [lopsided(images.flip(axes)).flip(axes) for axes in ([0][:0], [3], [2], [2, 3])]
    torch.testing.assert_close(averaged(lopsided, images, 2), (parts[0] + parts[1]) / 2)
    torch.testing.assert_close(averaged(lopsided, images, 4), torch.stack(parts).mean(0))
    assert torch.equal(averaged(lopsided, images, 1), parts[0])


@pytest.mark.parametrize("count", [2, 4, 8])
def test_an_estimate_that_turns_with_the_image_is_its_own_mean(count: int) -> None:
    """The Wiener filter of a field whose spectrum is a function of the frequency's length."""

    def wiener(images: Tensor) -> Tensor:
        fy, fx = (torch.fft.fftfreq(side, dtype=torch.float64) for side in images.shape[2:])
        power = 1 / (0.01 + fy[:, None] ** 2 + fx**2)
        return torch.fft.ifft2(torch.fft.fft2(images) * power / (power + 3)).real

    images = torch.rand(1, 1, 12, 17, dtype=torch.float64)
    torch.testing.assert_close(averaged(wiener, images, count), wiener(images))


@pytest.mark.parametrize("count", [0, 3, 16, -1, True, 2.5])
def test_other_numbers_are_refused(count: int) -> None:
    with pytest.raises(UsageError, match=rf"average must be 1 \(off\), 2, 4 or 8, found {count}"):
        averaged(lopsided, torch.rand(1, 1, 4, 4), count)
    with pytest.raises(UsageError, match="average must be"):
        restore.denoise(Picture(torch.rand(1, 8, 8)), tiny_prior(1, (8, 8), 1), average=count)


@pytest.mark.parametrize(
    "noise",
    [
        NoiseModel.white(0.08),
        NoiseModel(scales=((0.08, 0.05, 0.06), (0.1, 0.05, 0.1))),
        NoiseModel(scales=((0.08, 0.02, 0.02),)),
        NoiseModel(scales=((0.08,),), curve=((0.0, 1.3), (1.0, 0.6))),
    ],
    ids=["white", "spectrum", "uneven", "curve"],
)
def test_pictures_with_any_noise_are_the_mean_of_turned_pictures(noise: NoiseModel) -> None:
    """All planes and channels; the size is no multiple of the coarsest level's."""
    prior, pixels = tiny_prior(3, (8, 8), 2), noisy(2, 3, 21, 30)
    found = restore.denoise(Picture(pixels), prior, noise=noise, average=8).picture.pixels
    parts = []
    for turns, mirrored in product(range(4), (False, True)):
        turned = torch.rot90(pixels.flip(3) if mirrored else pixels, turns, (2, 3)).contiguous()
        clean = restore.denoise(Picture(turned), prior, noise=noise).picture.pixels
        back = torch.rot90(clean, -turns, (2, 3))
        parts.append(back.flip(3) if mirrored else back)
    # a curve may be stabilised, and what was averaged there is bent back
    close = 1e-3 if noise.curve else 1e-5
    torch.testing.assert_close(found, torch.stack(parts).mean(0), atol=close, rtol=0)
    assert (parts[0] - parts[1]).abs().max() > 1e-4


def test_noise_that_grows_strength_and_blind_networks() -> None:
    pixels = noisy(1, 16, 24)
    for prior, noise in (
        (tiny_prior(1, (8, 8), 2), NoiseModel.photons(0.01, read=1.0)),
        (tiny_prior(1, (8, 8), 2), None),
        (blind_prior(), None),
    ):
        one, eight = (
            restore.denoise(Picture(pixels), prior, noise=noise, strength=0.7, average=average)
            for average in (1, 8)
        )
        difference = (one.picture.pixels - eight.picture.pixels).abs().max()
        assert difference > 1e-6
        assert one.notes == tuple(note for note in eight.notes if "estimates" not in note)
        assert "the mean of 8 estimates, for 8 times the work" in eight.notes


def test_masked_pixels_stay() -> None:
    pixels, mask = noisy(3, 16, 24), torch.zeros(16, 24)
    mask[4:9, 3:20] = 1
    found = restore.denoise(
        Picture(pixels), tiny_prior(3, (8, 8), 2), sigma=0.08, average=4, mask=mask
    ).picture.pixels[0]
    assert torch.equal(found[:, mask == 0], pixels[:, mask == 0])
    assert not torch.equal(found, pixels)


@pytest.mark.parametrize(
    "other", [{"samples": 2}, {"fidelity": 0.5}, {"uncertainty": True}], ids=str
)
def test_what_is_of_the_picture_as_it_is_goes_without(other: dict[str, float]) -> None:
    picture, prior = Picture(torch.rand(1, 8, 8)), tiny_prior(1, (8, 8), 1)
    with pytest.raises(UsageError, match="average 8 is for the estimate of least error alone"):
        restore.denoise(picture, prior, average=8, **other)  # type: ignore[arg-type]


def test_the_command_tells_the_price(models: Path, tmp_path: Path) -> None:
    file = picture_file(tmp_path / "noisy.png")
    words = ("denoise", file, tmp_path / "clean.png", "--model", models / "photos", "--sigma", 10)
    done = scalewise(*words, "--average", 8, "--json")
    (record,) = done.records
    assert record["average"] == 8
    assert "the mean of 8 estimates, for 8 times the work" in record["notes"]
    prior = restore.denoise(
        read_image(file), tiny_prior(3, (8, 8), 3), sigma=10 / 255, average=8
    ).picture.pixels
    written = read_image(tmp_path / "clean.png").pixels
    assert (written - prior).abs().max() <= 0.5 / 255 + 1e-5
    assert scalewise(*words, "--force", "--json").records[0]["average"] == 1
    refused = scalewise(*words, "--force", "--average", 3)
    assert (refused.code, refused.sentence) == (
        2,
        "Error: average must be 1 (off), 2, 4 or 8, found 3",
    )
    refused = scalewise(*words, "--force", "--average", 2, "--samples", 2)
    assert refused.code == 2
    assert "average 2 is for the estimate of least error alone" in refused.sentence


class TestEnlargements:
    @pytest.mark.parametrize("count", [2, 4, 8])
    def test_the_mean_of_block_means_is_that_of_the_estimates(self, count: int) -> None:
        prior = tiny_prior(3, (8, 8), 2)
        picture = Picture(smooth(6, 8), depth="float32")
        found = restore.upscale(picture, prior, factor=2, samples=None, average=count)
        expected = averaged(lambda small: prior.upscale_mean(small, 2), picture.pixels, count)
        torch.testing.assert_close(found.picture.pixels, expected)
        assert f"the mean of {count} estimates, for {count} times the work" in found.notes

    def test_it_still_agrees_with_the_small_picture(self) -> None:
        small = (255 * smooth(6, 8, 3)).byte().movedim(0, -1).numpy()
        prior = tiny_prior(3, (8, 8), 2)
        found = restore.upscale(small, prior, factor=2, samples=None, average=8).array
        means = found.astype(float).reshape(6, 2, 8, 2, 3).mean((1, 3))
        assert (means == small).all()

    @pytest.mark.parametrize("size", [(12, 15), (12, 12)])
    @pytest.mark.parametrize("count", [2, 8])
    def test_that_of_filters_is_of_pictures_turned_with_them(
        self, size: tuple[int, int], count: int
    ) -> None:
        prior = tiny_prior(3, (8, 8), 1)
        picture = Picture(smooth(8, size[1] * 2 // 3), depth="float32")

        def restored(measured: Tensor) -> Tensor:
            height, width = measured.shape[-2:]
            operator = Downscaling((height * 3 // 2, width * 3 // 2), (height, width), "bicubic")
            return prior.restore(measured, operator)

        found = restore.enlarge(picture, size, "bicubic", prior, samples=None, average=count)
        expected = averaged(restored, picture.pixels, count)
        torch.testing.assert_close(found.picture.pixels, expected, atol=1e-5, rtol=1e-5)

    def test_it_is_of_the_mean_alone(self) -> None:
        prior, picture = tiny_prior(3, (8, 8), 1), Picture(smooth(8, 8))
        with pytest.raises(UsageError, match="least error alone; samples and uncertainty"):
            restore.upscale(picture, prior, average=2)
        with pytest.raises(UsageError, match="least error alone"):
            restore.upscale(picture, prior, samples=None, uncertainty=True, average=2)
        with pytest.raises(UsageError, match="least error alone; samples are"):
            restore.enlarge(picture, (16, 16), "bicubic", prior, samples=1, average=2)

    def test_kernels_and_jpegs_are_not_turned(self, tmp_path: Path) -> None:
        prior, picture = tiny_prior(3, (8, 8), 1), Picture(smooth(8, 8))
        blur = Blur.gaussian(0.8)
        with pytest.raises(UsageError, match="filters by their names, not kernels"):
            restore.enlarge(picture, (16, 16), blur, prior, samples=None, average=2)
        write_image(tmp_path / "small.jpg", picture)
        held = read_coefficients(tmp_path / "small.jpg")
        with pytest.raises(UsageError, match="whose blocks are not turned with it"):
            restore.enlarge(picture, (16, 16), "bicubic", prior, samples=None, average=2, jpeg=held)

    def test_the_command_line_takes_it(self, models: Path, tmp_path: Path) -> None:
        file = picture_file(tmp_path / "small.png", 8, 8)
        given = ("upscale", file, tmp_path / "big.png", "--model", models / "photos")
        done = scalewise(*given, "--mode", "mean", "--average", "2", "--json")
        assert done.records[0]["notes"] == ["the mean of 2 estimates, for 2 times the work"]
        assert read_image(tmp_path / "big.png").pixels.shape[-2:] == (16, 16)
        refused = scalewise(*given, "--average", "2", "--force")
        assert refused.code == 2
        assert "least error alone" in refused.stderr

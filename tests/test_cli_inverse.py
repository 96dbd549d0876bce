"""`scalewise inpaint`, `deblur`, `upscale --reduced-by`, and what `denoise` says of doubt."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from cli_tools import save_models, scalewise, smooth
from PIL import Image

from scalewise.images import Picture, read_image, write_image
from scalewise.noise_model import NoiseModel


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_models(tmp_path_factory.mktemp("models"))


@pytest.fixture
def model(models: Path) -> tuple[str, Path]:
    return "--model", models / "photos"


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    noise = 0.05 * torch.randn(3, 40, 56, generator=torch.Generator().manual_seed(0))
    write_image(tmp_path / "photo.png", Picture((smooth(40, 56) + noise).clamp(0, 1)))
    return tmp_path / "photo.png"


@pytest.fixture
def mask(tmp_path: Path) -> Path:
    hole = torch.zeros(1, 1, 40, 56)
    hole[..., 10:14, 5:50] = 1
    write_image(tmp_path / "mask.png", Picture(hole))
    return tmp_path / "mask.png"


class TestInpaint:
    def test_known_pixels_stay(
        self, photo: Path, mask: Path, model: tuple[str, Path], tmp_path: Path
    ) -> None:
        done = scalewise("inpaint", photo, mask, tmp_path / "filled.png", *model, "--json")
        assert done.code == 0
        assert done.records[0]["output"] == str(tmp_path / "filled.png")
        before, after = (read_image(each).pixels for each in (photo, tmp_path / "filled.png"))
        known = read_image(mask).pixels[0, 0] == 0
        assert torch.equal(before[..., known], after[..., known])
        assert not torch.equal(before, after)

    def test_samples_differ_in_the_hole_alone(
        self, photo: Path, mask: Path, model: tuple[str, Path], tmp_path: Path
    ) -> None:
        deviation = tmp_path / "deviation.tif"
        done = scalewise(
            *("inpaint", photo, mask, tmp_path / "drawn.png", *model),
            *("--samples", "2", "--uncertainty", deviation),
        )
        assert done.code == 0
        first, second = (read_image(tmp_path / f"drawn-{i}.png").pixels for i in (1, 2))
        assert not torch.equal(first, second)
        spread = torch.from_numpy(tifffile.imread(deviation))
        hole = read_image(mask).pixels[0, 0] > 0
        assert bool((spread[hole] > 0).all())
        assert not bool(spread[~hole].any())

    def test_folders_of_masks(
        self, photo: Path, mask: Path, model: tuple[str, Path], tmp_path: Path
    ) -> None:
        for name in ("images", "masks"):
            (tmp_path / name).mkdir()
        photo.rename(tmp_path / "images" / "a.png")
        mask.rename(tmp_path / "masks" / "a.png")
        folders = (tmp_path / "images", tmp_path / "masks", tmp_path / "out")
        assert scalewise("inpaint", *folders, *model, "--mode", "mean").code == 0
        assert (tmp_path / "out" / "a.png").exists()
        (tmp_path / "masks" / "a.png").rename(tmp_path / "masks" / "b.png")
        done = scalewise("inpaint", *folders, *model, "--force")
        assert done.code == 1
        assert "holds no mask of the name a" in done.stderr

    def test_a_sheet(
        self, photo: Path, mask: Path, model: tuple[str, Path], tmp_path: Path
    ) -> None:
        images, sheet = tmp_path / "images", tmp_path / "sheet.png"
        images.mkdir()
        for name in ("a.png", "b.png"):
            (images / name).write_bytes(photo.read_bytes())
        options = (mask, tmp_path / "out", "--mode", "mean", "--sheet", sheet, *model)
        done = scalewise("inpaint", images, *options)
        assert done.code == 0, done.stderr
        assert "2 done" in done.stdout
        shown = read_image(sheet).pixels
        assert shown.shape[-1] > 2 * 128
        assert shown.shape[-2] > 2 * 128

    def test_bad_masks(
        self, photo: Path, mask: Path, model: tuple[str, Path], tmp_path: Path
    ) -> None:
        write_image(tmp_path / "small.png", Picture(torch.ones(1, 1, 4, 5)))
        write_image(tmp_path / "black.png", Picture(torch.zeros(1, 1, 40, 56)))
        for name, sentence in (
            ("small.png", "the mask is 5x4, the picture 56x40"),
            ("black.png", "the mask is black everywhere"),
            ("none.png", "expected an image file, found no file of this name"),
        ):
            done = scalewise("inpaint", photo, tmp_path / name, tmp_path / "out.png", *model)
            assert done.code in (1, 2)
            assert sentence in done.stderr
            assert not (tmp_path / "out.png").exists()


class TestDeblur:
    def test_kernels(self, photo: Path, model: tuple[str, Path], tmp_path: Path) -> None:
        kernel = torch.zeros(1, 1, 5, 5)
        kernel[..., 2, :] = 1
        write_image(tmp_path / "kernel.png", Picture(kernel))
        for name in ("gaussian:1", tmp_path / "kernel.png"):
            done = scalewise(
                *("deblur", photo, tmp_path / "sharp.png", "--kernel", name, "--force"), *model
            )
            assert done.code == 0, done.stderr
            assert "(sigma " in done.stdout
            assert read_image(tmp_path / "sharp.png").pixels.shape == (1, 3, 40, 56)

    @pytest.mark.parametrize(
        ("kernel", "sentence"),
        [
            ("gaussian:x", "needs a number, such as gaussian:1.6, found 'gaussian:x'"),
            ("gaussian:-1", "the deviation of a blur must be above 0"),
            ("gaussian:9", "the kernel is 73x73, larger than the picture"),
            ("none.png", "expected an image file, found no file of this name"),
            ("gauss:1.6", "must be gaussian:DEVIATION, such as gaussian:1.6, or an image file"),
        ],
    )
    def test_bad_kernels(
        self, kernel: str, sentence: str, photo: Path, model: tuple[str, Path], tmp_path: Path
    ) -> None:
        done = scalewise("deblur", photo, tmp_path / "out.png", "--kernel", kernel, *model)
        assert done.code in (1, 2)
        assert sentence in done.stderr
        assert not (tmp_path / "out.png").exists()

    def test_a_level_far_off_is_told(
        self, photo: Path, model: tuple[str, Path], tmp_path: Path
    ) -> None:
        for sigma, told in ((60, True), (13, False)):
            done = scalewise(
                *("deblur", photo, tmp_path / "sharp.png", "--kernel", "gaussian:1", "--force"),
                *("--sigma", sigma, *model),
            )
            assert done.code == 0, done.stderr
            assert ("sigma 60 was given; it looks like" in done.stdout) is told

    def test_a_kernel_is_needed(self, photo: Path, tmp_path: Path) -> None:
        done = scalewise("deblur", photo, tmp_path / "out.png")
        assert done.code == 2
        assert "--kernel" in done.stderr


class TestEnlarge:
    @pytest.mark.parametrize("mode", ["mean", "sample"])
    def test_any_factor(
        self, photo: Path, model: tuple[str, Path], tmp_path: Path, mode: str
    ) -> None:
        options = ("--factor", "1.5", "--reduced-by", "bicubic", "--mode", mode)
        done = scalewise("upscale", photo, tmp_path / "big.png", *options, *model)
        assert done.code == 0, done.stderr
        assert read_image(tmp_path / "big.png").pixels.shape == (1, 3, 60, 84)

    def test_losses_of_a_jpeg_are_told(
        self, photo: Path, model: tuple[str, Path], tmp_path: Path
    ) -> None:
        write_image(tmp_path / "small.jpg", read_image(photo), quality=60)
        for name, ignored in (("first", ()), ("second", ("--ignore-jpeg",))):
            done = scalewise(
                *("upscale", tmp_path / "small.jpg", tmp_path / f"{name}.png", "--mode", "mean"),
                *("--reduced-by", "bicubic", "--factor", "1.5", *ignored, *model),
            )
            assert done.code == 0, done.stderr
            assert ("losses of the JPEG were taken into account" in done.stdout) is not bool(
                ignored
            )
        first, second = (read_image(tmp_path / f"{name}.png") for name in ("first", "second"))
        assert first.pixels.shape == (1, 3, 60, 84)
        assert not torch.equal(first.pixels, second.pixels)

    def test_a_jpeg_turned_by_exif_is_served_as_pixels(
        self, photo: Path, model: tuple[str, Path], tmp_path: Path
    ) -> None:
        exif = Image.Exif()
        exif[0x112] = 6
        Image.open(photo).save(tmp_path / "turned.jpg", exif=exif)
        done = scalewise(
            *("upscale", tmp_path / "turned.jpg", tmp_path / "big.png", "--mode", "mean"),
            *("--reduced-by", "mean", "--factor", "1", *model),
        )
        assert done.code == 0, done.stderr
        assert "turned by EXIF" in done.stdout

    def test_a_kernel_before_decimation(
        self, photo: Path, model: tuple[str, Path], tmp_path: Path
    ) -> None:
        kernel = torch.zeros(1, 1, 3, 5)
        kernel[..., 1, 1:4] = 1
        write_image(tmp_path / "kernel.png", Picture(kernel))
        options = ("--reduced-by", tmp_path / "kernel.png", "--mode", "mean", *model)
        done = scalewise("upscale", photo, tmp_path / "big.png", *options)
        assert done.code == 0, done.stderr
        assert read_image(tmp_path / "big.png").pixels.shape == (1, 3, 80, 112)
        done = scalewise("upscale", photo, tmp_path / "no.png", *options, "--factor", "1.5")
        assert done.code == 2
        assert "enlarged by a whole factor" in done.stderr

    def test_noisy_and_small_at_once(
        self, photo: Path, model: tuple[str, Path], tmp_path: Path
    ) -> None:
        shared = ("upscale", photo, tmp_path / "big.png", "--reduced-by", "mean", "--mode", "mean")
        levels, apart = {}, {}
        for name, options in (
            ("none", ()),
            ("auto", ("--sigma", "auto")),
            ("told", ("--sigma", "13")),
        ):
            done = scalewise(*shared, *options, "--force", "--json", *model)
            assert done.code == 0, done.stderr
            levels[name] = done.records[0].get("sigma")
            small = torch.nn.functional.avg_pool2d(read_image(tmp_path / "big.png").pixels, 2)
            apart[name] = float(255 * (small - read_image(photo).pixels).square().mean().sqrt())
        assert apart["none"] < 0.5
        assert min(apart["auto"], apart["told"]) > 5
        assert levels["none"] is None
        assert levels["auto"] == pytest.approx(12.75, rel=0.15)
        assert levels["told"] == 13

    def test_noise_from_a_file(self, photo: Path, model: tuple[str, Path], tmp_path: Path) -> None:
        described = tmp_path / "noise.json"
        for channels in (1, 3):
            noise = NoiseModel(scales=(channels * (0.03,), channels * (0.06,)))
            described.write_text(noise.model_dump_json())
            for command in (
                ("upscale", photo, tmp_path / "a.png", "--reduced-by", "mean"),
                ("deblur", photo, tmp_path / "b.png", "--kernel", "gaussian:1"),
            ):
                options = ("--mode", "mean", "--noise", described, "--force", "--json", *model)
                done = scalewise(*command, *options)
                assert done.code == 0, done.stderr
                assert done.records[0]["sigma"] == pytest.approx(255 * noise.sigma, abs=1e-3)
        write_image(tmp_path / "gray.png", Picture(smooth(40, 56)[:1]))
        done = scalewise(
            *("deblur", tmp_path / "gray.png", tmp_path / "c.png", "--kernel", "gaussian:1"),
            *("--noise", described, *model),
        )
        assert done.code == 2
        assert "described for 3 channels, the picture has 1" in done.stderr
        assert not (tmp_path / "c.png").exists()

    @pytest.mark.parametrize(
        ("options", "sentence"),
        [
            (("--factor", "3"), "with --reduced-by it may be any number"),
            (("--factor", "1.5"), "must be a power of two from 2 (2, 4, 8, ...), found 1.5"),
            (("--factor", "0.5", "--reduced-by", "mean"), "--factor must be 1 or more"),
            (("--reduced-by", "nearest"), "filter of a reduction must be mean, bicubic"),
            (("--reduced-by", "none.png"), "expected an image file, found no file of this name"),
            (("--sigma", "2"), "--sigma goes with --reduced-by"),
            (("--sigma", "auto"), "--sigma goes with --reduced-by"),
            (("--sigma", "some", "--reduced-by", "mean"), "'some' is neither a number nor auto"),
            (("--sigma", "-1", "--reduced-by", "mean"), "-1 is not a finite number from 0"),
            (("--sigma", "inf", "--reduced-by", "mean"), "inf is not a finite number from 0"),
            (
                ("--sigma", "auto", "--noise", "none.json", "--reduced-by", "mean"),
                "--sigma and --noise both say what the noise is",
            ),
            (("--noise", "none.json"), "--noise goes with --reduced-by"),
            (("--noise", "none.json", "--reduced-by", "mean"), "none.json"),
        ],
    )
    def test_bad_options(
        self,
        options: tuple[str, ...],
        sentence: str,
        photo: Path,
        model: tuple[str, Path],
        tmp_path: Path,
    ) -> None:
        done = scalewise("upscale", photo, tmp_path / "out.png", *options, *model)
        assert done.code in (1, 2)
        assert sentence in done.stderr
        assert not (tmp_path / "out.png").exists()


class TestDoubt:
    """What `denoise` says of what noise leaves open."""

    def test_samples_and_their_deviation(
        self, photo: Path, model: tuple[str, Path], tmp_path: Path
    ) -> None:
        done = scalewise(
            *("denoise", photo, tmp_path / "drawn.png", "--samples", "2", "--sigma", "13"),
            *("--uncertainty", tmp_path / "deviation.tif", "--json", *model),
        )
        assert done.code == 0, done.stderr
        assert done.records[0]["output"] == [str(tmp_path / f"drawn-{i}.png") for i in (1, 2)]
        first, second = (read_image(tmp_path / f"drawn-{i}.png").pixels for i in (1, 2))
        spread = tifffile.imread(tmp_path / "deviation.tif")
        assert spread.dtype == np.float32
        expected = (first - second).abs()[0].permute(1, 2, 0) / 2**0.5
        assert np.abs(spread - 255 * expected.numpy()).max() < 1.5  # files hold whole numbers
        alone = scalewise(
            "denoise", photo, tmp_path / "one.png", "--samples", "1", "--sigma", "13", *model
        )
        assert alone.code == 0
        assert read_image(tmp_path / "one.png").pixels.equal(first)

    def test_a_map_without_samples(
        self, photo: Path, model: tuple[str, Path], tmp_path: Path
    ) -> None:
        for name, options in (("a", ()), ("b", ("--uncertainty", tmp_path / "deviation.tif"))):
            done = scalewise("denoise", photo, tmp_path / f"{name}.png", *options, *model)
            assert done.code == 0, done.stderr
        assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
        spread = tifffile.imread(tmp_path / "deviation.tif")
        assert spread.shape == (40, 56, 3)
        assert 0 < spread.mean() < 25

    def test_fidelity(self, photo: Path, model: tuple[str, Path], tmp_path: Path) -> None:
        images = []
        for fidelity in ("1", "0.5", "0"):
            output = tmp_path / f"{fidelity}.tif"
            done = scalewise("denoise", photo, output, "--fidelity", fidelity, *model)
            assert done.code == 0, done.stderr
            images.append(read_image(output).pixels)
        assert torch.allclose(images[1], (images[0] + images[2]) / 2, atol=1.5 / 255)
        assert not torch.equal(images[0], images[2])

    @pytest.mark.parametrize(
        ("options", "sentence"),
        [
            (("--samples", "2", "--fidelity", "0.5"), "samples are drawn at random"),
            (("--samples", "2", "--strength", "0.5"), "leave out strength and keep-grain"),
            (("--fidelity", "0.5", "--keep-grain", "0.5"), "leave out strength and keep-grain"),
            (("--samples", "0"), "'--samples'"),
            (("--fidelity", "2"), "'--fidelity'"),
        ],
    )
    def test_bad_options(
        self,
        options: tuple[str, ...],
        sentence: str,
        photo: Path,
        model: tuple[str, Path],
        tmp_path: Path,
    ) -> None:
        done = scalewise("denoise", photo, tmp_path / "out.png", *options, *model)
        assert done.code in (1, 2)
        assert sentence in done.stderr
        assert not (tmp_path / "out.png").exists()

"""What a cleaned picture is worth, told without the truth."""

import math
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from cli_tools import save_models, scalewise
from skimage import data
from torch import Tensor

from scalewise import load
from scalewise.errors import UsageError
from scalewise.evaluation import learn_calibration
from scalewise.images import Picture, write_image
from scalewise.metrics import psnr
from scalewise.noise_model import NoiseModel
from scalewise.prior import MultiScalePrior
from scalewise.restore import check, denoise, spectrum_of

SIGMA = 25 / 255


@pytest.fixture(scope="module")
def photos() -> MultiScalePrior:
    return load("photos", device="cpu")


@pytest.fixture(scope="module")
def pair() -> tuple[Tensor, Tensor]:
    photo = torch.from_numpy(data.astronaut()[:128, 160:288].copy()).permute(2, 0, 1)
    clean = photo[None].float() / 255
    generator = torch.Generator().manual_seed(0)
    return clean, clean + SIGMA * torch.randn(clean.shape, generator=generator)


def smoothed(noisy: Tensor, side: int) -> Tensor:
    return F.avg_pool2d(F.pad(noisy, [side // 2] * 4, "replicate"), side, 1)


@pytest.mark.parametrize("told", [True, False])
@pytest.mark.parametrize("tool", ["ours", "mean of 3x3", "mean of 5x5", "nothing", "shifted"])
def test_psnr_of_any_tool(
    tool: str, told: bool, photos: MultiScalePrior, pair: tuple[Tensor, Tensor]
) -> None:
    clean, noisy = pair
    cleaned = {
        "ours": lambda: denoise(Picture(noisy), photos, sigma=SIGMA).picture.pixels,
        "mean of 3x3": lambda: smoothed(noisy, 3),
        "mean of 5x5": lambda: smoothed(noisy, 5),
        "nothing": lambda: noisy,
        "shifted": lambda: noisy.roll(8, -1),
    }[tool]()
    noise = NoiseModel.white(SIGMA) if told else None
    found = check(Picture(noisy), Picture(cleaned), photos, noise=noise)
    assert found.psnr == pytest.approx(float(psnr(clean, cleaned)), abs=0.6)
    assert found.best >= found.psnr
    if tool == "nothing":
        assert found.words == ("nothing was removed: the pictures are the same",)
        assert found.removed == pytest.approx([0, 0, 0])
    if tool == "ours":
        assert found.words == ("what was removed is noise at every scale",)
        assert found.damaged == 0
    if tool == "mean of 5x5":
        assert any("structure too" in word for word in found.words)
    if tool == "shifted":
        assert found.damaged > 0.3


def test_noise_that_is_left_is_told(photos: MultiScalePrior, pair: tuple[Tensor, Tensor]) -> None:
    half = denoise(Picture(pair[1]), photos, sigma=SIGMA, strength=0.5).picture
    found = check(Picture(pair[1]), half, photos)
    assert any("noise was left" in word for word in found.words), found.words


PHOTONS = NoiseModel.photons(gain=0.02)
"""Of a deviation of 0.1 at middle gray."""


def with_photons(clean: Tensor) -> Tensor:
    return 0.02 * torch.poisson(clean / 0.02, torch.Generator().manual_seed(0))


def with_shared_noise(clean: Tensor) -> Tensor:
    white = torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))
    return clean + 2 * SIGMA * smoothed(white, 3)


@pytest.mark.parametrize("kind", ["photons", "shared"])
def test_noise_is_known_by_its_spectrum_and_its_curve(
    kind: str, photos: MultiScalePrior, pair: tuple[Tensor, Tensor]
) -> None:
    """What was removed is the noise itself; told another kind, as strong, it is not."""
    clean, _ = pair
    noisy = with_photons(clean) if kind == "photons" else with_shared_noise(clean)
    noise = PHOTONS if kind == "photons" else spectrum_of((noisy - clean)[0], photos.levels)
    found = check(Picture(noisy), Picture(clean), photos, noise=noise)
    assert found.words[:1] == ("what was removed is noise at every scale",), found
    assert found.removed[:2] == pytest.approx([1, 1], abs=0.05)
    assert found.lights == pytest.approx(1, abs=0.05)
    assert found.damaged == 0
    white = NoiseModel.white(float((noisy - clean).std()))
    found = check(Picture(noisy), Picture(clean), photos, noise=white)
    assert "what was removed is noise at every scale" not in found.words
    if kind == "photons":
        assert found.lights > 1.3
        assert any("in the lights 1." in word for word in found.words), found.words
    else:
        assert found.removed[0] < 0.85 < 1.15 < found.removed[1]
        assert found.lights == pytest.approx(1, abs=0.05)


def test_structure_that_goes_with_photon_noise_is_told(
    photos: MultiScalePrior, pair: tuple[Tensor, Tensor]
) -> None:
    noisy = with_photons(pair[0])
    found = check(Picture(noisy), Picture(smoothed(noisy, 7)), photos, noise=PHOTONS)
    assert found.damaged > 0.01
    assert found.psnr == pytest.approx(float(psnr(pair[0], smoothed(noisy, 7))), abs=0.6)


def test_gray_pictures(photos: MultiScalePrior, pair: tuple[Tensor, Tensor]) -> None:
    clean = pair[0].mean(1, keepdim=True)
    noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(1))
    noisy = clean + SIGMA * noise
    found = check(Picture(noisy), Picture(smoothed(noisy, 3)), photos)
    assert found.psnr == pytest.approx(float(psnr(clean, smoothed(noisy, 3))), abs=0.6)


def test_the_bound_is_what_was_learnt(photos: MultiScalePrior, pair: tuple[Tensor, Tensor]) -> None:
    table = learn_calibration(photos, {"one": pair[0][0]}, sigmas=(25.0,), crop=64)
    assert table.margin is not None
    assert math.isfinite(table.margin)
    known = MultiScalePrior(
        photos.low, photos.conditionals, photos.wavelet, photos.estimator, table
    )
    found = check(Picture(pair[1]), Picture(smoothed(pair[1], 3)), known)
    assert found.bound == pytest.approx(found.psnr - table.margin)


def test_nothing_is_promised_where_noise_was_cut_off(
    photos: MultiScalePrior, pair: tuple[Tensor, Tensor]
) -> None:
    _, noisy = pair
    cut = ((1.6 * noisy - 0.3).clamp(0, 1) * 255).round() / 255
    assert float(((cut == 0) | (cut == 1)).float().mean()) > 0.1
    cleaned = denoise(Picture(cut), photos).picture
    found = check(Picture(cut), cleaned, photos)
    assert found.bound is None
    assert any("stand at black or white, where noise was cut off" in word for word in found.words)


def test_bad_input(photos: MultiScalePrior) -> None:
    picture = Picture(torch.rand(1, 3, 32, 32))
    for other in (Picture(torch.rand(1, 3, 32, 31)), Picture(torch.rand(1, 1, 32, 32))):
        with pytest.raises(UsageError, match="of one size and kind, found 32x32 of 3 channels"):
            check(picture, other, photos)
    three = NoiseModel.white((0.1, 0.1, 0.2))
    gray = Picture(torch.rand(1, 1, 32, 32))
    with pytest.raises(UsageError, match="described for 3 channels, the picture has 1"):
        check(gray, gray, photos, noise=three)
    with pytest.raises(UsageError, match="no noise was found"):
        check(Picture(torch.full((1, 3, 32, 32), 0.5)), picture, photos)


def test_command(pair: tuple[Tensor, Tensor], tmp_path: Path) -> None:
    model = save_models(tmp_path / "models") / "photos"
    write_image(tmp_path / "noisy.tif", Picture(pair[1], depth="float32"))
    write_image(tmp_path / "clean.tif", Picture(smoothed(pair[1], 3), depth="float32"))
    files = ("check", tmp_path / "noisy.tif", tmp_path / "clean.tif", "--model", model)
    done = scalewise(*files)
    assert done.code == 0, done.stderr
    assert "clean.tif: about " in done.stdout
    done = scalewise(*files, "--sigma", "25", "--json")
    record = done.records[0]
    assert record["sigma"] == 25
    assert record["bound"] is None
    assert len(record["removed"]) == load(model).levels
    assert record["words"]


def test_command_told_a_curve(pair: tuple[Tensor, Tensor], tmp_path: Path) -> None:
    model = save_models(tmp_path / "models") / "photos"
    write_image(tmp_path / "noisy.tif", Picture(with_photons(pair[0]), depth="float32"))
    write_image(tmp_path / "clean.tif", Picture(pair[0], depth="float32"))
    camera = tmp_path / "camera.json"
    camera.write_text(PHOTONS.model_dump_json())
    files = ("check", tmp_path / "noisy.tif", tmp_path / "clean.tif", "--model", model)
    for name, value in (("--noise", camera), ("--gain", "0.02")):
        done = scalewise(*files, name, value, "--json")
        assert done.code == 0, done.stderr
        assert done.records[0]["sigma"] == pytest.approx(25.5, abs=0.1)
        assert done.records[0]["lights"] == pytest.approx(1, abs=0.05)
        assert done.records[0]["removed"][0] == pytest.approx(1, abs=0.05)
    refused: list[tuple[tuple[str | Path, ...], str]] = [
        (("--noise", camera, "--sigma", "25"), "--sigma and --noise both say what the noise is"),
        (("--offset", "3"), "--offset and --read-noise belong to --gain"),
        (("--gain", "0"), "--gain must be above 0"),
        (("--gain", "0.02", "--offset", "5"), "the offset, 5, is above most of the picture"),
    ]
    for options, sentence in refused:
        done = scalewise(*files, *options)
        assert done.code == 2
        assert sentence in done.stderr

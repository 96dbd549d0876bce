"""Priors that are alike everywhere: images of any size, periodic ones, and what is refused."""

from __future__ import annotations

import copy
import importlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from cli_tools import scalewise
from torch import Tensor, nn
from zoo import randomised, smooth_spectrum

from scalewise.errors import UsageError
from scalewise.exact import gaussian_prior
from scalewise.images import Picture, read_image, write_image
from scalewise.networks import BiasFreeDenoiser, LocalConditional, LocalDenoiser, UNet
from scalewise.networks.torus import on_torus, wrapped
from scalewise.prior import MultiScalePrior
from scalewise.samplers import Multistep, StepRule
from scalewise.store import load, packaged


def few(network: Any) -> StepRule:
    start, end = network.sigma_range
    return Multistep(start, end, steps=3, eta=0.0 if network.conditional else 1.0)


def texture(wavelet: str = "haar", channels: int = 2) -> MultiScalePrior:
    """A prior of local networks alone with random weights, small enough to stay tame."""
    low = randomised(LocalDenoiser(channels, 9, width=8, blocks=2, sigma_data=0.2))
    low.set_mean(torch.tensor([0.3, 0.6])[:channels, None, None])
    details = [
        randomised(LocalConditional(channels, 7, width=8, blocks=2, sigma_data=0.1), seed)
        for seed in range(2)
    ]
    with torch.no_grad():
        for network in (low, *details):
            for parameter in network.leave.parameters():
                parameter.mul_(0.2)
    return MultiScalePrior(low, details, wavelet).requires_grad_(False).double()


def whole(mean: Tensor | None = None) -> MultiScalePrior:
    """A prior of whole images of 32x32, whose mean is an image."""
    low = randomised(UNet(1, (8, 8), width=8, multiples=(1,), blocks=1))
    low.set_mean(torch.linspace(0, 1, 64).view(1, 8, 8) if mean is None else mean)
    details = [randomised(LocalConditional(1, 5, width=8, blocks=1)) for _ in range(2)]
    return MultiScalePrior(low, details).requires_grad_(False)


class Rolled(MultiScalePrior):
    """The same prior, followed from noise that is rolled by so many pixels of the image."""

    shift = (0, 0)

    def noise_field(
        self, keys: Any, level: int, *rest: Any, **more: Any
    ) -> Callable[[int], Tensor]:
        field = super().noise_field(keys, level, *rest, **more)
        down, across = (side >> min(level, self.levels) for side in self.shift)
        return lambda step: field(step).roll((down, across), (-2, -1))


@pytest.mark.parametrize("wavelet", ["haar", "db2"])
@pytest.mark.parametrize("shift", [(4, 0), (12, 28), (16, 20)])
def test_a_rolled_sample_is_that_of_rolled_noise(wavelet: str, shift: tuple[int, int]) -> None:
    prior = texture(wavelet)
    rolled = Rolled(prior.low, prior.conditionals, wavelet)
    rolled.shift = shift
    options: dict[str, Any] = {"size": (32, 40), "sampler": few, "periodic": True}
    expected = prior.sample(2, **options)
    torch.testing.assert_close(
        rolled.sample(2, **options), expected.roll(shift, (-2, -1)), rtol=0, atol=1e-12
    )
    alone = {**options, "periodic": False}  # zeros beyond the borders are seen
    off = rolled.sample(2, **alone) - prior.sample(2, **alone).roll(shift, (-2, -1))
    assert float(off.abs().max()) > 1e-3


@pytest.mark.parametrize("size", [(32, 40), (8, 4)], ids=["large", "smaller than the reach"])
def test_a_periodic_sample_is_that_of_circular_convolutions(size: tuple[int, int]) -> None:
    prior = texture()
    circular = copy.deepcopy(prior)
    for module in circular.modules():
        if isinstance(module, nn.Conv2d):
            padding = module.kernel_size[0] // 2
            module.register_forward_pre_hook(
                lambda _, inputs, padding=padding: (wrapped(inputs[0], padding),)
            )
            module.padding = (0, 0)
    for network in (circular.low, *circular.conditionals):
        network.exact = True
    options: dict[str, Any] = {"size": size, "sampler": few, "seed": 3}
    torch.testing.assert_close(
        prior.sample(1, **options, periodic=True), circular.sample(1, **options), rtol=0, atol=1e-12
    )


def test_a_blind_network_starts_around_its_number() -> None:
    network = BiasFreeDenoiser(1, [3, 3], width=4)
    assert on_torus(network, lambda _: 0.5)(torch.rand(1, 1, 4, 4)) == 0.5


def test_which_priors_are_stationary() -> None:
    assert texture().stationary
    assert texture().size == (256, 256)
    assert not whole().stationary
    assert not gaussian_prior(smooth_spectrum(), 1).stationary


def test_crops_are_no_whole_images() -> None:
    """The mean of crops from anywhere is one colour: their model goes on beyond them."""
    crops = whole(torch.full((1, 8, 8), 0.4))
    assert crops.sample(1, size=(20, 48), sampler=few).shape == (1, 1, 20, 48)


def test_whole_images_are_drawn_whole() -> None:
    """A few pixels less, of the same low-pass image, are a cut of the whole."""
    drawn = whole().sample(1, sampler=few)
    assert torch.equal(whole().sample(1, size=(30, 29), sampler=few), drawn[..., :30, :29])


@pytest.mark.parametrize(
    ("prior", "options", "words"),
    [
        (whole, {"size": (64, 64)}, r"size must be 32x32, found 64x64: this model learnt images"),
        (whole, {"size": (32, 20)}, r"size must be 32x32, found 32x20.*texture \(such as"),
        (whole, {"periodic": True}, "periodic needs a stationary model.*sees whole images"),
        (texture, {"periodic": True, "size": (30, 50)}, "multiples of 4.*30x50; take 32x52"),
        (texture, {"size": (0, 8)}, "size must be 1 or more, found 0"),
        (texture, {"size": (10**6, 10**6)}, "size 1000000x1000000 has 1000000 million pixels"),
        (texture, {"size": (8.5, 8)}, r"size must be an integer, found 8\.5"),
    ],
)
def test_other_sizes_are_refused(
    prior: Callable[[], MultiScalePrior], options: dict[str, Any], words: str
) -> None:
    with pytest.raises(UsageError, match=words):
        prior().sample(1, **options)


def test_a_periodic_sample_of_crops_is_refused() -> None:
    with pytest.raises(UsageError, match="periodic needs a stationary model"):
        whole(torch.full((1, 8, 8), 0.4)).sample(1, periodic=True)


def test_a_field_of_one_size_draws_that_alone() -> None:
    with pytest.raises(UsageError, match="size must be 8x8, found 16x16"):
        gaussian_prior(smooth_spectrum(), 1).sample(1, size=(16, 16))


def test_the_benchmark_of_textures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = importlib.import_module("benchmarks.textures")
    monkeypatch.setattr(module, "load_prior", lambda model, device: texture(channels=1).float())
    monkeypatch.setattr(module, "SIDE", 32)
    monkeypatch.setattr(module, "SMALL", 16)
    noise = torch.rand(1, 1, 160, 96, generator=torch.Generator().manual_seed(0))
    write_image(tmp_path / "sand.png", Picture(noise))
    places = ["--pictures", tmp_path, "--json", tmp_path / "textures.json"]
    options = ["--models", "sand", "--textures", tmp_path, "--count", 1, "--side", 64, *places]
    module.main([str(option) for option in options])
    assert read_image(tmp_path / "texture-sand.jpg").pixels.shape == (1, 1, 72, 3 * 72)
    found = json.loads((tmp_path / "textures.json").read_text())["textures"]["sand"]
    assert 0.3 < found["seams"]["periodic"]["across"] < 3
    tables = importlib.import_module("benchmarks.tables")
    page = tables.fill("<!-- table:textures -->\n<!-- /table:textures -->\n", tmp_path)
    assert "| samples of | sand | beside |" in page


def test_seams_are_seen() -> None:
    ramp = torch.arange(8.0).expand(1, 1, 8, 8)
    found = importlib.import_module("benchmarks.textures").seams(ramp)
    assert found["across"] > 40


PACKAGED = {"faces", "gravel"} <= set(packaged())


@pytest.mark.skipif(not PACKAGED, reason="the packaged weights are not here")
class TestPackaged:
    """What comes with the package."""

    @pytest.mark.parametrize("name", sorted({"deep-field", "gravel"} & set(packaged())))
    def test_a_texture_tiles_the_plane(self, name: str) -> None:
        """The steps across its borders are as large as those between any two lines inside."""
        seams = importlib.import_module("benchmarks.textures").seams
        prior = load(name, device="cpu")
        assert prior.stationary
        tile = seams(prior.sample(1, seed=1, size=(96, 128), periodic=True))
        alone = seams(prior.sample(1, seed=1, size=(96, 128)))
        assert tile["inside 1%"] < tile["across"] < tile["inside 99%"]
        assert alone["across"] > alone["inside 99%"]

    def test_faces_of_another_size_are_refused(self, tmp_path: Path) -> None:
        out = tmp_path / "out.png"
        told = scalewise("synthesize", out, "--model", "faces", "--size", "64x64")
        assert told.code == 2
        assert "size must be 128x128, found 64x64: this model learnt images" in told.sentence
        told = scalewise("synthesize", out, "--model", "faces", "--periodic")
        assert told.code == 2
        assert "periodic needs a stationary model" in told.sentence
        assert not out.exists()

    def test_the_sides_of_a_periodic_image_are_multiples(self, tmp_path: Path) -> None:
        options = ("--model", "gravel", "--size", "50x64", "--periodic")
        told = scalewise("synthesize", tmp_path / "out.png", *options)
        assert told.code == 2
        assert "multiples of 4 to be periodic, found 50x64; take 52x64" in told.sentence

    def test_periodic_images_are_another_run(self, tmp_path: Path) -> None:
        options = ("--model", "gravel", "--size", "32x32", "-n", 1)
        assert scalewise("synthesize", tmp_path / "out", *options).code == 0
        assert scalewise("synthesize", tmp_path / "tiles", *options, "--periodic").code == 0
        more = ("--skip-existing",)
        told = scalewise("synthesize", tmp_path / "out", *options, "--periodic", *more)
        assert "is not of this run (periodic None there, True here)" in told.sentence
        told = scalewise("synthesize", tmp_path / "tiles", *options, *more)
        assert "is not of this run (periodic True there, None here)" in told.sentence

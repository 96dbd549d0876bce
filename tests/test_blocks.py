"""Images in blocks are those of the whole, whatever the cut; and take little memory."""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from block_tools import image, raster_of, result, tiny
from torch import Tensor

from scalewise import blocks, windows
from scalewise.blocks import Limits, parse_memory
from scalewise.blocks.run import Alone
from scalewise.blocks.steps import DenoiseLevel, reach, reach_of_draws
from scalewise.errors import UsageError
from scalewise.images import Picture
from scalewise.networks import LocalConditional, UNet
from scalewise.noise_model import NoiseModel
from scalewise.places import Places
from scalewise.prior import MultiScalePrior
from scalewise.restore import denoise, denoise_plane, inpaint, upscale
from scalewise.samplers import SAMPLERS, Multistep
from scalewise.windows import Window

CURVE = NoiseModel(
    scales=((0.05, 0.06, 0.04), (0.09, 0.1, 0.08), (0.1, 0.1, 0.1)), curve=((0.0, 2.0), (1.0, 0.5))
)
GRAY_CURVE = NoiseModel(scales=((0.05,), (0.09,)), curve=((0.0, 2.0), (1.0, 0.5)))
PHOTONS = NoiseModel.photons(gain=0.003)
UNEVEN = CURVE.model_copy(update={"places": Places(factors=((1.0, 4.0, 9.0), (0.25, 1.0, 16.0)))})
KINDS: dict[str, Any] = {
    "white": NoiseModel.white(0.1),
    "correlated": NoiseModel(scales=((0.05,), (0.09,))),
    "in the shadows": CURVE,
    "photons": PHOTONS,
    "by place": UNEVEN,
    "found": None,
}


class TestWindows:
    def test_parts_cover_an_image_once(self) -> None:
        seen = torch.zeros(37, 53)
        for window in windows.windows((37, 53), 16):
            seen[window.place] += 1
        assert torch.equal(seen, torch.ones(37, 53))

    def test_a_window_grows_as_far_as_the_image(self) -> None:
        assert Window(0, 4, 8, 12).grown(3, (16, 14)) == (0, 7, 5, 14)
        assert Window(3, 5, 7, 9).aligned(4) == (0, 8, 4, 12)
        assert Window(0, 8, 4, 12).over(4) == (0, 2, 1, 3)
        assert Window(2, 4, 2, 4).inside(Window(1, 9, 2, 9)) == (1, 3, 0, 2)

    @pytest.mark.parametrize("size", [(256, 256), (257, 300), (700, 256), (1000, 2000)])
    def test_overlapping_windows_of_one_size_count_everywhere(self, size: tuple[int, int]) -> None:
        whole = Window(0, *size[:1], 0, size[1])
        found = windows.overlapping(size, whole)
        assert {window.size for window in found} == {(min(256, size[0]), min(256, size[1]))}
        total = torch.zeros(size)
        for window in found:
            total[window.place] += windows.weights_of(window, size)
        assert float(total.min()) > 0.4

    def test_a_blend_of_equal_values_is_that_value_and_parts_agree(self) -> None:
        size = (300, 500)
        field = torch.randn(1, 2, *size, generator=torch.Generator().manual_seed(0))

        def look(window: Window) -> Tensor:
            return field[window.place]

        whole = windows.blended(look, size, Window(0, 300, 0, 500))
        torch.testing.assert_close(whole, field, atol=1e-6, rtol=0)
        part = Window(100, 290, 30, 400)
        torch.testing.assert_close(windows.blended(look, size, part), whole[part.place])


class TestSameAsTheWhole:
    @pytest.mark.parametrize("kind", KINDS)
    @pytest.mark.parametrize("tile", [16, 48])
    def test_denoised(self, kind: str, tile: int, tmp_path: Path) -> None:
        noisy, prior, noise = image(75, 118), tiny(), KINDS[kind]
        whole, _ = denoise_plane(noisy, prior, noise=noise)
        source = raster_of(noisy, tmp_path)
        blocks.denoise(source, prior, tmp_path / "o.npy", noise=noise, limits=Limits(tile=tile))
        found = result(tmp_path / "o.npy")
        assert float((whole - noisy).abs().mean()) > 0.01
        torch.testing.assert_close(found, whole, atol=1e-5, rtol=0)

    @pytest.mark.parametrize("mean", [True, False])
    @pytest.mark.parametrize("factor", [2, 4])
    def test_enlarged(self, mean: bool, factor: int, tmp_path: Path) -> None:
        small, prior = image(37, 53), tiny()
        whole = (
            prior.upscale_mean(small[None], factor)[0]
            if mean
            else prior.upscale(small[None], factor, samples=2, seed=3)[1, 0]
        )
        source = raster_of(small, tmp_path)
        options: dict[str, Any] = {"factor": factor, "mean": mean, "sample": 1, "seed": 3}
        blocks.upscale(source, prior, tmp_path / "o.npy", **options, limits=Limits(tile=32))
        torch.testing.assert_close(result(tmp_path / "o.npy"), whole, atol=1e-5, rtol=0)

    def test_drawn(self, tmp_path: Path) -> None:
        prior = tiny(stationary=True)
        whole = prior.sample(1, seed=5, first=2, size=(70, 110))[0]
        picture = Picture(whole[None].clamp(0, 1)).pixels
        stored = (255 * picture[0]).round()
        blocks.synthesize(
            prior, tmp_path / "o.npy", (70, 110), sample=2, seed=5, limits=Limits(tile=16)
        )
        assert float((result(tmp_path / "o.npy").float() - stored).abs().max()) <= 1

    def test_drawn_in_any_order(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        prior, limits = tiny(stationary=True), Limits(tile=16)
        blocks.synthesize(prior, tmp_path / "a.npy", (70, 110), seed=5, limits=limits)
        in_order = Alone.results

        def shuffled(self: Alone, step: Any, parts: Any) -> Any:
            return in_order(self, step, random.Random(1).sample(parts, len(parts)))

        monkeypatch.setattr(Alone, "results", shuffled)
        blocks.synthesize(prior, tmp_path / "b.npy", (70, 110), seed=5, limits=limits)
        assert torch.equal(result(tmp_path / "a.npy"), result(tmp_path / "b.npy"))

    @pytest.mark.parametrize(("channels", "of_prior"), [(1, 3), (3, 1), (1, 1)])
    def test_of_other_channels(self, channels: int, of_prior: int, tmp_path: Path) -> None:
        noisy, prior = image(40, 56, channels), tiny(of_prior)
        noise = NoiseModel.white(0.08)
        whole, _ = denoise_plane(noisy, prior, noise=noise)
        source = raster_of(noisy, tmp_path)
        limits = Limits(tile=16)
        outcome = blocks.denoise(source, prior, tmp_path / "o.npy", noise=noise, limits=limits)
        torch.testing.assert_close(result(tmp_path / "o.npy"), whole, atol=1e-5, rtol=0)
        converted = "converted to" in " ".join(outcome.notes)
        assert converted == (channels != of_prior)

    def test_colours_become_gray_with_a_gray_prior(self, tmp_path: Path) -> None:
        """As they do in whole images, whatever is done, known and unknown pixels alike."""
        seen, prior, gray = image(40, 56), tiny(1), "RGB image converted to gray for the model"
        with torch.no_grad():  # random networks amplify what they see, without end in a hole
            for parameter in prior.parameters():
                parameter.mul_(0.5)
        source, limits = raster_of(seen, tmp_path), Limits(tile=16)
        picture = Picture(seen, depth="float32")
        hole = torch.zeros(1, 40, 56)
        hole[0, 10:14, 20:30] = 1
        mask = raster_of(hole, tmp_path, "mask.npy")
        wholes = {
            "larger": upscale(picture, prior, factor=2, samples=None),
            "filled": inpaint(picture, hole[0] > 0, prior, samples=None),
            "same": denoise(picture, prior, noise=NoiseModel.white(0.0)),
        }
        outcomes = {
            "larger": blocks.upscale(
                source, prior, tmp_path / "larger.npy", mean=True, limits=limits
            ),
            "filled": blocks.inpaint(
                source, mask, prior, tmp_path / "filled.npy", mean=True, limits=limits
            ),
            "same": blocks.denoise(
                source, prior, tmp_path / "same.npy", noise=NoiseModel.white(0), limits=limits
            ),
        }
        for name, whole in wholes.items():
            found = result(tmp_path / f"{name}.npy")
            torch.testing.assert_close(found, whole.picture.pixels[0], atol=1e-5, rtol=0)
            assert gray in whole.notes
            assert gray in outcomes[name].notes

    def test_where_the_global_network_looks_at_windows(self, tmp_path: Path) -> None:
        noisy, prior = image(1100, 560, 1), tiny(1, levels=1)
        noise = NoiseModel.white(0.1)
        whole, _ = denoise_plane(noisy, prior, noise=noise)
        source = raster_of(noisy, tmp_path)
        blocks.denoise(source, prior, tmp_path / "o.npy", noise=noise, limits=Limits(tile=128))
        torch.testing.assert_close(result(tmp_path / "o.npy"), whole, atol=1e-5, rtol=0)

    def test_where_local_networks_pass_in_parts(self, monkeypatch: pytest.MonkeyPatch) -> None:
        noisy, prior = image(150, 230)[None], tiny()
        whole = prior.denoise(noisy, CURVE)
        monkeypatch.setattr(windows, "PART", 20)
        torch.testing.assert_close(prior.denoise(noisy, CURVE), whole, atol=1e-6, rtol=0)

    def test_holes(self, tmp_path: Path) -> None:
        known, prior = image(200, 330), tiny()
        hole = torch.zeros(200, 330)
        hole[10:14, 20:60], hole[150:190, 100:103], hole[100:103, 300:] = 1, 1, 1
        picture = Picture(known[None], depth="float32")
        whole = inpaint(picture, hole, prior, samples=1, seed=4).picture.pixels[0]
        source = raster_of(known, tmp_path)
        mask = raster_of(hole[None], tmp_path, "mask.npy")
        for tile in (32, 128):
            blocks.inpaint(
                source,
                mask,
                prior,
                tmp_path / "o.npy",
                seed=4,
                limits=Limits(tile=tile),
                force=True,
            )
            found = result(tmp_path / "o.npy")
            torch.testing.assert_close(found, whole, atol=1e-5, rtol=0)
            assert torch.equal(found[:, hole == 0], known[:, hole == 0])

    def test_a_margin_too_small_would_be_noticed(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from scalewise.blocks import denoising as work

        noisy, prior, noise = image(64, 96), tiny(), NoiseModel.white(0.1)
        whole, _ = denoise_plane(noisy, prior, noise=noise)
        monkeypatch.setattr(work, "reach", lambda network: (reach(network) or 1) - 1)
        prior.low = tiny(stationary=True).low
        whole, _ = denoise_plane(noisy, prior, noise=noise)
        source = raster_of(noisy, tmp_path)
        blocks.denoise(source, prior, tmp_path / "o.npy", noise=noise, limits=Limits(tile=16))
        assert float((result(tmp_path / "o.npy") - whole).abs().max()) > 1e-4

    @pytest.mark.slow
    @pytest.mark.timeout(3600)
    def test_a_thousand_cuts(self, tmp_path: Path) -> None:
        """Random sizes, tiles, factors and noise; samples as well as means."""
        dice = random.Random(0)
        priors = {(c, j): tiny(c, j, field=5) for c in (1, 3) for j in (1, 2)}
        kinds = [NoiseModel.white(0.07), NoiseModel(scales=((0.05,), (0.09,))), GRAY_CURVE, None]
        worst = 0.0
        for number in range(1000):
            channels, levels = dice.choice((1, 3)), dice.choice((1, 2))
            prior, task = priors[channels, levels], dice.choice(("denoise", "mean", "sample"))
            side = 70 if task == "denoise" else 24
            size = dice.randint(5, side), dice.randint(5, side)
            seen, tile = image(*size, channels, seed=number), dice.randint(1, 9) * 4
            source, out = raster_of(seen, tmp_path), tmp_path / "o.npy"
            limits = Limits(tile=max(tile, 4), on_disk=dice.random() < 0.1)
            if task == "denoise":
                noise = dice.choice(kinds)
                whole = denoise_plane(seen, prior, noise=noise)[0]
                blocks.denoise(source, prior, out, noise=noise, limits=limits, force=True)
            else:
                factor = 2 ** dice.randint(1, levels)
                whole = (
                    prior.upscale_mean(seen[None], factor)[0]
                    if task == "mean"
                    else prior.upscale(seen[None], factor, seed=number)[0, 0]
                )
                options: dict[str, Any] = {"factor": factor, "mean": task == "mean", "seed": number}
                blocks.upscale(source, prior, out, **options, limits=limits, force=True)
            worst = max(worst, float((result(out) - whole).abs().max()))
        assert worst < 1e-5


@pytest.mark.slow
def test_any_number_of_workers_gives_the_same(tmp_path: Path) -> None:
    """Denoised, a sample enlarged, and one from scratch, bit for bit."""
    from distributed import LocalCluster

    seen, prior, texture = image(150, 131), tiny(), tiny(stationary=True)
    source = raster_of(seen, tmp_path)
    small = raster_of(seen[:, :40, :50], tmp_path, "small.npy")
    tasks: list[Callable[[Path, Limits], object]] = [
        lambda out, limits: blocks.denoise(source, prior, out, noise=GRAY_CURVE, limits=limits),
        lambda out, limits: blocks.upscale(small, prior, out, factor=4, seed=3, limits=limits),
        lambda out, limits: blocks.synthesize(texture, out, (90, 70), seed=2, limits=limits),
    ]
    found: dict[int, list[Tensor]] = {}
    for workers in (1, 2, 3, 4):
        options: dict[str, Any] = {"threads_per_worker": 1, "dashboard_address": ":0"}
        with LocalCluster(n_workers=workers, **options) as cluster:
            limits = Limits(tile=32, scheduler=cluster.scheduler_address)
            found[workers] = []
            for number, task in enumerate(tasks):
                task(tmp_path / f"{workers}-{number}.npy", limits)
                found[workers].append(result(tmp_path / f"{workers}-{number}.npy"))
    for number, task in enumerate(tasks):
        task(tmp_path / f"{number}.npy", Limits(tile=32))
        for each in found.values():
            assert torch.equal(each[number], result(tmp_path / f"{number}.npy"))


class TestReach:
    def test_it_is_that_of_the_network_not_what_it_declares(self) -> None:
        network = tiny().conditionals[0]
        assert reach(network) == 3
        network.receptive_field = 99
        assert reach(network) == 3

    def test_every_step_of_a_sampler_looks_as_far_again(self) -> None:
        network = tiny().conditionals[0]
        rule = SAMPLERS["few-steps"](network)
        assert isinstance(rule, Multistep)
        assert reach_of_draws(network, "few-steps") == 3 * (rule.steps + 1)

    def test_networks_that_see_all_are_refused(self) -> None:
        prior = tiny()
        with pytest.raises(UsageError, match="low-pass image as a whole"):
            blocks.synthesize(prior, "never.npy", (64, 64))
        other = MultiScalePrior(prior.low, prior.conditionals, "db2")
        with pytest.raises(UsageError, match="wavelet is db2"):
            blocks.check_model(other)

    def test_a_sampler_that_reads_the_noise_off_the_residual_is_refused(
        self, tmp_path: Path
    ) -> None:
        source = raster_of(image(16, 16), tmp_path)
        with pytest.raises(UsageError, match="few-steps"):
            blocks.upscale(source, tiny(), tmp_path / "o.npy", sampler="paper")


class TestMemory:
    @pytest.mark.parametrize(
        ("text", "bytes"),
        [("2GB", 2e9), ("700MB", 7e8), ("1.5 GiB", 1.5 * 2**30), ("64k", 64e3), ("1000000", 1e6)],
    )
    def test_amounts(self, text: str, bytes: float) -> None:
        assert parse_memory(text) == bytes

    @pytest.mark.parametrize("text", ["", "much", "-2GB", "0", "0GB", "2", "2XB", "nan"])
    def test_what_is_no_amount(self, text: str) -> None:
        with pytest.raises(UsageError, match="such as 2GB"):
            parse_memory(text)

    def test_too_little_says_how_much_is_needed(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Of a process of 400 MB: that of the tests may have come to hold more."""
        monkeypatch.setattr("scalewise.blocks.memory.resident_memory", lambda: 400_000_000)
        source = raster_of(image(64, 64), tmp_path)
        with pytest.raises(UsageError, match=r"too little .* at least 0\.\d+GB are needed"):
            blocks.denoise(source, tiny(), tmp_path / "o.npy", limits=Limits("100MB"))
        assert sorted(file.name for file in tmp_path.iterdir()) == ["in.npy"]

    def test_a_tile_smaller_than_the_scales_is_refused(self, tmp_path: Path) -> None:
        source = raster_of(image(64, 64), tmp_path)
        with pytest.raises(UsageError, match="--tile must be 4 or more"):
            blocks.denoise(source, tiny(), tmp_path / "o.npy", limits=Limits(tile=2))

    @pytest.mark.slow
    @pytest.mark.parametrize(
        ("size", "suffix", "limit"),
        [((3000, 4000), ".png", 700), ((400, 30_000), ".tif", 700), ((5000, 6000), ".zarr", 900)],
    )
    def test_a_process_keeps_to_it(
        self, size: tuple[int, int], suffix: str, limit: int, tmp_path: Path
    ) -> None:
        """As the system measures it, everything included, networks of the packaged sizes."""
        import scalewise
        from scalewise.images import write_image

        torch.manual_seed(0)
        details = [LocalConditional(3, 5, width=8, blocks=1, noise_maps=True) for _ in range(3)]
        prior = MultiScalePrior(UNet(3, (32, 32), width=32, blocks=1, noise_maps=True), details)
        scalewise.save(prior, tmp_path / "model")
        values = (255 * image(*size).clamp(0, 1)).round() / 255
        write_image(tmp_path / "in.png", Picture(values))
        del values
        code = (
            "from pathlib import Path\n"
            "from scalewise.cli import main\n"
            "try: main()\n"
            "except SystemExit as end: assert not end.code, end.code\n"
            "status = Path('/proc/self/status').read_text()\n"
            "print('peak', status.split('VmHWM:')[1].split()[0])\n"
        )
        options = [
            "--sigma",
            "12",
            "--max-memory",
            f"{limit}MB",
            "--model",
            str(tmp_path / "model"),
        ]
        command = ["denoise", str(tmp_path / "in.png"), str(tmp_path / f"out{suffix}"), *options]
        done = subprocess.run(
            [sys.executable, "-c", code, *command], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        peak = int(done.stdout.split("peak")[1]) * 1024
        assert peak < limit * 1e6


def test_noise_is_found_once_in_all_of_a_large_image(tmp_path: Path) -> None:
    """In tiles all over it, so the cut has no say."""
    noisy, prior = image(1700, 1700, 1), tiny(1)
    source = raster_of(noisy, tmp_path)
    found = [
        blocks.denoise(
            source, prior, tmp_path / "o.npy", limits=Limits(tile=tile), force=True
        ).noise[0]
        for tile in (256, 1024)
    ]
    assert found[0] == found[1]
    assert found[0].sigma == pytest.approx(0.05, rel=0.1)


def test_a_mask_leaves_the_rest_bit_for_bit(tmp_path: Path) -> None:
    noisy, prior = image(60, 80), tiny()
    share = torch.zeros(1, 60, 80)
    share[:, 20:40, 30:50] = 1
    source, mask = raster_of(noisy, tmp_path), raster_of(share, tmp_path, "mask.npy")
    options: dict[str, Any] = {"noise": NoiseModel.white(0.1), "limits": Limits(tile=16)}
    blocks.denoise(source, prior, tmp_path / "o.npy", mask=mask, **options)
    blocks.denoise(source, prior, tmp_path / "all.npy", **options)
    found, whole, inside = result(tmp_path / "o.npy"), result(tmp_path / "all.npy"), share[0] > 0
    assert torch.equal(found[:, ~inside], noisy[:, ~inside])
    assert torch.equal(found[:, inside], whole[:, inside])
    small = raster_of(share[:, :50], tmp_path, "small.npy")
    with pytest.raises(UsageError, match="80x50 pixels, the image 80x60"):
        blocks.denoise(source, prior, tmp_path / "o.npy", mask=small, force=True, **options)


@pytest.mark.parametrize("on_disk", [False, True])
@pytest.mark.parametrize("kind", [NoiseModel.white(0.08), GRAY_CURVE])
def test_background_costs_no_work(
    kind: NoiseModel, on_disk: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a mask is white, all is as without one; the networks see little of the rest."""
    noisy, prior = image(200, 231), tiny()
    share = torch.zeros(1, 200, 231)
    share[0, 90:101, 120:140] = 1
    source, mask = raster_of(noisy, tmp_path), raster_of(share, tmp_path, "mask.npy")
    seen: list[int] = []
    look = DenoiseLevel.__call__

    def counted(step: DenoiseLevel, given: MultiScalePrior, window: Window) -> None:
        seen.append(window.size[0] * window.size[1])
        look(step, given, window)

    monkeypatch.setattr(DenoiseLevel, "__call__", counted)
    limits = Limits(tile=16, on_disk=on_disk)
    blocks.denoise(source, prior, tmp_path / "all.npy", noise=kind, limits=limits)
    everywhere = sum(seen)
    seen.clear()
    blocks.denoise(source, prior, tmp_path / "o.npy", noise=kind, limits=limits, mask=mask)
    assert sum(seen) < everywhere / 6
    found, whole, there = result(tmp_path / "o.npy"), result(tmp_path / "all.npy"), share[0] > 0
    assert torch.equal(found[:, there], whole[:, there])
    assert torch.equal(found[:, ~there], noisy[:, ~there])


def test_a_mask_of_nothing_leaves_all(tmp_path: Path) -> None:
    noisy = image(64, 80)
    source = raster_of(noisy, tmp_path)
    mask = raster_of(torch.zeros(1, 64, 80), tmp_path, "mask.npy")
    options: dict[str, Any] = {"noise": NoiseModel.white(0.1), "limits": Limits(tile=16)}
    blocks.denoise(source, tiny(), tmp_path / "o.npy", mask=mask, **options)
    assert torch.equal(result(tmp_path / "o.npy"), noisy)


def test_half_the_strength_tells_the_networks_half_the_noise(tmp_path: Path) -> None:
    noisy, prior = image(40, 48), tiny()
    source = raster_of(noisy, tmp_path)
    blocks.denoise(source, prior, tmp_path / "o.npy", noise=NoiseModel.white(0.1), strength=0.5)
    whole, _ = denoise_plane(noisy, prior, noise=NoiseModel.white(0.05))
    torch.testing.assert_close(result(tmp_path / "o.npy"), whole, atol=1e-5, rtol=0)


def test_an_image_without_noise_comes_back_as_it_is(tmp_path: Path) -> None:
    flat = np.full((64, 64), 77, np.uint8)
    flat[:, 32:] = 180
    np.save(tmp_path / "flat.npy", flat)
    from scalewise.rasters import open_raster

    outcome = blocks.denoise(open_raster(tmp_path / "flat.npy"), tiny(1), tmp_path / "o.npy")
    assert np.array_equal(np.load(tmp_path / "o.npy"), flat)
    assert "no noise was found" in outcome.notes[-1]

"""`scalewise noise`, and everything that `scalewise denoise` can be told of noise."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from cli_tools import picture_file, save_models, scalewise, smooth, tree

from scalewise import restore, store
from scalewise.cli.contact import MOST, ContactSheet
from scalewise.images import Picture, read_image, write_image
from scalewise.noise_model import NoiseModel


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_models(tmp_path_factory.mktemp("models"))


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def noisy(tmp_path: Path) -> Path:
    pixels = smooth(96, 128) + 0.08 * torch.randn(3, 96, 128, generator=seeded())
    write_image(tmp_path / "noisy.tif", Picture(pixels, depth="float32"))
    return tmp_path / "noisy.tif"


class TestNoise:
    def test_it_says_what_the_noise_is_like(self, noisy: Path, models: Path) -> None:
        done = scalewise("noise", noisy, "--model", models / "photos")
        assert done.code == 0
        first, second, *rest = done.stdout.splitlines()
        assert first.startswith(f"{noisy}: standard deviation 2")
        assert first.endswith(" of 255")
        assert second == "white: alike in all scales"
        assert any("█" in line for line in rest)

    def test_its_file_is_what_denoise_takes(
        self, noisy: Path, models: Path, tmp_path: Path
    ) -> None:
        file, model = tmp_path / "noise.json", ("--model", models / "photos")
        assert scalewise("noise", noisy, file, *model).code == 0
        found = NoiseModel.from_json(file.read_text(), "noise.json")
        done = scalewise("denoise", noisy, tmp_path / "a.tif", "--noise", file, *model, "--json")
        assert done.code == 0
        assert done.records[0]["sigma"] == pytest.approx(255 * found.sigma, abs=0.01)
        blind = scalewise("denoise", noisy, tmp_path / "b.tif", *model)
        assert blind.code == 0
        assert read_image(tmp_path / "a.tif").pixels.equal(read_image(tmp_path / "b.tif").pixels)
        again = scalewise("noise", noisy, file, *model)
        assert again.code == 1
        assert "noise.json exists; give --force to overwrite it" in again.stderr

    def test_json(self, noisy: Path, models: Path) -> None:
        done = scalewise("noise", noisy, "--model", models / "photos", "--json")
        (record,) = done.records
        assert record["input"] == str(noisy)
        model = NoiseModel(scales=record["scales"], curve=record["curve"])
        assert record["words"] == model.in_words()
        assert record["defects"] == []

    def test_frames_and_bars_of_channels(self, tmp_path: Path, models: Path) -> None:
        strengths = torch.tensor([0.01, 0.01, 0.04]).view(3, 1, 1)
        frame = 0.2 + strengths * torch.randn(3, 128, 128, generator=seeded())
        write_image(tmp_path / "flat.tif", Picture(frame, depth="float32"))
        model = ("--model", models / "photos")
        done = scalewise("noise", tmp_path / "flat.tif", "--frame", *model)
        assert "blue 4 times" in done.stdout
        assert "2 pixels green" in done.stdout
        out = scalewise(
            "denoise", tmp_path / "flat.tif", tmp_path / "out.tif", "--noise-from",
            tmp_path / "flat.tif", *model, "--json",
        )  # fmt: skip
        assert out.code == 0
        assert out.records[0]["sigma"] == pytest.approx(255 * 0.04, rel=0.05)
        shown = scalewise("noise", picture_file(tmp_path / "small.png"), "--frame", *model)
        assert shown.code == 2
        assert "too small to tell its noise; at least 64x64" in shown.stderr

    @pytest.mark.parametrize("channels", [1, 3])
    def test_frames_of_other_channels(self, tmp_path: Path, models: Path, channels: int) -> None:
        """A gray frame tells the noise of every colour; one of colours tells nothing of gray."""
        frame = 0.2 + 0.05 * torch.randn(channels, 128, 128, generator=seeded())
        write_image(tmp_path / "flat.tif", Picture(frame, depth="float32"))
        picture = Picture(smooth(64, 64, 4 - channels), depth="float32")
        write_image(tmp_path / "in.tif", picture)
        before, result = tree(tmp_path), tmp_path / "out.tif"
        shared = ("denoise", tmp_path / "in.tif", result, "--model", models / "photos")
        done = scalewise(*shared, "--noise-from", tmp_path / "flat.tif", "--json")
        if channels == 3:
            assert done.code == 2
            assert "the noise is described for 3 channels, the picture has 1" in done.stderr
            assert tree(tmp_path) == before
            return
        (record,) = done.records
        assert record["sigma"] == pytest.approx(255 * 0.05, rel=0.05)
        told = restore.noise_of_frame(read_image(tmp_path / "flat.tif").pixels[0], 3)
        each = NoiseModel(scales=tuple(3 * scale for scale in told.scales))
        (tmp_path / "noise.json").write_text(each.model_dump_json())
        assert scalewise(*shared, "--noise", tmp_path / "noise.json", "--force").code == 0
        as_colours = read_image(result).pixels
        assert not as_colours.equal(picture.pixels)
        assert scalewise(*shared, "--noise-from", tmp_path / "flat.tif", "--force").code == 0
        assert read_image(result).pixels.equal(as_colours)

    def test_defects_are_named(self, tmp_path: Path, models: Path) -> None:
        spoilt = smooth(96, 128)
        hit = torch.rand(spoilt.shape, generator=seeded(1)) < 0.02
        spoilt[hit] = 1.0
        write_image(tmp_path / "dead.tif", Picture(spoilt, depth="float32"))
        model = ("--model", models / "photos")
        done = scalewise("noise", tmp_path / "dead.tif", *model)
        assert "% of the values are impulses, such as dead pixels" in done.stdout
        arguments = ("denoise", tmp_path / "dead.tif", tmp_path / "out.tif", *model, "--sigma", 0)
        done = scalewise(*arguments)
        assert "fix impulses removes them" in done.stdout
        assert scalewise(*arguments, "--fix", "impulses, stripes", "--force").code == 0
        mended = read_image(tmp_path / "out.tif").pixels[0]
        assert ((mended - smooth(96, 128)).abs() > 0.1).float().mean() < 0.0005


class TestCounts:
    def test_gain_offset_and_read_noise(self, tmp_path: Path, models: Path) -> None:
        counts = np.full((64, 64), 100.0)
        counts[:, 32:] += np.random.default_rng(0).poisson(400, (64, 32)) * 2.0
        tifffile.imwrite(tmp_path / "counts.tif", counts.astype("uint16"))
        model = ("--model", models / "gray", "--black", 0, "--white", 4000)
        told = ("--gain", 2, "--offset", 100, "--read-noise", 1.5)
        done = scalewise(
            "denoise", tmp_path / "counts.tif", tmp_path / "out.tif", *model, *told, "--json"
        )
        assert done.code == 0, done.stderr
        picture = read_image(tmp_path / "counts.tif", black=0, white=4000)
        noise = restore.photon_noise(picture, gain=2, offset=100, read=1.5)
        assert done.records[0]["sigma"] == pytest.approx(255 * noise.sigma, abs=0.001)
        assert "in the lights" in done.records[0]["noise"]
        far = scalewise(
            "denoise", tmp_path / "counts.tif", tmp_path / "b.tif", *model, "--gain", 2,
            "--offset", 3000,
        )  # fmt: skip
        assert far.code == 2
        assert "the offset, 3000, is above most of the picture" in far.stderr


class TestMask:
    def test_outside_nothing_changes(self, noisy: Path, models: Path, tmp_path: Path) -> None:
        mask = torch.zeros(1, 96, 128)
        mask[:, :40] = 1
        mask[:, 40:50] = 0.5
        write_image(tmp_path / "mask.png", Picture(mask))
        model = ("--model", models / "photos", "--sigma", 20)
        shared = ("denoise", noisy)
        assert scalewise(*shared, tmp_path / "a.tif", *model).code == 0
        masked = scalewise(*shared, tmp_path / "b.tif", *model, "--mask", tmp_path / "mask.png")
        assert masked.code == 0
        before = read_image(noisy).pixels[0]
        whole = read_image(tmp_path / "a.tif").pixels[0]
        part = read_image(tmp_path / "b.tif").pixels[0]
        assert part[:, 50:].equal(before[:, 50:])
        torch.testing.assert_close(part[:, :40], whole[:, :40])
        half = read_image(tmp_path / "mask.png").pixels[0, 0, 45, 0]
        torch.testing.assert_close(part[:, 40:50], torch.lerp(before, whole, half)[:, 40:50])

    def test_another_size(self, noisy: Path, models: Path, tmp_path: Path) -> None:
        write_image(tmp_path / "mask.png", Picture(torch.zeros(1, 90, 128)))
        before = tree(tmp_path)
        done = scalewise(
            "denoise", noisy, tmp_path / "a.tif", "--mask", tmp_path / "mask.png",
            "--model", models / "photos",
        )  # fmt: skip
        assert done.code == 2
        assert "the mask is 128x90, the picture 128x96; they must be the same size" in done.stderr
        assert tree(tmp_path) == before


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (json.dumps({"scales": [[0.1, 0.1, 0.1]]}).encode(), "described for 3 channels"),
        (b"\xff\xfe\x00", "it is no text"),
        (b"{}", "scales: Field required"),
        (None, "No such file"),
    ],
)
def test_files_that_do_not_fit(
    content: bytes | None, words: str, tmp_path: Path, models: Path
) -> None:
    gray = picture_file(tmp_path / "gray.png", channels=1)
    if content is not None:
        (tmp_path / "noise.json").write_bytes(content)
    done = scalewise(
        "denoise", gray, tmp_path / "out.png", "--noise", tmp_path / "noise.json",
        "--model", models / "gray",
    )  # fmt: skip
    assert done.code in (1, 2)
    assert words in done.stderr
    assert not (tmp_path / "out.png").exists()


def test_a_level_far_from_the_estimate_is_told(noisy: Path, models: Path, tmp_path: Path) -> None:
    prior = store.load(models / "photos")
    picture = read_image(noisy)
    for sigma, told in ((60 / 255, True), (2 / 255, True), (20 / 255, False)):
        notes = " ".join(restore.denoise(picture, prior, sigma=sigma).notes)
        assert ("20" in notes and "was given" in notes) is told


class TestFolders:
    def test_a_summary_and_a_sheet(self, tmp_path: Path, models: Path) -> None:
        (tmp_path / "in").mkdir()
        for name in ("a", "b", "c"):
            picture_file(tmp_path / "in" / f"{name}.png")
        (tmp_path / "in" / "bad.png").write_bytes(b"no picture")
        model = ("--model", models / "photos", "--sigma", 10)
        shared = ("denoise", tmp_path / "in", tmp_path / "out", *model)
        done = scalewise(*shared, "--sheet", tmp_path / "sheet.png")
        assert done.code == 1
        assert done.stdout.splitlines()[-1] == "3 done, 1 failed: bad.png"
        pixels = read_image(tmp_path / "sheet.png").pixels[0]
        assert pixels.shape == (3, 262, 518)
        before = read_image(tmp_path / "in" / "a.png").pixels[0]
        after = read_image(tmp_path / "out" / "a.png").pixels[0]
        assert pixels[:, 2:22, 2:30].equal(before)
        assert pixels[:, 2:22, 130:158].equal(after)
        (tmp_path / "out" / "b.png").unlink()
        again = scalewise(*shared, "--skip-existing")
        assert again.code == 1
        assert again.stdout.splitlines()[-1] == "1 done, 2 left as they were, 1 failed: bad.png"
        (tmp_path / "in" / "bad.png").unlink()
        nothing = scalewise(*shared, "--skip-existing")
        assert nothing.code == 0
        assert "nothing to do: the outputs of all 3 images exist" in nothing.stderr
        taken = scalewise(*shared, "--force", "--sheet", tmp_path / "none" / "sheet.png")
        assert taken.code == 1
        assert "does not exist" in taken.stderr

    def test_sheets_of_many_show_every_second_one(self, tmp_path: Path) -> None:
        sources = [Path(f"{number}.png") for number in range(2 * MOST - 5)]
        sheet = ContactSheet(tmp_path / "sheet.png", sources)
        picture = Picture(torch.rand(1, 8, 8, generator=seeded()))
        for source in reversed(sources):
            sheet.add(source, picture, picture)
        assert set(sheet.pairs) == set(sources[::2])

    def test_enlarged_pictures_are_shown_at_one_size(self, tmp_path: Path) -> None:
        sheet = ContactSheet(tmp_path / "sheet.png", [Path("small.png")])
        small = Picture(torch.rand(3, 90, 90, generator=seeded()))
        large = Picture(small.pixels[0].repeat_interleave(4, 1).repeat_interleave(4, 2))
        sheet.add(Path("small.png"), small, large)
        (pair,) = sheet.pairs.values()
        assert pair[0].equal(pair[1])

"""Images of any size in the formats that people have: read in windows, and written back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
import zarr
from block_tools import tiny
from PIL import Image

from scalewise import blocks, restore
from scalewise.blocks import Limits
from scalewise.errors import ScalewiseError, UsageError
from scalewise.images import Picture, read_image, write_image
from scalewise.noise_model import NoiseModel
from scalewise.rasters import WholeOnly, open_raster
from scalewise.windows import Window

WHITE: dict[str, Any] = {"noise": NoiseModel.white(12 / 255), "limits": Limits(tile=64)}


def photo(height: int = 150, width: int = 203, channels: int = 3) -> Any:
    dice = np.random.default_rng(0)
    rows, columns = np.mgrid[:height, :width]
    clean = 120 + 60 * np.sin(rows / 17)[..., None] + 40 * np.cos(columns / 23)[..., None]
    return np.clip(clean + dice.normal(0, 12, (height, width, channels)), 0, 255).astype(np.uint8)


def ome(path: Path, array: Any, axes: str, version: str, colours: bool = False) -> None:
    form = 2 if version == "0.4" else 3
    group = zarr.open_group(str(path), mode="w", zarr_format=form)
    made = group.create_array("0", shape=array.shape, chunks=(64,) * array.ndim, dtype=array.dtype)
    made[...] = array
    scale = {"type": "scale", "scale": [0.5 if axis in "yx" else 1.0 for axis in axes]}
    said: dict[str, Any] = {
        "multiscales": [
            {
                "axes": [{"name": axis} for axis in axes],
                "datasets": [{"path": "0", "coordinateTransformations": [scale]}],
                "version": version,
            }
        ]
    }
    if colours:
        told = ("FF0000", "00FF00", "0000FF")
        said["omero"] = {"channels": [{"color": colour} for colour in told]}
    group.attrs.update(said if form == 2 else {"ome": said})


def expected(array: Any, tmp_path: Path) -> Any:
    """The same by an image file."""
    Image.fromarray(array if array.shape[-1] == 3 else array[..., 0]).save(tmp_path / "same.png")
    blocks.denoise(open_raster(tmp_path / "same.png"), tiny(), tmp_path / "same.npy", **WHITE)
    return np.load(tmp_path / "same.npy")


class TestReading:
    def test_windows_go_on_mirrored(self, tmp_path: Path) -> None:
        np.save(tmp_path / "a.npy", photo(5, 7))
        raster = open_raster(tmp_path / "a.npy")
        whole = raster.pixels(0, Window(0, 5, 0, 7))
        more = raster.pixels(0, Window(2, 8, 4, 8))
        torch.testing.assert_close(more[:, :3, :3], whole[:, 2:, 4:])
        torch.testing.assert_close(more[:, 3], more[:, 1])
        torch.testing.assert_close(more[:, :, 3], whole[:, [2, 3, 4, 3, 2, 1], 5])

    @pytest.mark.parametrize("version", [2, 3])
    def test_plain_zarr(self, version: Any, tmp_path: Path) -> None:
        values = photo()
        made = zarr.create_array(
            str(tmp_path / "a.zarr"),
            shape=values.shape,
            chunks=(50, 60, 3),
            dtype="uint8",
            zarr_format=version,
        )
        made[...] = values
        blocks.denoise(open_raster(tmp_path / "a.zarr"), tiny(), tmp_path / "b.zarr", **WHITE)
        found = zarr.open_array(str(tmp_path / "b.zarr"), mode="r")
        assert found.metadata.zarr_format == version
        assert np.array_equal(found[...], expected(values, tmp_path))

    @pytest.mark.parametrize("version", ["0.4", "0.5"])
    def test_ome_zarr_of_colours_with_a_pyramid(self, version: str, tmp_path: Path) -> None:
        values = photo(600, 301)
        ome(tmp_path / "a.zarr", values.transpose(2, 0, 1), "cyx", version, colours=True)
        blocks.denoise(open_raster(tmp_path / "a.zarr"), tiny(), tmp_path / "b.zarr", **WHITE)
        group = zarr.open_group(str(tmp_path / "b.zarr"), mode="r")
        said = group.attrs.asdict()
        said = said if version == "0.4" else said["ome"]
        (scales,) = said["multiscales"]
        whole = group["0"][...]
        assert np.array_equal(whole.transpose(1, 2, 0), expected(values, tmp_path))
        assert [each["path"] for each in scales["datasets"]] == ["0", "1", "2"]
        steps = scales["datasets"][1]["coordinateTransformations"]
        assert steps[0]["scale"] == [1.0, 1.0, 1.0]
        assert steps[1]["translation"] == [0.0, 0.25, 0.25]
        half = group["1"][...].astype(float)
        means = whole[:, :, :300].astype(float).reshape(3, 300, 2, 150, 2).mean((2, 4))
        assert np.abs(half[:, :, :150] - means).max() <= 0.5
        assert group["2"].shape == (3, 150, 76)

    def test_planes_are_denoised_one_by_one(self, tmp_path: Path) -> None:
        stack = np.stack([photo(80, 96, 1)[..., 0], photo(80, 96, 1)[::-1, :, 0]])[:, None]
        ome(tmp_path / "a.zarr", stack, "zcyx", "0.5")
        raster = open_raster(tmp_path / "a.zarr")
        assert (raster.layout.planes, raster.channels, raster.size) == (2, 1, (80, 96))
        outcome = blocks.denoise(raster, tiny(1), tmp_path / "b.zarr", **WHITE)
        found = zarr.open_group(str(tmp_path / "b.zarr"))["0"]
        assert (len(outcome.noise), found.shape) == (2, (2, 1, 80, 96))
        for plane in range(2):
            np.save(tmp_path / "one.npy", stack[plane, 0])
            one = open_raster(tmp_path / "one.npy")
            blocks.denoise(one, tiny(1), tmp_path / "o.npy", **WHITE, force=True)
            assert np.array_equal(found[plane, 0], np.load(tmp_path / "o.npy"))

    @pytest.mark.parametrize("depth", ["uint16", "float32"])
    def test_tiled_tiff_of_more_than_eight_bits(self, depth: str, tmp_path: Path) -> None:
        values = photo().astype(np.float32) / 255
        stored = (65535 * values).astype(depth) if depth == "uint16" else values
        tifffile.imwrite(tmp_path / "a.tif", stored, tile=(64, 64), photometric="rgb")
        raster = open_raster(tmp_path / "a.tif")
        assert (raster.kind, raster.chunks, raster.picture.depth) == ("tiff", (64, 64), depth)
        blocks.denoise(raster, tiny(), tmp_path / "b.tif", **WHITE)
        found = tifffile.imread(tmp_path / "b.tif")
        assert (str(found.dtype), found.shape) == (depth, values.shape)
        top = 65535 if depth == "uint16" else 1
        assert np.abs((found / top).clip(0, 1) - expected(photo(), tmp_path) / 255).max() < 0.02

    @pytest.mark.parametrize(
        ("name", "make", "words"),
        [
            ("a.npy", lambda path: path.write_bytes(b"nothing"), "no array of numbers"),
            ("a.npy", lambda path: np.save(path, np.zeros(9, np.uint8)), "rows and columns"),
            ("a.npy", lambda path: np.save(path, np.zeros((9, 9), complex)), "complex128"),
            ("a.npy", lambda path: np.save(path, np.zeros((0, 9), np.uint8)), "is no image"),
            ("a.zarr", lambda path: path.mkdir(), "is no Zarr"),
            ("a.zarr", lambda path: zarr.open_group(str(path), mode="w"), "without an image"),
            ("a.zarr", lambda path: None, "found nothing of this name"),
        ],
    )
    def test_what_is_none(self, name: str, make: Any, words: str, tmp_path: Path) -> None:
        make(tmp_path / name)
        with pytest.raises(ScalewiseError, match=words):
            open_raster(tmp_path / name)

    def test_values_that_are_no_numbers(self, tmp_path: Path) -> None:
        values = np.full((64, 64), 0.5, np.float32)
        values[40, 40] = np.nan
        np.save(tmp_path / "a.npy", values)
        with pytest.raises(ScalewiseError, match="holds NaN or infinite values"):
            open_raster(tmp_path / "a.npy")

    def test_a_given_range_far_from_the_values(self, tmp_path: Path) -> None:
        np.save(tmp_path / "a.npy", photo())
        with pytest.raises(UsageError, match="far from its values"):
            open_raster(tmp_path / "a.npy", black=0, white=1)


class TestWriting:
    @pytest.mark.parametrize("name", ["o.png", "o.tif", "o.jpg", "o.webp"])
    @pytest.mark.parametrize("on_disk", [False, True])
    def test_image_files(
        self, name: str, on_disk: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from scalewise.blocks import files

        monkeypatch.setattr(files, "WHOLE", 1000)
        values = photo()
        Image.fromarray(values).save(tmp_path / "a.png", dpi=(300, 300))
        options = WHITE | {"limits": Limits(tile=64, on_disk=on_disk)}
        blocks.denoise(open_raster(tmp_path / "a.png"), tiny(), tmp_path / name, **options)
        found = read_image(tmp_path / name)
        if name != "o.webp":
            assert found.resolution is not None
            assert found.resolution.x == pytest.approx(300, rel=0.01)
        got = (255 * found.pixels[0]).round().permute(1, 2, 0).numpy()
        far = np.abs(got - expected(values, tmp_path).astype(float))
        assert far.max() == 0 if name != "o.jpg" else far.mean() < 4

    @pytest.mark.parametrize("samples", [1, 2, 3, 4])
    @pytest.mark.parametrize("depth", ["uint8", "uint16"])
    def test_a_png_in_rows_is_one_that_all_read(
        self, samples: int, depth: Any, tmp_path: Path
    ) -> None:
        from scalewise.images import Picture
        from scalewise.images.png import decode_png, stream_png

        dice = np.random.default_rng(0)
        values = dice.integers(0, 2 ** (8 * np.dtype(depth).itemsize), (50, 33, samples))
        values = values.astype(depth)
        picture = Picture(torch.zeros(1, 1 if samples < 3 else 3, 50, 33), depth=depth)
        with (tmp_path / "a.png").open("wb") as stream:
            stream_png(
                stream, (values[i : i + 16] for i in range(0, 50, 16)), values.shape, picture
            )
        with (tmp_path / "a.png").open("rb") as stream:
            assert np.array_equal(decode_png(stream)[0], values)

    def test_names_that_mean_nothing(self, tmp_path: Path) -> None:
        np.save(tmp_path / "a.npy", photo())
        source = open_raster(tmp_path / "a.npy")
        with pytest.raises(UsageError, match="unknown suffix"):
            blocks.denoise(source, tiny(), tmp_path / "o.xyz", **WHITE)
        (tmp_path / "o.npy").touch()
        with pytest.raises(ScalewiseError, match="exists; give --force"):
            blocks.denoise(source, tiny(), tmp_path / "o.npy", **WHITE)

    def test_alpha_stays(self, tmp_path: Path) -> None:
        values = np.concatenate([photo(), np.full((150, 203, 1), 200, np.uint8)], axis=-1)
        np.save(tmp_path / "a.npy", values)
        outcome = blocks.denoise(
            open_raster(tmp_path / "a.npy"), tiny(), tmp_path / "o.npy", **WHITE
        )
        found = np.load(tmp_path / "o.npy")
        assert np.array_equal(found[..., :3], expected(photo(), tmp_path))
        assert np.array_equal(found[..., 3], values[..., 3])
        assert "alpha was kept" in outcome.notes[-1]

    @pytest.mark.parametrize("depth", ["uint8", "uint16"])
    @pytest.mark.parametrize("suffix", [".png", ".tif", ".webp"])
    def test_alpha_of_files_stays(self, depth: Any, suffix: str, tmp_path: Path) -> None:
        """At the depth of the output."""
        pixels = torch.from_numpy(photo() / 255).float().permute(2, 0, 1)
        alpha = torch.linspace(0.1, 1, 203).expand(1, 150, 203)
        write_image(tmp_path / "a.png", Picture(pixels, alpha, depth=depth))
        output = tmp_path / f"o{suffix}"
        outcome = blocks.denoise(open_raster(tmp_path / "a.png"), tiny(), output, **WHITE)
        found, given = read_image(output), read_image(tmp_path / "a.png")
        assert found.depth == (depth if suffix != ".webp" else "uint8")
        assert found.alpha is not None
        assert given.alpha is not None
        assert (found.alpha - given.alpha).abs().max() <= (0 if found.depth == depth else 0.5 / 255)
        whole = tiny().denoise(given.pixels, 12 / 255).clamp(0, 1)
        assert (found.pixels - whole).abs().max() < 0.51 / (
            255 if found.depth == "uint8" else 65535
        )
        assert any("alpha was kept" in note for note in outcome.notes)

    def test_alpha_that_an_output_cannot_hold(self, tmp_path: Path) -> None:
        pixels = torch.from_numpy(photo() / 255).float().permute(2, 0, 1)
        write_image(tmp_path / "a.png", Picture(pixels, pixels[:1]))
        outcome = blocks.denoise(
            open_raster(tmp_path / "a.png"), tiny(), tmp_path / "o.jpg", **WHITE
        )
        assert read_image(tmp_path / "o.jpg").pixels.shape == (1, 3, 150, 203)
        assert "JPEG holds no alpha: it was left out" in outcome.notes

    @pytest.mark.parametrize("factor", [2, 4])
    def test_alpha_is_enlarged_as_that_of_the_whole(self, factor: int, tmp_path: Path) -> None:
        values = photo(37, 41, 4)
        Image.fromarray(values).save(tmp_path / "a.png")
        blocks.upscale(
            open_raster(tmp_path / "a.png"),
            tiny(),
            tmp_path / "o.png",
            factor=factor,
            mean=True,
            limits=Limits(tile=16),
        )
        whole = restore.upscale(read_image(tmp_path / "a.png"), tiny(), factor=factor).picture
        found = read_image(tmp_path / "o.png")
        assert found.alpha is not None
        assert whole.alpha is not None
        assert (found.alpha - whole.alpha).abs().max() < 0.51 / 255

    def test_what_can_only_be_worked_on_as_a_whole(self, tmp_path: Path) -> None:
        """Pixels without data are filled from others, near or far."""
        values = photo(300, 300, 1)[..., 0].astype(np.float32)
        values[:40] = -9999
        nodata = [(42113, "s", 0, "-9999", True)]
        tile: dict[str, Any] = {"tile": (64, 64), "photometric": "minisblack"}
        tifffile.imwrite(tmp_path / "a.tif", values, extratags=nodata, **tile)
        with pytest.raises(WholeOnly, match=r"pixels without data.*as a whole"):
            open_raster(tmp_path / "a.tif")
        tifffile.imwrite(tmp_path / "b.tif", photo(64, 64, 4), photometric="rgb", extrasamples=[1])
        with pytest.raises(WholeOnly, match=r"multiplied by alpha \(associated\).*as a whole"):
            open_raster(tmp_path / "b.tif")

    def test_known_pixels_of_a_filled_image_at_another_depth(self, tmp_path: Path) -> None:
        pixels = torch.from_numpy(photo() / 255).float().permute(2, 0, 1)
        write_image(tmp_path / "a.png", Picture(pixels, depth="uint16"))
        hole = np.zeros((150, 203), np.uint8)
        hole[50:60, 70:75] = 255
        Image.fromarray(hole).save(tmp_path / "hole.png")
        source, mask = open_raster(tmp_path / "a.png"), open_raster(tmp_path / "hole.png")
        blocks.inpaint(source, mask, tiny(), tmp_path / "o.webp")
        found = read_image(tmp_path / "o.webp").pixels[0]
        changed = (found - pixels).abs().amax(0) > 0.51 / 255
        assert not changed[torch.from_numpy(hole == 0)].any()

    def test_an_enlarged_image_reduced_again_is_the_image(self, tmp_path: Path) -> None:
        values = photo(30, 41)
        np.save(tmp_path / "a.npy", values)
        options: dict[str, Any] = {"factor": 4, "mean": True, "limits": Limits(tile=32)}
        blocks.upscale(open_raster(tmp_path / "a.npy"), tiny(), tmp_path / "o.zarr", **options)
        array = zarr.open_group(str(tmp_path / "o.zarr"))["0"][...]
        means = array.astype(float).reshape(30, 4, 41, 4, 3).mean((1, 3))
        assert np.array_equal(means, values.astype(float))

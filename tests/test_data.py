"""Training sets from every source, and the crops that feed the training loop."""

import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from hypothesis import given
from hypothesis import strategies as st

from scalewise.data import ImageSet, hold_out, hold_out_strip, load_image_set
from scalewise.errors import ScalewiseError
from scalewise.images import Depth, Picture, read_image, write_image

Array = np.ndarray[Any, Any]


def ramp_set(*sizes: tuple[int, int], channels: int = 2) -> ImageSet:
    """Image k has value 32 k + row in channel 0 and 32 k + column in channel 1."""
    images = []
    for number, (height, width) in enumerate(sizes):
        rows = torch.arange(height).view(1, -1, 1).expand(1, height, width)
        columns = torch.arange(width).view(1, 1, -1).expand(1, height, width)
        image = torch.cat([rows, columns]) + 32 * number
        images.append(image.to(torch.uint8)[:channels])
    return ImageSet(images, "ramps")


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def save(
    file: Path, channels: int = 3, size: tuple[int, int] = (6, 7), depth: Depth = "uint8"
) -> Any:
    file.parent.mkdir(parents=True, exist_ok=True)
    pixels = torch.randint(0, 256, (channels, *size), dtype=torch.uint8)
    write_image(file, Picture(pixels / 255, depth=depth))
    return pixels


# Sources


def test_folder_with_subfolders_in_sorted_order(tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    expected = [save(folder / name) for name in ("a.png", "b/c.tif", "b/d.webp")]
    image_set = load_image_set(folder)
    assert image_set.name == "photos"
    assert [image.dtype for image in image_set.images] == [torch.uint8] * 3
    for found, image in zip(image_set.images, expected, strict=True):
        assert torch.equal(found, image)
    assert (len(image_set), image_set.channels, image_set.size) == (3, 3, (6, 7))


def test_name_is_never_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path / "photos" / "a.png")
    monkeypatch.chdir(tmp_path / "photos")
    assert load_image_set(".").name == "photos"
    assert load_image_set(str(tmp_path / "photos" / "a.png")).name == "a.png"


@pytest.mark.parametrize(("channels", "expected"), [(None, 3), (1, 1), (3, 3)])
def test_gray_and_rgb_are_made_alike(tmp_path: Path, channels: int | None, expected: int) -> None:
    gray, rgb = save(tmp_path / "a.png", 1), save(tmp_path / "b.png", 3)
    image_set = load_image_set(tmp_path, channels)
    assert image_set.channels == expected
    first, second = image_set.images
    if expected == 3:
        assert torch.equal(first, gray.expand(3, -1, -1))
        assert torch.equal(second, rgb)
    else:
        assert torch.equal(first, gray)
        weights = torch.tensor([0.299, 0.587, 0.114]).view(3, 1, 1)
        torch.testing.assert_close(second[0].float(), (rgb * weights).sum(0), rtol=0, atol=0.51)


def test_gray_alone_stays_gray(tmp_path: Path) -> None:
    save(tmp_path / "a.png", 1)
    assert load_image_set(tmp_path).channels == 1


@pytest.mark.parametrize("depth", ["uint16", "float32"])
def test_more_than_8_bits_makes_floats(tmp_path: Path, depth: Depth) -> None:
    first = save(tmp_path / "a.png")
    second = save(tmp_path / "b.tif", depth=depth)
    image_set = load_image_set(tmp_path)
    for found, image in zip(image_set.images, (first, second), strict=True):
        assert found.dtype == torch.float32
        torch.testing.assert_close(found, image / 255, rtol=0, atol=1e-5)


def test_list_of_files(tmp_path: Path) -> None:
    second, first = save(tmp_path / "images" / "a.png"), save(tmp_path / "b.png")
    (tmp_path / "list.txt").write_text(f"# chosen\n\n  b.png  \n{tmp_path / 'images' / 'a.png'}\n")
    image_set = load_image_set(tmp_path / "list.txt")
    assert image_set.name == "list.txt"
    assert torch.equal(image_set.images[0], first)
    assert torch.equal(image_set.images[1], second)


ARRAYS: dict[str, tuple[tuple[int, ...], tuple[int, int, int]]] = {
    "gray": ((4, 5, 6), (1, 5, 6)),
    "one channel": ((4, 5, 6, 1), (1, 5, 6)),
    "RGB": ((4, 5, 6, 3), (3, 5, 6)),
    "channels first": ((4, 3, 5, 6), (3, 5, 6)),
    "one channel first": ((4, 1, 5, 6), (1, 5, 6)),
}


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float16", "float32", "float64"])
@pytest.mark.parametrize("layout", ARRAYS)
def test_arrays(tmp_path: Path, layout: str, dtype: str) -> None:
    shape, expected = ARRAYS[layout]
    values = np.random.default_rng(0).integers(0, 256, shape)
    if dtype == "uint8":
        array = values.astype(dtype)
    elif dtype == "uint16":
        array = (values * 257).astype(dtype)
    else:
        array = (values / 255).astype(dtype)
    np.save(tmp_path / "a.npy", array)
    image_set = load_image_set(tmp_path / "a.npy")
    assert (len(image_set), image_set.size) == (4, expected[1:])
    assert image_set.images[0].shape == expected
    assert image_set.images[0].dtype == (torch.uint8 if dtype == "uint8" else torch.float32)
    first = torch.from_numpy(values[0]).float() / 255
    if layout in ("one channel", "RGB"):
        first = first.movedim(-1, 0)
    tolerance = 1e-3 if dtype == "float16" else 1e-6
    torch.testing.assert_close(
        image_set.whole([0])[0], first.view(expected), rtol=0, atol=tolerance
    )


@pytest.mark.parametrize("names", [("images", "labels"), ("pictures",)])
def test_npz(tmp_path: Path, names: tuple[str, ...]) -> None:
    arrays = {name: np.full((2, 4, 5, 3), i, np.uint8) for i, name in enumerate(names)}
    np.savez_compressed(tmp_path / "a.npz", allow_pickle=False, **arrays)
    image_set = load_image_set(tmp_path / "a.npz", channels=1)
    assert image_set.name == "a.npz"
    assert (len(image_set), image_set.channels) == (2, 1)
    assert int(image_set.images[0].max()) == 0


# Bad sources


def refusal(source: Path, match: str) -> None:
    with pytest.raises(ScalewiseError, match=match) as caught:
        load_image_set(source)
    assert str(source) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_source(tmp_path: Path) -> None:
    for name in ("none", "none.npz", "none.txt", "none.png"):
        refusal(tmp_path / name, "no such file or folder")


def test_folder_without_images(tmp_path: Path) -> None:
    (tmp_path / "notes.md").write_text("none here")
    refusal(tmp_path, "holds no image")


def test_source_of_another_kind(tmp_path: Path) -> None:
    (tmp_path / "notes.md").write_text("none here")
    refusal(tmp_path / "notes.md", "expected a folder, an image, a .npy or .npz array, or a .txt")


def test_what_a_folder_leaves_out_is_told(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        save(tmp_path / "photos" / name)
    (tmp_path / "photos" / "c.heic").touch()
    image_set = load_image_set(tmp_path / "photos")
    (note,) = image_set.notes
    assert "1 picture of another kind was left out: .heic (1); convert them to PNG" in note
    assert image_set.part([0]).notes == image_set.notes
    assert load_image_set(tmp_path / "photos" / "a.png").notes == ()


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_images_that_teach_nothing_are_told(tmp_path: Path, dtype: str) -> None:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 2, (3, 8, 9, 3)).astype(dtype)
    images[1] = images[1, 0, 0]
    np.save(tmp_path / "a.npy", images)
    words = f"{tmp_path / 'a.npy'}: 1 of 3 images are each of a single colour"
    assert load_image_set(tmp_path / "a.npy").notes == (words,)
    np.save(tmp_path / "b.npy", images[[0, 0, 0]])
    (note,) = load_image_set(tmp_path / "b.npy").notes
    assert note.endswith("b.npy: all 3 images are the same")
    np.save(tmp_path / "c.npy", images[[0, 2]])
    assert load_image_set(tmp_path / "c.npy").notes == ()


def test_damaged_member_is_named(tmp_path: Path) -> None:
    save(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes((tmp_path / "a.png").read_bytes()[:60])
    with pytest.raises(ScalewiseError, match=r"b\.png: damaged or cut short"):
        load_image_set(tmp_path)


def test_list_with_a_missing_file(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("none.png\n")
    with pytest.raises(ScalewiseError, match=r"none\.png: expected an image file, found no file"):
        load_image_set(tmp_path / "list.txt")


def test_empty_list(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("# nothing\n\n")
    refusal(tmp_path / "list.txt", "lists no file")
    (tmp_path / "list.txt").write_bytes(b"\xff\xfe\xff")
    refusal(tmp_path / "list.txt", "cannot be read as a list of files")


@pytest.mark.parametrize(
    ("array", "match"),
    [
        (np.zeros((4, 5), np.uint8), r"found \[4, 5\]"),
        (np.zeros((4, 5, 6, 2), np.uint8), r"found \[4, 5, 6, 2\]"),
        (np.zeros((0, 5, 6), np.uint8), r"found \[0, 5, 6\]"),
        (np.zeros((4, 5, 6), np.int64), "found int64"),
        (np.zeros((4, 5, 6), bool), "found bool"),
        (np.full((4, 5, 6), np.nan), "found nan"),
        (np.full((4, 5, 6), np.inf), "found inf"),
        (np.full((4, 5, 6), 255.0), r"in \[0, 1\], found 255 to 255; rescale them"),
        (np.full((4, 5, 6), -0.1), r"found -0\.1 to -0\.1"),
    ],
)
def test_bad_array(tmp_path: Path, array: Array, match: str) -> None:
    np.save(tmp_path / "a.npy", array)
    refusal(tmp_path / "a.npy", match)


def test_one_nan_among_many(tmp_path: Path) -> None:
    array = np.full((4, 5, 6), 0.5, np.float32)
    array[1, 2, 3] = np.nan
    np.savez(tmp_path / "a.npz", array)
    refusal(tmp_path / "a.npz", "found nan")


class Trap:
    def __reduce__(self) -> Any:
        return (Path.touch, (Path("sprung"),))


def test_nothing_is_unpickled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    objects = np.empty(1, object)
    objects[0] = Trap()
    np.save(tmp_path / "a.npy", objects, allow_pickle=True)
    np.savez(tmp_path / "a.npz", images=objects)
    (tmp_path / "b.npy").write_bytes(pickle.dumps(Trap()))
    for name in ("a.npy", "a.npz", "b.npy"):
        refusal(tmp_path / name, "cannot be read as an array of numbers")
    assert not (tmp_path / "sprung").exists()


def test_damaged_arrays(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", np.random.default_rng(0).random((4, 9, 9)))
    np.save(tmp_path / "a.npy", np.random.default_rng(0).random((4, 9, 9)))
    for name in ("a.npz", "a.npy"):
        whole = (tmp_path / name).read_bytes()
        for share in (0, 0.01, 0.5, 0.95):
            (tmp_path / name).write_bytes(whole[: int(len(whole) * share)])
            refusal(tmp_path / name, "cannot be read as an array of numbers")


def test_npz_without_images(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=np.zeros(2), y=np.zeros(2))
    refusal(tmp_path / "a.npz", "expected one array or a key 'images', found x, y")
    with zipfile.ZipFile(tmp_path / "b.npz", "w"):
        pass
    refusal(tmp_path / "b.npz", "found nothing")


def test_float_tiff_out_of_range(tmp_path: Path) -> None:
    write_image(tmp_path / "a.tif", Picture(torch.full((1, 3, 4), 700.0), depth="float32"))
    with pytest.raises(
        ScalewiseError, match=r"a\.tif: expected intensities in \[0, 1\], found 700"
    ):
        load_image_set(tmp_path)


@pytest.mark.parametrize(
    ("images", "match"),
    [
        ([], "holds no image"),
        ([torch.zeros(1, 4, 5), torch.zeros(3, 4, 5)], "share channels and type, found 1 of"),
        ([torch.zeros(3, 4, 5), torch.zeros(3, 4, 5).byte()], "share channels and type"),
        ([torch.zeros(4, 5)], r"must be \(C, H, W\)"),
        ([torch.zeros(1, 4, 5).double()], "found 3 axes of torch.float64"),
    ],
)
def test_image_set_checks_its_images(images: list[torch.Tensor], match: str) -> None:
    with pytest.raises(ScalewiseError, match=match):
        ImageSet(images, "a set")


# Sizes and batches


def test_sizes() -> None:
    assert ramp_set((5, 9), (7, 4)).size is None
    assert ramp_set((5, 9), (7, 4)).smallest == (5, 4)
    assert ramp_set((5, 9), (5, 9)).size == (5, 9)


def test_whole() -> None:
    image_set = ramp_set((5, 9), (5, 9), (5, 9))
    batch = image_set.whole(torch.tensor([2, 0]))
    assert batch.dtype == torch.float32
    expected = torch.stack([image_set.images[2], image_set.images[0]]) / 255
    torch.testing.assert_close(batch, expected)
    with pytest.raises(ScalewiseError, match="differ in size"):
        ramp_set((5, 9), (7, 4)).whole([0])


# Crops


@given(
    st.lists(st.tuples(st.integers(4, 20), st.integers(4, 20)), min_size=1, max_size=5),
    st.integers(1, 4),
    st.integers(0, 1000),
)
def test_crops_are_parts_of_images(sizes: list[tuple[int, int]], side: int, seed: int) -> None:
    batch = ramp_set(*sizes).crops(6, side, generator(seed), flips=False)
    assert batch.shape == (6, 2, side, side)
    assert batch.dtype == torch.float32
    for crop in (batch * 255).round().long():
        number, top, left = crop[0, 0, 0] // 32, crop[0, 0, 0] % 32, crop[1, 0, 0] % 32
        height, width = sizes[int(number)]
        assert 0 <= top <= height - side
        assert 0 <= left <= width - side
        steps = torch.arange(side)
        assert torch.equal(crop[0] - 32 * number - top, steps[:, None].expand(side, side))
        assert torch.equal(crop[1] - 32 * number - left, steps.expand(side, side))


def test_crops_follow_the_generator_alone() -> None:
    image_set = ramp_set((9, 9), (12, 7))
    first = image_set.crops(8, 5, generator(3), rotate=True)
    torch.manual_seed(99)
    assert torch.equal(first, image_set.crops(8, 5, generator(3), rotate=True))
    assert not torch.equal(first, image_set.crops(8, 5, generator(4), rotate=True))


def test_crop_of_the_whole_image() -> None:
    image_set = ramp_set((5, 5))
    crop = image_set.crops(1, 5, generator(), flips=False)
    torch.testing.assert_close(crop, image_set.whole([0]))


def test_images_are_drawn_by_their_pixels_and_positions_evenly() -> None:
    count = 8000
    batch = (ramp_set((8, 8), (16, 12)).crops(count, 8, generator(), flips=False) * 255).round()
    large = batch[:, 0, 0, 0] >= 32
    share = 192 / 256
    assert abs(float(large.float().mean()) - share) < 4 * (share * (1 - share) / count) ** 0.5
    tops = batch[large, 0, 0, 0].long() - 32
    counts = torch.bincount(tops, minlength=9).float()
    expected = large.sum() / 9
    assert len(counts) == 9
    assert float(((counts - expected) ** 2 / expected).sum()) < 30  # chi-square of 8, p = 2e-4


def test_flips_and_turns_come_evenly() -> None:
    image_set = ramp_set((6, 6))
    image = image_set.whole([0])[0]
    mirrored = image_set.crops(4000, 6, generator())
    share = float((mirrored == image).all(-1).all(-1).all(-1).float().mean())
    assert 0.46 < share < 0.54
    assert ((mirrored == image) | (mirrored == image.flip(-1))).all()
    ways = [image, image.flip(-1), image.flip(-2), image.flip(-1, -2)]
    ways += [way.transpose(-1, -2) for way in ways]
    turned = image_set.crops(4000, 6, generator(), rotate=True)
    shares = [float((turned == way).flatten(1).all(1).float().mean()) for way in ways]
    assert sum(shares) == pytest.approx(1)
    assert all(0.1 < share < 0.15 for share in shares)


def test_crops_leave_the_images_alone() -> None:
    image_set = ramp_set((6, 6))
    before = image_set.images[0].clone()
    image_set.crops(10, 4, generator(), rotate=True).zero_()
    image_set.whole([0]).zero_()
    assert torch.equal(image_set.images[0], before)


def test_crops_of_float_images() -> None:
    images = [torch.rand(3, 9, 9)]
    crop = ImageSet(images, "floats").crops(2, 9, generator(), flips=False)
    assert torch.equal(crop, torch.stack(images * 2))


@pytest.mark.parametrize("side", [5, 8])
def test_crops_larger_than_an_image(side: int) -> None:
    with pytest.raises(
        ScalewiseError, match=f"crops of {side}x{side} pixels do not fit.* are 7 and 4"
    ):
        ramp_set((9, 9), (7, 4)).crops(1, side, generator())


# Splits


@given(st.integers(2, 60), st.floats(0.01, 0.99), st.integers(0, 100))
def test_split_is_a_partition(total: int, fraction: float, seed: int) -> None:
    images = [torch.full((1, 1, 1), number, dtype=torch.uint8) for number in range(total)]
    training, validation = hold_out(ImageSet(images, "numbers"), fraction, seed)
    again = hold_out(ImageSet(images, "numbers"), fraction, seed)
    first, second = ([int(image) for image in part.images] for part in (training, validation))
    assert sorted(first + second) == list(range(total))
    assert first == sorted(first)
    assert len(second) == min(max(1, round(fraction * total)), total - 1)
    assert [int(image) for image in again[1].images] == second
    assert training.name == validation.name == "numbers"


def test_splits_differ_with_the_seed() -> None:
    images = [torch.full((1, 1, 1), number, dtype=torch.uint8) for number in range(100)]
    parts = [hold_out(ImageSet(images, "numbers"), 0.1, seed)[1].images for seed in (0, 1)]
    assert [int(image) for image in parts[0]] != [int(image) for image in parts[1]]


def test_split_of_one_image() -> None:
    with pytest.raises(ScalewiseError, match="holds 1 image; a split needs at least 2"):
        hold_out(ramp_set((4, 4)))


@pytest.mark.parametrize(("rows", "kept"), [(8, 2), (3, 1), (1, 1)])
def test_a_strip_of_one_image_is_kept_apart(rows: int, kept: int) -> None:
    image = ramp_set((rows, 5))
    training, validation = hold_out_strip(image)
    assert validation.images[0].shape[1:] == (kept, 5)
    together = torch.cat([training.images[0], validation.images[0]], dim=1)
    assert rows == 1 or torch.equal(together, image.images[0])
    assert training.name == validation.name == image.name


@pytest.mark.parametrize("fraction", [0, 1, -0.5, 2, float("nan")])
def test_split_by_a_bad_fraction(fraction: float) -> None:
    with pytest.raises(ScalewiseError, match="fraction must lie between 0 and 1, found"):
        hold_out(ramp_set((4, 4), (4, 4)), fraction)


@pytest.mark.parametrize("extra", [1, 2])
def test_images_with_alpha_are_learnt_as_they_are_seen(extra: int, tmp_path: Path) -> None:
    """Colours that are multiplied by alpha in the file (1) are divided by it."""
    values = np.random.default_rng(0).integers(20, 200, (40, 50, 4)).astype(np.uint8)
    values[..., 3] = 220
    tifffile.imwrite(tmp_path / "a.tif", values, photometric="rgb", extrasamples=[extra])
    (image,) = load_image_set(tmp_path / "a.tif").images
    expected = (255 * read_image(tmp_path / "a.tif").pixels[0]).round().to(torch.uint8)
    assert torch.equal(image, expected)

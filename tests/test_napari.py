"""The plugin of napari: what it computes, without napari; and its widget, where napari is."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from zoo import smooth_picture

import scalewise
from scalewise import Picture, restore
from scalewise.errors import UsageError
from scalewise.images import Intensities
from scalewise.images.kinds import Array
from scalewise.napari import layers
from scalewise.napari.layers import Stopped, denoise_layer, denoising
from scalewise.prior import MultiScalePrior

QT = any(find_spec(name) for name in ("PyQt6", "PySide6", "PyQt5"))
needs_napari = pytest.mark.skipif(
    find_spec("napari") is None or not QT,
    reason="needs napari and a Qt: the extra napari, and PyQt6 or PySide6",
)

SIDE = 64


@pytest.fixture(scope="module")
def prior() -> MultiScalePrior:
    return scalewise.load("photos", device="cpu")


def clean_and_noisy(channels: int = 1, sigma: float = 0.1, seed: int = 0) -> tuple[Array, Array]:
    """A picture (H, W), or (H, W, C), in [0, 1] intensities, and with noise."""
    clean = smooth_picture(channels, SIDE, seed).permute(1, 2, 0).numpy()
    noisy = clean + sigma * np.random.default_rng(seed).standard_normal(clean.shape)
    return (clean[..., 0], noisy[..., 0]) if channels == 1 else (clean, noisy)


def eight_bits(values: Array) -> Array:
    return np.clip(np.rint(255 * values), 0, 255).astype(np.uint8)


def error(found: Array, clean: Array) -> float:
    return float(np.sqrt(np.mean((found.astype(np.float64) - clean) ** 2)))


# What is computed, without napari


def test_what_is_computed_needs_no_napari() -> None:
    script = (
        "import sys; import scalewise.napari.layers\n"
        "print([name for name in ('napari', 'qtpy', 'magicgui') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout.strip() == "[]"


def test_a_gray_layer_is_what_restore_makes_of_it(prior: MultiScalePrior) -> None:
    clean, noisy = clean_and_noisy()
    data = eight_bits(noisy)
    found = denoise_layer(data, prior, uncertainty=True)
    picture = Picture(torch.from_numpy(data / np.float32(255))[None])
    expected = restore.denoise(picture, prior, uncertainty=True)
    assert found.data.dtype == np.uint8
    np.testing.assert_array_equal(found.data, eight_bits(expected.picture.pixels[0, 0].numpy()))
    assert expected.deviation is not None
    assert found.uncertainty is not None
    deviation = 255 * expected.deviation.pixels[0, 0].numpy()
    np.testing.assert_allclose(found.uncertainty, deviation, rtol=1e-5)
    assert found.sigma == pytest.approx([255 * expected.sigma[0]])
    assert error(found.data, 255 * clean) < 0.5 * error(data, 255 * clean)
    assert found.notes == ()


def test_colours_come_back_in_colours(prior: MultiScalePrior) -> None:
    clean, noisy = clean_and_noisy(3)
    data = eight_bits(noisy)
    found = denoise_layer(data, prior, rgb=True, uncertainty=True)
    assert found.data.shape == (SIDE, SIDE, 3)
    assert found.data.dtype == np.uint8
    assert found.uncertainty is not None
    assert found.uncertainty.shape == (SIDE, SIDE)
    assert found.uncertainty.dtype == np.float32
    assert error(found.data, 255 * clean) < 0.5 * error(data, 255 * clean)


def test_alpha_and_what_it_hides_stay(prior: MultiScalePrior) -> None:
    data = np.full((SIDE, SIDE, 4), 255, np.uint8)
    data[..., :3] = eight_bits(clean_and_noisy(3)[1])
    data[:8, :, 3] = 0
    data[8:12, :, 3] = 77
    found = denoise_layer(data, prior, rgb=True).data
    np.testing.assert_array_equal(found[..., 3], data[..., 3])
    np.testing.assert_array_equal(found[:8], data[:8])
    assert (found[12:, :, :3] != data[12:, :, :3]).mean() > 0.5


@pytest.mark.parametrize("dtype", ["uint8", "uint16", ">u2", "int16", "float32", "float64"])
def test_types_are_kept(prior: MultiScalePrior, dtype: str) -> None:
    clean, noisy = clean_and_noisy()
    unit = {"u": 255.0 if dtype == "uint8" else 65535.0, "i": 4000.0, "f": 1.0}[
        np.dtype(dtype).kind
    ]
    data = (np.clip(noisy, 0, 1) * unit).astype(dtype)
    found = denoise_layer(data, prior)
    assert found.data.dtype == np.dtype(dtype)
    assert found.sigma[0] == pytest.approx(0.1 * unit, rel=0.25)
    assert error(found.data, unit * clean) < 0.5 * error(data, unit * clean)


def test_noise_is_told_in_the_unit_of_the_layer(prior: MultiScalePrior) -> None:
    """Counts of 12 bits, which the notes say; noise of 300 of 4095."""
    data = np.clip(4095 * clean_and_noisy()[1], 0, 4095).astype(np.uint16)
    found = denoise_layer(data, prior, noise=300)
    picture = Picture(
        torch.from_numpy(data.astype(np.float32) / 4095)[None],
        depth="uint16",
        intensities=Intensities((0.0,), (4095.0,)),
    )
    expected = restore.denoise(picture, prior, sigma=300 / 4095).picture.pixels[0, 0]
    np.testing.assert_allclose(found.data, 4095 * expected.clamp(min=0).numpy(), atol=0.51)
    assert found.sigma == pytest.approx([300])
    assert found.notes == ("0 to 4095 taken for black to white",)


@pytest.mark.parametrize("leading", [(3,), (2, 2), (1,), ()])
def test_stacks_are_denoised_plane_by_plane(
    prior: MultiScalePrior, leading: tuple[int, ...]
) -> None:
    planes = [eight_bits(clean_and_noisy(seed=seed)[1]) for seed in range(int(np.prod(leading)))]
    data = np.stack(planes).reshape(*leading, SIDE, SIDE)
    found = denoise_layer(data, prior).data.reshape(-1, SIDE, SIDE)
    for one, plane in zip(found, planes, strict=True):
        np.testing.assert_array_equal(one, denoise_layer(plane, prior).data)


def test_films_in_colours(prior: MultiScalePrior) -> None:
    planes = [eight_bits(clean_and_noisy(3, seed=seed)[1]) for seed in range(2)]
    found = denoise_layer(np.stack(planes), prior, rgb=True, uncertainty=True)
    assert found.uncertainty is not None
    assert found.uncertainty.shape == (2, SIDE, SIDE)
    for one, plane in zip(found.data, planes, strict=True):
        np.testing.assert_array_equal(one, denoise_layer(plane, prior, rgb=True).data)


def test_channels_have_ranges_of_their_own(prior: MultiScalePrior) -> None:
    bright = np.clip(60000 * clean_and_noisy()[1], 0, 65535).astype(np.uint16)
    dim = np.clip(1000 * clean_and_noisy(seed=1)[1], 0, None).astype(np.uint16)
    data = np.stack([[bright, dim], [bright, dim]])  # (T, C, Y, X)
    found = denoise_layer(data, prior, channel_axis=1)
    for time_point in found.data:
        for one, alone in zip(time_point, (bright, dim), strict=True):
            np.testing.assert_array_equal(one, denoise_layer(alone, prior).data)
    assert found.notes == ("channel 2: 0 to 1023 taken for black to white",)


def test_lazy_arrays_are_read_plane_by_plane(prior: MultiScalePrior) -> None:
    class Lazy:
        """What Dask and Zarr arrays share."""

        shape, dtype = (40, SIDE, SIDE), np.dtype("uint8")

        def __init__(self) -> None:
            self.read: list[Any] = []

        def __getitem__(self, place: tuple[int, ...]) -> Array:
            self.read.append(place)
            return eight_bits(clean_and_noisy(seed=place[0] % 2)[1])

    lazy = Lazy()
    work = denoising(lazy, prior)
    assert next(work) == (1, 40)
    assert len(lazy.read) == layers.LOOKED_AT + 1
    assert {(0,), (39,)} <= set(lazy.read)


def test_what_is_no_number_stays(prior: MultiScalePrior) -> None:
    clean, noisy = clean_and_noisy()
    data = noisy.astype(np.float32)
    data[3:6, 4:9], data[20, 20] = np.nan, np.inf
    found = denoise_layer(data, prior, uncertainty=True)
    np.testing.assert_array_equal(np.isfinite(found.data), np.isfinite(data))
    assert found.data[20, 20] == np.inf
    assert found.uncertainty is not None
    np.testing.assert_array_equal(np.isfinite(found.uncertainty), np.isfinite(data))
    kept = np.isfinite(data)
    assert error(found.data[kept], clean[kept]) < 0.5 * error(data[kept], clean[kept])


@pytest.mark.parametrize(
    "data",
    [
        np.zeros((1, 1), np.uint8),
        np.full((5, 7), 9, np.uint16),
        np.full((4, 4), np.nan),
        np.arange(24, dtype=np.int64).reshape(2, 3, 4) << 40,
        np.eye(3, dtype=np.uint64),
        np.eye(9, dtype=np.float16),
    ],
)
def test_odd_layers_come_back_whole(prior: MultiScalePrior, data: Array) -> None:
    found = denoise_layer(data, prior).data
    assert (found.shape, found.dtype) == (data.shape, data.dtype)
    np.testing.assert_array_equal(np.isfinite(found), np.isfinite(data))


def test_a_gray_model_makes_colours_gray_and_says_so() -> None:
    from zoo import randomised

    from scalewise.networks import BiasFreeDenoiser

    gray = MultiScalePrior(randomised(BiasFreeDenoiser(1, [3, 3], width=4)))
    found = denoise_layer(eight_bits(clean_and_noisy(3)[1]), gray, rgb=True)
    assert found.data.shape == (SIDE, SIDE, 3)
    assert (found.data == found.data[..., :1]).all()
    assert "RGB image converted to gray for the model" in found.notes


def test_notes_name_no_option_that_the_widget_lacks(prior: MultiScalePrior) -> None:
    layer = np.full((40, 40), 100, np.uint8)
    layer[::5, ::5] = 255
    found = denoise_layer(layer, prior)
    (impulses,) = [note for note in found.notes if "impulses" in note]
    assert impulses == "4 % of the values are impulses, such as dead pixels"
    assert "no noise was found" in found.notes


@pytest.mark.parametrize(
    ("data", "options", "told"),
    [
        (np.zeros((4, 4), bool), {}, "integers or floats of at most 64 bits, found bool"),
        (np.zeros((4, 4), complex), {}, "integers or floats of at most 64 bits, found complex128"),
        (np.zeros(4), {}, r"must have height and width, found shape \(4,\)"),
        (np.zeros((0, 4)), {}, r"must have height and width, found shape \(0, 4\)"),
        (np.zeros((4, 2)), {"rgb": True}, r"must end in 3 or 4 of them, found shape \(4, 2\)"),
        (np.zeros((4, 4)), {"noise": -1}, "noise must be 0 or more, .* found -1"),
        (np.zeros((4, 4)), {"noise": float("nan")}, "noise must be 0 or more, .* found nan"),
        (np.zeros((2, 4, 4)), {"channel_axis": 1}, "one of the 1 before height and width, .* 1"),
    ],
)
def test_what_cannot_be_is_refused(
    prior: MultiScalePrior, data: Array, options: Any, told: str
) -> None:
    with pytest.raises(UsageError, match=told):
        denoise_layer(data, prior, **options)


def test_is_stopped_within_a_plane(prior: MultiScalePrior) -> None:
    with pytest.raises(Stopped):
        next(denoising(eight_bits(clean_and_noisy()[1]), prior, stop=lambda: True))


# The manifest


def test_the_manifest_names_what_is_there(root: Path) -> None:
    import yaml

    manifest = yaml.safe_load((root / "src/scalewise/napari/napari.yaml").read_text())
    (command,) = manifest["contributions"]["commands"]
    (widget,) = manifest["contributions"]["widgets"]
    assert manifest["name"] == "scalewise"
    assert widget["command"] == command["id"]
    module, name = command["python_name"].split(":")
    file = root / "src" / (module.replace(".", "/") + ".py")
    assert f"class {name}(" in file.read_text()


@pytest.mark.skipif(find_spec("npe2") is None, reason="needs npe2, which comes with napari")
@pytest.mark.parametrize("name", ["scalewise", "src/scalewise/napari/napari.yaml"])
def test_npe2_finds_the_manifest_valid(root: Path, name: str) -> None:
    call = [sys.executable, "-m", "npe2", "validate", name]
    done = subprocess.run(call, cwd=root, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "valid!" in done.stdout


# The widget


Wait = Callable[[Any], None]


@pytest.fixture
def wait(monkeypatch: pytest.MonkeyPatch) -> Iterator[Wait]:
    """Let Qt work until a widget rests; what is raised within it would end the process."""
    raised: list[object] = []
    monkeypatch.setattr(sys, "excepthook", lambda *error: raised.append(error[1]))
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    from napari.qt.threading import WorkerBase
    from napari.utils.notifications import notification_manager
    from qtpy.QtWidgets import QApplication

    application = QApplication.instance() or QApplication([])
    notification_manager.records.clear()

    def until_done(widget: Any) -> None:
        start = time.monotonic()
        while not widget.run.enabled:
            assert not raised
            assert time.monotonic() - start < 120
            application.processEvents()
            time.sleep(0.01)

    yield until_done
    WorkerBase.await_workers()
    assert not raised


@pytest.fixture
def viewer() -> Any:
    """A viewer without a window, which would need OpenGL."""
    from napari.components import ViewerModel

    return ViewerModel()


def told() -> list[tuple[str, str]]:
    from napari.utils.notifications import notification_manager

    return [(note.severity.value, note.message) for note in notification_manager.records]


@needs_napari
@pytest.mark.filterwarnings("ignore")
class TestWidget:
    """What napari shows."""

    def test_denoises_the_layer_and_keeps_how_it_is_shown(
        self, viewer: Any, wait: Wait, prior: MultiScalePrior
    ) -> None:
        from napari.layers import Image

        from scalewise.napari.widget import DenoiseWidget

        data = np.stack([eight_bits(clean_and_noisy(seed=seed)[1]) for seed in range(2)])
        shown = {
            "scale": (2, 0.5, 0.5),
            "translate": (1, 2, 3),
            "units": ("um", "um", "um"),
            "axis_labels": ("z", "y", "x"),
            "colormap": "green",
            "contrast_limits": (10, 200),
            "gamma": 0.8,
            "opacity": 0.7,
            "blending": "additive",
            "metadata": {"stain": "GFP"},
        }
        layer = viewer.add_layer(Image(data, name="cells", **shown))
        widget = DenoiseWidget(viewer)
        assert (widget.layer.value, widget.model.value) == (layer, "photos")
        widget.uncertainty.value = True
        widget.run.native.click()
        assert (widget.run.enabled, widget.cancel.enabled) == (False, True)
        wait(widget)
        assert [one.name for one in viewer.layers] == [
            "cells",
            "cells uncertainty",
            "cells denoised",
        ]
        _, uncertainty, denoised = viewer.layers
        assert viewer.layers.selection.active is denoised
        assert widget.layer.value is layer
        expected = denoise_layer(data, prior, uncertainty=True)
        np.testing.assert_array_equal(denoised.data, expected.data)
        assert expected.uncertainty is not None
        np.testing.assert_allclose(uncertainty.data, expected.uncertainty, rtol=1e-4, atol=1e-4)
        assert denoised.data.dtype == np.uint8
        for name in ("contrast_limits", "gamma", "opacity", "blending", "metadata"):
            assert getattr(denoised, name) == getattr(layer, name)
        assert denoised.colormap.name == "green"
        for one in (denoised, uncertainty):
            np.testing.assert_array_equal(one.affine.affine_matrix, layer.affine.affine_matrix)
            np.testing.assert_array_equal(one.scale, layer.scale)
            np.testing.assert_array_equal(one.translate, layer.translate)
            assert (one.units, one.axis_labels) == (layer.units, layer.axis_labels)
        assert widget.found.value.startswith("noise 2")
        assert told() == []

    def test_denoises_colours_by_a_level_that_is_told(
        self, viewer: Any, wait: Wait, prior: MultiScalePrior
    ) -> None:
        from scalewise.napari.widget import DenoiseWidget

        data = eight_bits(clean_and_noisy(3)[1])
        viewer.add_image(data, name="photo", scale=(3, 3))
        widget = DenoiseWidget(viewer)
        assert not widget.noise.enabled
        widget.estimated.value, widget.noise.value = False, 20.0
        assert widget.noise.enabled
        widget.run.native.click()
        wait(widget)
        denoised = viewer.layers["photo denoised"]
        expected = denoise_layer(data, prior, rgb=True, noise=20)
        assert denoised.rgb
        np.testing.assert_array_equal(denoised.data, expected.data)
        np.testing.assert_array_equal(denoised.scale, (3, 3))
        assert widget.found.value == "noise 20"

    def test_takes_channels_and_a_model_of_ones_own(
        self, viewer: Any, wait: Wait, tmp_path: Path, prior: MultiScalePrior
    ) -> None:
        from scalewise.napari.widget import DenoiseWidget

        scalewise.save(prior, tmp_path / "own")
        bright, dim = (clean_and_noisy(seed=seed)[1] for seed in (0, 1))
        data = np.clip([60000 * bright, 1000 * dim], 0, 65535).astype(np.uint16)
        viewer.add_image(data, name="stained")
        widget = DenoiseWidget(viewer)
        assert widget.channels.choices == (None, 0)
        widget.folder.value, widget.channels.value = tmp_path / "own", 0
        widget.run.native.click()
        wait(widget)
        expected = denoise_layer(data, prior, channel_axis=0)
        np.testing.assert_array_equal(viewer.layers["stained denoised"].data, expected.data)
        assert told() == [("info", "channel 2: 0 to 1023 taken for black to white")]

    def test_follows_the_layer_that_is_selected(self, viewer: Any, wait: Wait) -> None:
        from scalewise.napari.widget import DenoiseWidget

        widget = DenoiseWidget(viewer)
        assert widget.layer.value is None
        one = viewer.add_image(np.zeros((4, 4)), name="one")
        other = viewer.add_image(np.zeros((2, 8, 8)), name="other")
        viewer.add_points(np.zeros((1, 2)))
        assert widget.layer.choices == (None, one, other)
        viewer.layers.selection.active = one
        assert (widget.layer.value, widget.channels.choices) == (one, (None,))
        viewer.layers.selection.active = other
        assert (widget.layer.value, widget.channels.choices) == (other, (None, 0))
        viewer.layers.remove(other)
        assert widget.layer.choices == (None, one)

    def test_the_finest_of_several_scales_is_denoised(
        self, viewer: Any, wait: Wait, prior: MultiScalePrior
    ) -> None:
        from scalewise.napari.widget import DenoiseWidget

        data = eight_bits(clean_and_noisy()[1])
        viewer.add_image([data, data[::2, ::2]], name="large", multiscale=True)
        widget = DenoiseWidget(viewer)
        widget.run.native.click()
        wait(widget)
        found = viewer.layers["large denoised"].data
        np.testing.assert_array_equal(found, denoise_layer(data, prior).data)

    def test_is_cancelled(self, viewer: Any, wait: Wait) -> None:
        from scalewise.napari.widget import DenoiseWidget

        viewer.add_image(np.stack(200 * [eight_bits(clean_and_noisy()[1])]), name="film")
        widget = DenoiseWidget(viewer)
        start = time.monotonic()
        widget.run.native.click()
        widget.cancel.native.click()
        wait(widget)
        assert time.monotonic() - start < 10
        assert [layer.name for layer in viewer.layers] == ["film"]
        assert widget.found.value == "stopped; no layer was added"
        assert told() == []

    def test_errors_are_told_in_a_sentence(self, viewer: Any, wait: Wait, tmp_path: Path) -> None:
        from scalewise.napari.widget import DenoiseWidget

        widget = DenoiseWidget(viewer)
        widget.run.native.click()
        viewer.add_image(np.zeros((4, 4), bool), name="mask")
        widget.run.native.click()
        wait(widget)
        viewer.add_image(np.zeros((4, 4)), name="image")
        widget.folder.value = tmp_path
        widget.run.native.click()
        wait(widget)
        kinds, sentences = zip(*told(), strict=True)
        assert set(kinds) == {"error"}
        assert sentences[0] == "no image layer is there to denoise; open one first"
        assert "found bool; convert it first" in sentences[1]
        assert sentences[2].startswith(f"{tmp_path}: config.json is missing")
        assert len(sentences) == 3
        assert widget.run.enabled

    def test_opens_in_a_window_by_the_name_of_the_plugin(self) -> None:
        """In a process of its own, which OpenGL may end."""
        script = (
            "import napari, numpy as np\n"
            "viewer = napari.Viewer(show=False)\n"
            "try:\n    viewer.add_image(np.zeros((8, 8)), name='one')\n"
            "except Exception as error:\n    print('OpenGL:', error)\n"
            "else:\n"
            "    _, widget = viewer.window.add_plugin_dock_widget(\n"
            "        'scalewise', 'Denoise with Scalewise')\n"
            "    print('shown', type(widget).__name__, widget.layer.value.name)\n"
            "viewer.close()"
        )
        environment = {"QT_QPA_PLATFORM": "offscreen"} | os.environ
        call = [sys.executable, "-W", "ignore", "-c", script]
        done = subprocess.run(call, env=environment, capture_output=True, text=True, timeout=120)
        if "shown" not in done.stdout and (done.returncode < 0 or "OpenGL" in done.stdout):
            pytest.skip("a window of napari needs OpenGL, under Linux a screen such as Xvfb")
        assert "shown DenoiseWidget one" in done.stdout, done.stderr

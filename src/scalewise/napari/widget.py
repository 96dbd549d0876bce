"""What napari shows: which layer, which model, which noise; and the work in a thread."""

from __future__ import annotations

from collections.abc import Generator
from functools import lru_cache
from pathlib import Path
from typing import Any

from magicgui.widgets import (
    CheckBox,
    ComboBox,
    Container,
    FileEdit,
    FloatSpinBox,
    Label,
    ProgressBar,
    PushButton,
)
from napari.layers import Image
from napari.qt.threading import create_worker
from napari.utils.notifications import show_error, show_info
from napari.viewer import Viewer

from scalewise import store
from scalewise.errors import ScalewiseError, UsageError
from scalewise.napari.layers import Denoised, Layout, Stopped, denoising
from scalewise.prior import MultiScalePrior

PREFERRED = "photos"
"""The model that is chosen at first, where it is packaged."""

PLACED = (
    "affine",
    "axis_labels",
    "rotate",
    "scale",
    "shear",
    "translate",
    "units",
)
"""Where a layer is; its uncertainty is there too."""

SHOWN = (
    "attenuation",
    "blending",
    "colormap",
    "contrast_limits",
    "depiction",
    "gamma",
    "interpolation2d",
    "interpolation3d",
    "iso_threshold",
    "metadata",
    "opacity",
    "projection_mode",
    "rendering",
    "rgb",
)
"""How a layer is shown, and what is known of it; its denoised one likewise."""

Finished = Denoised | str | None
"""What comes of a run: the arrays, what was wrong, or nothing, if it was stopped."""


class DenoiseWidget(Container):
    """Denoise an image layer of a viewer into a new layer.

    Args:
        napari_viewer: whose layers are offered, and that gets the new ones.
    """

    def __init__(self, napari_viewer: Viewer) -> None:
        self._viewer = napari_viewer
        self._worker: Any = None
        names = store.packaged()
        self.layer = ComboBox(label="layer", choices=self._images, nullable=True)
        self.model = ComboBox(
            label="model",
            choices=names,
            value=PREFERRED if PREFERRED in names else None,
            tooltip="A model that comes with Scalewise.",
        )
        self.folder = FileEdit(
            label="or folder",
            mode="d",
            nullable=True,
            tooltip="A folder of a model of your own, instead; empty for the model above.",
        )
        self.estimated = CheckBox(
            text="estimate noise",
            value=True,
            tooltip="Find in each plane what its noise is like, rather than tell it.",
        )
        self.noise = FloatSpinBox(
            label="noise",
            value=0.0,
            min=0.0,
            max=1e12,
            step=0.1,
            enabled=False,
            tooltip="Standard deviation of white noise, in the unit of the layer.",
        )
        self.channels = ComboBox(
            label="channels",
            choices=self._axes,
            nullable=True,
            tooltip="The axis of a stack that counts channels, each with a range of its own.",
        )
        self.uncertainty = CheckBox(
            text="uncertainty as a layer",
            tooltip="Standard deviation of every pixel, in the unit of the layer; ten times the "
            "time.",
        )
        self.run = PushButton(text="Denoise")
        self.cancel = PushButton(text="Cancel", enabled=False)
        self.progress = ProgressBar(visible=False, label="planes")
        self.found = Label(value="")
        super().__init__(
            widgets=[
                self.layer,
                self.model,
                self.folder,
                self.estimated,
                self.noise,
                self.channels,
                self.uncertainty,
                self.run,
                self.cancel,
                self.progress,
                self.found,
            ]
        )
        self.estimated.changed.connect(self._estimate)
        self.layer.changed.connect(lambda _: self.channels.reset_choices())
        self.run.changed.connect(self._start)
        self.cancel.changed.connect(self._stop)
        layers = napari_viewer.layers
        layers.events.inserted.connect(self._renew)
        layers.events.removed.connect(self._renew)
        layers.selection.events.active.connect(self._follow)
        self._follow()

    def _images(self, _: Any = None) -> list[tuple[str, Image]]:
        """The layers that may be denoised, by name."""
        return [(layer.name, layer) for layer in self._viewer.layers if isinstance(layer, Image)]

    def _renew(self, _: Any = None) -> None:
        """Offer the layers that are there now."""
        self.layer.reset_choices()
        self.channels.reset_choices()

    def _axes(self, _: Any = None) -> list[tuple[str, int]]:
        """The axes that may count channels, by name and number."""
        layer = self.layer.value
        if layer is None:
            return []
        names = getattr(layer, "axis_labels", None) or [f"axis {i}" for i in range(layer.ndim)]
        return [(str(names[axis]), axis) for axis in range(layer.ndim - 2)]

    def _estimate(self, estimated: bool) -> None:
        self.noise.enabled = not estimated

    def _follow(self, _: Any = None) -> None:
        """Choose the layer that is selected, if it is an image."""
        active = self._viewer.layers.selection.active
        if isinstance(active, Image):
            self.layer.reset_choices()  # its name may be new
            self.layer.value = active
            self.channels.reset_choices()

    def _start(self) -> None:
        """Begin the work in a thread, or say why not."""
        layer = self.layer.value
        try:
            if layer is None:
                raise UsageError("no image layer is there to denoise; open one first")
            data = layer.data[0] if layer.multiscale else layer.data
            planes = Layout.of(data, layer.rgb, self.channels.value).planes
        except ScalewiseError as error:
            show_error(str(error))
            return
        self._worker = create_worker(
            _work,
            data,
            _chosen(self.model.value, self.folder.value),
            lambda: self._worker is not None and self._worker.abort_requested,
            rgb=layer.rgb,
            channel_axis=self.channels.value,
            noise=None if self.estimated.value else self.noise.value,
            uncertainty=self.uncertainty.value,
            _progress={"total": planes, "desc": f"denoising {layer.name}"},
        )
        self._worker.yielded.connect(self._advance)
        self._worker.returned.connect(lambda result: self._finish(layer, result))
        self._worker.finished.connect(self._rest)
        self.run.enabled, self.cancel.enabled = False, True
        self.progress.min, self.progress.max, self.progress.value = 0, planes, 0
        self.progress.visible, self.found.value = True, ""
        self._worker.start()

    def _stop(self) -> None:
        if self._worker is not None:
            self._worker.quit()
            self.found.value = "stopping"

    def _advance(self, done: tuple[int, int]) -> None:
        self.progress.value = done[0]

    def _rest(self) -> None:
        """Be ready for the next run."""
        stopped = self._worker is not None and self._worker.abort_requested
        self._worker = None
        self.run.enabled, self.cancel.enabled = True, False
        self.progress.visible = False
        if stopped:
            self.found.value = "stopped; no layer was added"

    def _finish(self, layer: Image, result: Finished) -> None:
        """Add the layers, or say what was wrong."""
        if result is None:
            return
        if isinstance(result, str):
            show_error(result)
            return
        state = layer.as_layer_data_tuple()[1]
        if layer.rgb:  # which has none, whatever it says
            state = {k: v for k, v in state.items() if k not in ("colormap", "contrast_limits")}
        placed = {name: state[name] for name in PLACED if name in state}
        shown = {name: state[name] for name in SHOWN if name in state}
        if result.uncertainty is not None:
            name = f"{layer.name} uncertainty"
            self._viewer.add_layer(
                Image(result.uncertainty, name=name, colormap="magma", visible=False, **placed)
            )
        self._viewer.add_layer(Image(result.data, name=f"{layer.name} denoised", **placed, **shown))
        if layer in self._viewer.layers:
            self.layer.value = layer  # rather than what was made of it, which is selected now
        least, most = min(result.sigma), max(result.sigma)
        span = f"{least:.4g}" if f"{least:.4g}" == f"{most:.4g}" else f"{least:.4g} to {most:.4g}"
        self.found.value = f"noise {span}"
        if result.notes:
            show_info("; ".join(result.notes))


def _chosen(model: str | None, folder: Path | None) -> str:
    """The name or folder of a model; an empty field is no folder."""
    if folder is not None and str(folder) not in ("", "."):
        return str(folder)
    return model or ""


@lru_cache(maxsize=2)
def _packaged(name: str) -> MultiScalePrior:
    """A packaged model, kept for the next run."""
    return store.load(name)


def _work(
    data: Any, model: str, stop: Any, **options: Any
) -> Generator[tuple[int, int], None, Finished]:
    """What the thread does: load the model, denoise plane by plane."""
    try:
        prior = _packaged(model) if model in store.packaged() else store.load(model)
        return (yield from denoising(data, prior, stop=stop, **options))
    except Stopped:
        return None
    except ScalewiseError as error:  # a sentence; errors that are raised come with a traceback
        return str(error)

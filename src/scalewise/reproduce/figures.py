"""Pictures of the report: curves as SVG, sheets of images as PNG."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image
from torch import Tensor

from scalewise.evaluation import sheet
from scalewise.evaluation.reliability import check_matplotlib, figure_bytes
from scalewise.reproduce.experiment import Figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Curve = tuple[Sequence[float], Sequence[float]]


def curves(
    name: str,
    caption: str,
    panels: Mapping[str, Mapping[str, Curve]],
    x: str,
    y: str,
    log: str = "",
    private: bool = False,
) -> Figure:
    """Draw panels of labelled curves side by side.

    Args:
        name: of the figure.
        caption: of the figure.
        panels: titles, and in each the curves by label: x and y values. Labels that begin with
            "flat" are dashed, those that begin with "·" dotted and gray.
        x: label of the x axis.
        y: label of the y axis.
        log: the axes that are logarithmic: "", "x", "y" or "xy".
        private: see `Figure`.
    """
    check_matplotlib()
    from matplotlib import rc_context
    from matplotlib.figure import Figure as Canvas

    with rc_context({"font.size": 9}):
        canvas = Canvas(figsize=(4.2 * len(panels), 3.4), layout="constrained")
        axes = canvas.subplots(1, len(panels), squeeze=False)[0]
        for place, (title, lines) in zip(axes, panels.items(), strict=True):
            _panel(place, title, lines, log)
            place.set_xlabel(x)
        axes[0].set_ylabel(y)
        return Figure(name, caption, figure_bytes(canvas, name), "svg", private)


def _panel(axes: Axes, title: str, lines: Mapping[str, Curve], log: str) -> None:
    for label, (across, up) in lines.items():
        style: dict[str, Any] = {"linestyle": "--"} if label.startswith("flat") else {}
        if label.startswith("·"):
            style = {"linestyle": ":", "color": "gray"}
        axes.plot(across, up, marker=".", linewidth=1, label=label.lstrip("·"), **style)
    if "x" in log:
        axes.set_xscale("log")
    if "y" in log:
        axes.set_yscale("log")
    axes.set_title(title, fontsize=9)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=7)


def pictures(
    name: str,
    caption: str,
    rows: Sequence[Sequence[Tensor]],
    labels: Sequence[str] = (),
    titles: Sequence[str] = (),
    height: int = 96,
    private: bool = False,
) -> Figure:
    """Lay out rows of images (C, H, W) in [0, 1]; see `scalewise.evaluation.sheet`."""
    drawn = sheet(rows, titles, labels, height=height)
    pixels = drawn.clamp(0, 1).mul(255).round().byte().movedim(0, -1).numpy()
    gray = bool((pixels == pixels[..., :1]).all())
    image = Image.fromarray(np.ascontiguousarray(pixels[..., 0] if gray else pixels))
    stream = io.BytesIO()
    image.save(stream, "PNG", optimize=True)
    return Figure(name, caption, stream.getvalue(), "png", private)

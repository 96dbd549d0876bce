"""The reliability diagram: what intervals were to hold, and what they held."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

from scalewise.errors import ScalewiseError
from scalewise.evaluation.records import Record

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHOWN = {"all": "all pixels", "sigma": "σ = {}", "factor": "×{}"}
"""Kinds of groups that are drawn, and how they are called."""


def check_matplotlib() -> None:
    """Say how to get matplotlib where it is missing.

    Raises:
        ScalewiseError: it cannot be imported.
    """
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError as error:
        raise ScalewiseError(
            "figures need matplotlib, which is not installed; "
            "run: pip install 'scalewise[reproduce]'"
        ) from error


def figure_bytes(figure: Figure, salt: str, kind: str = "svg") -> bytes:
    """A figure as a file, the same in every run.

    Args:
        figure: to write.
        salt: of the names of its parts, which must differ between figures on one page.
        kind: "svg" or "png".
    """
    from matplotlib import rc_context

    stream = io.BytesIO()
    nothing = {"svg": {"Date": None, "Creator": None}, "png": {"Software": None}}[kind]
    with rc_context({"svg.hashsalt": salt, "svg.fonttype": "none"}):
        figure.savefig(stream, format=kind, metadata=nothing, dpi=160)
    return stream.getvalue()


def reliability_diagram(records: Sequence[Record]) -> Figure:
    """Draw what share of pixels intervals held over the share that they were to hold.

    On the diagonal the two are the same (DeGroot and Fienberg, "The comparison and evaluation of
    forecasters", The Statistician 1983). Beside it, since the eye cannot tell a point of a hundred
    there, the difference of the two.

    Args:
        records: of `evaluate_calibration` or `evaluate_upscaling_calibration`, whose groups by
            level of noise or by factor are drawn, and that of all pixels.

    Returns:
        A figure of Matplotlib.

    Raises:
        ScalewiseError: matplotlib is not installed.

    Examples:
        >>> from scalewise.evaluation import reliability_diagram
        >>> coverage = {50: 50.4, 80: 80.6, 90: 90.5, 95: 95.3}
        >>> figure = reliability_diagram([{"by": "sigma", "group": "25", "coverage": coverage}])
        >>> figure.axes[0].get_legend_handles_labels()[1]
        ['σ = 25']
    """
    check_matplotlib()
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.6, 4), layout="constrained")
    shares, points = figure.subplots(1, 2)
    shares.plot([40, 100], [40, 100], ":", color="gray", linewidth=1)
    points.axhline(0, linestyle=":", color="gray", linewidth=1)
    for record in records:
        if record["by"] not in SHOWN:
            continue
        told = [float(share) for share in record["coverage"]]
        held = list(record["coverage"].values())
        width = 2 if record["by"] == "all" else 1
        label = SHOWN[record["by"]].format(record["group"])
        shares.plot(told, held, marker=".", linewidth=width, label=label)
        over = [found - share for share, found in zip(told, held, strict=True)]
        points.plot(told, over, marker=".", linewidth=width)
    shares.set_ylabel("held, % of pixels")
    points.set_ylabel("held less what it was to hold, points of %")
    for axes in (shares, points):
        axes.set_xlabel("interval, %")
        axes.grid(alpha=0.3)
    furthest = max(1.5, *(abs(limit) for limit in points.get_ylim()))
    points.set_ylim(-furthest, furthest)
    shares.legend()
    return figure

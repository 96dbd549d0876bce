"""How what was measured is laid out as rows of one table."""

from __future__ import annotations

HEAD = ("measured", "Scalewise", "baseline", "ratio")
"""Heads of the table; a ratio above 1 means that Scalewise is faster."""

Row = tuple[str, str, str, str]


def compared(name: str, ours: float, published: float) -> Row:
    """Seconds of ours beside those of the published form."""
    return name, seconds(ours), seconds(published), f"{published / ours:.2f}"


def rate(ours: float, limit: float) -> Row:
    """Operations per second beside those of one dense convolution, in 1e9."""
    name = "  its rate, of one dense convolution"
    return name, f"{ours:.0f} GFLOP/s", f"{limit:.0f} GFLOP/s", percent(ours / limit)


def seconds(value: float) -> str:
    """A time in a unit that suits it."""
    return f"{1e3 * value:.1f} ms" if value < 0.1 else f"{value:.2f} s"


def percent(share: float) -> str:
    """A share in hundredths."""
    return f"{100 * share:.1f} %"

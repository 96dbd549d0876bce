"""How large a pixel is."""

from dataclasses import dataclass, replace

METRES = {
    "inch": 0.0254,
    "m": 1.0,
    "cm": 1e-2,
    "mm": 1e-3,
    "µm": 1e-6,
    "nm": 1e-9,
    "pm": 1e-12,
    "Å": 1e-10,
}
"""Length of each unit in metres."""

_NAMES = {
    "um": "µm", "μm": "µm", "\\u00b5m": "µm", "micron": "µm", "microns": "µm",
    "micrometer": "µm", "micrometre": "µm", "millimeter": "mm", "centimeter": "cm",
    "meter": "m", "nanometer": "nm", "picometer": "pm", "angstrom": "Å", "in": "inch",
    "inches": "inch",
}  # fmt: skip


def unit_of(name: str) -> str | None:
    """The unit that a file names in its own way; None for pixels."""
    plain = name.strip()
    if plain.lower() in ("", "pixel", "pixels"):
        return None
    return _NAMES.get(plain.lower(), plain)


@dataclass(frozen=True)
class Resolution:
    """Pixels per unit of length.

    Args:
        x: pixels per unit along a row.
        y: pixels per unit along a column.
        unit: one of `METRES`; any other word that a file says; None for the ratio alone.
    """

    x: float
    y: float
    unit: str | None = "inch"

    def scaled(self, factor: float) -> "Resolution":
        """The resolution of an image with `factor` times the pixels a side, as large on paper."""
        return replace(self, x=self.x * factor, y=self.y * factor)

    def per(self, unit: str) -> tuple[float, float] | None:
        """Pixels per another unit of length, (x, y); None where this one is no length."""
        if self.unit not in METRES:
            return None
        ratio = METRES[unit] / METRES[self.unit]
        return self.x * ratio, self.y * ratio

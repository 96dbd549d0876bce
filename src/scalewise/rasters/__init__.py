"""Images of any size, read and written in windows (`docs/large.md`)."""

from scalewise.rasters.opening import is_array, open_raster
from scalewise.rasters.raster import Layout, Raster

__all__ = ["Layout", "Raster", "is_array", "open_raster"]

"""Images of any size, read and written in windows (`docs/large.md`)."""

from scalewise.rasters.opening import WholeOnly, is_array, open_raster
from scalewise.rasters.raster import Layout, Raster

__all__ = ["Layout", "Raster", "WholeOnly", "is_array", "open_raster"]

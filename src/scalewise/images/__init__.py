"""Reading and writing image files: PNG, TIFF, JPEG and WebP, with alpha, profile and EXIF.

Pixels come and go at the depth of the file: 8 or 16 bits per channel, or floats.
"""

from scalewise.images.formats import IMAGE_SUFFIXES
from scalewise.images.picture import PIXEL_LIMIT, Depth, Picture, to_channels
from scalewise.images.reading import find_images, read_image
from scalewise.images.writing import check_output, write_image

__all__ = [
    "IMAGE_SUFFIXES",
    "PIXEL_LIMIT",
    "Depth",
    "Picture",
    "check_output",
    "find_images",
    "read_image",
    "to_channels",
    "write_image",
]

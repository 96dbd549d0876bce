"""Reading and writing image files: PNG, TIFF, JPEG and WebP, with all that they say.

Pixels come and go at the depth, and in the unit, of the file.
"""

from scalewise.images.alpha import fill_hidden
from scalewise.images.arrays import AnyImage, picture_of, to_array, to_pil
from scalewise.images.finding import RAW_SUFFIXES, ImageFiles, find_images
from scalewise.images.formats import IMAGE_SUFFIXES
from scalewise.images.intensities import Intensities
from scalewise.images.jpeg_coefficients import JpegCoefficients, read_coefficients
from scalewise.images.kinds import Depth
from scalewise.images.picture import PIXEL_LIMIT, Picture, pixel_limit, to_channels
from scalewise.images.raw import Mosaic, check_pattern, read_mosaic, read_raw
from scalewise.images.reading import decode_image, read_image
from scalewise.images.resolution import Resolution
from scalewise.images.writing import check_output, encode_image, has_quality, write_image

__all__ = [
    "IMAGE_SUFFIXES",
    "PIXEL_LIMIT",
    "RAW_SUFFIXES",
    "AnyImage",
    "Depth",
    "ImageFiles",
    "Intensities",
    "JpegCoefficients",
    "Mosaic",
    "Picture",
    "Resolution",
    "check_output",
    "check_pattern",
    "decode_image",
    "encode_image",
    "fill_hidden",
    "find_images",
    "has_quality",
    "picture_of",
    "pixel_limit",
    "read_coefficients",
    "read_image",
    "read_mosaic",
    "read_raw",
    "to_array",
    "to_channels",
    "to_pil",
    "write_image",
]

"""Training sets: folders, lists and arrays of images, and random crops of them."""

from scalewise.data.image_set import ImageSet, hold_out, hold_out_strip
from scalewise.data.loading import ARRAY_SUFFIXES, load_image_set
from scalewise.data.photos import sample_photo
from scalewise.data.sources import Reading, open_image_set
from scalewise.data.streaming import Streamed

__all__ = [
    "ARRAY_SUFFIXES",
    "ImageSet",
    "Reading",
    "Streamed",
    "hold_out",
    "hold_out_strip",
    "load_image_set",
    "open_image_set",
    "sample_photo",
]

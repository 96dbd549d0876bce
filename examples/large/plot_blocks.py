"""
A slide in blocks
=================

For whoever has pictures larger than memory. The image lies on disk as Zarr, and so does the
result; in between a few blocks are in memory. How it is cut shows nowhere: the difference of two
cuts is zero.
"""

import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import zarr
from skimage import data

import scalewise
from scalewise import blocks
from scalewise.blocks import Limits
from scalewise.rasters import open_raster

photo = data.immunohistochemistry()[:256, :384].astype(float)
noisy = np.clip(photo + np.random.default_rng(0).normal(0, 20, photo.shape), 0, 255)

with tempfile.TemporaryDirectory() as name:
    folder = Path(name)
    slide = zarr.create_array(
        str(folder / "slide.zarr"), shape=noisy.shape, chunks=(64, 64, 3), dtype="uint8"
    )
    slide[...] = noisy.astype("uint8")
    source, prior = open_raster(folder / "slide.zarr"), scalewise.load("photos")
    found = []
    for tile in (64, 128):
        output = folder / f"clean{tile}.zarr"
        blocks.denoise(source, prior, output, limits=Limits(tile=tile))
        found.append(zarr.open_array(str(output), mode="r")[...])

figure, axes = plt.subplots(1, 3, figsize=(13, 3.2), layout="constrained")
axes[0].imshow(noisy.astype("uint8"))
axes[0].set_title("noisy")
axes[1].imshow(found[0])
axes[1].set_title("in blocks of 64 pixels")
axes[2].imshow(np.abs(found[0].astype(int) - found[1]).max(-1), cmap="gray", vmin=0, vmax=1)
axes[2].set_title("less that in blocks of 128: black is the same")
for axis in axes:
    axis.axis("off")
plt.show()

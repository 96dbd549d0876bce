"""
Another wavelet
===============

For whoever asks what the wavelet does. Any orthogonal wavelet that PyWavelets names takes the
place of Haar's: a string, in a recipe (``wavelet="db4"``) or in ``MultiScalePrior``. Longer
filters have a smoother low-pass image, and details with less energy; only Haar's low-pass image
is the mean of blocks.
"""

import matplotlib.pyplot as plt
import torch
from skimage import data

from scalewise.wavelets import decompose, merge, split

photo = torch.from_numpy(data.camera())[None, None] / 255
wavelets = ("haar", "db2", "sym4", "coif3")

figure, axes = plt.subplots(1, 5, figsize=(14.5, 3.3), layout="constrained")
energies = {}
for axis, wavelet in zip(axes, wavelets, strict=False):
    low, details = split(photo, wavelet)
    assert torch.allclose(merge(low, details, wavelet), photo, atol=1e-5)
    coarse, _ = decompose(photo, 3, wavelet)
    axis.imshow(coarse[0, 0].numpy(), cmap="gray", vmin=0, vmax=1)
    axis.set_title(f"{wavelet}: $x_3$")
    axis.axis("off")
    energies[wavelet] = 255 * float(details.square().mean().sqrt())
axes[4].bar(list(energies), list(energies.values()))
axes[4].set(title="details of level 1", ylabel="root mean square (of 255)")
plt.show()

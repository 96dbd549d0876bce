r"""
An image, one scale at a time
=============================

For whoever meets the factorisation first. One level of a wavelet transform splits an image into a
low-pass image of half the size and three bands of details; three levels give the pyramid below.
Nothing is lost, so the probability of the image is that of the pieces, each given the next
coarser image:

.. math:: p(x_0) = p(x_3)\; p(\bar x_3 | x_3)\; p(\bar x_2 | x_2)\; p(\bar x_1 | x_1)
"""

import matplotlib.pyplot as plt
import torch
from skimage import data

from scalewise.wavelets import decompose, merge

photo = torch.from_numpy(data.camera())[None, None] / 255
low, details = decompose(photo, levels=3)

again = low
for bands in reversed(details):
    again = merge(again, bands)
print("largest difference after the way back:", float((again - photo).abs().max()))

pyramid = low
for bands in reversed(
    details
):  # coarsest first; gray is zero, details are shown four times as strong
    horizontal, vertical, diagonal = (0.5 + 4 * bands).chunk(3, dim=1)
    top, bottom = torch.cat([pyramid, vertical], 3), torch.cat([horizontal, diagonal], 3)
    pyramid = torch.cat([top, bottom], 2)

figure, (left, right) = plt.subplots(1, 2, figsize=(10, 5.2), layout="constrained")
left.imshow(photo[0, 0].numpy(), cmap="gray", vmin=0, vmax=1)
left.set_title("$x_0$")
right.imshow(pyramid[0, 0].numpy(), cmap="gray", vmin=0, vmax=1)
for level in (1, 2, 3):
    side = 512 >> level
    right.plot([side, side], [0, 2 * side], [0, 2 * side], [side, side], color="tab:orange", lw=1)
    right.text(2 * side - 8, 2 * side - 8, rf"$\bar x_{level}$", fontsize=16, ha="right")
right.text(8, 58, "$x_3$", fontsize=16, color="white")
right.set(title=r"$x_3$ and the details of three levels", xlim=(-0.5, 511.5), ylim=(511.5, -0.5))
for axis in (left, right):
    axis.axis("off")
plt.show()

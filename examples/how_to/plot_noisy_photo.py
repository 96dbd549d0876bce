"""
A noisy photo, nothing told
===========================

For whoever has a noisy picture and no idea of its noise. ``restore.denoise`` looks at the
picture, says what it found, and takes it away. Here photons were counted behind a mosaic of
colours, and the missing colours interpolated: noise is stronger in the lights, and neighbouring
pixels share it. Taken for white, most of it is missed.
"""

import matplotlib.pyplot as plt
import torch
from skimage import data

import scalewise
from scalewise.metrics import psnr
from scalewise.operators import Demosaicking

prior = scalewise.load("photos")
photo = torch.from_numpy(data.coffee()).permute(2, 0, 1)[None] / 255
mosaic = Demosaicking("RGGB")
counts = torch.poisson(300 * mosaic.A(photo), generator=torch.Generator().manual_seed(0)) / 300
noisy = mosaic.fill(counts).clamp(0, 1)

cleaned = scalewise.restore.denoise(scalewise.Picture(noisy), prior)
print("\n".join(cleaned.noise[0].in_words()))
white = prior.denoise(noisy)

figure, axes = plt.subplots(1, 4, figsize=(13, 3.6), layout="constrained")
images = {"photo": photo, "noisy": noisy, "taken for white": white, "found": cleaned.picture.pixels}
for axis, (name, image) in zip(axes, images.items(), strict=True):
    axis.imshow(image[0, :, 60:188, 290:418].clamp(0, 1).permute(1, 2, 0).numpy())
    axis.set_title(name if image is photo else f"{name}, {psnr(photo, image).item():.1f} dB")
    axis.axis("off")
plt.show()

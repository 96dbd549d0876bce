"""
Intervals that hold the truth
=============================

For whoever has to write an error bar. With ``confidence=90`` every pixel gets a half width, so
that the truth is within it in nine pixels of ten. Whether that is so is counted here, on one
picture.
"""

import matplotlib.pyplot as plt
import torch
from skimage import data

import scalewise

photo = torch.from_numpy(data.camera()[100:228, 160:288])[None, None] / 255
noisy = photo + 25 / 255 * torch.randn(photo.shape, generator=torch.Generator().manual_seed(0))
restored = scalewise.restore.denoise(
    scalewise.Picture(noisy, depth="float32"),
    scalewise.load("photos"),
    sigma=25 / 255,
    uncertainty=True,
    confidence=90,
)
clean, half = restored.picture.pixels[0, 0], restored.deviation.pixels[0, 0]
held = 100 * float(((clean - photo[0, 0]).abs() <= half).float().mean())

row, columns = 64, range(128)
figure, (left, right) = plt.subplots(
    1, 2, figsize=(12, 3.8), layout="constrained", width_ratios=[1, 2.2]
)
left.imshow(clean.numpy(), cmap="gray", vmin=0, vmax=1)
left.axhline(row, color="tab:orange")
left.set_title("cleaned, and the row beside")
left.axis("off")
low, high = (255 * (clean + sign * half)[row] for sign in (-1, 1))
right.fill_between(columns, low.numpy(), high.numpy(), alpha=0.4, color="tab:orange", label="90 %")
right.plot(columns, 255 * photo[0, 0, row].numpy(), "k", lw=1, label="truth")
right.plot(columns, 255 * noisy[0, 0, row].numpy(), ".", color="gray", markersize=3, label="noisy")
right.set(
    xlabel="column",
    ylabel="intensity (of 255)",
    title=f"the truth is within in {held:.1f} % of all pixels",
)
right.legend()
plt.show()

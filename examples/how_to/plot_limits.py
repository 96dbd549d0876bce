"""
When it goes wrong
==================

For whoever decides whether to rely on it. Weak noise in dense texture is not told from the
texture, so it stays. A sample at a factor of four makes nonsense of letters and crumples faces.
Samples that differ are the warning: what they do not share is not in the data.
"""

import matplotlib.pyplot as plt
import torch
import torch.nn.functional as F
from skimage import data

import scalewise

prior = scalewise.load("photos")
gravel = torch.from_numpy(data.gravel()[0:192, 0:192])[None, None] / 255
noisy = gravel + 5 / 255 * torch.randn(gravel.shape, generator=torch.Generator().manual_seed(0))
cleaned = scalewise.restore.denoise(scalewise.Picture(noisy), prior)

letters = torch.from_numpy(data.page()[40:168, 20:148]).expand(3, -1, -1)[None] / 255
face = torch.from_numpy(data.astronaut()[64:192, 160:288]).permute(2, 0, 1)[None] / 255

figure, axes = plt.subplots(3, 4, figsize=(11, 9), layout="constrained")
rows = [
    {
        "gravel": gravel,
        "noise of 5": noisy,
        f"{255 * cleaned.sigma[0]:.1f} found": cleaned.picture.pixels,
    }
]
for truth in (letters, face):
    small = F.avg_pool2d(truth, 4)
    sample, other = prior.upscale(small, factor=4, samples=2, seed=0)
    rows.append({"small": small, "a sample": sample, "another": other, "the truth": truth})
rows[0]["what was removed, times 8"] = 0.5 + 8 * (noisy - cleaned.picture.pixels)
for row, images in zip(axes, rows, strict=True):
    for axis, (name, image) in zip(row, images.items(), strict=True):
        shown = image[0].clamp(0, 1).expand(3, -1, -1).permute(1, 2, 0)
        axis.imshow(shown.numpy(), interpolation="nearest")
        axis.set_title(name)
        axis.axis("off")
plt.show()

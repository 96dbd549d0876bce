"""
Counted photons, 12 bits
========================

For the astronomer or microscopist who knows the camera: stored value of one photo-electron
(gain), stored value without light (offset), read noise in electrons. Told these, dark parts are
cleaned as well as bright ones, in the unit of the file. The frame is simulated, of coins for 60
electrons of light at most; shown is the square root of the light.
"""

import matplotlib.pyplot as plt
import torch
from skimage import data

import scalewise
from scalewise.images import Intensities
from scalewise.metrics import psnr

gain, offset, read = 2.2, 100, 1.6
generator = torch.Generator().manual_seed(0)
coins = torch.from_numpy(data.coins()[20:212, 60:252])[None, None] / 255
electrons = torch.poisson(60 * coins**2, generator=generator)
electrons += read * torch.randn(coins.shape, generator=generator)
range_of_file = Intensities((0.0,), (4095.0,))
stored = (offset + gain * electrons).round().clamp(0, 4095)
picture = scalewise.Picture(range_of_file.of(stored), depth="uint16", intensities=range_of_file)

noise = scalewise.restore.photon_noise(picture, gain=gain, offset=offset, read=read)
cleaned = scalewise.restore.denoise(picture, scalewise.load("photos"), noise=noise)

figure, axes = plt.subplots(1, 3, figsize=(10.5, 3.8), layout="constrained")
for axis, name, values in zip(
    axes,
    ("truth", "12-bit frame", "cleaned"),
    (offset + gain * 60 * coins**2, stored, range_of_file.stored(cleaned.picture.pixels)),
    strict=True,
):
    shown = ((values - offset) / (gain * 60)).clamp(0, 1).sqrt()
    axis.imshow(shown[0, 0].numpy(), cmap="gray", vmin=0, vmax=0.8)
    axis.set_title(name if name == "truth" else f"{name}, {psnr(coins, shown).item():.1f} dB")
    axis.axis("off")
plt.show()

"""
What the noise of a picture is like
===================================

For whoever wants to know before cleaning. ``restore.find_noise`` tells how strong noise is at
every scale and in every channel, and how it grows with the light. The truth is known here:
photons were counted behind a mosaic of colours, and the missing colours interpolated. What it
finds in a picture is rather too little than too much.
"""

import matplotlib.pyplot as plt
import torch
from skimage import data

import scalewise
from scalewise.operators import Demosaicking
from scalewise.restore import find_noise, spectrum_of

prior = scalewise.load("photos")
photo = torch.from_numpy(data.astronaut()).permute(2, 0, 1)[None] / 255
mosaic = Demosaicking("RGGB")
counts = torch.poisson(300 * mosaic.A(photo), generator=torch.Generator().manual_seed(0)) / 300
noisy = mosaic.fill(counts)

found = find_noise(noisy[0], prior.levels, estimator=prior.estimator)
truth = spectrum_of(noisy[0] - mosaic.fill(mosaic.A(photo))[0], prior.levels)

figure, axes = plt.subplots(1, 3, figsize=(13, 3.6), layout="constrained")
axes[0].imshow(noisy[0, :, 90:170, 190:270].clamp(0, 1).permute(1, 2, 0).numpy())
axes[0].set_title("a part of the picture")
axes[0].axis("off")
for channel, colour in enumerate(("tab:red", "tab:green", "tab:blue")):
    for model, style in ((truth, "o"), (found, "-")):
        levels = [255 * model.scale(level)[channel % model.channels] for level in (1, 2, 3)]
        axes[1].plot([2, 4, 8], levels, style, color=colour)
axes[1].set(xlabel="size of structures in pixels", ylabel="deviation (of 255)", xticks=[2, 4, 8])
axes[1].set(title="by scale and colour: true (dots), found", ylim=(0, None))
light = torch.linspace(0, 1, 50)
axes[2].plot(light.numpy(), found.at(light).numpy(), label="found")
axes[2].plot(light.numpy(), (2 * light).sqrt().numpy(), "k--", label="square root of the light")
axes[2].set(xlabel="intensity", title="deviation, over that at middle gray", ylim=(0, None))
axes[2].legend()
figure.supxlabel("; ".join(found.in_words()), fontsize=9, wrap=True)
plt.show()

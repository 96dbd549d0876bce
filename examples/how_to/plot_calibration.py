"""
Whether a model knows what it does not know
===========================================

For whoever must trust intervals. ``evaluate_calibration`` counts how often intervals hold the
truth, by noise level and by contrast. Three pictures are few; the tables of :doc:`/uncertainty`
have fifty photographs.
"""

import matplotlib.pyplot as plt
import torch
from skimage import data

import scalewise
from scalewise.evaluation import evaluate_calibration

pictures = {
    name: torch.from_numpy(getattr(data, name)()) / 255
    for name in ("astronaut", "chelsea", "coffee")
}
records = evaluate_calibration(
    scalewise.load("photos"),
    {name: picture.permute(2, 0, 1) for name, picture in pictures.items()},
    sigmas=(15, 50),
    samples=0,
    crop=96,
)

figure, axis = plt.subplots(figsize=(5.4, 4.6), layout="constrained")
axis.plot([45, 100], [45, 100], "k--", lw=1, label="as told")
for record in sorted(records, key=lambda each: ("all", "sigma", "contrast").index(each["by"])):
    told = sorted(record["coverage"], key=float)
    held = [record["coverage"][each] for each in told]
    name = {"all": "all", "sigma": "noise of {}", "contrast": "contrast: {}"}[record["by"]]
    axis.plot(
        [float(each) for each in told], held, "o-", markersize=4, label=name.format(record["group"])
    )
axis.set(xlabel="interval, %", ylabel="holds the truth in % of pixels")
axis.legend(fontsize=8)
plt.show()

"""Noise2Void of CAREamics on the frames of a real microscope, trained as long as ours.

    python -m benchmarks.n2v --minutes 5

In an environment of its own, with `torch==2.13.0 torchvision==0.28.0 careamics "setuptools<81"` and
this package's dependencies, the `microscope` part of `benchmarks.own_data` before it: the figure is
written beside. The settings are CAREamics' own, patches of 64 in batches of 16.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmarks.common import RESULTS, read_json, write_json
from benchmarks.own_data import frames_of_microscope, score


def noise2void(frames: np.ndarray, minutes: float) -> np.ndarray:
    """Frames (N, H, W), denoised by a network that was trained on them."""
    library = torch.library.Library("torchvision", "DEF")  # its wheel's own are of another build
    for name in ("nms", "qnms"):
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    from careamics import CAREamist
    from careamics.config import create_n2v_configuration
    from pytorch_lightning.callbacks import Timer

    config = create_n2v_configuration("frames", "array", "SYX", [64, 64], 16, num_epochs=10_000)
    with tempfile.TemporaryDirectory() as folder:
        timer = Timer(duration={"minutes": minutes})
        careamist = CAREamist(source=config, work_dir=folder, callbacks=[timer])
        careamist.train(train_source=frames, val_source=frames[:2])
        found = careamist.predict(source=frames, data_type="array", axes="SYX", tile_size=None)
    parts = found if isinstance(found, list) else [found]
    return np.concatenate([np.asarray(part).reshape(-1, *frames.shape[1:]) for part in parts])


def main() -> None:
    """Train, denoise, and write the score."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--out", type=Path, default=RESULTS / "own-data.json")
    options = parser.parse_args()
    torch.set_num_threads(1)
    noisy, clean = frames_of_microscope()
    stacked = np.concatenate([255 * frame.numpy() for frame in noisy.values()])
    cleaned = torch.from_numpy(noise2void(stacked, options.minutes)) / 255
    found: dict[str, Tensor] = {n: image[None] for n, image in zip(noisy, cleaned, strict=True)}
    content = read_json(options.out)
    content["microscope"]["psnr"]["CAREamics N2V, trained as long"] = score(clean, found)
    write_json(options.out, content)


if __name__ == "__main__":
    main()

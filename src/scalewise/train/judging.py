"""What a finished model is worth: its scores on images kept apart, beside another model's."""

from __future__ import annotations

import math
from typing import Any

import torch

from scalewise import evaluation, store
from scalewise.data import ImageSet
from scalewise.evaluation import Record
from scalewise.prior import MultiScalePrior

CROPS = 8
"""Crops of the held-out images that models are compared on."""

SIDE = 128
"""Side of what is shown and measured of each, in pixels."""


class Judge:
    """Crops of held-out images, to which noise is added where they are clean.

    Attributes:
        crops: shape (N, C, h, w), in [0, 1].
        noise: of each, where they are noisy.
    """

    def __init__(self, held_out: ImageSet) -> None:
        side = min(SIDE, *held_out.smallest)
        generator = torch.Generator().manual_seed(0)
        count = CROPS if len(held_out) > 1 else CROPS // 2
        self.crops, places = held_out.draw(count, side, generator, flips=False)
        self.noise = [held_out.noise[place] for place in places] if held_out.noise else []

    def scores(self, prior: MultiScalePrior, other: str | None) -> dict[str, Any]:
        """Scores for the model card, and a comparison with another model.

        Returns:
            `scores`, and with `other` `comparison`: rows of a `table` (`noisy`, `other`, `this` in
            dB, the `gain` and its standard `error`, also by `sigma` where noise was added) and
            sentences, `words`.
        """
        ours = self._records(prior)
        what = "denoising, validation crops, PSNR in dB"
        found: dict[str, Any] = {"scores": {what: self._told(ours)}}
        if other is None:
            return found
        theirs = self._records(store.load(other, device="cpu"))
        rows, words = [], []
        for label in dict.fromkeys(record["noise"] for record in ours):
            one, two = ([r for r in each if r["noise"] == label] for each in (ours, theirs))
            compared = evaluation.compare_models(one, two)
            (mean,), (before,) = (evaluation.means(each, "noise") for each in (one, two))
            row = {"noise": label, "noisy": mean["psnr_noisy"], "other": before["psnr"]}
            rows.append(
                row | {"this": mean["psnr"], "gain": compared.gain, "error": compared.error}
            )
            words.append(f"{label}: {compared.in_words('this model', other)}")
        return found | {"comparison": {"model": other, "table": rows, "words": words}}

    def _records(self, prior: MultiScalePrior) -> list[Record]:
        """Denoised crops measured, or, where they are noisy themselves, estimated."""
        images = {f"{place:03d}": crop for place, crop in enumerate(self.crops)}
        if not self.noise:
            records = evaluation.evaluate_denoise(prior, images)
            return [r | {"noise": f"sigma {r['sigma']:g}"} for r in records]
        models = dict(zip(images, self.noise, strict=True))
        records = evaluation.evaluate_unseen(prior, images, models)
        for record, model in zip(records, self.noise, strict=True):
            record["noise"] = "own noise, estimated"
            record["psnr_noisy"] = -20 * math.log10(model.sigma)
        return records

    def _told(self, records: list[Record]) -> dict[str, dict[str, float]]:
        """Mean PSNR, noisy and denoised, by noise."""
        return {
            mean["noise"]: {"noisy": mean["psnr_noisy"], "denoised": mean["psnr"]}
            for mean in evaluation.means(records, "noise")
        }

"""Benchmarks of the uncertainty and of learning from noisy images, on fields that are known."""

from dataclasses import asdict

import pytest
import torch
from zoo import smooth_spectrum

from benchmarks import checking, own_data, variance
from benchmarks.tables import checking as checking_table
from benchmarks.tables import variance as variance_table
from scalewise.exact import gaussian_prior
from scalewise.posterior import DIFFUSION, SPACING

SIGMA = 25.0


def test_calls_of_the_map_and_of_samples_are_counted() -> None:
    prior = gaussian_prior(smooth_spectrum((16, 16)), 1)
    noisy = prior.sample(2)
    records = variance.measured(prior, noisy, SIGMA, 6)
    assert len(records) == 2
    for record in records:
        assert record["calls_map"] == SPACING**2 + 1
        assert record["calls_samples"] == 6 * asdict(DIFFUSION)["steps"]
        assert record["ratio"] == pytest.approx(1, abs=0.4)
    found = torch.rand(3, 8, 8)
    assert variance.correlation(found, 2 * found + 1) == pytest.approx(1)
    assert variance.correlation(found, -found) == pytest.approx(-1)
    text = variance_table({"records": records})
    assert "| the map, with 6 samples |" in text
    assert text.splitlines()[-1].endswith("| 36 |")


def test_the_psnr_of_tools_is_told_near_the_truth(monkeypatch: pytest.MonkeyPatch) -> None:
    prior = gaussian_prior(smooth_spectrum((64, 64)), 1)
    clean = prior.sample(1)[0].float()
    monkeypatch.setattr(checking, "OTHERS", {"nothing": lambda noisy, sigma: noisy})
    records = checking.checked(prior, clean, SIGMA, 0)
    assert [record["method"] for record in records] == ["Scalewise", "nothing"]
    for record, error in zip(records, (1.0, 0.4), strict=True):  # of some 400 and 4,096 values
        assert record["told"] == pytest.approx(record["true"], abs=error)
    assert records[0]["true"] > records[1]["true"]
    assert records[1]["true"] == pytest.approx(20.17, abs=0.4)  # that of noise of 25


def test_errors_of_told_psnr_are_summed_up_by_tool_and_noise() -> None:
    one = {"method": "BM3D", "sigma": 25.0, "true": 30.0}
    over = (0.05, -0.05, 0.3, 0.125)
    records = [one | {"told": 30 + value, "bound": 29.9 + value} for value in over]
    (row,) = checking.summary(records)
    assert row["over"] == pytest.approx(0.10625)
    assert row["median"] == pytest.approx(0.0875)
    assert row["within"] == 0.5
    assert row["bound_holds"] == 0.5
    assert "| BM3D, σ = 25 | 4 | 30.00 | 0.11 |" in checking_table({"rows": [row]})


def test_blind_spots_hold_values_from_near_them() -> None:
    images = torch.arange(64.0 * 64).view(1, 1, 64, 64).repeat(2, 1, 1, 1)
    seen, hidden = own_data.with_blind_spots(images, torch.Generator().manual_seed(0))
    assert float(hidden.float().mean()) == pytest.approx(own_data.HIDDEN, abs=0.006)
    assert bool((seen[~hidden] == images[~hidden]).all())
    for step in (64, 1):  # rows, and columns
        there, here = (each[hidden].long() // step for each in (seen, images))
        assert set(((there - here) % 64).tolist()) == {1, 2, 62, 63}

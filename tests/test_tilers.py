"""The benchmark beside other tilers, as far as it needs nothing of others."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import tilers
from benchmarks.common import write_json
from benchmarks.tables import fill

SIZE = (296, 304)


def test_a_step_at_a_cut_is_a_seam_and_one_elsewhere_is_none() -> None:
    truth = np.zeros((3, *SIZE), np.float32)
    found = truth.copy()
    found[:, 200:] = 2 / 255
    there = tilers.compared(found, truth, ([200], [256]))
    assert there["seam"] == pytest.approx(2, abs=1e-5)
    assert there["largest"] == there["inside"] == pytest.approx(2, abs=1e-5)
    assert there["rms"] == pytest.approx(2 * np.sqrt(96 / 296), abs=1e-5)
    assert tilers.compared(found, truth, ([201], []))["seam"] == 0
    found = truth.copy()
    found[:, :4] = 1
    at_the_border = tilers.compared(found, truth, ([], []))
    assert (at_the_border["largest"], at_the_border["inside"]) == (255, 0)


def test_cuts_lie_where_parts_begin() -> None:
    ours, theirs = tilers.TILERS["Scalewise"], tilers.TILERS["CAREamics"]
    assert ours.cuts(1003, 0) == ours.cuts(1024, 0) == [256, 512, 768]
    # tiles of 320 begin at 0, 272, 544 and 704, and 24 pixels of each are cut off
    assert tilers.tile_of(24) == 320
    assert theirs.cuts(1024, 24) == [296, 568, 840]
    assert theirs.cuts(1024, 0) == [256, 512, 768]


@torch.no_grad()
def test_our_parts_are_the_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tilers, "SIZES", (SIZE,))
    others = [name for name in tilers.TILERS if name.startswith(("deepinv", "CAREamics"))]
    kept = {name: tiler for name, tiler in tilers.TILERS.items() if name not in others}
    monkeypatch.setattr(tilers, "TILERS", kept)
    with torch.enable_grad():
        torch.save(tilers.train(2).state_dict(), tmp_path / "plain.pt")
    seams, times = tilers.seams(tmp_path, (SIZE,)), tilers.times(tmp_path, 1)
    assert [row["tiler"] for row in seams if row["network"] == "plain"] == ["whole", "Scalewise"]
    assert max(row["largest"] for row in seams) < tilers.SMALLEST
    memory = [{**row, "beyond": 1.0} for row in times]
    write_json(tmp_path / "tilers.json", {"seams": seams, "times": times, "memory": memory})
    table = fill("<!-- table:tilers -->\n<!-- /table:tilers -->", tmp_path)
    assert "| `photos`: Scalewise, file to file | – | 0 |" in table
    assert "| plain, sees 21×21: whole | – | 0 | 0 | 0 | 0 | 1.00 | 1 MB |" in table

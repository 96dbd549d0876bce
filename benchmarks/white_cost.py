"""What training with noise that is not white cost on white noise.

    python -m benchmarks.white_cost

Nothing is computed: `results/denoising.json` as it was at the last commit before `photos` was
trained with structured noise, and as it is now, are compared. Both are blind, of the same images
with the same noise; the ways to find a level of noise changed between them, too.
"""

from __future__ import annotations

import argparse
import json
import subprocess
from pathlib import Path
from typing import Any

from benchmarks.common import RESULTS, ROOT, read_json, write_json

BEFORE = "aa33144d3968ceaf936d30fae32207f7a214044d"
"""The last commit whose `photos` had seen white noise alone."""


def compared(before: dict[str, Any], after: dict[str, Any]) -> list[dict[str, Any]]:
    """PSNR of the colour prior by level of noise, in both files.

    Raises:
        ValueError: the two are of other images, or of other noise.
    """
    if before["seed"] != after["seed"]:
        raise ValueError("the two were measured with other noise")
    sides = []
    for content in (before, after):
        ones = (record for record in content["records"] if record["method"] == "scalewise")
        photos = (record for record in ones if record["set"] == "photos")
        sides.append({(one["sigma"], one["image"]): one["psnr"] for one in photos})
    if set(sides[0]) != set(sides[1]):
        raise ValueError("the two were measured on other images")
    rows = []
    for sigma in sorted({sigma for sigma, _ in sides[0]}):
        pairs = [(sides[0][key], sides[1][key]) for key in sides[0] if key[0] == sigma]
        one, other = (sum(values) / len(pairs) for values in zip(*pairs, strict=True))
        rows.append({"sigma": sigma, "images": len(pairs), "before": one, "after": other})
    return rows


def main(arguments: list[str] | None = None) -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--json", type=Path, default=RESULTS / "white-cost.json")
    options = parser.parse_args(arguments)
    now = RESULTS / "denoising.json"
    shown = ["git", "show", f"{BEFORE}:{now.relative_to(ROOT).as_posix()}"]
    before = json.loads(subprocess.run(shown, cwd=ROOT, check=True, capture_output=True).stdout)
    after = read_json(now)
    commits = {"before": BEFORE, "after": after["runs"]["scalewise"]["commit"]}
    content = {"benchmark": "white cost", "model": "photos", "commits": commits}
    write_json(options.json, content | {"rows": compared(before, after)})


if __name__ == "__main__":
    main()

"""Speed beside the published networks and the machine's limits, and the cost per pixel, plotted.

    python -m benchmarks.speed                        # everything; about half an hour on two cores
    python -m benchmarks.speed --parts per_pixel      # some of it, into the same file

The measurements are those of `scalewise benchmark`. Every part is written as soon as it is
measured, with the commit and the machine's limits of its own time.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from benchmarks.common import RESULTS, ROOT, pyplot, read_json, write_figure, write_json
from scalewise.cli.console import table
from scalewise.speed import FULL, HEAD, QUICK, rows, run

SCOPES = {scope.name: scope for scope in (QUICK, FULL)}
AXES = {"seconds": ("µs per pixel", 1e6), "bytes": ("bytes per pixel", 1.0)}


def measure(scope: str, device: str, parts: list[str], file: Path) -> dict[str, Any]:
    """Measure parts; write each as it is done into a JSON file, beside those of earlier runs."""
    content = read_json(file)

    def keep(part: str, found: dict[str, Any]) -> None:
        own = {key: found[key] for key in ("commit", "limits", "scope")}
        when = content.get("parts", {}) | {part: own}
        content.update({"benchmark": "speed", **found, "parts": when})
        write_json(file, content)
        print(f"{part} is measured", flush=True)

    found = run(SCOPES[scope], device, parts, keep)
    print(table(HEAD, rows(found)))
    return content


def plot(content: dict[str, Any], file: Path) -> None:
    """Plot seconds and bytes per pixel against the side of the image."""
    figure, axes = pyplot().subplots(1, 2, figsize=(9, 3.4), layout="constrained")
    for axis, (key, (unit, scale)) in zip(axes, AXES.items(), strict=True):
        for record in filter(None, map(content.get, ("per_pixel", "per_pixel_small"))):
            for task, style in (("denoise", "o-"), ("upscale", "s--")):
                sizes = [size for size in record[task]["sizes"] if size[key] is not None]
                costs = [scale * size[key] for size in sizes]
                label = f"{task}, {record['model']} prior"
                axis.plot([size["side"] for size in sizes], costs, style, label=label)
        sides = [size["side"] for size in content["per_pixel"]["denoise"]["sizes"]]
        axis.set_xscale("log", base=2)
        axis.set_yscale("log")
        axis.set_xticks(sides, [f"{side}²" for side in sides])
        axis.set_xlabel("pixels of the image")
        axis.set_ylabel(unit)
        axis.grid(alpha=0.3)
    named = axes[0].get_legend_handles_labels()
    figure.legend(*named, loc="outside upper center", ncols=4, fontsize="small")
    write_figure(figure, file)


def main(arguments: list[str] | None = None) -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--scope", choices=SCOPES, default=FULL.name)
    parser.add_argument("--parts", nargs="+", choices=FULL.parts, help="all by default")
    parser.add_argument("--device", default="cpu", help="cpu, cuda or mps")
    parser.add_argument("--json", type=Path, help="results/speed.json, or speed-cuda.json")
    parser.add_argument("--plot", type=Path, help="docs/images/cost-per-pixel.svg, on the CPU")
    options = parser.parse_args(arguments)
    suffix = "" if options.device == "cpu" else f"-{options.device.replace(':', '')}"
    file = options.json or RESULTS / f"speed{suffix}.json"
    parts = options.parts or list(SCOPES[options.scope].parts)
    content = measure(options.scope, options.device, parts, file)
    if "per_pixel" in content:
        plot(content, options.plot or ROOT / f"docs/images/cost-per-pixel{suffix}.svg")


if __name__ == "__main__":
    main()

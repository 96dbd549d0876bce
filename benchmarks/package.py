"""Put a trained model into the package, with what the benchmarks measured on its card.

    python -m benchmarks.package photos --model my-photos     # weights of a run, and its scores
    python -m benchmarks.package photos                       # the scores alone, measured anew

Weights are stored in 16 bits. Description and licences are those of the model that is
replaced, unless others are given.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from benchmarks.common import RESULTS, ROOT, read_json
from scalewise.store import load, packaged, read_config, save
from scalewise.training import Recipe

GRAY = ("gray photos", "Set12")
"""Sets of gray images, which a model that `gray` names denoises in the place of another."""

WEIGHTS = ROOT / "src" / "scalewise" / "weights"


def scores(name: str, results: Path = RESULTS) -> dict[str, Any]:
    """What the card of a packaged model tells, from the results that are of this model."""
    found: dict[str, Any] = {}
    asked = next((one for one in packaged() if read_config(WEIGHTS / one).gray == name), name)
    denoising, upscaling = (
        read_json(results / f"denoising-{asked}.json") or read_json(results / "denoising.json"),
        read_json(results / "upscaling.json"),
    )
    if any(record.get("model") == asked for record in denoising.get("records", ())):
        table: dict[str, Any] = {}
        apart = read_config(WEIGHTS / asked).gray is not None
        for mean in denoising["means"]:
            answers = not apart or (mean["set"] in GRAY) == (asked != name)
            if mean["method"] == "scalewise" and answers:
                kind = table.setdefault(f"{mean['set']} ({mean['count']} images)", {})
                kind[f"sigma {mean['sigma']:g}"] = round(mean["psnr"], 2)
        found["denoising blind, PSNR in dB"] = table
    if upscaling.get("model") == name:
        found["super-resolution, least squares, PSNR in dB"] = {
            f"{mean['set']} ({mean['count']} images), x{mean['factor']}": {
                "least squares": round(mean["psnr_least_squares"], 2),
                "bicubic": round(mean["psnr_bicubic"], 2),
            }
            for mean in upscaling["means"]
        }
    synthesis = read_json(results / "faces.json")
    if synthesis.get("model") == name:
        found["sliced Wasserstein distance to validation images"] = {
            level: {
                "samples": round(distance, 3),
                "floor": round(synthesis["floor"][level]["mean"], 3),
            }
            for level, distance in synthesis["distances"].items()
        }
    texture = read_json(results / "textures.json").get("textures", {}).get(name)
    if texture:
        found["sliced Wasserstein distance to the part kept apart"] = {
            level: {
                "samples": round(distance, 3),
                "learnt crops": round(texture["distances"]["training"][level], 3),
            }
            for level, distance in texture["distances"]["samples"].items()
        }
        found["step across the border of a periodic sample over one inside"] = round(
            texture["seams"]["periodic"]["across"], 2
        )
    return found


def main(arguments: list[str] | None = None) -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("name", help="name of the packaged model")
    parser.add_argument("--model", help="folder of the run; the packaged model by default")
    parser.add_argument("--description", help="of the model; by default as it was")
    parser.add_argument("--data", help="what the images are, and their licence; likewise")
    parser.add_argument("--license", help="of the weights; likewise")
    options = parser.parse_args(arguments)
    folder = WEIGHTS / options.name
    source = Path(options.model) if options.model else folder
    now = read_config(source)
    before = read_config(folder) if folder.exists() else now
    training: dict[str, Any] = dict(now.training)
    kept: dict[str, Any] = dict(before.training)
    training["data"] = {**training["data"], "license": options.data or kept["data"]["license"]}
    recipe = Recipe(**training["recipe"])
    training["recipe"] = recipe.model_dump(mode="json", exclude_none=True, exclude=recipe.unsaid)
    training["data"]["name"] = kept["data"]["name"]
    save(
        load(str(source), device="cpu"),
        folder,
        name=options.name,
        description=options.description or before.description,
        training=training,
        scores=scores(options.name),
        license=options.license or before.license,
        gray=before.gray,
        dtype="float16",
        force=True,
    )
    print(f"{folder.relative_to(ROOT)}: {len(scores(options.name))} kinds of scores")


if __name__ == "__main__":
    main()

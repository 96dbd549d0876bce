"""Folders of images, one after the other and several at once, side by side.

    python -m benchmarks.jobs

Reads, denoises and writes crops of photographs as `scalewise denoise in/ out/ --jobs N` does, in
one process; every round runs all N in turn. Run it with all cores, and without OMP_NUM_THREADS.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path
from statistics import median

import torch

from benchmarks.common import DATA, RESULTS, facts, load_prior, read_images, write_json
from scalewise import restore
from scalewise.cli.workers import at_once
from scalewise.evaluation import add_noise
from scalewise.images import Picture, read_image, write_image

SIGMA = 25 / 255


def make_folder(folder: Path, photos: Path, count: int, side: int) -> list[Path]:
    """Write so many noisy squares, photographs mirrored to be large enough; their files."""
    files = []
    for index, (name, image) in enumerate(read_images(photos, 3, count).items()):
        tile = torch.cat([image, image.flip(2)], 2)
        tile = torch.cat([tile, tile.flip(1)], 1).repeat(1, 2, 2)[:, :side, :side]
        files.append(folder / Path(name).with_suffix(".png").name)
        write_image(files[-1], Picture(add_noise(tile, SIGMA, 0, index).clamp(0, 1)))
    return files


def main(arguments: list[str] | None = None) -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--photos", type=Path, default=DATA / "photos" / "validation")
    parser.add_argument("--folder", type=int, nargs=2, action="append", metavar=("COUNT", "SIDE"))
    parser.add_argument("--jobs", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--running", default="", help="what else the machine did")
    parser.add_argument("--json", type=Path, default=RESULTS / "jobs.json")
    options = parser.parse_args(arguments)
    prior, records = load_prior("photos", "cpu"), []
    for count, side in options.folder or [(16, 128), (3, 768)]:
        with tempfile.TemporaryDirectory() as place:
            files = make_folder(Path(place), options.photos, count, side)

            def work(file: Path) -> None:
                picture = restore.denoise(read_image(file), prior).picture
                write_image(file.with_suffix(".tif"), picture, force=True)

            seconds: dict[int, list[float]] = {jobs: [] for jobs in options.jobs}
            for _ in range(options.rounds):
                for jobs in options.jobs:
                    start = time.perf_counter()
                    with at_once(work, files, jobs) as results:
                        list(results)
                    seconds[jobs].append(time.perf_counter() - start)
        for jobs, taken in seconds.items():
            record = {"images": count, "side": side, "jobs": jobs, "seconds": median(taken)}
            records.append(record | {"all": taken, "load": os.getloadavg()[0]})
            print(records[-1], flush=True)
        run = {"threads": torch.get_num_threads(), "rounds": options.rounds}
        content = {"benchmark": "jobs", **run, "running": options.running, "facts": facts()}
        write_json(options.json, content | {"records": records})


if __name__ == "__main__":
    main()

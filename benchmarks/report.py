"""Everything that docs/results/restoration.md shows, measured in order; then its tables.

    python -m benchmarks.report            # what is missing
    python -m benchmarks.report --anew     # all of it: days of one core
    python -m benchmarks.report --list     # only say what is there

What is in `benchmarks/results` is not measured again, so a run that was killed goes on by the same
command; one with `--anew` by `--anew --start` and the name of the step that it was at. Two steps
need another package in an environment of its own, which `--python deepinv=FILE` names.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from benchmarks.common import DATA, RESULTS, ROOT, read_json

FACES = str(DATA / "faces" / "validation")


@dataclass(frozen=True)
class Step:
    """One run of a benchmark.

    Attributes:
        words: the module and its arguments.
        file: the JSON file that it writes.
        parts: keys that lead to what it writes there; the whole file without.
        needs: a package of an environment of its own.
    """

    words: str
    file: str
    parts: tuple[tuple[str, ...], ...] = ()
    needs: str = ""

    @property
    def module(self) -> str:
        """Which benchmark."""
        return f"benchmarks.{self.words.split()[0]}"

    def command(self, python: str) -> list[str]:
        """What is run."""
        arguments = [word.format(results=RESULTS, faces=FACES) for word in self.words.split()[1:]]
        return [python, "-m", self.module, *arguments]

    def is_done(self, results: Path) -> bool:
        """Whether what it writes is there."""
        content = read_json(results / self.file)
        return bool(content) and all(_holds(content, keys) for keys in self.parts)


def _holds(content: object, keys: Sequence[str]) -> bool:
    for key in keys:
        if not isinstance(content, dict) or key not in content:
            return False
        content = content[key]
    return True


def _calibration(file: str, arguments: str) -> Step:
    return Step(f"calibration {arguments} --out {{results}}/{file}", file)


OWN, INVERSE = "own-data.json", "inverse.json"

STEPS = (
    Step("denoising --model photos", "denoising.json"),
    Step("white_cost", "white-cost.json"),
    Step("places --model photos", "places.json"),
    Step("averaging", "averaging.json"),
    Step("spectra measure --model photos", "spectra.json"),
    Step("spectra measure --model photos --channels 1", "spectra-gray.json"),
    Step("restoration --model photos", "restoration.json"),
    _calibration("calibration.json", "--model photos"),
    _calibration("calibration-photos-gray.json", "--model photos-gray"),
    _calibration("calibration-photos-free.json", "--model photos-free"),
    _calibration("calibration-upscaling.json", "--model photos --factors 2 4 8"),
    _calibration(
        "calibration-upscaling-faces.json", "--model faces --photos {faces} --factors 2 4"
    ),
    Step("variance --model photos", "variance.json"),
    Step("checking --channels 1", "checking.json"),
    Step("inverse --model photos", INVERSE, (("tasks",), ("set5",))),
    Step("inverse --model photos --average 4", INVERSE, (("averages", "4"),)),
    Step("inverse --model photos --deepinv", INVERSE, (("deepinv",),), "deepinv"),
    Step("raw --model photos", "raw.json"),
    Step("compressed --model photos", "compressed.json"),
    Step("own_data --part methods --steps 250", OWN, (("methods",),)),
    Step("own_data --part noises --steps 120", OWN, (("noises",),)),
    Step("own_data --part microscope --minutes 5", OWN, (("microscope",),)),
    Step(
        "n2v", OWN, (("microscope", "psnr", "CAREamics N2V, trained as long"),), "careamics"
    ),
    Step(
        "own_data --part minutes --minutes 30 --start photos",
        OWN,
        (("minutes", "tables", "from photos"),),
    ),
    Step(
        "own_data --part minutes --minutes 30",
        OWN,
        (("minutes", "tables", "from new networks"),),
    ),
    Step("looks", "looks.json"),
    Step("jobs", "jobs.json"),
)  # fmt: skip
"""In an order in which those that need another's file come after it."""


def make(steps: Sequence[Step], pythons: dict[str, str], results: Path, anew: bool) -> list[str]:
    """Run steps, and say how long each takes.

    Args:
        steps: to run.
        pythons: interpreters that have a package of an environment of its own, by its name.
        results: where the JSON files are.
        anew: also those that are done.

    Returns:
        Sentences about those that failed, or could not be run.
    """
    wrong = []
    for step in steps:
        if not anew and step.is_done(results):
            print(f"{step.words}: is there", flush=True)
            continue
        python = pythons.get(step.needs, sys.executable)
        if step.needs and step.needs not in pythons and find_spec(step.needs) is None:
            wrong.append(f"{step.words}: needs {step.needs}; give --python {step.needs}=FILE")
            continue
        start = time.monotonic()
        code = subprocess.run(step.command(python), cwd=ROOT, check=False).returncode
        print(f"{step.words}: {(time.monotonic() - start) / 60:.1f} minutes", flush=True)
        if code:
            wrong.append(f"{step.words}: failed with exit code {code}")
    return wrong


def main(arguments: list[str] | None = None) -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--anew", action="store_true", help="measure again what is there")
    parser.add_argument("--start", help="the first step, by its words")
    parser.add_argument("--list", action="store_true", help="only say what is there")
    parser.add_argument("--python", action="append", default=[], metavar="PACKAGE=FILE")
    options = parser.parse_args(arguments)
    names = [step.words for step in STEPS]
    if options.start not in (None, *names):
        parser.error(f"--start must be one of {', '.join(map(repr, names))}")
    steps = STEPS[names.index(options.start) if options.start else 0 :]
    if options.list:
        for step in steps:
            print(f"{step.words}: {'is there' if step.is_done(RESULTS) else 'is missing'}")
        return
    pythons = dict(pair.split("=", 1) for pair in options.python)
    wrong = make(steps, pythons, RESULTS, options.anew)
    subprocess.run([sys.executable, "-m", "benchmarks.tables"], cwd=ROOT, check=True)
    if wrong:
        sys.exit("\n".join(wrong))


if __name__ == "__main__":
    main()

"""What long runs of the fuzzer counted, as a record.

    python -m tests.fuzz FOLDER --minutes 60
    python -m benchmarks.fuzzing FOLDER [FOLDER ...]

Adds up `counts.json` of folders of findings, by reader. Of each folder and reader, the files are
those of the seeds from 0 on.
"""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path
from typing import Any

from benchmarks.common import RESULTS, facts, read_json, write_json

KNOWN = ("read", "refused")


def gathered(folders: list[Path]) -> list[dict[str, Any]]:
    """A record of each reader: files, those read and refused, what else came out, seeds."""
    counts: dict[str, Counter[str]] = {}
    seeds: dict[str, list[int]] = {}
    for folder in folders:
        for reader, found in read_json(folder / "counts.json").items():
            counts.setdefault(reader, Counter()).update(found)
            seeds.setdefault(reader, []).append(sum(found.values()))
    return [
        {
            "reader": reader,
            "files": found.total(),
            **{kind: found[kind] for kind in KNOWN},
            "wrong": {kind: found[kind] for kind in sorted(found) if kind not in KNOWN},
            "seeds_up_to": seeds[reader],
        }
        for reader, found in sorted(counts.items(), key=lambda pair: -pair[1].total())
    ]


def main(arguments: list[str] | None = None) -> None:
    """Add up, and write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--json", type=Path, default=RESULTS / "fuzzing.json")
    options = parser.parse_args(arguments)
    records = gathered(options.folders)
    write_json(options.json, {"benchmark": "fuzzing", "facts": facts(), "records": records})


if __name__ == "__main__":
    main()

"""Rehearse a release: build, check, install into an empty environment, try, and print the notes.

    pip install -c constraints.txt '.[release]'
    python -m tests.release rehearsal/ [--version 0.2.0]

Nothing is uploaded or tagged, and no version changes. Ends with code 1 at the first fault.
`rehearsal/` keeps what was built, what the demo drew, and `notes.md`.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tarfile
import time
import venv
import zipfile
from pathlib import Path

import scalewise

ROOT = Path(__file__).resolve().parents[1]

LARGEST = {"whl": 25e6, "gz": 25e6}
"""Bytes of what is uploaded at most."""

TRIALS = (
    ("--version",),
    ("doctor",),
    ("models",),
    ("demo", "--out", "demo"),
    ("denoise", "demo/denoise-noisy.png", "denoised.png", "--model", "photos-free"),
)
"""What is typed in the empty environment."""


def say(text: str) -> None:
    """Print a line at once."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def call(*words: str | Path, cwd: Path = ROOT, environment: dict[str, str] | None = None) -> str:
    """Run a program and return what it printed; end here, with that, if it fails."""
    began = time.monotonic()
    shown = " ".join(Path(word).name if os.sep in str(word) else str(word) for word in words)
    done = subprocess.run(
        [str(word) for word in words], cwd=cwd, env=environment, capture_output=True, text=True
    )
    if done.returncode:
        raise SystemExit(f"FAILED: {shown}\n{done.stdout}{done.stderr}")
    say(f"{time.monotonic() - began:6.1f} s  {shown}")
    return done.stdout


def tracked() -> list[str]:
    """Names of the files of the repository."""
    return call("git", "ls-files", "-z").strip("\0").split("\0")


def expected_wheel(files: list[str], version: str) -> set[str]:
    """What a wheel holds: the package as it is, and what tells of it."""
    info = f"scalewise-{version}.dist-info"
    parts = ("METADATA", "WHEEL", "RECORD", "entry_points.txt", "licenses/LICENSE")
    package = {name.removeprefix("src/") for name in files if name.startswith("src/scalewise/")}
    return package | {f"{info}/{part}" for part in parts}


def expected_sdist(files: list[str], version: str) -> set[str]:
    """What a source archive holds: what it takes to build, to test and to read."""
    top = {"LICENSE", "README.md", "pyproject.toml", "PKG-INFO", ".gitignore"}
    taken = re.compile(
        r"(src|tests|changes|examples)/.*|docs/([^/]*\.md|conf\.py|notebooks/.*)|benchmarks/([^/]*/)*[^/]*\.py|"
        r"(CHANGELOG|CONTRIBUTING|SECURITY)\.md|CITATION\.cff|constraints[^/]*\.txt"
    )
    names = {name for name in files if taken.fullmatch(name)} | top
    return {f"scalewise-{version}/{name}" for name in names}


def compare(archive: Path, found: set[str], expected: set[str]) -> None:
    """End here if an archive lacks something or holds more."""
    for problem, names in (("lacks", expected - found), ("also holds", found - expected)):
        if names:
            raise SystemExit(f"FAILED: {archive.name} {problem} {', '.join(sorted(names)[:10])}")
    size = archive.stat().st_size
    if size > LARGEST[archive.suffix[1:]]:
        raise SystemExit(f"FAILED: {archive.name} has {size / 1e6:.1f} MB")
    say(f"          {archive.name}: {len(found)} files, {size / 1e6:.1f} MB, as expected")


def build(folder: Path) -> tuple[Path, Path]:
    """Build wheel and source archive, and check what they hold."""
    call(sys.executable, "-m", "build", "--outdir", folder, ROOT)
    files, version = tracked(), scalewise.__version__
    wheel = folder / f"scalewise-{version}-py3-none-any.whl"
    source = folder / f"scalewise-{version}.tar.gz"
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if not name.endswith("/")}
    compare(wheel, held, expected_wheel(files, version))
    with tarfile.open(source) as archive_:
        held = {member.name for member in archive_.getmembers() if member.isfile()}
    compare(source, held, expected_sdist(files, version))
    call(sys.executable, "-m", "twine", "check", "--strict", wheel, source)
    return wheel, source


def try_out(wheel: Path, folder: Path) -> None:
    """Install the wheel, and nothing else, into an empty environment, and use it."""
    place = folder / "environment"
    venv.create(place, with_pip=True, clear=True)
    scripts = place / ("Scripts" if os.name == "nt" else "bin")
    call(scripts / "python", "-m", "pip", "install", "-q", "-c", ROOT / "constraints.txt", wheel)
    ours = ("PYTHONPATH", "PYTHONHOME", "SCALEWISE_CONFIG")
    environment = {name: value for name, value in os.environ.items() if name not in ours}
    for trial in TRIALS:
        call(scripts / "scalewise", *trial, cwd=folder, environment=environment)
    facts = json.loads(
        call(scripts / "scalewise", "doctor", "--json", cwd=folder, environment=environment)
    )
    if not Path(facts["folder"]).is_relative_to(place):
        raise SystemExit(f"FAILED: it ran from {facts['folder']}, not from the wheel")


def notes(version: str) -> str:
    """What the tag says: the fragments, and what the changelog has under this version already."""
    draft = call(sys.executable, "-m", "towncrier", "build", "--draft", "--version", version)
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    held = re.search(
        rf"^## \[{re.escape(version)}\].*?(?=^## \[|\Z)", text, re.DOTALL | re.MULTILINE
    )
    return f"{draft.strip()}\n\n{held.group(0).strip() if held else ''}".strip() + "\n"


def main(arguments: list[str] | None = None) -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--version", default=scalewise.__version__, help="that the notes are for")
    options = parser.parse_args(arguments)
    folder = options.folder.absolute()
    folder.mkdir(parents=True)
    wheel, _ = build(folder)
    try_out(wheel, folder)
    text = notes(options.version)
    (folder / "notes.md").write_text(text, encoding="utf-8")
    say(f"All is well. Notes of the tag v{options.version}:\n\n{text}")


if __name__ == "__main__":
    main()

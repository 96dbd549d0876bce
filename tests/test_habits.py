"""What people expect of every program: examples in help, completion, a doctor, defaults, quiet."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from cli_tools import picture_file, scalewise
from packaging.requirements import Requirement

from scalewise import __version__, doctor, store
from scalewise.cli.commands import app
from scalewise.store import checksums

PROGRAM: Any = typer.main.get_command(app)


def commands(group: Any = PROGRAM, path: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    """Every command and group, by what is typed for it."""
    yield " ".join(("scalewise", *path)), group
    for name, command in getattr(group, "commands", {}).items():
        yield from commands(command, (*path, name))


COMMANDS = dict(commands())


def examples(command: Any) -> list[str]:
    """The lines below "Example" in the help of a command."""
    _, _, text = (command.help or "").partition("\nExample")
    return [line.strip() for line in text.splitlines()[1:] if line.strip()]


# Help and completion


@pytest.mark.parametrize("name", COMMANDS)
def test_help_shows_examples_line_by_line(name: str) -> None:
    shown = scalewise(*name.split()[1:], "--help").stdout.splitlines()
    lines = examples(COMMANDS[name])
    assert lines
    assert all(f"    {line}" in shown for line in lines)


@pytest.mark.parametrize("name", COMMANDS)
def test_examples_parse(name: str) -> None:
    """With options that there are and values that fit; the first is of this command."""
    assert examples(COMMANDS[name])[0].startswith(name)
    for line in examples(COMMANDS[name]):
        words = shlex.split(line)
        group, context = PROGRAM, PROGRAM.make_context("scalewise", [*words[1:]])
        for word in words[1:]:
            if not hasattr(group, "commands"):
                break
            group = group.commands[word]
            rest = words[words.index(word) + 1 :]
            context = group.make_context(word, rest, parent=context)
        assert not hasattr(group, "commands"), f"{line} names no command"


def completed(line: str, shell: str = "bash") -> list[str]:
    """What the shell is told when Tab is pressed at the end of a line."""
    words = line.split(" ")
    asked = {
        "bash": {"COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1)},
        "zsh": {"_TYPER_COMPLETE_ARGS": line},
        "fish": {"_TYPER_COMPLETE_ARGS": line, "_TYPER_COMPLETE_FISH_ACTION": "get-args"},
    }[shell]
    environment = os.environ | asked | {"_SCALEWISE_COMPLETE": f"complete_{shell}"}
    call = [sys.executable, "-c", "import sys; from scalewise.cli import main; main()"]
    done = subprocess.run(call, capture_output=True, text=True, env=environment, check=False)
    assert done.stderr == ""
    return done.stdout.splitlines()


def test_completion_knows_commands_options_values_and_models() -> None:
    assert completed("scalewise den") == ["denoise"]
    assert completed("scalewise evaluate c") == ["calibration", "compare"]
    assert completed("scalewise denoise --keep") == ["--keep-grain"]
    assert completed("scalewise denoise a.png b.png --precision bf") == ["bfloat16"]
    names = ["photos-free", "photos-gray"]
    assert completed("scalewise denoise a.png b.png --model photos-") == names
    assert completed("scalewise info f") == ["faces"]


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_completion_in_other_shells(shell: str) -> None:
    assert any("denoise" in line for line in completed("scalewise den", shell))


def test_completion_is_shown_and_installed(tmp_path: Path) -> None:
    ask = f"{shlex.quote(sys.executable)} -m scalewise --show-completion bash; exit $?"
    shown = subprocess.run(["bash", "-c", ask], capture_output=True, text=True, check=True)
    assert "complete -o default -F _scalewise_completion scalewise" in shown.stdout
    environment = os.environ | {"HOME": str(tmp_path)}
    call = ["bash", "-c", ask.replace("--show", "--install")]
    done = subprocess.run(call, capture_output=True, text=True, env=environment, check=True)
    (line,) = [line for line in (tmp_path / ".bashrc").read_text().splitlines() if line]
    script = Path(shlex.split(line)[1])
    assert script.is_file()
    assert script.is_relative_to(tmp_path)
    assert "bash completion installed" in done.stdout


# The doctor


def test_doctor_finds_this_installation_well() -> None:
    done = scalewise("doctor", "--json", "--device", "cpu")
    (facts,) = done.records
    assert done.code == 0
    assert facts["problems"] == []
    assert facts["scalewise"] == __version__
    assert {model["name"] for model in facts["models"]} == set(store.packaged())
    assert facts["device"]["name"] == "cpu"
    assert facts["device"]["fast_precision"] in ("float32", "bfloat16")
    assert facts["trial"]["model"] in store.packaged()
    assert {"torch", "numpy"} <= {package["name"] for package in facts["packages"]}


def test_doctor_speaks() -> None:
    done = scalewise("doctor")
    assert done.code == 0
    assert done.stdout.endswith("All is well.\n")
    assert all(f"\n{name}" in done.stdout for name in ("torch", "photos", "io", "defaults"))


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two packaged models of a few bytes, and their checksums."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text(name)
    digests = {"one": "7692c3ad", "two": "3fc4ccfe"}
    call = ["sha256sum", "one/config.json", "two/config.json"]
    done = subprocess.run(call, cwd=tmp_path, capture_output=True, text=True, check=True)
    (tmp_path / checksums.SUMS).write_text(done.stdout)
    assert all(done.stdout.splitlines()[i].startswith(d) for i, d in enumerate(digests.values()))
    monkeypatch.setattr(checksums.check, "__defaults__", (tmp_path,))
    return tmp_path


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lambda folder: (folder / "two/config.json").write_text("twO"), "was changed or damaged"),
        (lambda folder: (folder / "two/config.json").unlink(), "cannot be read: No such file"),
        (lambda folder: (folder / "two/more.bin").write_text(""), "is not of this release"),
        (lambda folder: (folder / "SHA256SUMS").unlink(), "list of checksums is missing"),
        (lambda folder: (folder / "SHA256SUMS").write_text("a b\n"), "checksums is missing or"),
        (lambda folder: (folder / "SHA256SUMS").write_text(""), "list of checksums is damaged"),
    ],
)
def test_doctor_finds_a_damaged_model(models: Path, spoil: Any, told: str) -> None:
    assert checksums.check(models) == {"one": [], "two": []}
    spoil(models)
    done = scalewise("doctor")
    assert done.code == 1
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("Broken: ")]
    assert told in line
    assert str(models) in line


def test_packaged_models_are_those_of_the_list() -> None:
    """After a model was made anew: cd src/scalewise/weights && sha256sum */* > SHA256SUMS."""
    assert checksums.check() == {name: [] for name in store.packaged()}


def test_doctor_finds_what_is_missing_old_or_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = ["not-there>=1", "numpy>=999", "Pillow>=1", 'gone>=2; extra == "io"']
    monkeypatch.setattr("importlib.metadata.requires", lambda _: lines)
    monkeypatch.setitem(doctor.MODULES, "pillow", "no_such_module")
    done = scalewise("doctor", "--json")
    (facts,) = done.records
    assert done.code == 1
    missing, old, broken = facts["problems"]
    assert missing == "not-there is not installed; pip install 'not-there>=1'"
    assert old.startswith("numpy ")
    assert old.endswith(" is too old or too new; pip install 'numpy>=999'")
    assert "cannot be imported: ModuleNotFoundError: No module named 'no_such_module'" in broken
    extra = facts["extras"][0]
    assert (extra["name"], extra["missing"]) == ("io", ["gone"])
    assert extra["install"] == "pip install 'scalewise[io]'"


def test_doctor_finds_a_device_that_is_not_there() -> None:
    done = scalewise("doctor", "--device", "cuda:99")
    assert done.code == 1
    assert "Broken: device cuda:99 is not there" in done.stdout


def test_doctor_knows_every_extra(root: Path) -> None:
    import tomllib

    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    of_developers = {"docs", "release", "test"}
    assert doctor.EXTRAS.keys() == project["optional-dependencies"].keys() - of_developers
    assert all(map(Requirement, project["dependencies"]))


# How much is said, and in which colours


def bar_on_a_terminal(**variables: str) -> str:
    """What a progress bar writes on a terminal."""
    script = (
        "import time; from scalewise.cli import console, loudness\n"
        "loudness.choose(quiet=False, verbose=False); console.PATIENCE = 0.0\n"
        "with console.Bar('working', 4) as bar:\n"
        "    for _ in range(4): time.sleep(0.3); bar.step()"
    )
    ours, theirs = os.openpty()
    removed = ("NO_COLOR", "FORCE_COLOR", "SCALEWISE_LOG")
    environment = {name: value for name, value in os.environ.items() if name not in removed}
    environment |= {"TERM": "xterm-256color", **variables}
    with subprocess.Popen([sys.executable, "-c", script], stderr=theirs, env=environment) as done:
        os.close(theirs)
        shown = b""
        with contextlib.suppress(OSError):  # the terminal is gone
            while part := os.read(ours, 4096):
                shown += part
    os.close(ours)
    assert done.returncode == 0
    return shown.decode()


COLOUR = re.compile(r"\x1b\[[0-9;]*[1-9][0-9;]*m")


@pytest.mark.skipif(sys.platform == "win32", reason="no such terminals")
def test_no_color_is_honoured() -> None:
    coloured, plain = bar_on_a_terminal(), bar_on_a_terminal(NO_COLOR="1")
    assert "working" in coloured
    assert "working" in plain
    assert any("3" in code for code in COLOUR.findall(coloured))
    assert not any(re.search(r"\b[349]\d\b|38|48", code) for code in COLOUR.findall(plain))


@pytest.mark.skipif(sys.platform == "win32", reason="no such terminals")
def test_quiet_shows_no_bar() -> None:
    assert bar_on_a_terminal(SCALEWISE_LOG="error") == ""


def test_quiet_says_results_and_errors_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Notes of a folder, such as on what is left out, are not said."""
    for name in ("in", "out"):
        (tmp_path / name).mkdir()
        picture_file(tmp_path / name / "b.png")
    (tmp_path / "in" / "a.gif").write_bytes(b"GIF89a")
    call = ("denoise", tmp_path / "in", tmp_path / "out", "--skip-existing")
    loud, quiet = scalewise(*call), scalewise("-q", *call)
    assert "note: " in loud.stderr
    assert ".gif" in loud.stderr
    assert "note: " not in quiet.stderr
    assert (loud.code, loud.stdout) == (quiet.code, quiet.stdout) == (0, loud.stdout)
    monkeypatch.setenv("SCALEWISE_LOG", "error")
    assert scalewise(*call).stderr == quiet.stderr
    assert scalewise("denoise", "none.png", tmp_path / "b.png").sentence.startswith("Error: none")


def test_verbose_shows_tracebacks(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "Traceback" not in scalewise("info", "none/such").stderr
    assert "Traceback" in scalewise("--verbose", "info", "./none").stderr
    monkeypatch.setenv("SCALEWISE_LOG", "debug")
    assert "Traceback" in scalewise("info", "./none").stderr


def test_levels_that_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    told = scalewise("-q", "-v", "models")
    assert (told.code, told.sentence[:30]) == (2, "Error: --quiet and --verbose e")
    monkeypatch.setenv("SCALEWISE_LOG", "loud")
    told = scalewise("models")
    assert told.code == 2
    assert told.sentence == "Error: SCALEWISE_LOG must be one of error, info, debug, found 'loud'"


@pytest.mark.parametrize(("option", "said"), [("", False), ("-v", True)])
def test_libraries_are_quiet_by_default(tmp_path: Path, option: str, said: bool) -> None:
    """Their warnings and logs, in a process of the program's own."""
    script = (
        "import logging, sys, warnings; from scalewise import cli, store\n"
        "def packaged():\n"
        "    warnings.warn('of a library'); logging.getLogger('library').warning('in a log')\n"
        "    return []\n"
        "store.packaged = packaged; cli.main()"
    )
    call = [sys.executable, "-c", script, *([option] if option else []), "models"]
    done = subprocess.run(call, capture_output=True, text=True, check=True)
    assert ("of a library" in done.stderr) == said
    assert ("in a log" in done.stderr) == said
    assert said or done.stderr == ""

"""What people expect of every program: examples in help, completion, a doctor, defaults, quiet."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from cli_tools import scalewise, scalewise_process
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
    assert completed("scalewise denoise a.png b.png --model photos-") == ["photos-free"]
    assert completed("scalewise info f") == ["faces"]


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_completion_in_other_shells(shell: str) -> None:
    assert any("denoise" in line for line in completed("scalewise den", shell))


def test_completion_is_shown_and_installed(tmp_path: Path) -> None:
    shown = scalewise_process("--show-completion", "bash")
    assert "complete -o default -F _scalewise_completion scalewise" in shown.stdout
    environment = os.environ | {"HOME": str(tmp_path)}
    call = [sys.executable, "-m", "scalewise", "--install-completion", "bash"]
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
    assert doctor.EXTRAS.keys() == project["optional-dependencies"].keys() - {"test", "release"}
    assert all(map(Requirement, project["dependencies"]))

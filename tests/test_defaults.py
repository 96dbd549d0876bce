"""Defaults of options, from one TOML file."""

from __future__ import annotations

from pathlib import Path

import pytest
from cli_tools import picture_file, save_models, scalewise, scalewise_process

from scalewise.cli.defaults import VARIABLE, find


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_models(tmp_path_factory.mktemp("models"))


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home without any file of defaults, and a working directory within it."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    monkeypatch.delenv(VARIABLE)
    (tmp_path / "work" / "deep").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path


# Which file


def test_nearest_file_is_found_then_that_of_the_home(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert find() is None
    general = home / ".config" / "scalewise" / "config.toml"
    general.parent.mkdir(parents=True)
    general.touch()
    assert find() == general
    (home / "scalewise.toml").touch()
    assert find() == home / "scalewise.toml"
    monkeypatch.chdir(home / "work" / "deep")
    (home / "work" / "scalewise.toml").touch()
    assert find() == home / "work" / "scalewise.toml"
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home / "elsewhere"))
    (home / "work" / "scalewise.toml").unlink()
    (home / "scalewise.toml").unlink()
    assert find() is None
    (home / "elsewhere" / "scalewise").mkdir(parents=True)
    (home / "elsewhere" / "scalewise" / "config.toml").touch()
    assert find() == home / "elsewhere" / "scalewise" / "config.toml"


def test_variable_names_the_file_or_none(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "scalewise.toml").write_text("broken")
    monkeypatch.setenv(VARIABLE, "")
    assert scalewise("models").code == 0
    monkeypatch.setenv(VARIABLE, str(home / "mine.toml"))
    told = scalewise("models")
    assert told.code == 2
    assert told.sentence == (
        f"Error: SCALEWISE_CONFIG names {home / 'mine.toml'}, which is no file; mend or unset it"
    )
    (home / "mine.toml").write_text("[models]\njson = true\n")
    assert scalewise("models").records


def test_working_directory_that_was_removed(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(home / "work" / "deep")
    (home / "work" / "deep").rmdir()
    assert find() is None


# What it does


def test_file_gives_defaults_and_the_command_line_wins(home: Path, models: Path) -> None:
    picture_file(home / "work" / "a.png")
    (home / "work" / "scalewise.toml").write_text(
        f'[denoise]\nmodel = "{models / "photos"}"\nsigma = 25\njson = true\nkeep-grain = 0.25\n'
    )
    done = scalewise_process("denoise", "a.png", "b.png", cwd=home / "work")
    assert done.code == 0, done.stderr
    assert done.records[0]["sigma"] == 25
    done = scalewise_process("denoise", "a.png", "c.png", "--sigma", 50, cwd=home / "work")
    assert done.records[0]["sigma"] == 50
    assert (home / "work/b.png").read_bytes() != (home / "work/c.png").read_bytes()


@pytest.mark.parametrize("sigma", ["2", "0.5", '"auto"'])
def test_options_of_numbers_or_words_take_both(
    home: Path, sigma: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(home / "work")
    (home / "work" / "scalewise.toml").write_text(f"[upscale]\nsigma = {sigma}\n")
    told = scalewise("upscale", "a.png", "b.png")
    assert "--sigma goes with --reduced-by" in told.stderr


def test_paths_are_seen_from_the_file(
    home: Path, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / "models").symlink_to(models)
    (home / "scalewise.toml").write_text(
        '[denoise]\nmodel = "models/photos"\nnoise = "noise.json"\n'
        "[info]\njson = true\n[evaluate.denoise]\nsigma = [15, 25]\n"
    )
    picture_file(home / "work" / "deep" / "a.png")
    monkeypatch.chdir(home / "work" / "deep")
    told = scalewise("denoise", "a.png", "b.png")
    assert str(home / "noise.json") in told.sentence
    (home / "scalewise.toml").write_text('[denoise]\nmodel = "models/photos"\nsigma = 10\n')
    assert scalewise("denoise", "a.png", "b.png").code == 0


def test_nested_tables_and_lists(home: Path, models: Path) -> None:
    (home / "images").mkdir()
    picture_file(home / "images" / "a.png", 24, 24)
    (home / "scalewise.toml").write_text(
        f'[evaluate.denoise]\nmodel = "{models / "photos"}"\nsigma = [15, 25]\n'
    )
    done = scalewise("evaluate", "denoise", home / "images")
    assert done.code == 0, done.stderr
    assert [line.split()[0] for line in done.stdout.splitlines() if line[:1].isdigit()] == [
        "15.00",
        "25.00",
    ]


def test_help_shows_defaults_and_survives_a_broken_file(home: Path) -> None:
    (home / "scalewise.toml").write_text("not TOML")
    assert scalewise("denoise", "--help").code == 0
    assert scalewise("--help").code == 0
    assert scalewise("--version").code == 0


def test_doctor_tells_the_file_and_what_is_wrong_with_it(home: Path) -> None:
    (home / "scalewise.toml").write_text('[denoise]\nmodel = "photos-free"\n')
    (facts,) = scalewise("doctor", "--json").records
    assert facts["defaults"] == {
        "file": str(home / "scalewise.toml"),
        "values": {"denoise.model": "photos-free"},
    }
    assert "denoise.model=photos-free" in scalewise("doctor").stdout
    (home / "scalewise.toml").write_text("[denoise]\nmodle = 1\n")
    told = scalewise("doctor")
    assert told.code == 1
    assert f"Broken: {home / 'scalewise.toml'}: modle of [denoise] is no option" in told.stdout


# What it refuses

COMMANDS = "known are demo, serve, denoise, "


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("x", "is not TOML: "),
        ("\0", "is not TOML: "),
        ("[denoiser]", f"[denoiser] is no command; {COMMANDS}"),
        ("sigma = 1", f"[sigma] is no command; {COMMANDS}"),
        ("denoise = 3", "denoise is a whole number; expected a table [denoise]"),
        ("[evaluate.sharpen]", "[evaluate.sharpen] is no command; known are denoise, upscale, "),
        ("[denoise]\nsigmas = 1", "sigmas of [denoise] is no option; known are average, black, "),
        ("[denoise]\nkeep_grain = 1", "keep_grain of [denoise] is no option; known are average"),
        ("[denoise]\ninput = 'a'", "input of [denoise] is no option; known are "),
        ("[denoise]\nhelp = true", "help of [denoise] is no option; known are "),
        ("[denoise]\nforce = true", "force of [denoise] cannot be a default: give --force each"),
        ("[train]\nresume = true", "resume of [train] cannot be a default: give --resume each"),
        ("[denoise]\nsigma = '25'", "sigma of [denoise] is text; expected a number"),
        ("[denoise]\nsigma = true", "sigma of [denoise] is true or false; expected a number"),
        ("[denoise]\nsigma = -1", "sigma of [denoise] is -1: "),
        ("[denoise]\nsigma = nan", "sigma of [denoise] is nan: "),
        ("[denoise]\nsigma = inf", "sigma of [denoise] is inf: inf is not a finite number"),
        ("[denoise]\nseed = 1.5", "seed of [denoise] is a number; expected a whole number"),
        ("[denoise]\nexact = 1", "exact of [denoise] is a whole number; expected true or false"),
        ("[denoise]\nmodel = ''", "model of [denoise] is text; expected text that is not empty"),
        ("[denoise]\nmodel = ['a']", "model of [denoise] is a list; expected text"),
        ("[denoise]\nmask = 2026-01-01", "mask of [denoise] is a date or time; expected text"),
        ("[denoise.x]", "x of [denoise] is no option; known are "),
        (
            "[denoise]\nprecision = 'int8'",
            "precision of [denoise] is 'int8': 'int8' is not one of 'float32'",
        ),
        ("[evaluate.denoise]\nsigma = 5", "sigma of [evaluate.denoise] is a whole number; expect"),
        ("[evaluate.denoise]\nsigma = ['5']", "sigma of [evaluate.denoise] is a list; expected a"),
        ("[evaluate.denoise]\nsigma = [-5]", "sigma of [evaluate.denoise] is [-5]: "),
    ],
)
def test_wrong_files_are_refused(home: Path, text: str, match: str) -> None:
    """Whatever command runs: a file is right or wrong as a whole."""
    (home / "scalewise.toml").write_text(text)
    told = scalewise("models")
    assert told.code == 2
    assert told.stdout == ""
    assert told.sentence.startswith(f"Error: {home / 'scalewise.toml'}: {match}")


def test_file_that_cannot_be_read(home: Path) -> None:
    (home / "scalewise.toml").write_bytes(b"\xff\xfe")
    told = scalewise("models")
    assert told.code == 2
    assert "scalewise.toml: is not TOML: " in told.sentence

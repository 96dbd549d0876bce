"""The report on restoration: one command that makes all that its page shows."""

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from benchmarks import report, white_cost
from benchmarks.common import RESULTS, ROOT, read_json, write_json
from benchmarks.tables import MARK, TABLES

PAGE = ROOT / "docs" / "results" / "restoration.md"
FACTS = {"machine", "versions", "runs", "facts", "coverage", "commits"}
"""Parts of JSON files that say how they were made."""


def test_every_table_of_the_page_is_made_by_a_step() -> None:
    shown = {TABLES[name][0] for _, name, _ in MARK.findall(PAGE.read_text(encoding="utf-8"))}
    assert len(shown) > 10
    assert shown <= {step.file for step in report.STEPS}


def test_every_part_of_a_file_that_several_steps_write_is_one_of_theirs() -> None:
    for file in {step.file for step in report.STEPS if step.parts}:
        content = read_json(RESULTS / file)
        measured = {key for key, value in content.items() if isinstance(value, dict)} - FACTS
        made = {keys[0] for step in report.STEPS if step.file == file for keys in step.parts}
        assert measured == made, file


def test_steps_are_found_and_know_their_options() -> None:
    for step in report.STEPS:
        found = find_spec(step.module)
        assert found is not None
        assert found.origin is not None
        text = Path(found.origin).read_text()
        for word in step.words.split():
            assert not word.startswith("--") or f'"{word}"' in text, step.words


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Commands that would have been run; those of `sampling` fail."""
    commands: list[list[str]] = []

    def note(command: list[str], **_: object) -> subprocess.CompletedProcess[bytes]:
        commands.append(command)
        return subprocess.CompletedProcess(command, int("benchmarks.sampling" in command))

    monkeypatch.setattr(subprocess, "run", note)
    return commands


STEPS = (
    report.Step("denoising", "a.json"),
    report.Step("inverse", "b.json", (("tasks",),)),
    report.Step("inverse --average 4", "b.json", (("averages", "4"),)),
    report.Step("sampling", "c.json"),
    report.Step("n2v", "b.json", (("n2v",),), "no_such_package"),
    report.Step("raw", "d.json"),
)


def test_what_is_there_is_not_measured_again(tmp_path: Path, run: list[list[str]]) -> None:
    write_json(tmp_path / "a.json", {"means": []})
    write_json(tmp_path / "b.json", {"tasks": {}, "averages": {"2": 1}})
    wrong = report.make(STEPS, {}, tmp_path, anew=False)
    assert [command[2:] for command in run] == [
        ["benchmarks.inverse", "--average", "4"],
        ["benchmarks.sampling"],
        ["benchmarks.raw"],
    ]
    assert wrong == [
        "sampling: failed with exit code 1",
        "n2v: needs no_such_package; give --python no_such_package=FILE",
    ]


def test_anew_all_is_and_each_by_its_interpreter(tmp_path: Path, run: list[list[str]]) -> None:
    write_json(tmp_path / "a.json", {"means": []})
    report.make(STEPS, {"no_such_package": "other/python"}, tmp_path, anew=True)
    assert [command[0] for command in run] == [
        *[sys.executable] * 4,
        "other/python",
        sys.executable,
    ]


def test_a_step_that_is_none_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        report.main(["--start", "speed"])
    assert "--start must be one of 'denoising --model photos', " in capsys.readouterr().err


class TestCostOnWhiteNoise:
    @staticmethod
    def content(*values: float, seed: int = 0) -> dict[str, object]:
        found = [("BM3D", "a", 99.0)]
        found += [("scalewise", str(number), value) for number, value in enumerate(values)]
        records = [
            {"set": "photos", "method": method, "image": image, "sigma": 25.0, "psnr": value}
            for method, image, value in found
        ]
        return {"seed": seed, "records": records}

    def test_means_of_the_same_images(self) -> None:
        (row,) = white_cost.compared(self.content(30, 32), self.content(29, 32))
        assert row == {"sigma": 25.0, "images": 2, "before": 31.0, "after": 30.5}

    def test_other_images_and_other_noise_are_refused(self) -> None:
        with pytest.raises(ValueError, match="other images"):
            white_cost.compared(self.content(30, 32), self.content(29))
        with pytest.raises(ValueError, match="other noise"):
            white_cost.compared(self.content(30), self.content(30, seed=1))

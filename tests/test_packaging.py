"""The package as people meet it: its commands, its pins, its versions, its wheel."""

import importlib.metadata
import inspect
import os
import re
import shlex
import subprocess
import sys
import tomllib
import types
import venv
import zipfile
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import scalewise

RUN = "pip install -c constraints.txt . && scalewise demo"
TEST = "pip install -c constraints.txt '.[test]' && pytest -n logical --dist worksteal"
PLUGINS = "tests/constraints-plugins.txt"
UNWANTED = re.compile(r"torchvision|torchaudio|triton|(nvidia|cuda)(-.*)?")


def pins(root: Path, name: str = "constraints.txt") -> dict[str, Requirement]:
    lines = (root / name).read_text().splitlines()
    requirements = [Requirement(line) for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(requirement.name): requirement for requirement in requirements}


def declared(root: Path) -> Iterator[Requirement]:
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    for group in [project["dependencies"], *project["optional-dependencies"].values()]:
        yield from map(Requirement, group)


def tracked_files(root: Path) -> list[Path]:
    listing = subprocess.run(["git", "ls-files", "-z"], cwd=root, capture_output=True, text=True)
    if listing.returncode:
        pytest.skip("needs a git checkout")
    return [root / name for name in listing.stdout.split("\0") if (root / name).is_file()]


def required(name: str, *extras: str) -> set[str]:
    """Names of all that an installed distribution asks for here, near and far, itself included."""
    seen: set[tuple[str, str]] = set()
    todo = {(name, extra) for extra in ("", *extras)}
    while todo:
        seen |= todo
        todo = {step for pair in todo for step in asked_by(*pair)} - seen
    return {name for name, _ in seen}


def asked_by(name: str, extra: str) -> Iterator[tuple[str, str]]:
    for needed in map(Requirement, importlib.metadata.requires(name) or []):
        if needed.marker is None or needed.marker.evaluate({"extra": extra}):
            yield from ((canonicalize_name(needed.name), wanted) for wanted in ("", *needed.extras))


# The commands of the README


def test_readme_opens_with_the_two_commands(root: Path) -> None:
    blocks = re.findall(r"```bash\n(.*?)```", (root / "README.md").read_text(), re.DOTALL)
    assert blocks[:2] == [RUN + "\n", TEST + "\n"]


def test_ci_ends_with_the_readme_test_command(root: Path) -> None:
    script = root / ".ci" / "run"
    lines = script.read_text().splitlines()
    assert lines[-1] == TEST
    assert "pre-commit run --all-files --show-diff-on-failure" in lines
    assert any(line.startswith("sphinx-build -q -n -W ") for line in lines)
    assert os.access(script, os.X_OK)


def test_workflow_runs_the_same_script(root: Path) -> None:
    text = (root / ".github" / "workflows" / "ci.yml").read_text()
    jobs = yaml.safe_load(text)["jobs"]
    assert {"run": ".ci/run"} in jobs["all"]["steps"]
    assert len(text.splitlines()) < 60


@pytest.mark.parametrize(
    "page", ["README.md", "CONTRIBUTING.md", "SECURITY.md", "docs/notation.md", "docs/security.md"]
)
def test_relative_links_lead_somewhere(root: Path, page: str) -> None:
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)", (root / page).read_text())
    missing = [link for link in links if not ((root / page).parent / link).exists()]
    assert missing == []


# Dependencies


def test_constraints_pin_exact_versions(root: Path) -> None:
    assert str(pins(root)["torch"]) == "torch==2.13.0"
    for requirement in [*pins(root).values(), *pins(root, PLUGINS).values()]:
        (specifier,) = requirement.specifier
        assert specifier.operator == "=="
        assert "+" not in specifier.version, "a local build is not on the package index"


def test_constraints_cover_what_the_package_declares(root: Path) -> None:
    """In one file; those of plugins, which are not installed for tests, in another beside it."""
    pinned = pins(root) | pins(root, PLUGINS)
    assert not pins(root).keys() & pins(root, PLUGINS).keys()
    for requirement in declared(root):
        if requirement.name == "scalewise":
            continue
        (pin,) = pinned[canonicalize_name(requirement.name)].specifier
        assert requirement.specifier.contains(pin.version), f"{requirement} against {pin}"


def test_constraints_cover_what_is_installed_for_tests(root: Path) -> None:
    needed = required("scalewise", "test") - {"scalewise"}
    assert {name for name in needed if not UNWANTED.fullmatch(name)} <= pins(root).keys()


def test_lowest_versions_are_those_that_are_declared(root: Path) -> None:
    """CI tests them; the bounds of the extras `io`, `raw` and `web` too."""
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    wanted = [*project["dependencies"], *extras["io"], *extras["raw"], *extras["web"]]
    lowest = [line.replace(">=", "==").split(",")[0] for line in wanted]
    lines = (root / "constraints-min.txt").read_text().splitlines()
    assert [line for line in lines if not line.startswith("#")] == sorted(lowest, key=str.lower)


def test_nothing_drags_in_torchvision(root: Path) -> None:
    assert not [name for name in [*pins(root), *pins(root, PLUGINS)] if UNWANTED.fullmatch(name)]
    assert not {"torchvision", "torchaudio"} & required("scalewise", "test")


# What is declared agrees


def test_versions_agree(root: Path) -> None:
    version = importlib.metadata.version("scalewise")
    changes = re.findall(r"^## \[(\d[^]]*)\]", (root / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert scalewise.__version__ == version
    assert changes[0] == version
    assert yaml.safe_load((root / "CITATION.cff").read_text())["version"] == version


def test_package_is_typed() -> None:
    assert files("scalewise").joinpath("py.typed").is_file()


def test_every_public_name_is_documented() -> None:
    bare = []
    for name in scalewise.__all__:
        value = getattr(scalewise, name)
        if not isinstance(value, type | types.FunctionType | types.ModuleType):
            continue
        members = vars(value).items() if isinstance(value, type) else ()
        methods = {
            f"{name}.{key}": member
            for key, member in members
            if not key.startswith("_") and isinstance(member, types.FunctionType | property)
        }
        documented = {name: value, **methods}
        bare += [name for name, value in documented.items() if not inspect.getdoc(value)]
    assert bare == []


def test_no_machine_paths_in_the_repository(root: Path) -> None:
    machine = re.compile(rb"(?<![\w.~-])/(work|root|home|Users)/")
    contents = {path: path.read_bytes() for path in tracked_files(root)}
    text = {path: content for path, content in contents.items() if b"\0" not in content}
    assert [path for path, content in text.items() if machine.search(content)] == []


def test_changelog_fragments_are_named_and_hold_something(root: Path) -> None:
    """As towncrier wants them; else a release would leave them out."""
    named = re.compile(r"(\d+|\+[a-z-]+)\.(added|changed|fixed|removed|security)\.md")
    fragments = [path for path in (root / "changes").iterdir() if path.name != "README.md"]
    assert [path.name for path in fragments if not named.fullmatch(path.name)] == []
    assert all(path.read_text(encoding="utf-8").strip() for path in fragments)
    assert "<!-- towncrier -->\n" in (root / "CHANGELOG.md").read_text(encoding="utf-8")


def test_templates_and_policy_are_there(root: Path) -> None:
    for name in ("SECURITY.md", ".github/pull_request_template.md"):
        assert (root / name).stat().st_size > 300
    for path in (root / ".github" / "ISSUE_TEMPLATE").glob("*.md"):
        _, head, body = path.read_text(encoding="utf-8").split("---\n", 2)
        assert yaml.safe_load(head).keys() >= {"name", "about"}
        assert body.strip()


# The wheel


@pytest.fixture(scope="module")
def wheel(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    offline = ["--no-deps", "--no-build-isolation", "--quiet"]
    pip = [sys.executable, "-m", "pip", "wheel", *offline]
    subprocess.run([*pip, "--wheel-dir", str(folder), str(root)], check=True)
    (built,) = folder.glob("*.whl")
    return built


@pytest.mark.slow
def test_wheel_carries_models_recipes_and_types(root: Path, wheel: Path) -> None:
    source = root / "src" / "scalewise"
    data = [path for path in tracked_files(root) if path.is_relative_to(source)]
    with zipfile.ZipFile(wheel) as archive:
        sizes = {info.filename: info.file_size for info in archive.infolist()}
    missing = {path.relative_to(source.parent).as_posix() for path in data} - sizes.keys()
    assert missing == set()
    weights = [size for name, size in sizes.items() if name.startswith("scalewise/weights/")]
    assert 0 < sum(weights) <= 24e6
    assert not [name for name in sizes if name.startswith(("tests/", "docs/"))]


@pytest.mark.slow
def test_installed_command_runs(wheel: Path, tmp_path: Path) -> None:
    """The wheel in an environment of its own, with the dependencies of this one."""
    venv.create(tmp_path / "venv", with_pip=False)
    scripts = tmp_path / "venv" / ("Scripts" if os.name == "nt" else "bin")
    python = scripts / ("python.exe" if os.name == "nt" else "python")

    install = ["install", "--no-deps", "--no-index", "--quiet", str(wheel)]
    pip = [sys.executable, "-m", "pip", "--python", str(python)]
    subprocess.run([*pip, *install], check=True)

    where = [str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
    own = Path(subprocess.check_output(where, text=True).strip())
    here = Path(np.__file__).parents[1]
    (own / "dependencies.pth").write_text(f"{here}\n")

    def scalewise_says(arguments: str) -> str:
        command = [str(scripts / "scalewise"), *shlex.split(arguments)]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    assert "denoise" in scalewise_says("--help")
    models = scalewise_says("models")
    assert "photos" in models
    assert "faces" in models

"""The documentation: its examples are run, its pages are in the index, its links lead somewhere."""

import doctest
import importlib
import inspect
import json
import re
import runpy
import socket
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import matplotlib
import matplotlib.pyplot as plt
import pytest
import torch

import scalewise
from scalewise.training import Recipe

ROOT = Path(__file__).parents[1]
SCRIPTS = sorted(ROOT.glob("examples/*/plot_*.py"))
NOTEBOOKS = sorted(ROOT.glob("docs/notebooks/*.ipynb"))
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]

FENCE = re.compile(r"^( *)(```+|~~~+).*?^\1\2 *$", re.DOTALL | re.MULTILINE)
"""Blocks of code."""

LINK = re.compile(r"\]\(([^()\s]+)\)")
"""Where links and pictures lead."""

SOURCE = ROOT / "src"
MODULES = sorted(
    ".".join(path.relative_to(SOURCE).with_suffix("").parts)
    for path in SOURCE.rglob("*.py")
    if ">>> " in path.read_text(encoding="utf-8")
)
"""Those with examples in docstrings."""

LONG = ("scalewise.export", "scalewise.train.model")
"""Modules whose examples take more than a few seconds."""

DIRECTIVE = re.compile(r"^\.\. auto(\w+):: (\S+)\n(?:(   :members:)(.*)\n)?", re.MULTILINE)
"""What docs/api.md lists, and which of its members."""

WITHOUT = {
    "scalewise.images.read_raw": "needs a file of a camera",
    "scalewise.operators.Operator.A": "a protocol, which its example implements",
    "scalewise.operators.Operator.A_adjoint": "the same",
    "scalewise.samplers.StepRule.finished": "a protocol: those of the rules have examples",
    "scalewise.samplers.StepRule.move": "the same",
    "scalewise.deepinv.DeepinvDenoiser.forward": "the example of its class calls it",
    "scalewise.deepinv.DeepinvReconstructor.forward": "the same",
    "scalewise.deepinv.FromDeepinv.forward": "the same",
}
"""Public names without an example, and why."""


def prose(page: Path) -> str:
    """The text of a page without blocks of code."""
    return FENCE.sub("", page.read_text(encoding="utf-8"))


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub and MyST make them."""
    titles = re.findall(r"^#{1,4} +(.+?) *$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def broken(page: Path) -> list[str]:
    """Links of a page to files or headings that do not exist."""
    found = []
    for target in LINK.findall(re.sub(r"`[^`\n]*`", "", prose(page))):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        file = (page.parent / name).resolve() if name else page
        if not file.exists() or (anchor and anchor not in anchors(file)):
            found.append(target)
    return found


def listed(index: str) -> list[str]:
    """Entries of the index's tables of contents."""
    trees = re.findall(r"^```\{toctree\}\n(.*?)^```", index, re.DOTALL | re.MULTILINE)
    lines = [line.strip() for tree in trees for line in tree.splitlines()]
    return [line for line in lines if line and not line.startswith(":")]


def public() -> Iterator[tuple[str, object]]:
    """Functions, classes and methods that docs/api.md lists, by name."""
    text = (ROOT / "docs/api.md").read_text(encoding="utf-8")
    for kind, path, inner, names in DIRECTIVE.findall(text):
        chosen = [name.strip() for name in names.split(",") if name.strip()]
        place = path if kind == "module" else path.rpartition(".")[0]
        if place == "scalewise.diffusers":  # an extra; its examples are in docs/plugins.md
            continue
        module = importlib.import_module(place)
        whole = kind == "module"
        listed = chosen or vars(module) if whole else [path.rpartition(".")[2]]
        for name in listed:
            value = getattr(module, name)
            if callable(value):
                yield f"{place}.{name}", value
            if inspect.isclass(value) and inner:
                yield from methods(value, f"{place}.{name}", [] if whole else chosen)


def methods(kind: type, path: str, chosen: list[str]) -> Iterator[tuple[str, object]]:
    """Methods of a class that its entry lists: the chosen ones, or all that are described."""
    for name, value in vars(kind).items():
        listed = name in chosen if chosen else not name.startswith("_") and name != "forward"
        value = getattr(value, "__func__", value)
        if listed and inspect.isroutine(inspect.unwrap(value)) and inspect.getdoc(value):
            yield f"{path}.{name}", value


def code_cells(notebook: Path) -> list[dict[str, Any]]:
    """Those of a notebook, in their order."""
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    return [cell for cell in cells if cell["cell_type"] == "code"]


def examples(module: str) -> list[doctest.DocTest]:
    """Those in the docstrings of a module, which may use two names without importing them."""
    given = {"torch": torch, "scalewise": scalewise}
    found = doctest.DocTestFinder().find(importlib.import_module(module), globs=given)
    return [each for each in found if each.examples]


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """No network."""

    def refuse(*_: object) -> None:
        raise AssertionError("an example wants the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.fixture
def on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """What examples print is what a processor gives."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)


@pytest.mark.slow
@pytest.mark.usefixtures("alone")
@pytest.mark.filterwarnings("ignore:FigureCanvasAgg is non-interactive:UserWarning")
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_an_example_leaves_a_figure(script: Path) -> None:
    matplotlib.use("Agg")
    plt.close("all")
    runpy.run_path(str(script), run_name="__main__")
    figures = [plt.figure(number) for number in plt.get_fignums()]
    plt.close("all")
    assert figures
    assert all(any(axis.has_data() for axis in figure.axes) for figure in figures)


@pytest.mark.usefixtures("alone", "on_the_cpu")
@pytest.mark.parametrize(
    "module",
    [pytest.param(name, marks=[pytest.mark.slow] if name in LONG else []) for name in MODULES],
)
def test_examples_in_docstrings_give_what_they_say(module: str) -> None:
    runner, failures = doctest.DocTestRunner(), list[str]()
    for example in examples(module):
        runner.run(example, out=failures.append)
    assert not failures, "".join(failures)
    assert runner.tries > 0


def test_every_public_name_has_an_example() -> None:
    run = {example.docstring for module in MODULES for example in examples(module)}
    names = dict(public())
    assert len(names) > 150
    lacking = {name for name, value in names.items() if value.__doc__ not in run}
    assert lacking == set(WITHOUT)


@pytest.mark.slow
@pytest.mark.usefixtures("alone", "on_the_cpu")
@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_from_its_first_cell_to_its_last(notebook: Path) -> None:
    matplotlib.use("Agg")
    plt.close("all")
    names: dict[str, object] = {"__name__": "__main__"}
    for cell in code_cells(notebook):
        exec(compile("".join(cell["source"]), f"{notebook.name}, {cell['id']}", "exec"), names)
    drawn = len(plt.get_fignums())
    plt.close("all")
    assert drawn >= 4


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_holds_no_outputs(notebook: Path) -> None:
    cells = code_cells(notebook)
    assert len(cells) >= 5
    assert not [cell for cell in cells if cell["outputs"] or cell["execution_count"] is not None]


def test_the_gallery_has_twenty_five_examples_and_a_heading_of_each_section() -> None:
    assert len(SCRIPTS) >= 25
    for folder in {script.parent for script in SCRIPTS}:
        assert (folder / "GALLERY_HEADER.rst").is_file(), folder


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_an_example_begins_with_a_title_and_a_sentence(script: Path) -> None:
    title, line, *rest = script.read_text(encoding="utf-8").split('"""')[1].strip().splitlines()
    assert line == "=" * len(title)
    assert "".join(rest).strip()


def test_every_page_is_in_the_index() -> None:
    entries = listed((ROOT / "docs/index.md").read_text(encoding="utf-8"))
    pages = {page.stem for page in PAGES if page.parent.name == "docs"} - {"index"}
    assert pages
    missing = {page for page in pages if not any(fnmatch(page, entry) for entry in entries)}
    assert not missing
    there = {entry for entry in entries if "gallery" not in entry and "*" not in entry}
    assert all((ROOT / "docs" / f"{entry}.md").is_file() for entry in there)


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_links_lead_to_files_and_headings(page: Path) -> None:
    assert broken(page) == []


def test_broken_links_are_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# A title, of one\n\n[a](#a-title-of-one) [b](#other) [c](none.md) [d](page.md#no)\n"
        "[e](https://example.org/none)\n\n```\n[f](code.md)\n```\n`[g](code.md)`\n",
        encoding="utf-8",
    )
    assert broken(page) == ["#other", "none.md", "page.md#no"]


def test_the_recipe_of_own_data_makes_the_networks_that_it_names() -> None:
    text = (ROOT / "docs" / "own-data.md").read_text(encoding="utf-8")
    (written,) = re.findall(r"```json\n(.*?)```", text, re.DOTALL)
    fields = json.loads(written)
    recipe = Recipe(**fields)
    for level in range(1, fields["levels"] + 1):
        network = recipe.details_network(3, level, 0.1)
        for name in ("receptive_field", "width", "blocks"):
            assert network.settings[name] == fields[name][level - 1]

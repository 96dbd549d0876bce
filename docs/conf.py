"""Configuration of the documentation site: `sphinx-build -n -W docs out/site`."""

import re
from pathlib import Path

import scalewise

project = "Scalewise"
author = copyright = "The Scalewise developers"
version = release = scalewise.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["results/index.html", "gallery/**/*.ipynb", "gallery/**/*.py"]
html_theme = "furo"
nitpicky = True
nitpick_ignore_regex = [("py:class", r"(torch|collections\.abc)\..*")]  # have no inventory here

myst_heading_anchors = 4
autodoc_typehints = "none"
autodoc_member_order = "bysource"

HERE = Path(__file__).parent
sphinx_gallery_conf = {
    "examples_dirs": str(HERE.parent / "examples"),
    "gallery_dirs": "gallery",
    "filename_pattern": r"plot_",
    "abort_on_example_error": True,
    "show_memory": False,
    "download_all_examples": False,
    "show_signature": False,
}


def name_errors(app, what, name, obj, options, lines: list[str]) -> None:
    """Let the errors that docstrings name by their last word link to their entry."""
    for i, line in enumerate(lines):
        for error in ("UsageError", "ScalewiseError"):
            lines[i] = line = line.replace(f":exc:`{error}`", f":exc:`~scalewise.errors.{error}`")
            lines[i] = line = line.replace(
                f":raises {error}:", f":raises scalewise.errors.{error}:"
            )


def link_examples(app, docname: str, source: list[str]) -> None:
    """Let links that lead to files of the repository lead to what the site has of them."""
    text = re.sub(r"\(\.\./examples/(\w+/plot_\w+)\.py\)", r"(gallery/\1.rst)", source[0])
    source[0] = text.replace("(../CONTRIBUTING.md)", "(path:../CONTRIBUTING.md)")


def setup(app) -> None:
    app.connect("source-read", link_examples)
    app.connect("autodoc-process-docstring", name_errors, priority=900)

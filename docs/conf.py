"""Configuration of the documentation site: `sphinx-build -n -W docs out/site`."""

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


def setup(app) -> None:
    app.connect("autodoc-process-docstring", name_errors, priority=900)

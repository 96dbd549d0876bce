"""Configuration of the documentation site: `sphinx-build -n -W docs out/site`."""

import re
from pathlib import Path

from sphinx_gallery.sorting import ExplicitOrder

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
nitpick_ignore_regex = [
    ("py:class", r"(torch|collections\.abc|diffusers|numpy)\..*")
]  # have no inventory here

myst_heading_anchors = 4
autodoc_typehints = "none"
autodoc_member_order = "bysource"
autodoc_mock_imports = ["diffusers"]  # 120 MB, of which nothing is shown

HERE = Path(__file__).parent
SECTIONS = ("start", "idea", "how_to", "large", "own", "extend")
EXAMPLES = (
    "denoise synthesize "
    "pyramid noise_levels score filters local receptive_field conditional low_pass_kept "
    "coarse_to_fine "
    "noisy_photo gray noise_found photons strength mask defects stack "
    "upscale upscale_four enlarge inpaint deblur demosaic "
    "uncertainty interval directions fidelity check calibration limits"
).split()
sphinx_gallery_conf = {
    "examples_dirs": str(HERE.parent / "examples"),
    "gallery_dirs": "gallery",
    "filename_pattern": r"plot_",
    "subsection_order": ExplicitOrder([f"../examples/{section}" for section in SECTIONS]),
    "within_subsection_order": ExplicitOrder([*(f"plot_{name}.py" for name in EXAMPLES), "*"]),
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
    text = text.replace("(../CONTRIBUTING.md)", "(contributing.md)")
    source[0] = re.sub(r"\[([^\[\]]+)\]\(\.\./benchmarks/[^()]*\)", r"`\1`", text)
    if docname == "contributing":
        text = (HERE.parent / "CONTRIBUTING.md").read_text(encoding="utf-8")
        text = text.replace("[changes/](changes/README.md)", "`changes/`")
        source[0] = text.replace("](docs/", "](")


def setup(app) -> None:
    app.connect("source-read", link_examples)
    app.connect("autodoc-process-docstring", name_errors, priority=900)

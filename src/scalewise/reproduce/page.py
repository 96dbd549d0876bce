"""The pages of a report, made from stored results alone: HTML in one file, and Markdown."""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Sequence
from typing import Any

from scalewise.files import finite
from scalewise.reproduce.experiment import Cell, Figure, Result, Table
from scalewise.reproduce.report import file_of

Entry = tuple[dict[str, Any], Result]

QUICK_WARNING = (
    "A quick run: networks learnt for seconds. It shows that everything works; verdicts that rest "
    "on trained networks say nothing of the claims."
)

_STYLE = """
body{font:16px/1.5 system-ui,sans-serif;max-width:62rem;margin:2rem auto;padding:0 1rem;color:#222}
h2{margin-top:3rem;border-top:1px solid #ccc;padding-top:1rem}
table{border-collapse:collapse;margin:.5rem 0;font-size:.85rem}
caption{text-align:left;font-weight:600;padding:.3rem 0}
th,td{border-bottom:1px solid #ddd;padding:.15rem .6rem;text-align:left;vertical-align:top}
.number{text-align:right}
figure{margin:1rem 0}figure img{max-width:100%}figcaption{font-size:.85rem;color:#555}
.scroll{overflow-x:auto}.verdict{font-weight:700}.note{color:#555;font-size:.9rem}
code{font-size:.85rem;overflow-wrap:anywhere}
"""


def html_page(entries: Sequence[Entry], identity: dict[str, Any], networks: Table | None) -> str:
    """The whole report as one HTML file that needs nothing beside it.

    Args:
        entries: results in order, with what is known about each.
        identity: settings and data of the run.
        networks: what was trained, or None.
    """
    parts = [
        '<!doctype html><html lang="en"><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width">',
        f"<title>Scalewise: the report</title><style>{_STYLE}</style>",
        "<h1>The claims of the paper, tested</h1>",
        "<p>Learning multi-scale local conditional probability models of images (Kadkhodaie, "
        "Guth, Mallat, Simoncelli, ICLR 2023), and what goes beyond. Verdicts follow from rules "
        "that were fixed before anything was measured.</p>",
        f"<p><b>{_text(QUICK_WARNING)}</b></p>" if identity.get("quick") else "",
        _html_table(verdicts(entries)),
        *(_html_entry(about, result) for about, result in entries),
        "<h2>The run</h2>",
        f"<p class=note>Settings and data: <code>{_text(json.dumps(identity))}</code></p>",
        _html_table(networks) if networks else "",
        "</html>\n",
    ]
    return "\n".join(parts)


def markdown_page(entries: Sequence[Entry], networks: Table | None) -> str:
    """The report in Markdown; figures are files in `figures/`, data in `data/` beside it."""
    parts = [
        "# Results",
        "Written by `scalewise reproduce`; [index.html](index.html) is the same in one file. "
        "Verdicts follow from rules that were fixed before anything was measured.",
        _markdown_table(verdicts(entries)),
    ]
    for about, result in entries:
        name = about["name"]
        parts += [
            f"## {about['title']}",
            f"Claim: {about['claim']}",
            f"**{result.verdict.capitalize()}.** {result.sentence}",
            *(f"![{figure.caption}](figures/{file_of(name, figure)})" for figure in result.figures),
            *(f"{table.title}\n\n{_markdown_table(table)}" for table in result.tables),
            "\n".join(f"- {note}" for note in result.notes),
            f"Rule: {about['rule']}\n\nData: [{name}.json](data/{name}.json), seed "
            f"{about['seed']}, {about['seconds']:.0f} s, `{about['command']}`",
        ]
    if networks:
        parts += ["## Networks", _markdown_table(networks)]
    return "\n\n".join(part for part in parts if part) + "\n"


def verdicts(entries: Sequence[Entry]) -> Table:
    """One line per experiment."""
    rows: list[list[Cell]] = [
        [about["title"], result.verdict, result.sentence] for about, result in entries
    ]
    return Table("", ["experiment", "verdict", "measured"], rows)


def _html_entry(about: dict[str, Any], result: Result) -> str:
    stored = json.dumps(finite({"tables": [vars(t) for t in result.tables], **result.numbers}))
    link = base64.b64encode(stored.encode()).decode()
    name = about["name"]
    parts = [
        f'<h2 id="{name}">{_text(about["title"])}</h2>',
        f"<p>Claim: {_text(about['claim'])}</p>",
        f"<p><span class=verdict>{result.verdict.capitalize()}.</span> "
        f"{_text(result.sentence)}</p>",
        *(_html_figure(figure) for figure in result.figures),
        *(_html_table(table) for table in result.tables),
        *(f"<p class=note>{_text(note)}</p>" for note in result.notes),
        f"<p class=note>Rule: {_text(about['rule'])}</p>",
        f'<p class=note><a download="{name}.json" href="data:application/json;base64,{link}">'
        f"{name}.json</a>, seed {about['seed']}, {about['seconds']:.0f} s, "
        f"<code>{_text(about['command'])}</code></p>",
    ]
    return "\n".join(parts)


def _html_figure(figure: Figure) -> str:
    kind = {"svg": "image/svg+xml", "png": "image/png"}[figure.suffix]
    data = base64.b64encode(figure.data).decode()
    caption = _text(figure.caption)
    return (
        f'<figure><img alt="{caption}" src="data:{kind};base64,{data}">'
        f"<figcaption>{caption}</figcaption></figure>"
    )


def _html_table(table: Table) -> str:
    kinds = [" class=number" if number else "" for number in _numbers(table)]
    cells = list(zip(kinds, table.columns, strict=True))
    head = "".join(f"<th{kind}>{_text(column)}" for kind, column in cells)
    rows = "".join(
        "<tr>"
        + "".join(f"<td{kind}>{_text(show(cell))}" for kind, cell in zip(kinds, row, strict=True))
        for row in table.rows
    )
    caption = f"<caption>{_text(table.title)}</caption>" if table.title else ""
    return f'<div class="scroll"><table>{caption}<tr>{head}{rows}</table></div>'


def _markdown_table(table: Table) -> str:
    lines = [table.columns, ["--:" if number else "---" for number in _numbers(table)]]
    lines += [[show(cell) for cell in row] for row in table.rows]
    return "\n".join(
        "| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines
    )


def _numbers(table: Table) -> list[bool]:
    """Which columns hold nothing but numbers."""
    columns = list(zip(*table.rows, strict=True)) or [()] * len(table.columns)
    return [all(not isinstance(cell, str) for cell in column) for column in columns]


def show(cell: Cell) -> str:
    """A value as a reader wants it: about four digits."""
    if cell is None:
        return "–"
    if isinstance(cell, float):
        large = abs(cell) >= 1000 or 0 < abs(cell) < 0.001
        return f"{cell:.3g}" if large else f"{cell:.4g}"
    return str(cell)


def _text(text: object) -> str:
    return html.escape(str(text))

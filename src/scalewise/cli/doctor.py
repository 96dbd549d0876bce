"""`scalewise doctor`."""

from __future__ import annotations

import json
from typing import Any

import typer

from scalewise.cli import defaults, options


def doctor(
    ctx: typer.Context,
    device: options.Device = "auto",
    as_json: options.Json = False,
) -> None:
    """Say what is installed here and whether it works; what to send with a bug report.

    Versions of what Scalewise needs, device, threads and the precision that is fast there, the
    packaged models against their checksums, extras that are missing and how to get them, the file
    of defaults and variables that are set. A small image is denoised. Exit code 1 if something is
    broken.

    Examples:
      scalewise doctor
      scalewise doctor --device cuda --json
    """
    from scalewise.doctor import examine

    told, problem = defaults.told(ctx.find_root())
    facts = examine(device) | {"defaults": told}
    facts["problems"] += [problem] if problem else []
    typer.echo(json.dumps(facts) if as_json else _described(facts))
    if facts["problems"]:
        raise typer.Exit(1)


def _described(facts: dict[str, Any]) -> str:
    from scalewise.cli.console import table

    needed = [
        (found["name"], found["version"], found["wanted"] or "any", _state(found["problem"]))
        for found in facts["packages"]
    ]
    models = [(model["name"], _state(model["problems"])) for model in facts["models"]]
    extras = [
        (extra["name"], extra["install"] or "installed", extra["for"]) for extra in facts["extras"]
    ]
    parts = [
        _top(facts),
        table(("needed", "version", "wanted", "state"), needed),
        table(("model", "checksums"), models),
        table(("extra", "how to get it", "for"), extras),
        "\n".join(f"Broken: {problem}" for problem in facts["problems"]) or "All is well.",
    ]
    return "\n\n".join(parts)


def _state(problem: object) -> str:
    return "BROKEN" if problem else "good"


def _precision(fast: str) -> str:
    if fast == "float32":
        return "float32; the processor has no faster one of its own"
    return f"float32 by default; the processor computes with {fast} too, which is faster"


def _top(facts: dict[str, Any]) -> str:
    """Versions, device, defaults and variables, one a line."""
    lines = {
        "scalewise": f"{facts['scalewise']}, {facts['folder']}",
        "python": f"{facts['python']}, {facts['system']}",
    }
    device = facts["device"]
    if device:
        memory = "" if device["memory_gib"] is None else f", {device['memory_gib']} GiB"
        lines["device"] = f"{device['name']}, {device['title']}{memory}"
        lines["threads"] = f"{device['threads']} on {device['cores']} cores"
        lines["precision"] = _precision(device["fast_precision"])
    if "trial" in facts:
        trial = facts["trial"]
        lines["trial"] = f"denoised by {trial['model']} in {trial['seconds']:.2f} s, with loading"
    found = facts["defaults"]
    values = " ".join(f"{name}={value}" for name, value in found["values"].items())
    lines["defaults"] = f"{found['file']}  {values}".strip() if found["file"] else "no file"
    settings = [f"{name}={value}" for name, value in facts["settings"].items()]
    lines["variables"] = " ".join(settings) or "none"
    return "\n".join(f"{name:<11}{text}" for name, text in lines.items())

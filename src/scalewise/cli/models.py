"""`scalewise info`, `models` and `import-reference`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from scalewise.cli import options


def info(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL",
            help="Packaged name, model folder, or hub id.",
            autocompletion=options.packaged_names,
        ),
    ],
    as_json: options.Json = False,
) -> None:
    """Say what a model is and what it scored.

    Levels, receptive fields, parameters, training data. Receptive fields are in pixels of their own
    scale: as declared, and as probed with gradients.

    Examples:
      scalewise info photos
      scalewise info my-model/ --json
    """
    from scalewise import store

    folder = store.resolve(model)
    config = store.read_config(folder)
    facts = store.summary(store.load(folder, device="cpu"), config) | {"folder": str(folder)}
    typer.echo(json.dumps(facts) if as_json else _described(facts))


def models(as_json: options.Json = False) -> None:
    """List the packaged models.

    Example:
      scalewise models
    """
    from scalewise import store
    from scalewise.cli.console import table

    configs = [store.read_config(store.resolve(name)) for name in store.packaged()]
    if as_json:
        for config in configs:
            facts = config.model_dump(mode="json", include={"name", "channels", "levels"})
            facts |= {"description": config.description, "license": config.license}
            typer.echo(json.dumps(facts))
        return
    rows = [
        (config.name, config.color_space, config.levels, config.license, config.description)
        for config in configs
    ]
    typer.echo(table(("name", "images", "levels", "licence", "description"), rows))


def import_reference(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="DIR", help="Folder of the published checkpoints.", show_default=False
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(metavar="MODELS", help="Folder for the model folders.", show_default=False),
    ],
    force: options.Force = False,
    as_json: options.Json = False,
) -> None:
    """Turn the published checkpoints into model folders.

    Those of Kadkhodaie, Guth, Mallat and Simoncelli (ICLR 2023); no code in them is run.

    Example:
      scalewise import-reference checkpoints/ --out models/
    """
    from scalewise.published import import_reference as convert

    for folder in convert(source, out, force):
        typer.echo(json.dumps({"model": str(folder)}) if as_json else str(folder))


def _described(facts: dict[str, Any]) -> str:
    from scalewise.cli.console import table
    from scalewise.files import flat

    size = "any" if facts["size"] is None else "{} x {}".format(*facts["size"])
    draws = f"draws {size}"
    if facts["noise_floor"]:
        draws = f"learnt from noisy ones alone, of {255 * facts['noise_floor']:.3g} of 255"
    elif facts["denoises_only"]:
        draws = "denoises, and draws none"
    top = {
        "model": facts["name"],
        "folder": facts["folder"],
        "about": facts["description"],
        "images": f"{facts['channels']} channels ({facts['color_space']}), {draws}",
        "levels": f"{facts['levels']} ({facts['wavelet']})",
        "parameters": f"{facts['parameters']:,}",
        "noise level": facts["noise_level"],
        "licence": facts["license"],
    }
    if facts["gray"]:
        top["gray"] = f"pictures in gray are denoised by {facts['gray']}"
    rows = [
        (
            network["scale"],
            network["kind"],
            _field(network["receptive_field"]),
            _field(network["probed"]),
            f"{network['parameters']:,}",
        )
        for network in facts["networks"]
    ]
    head = ("network", "kind", "receptive field", "probed", "parameters")
    parts = [_aligned(top), table(head, rows)]
    for title in ("training", "scores"):
        listed = {".".join(path): shown for path, shown in flat(facts[title])}
        parts.append(f"{title}:\n{_aligned(listed) if listed else '  not recorded'}")
    return "\n\n".join(parts)


def _field(side: int | None) -> str:
    return "global" if side is None else f"{side}x{side}"


def _aligned(facts: dict[str, str]) -> str:
    width = max(map(len, facts)) + 2
    return "\n".join(f"{name:{width}}{value}".rstrip() for name, value in facts.items())

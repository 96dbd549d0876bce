"""`scalewise export`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from scalewise.cli import options
from scalewise.errors import ScalewiseError, UsageError


def export(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="Model folder, packaged name, or hub id.")
    ],
    onnx: Annotated[
        Path,
        typer.Option("--onnx", metavar="DIR", help="Folder to write to; made if it is missing."),
    ],
    sigma: Annotated[
        float | None,
        typer.Option(
            min=0,
            callback=options.finite,
            help="Build this noise level, in 8-bit units, into the denoiser, which then has one "
            "input, as most programs want. Without it, it is a second input.",
            show_default=False,
        ),
    ] = None,
    force: options.Force = False,
    as_json: options.Json = False,
) -> None:
    """Write the networks of a model for other programs, as ONNX.

    denoiser.onnx is the whole denoiser; low.onnx and details-1.onnx, ... are its networks, for
    programs of your own. Any number of images and any size that is printed. Each
    file is compared with PyTorch. Needs the extra export: pip install 'scalewise[export]'.

    Examples:
      scalewise export photos --onnx onnx/
      scalewise export photos --onnx onnx/ --sigma 15
    """
    if onnx.exists() and not onnx.is_dir():
        raise ScalewiseError(f"{onnx}: is a file; give a folder")
    there = sorted(onnx.glob("*.onnx"))
    if there and not force:
        raise ScalewiseError(f"{there[0]}: exists already; give --force to overwrite it")
    from scalewise import store
    from scalewise.cli.console import Bar, show
    from scalewise.export import export_onnx

    prior = store.load(model, device="cpu")
    try:
        onnx.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{onnx}: cannot be made: {error.strerror or error}") from error
    with Bar("exporting", prior.levels + 2) as bar:
        rows = export_onnx(
            prior, onnx, sigma=None if sigma is None else sigma / 255, callback=bar.step
        )
    for row in rows:
        if as_json:
            show({"input": model, "output": str(onnx / row["file"]), **row}, as_json)
            continue
        sides = f"sides of {row['smallest']} and more"
        sides += f", multiples of {row['multiple']}" if row["multiple"] > 1 else ""
        compared = "not compared, onnxruntime is missing"
        if row["difference"] is not None:
            compared = f"differs from PyTorch by {row['difference']:.1g} at most"
        typer.echo(f"{onnx / row['file']}: {', '.join(row['inputs'])}; {sides}; {compared}")

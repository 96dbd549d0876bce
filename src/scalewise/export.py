"""Networks for other programs: ONNX, through `torch.export`.

Each network of a prior, and the denoiser that they make together, become a file of their own, with
any number of images and of rows and columns, in float32.
"""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scalewise.errors import ScalewiseError, UsageError
from scalewise.files import write_whole
from scalewise.prior import MultiScalePrior

TOLERANCE = 1e-4
"""Largest difference from PyTorch, in [0, 1] intensities."""

SMALLEST = 2
"""Least number of the multiples that sides must be of."""

Rows = list[dict[str, Any]]


class _Whole(nn.Module):
    """The denoiser: `(noisy, sigma) -> clean`, or `noisy -> clean` of one level."""

    def __init__(self, prior: MultiScalePrior, sigma: float | None) -> None:
        super().__init__()
        self.prior, self.sigma = prior, sigma

    def forward(self, noisy: Tensor, sigma: Tensor | None = None) -> Tensor:
        if self.sigma is not None:
            sigma = torch.full_like(noisy[:, 0, 0, 0], self.sigma)
        return self.prior(noisy, sigma)


class _Details(nn.Module):
    """One level: `(noisy, low, sigma, noisy_low) -> (details, low)`."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(
        self, noisy: Tensor, low: Tensor, sigma: Tensor, noisy_low: Tensor
    ) -> tuple[Tensor, Tensor]:
        bands = self.network(noisy, low, sigma, noisy_low)
        return bands.details, bands.low


def export_onnx(
    prior: MultiScalePrior,
    folder: str | Path,
    *,
    sigma: float | None = None,
    callback: Callable[[], object] | None = None,
) -> Rows:
    """Write the networks of a prior, and the whole denoiser, as ONNX.

    The denoiser takes sides of any number of pixels from `smallest` on: their ends are mirrored to
    a multiple of what its levels halve, and cut off again, in the file itself. Every file is read
    back and compared with PyTorch, where onnxruntime is installed.

    Args:
        prior: on the CPU.
        folder: where; it must exist.
        sigma: noise level in [0, 1] that is built into the denoiser, which then has one input, as
            most programs want; None to have it as a second input, one per image.
        callback: called after every file.

    Returns:
        For each file its `file`, `inputs`, `outputs`, `multiple` of which sides must be,
        `smallest` side, and the largest `difference` from PyTorch (None if not compared).

    Raises:
        UsageError: onnx is missing, or `sigma` is negative.
        ScalewiseError: a network cannot be exported, or computes another thing in onnxruntime.

    Examples:
        >>> import tempfile
        >>> from scalewise.export import export_onnx
        >>> from scalewise.networks import LocalDenoiser
        >>> prior = scalewise.MultiScalePrior(LocalDenoiser(1, 5, width=4, blocks=1))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     rows = export_onnx(prior, folder, sigma=0.1)
        >>> rows[0]["file"], rows[0]["inputs"], rows[0]["difference"] < 1e-4
        ('denoiser.onnx', {'noisy': ['count', 1, 'rows', 'columns']}, True)
    """
    _need()
    if sigma is not None and not 0 <= sigma < 100:
        raise UsageError(f"sigma must be 0 or more, in [0, 1] intensities, found {sigma}")
    if sigma is None and not prior.noise_conditional:
        sigma = 0.0  # which blind networks do not look at
    rows = []
    for name, module, inputs, outputs, multiple in _parts(prior, sigma):
        file = Path(folder) / f"{name}.onnx"
        rows.append(_export(module, file, inputs, outputs, multiple))
        if callback is not None:
            callback()
    return rows


Part = tuple[str, nn.Module, dict[str, Tensor], Sequence[str], int]


def _parts(prior: MultiScalePrior, sigma: float | None) -> Iterator[Part]:
    """Name, module, examples of inputs, outputs, and the multiple of which sides must be."""
    channels, stride = prior.channels, int(getattr(prior.low, "stride", 1))
    whole = stride << prior.levels
    level = torch.tensor([0.1, 0.2])

    def image(count: int, multiple: int) -> Tensor:
        generator = torch.Generator().manual_seed(count)
        return torch.rand(2, count, 3 * multiple, 4 * multiple, generator=generator)

    told = {} if sigma is not None else {"sigma": level}
    noisy = {"noisy": image(channels, max(8, whole))}
    yield "denoiser", _Whole(prior, sigma), noisy | told, ["clean"], whole
    if not prior.noise_conditional:
        return
    low = {"noisy": image(channels, max(8, stride)), "sigma": level}
    yield "low", prior.low, low, ["clean"], stride
    for number, network in enumerate(prior.conditionals, start=1):
        bands = {"noisy": image(3 * channels, 8), "low": image(channels, 8), "sigma": level}
        bands |= {"noisy_low": image(channels, 8)}
        yield f"details-{number}", _Details(network), bands, ["details", "clean_low"], 1


def _export(
    module: nn.Module,
    file: Path,
    inputs: dict[str, Tensor],
    outputs: Sequence[str],
    multiple: int,
) -> dict[str, Any]:
    """Write one file, and compare."""
    count = torch.export.Dim("count", max=4096)
    sides = {
        axis: multiple * torch.export.Dim(name, min=SMALLEST, max=1 << 16)
        if multiple > 1
        else torch.export.Dim(name, min=SMALLEST, max=1 << 20)
        for axis, name in ((2, "rows"), (3, "columns"))
    }
    shapes = tuple({0: count, **(sides if value.ndim == 4 else {})} for value in inputs.values())
    module = module.eval()
    with _silent(), torch.no_grad():
        try:
            program = torch.onnx.export(
                module,
                tuple(inputs.values()),
                dynamo=True,
                input_names=list(inputs),
                output_names=list(outputs),
                dynamic_shapes=shapes,
                external_data=False,
                verbose=False,
            )
        except Exception as error:  # of three libraries
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise ScalewiseError(f"{file.name} cannot be exported: {reason}") from error
    assert program is not None
    model, any_size = program.model_proto, len(outputs) == 1 and isinstance(module, _Whole)
    if any_size:
        _mirror_ends(model, multiple)
    write_whole(file, model.SerializeToString())
    return {
        "file": file.name,
        "inputs": {name: _shape(value) for name, value in inputs.items()},
        "outputs": list(outputs),
        "multiple": 1 if any_size else multiple,
        "smallest": multiple + 1 if any_size else SMALLEST * multiple,
        "difference": _difference(module, file, inputs, multiple, any_size=any_size),
    }


def _mirror_ends(model: Any, multiple: int) -> None:
    """Have a network of images of certain sizes take others: mirrored at their ends, then cut."""
    from onnx import TensorProto, helper

    graph = model.graph
    outer, inner = graph.input[0].name, graph.output[0].name
    for node in graph.node:
        node.input[:] = ["mirrored" if name == outer else name for name in node.input]
        node.output[:] = ["of_mirrored" if name == inner else name for name in node.output]
    several, least = [1, 1, multiple, multiple], [0, 0, *[SMALLEST * multiple] * 2]
    numbers = {"sides_several": several, "sides_least": least, "sides_none": [0, 0, 0, 0]}
    graph.initializer.extend(
        helper.make_tensor(name, TensorProto.INT64, [4], value) for name, value in numbers.items()
    )
    steps = [
        ("Shape", [outer], "sides"),
        ("Neg", ["sides"], "sides_negative"),
        ("Mod", ["sides_negative", "sides_several"], "sides_lacking"),
        ("Add", ["sides", "sides_lacking"], "sides_multiple"),
        ("Max", ["sides_multiple", "sides_least"], "sides_mirrored"),
        ("Sub", ["sides_mirrored", "sides"], "sides_ends"),
    ]
    first = [helper.make_node(kind, inputs, [output]) for kind, inputs, output in steps]
    first.append(helper.make_node("Concat", ["sides_none", "sides_ends"], ["ends"], axis=0))
    first.append(helper.make_node("Pad", [outer, "ends"], ["mirrored"], mode="reflect"))
    last = helper.make_node("Slice", ["of_mirrored", "sides_none", "sides"], [inner])
    nodes = [*first, *graph.node, last]
    del graph.node[:], graph.value_info[:]  # those are sizes of what is mirrored
    graph.node.extend(nodes)
    for told in (graph.input[0], graph.output[0]):
        for axis, name in ((2, "rows"), (3, "columns")):
            told.type.tensor_type.shape.dim[axis].dim_param = name


def _shape(value: Tensor) -> list[str | int]:
    """Sizes of the axes, or their names."""
    return ["count", *value.shape[1:2], "rows", "columns"][: value.ndim]


def _difference(
    module: nn.Module, file: Path, inputs: dict[str, Tensor], multiple: int, *, any_size: bool
) -> float | None:
    """The largest difference from PyTorch, for images of another number and size."""
    try:
        import onnxruntime
    except ImportError:
        return None
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    side, ends = max(8, multiple), (0, multiple // 2, 0, multiple - 1) if any_size else (0, 0, 0, 0)
    rows, columns = 2 * side - ends[3], 3 * side - ends[1]
    smaller = {
        name: value[:1, :, :rows, :columns] if value.ndim == 4 else value[:1]
        for name, value in inputs.items()
    }
    found = session.run(None, {name: value.numpy() for name, value in smaller.items()})
    with torch.no_grad():
        expected = module(
            *(
                F.pad(value, ends, "reflect") if value.ndim == 4 else value
                for value in smaller.values()
            )
        )
    expected = expected if isinstance(expected, tuple) else (expected,)
    expected = tuple(each[..., :rows, :columns] for each in expected)
    differences = [
        float((torch.from_numpy(one) - other).abs().max())
        for one, other in zip(found, expected, strict=True)
    ]
    if not max(differences) <= TOLERANCE:
        raise ScalewiseError(
            f"{file.name} gives other values in onnxruntime, by {max(differences):.2g}; please "
            "report this with the output of scalewise doctor"
        )
    return max(differences)


def _need() -> None:
    try:
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise UsageError(
            f"ONNX needs an extra: pip install 'scalewise[export]' ({error})"
        ) from None


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """Without what the exporter prints of its own progress."""
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(logging.NOTSET)

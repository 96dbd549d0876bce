"""One table of what was measured, from the JSON values of `suite.run`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

HEAD = ("measured", "Scalewise", "baseline", "ratio")
"""Heads of the table; a ratio above 1 means that Scalewise is faster."""

Row = tuple[str, str, str, str]


def rows(content: Mapping[str, Any]) -> list[Row]:
    """Lay out the measurements as rows of `HEAD`; parts that are not there are left out."""
    found = [*_limits(content), *_agreement(content)]
    for key, lay_out in _PARTS.items():
        part = content.get(key)
        if part is not None:
            for record in part if isinstance(part, list) else [part]:
                found += lay_out(record)
    return found


def _limits(content: Mapping[str, Any]) -> Iterator[Row]:
    limits = content.get("limits")
    if limits is not None:
        precision = content["precision"]
        rate, copied = limits["convolution_gflops"], limits["copy_gigabytes"]
        yield f"one dense 3×3 convolution, {precision}", "", f"{rate:.0f} GFLOP/s", ""
        yield "copying memory", "", f"{copied:.1f} GB/s", ""


def _agreement(content: Mapping[str, Any]) -> Iterator[Row]:
    for record in content.get("agreement", ()):
        holds = "holds" if record["holds"] else "FAILS"
        change = f"{record['psnr_change']:+.4f} dB"
        yield f"denoising in {record['precision']}, {holds}", change, "float64 on the CPU", ""


def _forward(record: Mapping[str, Any]) -> Iterator[Row]:
    field, side = record["receptive_field"], record["side"]
    name = f"forward pass, receptive field {field}, {side}×{side}"
    yield _compared(name, record["seconds"], record["seconds_published"])
    yield _rate(record)
    if record["seconds_replayed"] is not None:
        yield "  as a CUDA graph", _seconds(record["seconds_replayed"]), "", ""


def _sampling(record: Mapping[str, Any]) -> Iterator[Row]:
    kind = "gray" if record["channels"] == 1 else "RGB"
    size = record["size"]
    name = f"sample {size}×{size}, {kind}, in a batch of {record['batch']}"
    yield _compared(name, record["seconds"], record["seconds_published"])
    ours, theirs = (" + ".join(map(str, record[key].values())) for key in _CALLS)
    yield "  network calls, coarse to fine", ours, theirs, ""


def _training(record: Mapping[str, Any]) -> Iterator[Row]:
    crop, batch = record["crop"], record["batch"]
    ours, plain = record["images_per_second"], record["images_per_second_published"]
    ratio = f"{record['ratio_to_published']:.2f}"
    field = record["receptive_field"]
    name = f"training, receptive field {field}, {batch} crops of {crop}×{crop}"
    yield name, f"{ours:.1f} images/s", f"{plain:.1f} images/s", ratio
    if record["precision"] != "float32":
        speed = f"{plain * record['ratio_automatic']:.1f} images/s"
        name = f"  ours in {record['precision']}, as it trains here"
        yield name, speed, f"{plain:.1f} images/s", f"{record['ratio_automatic']:.2f}"
    yield _rate(record)
    yield "  drawing a batch, of a step", _percent(record["loader_share"]), "", ""


def _pixels(record: Mapping[str, Any]) -> Iterator[Row]:
    for task in ("denoise", "upscale"):
        sizes = record[task]["sizes"]
        name = f"{task} {sizes[0]['side']}² to {sizes[-1]['side']}², {record['model']} prior"
        seconds = [1e6 * size["seconds"] for size in sizes]
        values = f"{min(seconds):.3g} to {max(seconds):.3g} µs"
        yield f"{name}: time per pixel, spread", values, "", _percent(record[task]["spread"])
        held, spread = [size["bytes"] for size in sizes], record[task]["spread_bytes"]
        if spread is not None:
            values = f"{min(held):.0f} to {max(held):.0f} bytes"
            yield "  memory per pixel, spread", values, "", _percent(spread)


def _packaged(record: Mapping[str, Any]) -> Iterator[Row]:
    side = record["side"]
    yield f"denoise a photo of {side}×{side}, photos", _seconds(record["denoise"]), "", ""
    name = f"sample of faces, in a batch of {record['batch']}"
    yield name, _seconds(record["sample"]), "", ""


def _start(record: Mapping[str, Any]) -> Iterator[Row]:
    side = record["side"]
    yield "scalewise --help, from cold", _seconds(record["help"]), "", ""
    name = f"scalewise denoise, {side}×{side}, from cold"
    yield name, _seconds(record["denoise"]), f"import torch: {_seconds(record['import_torch'])}", ""


def _rate(record: Mapping[str, Any]) -> Row:
    rate, limit = record["gflops"], record["convolution_gflops"]
    share = _percent(record["share_of_convolution_rate"])
    return (
        "  its rate, of one dense convolution",
        f"{rate:.0f} GFLOP/s",
        f"{limit:.0f} GFLOP/s",
        share,
    )


def _compared(name: str, ours: float, published: float) -> Row:
    return name, _seconds(ours), _seconds(published), f"{published / ours:.2f}"


def _seconds(seconds: float) -> str:
    return f"{1e3 * seconds:.1f} ms" if seconds < 0.1 else f"{seconds:.2f} s"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


_CALLS = ("calls", "calls_published")

_PARTS = {
    "forward_512": _forward,
    "forward": _forward,
    "sample_320": _sampling,
    "sampling": _sampling,
    "training": _training,
    "training_wider": _training,
    "per_pixel": _pixels,
    "per_pixel_small": _pixels,
    "packaged": _packaged,
    "faces": _packaged,
    "start": _start,
}

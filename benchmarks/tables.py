"""Tables of the docs, made from the JSON files of the benchmarks.

    python -m benchmarks.tables           # rewrite the tables of README.md and of docs
    python -m benchmarks.tables --check   # only tell whether they are up to date

A table stands between `<!-- table:NAME -->` and `<!-- /table:NAME -->`, each on a line of its own;
NAME is one of `TABLES`. What lies between is replaced. A table whose JSON file is not there stays
as it is.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from benchmarks.common import RESULTS, ROOT, read_json
from scalewise.speed import HEAD, QUICK, rows

Rows = Sequence[Sequence[str]]
MARK = re.compile(r"(<!-- table:([\w-]+) -->\n).*?(<!-- /table:\2 -->)", re.DOTALL)
ESTIMATES = {
    "bicubic": "bicubic",
    "lanczos": "Lanczos",
    "sample": "one sample",
    "mean": "mean of samples",
    "least_squares": "least squares",
}


def markdown(head: Sequence[str], rows: Rows) -> str:
    """Write a table, its first column to the left and the others to the right."""
    bar = [":--"] + ["--:"] * (len(head) - 1)
    return "".join(f"| {' | '.join(row)} |\n" for row in (head, bar, *rows))


def denoising(content: dict[str, Any]) -> str:
    """PSNR of each method, by set and noise level; of those that ran on all images."""
    methods = ["non-local means", "BM3D", "scalewise"]
    found: dict[tuple[str, float], dict[str, Any]] = {}
    for record in content["means"]:
        found.setdefault((record["set"], record["sigma"]), {})[record["method"]] = record
    rows = []
    for kind, sigma in sorted(found, key=lambda key: (_first(found, key[0]), key[1])):
        cell = found[kind, sigma]
        noisy = cell.get("scalewise", {}).get("psnr_noisy")
        most = max(record["count"] for record in cell.values())
        complete = {name: record for name, record in cell.items() if record["count"] == most}
        values = [complete.get(method, {}).get("psnr") for method in methods]
        rows.append([f"{kind}, σ = {sigma:g}", _number(noisy), *_best(values)])
    return markdown(["PSNR in dB", "noisy", "non-local means", "BM3D", "Scalewise, blind"], rows)


def upscaling(content: dict[str, Any], measure: str = "psnr", digits: int = 2) -> str:
    """PSNR or SSIM of each estimate, by set and factor."""
    rows = []
    for record in content["means"]:
        values = [record.get(f"{measure}_{name}") for name in ESTIMATES]
        rows.append([f"{record['set']}, ×{record['factor']}", *_best(values, digits)])
    unit = "PSNR in dB" if measure == "psnr" else "SSIM"
    return markdown([unit, *ESTIMATES.values()], rows)


def upscaling_ssim(content: dict[str, Any]) -> str:
    """SSIM of each estimate, by set and factor."""
    return upscaling(content, "ssim", 3)


def faces(content: dict[str, Any]) -> str:
    """Distances between samples and validation images, beside the floor."""
    rows = []
    for level, distance in content["distances"].items():
        floor = content["floor"][level]
        spread = "" if floor["std"] is None else f" ± {floor['std']:.3f}"
        name = "low-pass image" if level == "low" else f"details, {level}"
        rows.append([name, f"{distance:.3f}", f"{floor['mean']:.3f}{spread}"])
    head = ["sliced Wasserstein distance", "samples, validation", "training, validation"]
    return markdown(head, rows)


def looks(content: dict[str, Any]) -> str:
    """What cascades find, and how well a classifier tells samples from held-out faces."""
    names = ("samples", "held-out", "training")
    rows = [
        [what, *(f"{100 * content['cascades'][name][what]:.0f} %" for name in names)]
        for what in ("one face", "two eyes")
    ]
    told = content["classifier"]
    shown = [f"{100 * told[name]['accuracy']:.0f} %" if name in told else "–" for name in names]
    head = ["share of images with", "samples", "held-out faces", "training faces"]
    return markdown(head, [*rows, ["told from held-out faces (50 % at best)", *shown]])


def enlargements_look(content: dict[str, Any]) -> str:
    """How well a classifier tells enlargements, and other photographs, from photographs."""
    rows = [
        [name, f"{100 * told['accuracy']:.0f} ± {100 * told['std']:.0f} %"]
        for name, told in content["test"].items()
    ]
    return markdown(["in the place of photographs, by four", "told from them (50 % at best)"], rows)


def nearest(content: dict[str, Any]) -> str:
    """Distances to the nearest training image, of samples and of validation images."""
    rows = []
    for kind, label in (("image", "whole image"), ("low", "low-pass image")):
        for name, what in (("samples", "samples"), ("reference", "validation images")):
            values = content["nearest"][kind][name]
            shown = [f"{values[q]:.2f}" for q in ("0%", "5%", "50%", "95%")]
            rows.append([f"{label}, {what}", *shown])
    return markdown(["distance to the nearest", "least", "5 %", "median", "95 %"], rows)


def brightness(content: dict[str, Any]) -> str:
    """Quantiles of the brightness and the contrast of samples and of faces."""
    names = {"samples": "samples", "reference": "held-out faces", "training": "training faces"}
    shown = ("0%", "5%", "25%", "50%", "75%", "95%", "100%")
    rows = [
        [f"{what}, {label}", *(_number(content[what][name][quantile], 3) for quantile in shown)]
        for what in ("brightness", "contrast")
        for name, label in names.items()
    ]
    words = ("least", "5 %", "25 %", "median", "75 %", "95 %", "largest")
    return markdown(["mean and deviation of an image's intensities", *words], rows)


def noise_levels(content: dict[str, Any]) -> str:
    """Errors of estimated levels, by kind of image and level, and what blind denoising does."""
    rows = []
    for row in content["rows"]:
        errors = (_number(row[key]) for key in ("median error", "worst error"))
        gain = row["gain"] if row["sigma"] else None  # clean images have nothing to gain
        what = f"{row['kind']}, σ = {row['sigma']}" if row["sigma"] else f"{row['kind']}, clean"
        rows.append([what, *errors, _number(gain), f"{row['worse']} of {row['images']}"])
    return markdown(["", "median error", "worst error", "gain in dB", "worse"], rows)


def spectra(content: dict[str, Any]) -> str:
    """Errors of the deviations that are found at three scales, and PSNR, by kind of noise."""
    rows, truths = [], {"told": "told"}
    if all("told the spectrum" in row for row in content["rows"]):
        truths = {"told the spectrum": "told the spectrum", "told": "and its curve"}
    for row in content["rows"]:
        errors = [f"{100 * error:.0f}" for error in row["blind, error"]]
        before = [f"{100 * error:.0f}" for error in row["without, error"]]
        values = [_number(row[key]) for key in ("noisy", "without", "blind", *truths)]
        clean = row["kind"].endswith("white, 0")
        lost = "–" if clean else f"{row['worse']} of {row['images']}"
        kind = row["kind"].replace("white, 0", "clean")
        rows.append([kind, ", ".join(before), ", ".join(errors), *values, lost])
    found = ["error in % without", "with learnt spectra"]
    heads = ["noisy", "without", "with", *truths.values(), "worse"]
    return markdown(["", *found, *heads], rows)


OTHERS = ("non-local means", "total variation", "BM3D")
"""Methods that Scalewise is compared with on noise of cameras and microscopes."""


def restoration(content: dict[str, Any]) -> str:
    """PSNR of Scalewise, blind and told, beside the others at the best of three strengths."""
    rows = []
    for row in content["rows"]:
        values = _best([row.get(method) for method in (*OTHERS, "blind")])
        told = [_number(row.get(key)) for key in ("told", "told its curve")]
        lost = f"{row['worse']} of {row['images']}"
        rows.append([row["set"], _number(row["noisy"]), *values, *told, lost])
    ours = ["Scalewise, blind", "told the spectrum", "and its curve", "worse"]
    return markdown(["PSNR in dB", "noisy", *OTHERS, *ours], rows)


def restoration_blind(content: dict[str, Any]) -> str:
    """PSNR of all methods blind, and of BM3D told the spectrum, where that was run."""
    keys = (*(f"{method}, blind" for method in OTHERS), "BM3D, told the spectrum", "blind")
    rows = [
        [row["set"], _number(row["noisy"]), *_best([row.get(key) for key in keys])]
        for row in content["rows"]
        if "BM3D, blind" in row
    ]
    told = ["BM3D, told the spectrum", "Scalewise"]
    return markdown(["PSNR in dB, blind", "noisy", *OTHERS, *told], rows)


COVERAGE = ["% of values within", "50", "80", "90", "95", "width of 90 %", "baseline"]
"""Columns of tables of intervals."""


def _intervals(record: dict[str, Any]) -> list[str]:
    """Shares of values that intervals held, their width and the baseline's."""
    shares = [f"{record['coverage'][share]:.1f}" for share in COVERAGE[1:5]]
    return [*shares, *(_number(record.get(key), 1) for key in ("width", "baseline"))]


def coverage(content: dict[str, Any]) -> str:
    """Shares of values that intervals held, beside what they should hold."""
    rows, order = [], ("all", "sigma", "contrast", "scale")
    for record in sorted(content["records"], key=lambda one: order.index(one["by"])):
        of = {"sigma": "σ = ", "contrast": "contrast: ", "scale": "samples, "}.get(record["by"], "")
        rows.append([of + ("all pixels" if not of else record["group"]), *_intervals(record)])
    return markdown(COVERAGE, rows)


def enlargements(content: dict[str, Any]) -> str:
    """Shares of pixels that intervals of enlargements held, by factor and contrast."""
    rows = []
    for record in content["records"]:
        if record["by"] not in ("factor", "contrast"):
            continue
        of = "" if record["by"] == "factor" else f", {record['group']}"
        rows.append([f"×{record['factor']}{of}", *_intervals(record)])
    return markdown(COVERAGE, rows)


def bounds(content: dict[str, Any]) -> str:
    """PSNR told without the truth, and its bound."""
    rows = []
    for record in content["records"]:
        if "psnr_error" in record:
            name = "all" if record["by"] == "all" else f"σ = {record['group']}"
            known = [record["psnr_error"], record.get("bound_holds"), record.get("below")]
            rows.append([name, *(_number(value) for value in known)])
    head = ["", "off by at most, 95 % of images (dB)", "bound holds (%)", "below the truth (dB)"]
    return markdown(head, rows)


def variance(content: dict[str, Any]) -> str:
    """The map of uncertainty without samples beside the deviation of many, and their cost."""
    found = content["records"]
    count = found[0]["samples"]
    names = {
        "correlation": f"the map, with {count} samples",
        "correlation_gray": "the same, channels together",
        "halves": f"{count // 2} samples, with {count // 2} others",
    }
    calls = {"halves": found[0]["calls_samples"] // 2}
    rows = []
    for key, name in names.items():
        values = [record[key] for record in found]
        cells = [_number(value, 3) for value in (fmean(values), min(values), max(values))]
        rows.append([name, *cells, f"{calls.get(key, found[0]['calls_map']):,}"])
    head = [f"correlation of deviations, {len(found)} crops", "mean", "least", "most", "calls"]
    return markdown(head, rows)


def white_cost(content: dict[str, Any]) -> str:
    """PSNR on white noise before and after training with noise that is not white."""
    rows = [
        [
            f"photos, σ = {row['sigma']:g}",
            *(_number(row[key]) for key in ("before", "after")),
            f"{row['after'] - row['before']:+.2f}",
        ]
        for row in content["rows"]
    ]
    head = ["PSNR in dB, blind", "learnt from white noise alone", "from noise of all kinds", ""]
    return markdown(head, rows)


def places(content: dict[str, Any]) -> str:
    """PSNR of pictures whose noise differs by place, by what the networks are told."""
    kinds = {
        "halves": "10 to the left, 50 to the right",
        "shading": "13 in the middle, 38 in the corners",
        "even": "25 everywhere",
    }
    rows = []
    for name in ("Set12", "McMaster"):
        for kind, words in kinds.items():
            ones = [r for r in content["records"] if (r["set"], r["kind"]) == (name, kind)]
            columns = ("noisy", "as if even", "found", "told")
            cells = [_number(fmean(one[key] for one in ones)) for key in columns]
            known = sum(one["places"] for one in ones)
            rows.append([f"{name}, {words}", *cells, f"{known} of {len(ones)}"])
    head = ["PSNR in dB", "noisy", "taken for even", "found", "told", "places found"]
    return markdown(head, rows)


def checking(content: dict[str, Any]) -> str:
    """How far off the PSNR is that is told without the truth, by tool and noise."""
    rows = [
        [
            f"{row['method']}, σ = {row['sigma']:g}",
            str(row["images"]),
            *(_number(row[key]) for key in ("psnr", "over", "median", "most")),
            f"{100 * row['within']:.0f} %",
        ]
        for row in content["rows"]
    ]
    head = ["", "images", "PSNR in dB", "told over true", "off by, median", "95 %", "within 0.1 dB"]
    return markdown(head, rows)


def inverse(content: dict[str, Any]) -> str:
    """PSNR of restorations from linear measurements."""
    rows = []
    for name, found in content["tasks"].items():
        means = [fmean(row[key] for row in found) for key in ("plain", "mean", "sample")]
        rows.append([name, *_best(means)])
    return markdown(["PSNR in dB", "plain", "mean", "one sample"], rows)


def reductions(content: dict[str, Any]) -> str:
    """PSNR of small pictures and of frequencies restored, and how far they agree."""
    rows = []
    for name, found in content["tasks"].items():
        means = [fmean(found[key]) for key in ("plain", "mean", "sample")]
        agreement = "–" if "σ" in name else _number(found["agreement"])
        rows.append([name, *_best(means), agreement])
    return markdown(["PSNR in dB", "without a model", "mean", "one sample", "disagreement"], rows)


def mosaics(content: dict[str, Any]) -> str:
    """PSNR and seconds of ways from a mosaic to an image, by the level of white noise."""
    levels = list(next(iter(content["mosaics"].values())))
    rows = []
    for name, found in content["mosaics"].items():
        means = [fmean(found[level]["psnr"]) if level in found else None for level in levels]
        seconds = fmean(each["seconds"] for each in found.values())
        rows.append([name, *map(_number, means), _number(seconds)])
    return markdown(["PSNR in dB", *(f"σ = {level}" for level in levels), "seconds"], rows)


def raw(content: dict[str, Any]) -> str:
    """PSNR of developed raw files, by the sensor."""
    methods = list(next(iter(content["developed"].values())))
    rows = [
        [name, *_best([fmean(found[method]) for method in methods])]
        for name, found in content["developed"].items()
    ]
    return markdown(
        ["PSNR in dB", *(f"LibRaw: {name}" for name in methods[:-1]), methods[-1]], rows
    )


def compressed(content: dict[str, Any]) -> str:
    """Enlargement of small JPEGs: PSNR, and coefficients that stay the same."""
    names = {
        "bicubic": "bicubic",
        "ignored": "Scalewise, `--ignore-jpeg`",
        "accounted": "Scalewise",
    }
    rows = []
    for key, name in names.items():
        quality = fmean(row[key] for row in content["images"])
        same = fmean(row[f"{key}, same coefficients"] for row in content["images"])
        rows.append([name, _number(quality), f"{100 * same:.1f} %"])
    return markdown(["×2 of JPEGs of quality 75", "PSNR in dB", "same coefficients"], rows)


def set5(content: dict[str, Any]) -> str:
    """PSNR of luma on Set5 by the field's protocol."""
    rows = [
        [name, *(_number(fmean(row[key] for row in found)) for key in ("bicubic", "mean"))]
        for name, found in content["set5"].items()
    ]
    for factor, averages in content.get("averages", {}).items():
        for count, found in averages.items():
            rows.append([f"{factor}, `--average {count}`", "", _number(fmean(found.values()))])
    return markdown(["PSNR of luma in dB, Set5", "bicubic", "Scalewise, mean"], rows)


def own_minutes(content: dict[str, Any]) -> str:
    """What training on images of one's own gains over the packaged model."""
    rows = []
    for name, compared in content["minutes"]["tables"].items():
        for row in compared["table"]:
            gain = f"{row['gain']:+.2f} ± {row['error']:.2f}"
            values = [_number(row[key]) for key in ("noisy", "other", "this")]
            rows.append([f"{name}, {row['noise']}", *values, gain])
    return markdown(["PSNR in dB", "noisy", "photos", "trained", "gain"], rows)


def own_noises(content: dict[str, Any]) -> str:
    """PSNR after training on clean images and on noisy ones alone, by the noise."""
    columns = ("packaged", "clean", "noisy", "packaged, blind", "noisy, of unknown noise, blind")
    rows = [
        [kind, *(_number(scores[name]) for name in columns)]
        for kind, scores in content["noises"]["psnr"].items()
    ]
    head = ["PSNR in dB, noise told", "photos as it is", "trained on clean images", "on noisy ones"]
    return markdown([*head, "nothing told: photos", "trained, nothing told"], rows)


def own_methods(content: dict[str, Any]) -> str:
    """PSNR of one network, trained on noisy images in several ways."""
    rows = [[name, _number(value)] for name, value in content["methods"]["psnr"].items()]
    return markdown(["trained from scratch on", "PSNR in dB"], rows)


def own_microscope(content: dict[str, Any]) -> str:
    """PSNR on frames of a microscope, by who was trained on them."""
    found = content["microscope"]["psnr"]
    rows = [[name, _number(value)] for name, value in found.items() if name != "minutes"]
    return markdown(["frames of a microscope", "PSNR in dB"], rows)


def beside_deepinv(content: dict[str, Any]) -> str:
    """PSNR and calls of our sampler and deepinv's algorithms, one denoiser in all."""
    names = list(content["deepinv"])
    methods = list(next(iter(content["deepinv"].values()))[0])[1:]
    rows = []
    for method in methods:
        cells, calls = [], 0
        for name in names:
            runs = [row[method] for row in content["deepinv"][name]]
            if any("failed" in run for run in runs):
                cells.append("–")
                continue
            calls = runs[0]["calls"]
            cells.append(_number(fmean(run["psnr"] for run in runs)))
        rows.append([method, *cells, str(calls)])
    return markdown(["PSNR in dB", *names, "calls"], rows)


def averaging(content: dict[str, Any]) -> str:
    """PSNR of the mean of so many estimates, by set and noise level."""
    found: dict[tuple[str, float], list[str]] = {}
    for record in sorted(content["means"], key=lambda record: record["average"]):
        key = f"{record['set']}, {record['count']} images, σ = {record['sigma']:g}"
        found.setdefault((key, record["sigma"]), []).append(_number(record["psnr"]))
    rows = [[key, *found[key, sigma]] for key, sigma in found]
    return markdown(["PSNR in dB", "1", "2", "4", "8"], rows)


def jobs(content: dict[str, Any]) -> str:
    """Seconds for a folder, by how many images at once."""
    found: dict[tuple[int, int], dict[int, float]] = {}
    for record in content["records"]:
        found.setdefault((record["images"], record["side"]), {})[record["jobs"]] = record["seconds"]
    counts = list(next(iter(found.values())))
    rows = [
        [f"{images} images of {side}×{side}", *(f"{taken[count]:.1f}" for count in counts)]
        for (images, side), taken in found.items()
    ]
    return markdown(["seconds", *(f"`--jobs {count}`" for count in counts)], rows)


def processes(content: dict[str, Any]) -> str:
    """Differences of losses from those of one process."""
    rows = [
        [
            f"{row['form']}, {row['steps']} steps",
            f"float{row['float']}",
            str(row["processes"]),
            f"{row['median_difference']:.0e}",
            f"{row['largest_difference']:.0e}",
        ]
        for row in content["processes"]
        if row["processes"] > 1
    ]
    return markdown(["form", "computed in", "processes", "median", "largest"], rows)


def streaming(content: dict[str, Any]) -> str:
    """Share of a step in which it waits for images, read as needed and in memory."""
    rows = [
        [
            f"width {row['width']}, from {row['images']}",
            f"{1e3 * row['seconds_per_step']:.0f} ms",
            f"{row['over_memory']:.2f}",
            f"{1e3 * row['processor_seconds_per_step']:.0f} ms",
            f"{100 * row['waiting']:.1f} %",
        ]
        for row in content["streaming"]
    ]
    head = ["finest level, 8 crops of 512×512", "a step", "over memory", "processor", "waiting"]
    return markdown(head, rows)


def memory(content: dict[str, Any]) -> str:
    """Largest memory of a training process, by the size of the set and what was asked for."""
    where = {True: "as needed", False: "in memory"}
    rows = [
        [
            f"{row['gigabytes_of_images']:.2f} GB, {where[row['streamed']]}",
            f"{row['gigabytes_asked']:g} GB",
            f"{row['gigabytes_at_most']:.2f} GB",
        ]
        for row in content["memory"]
    ]
    return markdown(["images", "`--memory`", "largest memory"], rows)


def apart(content: dict[str, Any]) -> str:
    """PSNR of levels trained together and apart."""
    rows = [
        [
            f"sigma {row['sigma']}",
            _number(row["together"]),
            _number(row["apart"]),
            f"{row['gain']:+.2f} ± {row['error']:.2f}",
        ]
        for row in content["apart"]
    ]
    steps = content["apart"][0]["steps"]
    return markdown([f"PSNR in dB, {steps} steps a level", "together", "apart", "gain"], rows)


def blocks_memory(content: dict[str, Any]) -> str:
    """Largest memory of commands, as the system measures it."""
    rows = [[row["what"], row["limit"], f"{row['megabytes']:.0f} MB"] for row in content["memory"]]
    return markdown(["what", "`--max-memory`", "taken at most"], rows)


def gigapixel(content: dict[str, Any]) -> str:
    """What drawing it took, and whether parts drawn alone are the same."""
    parts = content["parts"]
    off = max(part["difference"] for part in parts)
    rows = [
        ["pixels", f"{content['size'] ** 2 / 1e9:.2f} · 10⁹"],
        ["scales in the pyramid", str(len(content["pyramid"]))],
        ["`--max-memory`", content["limit"]],
        ["taken at most", f"{content['megabytes']:.0f} MB"],
        ["minutes, one thread of a machine that others used", f"{content['seconds'] / 60:.0f}"],
        [
            f"{len(parts)} parts of {content['part']}² drawn alone: largest difference, of 255",
            str(off),
        ],
    ]
    return markdown(["", ""], rows)


def cluster_faults(content: dict[str, Any]) -> str:
    """What happened to runs on real processes, and how they ended."""
    same = {True: "the same, value by value", False: "another"}
    kills, lost, apart = content["kills"], content["scheduler"], content["namespaces"]
    done = f"goes on from {lost['done_before']} blocks with another"
    rows = [
        [f"{kills['kills']} workers killed, in {kills['runs']} runs", same[kills["identical"]]],
        [f"the scheduler killed; the same command {done}", same[lost["identical"]]],
        ["scheduler, workers and program in networks of their own", same[apart["identical"]]],
    ]
    return markdown(["what", "result"], rows)


def cluster_folder(content: dict[str, Any]) -> str:
    """Seconds for a folder of small images, one by one and in batches."""
    speed = [row["images"] / row["seconds"] for row in content["folder"]]
    rows = [
        [
            f"{row['images']:,} of {row['side']}×{row['side']}, `{row['how']}`",
            f"{row['seconds']:.0f}",
            f"{images / speed[0]:.1f}",
            f"{1e6 * row['share']:.0f}" if "share" in row else "–",
        ]
        for row, images in zip(content["folder"], speed, strict=True)
    ]
    return markdown(["images", "seconds", "times as fast", "values in a million off by one"], rows)


def cluster_hashing(content: dict[str, Any]) -> str:
    """Seconds for each gigabyte, of telling an image from others and of denoising it."""
    told = content["hashing"]
    names = {"npy": "hashed, one file", "zarr": "hashed, a store of 256 chunks"}
    rows = [[name, f"{told[key]:.1f}"] for key, name in names.items()]
    return markdown(
        ["each gigabyte of an image", "seconds"], [*rows, ["denoised", f"{told['denoising']:.0f}"]]
    )


def blocks_model(content: dict[str, Any]) -> str:
    """Seconds that the model predicts, and that runs took."""
    rows = [
        [
            "{}×{}".format(*row["size"]),
            str(row["tile"]),
            row["kind"],
            f"{row['seconds']:.2f}",
            f"{row['predicted']:.2f}",
            f"{100 * row['off']:+.0f} %",
        ]
        for row in content["model"]["runs"]
    ]
    return markdown(["image", "`--tile`", "", "seconds", "predicted", "off by"], rows)


NETWORKS = {"photos": "`photos`", "plain": "plain, sees 21×21"}


def tilers(content: dict[str, Any]) -> str:
    """Differences to the whole image, time and memory of tilers at their defaults."""
    sizes = list(dict.fromkeys(_sides(row) for row in content["times"]))
    shown = [row for row in content["seams"] if row["default"] and _sides(row) == sizes[-1]]
    rows = []
    for row in shown:
        who = row["network"], row["tiler"]
        time, held = (
            [each for each in content[part] if (each["network"], each["tiler"]) == who]
            for part in ("times", "memory")
        )
        rows.append(
            [
                f"{NETWORKS[row['network']]}: {row['tiler']}",
                "–" if row["halo"] is None else str(row["halo"]),
                *(_level(row[key]) for key in ("largest", "inside", "rms", "seam")),
                f"{time[-1]['ratio']:.2f}",
                *(f"{each['beyond']:.0f} MB" for each in held),
            ]
        )
    head = ["halo", "largest", "without the border", "RMS", "step at seams", "time", *sizes]
    return markdown([sizes[-1], *head], rows)


def tilers_halos(content: dict[str, Any]) -> str:
    """Steps at seams by the halo."""
    rows = []
    for network, name in NETWORKS.items():
        found = [row for row in content["seams"] if row["network"] == network]
        for size in list(dict.fromkeys(_sides(row) for row in found)):
            for tiler in ("deepinv", "CAREamics"):
                of = [row for row in found if (_sides(row), row["tiler"]) == (size, tiler)]
                steps = [
                    f"{row['halo']}{' (default)' if row['default'] else ''}: {_level(row['seam'])}"
                    for row in of
                ]
                rows.append([f"{name}, {size}", tiler, ", ".join(steps)])
    return markdown(["", "", "halo: step at seams, in gray levels"], rows)


def fuzzing(content: dict[str, Any]) -> str:
    """Damaged files that were read or refused, by reader, and what else came out."""
    rows = [
        [
            record["reader"],
            *(f"{record[kind]:,}" for kind in ("files", "read", "refused")),
            "; ".join(f"{count} {kind}" for kind, count in record["wrong"].items()) or "–",
        ]
        for record in content["records"]
    ]
    return markdown(["reader", "files", "read", "refused", "wrong, and mended since"], rows)


def speed(content: dict[str, Any]) -> str:
    """What every run of the speed benchmark measures, and training at other receptive fields."""
    kept = ("precision", "limits", *QUICK.parts, "training_wider")
    main = {key: content[key] for key in kept if key in content}
    shown = [[row[0].replace("  ", "– ", 1), *row[1:]] for row in rows(main)]
    return markdown([f"on {_machine(content)}", *HEAD[1:]], shown)


def textures(content: dict[str, Any]) -> str:
    """Textures: samples, and beside them what is to be compared with, by measure."""
    found = content["textures"].values()
    rows = []
    for level in next(iter(found))["distances"]["samples"]:
        name = "low-pass image" if level == "low" else f"details, {level}"
        of = [record["distances"] for record in found]
        cells = [f"{one[key][level]:.3f}" for one in of for key in ("samples", "training")]
        rows.append([f"distance, {name} (beside: crops that were learnt)", *cells])
    of = [record["nearest"] for record in found]
    cells = [f"{one[key]['50%']:.2f}" for one in of for key in ("samples", "kept apart")]
    rows.append(["nearest learnt crop of 32×32, median (beside: crops kept apart)", *cells])
    of = [record["seams"] for record in found]
    cells = [f"{one[key]['across']:.2f}" for one in of for key in ("periodic", "not periodic")]
    rows.append(["step across the border over one inside (beside: not periodic)", *cells])
    names = [name for texture in content["textures"] for name in (texture, "beside")]
    return markdown(["samples of", *names], rows)


TABLES: dict[str, tuple[str, Callable[[dict[str, Any]], str]]] = {
    "denoising": ("denoising.json", denoising),
    "denoising-free": ("denoising-photos-free.json", denoising),
    "upscaling": ("upscaling.json", upscaling),
    "upscaling-ssim": ("upscaling.json", upscaling_ssim),
    "faces": ("faces.json", faces),
    "looks": ("faces.json", looks),
    "enlargements-look": ("looks.json", enlargements_look),
    "nearest": ("faces.json", nearest),
    "brightness": ("faces.json", brightness),
    "noise-levels": ("noise-levels.json", noise_levels),
    "spectra": ("spectra.json", spectra),
    "spectra-gray": ("spectra-gray.json", spectra),
    "restoration": ("restoration.json", restoration),
    "restoration-blind": ("restoration.json", restoration_blind),
    "coverage": ("calibration.json", coverage),
    "bounds": ("calibration.json", bounds),
    "coverage-free": ("calibration-photos-free.json", coverage),
    "bounds-gray": ("calibration-photos-gray.json", bounds),
    "checking": ("checking.json", checking),
    "variance": ("variance.json", variance),
    "places": ("places.json", places),
    "white-cost": ("white-cost.json", white_cost),
    "coverage-gray": ("calibration-photos-gray.json", coverage),
    "enlargements": ("calibration-upscaling.json", enlargements),
    "enlarged-faces": ("calibration-upscaling-faces.json", enlargements),
    "inverse": ("inverse.json", inverse),
    "reductions": ("reductions.json", reductions),
    "mosaics": ("raw.json", mosaics),
    "raw": ("raw.json", raw),
    "compressed": ("compressed.json", compressed),
    "set5": ("inverse.json", set5),
    "deepinv": ("inverse.json", beside_deepinv),
    "own-minutes": ("own-data.json", own_minutes),
    "own-noises": ("own-data.json", own_noises),
    "own-methods": ("own-data.json", own_methods),
    "own-microscope": ("own-data.json", own_microscope),
    "averaging": ("averaging.json", averaging),
    "jobs": ("jobs.json", jobs),
    "machines-processes": ("machines.json", processes),
    "machines-streaming": ("machines.json", streaming),
    "machines-memory": ("machines.json", memory),
    "machines-apart": ("machines.json", apart),
    "blocks-memory": ("blocks.json", blocks_memory),
    "blocks-model": ("blocks.json", blocks_model),
    "cluster-faults": ("cluster.json", cluster_faults),
    "cluster-folder": ("cluster.json", cluster_folder),
    "cluster-hashing": ("cluster.json", cluster_hashing),
    "tilers": ("tilers.json", tilers),
    "tilers-halos": ("tilers.json", tilers_halos),
    "textures": ("textures.json", textures),
    "gigapixel": ("gigapixel.json", gigapixel),
    "speed": ("speed.json", speed),
    "fuzzing": ("fuzzing.json", fuzzing),
}


def fill(text: str, results: Path = RESULTS) -> str:
    """Replace the tables of a Markdown text.

    Raises:
        KeyError: a marker names no table.
    """

    def table(match: re.Match[str]) -> str:
        file, make = TABLES[match[2]]
        content = read_json(results / file)
        return f"{match[1]}{make(content)}{match[3]}" if content else match[0]

    return MARK.sub(table, text)


def update(files: Iterable[Path], results: Path = RESULTS, check: bool = False) -> list[Path]:
    """Rewrite the tables of files, or only tell which would change."""
    changed = []
    for file in files:
        text = file.read_text(encoding="utf-8")
        filled = fill(text, results)
        if filled != text:
            changed.append(file)
            if not check:
                file.write_text(filled, encoding="utf-8")
    return changed


def _machine(content: dict[str, Any]) -> str:
    machine = content["machine"]
    return str(machine.get("gpu") or f"{machine['torch_threads']} cores, {machine['cpu']}")


def _first(found: dict[tuple[str, float], Any], kind: str) -> int:
    return [key[0] for key in found].index(kind)


def _best(values: Sequence[float | None], digits: int = 2) -> list[str]:
    """Numbers as words, the largest in bold."""
    words = [_number(value, digits) for value in values]
    top = max((word for word in words if word != "–"), key=float, default=None)
    return [f"**{word}**" if word == top else word for word in words]


def _sides(row: dict[str, Any]) -> str:
    return "{}×{}".format(*row["size"])


def _level(value: float) -> str:
    """A difference in gray levels; those that rounding makes count as such."""
    return "0" if value == 0 else f"{value:.0e}" if value < 0.001 else f"{value:.3g}"


def _number(value: float | None, digits: int = 2) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def main(arguments: list[str] | None = None) -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument(
        "files", type=Path, nargs="*", help="README.md and those of docs by default"
    )
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args(arguments)
    files = options.files or [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    changed = update(files, options.results, options.check)
    for file in changed:
        print(f"{file}: {'out of date' if options.check else 'rewritten'}")
    if options.check and changed:
        sys.exit(1)


if __name__ == "__main__":
    main()

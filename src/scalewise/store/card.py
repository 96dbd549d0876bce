"""The model card, and the summary that `scalewise info` prints."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from scalewise.files import flat
from scalewise.networks import Network, parameters_of, probe_receptive_field
from scalewise.prior import MultiScalePrior
from scalewise.store.config import ModelConfig, build, places


def card(config: ModelConfig) -> str:
    """Write the model card: Markdown with the front matter that the Hugging Face hub reads.

    Args:
        config: what the card tells; of `training`, the keys `data` and `recipe` get sections of
            their own.
    """
    training = dict(config.training)
    data = training.pop("data", None)
    recipe = training.pop("recipe", None)
    sections = {
        "Use": _use(config),
        "Networks": _networks(config),
        "Data": _facts(data, "Not recorded."),
        "Training": _facts({"recipe": recipe} | training if recipe else training, "Not recorded."),
        "Measured": _facts(config.scores, "Nothing was measured yet."),
        "Intended use": _INTENDED if config.draws else _DENOISING,
        "Limits": _limits(config),
    }
    body = "\n\n".join(f"## {title}\n\n{text}" for title, text in sections.items())
    head = f"{_front_matter(config)}\n\n# {_cell(config.name)}\n\n{config.description}".rstrip()
    return f"{head}\n\n{body}\n"


def summary(prior: MultiScalePrior, config: ModelConfig) -> dict[str, Any]:
    """Say what a model is, as plain JSON values; receptive fields are probed.

    Args:
        prior: the loaded model; it is not changed.
        config: its config.

    Returns:
        The facts of `config`, `parameters` in all, `size` of the images that it draws, how it finds
        a `noise_level`, and
        `networks`: for each scale its `kind`, `parameters`, and `receptive_field` as declared and
        as `probed`, in pixels of that scale (None: global).
    """
    networks = [
        row | {"probed": probe_receptive_field(network)}
        for row, network in zip(_rows(prior, config), _networks_of(prior), strict=True)
    ]
    facts = config.model_dump(mode="json", exclude={"low", "details"})
    size = None if prior.size is None else list(prior.size)
    return facts | {
        "size": size,
        "parameters": parameters_of(prior),
        "noise_level": noise_level(prior),
        "networks": networks,
    }


_INTENDED = (
    "Removing white Gaussian noise, super-resolution of images made by averaging blocks of pixels, "
    "and drawing images, for research. What a sample shows beyond its input is plausible, not "
    "measured: do not use it as evidence, to identify people, or for diagnosis."
)


_DENOISING = (
    "Removing noise, for research. What was removed may have been more than noise: do not use the "
    "result as evidence, or for diagnosis, without the image as it was."
)


def _front_matter(config: ModelConfig) -> str:
    plain = re.fullmatch(r"[a-z0-9][a-z0-9.-]*", config.license) is not None
    fields: dict[str, Any] = {
        "library_name": "scalewise",
        "license": config.license if plain else "other",
        **({} if plain else {"license_name": config.license}),
        "pipeline_tag": "image-to-image",
        "tags": ["scalewise", "denoising", "super-resolution", "image-generation", "wavelets"],
    }
    lines = [f"{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in fields.items()]
    return "\n".join(["---", *lines, "---"])


def _use(config: ModelConfig) -> str:
    lines = [
        "```python",
        "import scalewise",
        "",
        'prior = scalewise.load("path/to/this/folder")',
        f"clean = prior.denoise(noisy)  # (N, {config.channels}, H, W), intensities in [0, 1]",
    ]
    if config.levels and config.draws:
        lines.append("sharp = prior.upscale(small, factor=2, samples=4, seed=0)")
    if config.draws:
        lines.append("new = prior.sample(4, seed=0)")
    if config.draws and build(config).stationary:
        lines.append("tile = prior.sample(1, size=(512, 768), periodic=True)  # without a seam")
    text = "\n".join([*lines, "```"])
    if config.gray is None:
        return text
    return f"{text}\n\nGray pictures are denoised by `{config.gray}`."


def _networks(config: ModelConfig) -> str:
    prior = build(config)
    rows = [
        (
            str(row["scale"]),
            str(row["kind"]),
            "global"
            if row["receptive_field"] is None
            else "{0}×{0}".format(row["receptive_field"]),
            f"{row['parameters']:,}",
        )
        for row in _rows(prior, config)
    ]
    wavelet = f"{config.levels} wavelet levels ({config.wavelet})" if config.levels else "No levels"
    return (
        f"{wavelet}, {config.channels} channels ({config.color_space}), "
        f"{parameters_of(prior):,} parameters. Receptive fields in pixels of their own scale:\n\n"
        + _table(("scale", "network", "receptive field", "parameters"), rows)
        + f"\n\nNoise that is not told: {noise_level(prior)}."
    )


def noise_level(prior: MultiScalePrior) -> str:
    """How a prior finds noise that is not told."""
    if not prior.noise_conditional:
        return "not needed"
    if prior.estimator is None:
        return "a statistic of patches"
    return f"a learned estimator, {parameters_of(prior.estimator):,} parameters"


def _limits(config: ModelConfig) -> str:
    color = {"gray": "grayscale images", "sRGB": "sRGB images"}.get(
        config.color_space, f"images of {config.channels} channels"
    )
    if config.noise_floor:
        learnt = f"{255 * config.noise_floor:.3g} of 255 and more"
        return (
            f"- Knows {color} with intensities in [0, 1], from noisy images alone: it denoises "
            f"noise of {learnt}, and draws, enlarges and fills nothing.\n"
            "- The licence of the training data binds whoever uses the weights."
        )
    if config.denoises_only:
        return (
            f"- Knows {color} with intensities in [0, 1]; images unlike its training data are "
            "restored less well.\n"
            "- Learnt to remove noise alone: it draws, enlarges and fills nothing.\n"
            f"- Trained for {_noise(config)}.\n"
            "- The licence of the training data binds whoever uses the weights."
        )
    reach = f"up to ×{1 << config.levels}" if config.levels else "not possible: it has no levels"
    return (
        f"- Knows {color} with intensities in [0, 1]; images unlike its training data are restored "
        "less well, and samples show the biases of that data.\n"
        f"- Super-resolution: {reach}.\n"
        f"- Trained for {_noise(config)}.\n"
        "- The licence of the training data binds whoever uses the weights."
    )


def _noise(config: ModelConfig) -> str:
    if build(config).noise_maps:
        return (
            "white Gaussian noise, and for that of cameras: of photons, interpolated, blurred, "
            "compressed"
        )
    return "white Gaussian noise; other noise, blur and compression are not modelled"


def _networks_of(prior: MultiScalePrior) -> list[Network]:
    return [network for network in (prior.low, *prior.details) if isinstance(network, Network)]


def _rows(prior: MultiScalePrior, config: ModelConfig) -> list[dict[str, Any]]:
    """What is known of each scale's network without running it."""
    kinds = [part.kind for part in (config.low, *config.details)]
    return [
        {
            "scale": scale,
            "kind": kind,
            "parameters": parameters_of(network),
            "receptive_field": network.receptive_field,
        }
        for scale, kind, network in zip(places(config), kinds, _networks_of(prior), strict=True)
    ]


def _facts(value: Any, otherwise: str) -> str:
    """Free JSON as a table of two columns, nested keys joined by slashes."""
    if isinstance(value, str):
        return value
    rows = [(" / ".join(path), shown) for path, shown in flat(value)]
    return _table(("what", "value"), rows) if rows else otherwise


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(map(_cell, line))} |" for line in lines)


def _cell(text: str) -> str:
    """Text that cannot break a line or a table."""
    return " ".join(text.split()).replace("|", "\\|")

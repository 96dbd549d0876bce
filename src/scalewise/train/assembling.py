"""One model from levels that were trained apart, each on its own machine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scalewise import store
from scalewise.errors import ScalewiseError, UsageError
from scalewise.networks import NoiseEstimator
from scalewise.prior import MultiScalePrior
from scalewise.store.config import NETWORKS
from scalewise.training import Recipe
from scalewise.training.files import load_state
from scalewise.training.recipe import scale_name
from scalewise.training.run import ESTIMATOR, recipe_of, saved_run, stored_estimator

OF_EACH = (
    "only_level", "minutes", "steps", "seed", "precision", "level_weights", "estimator_fraction",
)  # fmt: skip
"""Choices of a recipe in which levels that were trained apart may differ."""


@dataclass(frozen=True)
class Part:
    """A level that was trained alone.

    Attributes:
        folder: of its training.
        recipe: of its run.
        level: its level; `levels + 1` is the low-pass image.
        run: the state of its run.
        trained: the state of its level.
    """

    folder: Path
    recipe: Recipe
    level: int
    run: dict[str, Any]
    trained: dict[str, Any]

    @classmethod
    def read(cls, folder: Path) -> Part:
        """Read what a training of a single level left.

        Raises:
            ScalewiseError: it is none, it has not ended, or it is damaged.
        """
        state = folder / store.TRAINING
        if not (state / "run.pt").exists():
            raise ScalewiseError(
                f"{folder}: holds no training; give the folders that scalewise train --only-level "
                "wrote, and the model's last"
            )
        run = saved_run(state)
        recipe = recipe_of(run, state)
        if recipe.only_level is None:
            raise UsageError(
                f"{folder}: all its levels were trained together; leave it out, it is a model"
            )
        (level,) = recipe.trained
        name = scale_name(level, recipe.levels)
        if not run.get("finished"):
            raise ScalewiseError(
                f"{folder}: the training of {name} has not ended; go on with scalewise train "
                f"--out {folder} --resume"
            )
        return cls(folder, recipe, level, run, load_state(state / f"level-{level}.pt"))

    @property
    def facts(self) -> dict[str, Any]:
        """What all parts of a model have in common, by what it is called."""
        data, options = self.run["data"], self.run["options"]
        common = self.recipe.model_dump(mode="json", exclude=set(OF_EACH))
        common |= {"set of images": f"{data.get('name')} ({data.get('images')})"}
        common |= {name: options.get(name) for name in ("noisy", "noise", "photons")}
        channels = self.trained.get("settings", {}).get("channels")
        return common | {"channels": channels, "sigma": self.run.get("noise_floor")}

    def network(self) -> Any:
        """The network with its best weights.

        Raises:
            ScalewiseError: the state is damaged.
        """
        made = {network.__name__: network for network in NETWORKS.values()}
        try:
            network = made[self.trained["kind"]](**self.trained["settings"])
            network.load_state_dict(self.trained["best"])
        except (KeyError, TypeError, ValueError, RuntimeError, AttributeError) as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise ScalewiseError(
                f"{self.folder}: its training state is damaged ({reason}); copy or train it again"
            ) from error
        return network

    def estimator(self) -> NoiseEstimator | None:
        """The estimator of noise that was trained beside the low-pass image, if there is one."""
        path, settings = self.folder / store.TRAINING / ESTIMATOR, self.run.get("estimator")
        if settings is None or not path.exists():
            return None
        return stored_estimator(load_state(path), settings, path)


def assemble(
    parts: Sequence[str | Path], out: str | Path, *, half: bool | None = None, force: bool = False
) -> dict[str, Any]:
    """Join levels that were trained apart to one model folder.

    Args:
        parts: folders that `train_model` with `only_level` wrote, of each level one, in any order.
        out: the model folder; its parent must exist.
        half: store weights in 16 bits; by default as the part of the low-pass image was asked.
        force: overwrite a model that is there.

    Returns:
        `model` and the `training` record.

    Raises:
        UsageError: levels are missing or there twice, or parts do not belong together.
        ScalewiseError: a part has not ended or is damaged, or the folder cannot be written.

    Examples:
        >>> import tempfile
        >>> import numpy as np
        >>> images = np.random.default_rng(0).random((24, 64, 64), "float32")
        >>> small = {"levels": 1, "steps": 2, "low_local": True, "width": 8, "blocks": 1}
        >>> with tempfile.TemporaryDirectory() as at:
        ...     np.save(f"{at}/images.npy", images)
        ...     for level in (1, "low"):
        ...         _ = scalewise.train.train_model(
        ...             f"{at}/images.npy", f"{at}/{level}", only_level=level, receptive_field=7,
        ...             estimator_fraction=0.0, **small,
        ...         )
        ...     record = scalewise.train.assemble([f"{at}/1", f"{at}/low"], f"{at}/model")
        >>> sorted(record["training"]["levels"])
        ['1', 'low']
    """
    store.check_folder(out, force)
    read = [Part.read(Path(folder)) for folder in parts]
    _check_together(read)
    by_level = {part.level: part for part in read}
    low = by_level[low_level := max(by_level)]
    details = [by_level[level].network() for level in range(1, low_level)]
    prior = MultiScalePrior(
        low.network(),
        details,
        low.recipe.wavelet,
        low.estimator(),
        noise_floor=float(low.run.get("noise_floor", 0.0)),
        denoises_only=low.recipe.denoises_only,
    ).eval()
    record, options = _record(by_level), low.run.get("options", {})
    half = options.get("half", False) if half is None else half
    record["data"]["license"] = options.get("data_license", "not stated")
    store.save(
        prior,
        out,
        description=options.get("description", ""),
        training=record,
        license=options.get("license", "other"),
        dtype="float16" if half else "float32",
        force=force,
    )
    return {"model": str(out), "training": record}


def _record(by_level: dict[int, Part]) -> dict[str, Any]:
    """What to store beside the weights: that of all runs."""
    finished = {level: part.run["finished"] for level, part in sorted(by_level.items())}
    record: dict[str, Any] = dict(finished[max(finished)])
    recipe = {name: value for name, value in record["recipe"].items() if name != "only_level"}
    levels = {key: value for each in finished.values() for key, value in each["levels"].items()}
    return record | {"recipe": recipe, "levels": levels, "data": dict(record["data"])}


def _check_together(parts: list[Part]) -> None:
    """Refuse parts that do not make one model."""
    first, seen = parts[0], dict[int, Part]()
    for part in parts:
        for name, ours in first.facts.items():
            found = part.facts.get(name)
            if found != ours:
                raise UsageError(
                    f"{part.folder} was trained with another {name} than {first.folder}: {found}, "
                    f"not {ours}; levels of one model have the same"
                )
        if part.level in seen:
            raise UsageError(
                f"{scale_name(part.level, part.recipe.levels)} is there twice, in "
                f"{seen[part.level].folder} and {part.folder}; leave one out"
            )
        seen[part.level] = part
    levels = first.recipe.levels
    missing = [scale_name(k, levels) for k in range(1, levels + 2) if k not in seen]
    if missing:
        raise UsageError(
            f"of {levels} levels and the low-pass image, {', '.join(missing)} "
            f"{'is' if len(missing) == 1 else 'are'} missing; train each with --only-level"
        )

"""What a run is asked for: its recipe, the model that it starts with, and what goes on the card."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from scalewise.errors import UsageError
from scalewise.prior import MultiScalePrior
from scalewise.store import load
from scalewise.training import Recipe, saved_options, saved_recipe
from scalewise.training.recipe import OF_NETWORKS


def chosen_recipe(
    name: str | Path | dict[str, Any] | None, given: dict[str, Any], state: Path | None
) -> Recipe:
    """The recipe of a run: what is given on top of the named one, or of the one to resume."""
    fields = (
        dict(name) if isinstance(name, dict) else {} if name is None else _named_recipe(str(name))
    )
    if state is not None:
        fields = saved_recipe(state) | fields
    given = {key: value for key, value in given.items() if value is not None}
    for one, other in (("minutes", "steps"), ("steps", "minutes")):
        if one in given and other not in given:
            fields.pop(other, None)
    try:
        return Recipe(**(fields | given))
    except ValidationError as error:
        first = error.errors()[0]
        where = " ".join(str(part) for part in (*first["loc"][:1], *_indices(first["loc"])))
        if isinstance(name, str | Path) and first["loc"] and first["loc"][0] not in given:
            where = f"recipe {name}: {where}"
        message = first["msg"].removeprefix("Value error, ")
        found = f"{where}: {message}, found {first['input']!r:.60}" if where else message
        raise UsageError(found) from error


def _indices(place: tuple[int | str, ...]) -> list[int | str]:
    """Of the place of an error, what follows the field and is no name of a type."""
    return [part for part in place[1:] if isinstance(part, int) or part.isdigit()]


def started(recipe: Recipe, given: dict[str, Any]) -> tuple[Recipe, MultiScalePrior | None]:
    """The model that a recipe starts from, and the recipe with its levels and wavelet."""
    if recipe.start is None:
        return recipe, None
    fixed = [key for key in OF_NETWORKS if key in recipe.unsaid and given.get(key) is not None]
    if fixed:
        raise UsageError(
            f"{', '.join(fixed)} cannot be chosen with start: the networks are those of the model "
            f"{recipe.start}; leave one or the other out"
        )
    first = load(recipe.start, device="cpu")
    scales = {"levels": first.levels, "wavelet": first.wavelet}
    free = {key: value for key, value in scales.items() if given.get(key) is None}
    return recipe.model_copy(update=free), first


def _named_recipe(name: str) -> dict[str, Any]:
    """Fields of a packaged recipe or of a JSON file."""
    packaged = Path(__file__).parents[1] / "recipes"
    path = packaged / f"{name}.json"
    if not path.is_file():
        path = Path(name)
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        known = ", ".join(sorted(file.stem for file in packaged.glob("*.json")))
        raise UsageError(f"no recipe {name!r}; give a JSON file or one of {known}") from error
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(f"recipe {path} cannot be read as JSON: {error}") from error
    if not isinstance(fields, dict):
        raise UsageError(f"recipe {path} must hold one JSON object of named choices")
    return fields


def chosen_options(state: Path | None, **given: Any) -> dict[str, Any]:
    """What is asked for beside the recipe; of a run to resume, what it was asked for at first."""
    options = {
        "channels": None,
        "validation": None,
        "half": False,
        "license": "other",
        "description": "",
        "data_license": "not stated",
        "noisy": False,
        "noise": None,
        "photons": None,
        "stream": False,
        "memory": None,
    }
    before = {} if state is None else saved_options(state)
    typed = {name: value for name, value in given.items() if value is not None}
    return options | before | typed

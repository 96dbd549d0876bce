"""Defaults of options, from one TOML file; what is typed on the command line wins.

The file is the one that `SCALEWISE_CONFIG` names; else `scalewise.toml` in the working directory or
the nearest folder above it; else `~/.config/scalewise/config.toml`. One file is read, never two.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Iterator
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, NoReturn, get_args, get_origin, get_type_hints

import typer

from scalewise.cli.program import WORDS
from scalewise.errors import UsageError

NAME = "scalewise.toml"
VARIABLE = "SCALEWISE_CONFIG"

TYPED_EACH_TIME = ("force", "resume", "skip-existing")
"""Options that a file may not set: what they do to files that exist is asked for each time."""


def find() -> Path | None:
    """The file of defaults; None if there is none, or if the variable that names it is empty.

    Raises:
        UsageError: the variable names no file.
    """
    named = os.environ.get(VARIABLE)
    if named is not None:
        if named and not Path(named).is_file():
            raise UsageError(f"{VARIABLE} names {named}, which is no file; mend or unset it")
        return Path(named) if named else None
    try:
        here = Path.cwd()
    except OSError:  # the working directory was removed
        return None
    home = os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")
    places = [*(folder / NAME for folder in (here, *here.parents))]
    places.append(Path(home) / "scalewise" / "config.toml")
    return next((place for place in places if os.path.isfile(place)), None)


def load(root: Any) -> dict[str, Any]:
    """What the file says, as Click's `default_map` of the program.

    Args:
        root: context of the program.

    Raises:
        UsageError: it cannot be read, or has a table, key or value that no command takes.
    """
    file = find()
    return {} if file is None else _tables(file, _read(file), root.command, root, ())


def told(root: Any) -> tuple[dict[str, Any], str | None]:
    """Which file is used and what it sets, and what is wrong with it."""
    try:
        file = find()
        values = {} if file is None else dict(_flat(load(root)))
    except UsageError as error:
        return {"file": None, "values": {}}, str(error)
    return {"file": None if file is None else str(file), "values": values}, None


def _flat(tables: dict[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in tables.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{before}{name}.")
        else:
            yield f"{before}{name}", str(value) if isinstance(value, Path) else value


def _read(file: Path) -> dict[str, Any]:
    import tomllib

    try:
        with file.open("rb") as stream:
            return tomllib.load(stream)
    except OSError as error:
        raise UsageError(f"{file}: cannot be read: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{file}: is not TOML: {error or 'too deep'}; mend the file") from error


def _tables(
    file: Path, found: dict[str, Any], group: Any, context: Any, path: tuple[str, ...]
) -> dict[str, Any]:
    """The defaults of a group: a table for each of its commands."""
    commands = group.commands
    result = {}
    for name, value in found.items():
        place = ".".join((*path, name))
        if name not in commands:
            known = ", ".join(commands)
            _refuse(file, f"[{place}] is no command; known are {known}")
        if not isinstance(value, dict):
            _refuse(file, f"{place} is {_kind(value)}; expected a table [{place}]")
        command = commands[name]
        inner = type(context)(command, info_name=name, parent=context)
        read = _tables if hasattr(command, "commands") else _options
        result[name] = read(file, value, command, inner, (*path, name))
    return result


def _options(
    file: Path, found: dict[str, Any], command: Any, context: Any, path: tuple[str, ...]
) -> dict[str, Any]:
    """The defaults of a command."""
    known = {option: parameter for parameter in command.params for option in _names(parameter)}
    result = {}
    for name, value in found.items():
        place = f"{name} of [{'.'.join(path)}]"
        if name in TYPED_EACH_TIME and name in known:
            _refuse(file, f"{place} cannot be a default: give --{name} each time; remove the line")
        if name not in known:
            settable = sorted(set(known) - set(TYPED_EACH_TIME))
            _refuse(file, f"{place} is no option; known are {', '.join(settable) or 'none'}")
        parameter = known[name]
        kind = _type(command, parameter.name)
        if kind is str and _is_number(value) and "NUMBER" in (parameter.metavar or ""):
            value = str(value)
        _check_type(file, place, kind, value, parameter.name in WORDS)
        value = _from_folder(file.parent, parameter.name, kind, value)
        try:
            parameter.process_value(context, value)
        except typer.BadParameter as error:
            reason = error.message.removeprefix("Value error, ").rstrip(".")
            _refuse(file, f"{place} is {value!r}: {reason}")
        result[parameter.name] = value
    return result


def _names(parameter: Any) -> Iterator[str]:
    """The long names of an option, without dashes; none of an argument."""
    if parameter.param_type_name == "option" and not parameter.is_eager:
        yield from (option[2:] for option in parameter.opts if option.startswith("--"))


def _type(command: Any, name: str) -> Any:
    """What the function behind a command takes for an option, where that is not None."""
    hint = get_type_hints(inspect.unwrap(command.callback))[name]
    kinds = [kind for kind in get_args(hint) if kind is not NoneType]
    return kinds[0] if isinstance(hint, UnionType) and len(kinds) == 1 else hint


def _check_type(file: Path, place: str, kind: Any, value: Any, empty: bool) -> None:
    """Refuse a value of another type than the option's."""
    if kind is bool:
        good, wanted = isinstance(value, bool), "true or false"
    elif get_origin(kind) is list:
        entries = value if isinstance(value, list) else [None]
        good, wanted = all(map(_is_number, entries)), "a list of numbers"
    elif kind is int:
        good, wanted = isinstance(value, int) and not isinstance(value, bool), "a whole number"
    elif kind is float:
        good, wanted = _is_number(value), "a number"
    else:
        good, wanted = isinstance(value, str), "text"
        if value == "" and not empty:
            good, wanted = False, "text that is not empty"
    if not good:
        _refuse(file, f"{place} is {_kind(value)}; expected {wanted}")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _from_folder(folder: Path, name: str, kind: Any, value: Any) -> Any:
    """A relative path is seen from the file's folder; so is a model's, if one lies there."""
    is_model = name == "model" and (folder / str(value) / "config.json").is_file()
    return str(folder / value) if kind is Path or is_model else value


def _kind(value: Any) -> str:
    kinds = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}
    return {dict: "a table", list: "a list", **kinds}.get(type(value), "a date or time")


def _refuse(file: Path, problem: str) -> NoReturn:
    raise UsageError(f"{file}: {problem}")

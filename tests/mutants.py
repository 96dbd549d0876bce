"""Put one fault after another into the heart, and count the faults that the tests notice.

    python -m tests.mutants findings.jsonl [--module prior] [--share 0.5]

Each mutant has one operator, comparison, number, condition or flag of a module changed. The quick
tests of that module run on it, each mutant in a process of its own; what survives is printed with
its line, to be judged: a test is missing, or the change changes no behaviour. A file of findings
that is there is gone on with.
"""

from __future__ import annotations

import argparse
import ast
import copy
import importlib.abc
import importlib.machinery
import json
import os
import random
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src" / "scalewise"

TESTS = {
    "wavelets": ("wavelets", "equations", "prior"),
    "score": ("score", "samplers", "prior"),
    "networks/base": ("equations", "networks", "noise_levels", "prior", "checks"),
    "networks/local": ("equations", "networks", "strips", "noise_levels"),
    "networks/unet": ("equations", "networks", "noise_levels"),
    "networks/bias_free": ("strips", "networks", "published"),
    "networks/convolution": ("networks",),
    "samplers": ("samplers", "prior"),
    "noise": ("noise", "noise_levels", "prior"),
    "estimation": ("estimation",),
    "likelihood": ("likelihood",),
    "scales": ("prior", "checks", "stationary", "noise_levels", "likelihood"),
    "prior": ("prior", "checks", "noise_levels", "likelihood"),
}
"""The modules of the heart, and the tests that may notice, those of the module first."""

SECONDS = 150
"""A mutant that takes longer than this is noticed: it hangs."""

SWAPS: dict[type[ast.AST], type[ast.AST]] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult, ast.Mod: ast.Mult, ast.Pow: ast.Mult, ast.LShift: ast.RShift,
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq, ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.And: ast.Or, ast.Or: ast.And,
    ast.In: ast.NotIn, ast.NotIn: ast.In, ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd,
}  # fmt: skip


def changed(node: ast.AST) -> Iterator[ast.AST]:
    """The node with one change, in each way that there is."""
    if isinstance(node, ast.BinOp | ast.AugAssign | ast.BoolOp) and type(node.op) in SWAPS:
        swapped: Any = copy.copy(node)
        swapped.op = SWAPS[type(node.op)]()
        yield swapped
    if isinstance(node, ast.Compare) and type(node.ops[0]) in SWAPS:
        turned: Any = copy.copy(node)
        turned.ops = [SWAPS[type(node.ops[0])](), *node.ops[1:]]
        yield turned
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.Not | ast.Invert):
        yield node.operand
    if isinstance(node, ast.IfExp):
        yield ast.IfExp(node.test, node.orelse, node.body)
    if isinstance(node, ast.If):
        yield ast.If(ast.UnaryOp(ast.Not(), node.test), node.body, node.orelse)
    if isinstance(node, ast.Constant) and isinstance(node.value, bool):
        yield ast.Constant(not node.value)
    elif isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        value = node.value
        yield ast.Constant(value + 1 if isinstance(value, int) else 1.5 * value or 1.0)


def places(
    tree: ast.Module, skipped: tuple[str, ...]
) -> Iterator[tuple[ast.AST, str, int | None, ast.AST]]:
    """Every (parent, field, index, node) that computes: no annotation, message or word."""

    def walk(parent: ast.AST) -> Iterator[tuple[ast.AST, str, int | None, ast.AST]]:
        for name, value in ast.iter_fields(parent):
            if name in ("annotation", "returns", "decorator_list", *skipped):
                continue
            for index, child in enumerate(value) if isinstance(value, list) else [(None, value)]:
                if not isinstance(child, ast.AST) or isinstance(child, ast.Raise | ast.JoinedStr):
                    continue
                yield parent, name, index, child
                yield from walk(child)

    yield from walk(tree)


def mutants(name: str) -> Iterator[tuple[str, int, str]]:
    """Each mutant of a module: its source, the line, and what became of it."""
    text = (SOURCE / f"{name}.py").read_text(encoding="utf-8")
    tree = ast.parse(text)
    # recipes and model folders give every argument of a network: its defaults are choices
    skipped = ("defaults", "kw_defaults") if name.startswith("networks/") else ()
    for parent, field, index, node in list(places(tree, skipped)):
        for new in changed(node):
            ast.copy_location(new, node)
            found = getattr(parent, field)
            if index is None:
                setattr(parent, field, new)
            else:
                found[index] = new
            ast.fix_missing_locations(tree)
            line = getattr(node, "lineno", 0)
            yield ast.unparse(tree), line, f"{ast.unparse(node)[:60]} -> {ast.unparse(new)[:60]}"
            if index is None:
                setattr(parent, field, node)
            else:
                found[index] = node


class Mutated(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Imports one module from other source than its file's."""

    def __init__(self, name: str, source: str) -> None:
        self.name, self.source = "scalewise." + name.replace("/", "."), source

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Say that this one imports the module."""
        if fullname != self.name:
            return None
        return importlib.machinery.ModuleSpec(fullname, self, origin=fullname)

    def exec_module(self, module: ModuleType) -> None:
        """Run the mutant."""
        exec(compile(self.source, self.name, "exec"), module.__dict__)


def noticed(name: str, source: str) -> bool:
    """Run the tests of a module on a mutant, in a process of its own."""
    child = os.fork()
    if child == 0:
        os.setsid()
        quiet = os.open(os.devnull, os.O_WRONLY)
        os.dup2(quiet, 1)
        os.dup2(quiet, 2)
        sys.meta_path.insert(0, Mutated(name, source))
        import pytest

        files = [str(ROOT / "tests" / f"test_{each}.py") for each in TESTS[name]]
        options = ["-x", "-q", "--no-cov", "-m", "not slow and not gpu", "-p", "no:cacheprovider"]
        os._exit(int(pytest.main([*files, *options])))
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        found, status = os.waitpid(child, os.WNOHANG)
        if found:
            return status != 0
        time.sleep(0.05)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return True


def say(text: str) -> None:
    """Print a line at once."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def main(arguments: list[str] | None = None) -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("findings", type=Path)
    parser.add_argument("--module", choices=TESTS, action="append")
    parser.add_argument("--share", type=float, default=1.0, help="of the mutants, drawn at random")
    options = parser.parse_args(arguments)
    os.chdir(ROOT)
    import torch

    torch.set_num_threads(1)  # a fork of more threads would wait for them
    done: dict[tuple[Any, ...], dict[str, Any]] = {}
    if options.findings.exists():
        lines = options.findings.read_text(encoding="utf-8").splitlines()
        done = {
            (r["module"], r["line"], r["change"], r["number"]): r for r in map(json.loads, lines)
        }
    for name in options.module or TESTS:
        if noticed(name, (SOURCE / f"{name}.py").read_text(encoding="utf-8")):
            raise SystemExit(f"{name}: its tests fail without any change; mend them first")
        for number, (source, place, change) in enumerate(mutants(name)):
            key = (name, place, change, number)
            if key in done or random.Random(f"{key}").random() >= options.share:
                continue
            record = {"module": name, "line": place, "change": change, "number": number}
            record["noticed"] = noticed(name, source)
            done[key] = record
            with options.findings.open("a", encoding="utf-8") as file:
                file.write(json.dumps(record) + "\n")
            if not record["noticed"]:
                say(f"survives: {name}.py:{place}: {change}")
        of = [record["noticed"] for record in done.values() if record["module"] == name]
        say(f"{name}: {sum(of)} of {len(of)} noticed")


if __name__ == "__main__":
    main()

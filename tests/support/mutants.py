"""Small changes to a package that its tests should notice: `python -m tests.support.mutants PACKAGE TESTS [PLACE …]`.

Each mutant is one comparison, condition, boolean or returned value turned, in a copy of the repository. The fast tests
look at it first, the slow ones at what those let through; what no test notices is listed. It is a script to look with,
not a gate: some mutants mean the same as what they came from. A place is a module, `checks`, or a line of it,
`checks:86`, as the list has it.
"""

from __future__ import annotations

import ast
import importlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from tests.support.paths import ROOT

TURNED: dict[type[ast.AST], type[Any]] = {
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.And: ast.Or,
    ast.Or: ast.And,
}
IMPORTED_BEFORE = ("pytest", "grpc", "google.protobuf.text_format", "numpy", "requests", "click")
TIERS = ("not slow and not exhaustive", "slow and not exhaustive")  # in the order in which they look
MOST_S = 1800  # for a tier's tests of the unchanged package
TIMES, MORE_S = 4, 60  # what they may take with a mutant, measured by that: then they are taken to hang


def mutants(source: str) -> Iterator[tuple[int, str]]:
    """Yield the line of each change and the module with it."""
    tree = ast.parse(source)
    decorators = {
        id(node) for owner in ast.walk(tree) for top in getattr(owner, "decorator_list", ()) for node in ast.walk(top)
    }
    for node in ast.walk(tree):
        if id(node) in decorators:
            continue
        for attribute, value in changes(node):
            before = getattr(node, attribute)
            setattr(node, attribute, value)
            yield getattr(node, "lineno", 0), ast.unparse(ast.fix_missing_locations(tree))
            setattr(node, attribute, before)


def changes(node: ast.AST) -> Iterator[tuple[str, Any]]:
    """Yield what may be changed of a node: the attribute and its new value."""
    if isinstance(node, ast.Compare):
        for place, operator in enumerate(node.ops):
            yield "ops", [*node.ops[:place], TURNED[type(operator)](), *node.ops[place + 1 :]]
    elif isinstance(node, ast.BoolOp):
        yield "op", TURNED[type(node.op)]()
    elif isinstance(node, ast.Constant) and isinstance(node.value, bool):
        yield "value", not node.value
    elif isinstance(node, ast.Return) and node.value and not isinstance(node.value, ast.Constant):
        yield "value", ast.Constant(None)
    elif isinstance(node, ast.If | ast.IfExp | ast.While) and ast.unparse(node.test) != "TYPE_CHECKING":
        yield "test", ast.UnaryOp(ast.Not(), node.test)


def ends_well(folder: Path, tests: str, tier: str, most_s: int) -> bool:
    """Return whether a tier's tests pass, in time, in a copy of the repository; what they say is in its `said`."""
    child = os.fork()
    if child == 0:
        with suppress(BaseException):
            os.setsid()
            signal.alarm(most_s)
            os.chdir(folder)
            os.dup2(os.open("said", os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 1)
            os.dup2(1, 2)
            sys.path[:] = [str(folder), *(path for path in sys.path if path and Path(path).resolve() != ROOT)]
            for name in [name for name in sys.modules if name.partition(".")[0] == "tests"]:
                del sys.modules[name]
            import pytest

            os._exit(pytest.main(["-x", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "-m", tier, tests]))
        os._exit(1)
    _, status = os.waitpid(child, 0)
    with suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)  # servers that a killed test left behind
    return status == 0


def main(package: str, tests: str, *places: str) -> None:
    for name in IMPORTED_BEFORE:
        importlib.import_module(name)
    sys.dont_write_bytecode = True  # two mutants written in one second would share it
    os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "repository"
        listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True)
        for name in listed.stdout.splitlines():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
        limits = {tier: limit(folder, tests, tier) for tier in TIERS}
        for path in sorted((folder / package).rglob("*.py")):
            examine(folder, path, places, tests, limits)


def limit(folder: Path, tests: str, tier: str) -> int:
    """Return how many seconds a tier's tests may take with a mutant. They have to pass without."""
    started = time.monotonic()
    if not ends_well(folder, tests, tier, MOST_S):
        sys.exit(f"{(folder / 'said').read_text()}\nthe tests that are {tier} fail without any change")
    taken_s = time.monotonic() - started
    print(f"the tests that are {tier} take {taken_s:.0f} s", flush=True)
    return round(TIMES * taken_s) + MORE_S


def examine(folder: Path, path: Path, places: Sequence[str], tests: str, limits: Mapping[str, int]) -> None:
    """Print which mutants of a module no test notices, and how many there are."""
    source = path.read_text(encoding="utf-8")
    name, total, missed = path.relative_to(folder), 0, 0
    for line, text in mutants(source):
        if places and path.stem not in places and f"{path.stem}:{line}" not in places:
            continue
        path.write_text(text, encoding="utf-8")
        total += 1
        if all(ends_well(folder, tests, tier, most_s) for tier, most_s in limits.items()):
            missed += 1
            print(f"missed  {name}:{line}: {' -> '.join(changed_line(source, text))}", flush=True)
    path.write_text(source, encoding="utf-8")
    if total:
        print(f"{name}: {total - missed} of {total} mutants were noticed", flush=True)


def changed_line(source: str, mutant: str) -> tuple[str, str]:
    """Return the first line that differs, before and after, both as `ast` writes them."""
    before, after = ast.unparse(ast.parse(source)).splitlines(), mutant.splitlines()
    return next((was.strip(), now.strip()) for was, now in zip(before, after, strict=False) if was != now)


if __name__ == "__main__":
    main(*sys.argv[1:])

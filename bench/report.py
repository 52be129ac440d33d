"""What every bench shares: options, Markdown tables, and its end: numbers as JSON, exit code 1 for a missed bar."""

from __future__ import annotations

import argparse
import json
import signal
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from common.errors import VouchError
from common.files import write_text

ROOT = Path(__file__).resolve().parent.parent


class RunFailed(VouchError):
    """A measured process did not end well, so there is nothing to compare."""


def parser(bench: str, doc: str | None) -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(prog=f"python -m bench.{bench}", description=(doc or "").split("\n")[0])
    options.add_argument("--out", type=Path, help="write the numbers as JSON")
    return options


def positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"should be at least 1, got {number}")
    return number


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def table(titles: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [titles, ["---"] * len(titles), *rows]
    return "\n".join(f"| {' | '.join(map(str, cells))} |" for cells in lines)


def verdict(is_kept: bool) -> str:
    return "kept" if is_kept else "**missed**"


def finish(tables: str, numbers: Mapping[str, Any], out: Path | None, *, passed: bool) -> None:
    print(tables)
    if out:
        write_text(out, json.dumps(numbers, indent=2) + "\n")
    sys.exit(0 if passed else 1)


def start(main: Callable[[], None]) -> None:
    """Run a bench; SIGTERM leaves by way of every `finally`, so that nothing is left running."""
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    try:
        main()
    except VouchError as error:
        sys.exit(f"error: {error}")

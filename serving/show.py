"""What `python -m serving` prints: tables for people, JSON for programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table

from common.errors import DataError
from common.files import disk_problems, replaced
from serving.client.row_files import Chunk, resolve
from serving.client.types import ModelClient, TensorInfo, VersionSpec
from serving.release.commands import differences
from serving.release.servers import ReleaseContext
from serving.release.state import Store, routing
from serving.repository.layout import model_folder, models

if TYPE_CHECKING:
    from serving.launch.launcher import Running

MOST_BAD_ROWS = 20  # are told one by one


def show_running(running: Running, as_json: bool) -> None:
    """Print where the server is, and where each of its models."""
    if as_json:
        models = {model: {**asdict(state), **running.urls(model)} for model, state in running.models.items()}
        server = {"server": running.program.name, **asdict(running.addresses), "process": running.process.pid}
        click.echo(json.dumps({**server, "models": models}, indent=2))
        return
    for model, state in running.models.items():
        click.secho(f"{model}: version {state.stable} is stable", bold=True)
        for name, url in running.urls(model).items():
            click.echo(f"  {name:<9}{url}")
    click.echo(f"  {'grpc':<9}{running.addresses.grpc}")


def show_status(client: ModelClient, context: ReleaseContext, model: str | None, as_json: bool) -> bool:
    """Print each version's state on the server, with its labels, and how each server differs from what is released.

    Returns whether none does.
    """
    root = context.root
    names = [model] if model else models(root)
    if not names:
        raise DataError(f"no model was pushed to {root} yet", fix="name one that the server has, or make demo")
    statuses = [{**_status(client, root, name), "servers": differences(context, name)} for name in names]
    is_in_step = not any(difference for status in statuses for difference in status["servers"].values())
    if as_json:
        click.echo(json.dumps(statuses, indent=2))
        return is_in_step
    table = _table("model", "version", "state", "labels", "share", "error")
    for status in statuses:
        for version in status["versions"]:
            share = f"{version['share_percent']:g}%" if version["labels"] else ""
            table.add_row(
                status["model"],
                str(version["version"]),
                version["state"],
                ", ".join(version["labels"]),
                share,
                version["error"],
            )
    Console(highlight=False).print(table)
    for status in statuses:
        for address, difference in status["servers"].items():
            if difference:
                click.secho(f"{status['model']} on {address} is not as released: {difference}", fg="yellow")
    return is_in_step


def show_metadata(client: ModelClient, model: str, version_spec: VersionSpec, as_json: bool) -> None:
    _, metadata = resolve(client, model, version_spec)
    if as_json:
        click.echo(json.dumps({"model": model, **asdict(metadata)}, indent=2))
        return
    click.secho(f"{model} version {metadata.version}", bold=True)
    table = _table("signature", "", "name", "type", "shape")
    for name, signature in sorted(metadata.signatures.items()):
        for role, infos in (("takes", signature.inputs), ("gives", signature.outputs)):
            for tensor, info in sorted(infos.items()):
                table.add_row(name, role, tensor, info.dtype.removeprefix("DT_").lower(), _shape(info))
    Console(highlight=False).print(table)


def show_history(root: Path, model: str, limit: int, as_json: bool) -> None:
    model_folder(root, model)
    entries = list(reversed(Store(root, model).history()))[:limit]
    if as_json:
        click.echo(json.dumps([asdict(entry) for entry in entries], indent=2))
        return
    table = _table("time", "who", "what", "stable", "candidate", "run", "outcome")
    for entry in entries:
        stable, candidate = (entry.before.stable, entry.before.candidate) if entry.before else (None, None)
        when = entry.time[:19].replace("T", " ")
        steps = (_step(stable, entry.after.stable), _step(candidate, entry.after.candidate))
        table.add_row(when, entry.who, entry.what, *steps, entry.run_id, entry.outcome)
    Console(highlight=False).print(table)


@contextmanager
def progress(path: Path) -> Iterator[Callable[[Chunk], None]]:
    """Show on a terminal's stderr how far into a file the predictions are, and anywhere the first rows left out."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.fields[rows]} rows"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    size = path.stat().st_size if path.is_file() else None
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=size, rows=0)
        rows = told = 0

        def show(chunk: Chunk) -> None:
            nonlocal rows, told
            rows += len(chunk.numbers)
            bar.update(task, completed=chunk.read_bytes, rows=rows)
            for bad in chunk.bad[: MOST_BAD_ROWS - told]:
                bar.console.print(str(bad), style="yellow", highlight=False, markup=False)
            told = min(MOST_BAD_ROWS, told + len(chunk.bad))

        yield show


@contextmanager
def whole_file(path: Path | None) -> Iterator[TextIO]:
    """Write a file that appears once it is complete, or to stdout. Raises EnvironmentProblem if it cannot."""
    if path is None:
        yield sys.stdout
        return
    with (
        disk_problems(f"cannot write {path}", "make room, or choose a place where this user may write"),
        replaced(path) as part,
        part.open("w", encoding="utf-8", newline="") as file,
    ):
        yield file


def _status(client: ModelClient, root: Path, model: str) -> dict[str, Any]:
    record, route = Store(root, model).read(), routing(root, model)
    labels = record.state.labels if record else {}
    share = route.weight_percent if route else 0.0
    shares = {"stable": 100 - share, "candidate": share}
    return {
        "model": model,
        "versions": [
            {
                **asdict(status),
                "labels": sorted(label for label, version in labels.items() if version == status.version),
                "share_percent": sum(shares[label] for label, version in labels.items() if version == status.version),
            }
            for status in client.status(model)
        ],
    }


def _table(*headings: str) -> Table:
    table = Table(box=None, pad_edge=False)
    for heading in headings:
        table.add_column(heading, overflow="fold", no_wrap=heading in ("time", "model", "state"))
    return table


def _step(before: int | None, after: int | None) -> str:
    if before == after:
        return str(after or "")
    return f"{before or '-'} → {after or '-'}"


def _shape(info: TensorInfo) -> str:
    if info.shape is None:
        return "any"
    return "[" + ", ".join("any" if size < 0 else str(size) for size in info.shape) + "]"

"""What `python -m serving registry` does: releases and the registry brought together, and shown."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, NoReturn

import click

from config.load import load_settings
from serving.registry.queue import MAX_ATTEMPTS, Queue, Waiting
from serving.registry.replay import (
    Report,
    Told,
    check_installed,
    local_store,
    mlflow_environment,
    replay,
    tracking_uri,
    without_secrets,
)
from serving.registry.versions import CANDIDATE, PRODUCTION, Labels
from serving.release.commands import promote
from serving.release.servers import ReleaseContext
from serving.release.state import State, Store
from serving.repository.layout import models


def sync(context: ReleaseContext, configs: Path) -> Report:
    """Tell MLflow what it does not know yet; a model whose settings say `registry.follow` follows what people moved.

    `configs` holds a folder of settings for each model. Raises as `replay`.
    """

    def follow(model: str, version: int) -> Labels | None:
        return labels_of(promote(context, model, version)) if follows(configs, model) else None

    return replay(context.root, released_labels(context.root), follow)


def follows(configs: Path, model: str) -> bool:
    """Return whether a model's settings let it follow the registry; a model without settings does not."""
    return (configs / model).is_dir() and load_settings(configs / model).registry.follow


def released_labels(root: Path) -> Mapping[str, Labels]:
    """Return what each alias should point to, by the releases; a model that was never released is left out."""
    records = {model: Store(root, model).intact() for model in models(root)}
    return {model: labels_of(record.state) for model, record in records.items() if record}


def labels_of(state: State) -> Labels:
    return {PRODUCTION: state.stable, CANDIDATE: state.candidate}


def show_sync(report: Report, root: Path, as_json: bool) -> bool:
    """Print what was told; return whether all is told and nothing was moved by hand."""
    uri = without_secrets(tracking_uri(root))
    if as_json:
        click.echo(json.dumps({"mlflow": uri, **asdict(report)}, indent=2))
    else:
        for title, lines in (("tracked", report.runs), ("registered", report.versions), ("pointed", report.aliases)):
            for line in lines:
                click.echo(f"{title:<11}{line}")
        if not (report.runs or report.versions or report.aliases):
            click.echo(f"nothing new for MLflow at {uri}")
        for line in (*report.moved, *report.problems):
            click.secho(line, fg="yellow", err=True)
    return not (report.waiting or report.problems or report.moved)


def show_status(root: Path, as_json: bool) -> bool:
    """Print what waits, what was given up and what was moved by hand, without asking MLflow; return whether nothing."""
    queue, told = Queue(root), Told.read(root)
    waiting, refused, released = queue.waiting(), queue.refused(), released_labels(root)
    moved = [sentence for sentences in told.moved.values() for sentence in sentences]
    behind = [
        f"{model}: {_version(version)} is {alias}, and MLflow was last told of {_version(last)}"
        for model, labels in released.items()
        for alias, version in labels.items()
        if (last := told.version(model, alias)) != version
    ]
    if as_json:
        document = {
            "mlflow": without_secrets(tracking_uri(root)),
            "waiting": [_values(each) for each in waiting],
            "refused": [_values(each) for each in refused],
            "behind": behind,
            "moved": moved,
        }
        click.echo(json.dumps(document, indent=2))
    else:
        oldest = f", the oldest since {waiting[0].entry.time}" if waiting else ""
        click.echo(f"{without_secrets(tracking_uri(root))}: {len(waiting)} to be told{oldest}")
        for each in waiting:
            if each.problem:
                click.echo(f"  {each.entry.id}: tried {each.attempts} of {MAX_ATTEMPTS} times, {each.problem}")
        for each in refused:
            click.secho(f"given up: {each.entry.id}: {each.problem}; sync --again tries it again", fg="yellow")
        for line in (*behind, *moved):
            click.secho(line, fg="yellow")
    return not (waiting or refused or behind or moved)


def _version(version: int | None) -> str:
    return f"version {version}" if version else "no version"


def _values(waiting: Waiting) -> dict[str, Any]:
    return {
        "id": waiting.entry.id,
        "time": waiting.entry.time,
        "attempts": waiting.attempts,
        "problem": waiting.problem,
    }


def open_page(root: Path, port: int) -> NoReturn:
    """Become MLflow's server, with its page, over the local store."""
    check_installed()
    store = local_store(root)
    (store / "artifacts").mkdir(parents=True, exist_ok=True)
    arguments = ["server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    places = [
        "--backend-store-uri",
        f"sqlite:///{store / 'mlflow.db'}",
        "--artifacts-destination",
        str(store / "artifacts"),
    ]
    environment = {key: value for key, value in mlflow_environment().items() if key != "MLFLOW_TRACKING_URI"}
    sys.stdout.flush()
    os.execve(sys.executable, [sys.executable, "-m", "mlflow", *arguments, *places], environment)

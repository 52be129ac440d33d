"""One round over everything: each model in turn, then the registry. What fails is told, and stops nothing else."""

from __future__ import annotations

import getpass
import importlib.util
import logging
import os
import socket
import time
from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from pathlib import Path

from common.errors import VouchError
from common.text import counted
from monitoring.watch.observe import Site, look_at
from monitoring.watch.views import ModelView, RegistryView, Round
from serving.client.grpc import GrpcClient
from serving.mlflow_sync import released_labels, sync
from serving.registry.queue import Queue
from serving.registry.replay import Told, local_store
from serving.release.servers import ReleaseContext, release_clients
from serving.repository.layout import models, unreadable

log = logging.getLogger(__name__)


def go_round(site: Site, addresses: str, interval_s: float, progress: Callable[[], None]) -> Round:
    """Look at everything once. `progress` is called between the models. Raises EnvironmentProblem without models."""
    started, began = datetime.now(timezone.utc), time.monotonic()
    with release_clients(addresses) as clients:
        views = [ModelView(model, problem=str(error)) for model, error in unreadable(site.serving).items()]
        for model in models(site.serving):
            progress()
            views.append(_look_at(site, model, clients))
        progress()
        registry = _registry(site, clients) if _has_mlflow(site.serving) else None
    progress()
    return Round(started, time.monotonic() - began, interval_s, tuple(views), registry)


def lines(finished: Round) -> dict[str, str]:
    """Return what a round says to people, by whom it is about."""
    said = {view.model: f"{view.model}: {_sentence(view)}" for view in finished.models}
    if finished.registry:
        told = finished.registry
        state = told.problem or f"{told.waiting} to be told, {told.refused} refused"
        differing = f", not as released: {', '.join(told.differing)}" if told.differing else ""
        said["MLflow"] = f"MLflow: {state}{differing}"
    return said


def _look_at(site: Site, model: str, clients: Sequence[GrpcClient]) -> ModelView:
    try:
        return look_at(site, model, clients)
    except (VouchError, OSError) as error:
        return ModelView(model, problem=str(error))
    except Exception as error:  # one model's trouble is no other's
        log.exception("%s cannot be examined", model)
        return ModelView(model, problem=f"{type(error).__name__}: {error}")


def _sentence(view: ModelView) -> str:
    if view.problem:
        return f"not examined: {view.problem}"
    parts = []
    for version in view.versions:
        window = version.window
        seen = (
            f"{counted(len(window.findings), 'finding')} in {counted(window.rows, 'row')}"
            if window
            else "nothing measured"
        )
        drifted = ", ".join(alarm.title for alarm in version.alarms)
        broken = ", ".join(each.true_class for each in version.errors if each.is_broken)
        parts.append(
            f"version {version.version} ({version.role}) {seen}"
            + (f", ALARM {drifted}" if drifted else "")
            + (f", more errors than promised on {broken}" if broken else "")
        )
    if view.served and view.served.missing:
        parts.append(f"released and not served: {', '.join(map(str, view.served.missing))}")
    if view.served and view.served.is_awaiting_release:
        parts.append(f"version {view.served.on_disk} awaits its release")
    return "; ".join(parts)


def _has_mlflow(root: Path) -> bool:
    """Return whether MLflow is used here: it was named, or has its file already, and is installed."""
    if importlib.util.find_spec("mlflow") is None:
        return False
    return bool(os.environ.get("MLFLOW_TRACKING_URI")) or (local_store(root) / "mlflow.db").is_file()


def _registry(site: Site, clients: tuple[GrpcClient, ...]) -> RegistryView:
    root, problem = site.serving, ""
    try:
        context = ReleaseContext(root, clients, f"{getpass.getuser()}@{socket.gethostname()}, watching")
        report = sync(context, site.configs)
        problem = "; ".join(report.problems)
    except (VouchError, OSError) as error:
        problem = str(error)
    except Exception as error:  # MLflow's own: drift is watched all the same
        log.exception("MLflow cannot be told")
        problem = f"{type(error).__name__}: {error}"
    queue, told = Queue(root), Told.read(root)
    differing = {
        model
        for model, labels in released_labels(root).items()
        if told.moved.get(model) or any(told.version(model, alias) != version for alias, version in labels.items())
    }
    return RegistryView(len(queue.waiting()), len(queue.refused()), tuple(sorted(differing)), problem)

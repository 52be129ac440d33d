"""Tell MLflow what waits in the queue, register what was pushed, and bring the aliases in step with the releases.

It alone connects to MLflow, and gives up at once when MLflow does not answer: all that it would have
told stays on disk.
"""

from __future__ import annotations

import importlib.util
import json
import logging
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import requests

from common.errors import DataError, EnvironmentProblem, GateRefused, VouchError
from common.files import locked, write_text
from serving.registry import versions as registry
from serving.registry.queue import FOLDER, Queue, Released, RunEnded, Waiting
from serving.registry.tracking import track_run
from serving.registry.versions import CANDIDATE, PRODUCTION, Labels, Registered
from serving.repository.layout import models

ALIASES = "aliases.json"
ANSWER_S = 2  # what MLflow may take for one answer; there is no second try, as what is not told now is told later
REFUSED_TAG = "vouch.refused"
DOWN = ("TEMPORARILY_UNAVAILABLE",)  # as MLflow calls it
NO_ENTRY = ("UNAUTHENTICATED", "PERMISSION_DENIED", "CUSTOMER_UNAUTHORIZED")

Follow = Callable[[str, int], Labels | None]


class MlflowDown(EnvironmentProblem):
    """MLflow does not answer, or not in time."""


@dataclass
class Report:
    """What one replay did, each thing as a sentence; `moved` is what a person should look at."""

    runs: list[str] = field(default_factory=list)
    versions: list[str] = field(default_factory=list)
    aliases: list[str] = field(default_factory=list)
    moved: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    waiting: int = 0


@dataclass
class Told:
    """What the registry was last brought to, by model and alias, and what a person has moved since.

    An alias has our version and MLflow's number of it.
    """

    aliases: dict[str, dict[str, tuple[int | None, str | None]]] = field(default_factory=dict)
    moved: dict[str, list[str]] = field(default_factory=dict)

    @staticmethod
    def read(root: Path) -> Told:
        with suppress(OSError, ValueError, TypeError):
            return Told(**json.loads((root / FOLDER / ALIASES).read_text(encoding="utf-8")))
        return Told()

    def version(self, model: str, alias: str) -> int | None:
        return self.aliases.get(model, {}).get(alias, (None, None))[0]

    def write(self, root: Path) -> None:
        write_text(root / FOLDER / ALIASES, json.dumps(asdict(self), indent=1, sort_keys=True) + "\n")


def tracking_uri(root: Path) -> str:
    """Return where MLflow is: $MLFLOW_TRACKING_URI, else a file beside the folder of models."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{local_store(root) / 'mlflow.db'}"


def local_store(root: Path) -> Path:
    return root.parent / "mlflow"


def without_secrets(uri: str) -> str:
    """Return an address without the user and the password that may stand in it."""
    return re.sub(r"(?<=://)[^/@]*@", "", uri)


def mlflow_environment() -> dict[str, str]:
    """Return what MLflow reads from the environment: short waits, no telemetry. What is set already stays."""
    wanted = {
        "MLFLOW_HTTP_REQUEST_TIMEOUT": str(ANSWER_S),
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    }
    return {**wanted, **os.environ}


def replay(root: Path, released: Mapping[str, Labels], follow: Follow) -> Report:
    """Tell MLflow all that it has not been told.

    `released`: which version holds which alias by the releases; `follow` makes the version stable that a person moved
    `production` to and returns the labels then, or None where that model does not follow the registry.
    Raises MlflowDown; EnvironmentProblem if MLflow is not installed, refuses us, or another replay is going on.
    """
    check_installed()
    queue, report = Queue(root), Report()
    with locked(root / FOLDER / "lock", "another replay is going on"):
        uri = tracking_uri(root)
        client = _connect(root, uri)
        artifacts = "" if os.environ.get("MLFLOW_TRACKING_URI") else (local_store(root) / "artifacts").as_uri()
        releases: list[Released] = []
        for waiting in queue.waiting():
            if isinstance(waiting.entry, Released):
                releases.append(waiting.entry)
            else:
                _track(client, queue, waiting, waiting.entry, artifacts, uri, report)
        told = Told.read(root)
        for model in models(root):
            try:
                _bring_in_step(client, root, model, released.get(model), follow, told, report)
                _note_releases(client, root, model, [each for each in releases if each.model == model])
            except Exception as error:  # one model's trouble is no other's
                report.problems.append(f"{model}: {_sentence(error, uri)}")
                releases = [each for each in releases if each.model != model]
            told.write(root)
        for release in releases:
            queue.remove(release)
    report.waiting = len(queue.waiting())
    return report


def check_installed() -> None:
    """Raise EnvironmentProblem without MLflow, which the web app's and the model server's images do not hold."""
    if importlib.util.find_spec("mlflow") is None:
        raise EnvironmentProblem(
            "MLflow is not installed",
            fix="make setup, or uv pip install -r requirements-mlflow.txt; until then what it is to be told waits",
        )


def _connect(root: Path, uri: str) -> Any:
    os.environ.update(mlflow_environment())
    from mlflow import MlflowClient

    for name in ("mlflow", "alembic"):  # they tell of every table that they make
        logging.getLogger(name).setLevel(logging.WARNING)
    if uri == f"sqlite:///{local_store(root) / 'mlflow.db'}":
        local_store(root).mkdir(parents=True, exist_ok=True)
    try:
        return MlflowClient(tracking_uri=uri, registry_uri=uri)
    except Exception as error:
        raise EnvironmentProblem(
            f"MLflow at {without_secrets(uri)} cannot be opened",
            got=_last_words(error),
            fix="correct MLFLOW_TRACKING_URI, or unset it: then it is a file under var/mlflow",
        ) from error


def _track(
    client: Any, queue: Queue, waiting: Waiting, entry: RunEnded, artifacts: str, uri: str, report: Report
) -> None:
    try:
        track_run(client, entry, f"{artifacts}/{entry.model}" if artifacts else None)
    except Exception as error:  # whatever one entry is refused for, the others have their turn
        problem = _sentence(error, uri)
        queue.put_off(waiting, problem)
        report.problems.append(f"{entry.id}: {problem}")
    else:
        queue.remove(entry)
        report.runs.append(f"{entry.model}, run {entry.run_id}")


def _bring_in_step(
    client: Any, root: Path, model: str, released: Labels | None, follow: Follow, told: Told, report: Report
) -> None:
    """Register what is new and move the aliases, unless it was a person who moved one: then follow, or tell."""
    report.versions += [f"{model} {version}" for version in registry.register(client, root, model)]
    registered = registry.look_up(client, root, model)
    if not released or not registered:
        return
    known = told.aliases.setdefault(model, {})
    moved: list[str] = []
    for alias in (PRODUCTION, CANDIDATE):
        wanted, number = released.get(alias), registered.aliases.get(alias)
        last_wanted, last_number = known.get(alias, (None, number))
        is_by_hand = alias in known and last_wanted == wanted and number not in (None, last_number)
        if is_by_hand and number != registered.numbers.get(wanted or 0):
            labels = _by_hand(client, model, registered, alias, wanted, follow, moved)
            if labels is None:
                continue
            released = labels
            wanted = released.get(alias)
        if number != registered.numbers.get(wanted or 0):
            registry.point(client, model, registered, alias, wanted)
            report.aliases.append(f"{model}: {alias} is {f'version {wanted}' if wanted else 'no version'}")
        known[alias] = wanted, registered.numbers.get(wanted or 0)
    told.moved[model] = moved
    report.moved += moved


def _by_hand(
    client: Any, model: str, registered: Registered, alias: str, wanted: int | None, follow: Follow, moved: list[str]
) -> Labels | None:
    """Return which labels hold now that a person has moved an alias; None where nothing follows it."""
    number = registered.aliases[alias]
    version = registered.version(number)
    released = f"version {wanted} is released" if wanted else "none is released"
    if version is None:
        moved.append(f"{model}: {alias} was moved to MLflow's version {number}, which is none of ours; {released}")
        return None
    what = f"{model}: {alias} was moved to version {version}"
    if alias == PRODUCTION:
        try:
            labels = follow(model, version)
        except (GateRefused, DataError) as error:
            client.set_model_version_tag(model, number, REFUSED_TAG, str(error)[:5000])
            moved.append(f"{what}, which was refused: {error.what}; {released}")
            return {PRODUCTION: wanted}
        except VouchError as error:  # no server, another release going on: that says nothing of the version
            moved.append(f"{what}, which cannot be released now: {error.what}; {released}")
            return None
        if labels is not None:
            return labels
    cure = f"python -m serving promote {model} {version}" if alias == PRODUCTION else "python -m serving canary"
    moved.append(f"{what}, and {released}; {cure} releases it")
    return None


def _note_releases(client: Any, root: Path, model: str, releases: Sequence[Released]) -> None:
    if releases and (registered := registry.look_up(client, root, model)):
        for release in releases:
            registry.note_release(client, registered, release)


def _sentence(error: Exception, uri: str) -> str:
    """Return what went wrong with one entry. Raises MlflowDown or EnvironmentProblem where none would go through."""
    where = without_secrets(uri)
    code = str(getattr(error, "error_code", ""))
    if code in DOWN or any(isinstance(cause, requests.ConnectionError | requests.Timeout) for cause in _chain(error)):
        raise MlflowDown(
            f"MLflow at {where} does not answer",
            got=_last_words(error),
            wanted=f"an answer within {os.environ['MLFLOW_HTTP_REQUEST_TIMEOUT']} s (MLFLOW_HTTP_REQUEST_TIMEOUT)",
            fix="start it, or correct MLFLOW_TRACKING_URI; what it is to be told waits on disk",
        ) from error
    if code in NO_ENTRY:
        raise EnvironmentProblem(
            f"MLflow at {where} lets nobody in without a valid login",
            got=code,
            fix="set MLFLOW_TRACKING_TOKEN, or MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD",
        ) from error
    return _last_words(error)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        yield error
        seen.add(id(error))
        error = error.__cause__ or error.__context__


def _last_words(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:500]}"

"""Bring the model servers to what is wanted, in steps that none of them can refuse; ask them what they have.

A server refuses a whole config if it moves a label to a version that is not available. So every change goes out as

    load      versions come beside those that serve, under the labels that the server has
    label     labels move, once every server has the versions; nothing is unloaded
    settle    what is not needed is unloaded

whatever the server had before: somebody may have restarted it, or given it another config.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from google.protobuf import text_format

from common.errors import DataError, GateRefused, VouchError
from common.files import write_text
from serving.client.errors import InvalidRequest, ModelNotFound, ModelServerFailed
from serving.client.grpc import GrpcClient
from serving.client.retry import Clock
from serving.client.types import VersionSpec, VersionStatus
from serving.release.checks import wait_available
from serving.release.state import CONFIG, DONE, Record, State, Store
from serving.repository.layout import CANDIDATE, STABLE, models, unreadable
from serving.wire.messages import message

HEADER = "# Written by `python -m serving`; changes made by hand are lost at the next release.\n"
LET_GO_S = 0.5  # what a server may take to notice that it is no longer asked for a version
CATCH_UP_S = 15.0  # what the copy of a config that a server polls may lag behind


@dataclass(frozen=True)
class ReleaseContext:
    """Who releases what where. Without `clients` only files are written, for the server that starts next.

    `root` holds a folder for each model; `reached` is called after each of `transaction.STEPS`, for tests that stop
    there.
    """

    root: Path
    clients: tuple[GrpcClient, ...]  # one for each server; a release reaches all of them, or none
    who: str
    load_timeout_s: float = 120.0
    clock: Clock = field(default_factory=Clock)
    reached: Callable[[str], None] = lambda step: None


@contextmanager
def release_clients(addresses: str) -> Iterator[tuple[GrpcClient, ...]]:
    """Yield a client for each model server that `addresses` names (see `resolve`)."""
    with ExitStack() as stack:
        yield tuple(stack.enter_context(closing(GrpcClient(address))) for address in resolve(addresses))


def resolve(addresses: str) -> tuple[str, ...]:
    """Return the gRPC address of each model server: `HOST:PORT`, several divided by commas.

    A name that stands for several machines, as that of a headless Service does, is each of them.
    """
    named = (address.strip() for address in addresses.split(","))
    return tuple(dict.fromkeys(machine for address in named if address for machine in _machines(address)))


def _machines(address: str) -> list[str]:
    host, _, port = address.rpartition(":")
    if ":" in host or not port.isdecimal():  # unix:/path, dns:///host:port, [::1]:8500
        return [address]
    for family, form in ((socket.AF_INET, "{}:{}"), (socket.AF_INET6, "[{}]:{}")):
        with suppress(OSError):
            answers = socket.getaddrinfo(host, int(port), family, socket.SOCK_STREAM)
            if len(hosts := sorted({str(answer[4][0]) for answer in answers})) > 1:
                return [form.format(each, port) for each in hosts]
            break
    return [address]


@dataclass(frozen=True)
class Plan:
    loaded: tuple[int, ...]
    labels: Mapping[str, int]

    @staticmethod
    def of(state: State, also: Iterable[int] = ()) -> Plan:
        return Plan(tuple(sorted({*state.loaded, *also})), state.labels)


Plans = Mapping[str, "Plan | None"]  # by model; None leaves it out


def make_config(root: Path, changed: Plans) -> Any:
    """Return a ModelServerConfig of every released model under `root`.

    `changed` stands in for the recorded state of the models it names.
    """
    config = message("ModelServerConfig")()
    config.model_config_list.SetInParent()
    for model in sorted({*models(root), *unreadable(root)}):
        record = None if model in changed else recorded(root, model)
        plan = Plan.of(record.wanted) if record else changed.get(model)
        if plan:
            _add(config.model_config_list, root / model, plan)
    return config


def write_config(root: Path, changed: Plans | None = None) -> None:
    """Write `models.config`, which servers read at their start, or poll."""
    write_text(root / CONFIG, HEADER + text_format.MessageToString(make_config(root, changed or {})))


def recorded(root: Path, model: str) -> Record | None:
    """Return a model's record, None before the first release.

    Where the state file is lost or broken it is the last release that the log calls done, else what `models.config`
    says: never a version that nobody promoted.
    """
    store = Store(root, model)
    if record := store.intact():
        return record
    with suppress(OSError):
        if released := [entry.after for entry in store.history() if entry.outcome == DONE]:
            return Record(released[-1])
    return _configured(root, model)


def _configured(root: Path, model: str) -> Record | None:
    config = message("ModelServerConfig")()
    with suppress(OSError, ValueError, text_format.ParseError):
        text_format.Parse((root / CONFIG).read_text(encoding="utf-8"), config)
    stable = {entry.name: entry.version_labels.get(STABLE, 0) for entry in config.model_config_list.config}
    return Record(State(stable[model])) if stable.get(model, 0) > 0 else None


def _add(configs: Any, base: Path, plan: Plan) -> None:
    entry = configs.config.add(name=base.name, base_path=str(base.absolute()), model_platform="tensorflow")
    entry.model_version_policy.specific.versions.extend(plan.loaded)
    for label, version in sorted(plan.labels.items()):
        entry.version_labels[label] = version


@dataclass(frozen=True)
class ServerView:
    """What a server has of a model: its versions, and the version that answers by each label."""

    versions: Mapping[int, VersionStatus]
    labels: Mapping[str, int]

    @property
    def available(self) -> set[int]:
        return {number for number, status in self.versions.items() if status.state == "AVAILABLE"}

    def difference(self, state: State) -> str:
        """Return in which way this is not what was released; nothing if it is."""
        wrong = [
            f"label {label} answers with {f'version {seen}' if seen else 'nothing'} instead of {wanted or 'nothing'}"
            for label in (STABLE, CANDIDATE)
            if (seen := self.labels.get(label)) != (wanted := state.labels.get(label))
        ]
        if state.previous and state.previous not in self.available:
            wrong.append(f"version {state.previous} is not loaded for a rollback")
        wrong += [f"version {number} is loaded as well" for number in sorted(self.available - set(state.loaded))]
        return "; ".join(wrong)


def look(client: GrpcClient, model: str) -> ServerView:
    """Ask a server what it has of a model. Raises ModelServerDown, ModelServerTimeout."""
    versions, labels = {}, {}
    with suppress(ModelNotFound):
        versions = {status.version: status for status in client.status(model)}
        for label in (STABLE, CANDIDATE):
            with suppress(ModelNotFound):
                labels[label] = client.metadata(model, VersionSpec(label=label)).version
    return ServerView(versions, labels)


def load(context: ReleaseContext, model: str, plan: Plan, needed: Collection[int]) -> None:
    """Have every server load a plan's versions, and wait until each has those needed.

    Raises GateRefused if one of them does not load, DataError if it is not on the disk.
    """
    write_config(context.root, {model: plan})
    views = {client: look(client, model) for client in context.clients}
    for client, view in views.items():
        loaded, failed = {*plan.loaded, *view.available}, _failed(view, needed)
        if failed:  # as long as it is asked for, a version that failed is not tried again
            _tell(context, client, model, Plan(tuple(loaded - failed), view.labels))
            context.clock.sleep(LET_GO_S)
        _tell(context, client, model, Plan(tuple(loaded), view.labels))
    for client, view in views.items():
        for version in set(needed) - view.available:
            if not (context.root / model / str(version)).is_dir():
                raise DataError(
                    f"version {version} of {model} is not on the disk", fix="put it back, or promote another"
                )
            wait_available(client, model, version, context.load_timeout_s, context.clock, view.versions.get(version))


def label(context: ReleaseContext, model: str, plan: Plan) -> None:
    """Move the labels on every server. Raises ModelServerFailed if one does not answer by them then.

    A server may take a step back in between, if what it polls is a copy that lags behind: it is told again.
    """
    write_config(context.root, {model: plan})
    deadline = context.clock.now() + CATCH_UP_S
    for client in context.clients:
        while (seen := _moved(context, client, model, plan)) != plan.labels:
            if context.clock.now() > deadline:
                what = f"the model server at {client.address} did not move the labels of {model}"
                fix = "see that nobody else changes its config"
                raise ModelServerFailed(what, got=seen, wanted=str(plan.labels), fix=fix)
            context.clock.sleep(LET_GO_S)


def _moved(context: ReleaseContext, client: GrpcClient, model: str, plan: Plan) -> Mapping[str, int]:
    """Have one server move the labels, or load again what it let go; return the labels that it has then."""
    view = look(client, model)
    labels = plan.labels if view.available.issuperset(plan.labels.values()) else view.labels
    with suppress(InvalidRequest):  # a version was let go this very moment
        _tell(context, client, model, Plan(tuple({*plan.loaded, *view.available}), labels))
    return look(client, model).labels


def settle(context: ReleaseContext, model: str, plan: Plan) -> None:
    """Have every server hold no more than a plan, without labels to what it cannot load."""
    write_config(context.root, {model: plan})
    for client in context.clients:
        available = look(client, model).available
        labels = {name: version for name, version in plan.labels.items() if version in available}
        _tell(context, client, model, replace(plan, labels=labels))


def bring(context: ReleaseContext, model: str, state: State) -> None:
    """Take every server from whatever it has to a state. Raises as the three steps do."""
    load(context, model, Plan.of(state), state.labels.values())
    label(context, model, Plan.of(state))
    settle(context, model, Plan.of(state))


def bring_back(context: ReleaseContext, model: str, state: State | None) -> list[str]:
    """Take each server to a state (None: without the model); return which of them could not be told, and why."""
    problems = []
    for client in context.clients:
        alone = replace(context, clients=(client,))
        try:
            if state:
                _bring_if_possible(alone, model, state)
            else:
                _tell(alone, client, model, None)
        except VouchError as error:
            problems.append(f"{client.address}: {error.what}")
    return problems


def _bring_if_possible(context: ReleaseContext, model: str, state: State) -> None:
    try:
        bring(context, model, state)
    except (DataError, GateRefused):  # a version was lost, or did not load, before: the rest must do
        settle(context, model, Plan.of(state))


def _failed(view: ServerView, versions: Collection[int]) -> set[int]:
    seen = (view.versions.get(version) for version in versions)
    return {status.version for status in seen if status and status.state == "END" and status.error_code != "OK"}


def _tell(context: ReleaseContext, client: GrpcClient, model: str, plan: Plan | None) -> None:
    """Give a server its config: this model by the plan, and all others as they are released."""
    with suppress(ModelServerFailed):  # taken, but not all of it could be loaded: what matters is looked at later
        try:
            client.reload_config(make_config(context.root, {model: plan}))
        except InvalidRequest:
            others = {*models(context.root), *unreadable(context.root)} - {model}
            client.reload_config(
                make_config(
                    context.root, {model: plan} | {other: _bearable(context, client, other) for other in others}
                )
            )


def _bearable(context: ReleaseContext, client: GrpcClient, model: str) -> Plan | None:
    """Return what a server cannot refuse of another model: labels only to what it has. One model stops no other."""
    record, view = recorded(context.root, model), look(client, model)
    if record is None:
        return None
    wanted = {name: version for name, version in record.wanted.labels.items() if version in view.available}
    return Plan(tuple({*record.wanted.loaded, *view.available}), {**view.labels, **wanted})

"""Releases: which version is `stable`, which is `candidate`. A change is made whole or not at all (transaction.py).

Labels, not "the newest version", are the door for clients: the server answers a request without a label by the
largest number that is loaded, which is the candidate as soon as there is one.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from common.errors import ConfigError, DataError, EnvironmentProblem, VouchError
from serving.client.errors import ModelNotFound
from serving.client.grpc import GrpcClient
from serving.release.checks import is_vouched, newest_vouched, vouched, why_none
from serving.release.servers import ReleaseContext, bring, look, recorded, write_config
from serving.release.state import DONE, Record, State, Store, one_at_a_time
from serving.release.transaction import change, entry_of, first, recovered
from serving.repository.layout import model_folder, models, unreadable, versions

SETTLE_S = 2.0  # what a server may take to unload a version
LOOK_EVERY_S = 0.1


def promote(context: ReleaseContext, model: str, version: int | None = None) -> State:
    """Make a version stable: the one named, else the candidate, else the newest. A canary ends with it.

    What is stable already is looked at on every server, and put right there. Raises GateRefused if it cannot be
    vouched for, does not load or answers wrongly; EnvironmentProblem if another release is going on or the disk is in
    the way; ModelServerDown. Whatever it raises, what was stable still is.
    """
    with _opened(context, model) as state:
        base = context.root / model
        if state is None:
            return first(context, model, version or newest_vouched(base) or versions(base)[-1])
        chosen = version or state.candidate or versions(base)[-1]
        if chosen != state.stable:
            return change(context, model, "promote", state, _with_stable(base, state, chosen), proven=chosen)
        vouched(base, chosen)
        if any(look(client, model).difference(state) for client in context.clients):
            bring(context, model, state)
        return state


def rollback(context: ReleaseContext, model: str) -> State:
    """Take the last step back: end the canary if there is one, else make the previous version stable again.

    The version left is unloaded, so that clients that use no label go back too. Raises DataError if there is nothing
    to go back to, else as `promote`.
    """
    with _opened(context, model) as state:
        if state and state.candidate:
            return change(context, model, "rollback", state, _without_candidate(state))
        if not state or not state.previous:
            raise DataError(
                f"{model} has no previous version to go back to",
                got=f"version {state.stable} is stable" if state else "nothing is released",
                fix=f"name one: python -m serving promote {model} VERSION",
            )
        return change(context, model, "rollback", state, State(state.previous), proven=state.previous)


def canary(context: ReleaseContext, model: str, weight_percent: float, version: int | None = None) -> State:
    """Give a share of the requests to a version: the one named, else the candidate, else the newest. 0 ends it.

    Raises as `promote`; ConfigError for a share that is not from 0 to 100.
    """
    if not 0 <= weight_percent <= 100:
        raise ConfigError("this is no share of the requests", got=f"{weight_percent:g}%", wanted="0% to 100%")
    with _opened(context, model) as state:
        if state is None:
            raise DataError(f"nothing of {model} is released yet", fix=f"python -m serving promote {model}")
        if weight_percent == 0:
            return change(context, model, "canary 0%", state, _without_candidate(state)) if state.candidate else state
        chosen = version or state.candidate or versions(context.root / model)[-1]
        if chosen == state.stable:
            raise DataError(
                f"{model} has no version to try beside the stable one",
                got=f"version {state.stable} is stable",
                fix="push another, or name one with --version",
            )
        after = replace(state, candidate=chosen, weight_percent=float(weight_percent))
        return change(context, model, f"canary {weight_percent:g}%", state, after, proven=chosen)


def differences(context: ReleaseContext, model: str) -> dict[str, str]:
    """Return by each server's address what it has otherwise than released; nothing where it is in step.

    A version that was just left takes a moment to unload, and is waited for.
    """
    deadline = context.clock.now() + SETTLE_S
    return {client.address: _difference(context, client, model, deadline) for client in context.clients}


def prepare(context: ReleaseContext) -> tuple[dict[str, State], dict[str, VouchError]]:
    """Bring every model's state in order before a server starts, and write its config.

    Returns the states, and why a model is left out: none of its versions can be vouched for, or it cannot be read. A
    model's first stable version is the newest that can be vouched for.
    """
    states: dict[str, State] = {}
    with one_at_a_time(context.root, context.who):
        refused: dict[str, VouchError] = dict(unreadable(context.root))
        for model in models(context.root):
            try:
                states[model] = _sound(replace(context, clients=()), model)
            except (VouchError, OSError) as error:
                refused[model] = error if isinstance(error, VouchError) else EnvironmentProblem(str(error))
        write_config(context.root, dict.fromkeys(refused))
    return states, refused


@contextmanager
def _opened(context: ReleaseContext, model: str) -> Iterator[State | None]:
    """Lock, make sure that the servers are there, and yield the state, in order if the last change was cut short."""
    model_folder(context.root, model)
    with one_at_a_time(context.root, context.who):
        context.reached("locked")
        for client in context.clients:
            with suppress(ModelNotFound):  # a server that runs may have to be told of a new model
                client.status(model)
        yield recovered(context, model)


def _sound(context: ReleaseContext, model: str) -> State:
    """Return the state with nothing in it that a server could not serve, and put on record if that changed it.

    In place of a lost stable version comes the last one that was stable before it, else the newest. Raises GateRefused
    or DataError if no version can be vouched for.
    """
    store, state = Store(context.root, model), recovered(context, model)
    if state and is_vouched(store.base, state.stable):
        kept = state.previous if state.previous and is_vouched(store.base, state.previous) else None
        after = replace(state, previous=kept)
        if state.candidate and not is_vouched(store.base, state.candidate):
            after = _without_candidate(after)
    else:
        earlier = [entry.after.stable for entry in reversed(store.history()) if entry.outcome == DONE]
        if state and state.previous:
            earlier.insert(0, state.previous)
        chosen = next((number for number in earlier if is_vouched(store.base, number)), newest_vouched(store.base))
        if chosen is None:
            raise why_none(store.base)
        after = State(chosen)
    if after != state:
        store.log(entry_of(context, store.base, "replace" if state else "first", state, after))
        store.write(Record(after))
    return after


def _difference(context: ReleaseContext, client: GrpcClient, model: str, deadline: float) -> str:
    record = recorded(context.root, model)
    if record and record.intent:
        return f"{record.intent.entry.what} was cut short"
    while True:
        try:
            view = look(client, model)
        except VouchError as error:
            return error.what
        seen = view.difference(record.state) if record else ""
        if not seen or context.clock.now() > deadline:
            return seen
        context.clock.sleep(LOOK_EVERY_S)


def _with_stable(base: Path, state: State, version: int) -> State:
    """Keep what was stable for a rollback, unless it is gone, or larger: clients without a label would get it."""
    return State(version, previous=state.stable if state.stable in versions(base) and state.stable < version else None)


def _without_candidate(state: State) -> State:
    return replace(state, candidate=None, weight_percent=0.0)

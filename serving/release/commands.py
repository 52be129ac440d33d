"""Releases: which version is `stable`, which is `candidate`. A change is made whole or not at all (see change.py).

Labels, not "the newest version", are the door for clients: the server answers a request without a label by the
largest number that is loaded, which is the candidate as soon as there is one.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace

from common.errors import ConfigError, DataError
from serving.client.errors import ModelNotFound
from serving.release.checks import vouched, why_none
from serving.release.server_config import write_config
from serving.release.state import State, one_at_a_time
from serving.release.transaction import ReleaseContext, change, recovered
from serving.repository.layout import models, versions


def promote(context: ReleaseContext, model: str, version: int | None = None) -> State:
    """Make a version stable: the one named, else the candidate, else the newest. A canary ends with it.

    Raises GateRefused if it cannot be vouched for, does not load or answers wrongly; EnvironmentProblem if another
    release is going on; ModelServerDown. Whatever it raises, what was stable still is.
    """
    with _opened(context, model) as state:
        chosen = version or state.candidate or versions(context.root / model)[-1]
        if chosen == state.stable:
            vouched(context.root / model, chosen)
            return state
        return change(context, model, "promote", state, _with_stable(state, chosen), proven=chosen)


def rollback(context: ReleaseContext, model: str) -> State:
    """Take the last step back: end the canary if there is one, else make the previous version stable again.

    The version left is unloaded, so that clients that use no label go back too. Raises DataError if there is nothing
    to go back to, else as `promote`.
    """
    with _opened(context, model) as state:
        if state.candidate:
            return change(context, model, "rollback", state, _without_candidate(state))
        if not state.previous:
            raise DataError(
                f"{model} has no previous version to go back to",
                got=f"version {state.stable} is stable",
                fix=f"name one: python -m serving promote {model} VERSION",
            )
        return change(context, model, "rollback", state, State(state.previous))


def canary(context: ReleaseContext, model: str, weight_percent: float, version: int | None = None) -> State:
    """Give a share of the requests to a version: the one named, else the candidate, else the newest. 0 ends it.

    Raises as `promote`; ConfigError for a share that is none.
    """
    if not 0 <= weight_percent <= 100:
        raise ConfigError("this is no share of the requests", got=f"{weight_percent:g}%", wanted="0% to 100%")
    with _opened(context, model) as state:
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


def prepare(context: ReleaseContext) -> dict[str, State]:
    """Bring every model's state in order before a server starts, write its config, and return the states.

    A model's first stable version is the newest that can be vouched for; a model without any is left out.
    """
    with one_at_a_time(context.root, context.who, context.now()):
        found = {model: recovered(replace(context, client=None), model) for model in models(context.root)}
        write_config(context.root)
        return {model: state for model, state in found.items() if state}


@contextmanager
def _opened(context: ReleaseContext, model: str) -> Iterator[State]:
    """Lock, make sure that the server is there, and yield the state, put in order if the last change was cut short."""
    if model not in models(context.root):
        there = ", ".join(models(context.root)) or "none"
        raise DataError(f"there is no model {model!r} under {context.root}", wanted=f"one of {there}")
    with one_at_a_time(context.root, context.who, context.now()):
        context.reached("locked")
        if context.client:
            with suppress(ModelNotFound):  # a server that runs may have to be told of a new model
                context.client.status(model)
        state = recovered(context, model)
        if state is None:
            raise why_none(context.root / model)
        yield state


def _with_stable(state: State, version: int) -> State:
    """Keep what was stable for a rollback, unless its number is larger: clients without a label would get it."""
    return State(version, previous=state.stable if state.stable < version else None)


def _without_candidate(state: State) -> State:
    return replace(state, candidate=None, weight_percent=0.0)

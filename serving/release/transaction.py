"""Change what is released, whole or not at all, without a request that finds nothing to answer it.

    intend    write down what is about to happen
    load      the version comes beside those that serve; no label moves
    check     it answers its golden rows
    decide    from here on the change is completed, whatever happens; until here it is undone
    label     the labels move, while all versions stay loaded
    settle    versions no longer needed are unloaded
    log, commit

A process that dies in between leaves an intent behind; the next command, or the next start, completes or undoes it.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path

from common.errors import DataError, EnvironmentProblem, VouchError
from serving.client.grpc import GrpcClient
from serving.client.retry import Clock
from serving.release.checks import newest_vouched, replay_golden, status_of, vouched, wait_available
from serving.release.server_config import Plan, write_config
from serving.release.state import Entry, Intent, Record, State, Store
from serving.repository.manifest import Manifest

STEPS = ("locked", "intended", "loaded", "checked", "decided", "labelled", "settled", "logged", "committed")
AGAIN = "once the model server and the disk are well, any release command, or `start`, goes on from here"


def utc_now() -> str:
    """Return the time, ISO 8601."""
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds")


@dataclass(frozen=True)
class ReleaseContext:
    """Who releases what where. Without a `client` only files are written, for the server that starts next.

    `root` holds a folder for each model; `reached` is called after each of `STEPS`, for tests that stop there.
    """

    root: Path
    client: GrpcClient | None
    who: str
    load_timeout_s: float = 120.0
    clock: Clock = field(default_factory=Clock)
    now: Callable[[], str] = utc_now
    reached: Callable[[str], None] = lambda step: None


def change(
    context: ReleaseContext, model: str, what: str, before: State, after: State, proven: int | None = None
) -> State:
    """Go from one state to another, or stay where we are. `proven` is the version that must pass every check."""
    store = Store(context.root, model)
    if proven:
        vouched(store.base, proven)
    intent = Intent(_entry(context, store.base, what, before, after))
    store.write(Record(before, intent))
    context.reached("intended")
    try:
        _load_beside(context, model, before, after)
        context.reached("loaded")
        if proven and context.client:
            replay_golden(context.client, store.base, proven)
        context.reached("checked")
        store.write(Record(before, replace(intent, is_decided=True)))
        context.reached("decided")
        _move_labels(context, model, before, after)
    except (VouchError, OSError, KeyboardInterrupt) as error:
        _go_back(context, store, before, intent, why=error)
        raise
    _settle(context, store, intent)
    return after


def _load_beside(context: ReleaseContext, model: str, before: State, after: State) -> None:
    """Load what is to come, beside what serves and under the labels of before."""
    if not context.client:
        return
    earlier = {version: status_of(context.client, model, version) for version in after.labels.values()}
    _apply(context, model, Plan.of(before, also=after.loaded))
    for version, status in earlier.items():
        wait_available(
            context.client, model, version, timeout_s=context.load_timeout_s, clock=context.clock, before=status
        )


def _move_labels(context: ReleaseContext, model: str, before: State, after: State) -> None:
    _apply(context, model, Plan.of(after, also=before.loaded))
    context.reached("labelled")


def _settle(context: ReleaseContext, store: Store, intent: Intent) -> None:
    """Let go of what is not needed, and tell. Raises EnvironmentProblem; the change stands nevertheless."""
    after = intent.entry.after
    try:
        _apply(context, store.base.name, Plan.of(after))
        context.reached("settled")
        store.log(intent.entry)
        context.reached("logged")
        store.write(Record(after))
    except (VouchError, OSError) as error:
        what = f"{intent.entry.what} of {store.base.name} is done, but could not be put on record"
        raise EnvironmentProblem(what, got=error, fix=AGAIN) from None
    context.reached("committed")


def _go_back(context: ReleaseContext, store: Store, before: State, intent: Intent, why: BaseException | str) -> None:
    """Put everything back as it was. Raises EnvironmentProblem if that fails too; the intent then stands."""
    model, entry = store.base.name, intent.entry
    reason = (why.what if isinstance(why, VouchError) else str(why)) or type(why).__name__
    try:
        store.write(Record(before, replace(intent, is_decided=False)))
        _apply(context, model, Plan.of(before, also=entry.after.loaded))
        _apply(context, model, Plan.of(before))
        store.log(replace(entry, outcome=f"undone: {reason}"))
        store.write(Record(before))
    except (VouchError, OSError) as error:
        raise EnvironmentProblem(
            f"{entry.what} of {model} failed, and so did going back", got=f"{reason}; then: {error}", fix=AGAIN
        ) from None


def recovered(context: ReleaseContext, model: str) -> State | None:
    """Return the state after completing or undoing what a crash left; None if no version can be vouched for.

    A model without a release, or without its stable version on disk, gets the newest one vouched for as stable.
    """
    store = Store(context.root, model)
    record = store.read()
    if record and record.intent:
        record = _finished(context, store, record.state, record.intent)
    if record and (store.base / str(record.state.stable)).is_dir():
        return record.state
    newest = newest_vouched(store.base)
    if newest is None:
        return None
    before, after = record.state if record else None, State(newest)
    if context.client:
        _first(context, context.client, store, newest)
    store.log(_entry(context, store.base, "replace" if before else "first", before, after))
    store.write(Record(after))
    return after


def _first(context: ReleaseContext, client: GrpcClient, store: Store, version: int) -> None:
    """Have a server that runs load a model that it does not serve yet; the config is as before if it cannot."""
    model = store.base.name
    try:
        _apply(context, model, Plan.of(State(version)))
        wait_available(client, model, version, timeout_s=context.load_timeout_s, clock=context.clock, before=None)
        replay_golden(client, store.base, version)
    except (VouchError, OSError, KeyboardInterrupt):
        with suppress(VouchError, OSError):
            client.reload_config(write_config(context.root))
        raise


def _finished(context: ReleaseContext, store: Store, before: State, intent: Intent) -> Record:
    """Complete a change that was decided, undo one that was not."""
    after = intent.entry.after
    if not intent.is_decided:
        _go_back(context, store, before, intent, why="cut short")
        return Record(before)
    try:
        _move_labels(context, store.base.name, before, after)
    except VouchError as error:  # the server lost what was loaded
        _go_back(context, store, before, intent, why=error)
        return Record(before)
    _settle(context, store, intent)
    return Record(after)


def _apply(context: ReleaseContext, model: str, plan: Plan) -> None:
    """Write the config of all models, then have the server read it: a server that polls the file sees the same."""
    config = write_config(context.root, {model: plan})
    if context.client:
        context.client.reload_config(config)


def _entry(context: ReleaseContext, base: Path, what: str, before: State | None, after: State) -> Entry:
    """Describe a change, with what the manifest of its version says."""
    version = after.candidate or after.stable
    try:
        manifest = Manifest.read(base / str(version))
        said = (manifest.run_id, manifest.digest, manifest.sentences.get("evaluation", ""))
    except DataError:
        said = ("", "", "no manifest")
    return Entry(uuid.uuid4().hex, context.now(), context.who, what, before, after, *said)

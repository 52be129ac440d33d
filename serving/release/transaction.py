"""Change what is released, whole or not at all, without a request that finds nothing to answer it.

    intend    write down what is about to happen
    load      the version comes beside those that serve; no label moves
    check     it answers its golden rows, on every server
    decide    from here on the change is completed, whatever happens; until here it is undone
    label     the labels move, while all versions stay loaded
    settle    versions no longer needed are unloaded
    log, commit

A process that dies in between leaves an intent behind; the next command, or the next start, completes or undoes it.
"""

from __future__ import annotations

import uuid
from dataclasses import replace
from pathlib import Path

from common.errors import DataError, EnvironmentProblem, VouchError
from serving.release.checks import replay_golden, vouched
from serving.release.servers import Plan, ReleaseContext, bring_back, label, load, recorded, settle, write_config
from serving.release.state import Entry, Intent, Record, State, Store, utc_now
from serving.repository.manifest import Manifest

STEPS = ("locked", "intended", "loaded", "checked", "decided", "labelled", "settled", "logged", "committed")
AGAIN = "once the model servers and the disk are well, any release command, or `start`, goes on from here"


def change(
    context: ReleaseContext, model: str, what: str, before: State, after: State, proven: int | None = None
) -> State:
    """Go from one state to another, or stay where we are. `proven` is the version that must pass every check."""
    store = Store(context.root, model)
    if proven:
        vouched(store.base, proven)
    intent = Intent(entry_of(context, store.base, what, before, after))
    store.write(Record(before, intent))
    try:
        context.reached("intended")
        load(context, model, Plan.of(before, also=after.loaded), after.labels.values())
        context.reached("loaded")
        if proven:
            _replay(context, store.base, proven)
        context.reached("checked")
        store.write(Record(before, replace(intent, is_decided=True)))
        context.reached("decided")
        label(context, model, Plan.of(after, also=before.loaded))
        context.reached("labelled")
    except BaseException as error:  # whatever it is, nothing half-done may stay
        _undo_or_tell(context, store, before, intent, error)
        raise
    _complete(context, store, intent.entry)
    return after


def first(context: ReleaseContext, model: str, version: int) -> State:
    store, after = Store(context.root, model), State(version)
    vouched(store.base, version)
    try:
        load(context, model, Plan((version,), {}), [version])
        _replay(context, store.base, version)
        label(context, model, Plan.of(after))
    except BaseException:
        bring_back(context, model, None)
        write_config(context.root)
        raise
    _complete(context, store, entry_of(context, store.base, "first", None, after))
    return after


def recovered(context: ReleaseContext, model: str) -> State | None:
    """Return the state after completing or undoing what a crash left, None before the first release.

    A state that is lost or broken is restored from the log.
    """
    store, record = Store(context.root, model), recorded(context.root, model)
    if record is None:
        return None
    if record.intent:
        return _finished(context, store, record.state, record.intent)
    if store.intact() is None:
        store.write(record)
    return record.state


def entry_of(context: ReleaseContext, base: Path, what: str, before: State | None, after: State) -> Entry:
    try:
        manifest = Manifest.read(base / str(after.candidate or after.stable))
        said = (manifest.run_id, manifest.digest, manifest.sentences.get("evaluation", ""))
    except DataError:
        said = ("", "", "no manifest")
    return Entry(uuid.uuid4().hex, utc_now(), context.who, what, before, after, *said)


def _replay(context: ReleaseContext, base: Path, version: int) -> None:
    for client in context.clients:
        replay_golden(client, base, version)


def _complete(context: ReleaseContext, store: Store, entry: Entry) -> None:
    """Let go of what is not needed, and tell. Raises EnvironmentProblem; the change stands nevertheless."""
    try:
        settle(context, store.base.name, Plan.of(entry.after))
        context.reached("settled")
        store.log(entry)
        context.reached("logged")
        store.write(Record(entry.after))
    except (VouchError, OSError) as error:
        what = f"{entry.what} of {store.base.name} is done, but could not be put on record"
        raise EnvironmentProblem(what, got=error, fix=AGAIN) from None
    context.reached("committed")


def _undo(context: ReleaseContext, store: Store, before: State, intent: Intent, reason: str) -> list[str]:
    """Put everything back as it was, and return which server could not be told so."""
    store.write(Record(before, replace(intent, is_decided=False)))
    problems = bring_back(context, store.base.name, before)
    write_config(context.root, {store.base.name: Plan.of(before)})
    store.log(replace(intent.entry, outcome=f"undone: {reason}"))
    store.write(Record(before))
    return problems


def _undo_or_tell(context: ReleaseContext, store: Store, before: State, intent: Intent, error: BaseException) -> None:
    """Undo. Raises EnvironmentProblem if that is not possible everywhere now."""
    reason = (error.what if isinstance(error, VouchError) else str(error)) or type(error).__name__
    failed = f"{intent.entry.what} of {store.base.name} failed"
    try:
        problems = _undo(context, store, before, intent, reason)
    except (VouchError, OSError) as another:
        raise EnvironmentProblem(
            f"{failed}, and was cut short in going back", got=f"{reason}; then: {another}", fix=AGAIN
        ) from error
    if problems:
        got = "; ".join([reason, *problems])
        raise EnvironmentProblem(
            f"{failed}, and not every server could be told to go back", got=got, fix=AGAIN
        ) from error


def _finished(context: ReleaseContext, store: Store, before: State, intent: Intent) -> State:
    """Complete a change that was decided, undo one that was not."""
    model, after = store.base.name, intent.entry.after
    reason = "cut short"
    if intent.is_decided:
        plan = Plan.of(after, also=before.loaded)
        try:
            load(context, model, plan, after.labels.values())
            label(context, model, plan)
        except VouchError as error:  # the servers lost what was loaded, and cannot load it again
            reason = error.what
        else:
            _complete(context, store, intent.entry)
            return after
    _undo(context, store, before, intent, reason)
    return before

"""What needs no server: the files, and putting them in order before a server starts."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from common.errors import DataError, EnvironmentProblem
from serving.release import commands as release
from serving.release.servers import ReleaseContext
from serving.release.state import (
    CONFIG,
    HOLDER,
    LOCK,
    LOG,
    STATE,
    Entry,
    Intent,
    Record,
    State,
    Store,
    one_at_a_time,
    routing,
)
from serving.repository.layout import MANIFEST, models
from serving.repository.manifest import GateVerdict
from tests.support.serving.configs import parse_config
from tests.support.serving.versions import BLESSED, bare_version

ENTRY = Entry("1", "2026-11-21T09:00:00+00:00", "me", "promote", State(1), State(2, 1), "run", "digest", "Blessed")


def context(root: Path) -> ReleaseContext:
    return ReleaseContext(root, (), "tester")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    bare_version(tmp_path / "m", 1)
    bare_version(tmp_path / "m", 2)
    return Store(tmp_path, "m")


@pytest.mark.parametrize(
    "record", [Record(State(2, 1, 3, 12.5)), Record(State(1), Intent(ENTRY)), Record(State(1), Intent(ENTRY, True))]
)
def test_what_is_written_is_read(store: Store, record: Record) -> None:
    assert store.read() is None
    store.write(record)
    assert store.read() == record


@pytest.mark.parametrize(
    ("state", "words"),
    [
        (State(2), "version 2 is stable"),
        (State(2, 1), "version 2 is stable; 1 is kept loaded for a rollback"),
        (
            State(2, 1, 3, 10),
            "version 2 is stable, 3 is candidate with 10% of the requests; 1 is kept loaded for a rollback",
        ),
    ],
    ids=["stable", "previous", "candidate"],
)
def test_a_state_in_words(state: State, words: str) -> None:
    assert str(state) == words


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"state": {"stable": 1, "more": 2}, "intent": null}'])
def test_a_damaged_state_is_told(store: Store, text: str) -> None:
    (store.base / STATE).write_text(text)
    with pytest.raises(DataError, match="is no release state"):
        store.read()


def test_the_log_grows_and_survives_a_torn_line(store: Store) -> None:
    assert store.history() == ()
    store.log(ENTRY)
    store.log(ENTRY)
    assert store.history() == (ENTRY,), "told once"
    with (store.base / LOG).open("a") as file:
        file.write('{"id": "2", "ti')
    later = replace(ENTRY, id="3", before=None, outcome="undone: it did not load")
    store.log(later)
    assert store.history() == (ENTRY, later)
    store.log(replace(later, id="4"))
    assert len((store.base / LOG).read_text().splitlines()) == 4, "no line is empty"


@pytest.mark.parametrize(
    ("before", "after", "wanted"),
    [
        (State(1), State(1, None, 2, 10.0), State(1)),
        (State(1, None, 2, 10.0), State(1), State(1)),
        (State(1, None, 2, 10.0), State(2, 1), State(1)),
        (State(1, None, 2, 10.0), State(1, None, 2, 50.0), State(1, None, 2, 10.0)),
        (State(1, None, 2, 10.0), State(1, None, 3, 10.0), State(1)),
    ],
    ids=["begins", "ends", "is promoted", "grows", "is another"],
)
def test_during_a_change_nobody_is_routed_to_a_label_that_may_be_missing(
    store: Store, before: State, after: State, wanted: State
) -> None:
    assert routing(store.base.parent, "m") is None
    store.write(Record(before, Intent(replace(ENTRY, after=after))))
    assert routing(store.base.parent, "m") == wanted
    store.write(Record(after))
    assert routing(store.base.parent, "m") == after


def test_the_holder_of_the_lock_is_named(tmp_path: Path) -> None:
    with (
        one_at_a_time(tmp_path, "first"),
        pytest.raises(EnvironmentProblem, match=f"first, process {os.getpid()}, since 20..-..-..T"),
        one_at_a_time(tmp_path, "second"),
    ):
        pass
    with one_at_a_time(tmp_path, "third"):
        pass


def test_before_the_first_start_the_newest_version_becomes_stable(store: Store) -> None:
    root = store.base.parent
    bare_version(root / "n", 5)
    bare_version(store.base, 3, verdicts={})
    (bare_version(store.base, 4) / "more").write_text("")
    bare_version(root / "unfit", 1, verdicts=BLESSED | {"serving": GateVerdict(False, "no")})
    assert models(root) == ["m", "n", "unfit"]
    assert release.prepare(context(root))[0] == {"m": State(2), "n": State(5)}
    assert [(e.what, e.after) for e in store.history()] == [("first", State(2))]
    configs = parse_config((root / CONFIG).read_text()).model_config_list.config
    assert [
        (c.name, c.base_path, list(c.model_version_policy.specific.versions), dict(c.version_labels)) for c in configs
    ] == [("m", str(root / "m"), [2], {"stable": 2}), ("n", str(root / "n"), [5], {"stable": 5})]
    assert release.prepare(context(root))[0] == {"m": State(2), "n": State(5)}
    assert len(store.history()) == 1, "the second start changes nothing"


@pytest.mark.parametrize("is_decided", [False, True])
def test_a_start_completes_or_undoes_what_a_crash_left(store: Store, is_decided: bool) -> None:
    store.write(Record(State(1), Intent(ENTRY, is_decided)))
    wanted = State(2, 1) if is_decided else State(1)
    assert release.prepare(context(store.base.parent))[0] == {"m": wanted}
    assert store.read() == Record(wanted)
    [entry] = store.history()
    assert entry.outcome == ("done" if is_decided else "undone: cut short")


def test_a_stable_version_that_was_removed_is_replaced(store: Store) -> None:
    store.write(Record(State(7, 6)))
    assert release.prepare(context(store.base.parent))[0] == {"m": State(2)}
    assert [(e.what, e.before, e.after) for e in store.history()] == [("replace", State(7, 6), State(2))]


def test_in_place_of_a_lost_version_comes_the_last_that_was_stable_and_not_the_newest(store: Store) -> None:
    bare_version(store.base, 3)
    store.log(replace(ENTRY, id="0", before=None, after=State(1)))
    store.log(replace(ENTRY, id="2", after=State(3), outcome="undone: its answers are wrong"))
    store.write(Record(State(7)))
    assert release.prepare(context(store.base.parent))[0] == {"m": State(1)}
    store.write(Record(State(7, 2)))
    assert release.prepare(context(store.base.parent))[0] == {"m": State(2)}, "what was kept for a rollback"


def test_a_candidate_or_a_previous_version_that_is_lost_or_changed_is_let_go_of(store: Store) -> None:
    bare_version(store.base, 3).joinpath("saved_model.pb").write_bytes(b"other")
    store.write(Record(State(2, 1, 3, 10.0)))
    assert release.prepare(context(store.base.parent))[0] == {"m": State(2, 1)}
    (store.base / "1" / "more").write_text("")
    assert release.prepare(context(store.base.parent))[0] == {"m": State(2)}


def test_a_start_goes_on_with_a_canary(store: Store) -> None:
    bare_version(store.base, 3)
    store.write(Record(State(2, 1, 3, 10.0)))
    assert release.prepare(context(store.base.parent))[0] == {"m": State(2, 1, 3, 10.0)}
    assert store.history() == ()


@pytest.mark.parametrize("text", [None, "", "{", '{"state": {"stable": "1"}, "intent": null}'])
def test_a_start_restores_a_lost_state_and_does_not_guess(store: Store, text: str | None) -> None:
    bare_version(store.base, 3)
    store.log(ENTRY)
    if text is not None:
        (store.base / STATE).write_text(text)
    assert release.prepare(context(store.base.parent))[0] == {"m": State(2, 1)}
    assert store.read() == Record(State(2, 1))


def test_without_state_and_log_it_is_what_the_config_says(store: Store) -> None:
    store.write(Record(State(1)))
    release.prepare(context(store.base.parent))
    for name in (STATE, LOG):
        (store.base / name).unlink(missing_ok=True)
    assert release.prepare(context(store.base.parent))[0] == {"m": State(1)}


def test_one_models_trouble_is_told_and_stops_no_other(store: Store) -> None:
    root = store.base.parent
    for name, value in {"list": "[]", "checksums": "null"}.items():
        manifest = bare_version(root / name, 1) / MANIFEST
        values = json.loads(manifest.read_text())
        manifest.write_text(value if name == "list" else json.dumps(values | {"checksums": None}))
    bare_version(root / "log", 1)
    (root / "log" / LOG).mkdir()
    (root / "loop").symlink_to(root / "loop")
    (root / "m" / "20261129213046123456").mkdir()
    states, refused = release.prepare(context(root))
    assert states == {"m": State(2)}
    assert set(refused) == {"list", "checksums", "log", "loop"}
    assert isinstance(refused["log"], EnvironmentProblem)
    assert "its files are not what was vouched for" in refused["list"].what
    assert [config.name for config in parse_config((root / CONFIG).read_text()).model_config_list.config] == ["m"]


@pytest.mark.parametrize("name", [LOCK, f"m/{STATE}", f"m/{LOG}"])
def test_what_cannot_be_written_is_one_sentence(store: Store, name: str) -> None:
    store.write(Record(State(1)))
    path = store.base.parent / name
    path.unlink(missing_ok=True)
    path.mkdir()
    with pytest.raises(EnvironmentProblem, match=r"cannot be|could not be") as told:
        release.promote(context(store.base.parent), "m", 2)
    assert told.value.exit_code == 5


def test_a_release_needs_no_name_of_its_holder(store: Store) -> None:
    store.write(Record(State(1)))
    (store.base.parent / HOLDER).mkdir()
    assert release.promote(context(store.base.parent), "m", 2) == State(2, 1)


def test_the_files_are_left_alone_by_a_model_server(store: Store) -> None:
    store.write(Record(State(1)))
    store.log(ENTRY)
    assert not [path.name for path in store.base.iterdir() if path.is_file() and path.name.isdecimal()]
    assert json.loads((store.base / STATE).read_text())["state"]["stable"] == 1

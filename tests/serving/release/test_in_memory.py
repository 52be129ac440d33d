"""Each no of a release, and each way back, on servers in memory. On real ones: test_commands.py, test_servers.py."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from common.errors import ConfigError, DataError, EnvironmentProblem, GateRefused
from serving.client.errors import InvalidRequest, ModelNotFound, ModelServerDown, ModelServerFailed
from serving.client.types import VersionStatus
from serving.release import commands as release
from serving.release.checks import (
    STALE_S,
    TOLERANCE,
    is_vouched,
    newest_vouched,
    replay_golden,
    status_of,
    vouched,
    wait_available,
    why_none,
)
from serving.release.servers import Plan, ReleaseContext, ServerView, make_config, recorded
from serving.release.state import CONFIG, LOG, STATE, Entry, Intent, Record, State, Store
from serving.release.transaction import STEPS
from tests.support.serving.configs import parse_config
from tests.support.serving.memory_server import MemoryServer, memory_context
from tests.support.serving.versions import BLESSED, bare_version, copy_version, tiny_files, unloadable, wrong_golden

MODEL = "m"


class Site:
    """A model whose version 1 is released on two servers, with 2 and 3 pushed since."""

    def __init__(self, folder: Path) -> None:
        self.root, self.tiny = folder / "serving", tiny_files(folder / "tiny")
        self.base, self.store = self.root / MODEL, Store(self.root, MODEL)
        self.servers = (MemoryServer("memory:1"), MemoryServer("memory:2"))
        self.context = memory_context(self.root, *self.servers)
        self.push(1)
        release.promote(self.context, MODEL)
        self.push(2)
        self.push(3)

    def push(self, version: int, change: Callable[[Path], None] = lambda folder: None) -> None:
        copy_version(self.tiny, self.base, version, change)

    def holds(self, state: State) -> None:
        """See that files, config and both servers have a state, and nothing else."""
        assert self.store.read() == Record(state)
        [entry] = parse_config((self.root / CONFIG).read_text()).model_config_list.config
        assert (tuple(entry.model_version_policy.specific.versions), dict(entry.version_labels)) == (
            state.loaded,
            state.labels,
        )
        for server in self.servers:
            assert (server.available(MODEL), server.labels[MODEL]) == (set(state.loaded), state.labels)
        assert release.differences(self.context, MODEL) == {"memory:1": "", "memory:2": ""}

    def outcomes(self) -> list[str]:
        return [entry.outcome for entry in self.store.history()]


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def failing_at(step: str, error: BaseException) -> Callable[[str], None]:
    def reached(now: str) -> None:
        if now == step:
            raise error

    return reached


def test_the_way_of_a_release(site: Site) -> None:
    site.holds(State(1))
    assert release.promote(site.context, MODEL) == State(3, 1), "the newest"
    site.holds(State(3, 1))
    assert release.promote(site.context, MODEL, 2) == State(2), "3 is larger, so it is not kept loaded"
    site.holds(State(2))
    assert release.canary(site.context, MODEL, 10) == State(2, None, 3, 10)
    site.holds(State(2, None, 3, 10))
    assert release.rollback(site.context, MODEL) == State(2)
    site.holds(State(2))
    with pytest.raises(DataError, match="no previous version to go back to\n  got: version 2 is stable"):
        release.rollback(site.context, MODEL)
    release.canary(site.context, MODEL, 100, 3)
    assert release.promote(site.context, MODEL) == State(3, 2), "the candidate"
    site.holds(State(3, 2))
    assert release.rollback(site.context, MODEL) == State(2)
    site.holds(State(2))
    assert [entry.what for entry in site.store.history()] == [
        "first",
        "promote",
        "promote",
        "canary 10%",
        "rollback",
        "canary 100%",
        "promote",
        "rollback",
    ]


def test_each_step_is_reached_once_and_in_order(site: Site) -> None:
    steps, decided = list[str](), list[str]()

    def reached(step: str) -> None:
        steps.append(step)
        record = site.store.read()
        if record and record.intent and record.intent.is_decided:
            decided.append(step)

    release.promote(replace(site.context, reached=reached), MODEL)
    assert tuple(steps) == STEPS
    assert decided == ["decided", "labelled", "settled", "logged"]


@pytest.mark.parametrize("share", [0, 100])
def test_a_share_may_be_nothing_or_all(site: Site, share: float) -> None:
    release.canary(site.context, MODEL, 50)
    state = release.canary(site.context, MODEL, share)
    assert state == (State(1, None, 3, 100) if share else State(1))
    site.holds(state)


@pytest.mark.parametrize("share", [-0.1, 100.1, float("nan")])
def test_what_is_no_share_is_refused(site: Site, share: float) -> None:
    with pytest.raises(ConfigError, match="no share of the requests"):
        release.canary(site.context, MODEL, share)
    site.holds(State(1))


def test_the_end_of_a_canary_that_is_not_there_changes_nothing(site: Site) -> None:
    assert release.canary(site.context, MODEL, 0) == State(1)
    assert site.outcomes() == ["done"]


def test_a_canary_needs_a_stable_version_and_another(site: Site) -> None:
    with pytest.raises(DataError, match="no version to try beside"):
        release.canary(site.context, MODEL, 10, 1)
    bare_version(site.root / "other", 1)
    with pytest.raises(DataError, match="nothing of other is released yet"):
        release.canary(site.context, "other", 10)
    with pytest.raises(DataError, match="no previous version to go back to\n  got: nothing is released"):
        release.rollback(site.context, "other")


@pytest.mark.parametrize(
    ("error", "raised", "reason"),
    [
        (GateRefused("a gate", got="more"), GateRefused, "a gate"),
        (OSError(28, "No space left"), EnvironmentProblem, "[Errno 28] No space left"),
        (KeyboardInterrupt(), KeyboardInterrupt, "KeyboardInterrupt"),
    ],
    ids=["refused", "disk", "Ctrl-C"],
)
@pytest.mark.parametrize("step", STEPS[1 : STEPS.index("settled")])
def test_what_goes_wrong_before_the_end_is_undone_on_every_server(
    site: Site, step: str, error: BaseException, raised: type[BaseException], reason: str
) -> None:
    with pytest.raises(raised):
        release.promote(replace(site.context, reached=failing_at(step, error)), MODEL, 2)
    site.holds(State(1))
    assert site.outcomes() == ["done", f"undone: {reason}"]
    assert release.promote(site.context, MODEL, 2) == State(2, 1)


@pytest.mark.parametrize("step", ["settled", "logged"])
def test_what_goes_wrong_afterwards_is_told_and_the_change_stands(site: Site, step: str) -> None:
    context = replace(site.context, reached=failing_at(step, OSError(28, "No space left")))
    with pytest.raises(EnvironmentProblem, match="promote of m is done, but could not be put on record"):
        release.promote(context, MODEL, 2)
    assert "promote was cut short" in release.differences(site.context, MODEL)["memory:1"]
    assert release.promote(site.context, MODEL, 2) == State(2, 1)
    site.holds(State(2, 1))
    assert site.outcomes() == ["done", "done"], "told once"


def test_a_server_that_cannot_be_told_to_go_back_is_named(site: Site) -> None:
    def reached(step: str) -> None:
        site.servers[1].is_down = step == "loaded" or site.servers[1].is_down

    with pytest.raises(EnvironmentProblem, match=r"not every server could be told to go back[\s\S]*memory:2") as error:
        release.promote(replace(site.context, reached=reached), MODEL, 2)
    assert "memory:1" not in str(error.value)
    site.servers[1].is_down = False
    assert release.promote(site.context, MODEL, 1) == State(1)
    site.holds(State(1))


def test_a_disk_that_fails_on_the_way_back_too_leaves_the_intent_for_the_next_command(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(store: Store, entry: Entry) -> None:
        raise OSError(28, "No space left")

    with monkeypatch.context() as patch:
        patch.setattr(Store, "log", full)
        with pytest.raises(EnvironmentProblem, match="failed, and was cut short in going back") as error:
            release.promote(replace(site.context, reached=failing_at("checked", GateRefused("a gate"))), MODEL, 2)
    assert "a gate; then: [Errno 28] No space left" in str(error.value)
    assert site.store.intact() != Record(State(1))
    assert release.promote(site.context, MODEL, 1) == State(1)
    site.holds(State(1))
    assert site.outcomes() == ["done", "undone: cut short"]


@pytest.mark.parametrize("is_decided", [False, True])
@pytest.mark.parametrize("loads", [True, False])
def test_what_a_crash_left_is_completed_if_it_was_decided_and_still_loads(
    site: Site, is_decided: bool, loads: bool
) -> None:
    if not loads:
        shutil.rmtree(site.base / "2")
        site.push(2, unloadable)
    entry = Entry("1", "2026-11-21T09:00:00+00:00", "me", "promote", State(1), State(2, 1), "", "", "")
    site.store.write(Record(State(1), Intent(entry, is_decided)))
    wanted = State(2, 1) if is_decided and loads else State(1)
    assert release.canary(site.context, MODEL, 0) == wanted
    site.holds(wanted)
    outcome = site.outcomes()[-1]
    if wanted == State(1):
        assert outcome == (
            "undone: the model server could not load version 2 of m" if is_decided else "undone: cut short"
        )
    else:
        assert outcome == "done"


def test_a_first_release_that_fails_leaves_the_model_out(site: Site) -> None:
    base = site.root / "other"
    copy_version(site.tiny, base, 1, wrong_golden)
    with pytest.raises(GateRefused, match="answers by serving_default are wrong"):
        release.promote(site.context, "other", 1)
    assert Store(site.root, "other").read() is None
    assert [set(server.statuses) for server in site.servers] == [{MODEL}, {MODEL}]
    site.holds(State(1))
    copy_version(site.tiny, base, 2)
    assert release.promote(site.context, "other") == State(2)
    [entry] = Store(site.root, "other").history()
    assert (entry.what, entry.before, entry.after, entry.run_id, entry.verdict) == (
        "first",
        None,
        State(2),
        "run",
        "auc is 0.98 on 102 test rows.",
    )


def test_a_label_that_a_server_does_not_move_undoes_the_release(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    obey = MemoryServer.reload_config

    def stubborn(server: MemoryServer, config: Any) -> None:
        obey(server, config)
        if server is site.servers[1]:
            server.labels[MODEL]["stable"] = 1

    monkeypatch.setattr(MemoryServer, "reload_config", stubborn)
    with pytest.raises(ModelServerFailed, match="at memory:2 did not move the labels of m"):
        release.promote(site.context, MODEL, 2)
    monkeypatch.undo()
    site.holds(State(1))


@pytest.mark.parametrize("is_told", [False, True], ids=["before it is told of the label", "after that"])
def test_a_server_that_takes_a_step_back_is_told_again(
    site: Site, monkeypatch: pytest.MonkeyPatch, is_told: bool
) -> None:
    """What it polls may be a copy that lags behind: by that it lets the new version go, and moves the label back."""
    obey, older, polls = MemoryServer.reload_config, make_config(site.root, {}), [1]

    def polling(server: MemoryServer, config: Any) -> None:
        obey(server, config)
        if server is site.servers[1] and server.labels[MODEL]["stable"] == 2 and polls:
            polls.pop()
            obey(server, older)

    def lag(step: str) -> None:
        if step == "checked" and is_told:
            monkeypatch.setattr(MemoryServer, "reload_config", polling)
        elif step == "checked":
            obey(site.servers[1], older)

    assert release.promote(replace(site.context, reached=lag), MODEL, 2) == State(2, 1)
    site.holds(State(2, 1))


def test_a_version_that_is_not_there_is_refused_before_any_server_is_told(site: Site) -> None:
    before, told = site.store.read(), [server.reloads for server in site.servers]
    with pytest.raises(DataError):
        release.promote(site.context, MODEL, 4)
    with pytest.raises(DataError):
        release.canary(site.context, MODEL, 10, 4)
    assert site.store.read() == before
    assert [server.reloads for server in site.servers] == told


def test_with_a_server_down_nothing_is_begun(site: Site) -> None:
    site.servers[1].is_down = True
    reloads = site.servers[0].reloads
    with pytest.raises(ModelServerDown):
        release.promote(site.context, MODEL, 2)
    assert (site.servers[0].reloads, site.outcomes()) == (reloads, ["done"])
    assert release.differences(site.context, MODEL) == {"memory:1": "", "memory:2": "memory:2 gives no answer"}


def test_what_is_stable_already_is_left_alone_where_the_servers_have_it(site: Site) -> None:
    reloads = [server.reloads for server in site.servers]
    assert release.promote(site.context, MODEL, 1) == State(1)
    assert [server.reloads for server in site.servers] == reloads
    site.servers[1].statuses, site.servers[1].labels = {}, {}
    assert "label stable answers with nothing instead of 1" in release.differences(site.context, MODEL)["memory:2"]
    assert release.promote(site.context, MODEL, 1) == State(1)
    site.holds(State(1))
    (site.base / "1" / "more").write_text("")
    with pytest.raises(GateRefused, match="not what was vouched for"):
        release.promote(site.context, MODEL, 1)


def test_a_version_that_failed_is_tried_again(site: Site) -> None:
    shutil.rmtree(site.base / "2")
    site.push(2, unloadable)
    for _ in range(2):
        with pytest.raises(GateRefused, match="could not load version 2 of m\n  got: no graph"):
            release.promote(site.context, MODEL, 2)
        site.holds(State(1))
    shutil.rmtree(site.base / "2")
    site.push(2)
    for server in site.servers:  # one that was asked for it once more, and still is
        server.statuses[MODEL][2] = VersionStatus(2, "END", "DATA_LOSS", "no graph")
    assert release.promote(site.context, MODEL, 2) == State(2, 1)


def test_a_server_that_would_refuse_another_models_labels_is_told_what_it_can_take(site: Site) -> None:
    copy_version(site.tiny, site.root / "other", 1)
    release.promote(site.context, "other")
    copy_version(site.tiny, site.root / "other", 2)
    release.promote(site.context, "other", 2)
    bare_version(site.root / "unreleased", 1)
    for server in site.servers:
        server.labels["other"]["stable"] = 1  # somebody's config; and what it should be on is gone
        server.statuses["other"] = {1: VersionStatus(1, "AVAILABLE")}
    shutil.rmtree(site.root / "other" / "2")
    assert release.promote(site.context, MODEL, 2) == State(2, 1)
    for server in site.servers:
        assert (server.labels[MODEL], server.labels["other"]) == ({"stable": 2}, {"stable": 1})
        assert "unreleased" not in server.statuses


def test_the_last_word_of_a_difference(site: Site) -> None:
    both = {number: VersionStatus(number, "AVAILABLE") for number in (1, 2, 3)}
    assert ServerView(both, {"stable": 2}).difference(State(2, 1)) == "version 3 is loaded as well"
    assert ServerView({2: both[2]}, {"stable": 2}).difference(State(2, 1)) == "version 1 is not loaded for a rollback"
    assert ServerView({2: both[2], 3: both[3]}, {"stable": 2, "candidate": 3}).difference(State(2)) == (
        "label candidate answers with version 3 instead of nothing; version 3 is loaded as well"
    )
    assert ServerView({1: VersionStatus(1, "LOADING"), 2: both[2]}, {"stable": 2}).difference(State(2)) == ""


def test_a_config_names_what_is_decided_and_leaves_out_what_was_never_released(site: Site) -> None:
    bare_version(site.root / "other", 1)
    entry = Entry("1", "2026-11-21T09:00:00+00:00", "me", "promote", State(1), State(2, 1), "", "", "")
    for is_decided, stable in ((False, 1), (True, 2)):
        site.store.write(Record(State(1), Intent(entry, is_decided)))
        [config] = make_config(site.root, {}).model_config_list.config
        assert (config.name, dict(config.version_labels)) == (MODEL, {"stable": stable})
    assert [c.name for c in make_config(site.root, {MODEL: None}).model_config_list.config] == []
    assert list(make_config(site.root, {MODEL: Plan((3,), {})}).model_config_list.config[0].version_labels) == []


def test_what_is_recorded_is_the_state_else_the_log_else_the_config(site: Site) -> None:
    release.promote(site.context, MODEL, 2)
    release.promote(replace(site.context, reached=lambda step: None), MODEL, 3)
    assert recorded(site.root, MODEL) == Record(State(3, 2))
    (site.base / STATE).unlink()
    assert recorded(site.root, MODEL) == Record(State(3, 2))
    (site.base / LOG).unlink()
    assert recorded(site.root, MODEL) == Record(State(3))
    (site.root / CONFIG).write_text("}")
    assert recorded(site.root, MODEL) is None


# ---- What a version must show


@pytest.mark.parametrize(
    ("statuses", "wanted"),
    [
        ([VersionStatus(2, "START"), VersionStatus(2, "AVAILABLE")], ""),
        ([VersionStatus(2, "END", "DATA_LOSS", "new")], "could not load version 2 of m\n  got: new"),
        ([VersionStatus(2, "END", "DATA_LOSS", "old"), VersionStatus(2, "AVAILABLE")], ""),
        ([VersionStatus(2, "END", "DATA_LOSS", "old")], "could not load version 2 of m\n  got: old"),
        ([VersionStatus(2, "END")], "was not loaded in time\n  wanted: loaded within 20 s\n  got: END"),
        ([VersionStatus(2, "LOADING")], "was not loaded in time"),
        ([VersionStatus(1, "AVAILABLE")], "never seen by the model server"),
        ([], "never seen by the model server"),
    ],
    ids=["loads", "fails", "failed before", "fails again", "rests", "takes long", "another's", "unknown"],
)
def test_a_version_is_waited_for_until_it_serves_or_fails_anew(
    tmp_path: Path, statuses: list[VersionStatus], wanted: str
) -> None:
    context = memory_context(tmp_path)

    class Server(MemoryServer):
        def status(self, model: str, spec: Any = None) -> tuple[VersionStatus, ...]:
            if not statuses:
                raise ModelNotFound(model)
            return (statuses.pop(0) if len(statuses) > 1 else statuses[0],)

    def wait() -> None:
        before = VersionStatus(2, "END", "DATA_LOSS", "old")
        wait_available(Server(), MODEL, 2, timeout_s=20, clock=context.clock, before=before)  # type: ignore[arg-type]

    if not wanted:
        wait()
        return
    with pytest.raises(GateRefused) as error:
        wait()
    for line in wanted.split("\n"):
        assert line in str(error.value)
    waited_s = context.clock.now()
    assert waited_s > STALE_S if "old" in wanted else waited_s == 0 if "new" in wanted else waited_s > 20


def test_a_version_that_a_server_never_saw_has_no_status(site: Site) -> None:
    client: Any = site.servers[0]
    assert status_of(client, MODEL, 1) == VersionStatus(1, "AVAILABLE")
    assert status_of(client, MODEL, 7) is None
    assert status_of(client, "unknown", 1) is None


@pytest.mark.parametrize(
    ("probabilities", "labels", "wanted"),
    [
        ([[0.75, 0.25], [0.25, 0.75]], ["B", "M"], ""),
        ([[0.75 + TOLERANCE * 0.99, 0.25], [0.25, 0.75]], ["B", "M"], ""),
        ([[0.75 + TOLERANCE * 1.01, 0.25], [0.25, 0.75]], ["B", "M"], "off by 1.0e-05"),
        ([[0.75, 0.25]], ["B", "M"], "off by inf"),
        (None, ["B", "M"], "off by inf"),
        ([[float("nan"), 0.25], [0.25, 0.75]], ["B", "M"], "off by inf"),
        ([[0.75, 0.25], [0.25, 0.75]], ["B", "B"], "other labels"),
        ([[0.75, 0.25], [0.25, 0.75]], None, "other labels"),
        (InvalidRequest("no", got="no such signature"), None, "does not answer its golden rows by serving_default"),
        (ModelNotFound("gone", got="gone"), None, "does not answer its golden rows by serving_default"),
    ],
)
def test_golden_rows_must_be_answered_as_promised(site: Site, probabilities: Any, labels: Any, wanted: str) -> None:
    class Server(MemoryServer):
        def predict(self, *arguments: Any, **options: Any) -> dict[str, Any]:
            if isinstance(probabilities, Exception):
                raise probabilities
            outputs = {"probabilities": probabilities, "label": labels}
            return {name: values for name, values in outputs.items() if values is not None}

    client: Any = Server()
    if not wanted:
        replay_golden(client, site.base, 1)
        return
    with pytest.raises(GateRefused, match="version 1 of m cannot be released") as error:
        replay_golden(client, site.base, 1)
    assert wanted in str(error.value)


def test_what_cannot_be_vouched_for_is_passed_over_and_told_why(tmp_path: Path) -> None:
    base = tmp_path / MODEL
    for version in (1, 2):
        bare_version(base, version)
    assert (newest_vouched(base), vouched(base, 2).version) == (2, 2)
    (base / "2" / "saved_model.pb").unlink()
    assert (newest_vouched(base), is_vouched(base, 1), is_vouched(base, 2), is_vouched(base, 3)) == (
        1,
        True,
        False,
        False,
    )
    assert "saved_model.pb is missing" in str(why_none(base))
    with pytest.raises(DataError, match="no version 3 of m\n  wanted: one of 1, 2"):
        vouched(base, 3)
    bare_version(base, 4, verdicts={"evaluation": BLESSED["evaluation"]})
    with pytest.raises(GateRefused, match="no verdict of the serving gate"):
        vouched(base, 4)
    shutil.rmtree(base / "2")
    shutil.rmtree(base / "4")
    assert str(why_none(base)).startswith(f"{base} changed while it was looked at")


def test_a_manifest_of_another_model_vouches_for_nothing(tmp_path: Path) -> None:
    shutil.move(bare_version(tmp_path / "other", 1), tmp_path / MODEL / "1")
    with pytest.raises(GateRefused, match="its manifest is another's\n  got: other version 1"):
        vouched(tmp_path / MODEL, 1)


def test_without_servers_a_release_is_for_the_one_that_starts_next(site: Site) -> None:
    alone = ReleaseContext(site.root, (), "tester")
    assert release.promote(alone, MODEL, 2) == State(2, 1)
    assert json.loads((site.base / STATE).read_text())["intent"] is None
    assert release.differences(alone, MODEL) == {}
    [difference] = {*release.differences(site.context, MODEL).values()}
    assert difference.startswith("label stable answers with version 1 instead of 2")

"""Releases on a server that runs. One server for the module; each test has a model of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from common.errors import ConfigError, DataError, EnvironmentProblem, GateRefused, VouchError
from serving.client import connect
from serving.client.errors import ModelServerDown
from serving.client.grpc import GrpcClient
from serving.client.types import ModelClient, VersionSpec
from serving.release import commands as release
from serving.release.state import Record, State, Store, routing
from serving.release.transaction import STEPS
from serving.repository.manifest import GateVerdict
from tests.support.paths import ROOT
from tests.support.serving.release_server import Hall
from tests.support.serving.releaser import Releaser
from tests.support.serving.versions import BLESSED, copy_version, unloadable, wrong_golden

pytestmark = pytest.mark.slow


def test_a_first_version_pushed_while_the_server_runs_is_released(hall: Hall) -> None:
    model = hall.model(1)
    assert (hall.version(model, "stable"), hall.version(model, "candidate")) == (1, None)
    assert hall.version("first", "stable") == 1, "the others are as they were"


def test_promote_and_rollback(hall: Hall) -> None:
    model = hall.model(1, 2, 3)
    assert release.promote(hall.context, model, 2) == State(2, previous=1)
    assert release.promote(hall.context, model) == State(3, previous=2)
    assert (hall.version(model, "stable"), hall.version(model)) == (3, 3)
    hall.settles(model, 2, 3)
    assert release.rollback(hall.context, model) == State(2)
    assert hall.version(model, "stable") == 2
    hall.settles(model, 2)
    assert hall.version(model) == 2, "clients without a label go back too"
    with pytest.raises(DataError, match="no previous version"):
        release.rollback(hall.context, model)
    told = [
        (e.what, e.before and e.before.stable, e.after.stable, e.who, e.outcome)
        for e in Store(hall.context.root, model).history()
    ]
    assert told == [
        ("first", None, 1, "tester", "done"),
        ("promote", 1, 2, "tester", "done"),
        ("promote", 2, 3, "tester", "done"),
        ("rollback", 3, 2, "tester", "done"),
    ]


def test_an_older_version_can_be_promoted_and_answers_everybody(hall: Hall) -> None:
    model = hall.model(2, 1)
    assert release.promote(hall.context, model, 1) == State(1)
    hall.settles(model, 1)
    assert hall.version(model) == 1


def test_what_is_stable_stays_so(hall: Hall) -> None:
    model = hall.model(1)
    before = Store(hall.context.root, model).history()
    assert release.promote(hall.context, model, 1) == State(1)
    assert Store(hall.context.root, model).history() == before


def test_a_canary_and_its_ends(hall: Hall) -> None:
    model = hall.model(1, 2, 3)
    release.promote(hall.context, model, 2)
    assert release.canary(hall.context, model, 10) == State(2, 1, 3, 10.0)
    assert (hall.version(model, "stable"), hall.version(model, "candidate"), hall.version(model)) == (2, 3, 3)
    assert routing(hall.context.root, model) == State(2, 1, 3, 10.0)
    assert release.canary(hall.context, model, 25).weight_percent == 25
    assert release.canary(hall.context, model, 0) == State(2, 1)
    assert hall.version(model, "candidate") is None
    release.canary(hall.context, model, 50)
    assert release.rollback(hall.context, model) == State(2, 1), "the last step was the canary"
    hall.settles(model, 1, 2)
    release.canary(hall.context, model, 50)
    assert release.promote(hall.context, model) == State(3, 2), "the candidate"
    assert (hall.version(model, "stable"), hall.version(model, "candidate")) == (3, None)
    with pytest.raises(DataError, match="no version to try beside"):
        release.canary(hall.context, model, 5)
    with pytest.raises(ConfigError, match="no share"):
        release.canary(hall.context, model, 101)


def changed(folder: Path) -> None:
    (folder / "saved_model.pb").write_bytes(b"other")


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (
            lambda hall, base: copy_version(hall.tiny, base, 2, verdicts={"serving": BLESSED["serving"]}),
            "did not bless",
        ),
        (
            lambda hall, base: copy_version(
                hall.tiny, base, 2, verdicts=BLESSED | {"evaluation": GateVerdict(False, "Blessed? No: auc missed")}
            ),
            "did not bless",
        ),
        (lambda hall, base: changed(copy_version(hall.tiny, base, 2)), "saved_model.pb was changed"),
        (lambda hall, base: (copy_version(hall.tiny, base, 2) / "assets.extra" / "manifest.json").unlink(), "manifest"),
        (lambda hall, base: (base / "2").mkdir(), "no valid manifest"),
        (lambda hall, base: copy_version(hall.tiny, base, 3).rename(base / "2"), "its manifest is another's"),
        (lambda hall, base: copy_version(hall.tiny, base, 2, wrong_golden), "answers by serving_default are wrong"),
        (lambda hall, base: copy_version(hall.tiny, base, 2, unloadable), "could not load version 2"),
        (
            lambda hall, base: copy_version(
                hall.tiny, base, 2, lambda f: (f / "assets.extra" / "golden.json").unlink()
            ),
            "carries no golden rows",
        ),
    ],
    ids=[
        "no verdict",
        "refused",
        "changed",
        "no manifest",
        "empty",
        "another's",
        "wrong answers",
        "does not load",
        "no golden rows",
    ],
)
def test_what_cannot_be_vouched_for_is_refused(hall: Hall, spoil: Callable[[Hall, Path], Any], told: str) -> None:
    model = hall.model(1)
    spoil(hall, hall.base(model))
    with pytest.raises(GateRefused, match=told):
        release.promote(hall.context, model)
    assert Store(hall.context.root, model).read() == Record(State(1))
    hall.settles(model, 1)
    assert hall.version(model, "stable") == 1


def test_a_candidate_is_checked_as_well(hall: Hall) -> None:
    model = hall.model(1)
    copy_version(hall.tiny, hall.base(model), 2, wrong_golden)
    with pytest.raises(GateRefused, match="are wrong"):
        release.canary(hall.context, model, 10)
    assert hall.version(model, "candidate") is None
    assert routing(hall.context.root, model) == State(1)


def test_an_unknown_version_or_model_is_refused(hall: Hall) -> None:
    with pytest.raises(DataError, match="no version 7 of first"):
        release.promote(hall.context, "first", 7)
    with pytest.raises(DataError, match="no model 'second'"):
        release.promote(hall.context, "second")


def test_without_a_server_nothing_is_promoted(hall: Hall) -> None:
    model = hall.model(1, 2)
    with closing(GrpcClient("127.0.0.1:1")) as nobody, pytest.raises(ModelServerDown, match="serving start"):
        release.promote(replace(hall.context, clients=(nobody,)), model)
    assert Store(hall.context.root, model).read() == Record(State(1))


COMMANDS: dict[str, tuple[tuple[int, ...], State]] = {  # what they are given, and the state they lead to
    "promote": ((2,), State(2, 1)),
    "rollback": ((), State(1)),
    "canary": ((10, 2), State(1, None, 2, 10.0)),
}


@pytest.fixture(scope="module")
def releaser(hall: Hall) -> Iterator[Releaser]:
    with closing(Releaser(hall.context.root, hall.running.addresses.grpc)) as process:
        yield process


CUTS = ("loaded", "decided", "labelled", "settled")


@pytest.mark.parametrize(
    ("what", "step"), [("promote", s) for s in STEPS] + [(what, s) for what in ("rollback", "canary") for s in CUTS]
)
def test_killed_at_any_step_the_next_command_finds_or_makes_order(
    hall: Hall, releaser: Releaser, what: str, step: str
) -> None:
    model = hall.model(1, 2)
    if what == "rollback":
        release.promote(hall.context, model)
    store, (given, after) = Store(hall.context.root, model), COMMANDS[what]
    before, told = store.read(), len(store.history())
    assert before

    assert releaser.run(what, model, *given, die_at=step).is_killed
    route = routing(hall.context.root, model)
    assert route
    assert hall.version(model, "stable"), "somebody is stable all the time"
    assert route.candidate is None or hall.version(model, "candidate"), "no request is sent to a label not there"

    is_decided = STEPS.index(step) >= STEPS.index("decided")
    wanted = after if is_decided else before.state
    assert release.promote(hall.context, model, wanted.stable) == wanted, "nothing to do but to make order"
    assert store.read() == Record(wanted)
    assert (hall.version(model, "stable"), hall.version(model, "candidate")) == (wanted.stable, wanted.candidate)
    hall.settles(model, *wanted.loaded)
    outcomes = [entry.outcome for entry in store.history()][told:]
    assert outcomes == ([] if step == "locked" else ["done"] if is_decided else ["undone: cut short"])


def test_of_two_promoters_one_is_told_who_holds_it(hall: Hall) -> None:
    model = hall.model(1, 2)
    code = (
        "from pathlib import Path; from serving.release import commands as release;"
        "from serving.release.servers import ReleaseContext;"
        "from serving.client.grpc import GrpcClient;"
        f"client = GrpcClient({hall.running.addresses.grpc!r});"
        f"release.promote(ReleaseContext(Path({str(hall.context.root)!r}), (client,), 'second'), {model!r})"
    )

    def second(step: str) -> None:
        if step == "checked":
            done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
            assert done.returncode != 0
            assert f"got: tester, process {os.getpid()}, since 20" in done.stderr

    assert release.promote(replace(hall.context, reached=second), model).stable == 2


@pytest.mark.parametrize("step", ["loaded", "checked", "decided"])
def test_a_disk_that_is_full_leaves_what_was(hall: Hall, step: str) -> None:
    model = hall.model(1, 2)

    def full(reached: str) -> None:
        if reached == step:
            raise OSError(28, "No space left on device")

    with pytest.raises(EnvironmentProblem, match="No space left"):
        release.promote(replace(hall.context, reached=full), model)
    assert Store(hall.context.root, model).read() == Record(State(1))
    assert hall.version(model, "stable") == 1
    hall.settles(model, 1)


def test_after_the_labels_moved_a_full_disk_does_not_undo(hall: Hall) -> None:
    model = hall.model(1, 2)

    def full(reached: str) -> None:
        if reached == "settled":
            raise OSError(28, "No space left on device")

    with pytest.raises(EnvironmentProblem, match="is done, but could not be put on record"):
        release.promote(replace(hall.context, reached=full), model)
    assert release.promote(hall.context, model) == State(2, 1)


def test_no_request_fails_during_promotions_and_rollbacks(hall: Hall) -> None:
    model = hall.model(1, 2)
    stop, failures, answered = threading.Event(), list[VouchError](), list[int]()

    def ask(client: ModelClient, version_spec: VersionSpec) -> None:
        while not stop.is_set():
            try:
                client.predict(model, {"x": [0.25]}, version_spec)
                answered.append(1)
            except VouchError as error:
                failures.append(error)

    clients = [connect(hall.running.addresses, protocol) for protocol in ("rest", "grpc")]
    threads = [
        threading.Thread(target=ask, args=(client, version_spec))
        for client in clients
        for version_spec in (VersionSpec(), VersionSpec(label="stable"))
    ]
    for thread in threads:
        thread.start()
    try:
        for _ in range(4):
            release.promote(hall.context, model, 2)
            release.rollback(hall.context, model)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
        for client in clients:
            client.close()
    assert not failures
    assert len(answered) > 50


def test_a_pushed_model_can_be_released(hall: Hall, pipeline_run: Any) -> None:
    model = "breast_cancer"
    for version in (1, 2):
        copy_version(pipeline_run.serving / "1", hall.base(model), version)
    assert release.promote(hall.context, model) == State(2)
    golden = json.loads((hall.base(model) / "2" / "assets.extra" / "golden.json").read_text())
    with closing(connect(hall.running.addresses)) as client:
        answer = client.predict(model, golden["inputs"]["serving_default"], VersionSpec(label="stable"))
    assert answer["label"] == golden["outputs"]["label"]

from __future__ import annotations

import gc
import random
import threading
import weakref
from pathlib import Path

import pytest

from serving.server.core.transitions import ManagerOptions, Periodic, Transitions
from serving.server.core.versions import State, VersionId
from serving.server.flags import parse
from serving.server.status import Code, StatusError
from tests.support.serving.fakes import LIMIT_S, Fake, eventually

NOWHERE = Path("nowhere")
BROKEN = 5  # every fifth version cannot be loaded


def load(version: VersionId, _: Path) -> Fake:
    if version.version % BROKEN == 0:
        raise StatusError(Code.INTERNAL, "broken")
    return Fake(version)


class Reader(threading.Thread):
    """Use the newest version over and over; note what should never happen."""

    def __init__(self, transitions: Transitions[Fake]) -> None:
        super().__init__()
        self.transitions = transitions
        self.wrong: list[str] = []
        self.count = 0
        self.is_over = False

    def run(self) -> None:
        while not self.is_over:
            try:
                with self.transitions.available.acquire("m") as handle:
                    threading.Event().wait(0.0005)
                    if handle.servable.is_closed:
                        self.wrong.append(f"{handle.version} was closed while in use")
            except StatusError as error:
                self.wrong.append(str(error))
            self.count += 1


def test_a_failed_load_leaves_nothing_behind() -> None:
    half_loaded: list[weakref.ref[Fake]] = []

    def fail(version: VersionId, _: Path) -> Fake:
        session = Fake(version)
        half_loaded.append(weakref.ref(session))
        raise StatusError(Code.DATA_LOSS, "broken")

    transitions = Transitions(fail, ManagerOptions(max_num_load_retries=0))
    transitions.start()
    gc.disable()
    try:
        transitions.want({"m": {1: NOWHERE}})
        eventually(lambda: bool(transitions.in_state(State.END)))
        eventually(lambda: half_loaded[0]() is None)
    finally:
        gc.enable()
    transitions.stop(0)


def test_models_are_unloaded_before_others_are_loaded(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "serving")
    transitions = Transitions(load, ManagerOptions())
    transitions.start()
    transitions.want({"a": {1: NOWHERE}, "b": {1: NOWHERE}})
    eventually(lambda: len(transitions.in_state(State.AVAILABLE)) == 2)
    caplog.clear()
    transitions.want({"a": {1: NOWHERE, 2: NOWHERE}, "b": {}})
    eventually(lambda: len(transitions.in_state(State.END)) == 1 and len(transitions.in_state(State.AVAILABLE)) == 2)
    events = [line for line in caplog.messages if line.startswith(("Loading", "Unloading"))]
    assert events == [
        "Unloading servable version {name: b version: 1}",
        "Loading servable version {name: a version: 2}",
    ]
    transitions.stop(0)


def test_after_the_start_versions_load_one_by_one() -> None:
    gate, begun = threading.Event(), []

    def wait(version: VersionId, _: Path) -> Fake:
        begun.append(version)
        gate.wait(LIMIT_S)
        return Fake(version)

    transitions = Transitions(wait, ManagerOptions(num_load_threads=0))
    transitions.end_initial_load()
    transitions.start()
    transitions.want({"a": {1: NOWHERE}, "b": {1: NOWHERE}})
    eventually(lambda: len(transitions.in_state(State.LOADING)) == 2 and bool(begun))
    assert len(begun) == 1
    gate.set()
    eventually(lambda: len(transitions.in_state(State.AVAILABLE)) == 2)
    transitions.stop(0)


def test_what_cannot_be_closed_still_ends(caplog: pytest.LogCaptureFixture) -> None:
    class Stuck(Fake):
        def close(self) -> None:
            raise ValueError("no way")

    transitions = Transitions(lambda version, _: Stuck(version), ManagerOptions())
    transitions.start()
    transitions.want({"m": {1: NOWHERE}})
    eventually(lambda: bool(transitions.in_state(State.AVAILABLE)))
    transitions.want({"m": {}})
    eventually(lambda: bool(transitions.in_state(State.END)))
    assert "Closing servable version {name: m version: 1} failed" in caplog.text
    transitions.stop(0)


def test_the_options_are_those_of_the_flags() -> None:
    flags = ["--load_retry_interval_micros=-1", "--file_system_poll_wait_seconds=0", "--max_num_load_retries=2"]
    expected = ManagerOptions(max_num_load_retries=2, load_retry_interval_s=-1e-6, poll_wait_s=0.0)
    assert ManagerOptions.of(parse(flags)[0]) == expected
    assert ManagerOptions.of(parse([])[0]) == ManagerOptions()


def test_the_last_one_serves_until_a_going_one_wanted_again_is_back(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "serving")
    transitions = Transitions(load, ManagerOptions())
    transitions.start()
    transitions.want({"m": {1: NOWHERE}})
    eventually(lambda: bool(transitions.in_state(State.AVAILABLE)))
    with transitions.available.acquire("m"):
        transitions.want({"m": {2: NOWHERE}})
        eventually(lambda: bool(transitions.in_state(State.UNLOADING)))
        caplog.clear()
        transitions.want({"m": {1: NOWHERE}})
    eventually(lambda: [v.id.version for v in transitions.in_state(State.AVAILABLE)] == [1])
    events = [line for line in caplog.messages if line.startswith(("Successfully", "Unloading"))]
    assert events == [
        "Successfully loaded servable version {name: m version: 1}",
        "Unloading servable version {name: m version: 2}",
    ]
    transitions.stop(0)


@pytest.mark.parametrize("seed", range(3))
def test_whatever_is_wanted_some_version_serves_throughout(seed: int) -> None:
    chosen = random.Random(seed)
    transitions = Transitions(load, ManagerOptions(max_num_load_retries=0))
    transitions.start()
    transitions.want({"m": {1: NOWHERE}})
    eventually(lambda: bool(transitions.in_state(State.AVAILABLE)))
    readers = [Reader(transitions) for _ in range(2)]
    for reader in readers:
        reader.start()
    for _ in range(40):
        wanted = chosen.sample(range(1, 11), chosen.randint(1, 3))
        transitions.want({"m": dict.fromkeys(wanted, NOWHERE)})
        threading.Event().wait(chosen.choice([0, 0.001, 0.004]))
    transitions.want({"m": {11: NOWHERE}})
    eventually(lambda: [v.id.version for v in transitions.in_state(State.AVAILABLE)] == [11])
    for reader in readers:
        reader.is_over = True
        reader.join()
        assert reader.wrong == []
        assert reader.count > 10
    transitions.stop(1.0)
    assert {version.state for version in transitions.versions["m"].values()} == {State.END}


def test_an_error_is_logged_and_the_thread_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    calls: list[int] = []

    def fail() -> None:
        calls.append(1)
        raise ValueError("no luck")

    thread = Periodic("worker", fail, 0.001)
    thread.start()
    eventually(lambda: len(calls) > 2)
    thread.stop(LIMIT_S)
    count = len(calls)
    assert "worker failed and goes on" in caplog.text
    assert "no luck" in caplog.text
    assert "worker" not in {running.name for running in threading.enumerate()}
    assert len(calls) == count


def test_without_an_interval_it_waits_to_be_woken() -> None:
    calls: list[int] = []
    thread = Periodic("worker", lambda: calls.append(1), None)
    thread.start()
    eventually(lambda: len(calls) == 1)
    thread.wake()
    eventually(lambda: len(calls) == 2)
    thread.stop(LIMIT_S)
    assert len(calls) == 2


def test_one_never_started_can_be_stopped() -> None:
    Periodic("worker", lambda: None, 1.0).stop()

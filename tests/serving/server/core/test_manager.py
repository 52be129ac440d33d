from __future__ import annotations

import gc
import threading
import weakref
from pathlib import Path

import pytest

from serving.server.config import All, Latest, ModelConfig, Policy, Specific
from serving.server.core.manager import Manager, Source, choose, local_path
from serving.server.core.transitions import ManagerOptions
from serving.server.core.versions import State, VersionId
from serving.server.status import Code
from tests.support.serving.fakes import FAST, LIMIT_S, Fake, Loader, Make, eventually, export, model, refusal, states


def test_a_new_version_takes_over_and_the_old_one_goes(make: Make, loader: Loader, tmp_path: Path) -> None:
    manager = make(model(export(tmp_path / "m", 123)))
    manager.wait_until_available(LIMIT_S)
    with manager.acquire("m") as handle:
        old = handle.servable
        assert (handle.name, handle.version, old.id) == ("m", 123, VersionId("m", 123))
    gate = loader.hold("m", 124)
    export(tmp_path / "m", 124)
    eventually(lambda: states(manager).get(124) is State.LOADING)
    assert states(manager)[123] is State.AVAILABLE
    assert not old.is_closed
    gate.set()
    eventually(lambda: states(manager) == {124: State.AVAILABLE, 123: State.END})
    assert old.is_closed
    with manager.acquire("m") as handle:
        assert handle.version == 124
    assert refusal(lambda: manager.acquire("m", 123)) == "NOT_FOUND: Servable not found for request: Specific(m, 123)"


def test_going_back_keeps_the_newer_one_until_the_older_is_there(make: Make, loader: Loader, tmp_path: Path) -> None:
    manager = make(model(export(tmp_path / "m", 1, 2)))
    manager.wait_until_available(LIMIT_S)
    gate = loader.hold("m", 1)
    (tmp_path / "m" / "2").rename(tmp_path / "away")
    eventually(lambda: states(manager).get(1) is State.LOADING)
    assert states(manager)[2] is State.AVAILABLE
    gate.set()
    eventually(lambda: states(manager) == {2: State.END, 1: State.AVAILABLE})


def test_a_version_wanted_again_before_it_went_is_not_loaded_twice(make: Make, loader: Loader, tmp_path: Path) -> None:
    manager = make(model(export(tmp_path / "m", 1)))
    manager.wait_until_available(LIMIT_S)
    gate = loader.hold("m", 2)
    export(tmp_path / "m", 2)
    eventually(lambda: states(manager).get(2) is State.LOADING)
    (tmp_path / "m" / "2").rename(tmp_path / "away")
    eventually(lambda: manager._transitions.versions["m"][1].is_aspired)
    gate.set()
    eventually(lambda: states(manager) == {2: State.END, 1: State.AVAILABLE})
    (cancelled,) = manager.status("m", 2)
    assert (cancelled.code, cancelled.message) == (Code.CANCELLED, "Loading of servable cancelled")
    assert loader.loaded == [VersionId("m", 1), VersionId("m", 2)]


def test_a_failed_version_rests_with_its_error_and_the_old_one_serves(
    make: Make, loader: Loader, tmp_path: Path
) -> None:
    manager = make(model(export(tmp_path / "m", 1)))
    manager.wait_until_available(LIMIT_S)
    export(tmp_path / "m", 2, broken="no graph")
    eventually(lambda: states(manager) == {2: State.END, 1: State.AVAILABLE})
    (failed,) = manager.status("m", 2)
    assert (failed.code, failed.message) == (Code.DATA_LOSS, "no graph")
    export(tmp_path / "m", 3)
    eventually(lambda: states(manager) == {3: State.AVAILABLE, 2: State.END, 1: State.END})
    assert loader.attempts.count(VersionId("m", 2)) == 1


def test_a_failed_version_is_tried_again_once_it_had_gone(make: Make, loader: Loader, tmp_path: Path) -> None:
    manager = make(model(export(tmp_path / "m", 1), policy=All()))
    export(tmp_path / "m", 2, broken="not yet")
    eventually(lambda: states(manager) == {2: State.END, 1: State.AVAILABLE})
    (tmp_path / "m" / "2").rename(tmp_path / "away")
    eventually(lambda: not manager._transitions.versions["m"][2].is_aspired)
    (tmp_path / "away" / "broken").unlink()
    (tmp_path / "away").rename(tmp_path / "m" / "2")
    eventually(lambda: states(manager) == {2: State.AVAILABLE, 1: State.AVAILABLE})
    assert manager.status("m", 2)[0].code is Code.OK


def test_a_failed_load_is_repeated_as_often_as_asked(make: Make, loader: Loader, tmp_path: Path) -> None:
    options = ManagerOptions(poll_wait_s=0.01, max_num_load_retries=3, load_retry_interval_s=-1)
    manager = make(model(export(tmp_path / "m", 7, broken="bad")), options=options)
    expected = "UNKNOWN: 1 servable(s) did not become available: {{name: m version: 7} due to error: DATA_LOSS: bad}, }"
    assert refusal(lambda: manager.wait_until_available(LIMIT_S)) == expected
    assert len(loader.attempts) == 4


def test_a_wait_for_the_next_attempt_holds_nobody_up(make: Make, loader: Loader, tmp_path: Path) -> None:
    options = ManagerOptions(poll_wait_s=0.01, load_retry_interval_s=3600)
    manager = make(model(export(tmp_path / "m", 1)), options=options)
    manager.wait_until_available(LIMIT_S)
    export(tmp_path / "m", 2, broken="bad")
    eventually(lambda: VersionId("m", 2) in loader.attempts)
    assert states(manager) == {2: State.LOADING, 1: State.AVAILABLE}
    export(tmp_path / "m", 3)
    eventually(lambda: states(manager) == {3: State.AVAILABLE, 2: State.END, 1: State.END})
    assert manager.status("m", 2)[0].code is Code.CANCELLED
    export(tmp_path / "m", 4, broken="bad")
    eventually(lambda: VersionId("m", 4) in loader.attempts)
    manager.stop()  # and does not wait for the next attempt, an hour from now


def test_whatever_a_load_raises_ends_that_load_only(tmp_path: Path) -> None:
    def load(version: VersionId, _: Path) -> Fake:
        if version.name == "huge":
            raise MemoryError
        return Fake(version)

    manager = Manager(load, FAST)
    manager.start([ModelConfig("huge", str(export(tmp_path / "a" / "m", 1))), model(export(tmp_path / "m", 1))])
    expected = "1 servable(s) did not become available: {{name: huge version: 1} due to error: INTERNAL: MemoryError"
    assert expected in refusal(lambda: manager.wait_until_available(LIMIT_S))
    assert states(manager) == {1: State.AVAILABLE}
    manager.stop()


def test_models_load_in_parallel_at_the_start(make: Make, loader: Loader, tmp_path: Path) -> None:
    gates = [loader.hold(name, 1) for name in "ab"]
    manager = make(*(ModelConfig(name, str(export(tmp_path / name / "m", 1))) for name in "ab"))
    eventually(lambda: len(loader.attempts) == 2)
    for gate in gates:
        gate.set()
    manager.wait_until_available(LIMIT_S)


def test_a_version_in_use_is_closed_after_its_last_handle(make: Make, tmp_path: Path) -> None:
    manager = make(model(export(tmp_path / "m", 1)))
    manager.wait_until_available(LIMIT_S)
    kept = manager.acquire("m", 1)
    with manager.acquire("m", 1) as handle:
        servable = handle.servable
        export(tmp_path / "m", 2)
        eventually(lambda: states(manager) == {2: State.AVAILABLE, 1: State.UNLOADING})
    assert not servable.is_closed
    kept.release()
    eventually(lambda: states(manager)[1] is State.END)
    assert servable.is_closed


def test_nothing_keeps_an_unloaded_version_alive(make: Make, tmp_path: Path) -> None:
    manager = make(model(export(tmp_path / "m", 1)))
    manager.wait_until_available(LIMIT_S)
    gc.disable()
    try:
        with manager.acquire("m") as handle:
            gone = weakref.ref(handle.servable)
        del handle
        export(tmp_path / "m", 2)
        eventually(lambda: states(manager) == {2: State.AVAILABLE, 1: State.END})
        eventually(lambda: gone() is None)
    finally:
        gc.enable()


def test_without_any_version_left_the_model_is_unloaded(make: Make, tmp_path: Path) -> None:
    manager = make(model(export(tmp_path / "m", 1)))
    manager.wait_until_available(LIMIT_S)
    (tmp_path / "m" / "1").rename(tmp_path / "away")
    eventually(lambda: states(manager) == {1: State.END})
    assert refusal(lambda: manager.acquire("m")) == "NOT_FOUND: Servable not found for request: Latest(m)"


def test_a_missing_base_path_changes_nothing_for_any_model(
    make: Make, loader: Loader, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    other = ModelConfig("other", str(export(tmp_path / "o" / "m", 1)))
    manager = make(model(export(tmp_path / "m", 1)), other)
    manager.wait_until_available(LIMIT_S)
    (tmp_path / "m").rename(tmp_path / "away")
    eventually(lambda: "Could not find base path" in caplog.text)
    export(tmp_path / "o" / "m", 2)
    assert states(manager) == states(manager, "other") == {1: State.AVAILABLE}
    (tmp_path / "away").rename(tmp_path / "m")
    eventually(lambda: states(manager, "other") == {2: State.AVAILABLE, 1: State.END})
    assert states(manager) == {1: State.AVAILABLE}


@pytest.mark.parametrize(
    ("policy", "served"),
    [(Latest(2), {2, 3}), (All(), {1, 2, 3}), (Specific(frozenset({1, 3})), {1, 3})],
    ids=["latest 2", "all", "specific"],
)
def test_the_policy_says_what_is_served(make: Make, tmp_path: Path, policy: object, served: set[int]) -> None:
    manager = make(model(export(tmp_path / "m", 1, 2, 3), policy=policy))
    eventually(lambda: states(manager) == dict.fromkeys(served, State.AVAILABLE))
    assert [version.version for version in manager.status("m")] == sorted(served, reverse=True)
    with manager.acquire("m") as handle:
        assert handle.version == 3


def test_the_start_waits_for_a_first_version(make: Make, tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    manager = make(model(tmp_path / "m"))
    assert "DEADLINE_EXCEEDED" in refusal(lambda: manager.wait_until_available(0.05))
    export(tmp_path / "m", 1)
    manager.wait_until_available(LIMIT_S)


def test_a_wait_ends_when_the_server_stops(make: Make, tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    manager = make(model(tmp_path / "m"))
    stopper = threading.Timer(0.02, manager.stop)
    stopper.start()
    assert "CANCELLED" in refusal(lambda: manager.wait_until_available(LIMIT_S))
    stopper.join()


def test_unknown_models_and_versions_have_no_status(make: Make, tmp_path: Path) -> None:
    manager = make(model(export(tmp_path / "m", 1)))
    manager.wait_until_available(LIMIT_S)
    assert refusal(lambda: manager.status("n")) == "NOT_FOUND: Could not find any versions of model n"
    assert refusal(lambda: manager.status("m", 9)) == "NOT_FOUND: Could not find version 9 of model m"
    assert refusal(lambda: manager.acquire("n")) == "NOT_FOUND: Servable not found for request: Latest(n)"


def test_a_stopped_manager_closes_what_it_served(make: Make, tmp_path: Path) -> None:
    manager = make(model(export(tmp_path / "m", 1)))
    manager.wait_until_available(LIMIT_S)
    with manager.acquire("m") as handle:
        servable = handle.servable
    manager.stop(LIMIT_S)
    assert servable.is_closed
    assert states(manager) == {1: State.END}
    assert "NOT_FOUND" in refusal(lambda: manager.acquire("m"))


def test_a_handle_may_outlive_the_manager(make: Make, tmp_path: Path) -> None:
    manager = make(model(export(tmp_path / "m", 1)))
    manager.wait_until_available(LIMIT_S)
    with manager.acquire("m") as handle:
        manager.stop()
        assert not handle.servable.is_closed
    assert states(manager) == {1: State.UNLOADING}


def found(base: Path, policy: Policy | None = None) -> dict[int, str] | None:
    polled = Source().poll([ModelConfig("m", str(base), policy or Latest())])
    return None if polled is None else {version: path.name for version, path in polled["m"].items()}


def folders(base: Path, *names: str) -> Path:
    for name in names:
        (base / name).mkdir(parents=True)
    return base


def test_what_is_named_by_a_whole_int64_is_a_version(tmp_path: Path) -> None:
    names = ("00000123", "7", "-1", "9223372036854775807", "9223372036854775808", "1a", "v2", "1.0", "٣", "0x1")
    folders(tmp_path, *names)
    (tmp_path / "99").write_text("a file, which fails to load")
    (tmp_path / "98").symlink_to("nowhere")
    expected = {-1: "-1", 7: "7", 98: "98", 99: "99", 123: "00000123", 9223372036854775807: "9223372036854775807"}
    assert found(tmp_path, All()) == expected
    assert found(tmp_path) == {9223372036854775807: "9223372036854775807"}


def test_a_link_to_a_folder_is_a_version(tmp_path: Path) -> None:
    folders(tmp_path, "elsewhere")
    (tmp_path / "5").symlink_to(tmp_path / "elsewhere")
    assert found(tmp_path) == {5: "5"}


def test_of_two_folders_with_one_number_one_is_served(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folders(tmp_path, "123", "00000123")
    assert found(tmp_path, All()) == {123: "123"}
    assert "Version 123 will be loaded from 123, 00000123 will be ignored" in caplog.text


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        (Latest(), [10]),
        (Latest(2), [9, 10]),
        (Latest(99), [2, 9, 10]),
        (All(), [2, 9, 10]),
        (Specific(frozenset({2, 10, 77})), [2, 10]),
        (Specific(frozenset()), []),
    ],
    ids=str,
)
def test_a_policy_chooses_among_the_versions(policy: Policy, expected: list[int]) -> None:
    assert choose(policy, [10, 2, 9]) == expected


def test_a_missing_base_path_ends_the_whole_poll(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    there = ModelConfig("there", str(folders(tmp_path / "there", "1")))
    away = ModelConfig("away", str(tmp_path / "away"))
    assert Source().poll([there, away]) is None
    assert f"Could not find base path {tmp_path / 'away'} for servable away" in caplog.text


def test_a_base_path_without_versions_is_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert found(tmp_path) == {}
    assert f"No versions of servable m found under base path {tmp_path}" in caplog.text


def test_an_absent_specific_version_is_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folders(tmp_path, "1")
    assert found(tmp_path, Specific(frozenset({1, 2}))) == {1: "1"}
    assert "Version 2 of servable m" in caplog.text


def test_a_problem_is_told_once_until_it_had_gone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    source, models = Source(), [ModelConfig("m", str(tmp_path / "m"))]
    for _ in range(3):
        source.poll(models)
    assert caplog.text.count("Could not find base path") == 1
    folders(tmp_path / "m", "1")
    assert source.poll(models) == {"m": {1: tmp_path / "m" / "1"}}
    (tmp_path / "m").rename(tmp_path / "away")
    source.poll(models)
    assert caplog.text.count("Could not find base path") == 2


@pytest.mark.parametrize(
    ("base_path", "expected"),
    [("/a/b", "/a/b"), ("file:///a/b", "/a/b"), ("file://host/a/b", "/a/b"), ("gs://bucket/a", "gs:/bucket/a")],
)
def test_a_file_uri_is_a_path(base_path: str, expected: str) -> None:
    assert str(local_path(base_path)) == expected

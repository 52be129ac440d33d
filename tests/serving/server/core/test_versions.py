from __future__ import annotations

import threading
from itertools import product
from pathlib import Path

import pytest

from serving.server.core.versions import Action, Available, Loaded, State, Version, VersionId, next_action
from serving.server.status import StatusError

ASPIRED, LEFT = True, False


def versions(*known: tuple[int, State, bool]) -> list[Version[object]]:
    return [
        Version(VersionId("m", number), Path(str(number)), is_aspired=is_aspired, state=state)
        for number, state, is_aspired in known
    ]


CASES: dict[str, tuple[list[tuple[int, State, bool]], tuple[Action, int] | None]] = {
    "nothing known": ([], None),
    "the largest new one is loaded": (
        [(1, State.START, ASPIRED), (3, State.START, ASPIRED), (2, State.START, ASPIRED)],
        (Action.LOAD, 3),
    ),
    "a load under way is waited for": ([(1, State.AVAILABLE, LEFT), (2, State.LOADING, ASPIRED)], None),
    "the next is loaded before the last one goes": (
        [(1, State.AVAILABLE, LEFT), (2, State.START, ASPIRED)],
        (Action.LOAD, 2),
    ),
    "the old one goes once the new one serves": (
        [(1, State.AVAILABLE, LEFT), (2, State.AVAILABLE, ASPIRED)],
        (Action.UNLOAD, 1),
    ),
    "of several left the smallest goes first": (
        [(3, State.AVAILABLE, LEFT), (2, State.AVAILABLE, LEFT), (4, State.START, ASPIRED)],
        (Action.UNLOAD, 2),
    ),
    "all go when nothing is wanted": ([(1, State.AVAILABLE, LEFT)], (Action.UNLOAD, 1)),
    "a failed one replaces nothing": ([(1, State.AVAILABLE, LEFT), (2, State.END, ASPIRED)], None),
    "unloading comes before another load": (
        [(1, State.AVAILABLE, LEFT), (2, State.AVAILABLE, ASPIRED), (3, State.START, ASPIRED)],
        (Action.UNLOAD, 1),
    ),
    "the last one stays while one wanted again is going": (
        [(1, State.UNLOADING, LEFT), (2, State.AVAILABLE, LEFT)],
        None,
    ),
    "one going is left alone": ([(1, State.UNLOADING, LEFT), (2, State.END, LEFT)], None),
}


@pytest.mark.parametrize("name", CASES)
def test_the_next_transition(name: str) -> None:
    known, expected = CASES[name]
    step = next_action(versions(*known), is_any_wanted=name != "all go when nothing is wanted")
    assert (step if step is None else (step[0], step[1].id.version)) == expected


def test_the_last_available_version_never_goes_for_one_still_to_come() -> None:
    for *members, is_any_wanted in product(*[list(product(State, [ASPIRED, LEFT]))] * 3, [True, False]):
        known = versions(*((number, *member) for number, member in enumerate(members)))
        step = next_action(known, is_any_wanted)
        if step is None or step[0] is Action.LOAD:
            continue
        rest = [version for version in known if version is not step[1]]
        assert not step[1].is_aspired
        assert not is_any_wanted or any(version.state is State.AVAILABLE for version in rest)


class Counted:
    """Count how often it became idle."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self) -> None:
        self.count += 1


def serving(*versions: int) -> Available[str]:
    available: Available[str] = Available()
    for version in versions:
        available.add(Loaded("m", version, f"model {version}"))
    return available


def test_the_numbered_the_labelled_or_the_largest_version_is_taken() -> None:
    available = serving(2, 10, 9)
    available.set_labels({"m": {"stable": 9}})
    taken = [available.acquire("m"), available.acquire("m", 2), available.acquire("m", None, "stable")]
    assert [handle.version for handle in taken] == [10, 2, 9]
    assert [handle.servable for handle in taken] == ["model 10", "model 2", "model 9"]


@pytest.mark.parametrize(
    ("name", "version", "label", "expected"),
    [
        ("", None, None, "INVALID_ARGUMENT: ModelSpec has no name specified."),
        ("", None, "stable", "INVALID_ARGUMENT: ModelSpec has no name specified."),
        ("m", None, "new", "INVALID_ARGUMENT: Unrecognized servable version label: new"),
        ("n", None, "stable", "INVALID_ARGUMENT: Unrecognized servable version label: stable"),
        ("n", None, None, "NOT_FOUND: Servable not found for request: Latest(n)"),
        ("m", 3, None, "NOT_FOUND: Servable not found for request: Specific(m, 3)"),
        ("m", 0, None, "NOT_FOUND: Servable not found for request: Specific(m, 0)"),
        ("m", None, "gone", "NOT_FOUND: Servable not found for request: Specific(m, 8)"),
    ],
)
def test_what_is_not_there_is_refused(name: str, version: int | None, label: str | None, expected: str) -> None:
    available = serving(9)
    available.set_labels({"m": {"stable": 9, "gone": 8}})
    with pytest.raises(StatusError) as refused:
        available.acquire(name, version, label)
    assert str(refused.value) == expected


def test_a_removed_version_is_taken_no_more() -> None:
    available: Available[str] = Available()
    old, new = Loaded("m", 1, "old"), Loaded("m", 2, "new")
    available.add(old)
    available.add(new)
    available.remove(new)
    assert available.acquire("m").version == 1
    available.remove(old)
    with pytest.raises(StatusError, match="Latest"):
        available.acquire("m")


@pytest.mark.parametrize("handles", [0, 1, 3])
def test_a_retired_version_is_idle_once_after_its_last_handle(handles: int) -> None:
    available: Available[str] = Available()
    loaded = Loaded("m", 1, "model")
    available.add(loaded)
    taken = [available.acquire("m") for _ in range(handles)]
    idle = Counted()
    available.remove(loaded)
    loaded.retire(idle)
    for handle in taken:
        assert idle.count == 0
        handle.release()
        handle.release()
    assert idle.count == 1


def test_a_reader_that_comes_too_late_takes_the_next_version() -> None:
    available: Available[str] = Available()
    old, new = Loaded("m", 2, "old"), Loaded("m", 1, "new")
    available.add(old)
    available.add(new)
    idle = Counted()
    taken: list[int] = []
    reader = threading.Thread(target=lambda: taken.append(available.acquire("m").version))
    with old.lock:
        reader.start()
        available.remove(old)
        old.on_idle = idle
    reader.join()
    assert taken == [1]


def test_handles_of_many_threads_are_counted_exactly() -> None:
    available: Available[str] = Available()
    loaded = Loaded("m", 1, "model")
    available.add(loaded)

    def use() -> None:
        for _ in range(2000):
            with available.acquire("m"), available.acquire("m"):
                pass

    threads = [threading.Thread(target=use) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert loaded.handles == 0

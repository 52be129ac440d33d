from __future__ import annotations

from itertools import product
from pathlib import Path

import pytest

from serving.server.core.versions import Action, State, Version, VersionId, next_action

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

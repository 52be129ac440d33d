from __future__ import annotations

from pathlib import Path

import pytest

from common.errors import ConfigError
from serving.release.retention import removable
from serving.release.state import STATE, Entry, Intent, Record, State, Store

ENTRY = Entry("1", "2026-11-21T09:00:00+00:00", "me", "promote", State(2), State(4, 2), "run", "digest", "")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    for version in range(1, 9):
        (tmp_path / "m" / str(version)).mkdir(parents=True)
    return Store(tmp_path, "m")


def test_what_is_released_or_in_use_stays_whatever_its_age(store: Store) -> None:
    store.write(Record(State(3, previous=1, candidate=4, weight_percent=10)))
    assert removable(store.base.parent, "m", 2) == [2, 5, 6]
    assert removable(store.base.parent, "m", 2, in_use=[5]) == [2, 6]
    assert removable(store.base.parent, "m", 8) == []


def test_what_a_release_under_way_goes_to_stays(store: Store) -> None:
    store.write(Record(State(2), Intent(ENTRY)))
    assert removable(store.base.parent, "m", 1) == [1, 3, 5, 6, 7]


def test_a_broken_state_lets_nothing_released_go(store: Store) -> None:
    store.log(ENTRY)
    (store.base / STATE).write_text("{")
    assert removable(store.base.parent, "m", 1) == [1, 3, 5, 6, 7]


def test_before_the_first_release_the_newest_stay(store: Store) -> None:
    assert removable(store.base.parent, "m", 3) == [1, 2, 3, 4, 5]
    with pytest.raises(ConfigError, match="at least one"):
        removable(store.base.parent, "m", 0)

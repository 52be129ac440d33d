"""What is known of retraining: one file, replaced whole, by one process at a time."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from common.errors import DataError
from common.records.retrain import MOST_KEPT, Attempt, Pause, Request, Retraining, change, place

NOW = datetime(2026, 11, 20, 12, tzinfo=timezone.utc)


def refusal(reason: str = "paused", minutes: int = 0) -> Attempt:
    at = NOW + timedelta(minutes=minutes)
    return Attempt(
        f"r{minutes}-{reason}", "alert ModelDrift", "ann", at, "ended", outcome="refused", reason=reason, ended=at
    )


def test_what_was_written_is_read(tmp_path: Path) -> None:
    known = Retraining("iris", (refusal(),), Request("command", "ann", NOW), Pause("bob", NOW, "holidays"))
    assert Retraining.read(tmp_path, "iris") == Retraining("iris")
    assert change(tmp_path, "iris", lambda _: known) == Retraining.read(tmp_path, "iris") == known


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    place(tmp_path, "iris").parent.mkdir(parents=True)
    place(tmp_path, "iris").write_text('{"model": "iris", "attempts": [{}]}')
    with pytest.raises(DataError, match=r"retrain\.json, cannot be read"):
        Retraining.read(tmp_path, "iris")


def test_a_hundred_writers_lose_nothing(tmp_path: Path) -> None:
    def write(number: int) -> None:
        change(tmp_path, "iris", lambda known: known.with_attempt(replace(refusal(), id=str(number))))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(100)))
    assert {attempt.id for attempt in Retraining.read(tmp_path, "iris").attempts} == {str(i) for i in range(100)}


def test_the_same_refusal_again_is_counted_not_listed() -> None:
    known = Retraining("iris")
    for minutes in range(100):
        known = known.with_refusal(refusal(minutes=minutes))
    [kept] = known.attempts
    assert (kept.times, kept.ended) == (100, NOW + timedelta(minutes=99))
    assert [each.times for each in known.with_refusal(refusal("too few labels")).attempts] == [100, 1]


def test_what_is_under_way_stays_the_last_whatever_is_refused_meanwhile() -> None:
    active = Attempt("a", "command", "ann", NOW)
    known = Retraining("iris").with_attempt(active)
    for minutes in range(5):
        known = known.with_refusal(refusal("one is under way", minutes))
    assert known.active == active
    assert [each.times for each in known.attempts] == [5, 1]
    assert known.carried_out == (active,)


def test_only_the_newest_attempts_are_kept() -> None:
    known = Retraining("iris")
    for number in range(MOST_KEPT + 10):
        known = known.with_attempt(replace(refusal(), id=str(number)))
    assert (len(known.attempts), known.attempts[0].id) == (MOST_KEPT, "10")

from __future__ import annotations

from dataclasses import replace

import pytest

from bench.load import Load
from bench.webapp import Turn, markdown, summary
from bench.webapp_faults import Fault
from bench.webapp_faults import markdown as faults_markdown


def load(per_s: float = 100.0, p50_ms: float = 3.0, p99_ms: float = 10.0) -> Load:
    return Load(per_s, p50_ms, p99_ms, 100)


TURN = Turn(load(), load(p50_ms=1.0), load(), load(), load(95), 2.5, load(120), load(p99_ms=8.0))


def kept(turn: Turn) -> list[bool]:
    return [bar["kept"] for bar in summary([turn]).values()]


def test_a_turn_within_all_bars_keeps_them() -> None:
    assert kept(TURN) == [True] * 5
    assert "| peak, of the older commit's | 0.83 (0.83 to 0.83) | at least 0.7 | kept |" in markdown(summary([TURN]))


@pytest.mark.parametrize(
    ("worse", "place"),
    [
        ({"direct": load(p50_ms=0.8)}, 0),
        ({"older_peak": load(150)}, 1),
        ({"older_half": load(p99_ms=6.0)}, 2),
        ({"flood": load(80)}, 3),
        ({"csv_s": 3.1}, 4),
    ],
    ids=["one client", "peak", "p99", "flood", "CSV"],
)
def test_each_bar_can_be_missed(worse: dict[str, object], place: int) -> None:
    assert kept(replace(TURN, **worse)) == [number != place for number in range(5)]  # type: ignore[arg-type]


def test_without_another_commit_its_bars_are_left_out_and_the_median_of_the_turns_counts() -> None:
    turns = [replace(TURN, older_peak=None, older_half=None, csv_s=seconds) for seconds in (2.0, 9.0, 2.9)]
    bars = summary(turns)
    assert len(bars) == 3
    assert bars["100,000 rows of CSV, s"]["seen"] == 2.9


def test_a_fault_is_kept_without_failures_and_with_no_more_lost_than_was_not_yet_written() -> None:
    fault = Fault("kill -9 of a worker", 40, 3, 5, failed=0, lost=2, excused=4, well_after_s=0.5)
    assert [fault.is_kept, replace(fault, failed=1).is_kept, replace(fault, lost=5).is_kept] == [True, False, False]
    assert "| 2 (of 4 not yet written) | 0.5 s | kept |" in faults_markdown([fault])

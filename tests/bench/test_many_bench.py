from __future__ import annotations

from bench.many import markdown, summary


def test_twice_the_time_is_kept_and_more_is_missed_by_the_medians() -> None:
    kept, missed = summary([4.0, 5.0, 90.0], [10.0, 1.0, 99.0]), summary([5.0], [10.1])
    assert (kept["one_ms"], kept["many_ms"], kept["times"], kept["kept"]) == (5.0, 10.0, 2.0, True)
    assert not missed["kept"]
    assert "| Models | 5.0 | 10.0 | 2.00 | kept |" in markdown({"Models": kept})

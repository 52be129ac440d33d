"""Windows over days: what is checked against what, and when an alarm is raised."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from common.errors import ConfigError, DataError
from common.records.drift import DriftReport, Measurement, WindowCheck
from monitoring.drift import timeline
from monitoring.drift.timeline import Places, alarms, examine, spans
from monitoring.drift.window import Only, Span, read_window
from monitoring.feedback import reading
from serving.repository.drift_reference import DriftReference
from tests.support.drift import DAY, MIDNIGHT, Watched, floats, patients, reference_of

WEEK = Span(MIDNIGHT, MIDNIGHT + 7 * DAY)


@pytest.fixture
def watched(tmp_path: Path) -> Watched:
    made = Watched(tmp_path)
    made.push(1, reference_of(patients(600)))
    return made


def shifted(rows: int, seed: int) -> dict[str, Any]:
    return patients(rows, seed, pressure=lambda values, _: floats(values + 15))


def week(watched: Watched, **given: Any) -> DriftReport:
    return examine(Places.under(watched.var, watched.model), WEEK, DAY, **{"now": WEEK.end + DAY, **given})


def on(day: float) -> datetime:
    return MIDNIGHT + day * DAY + timedelta(hours=1)


def test_each_day_is_a_window_and_two_of_three_raise_an_alarm(watched: Watched) -> None:
    for day, make in enumerate([patients, patients, shifted, patients, shifted]):
        watched.predict(make(300, 10 + day), on(day))
    report = week(watched)
    assert [window.start for window in report.windows] == [MIDNIGHT + day * DAY for day in range(5)]
    assert [bool(window.findings) for window in report.windows] == [False, False, True, False, True]
    [alarm] = report.alarms
    assert (alarm.column, alarm.windows, alarm.of, alarm.since) == ("input.pressure", 2, 3, MIDNIGHT + 2 * DAY)


def test_an_alarm_ends_when_the_windows_are_clean_again(watched: Watched) -> None:
    for day, make in enumerate([shifted, shifted, patients, patients]):
        watched.predict(make(300, 20 + day), on(day))
    assert week(watched).alarms == ()


def test_every_version_is_measured_against_its_own_reference(watched: Watched) -> None:
    watched.push(2, reference_of(shifted(600, 1)))
    for version in (1, 2):
        watched.predict(shifted(300, 30), on(version / 10), version)
    first, second = week(watched).windows
    assert [(w.version, bool(w.findings)) for w in (first, second)] == [(1, True), (2, False)]


def test_one_route_can_be_looked_at_alone(watched: Watched) -> None:
    watched.predict(patients(300, 40), on(0))
    watched.predict(shifted(300, 41), on(0.1), route="candidate")
    assert week(watched).windows[0].logged == 600
    [window] = week(watched, only=Only(route="candidate")).windows
    assert (window.rows, bool(window.findings)) == (300, True)


def sliced(rows: int, seed: int, shift: float = 0.0) -> dict[str, Any]:
    """Rows of which those of kind b alone are shifted."""
    columns = patients(rows, seed)
    is_b = np.array([kind == "b" for kind in columns["kind"]])
    return columns | {"pressure": floats(columns["pressure"] + shift * is_b)}


def part_of(columns: dict[str, Any], kind: str) -> DriftReference:
    rows = [row for row, each in enumerate(columns["kind"]) if each == kind]
    return reference_of(
        {
            name: type(cells)(cells[i] for i in rows) if isinstance(cells, list) else cells[rows]
            for name, cells in columns.items()
        },
        is_scored=False,
    )


def test_one_slice_is_measured_against_its_own_training_rows(watched: Watched) -> None:
    """What moves in a slice alone may be too little of all rows."""
    trained = sliced(2000, 1)
    slices = {f"kind = {kind}": part_of(trained, kind) for kind in "ab"}
    watched.push(2, replace(reference_of(trained), slices=slices))
    watched.predict(sliced(900, 42, shift=6.0), on(0), version=2)
    found = {part: week(watched, only=Only(part=part)).windows[0] for part in ("", "kind = a", "kind = b", "kind = c")}
    assert {part: [each.column for each in window.findings] for part, window in found.items()} == {
        "": [],
        "kind = a": [],
        "kind = b": ["input.pressure"],
        "kind = c": [],
    }
    assert found[""].rows == 900
    assert found["kind = b"].rows < 350
    assert found["kind = c"].state == "no reference"
    assert "kind = a, kind = b" in found["kind = c"].reason


def test_a_slice_by_what_the_log_lacks_has_no_rows(watched: Watched) -> None:
    watched.predict(patients(300, 40), on(0))
    assert week(watched, only=Only(part="ward = 7")).windows == ()


def test_a_tiny_window_is_told_and_does_not_count(watched: Watched) -> None:
    for day, rows in enumerate([300, 40, 300]):
        watched.predict(shifted(rows, 50 + day), on(day))
    report = week(watched)
    assert [window.state for window in report.windows] == ["checked", "too few rows", "checked"]
    assert "40 rows" in report.windows[1].reason
    assert report.alarms[0].of == 2


def test_a_version_of_an_earlier_release_is_told(watched: Watched) -> None:
    watched.push(2, None)
    watched.predict(patients(300, 60), on(0), version=2)
    watched.predict(patients(300, 61), on(0.1), version=7)
    without, removed = week(watched).windows
    assert (without.state, removed.state) == ("no reference", "no reference")
    assert "train and push the model again" in without.reason
    assert "no valid manifest" in removed.reason


def test_windows_begin_at_midnight_wherever_the_period_does() -> None:
    start, end = MIDNIGHT + timedelta(hours=5), MIDNIGHT + DAY + timedelta(hours=3)
    assert list(spans(start, end, DAY)) == [Span(start, MIDNIGHT + DAY), Span(MIDNIGHT + DAY, end)]


def test_windows_that_were_over_are_not_read_again(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    for day in range(3):
        watched.predict(shifted(300, 70 + day), on(day))
    earlier = week(watched, now=MIDNIGHT + 2 * DAY + timedelta(hours=2))
    read: list[Span] = []

    def noting(base: Path, span: Span, *given: Any) -> Any:
        read.append(span)
        return read_window(base, span, *given)

    monkeypatch.setattr(timeline, "read_window", noting)
    again = week(watched, earlier=earlier)
    assert [span.start for span in read] == [MIDNIGHT + 2 * DAY], "the day that was not over"
    assert again.windows == earlier.windows
    read.clear()
    week(watched, earlier=earlier, only=Only(route="stable"))
    assert len(read) == 3, "the earlier ones are of all routes"


def test_of_a_wide_table_the_findings_and_what_is_closest_are_kept(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timeline, "MOST_KEPT", 2)
    watched.predict(shifted(300, 95), on(0))
    [window] = week(watched).windows
    assert len(window.measurements) == 2
    assert "pressure" in {finding.title for finding in window.findings}


def test_what_is_kept_is_read_again(watched: Watched) -> None:
    watched.predict(shifted(300, 80), on(0))
    report = week(watched)
    assert DriftReport.latest(watched.var, watched.model) is None
    report.write(watched.var)
    assert DriftReport.latest(watched.var, watched.model) == report


def test_a_kept_check_that_is_damaged_is_told(watched: Watched) -> None:
    week(watched).write(watched.var).write_text("{")
    with pytest.raises(DataError, match="cannot be read"):
        DriftReport.latest(watched.var, watched.model)


def test_findings_of_different_columns_do_not_add_up() -> None:
    def window(day: int, column: str) -> WindowCheck:
        finding = Measurement(column, "distribution", 0.0, 1.0, "W1/σ", 0.15, is_finding=True)
        start = MIDNIGHT + day * DAY
        return WindowCheck(1, start, start + DAY, 300, 300, "checked", (finding,))

    assert alarms([window(0, "input.a"), window(1, "input.b"), window(2, "input.c")]) == ()
    assert [alarm.column for alarm in alarms([window(0, "input.a"), window(1, "input.b"), window(2, "input.a")])] == [
        "input.a"
    ]


def truly(watched: Watched, columns: dict[str, Any], at: datetime, wrong: float) -> None:
    """Have rows predicted and their labels told, of which a share is not what was decided."""
    watched.predict(columns, at)
    chance = np.random.default_rng(9)
    decided = ["yes" if score >= 0.5 else "no" for score in columns["probability"]]
    other = {"yes": "no", "no": "yes"}
    watched.label(at, {row: other[label] if chance.random() < wrong else label for row, label in enumerate(decided)})


def with_labels(watched: Watched, **given: Any) -> DriftReport:
    with reading(watched.var, {}) as connection:
        return week(watched, connection=connection, **given)


def test_wrong_decisions_are_found_where_labels_came(watched: Watched) -> None:
    truly(watched, patients(300, 90), on(0), wrong=0.0)
    truly(watched, patients(300, 91), on(1), wrong=0.3)
    clean, wrong = with_labels(watched).windows
    assert (clean.labelled, wrong.labelled) == (300, 300)
    assert clean.findings == ()
    [of_yes] = wrong.findings
    assert of_yes.title == "class yes", "most of them were decided on as no"
    assert of_yes.numbers["lower"] < of_yes.numbers["share"] < of_yes.numbers["upper"]


def test_without_labels_nothing_is_said_of_errors(watched: Watched) -> None:
    watched.predict(patients(300, 92), on(0))
    [window] = with_labels(watched).windows
    assert window.labelled == 0
    assert "errors" not in {each.kind for each in window.measurements}


def test_a_class_that_becomes_frequent_is_no_loss_of_quality(watched: Watched) -> None:
    columns = patients(300, 93)
    columns["probability"] = np.where(np.arange(300) % 2, 0.9, 0.1)
    truly(watched, columns, on(0), wrong=0.0)
    [window] = with_labels(watched).windows
    assert {finding.kind for finding in window.findings} == {"distribution"}


def test_labels_that_come_late_have_a_window_checked_again(watched: Watched) -> None:
    columns = patients(300, 94)
    watched.predict(columns, on(0))
    earlier = with_labels(watched)
    watched.label(on(0), dict.fromkeys(range(40), "yes"))
    [window] = with_labels(watched, earlier=earlier).windows
    assert window.labelled == 40
    assert with_labels(watched, earlier=with_labels(watched)).windows == (window,)


def test_a_database_that_cannot_be_is_told(tmp_path: Path) -> None:
    with (
        pytest.raises(ConfigError, match="VOUCH_DATABASE_URL is no address"),
        reading(tmp_path, {"VOUCH_DATABASE_URL": "nonsense"}),
    ):
        pass

"""A round: what is seen of each model, and that one model's trouble is no other's."""

from __future__ import annotations

import json
import shutil
from datetime import datetime, timedelta, timezone

import pytest

from common.records.drift import DriftReport
from common.records.retrain import Attempt, change
from monitoring.watch import rounds
from monitoring.watch.observe import Site
from monitoring.watch.rounds import go_round, lines
from monitoring.watch.views import ModelView, Round
from serving.release.state import Record, State, Store
from serving.repository.layout import DRIFT_REFERENCE
from tests.support.drift import DAY, Watched, patients, reference_of
from tests.support.paths import ROOT

NOW = datetime.now(timezone.utc)


def look(place: Site) -> Round:
    return go_round(place, "", 300.0, lambda: None)


def only(place: Site) -> ModelView:
    [view] = look(place).models
    return view


def release(watched: Watched, stable: int, candidate: int | None = None) -> None:
    Store(watched.var / "serving", watched.model).write(Record(State(stable, candidate=candidate)))


def test_drift_of_a_version_that_answers_is_seen_and_kept_for_the_page(watched: Watched, place: Site) -> None:
    for days_ago in (1.0, 2.0):
        watched.predict_day(days_ago, by=15)
    [version] = only(place).versions
    assert (version.version, version.role) == (1, "stable")
    assert version.window
    assert [finding.title for finding in version.window.findings] == ["pressure"]
    assert [alarm.title for alarm in version.alarms] == ["pressure"]
    kept = DriftReport.latest(watched.var, "patients")
    assert kept
    assert kept.alarms == version.alarms


def test_alarms_of_a_version_that_was_replaced_are_over(watched: Watched, place: Site) -> None:
    for days_ago in (1.0, 2.0):
        watched.predict_day(days_ago, by=15)
    watched.push(2, reference_of(patients(600)))
    release(watched, stable=2)
    [version] = only(place).versions
    assert (version.version, version.alarms, version.window) == (2, (), None)


def test_stable_and_candidate_are_looked_at_each(watched: Watched, place: Site) -> None:
    watched.push(2, reference_of(patients(600)))
    release(watched, stable=1, candidate=2)
    watched.predict_day(1.0)
    watched.predict_day(1.1, version=2)
    view = only(place)
    assert [(each.version, each.role, bool(each.window)) for each in view.versions] == [
        (1, "stable", True),
        (2, "candidate", True),
    ]


def test_versions_on_disk_and_released_are_told_and_servers_only_if_they_answer(watched: Watched, place: Site) -> None:
    watched.push(2, reference_of(patients(600)))
    release(watched, stable=1)
    served = only(place).served
    assert served
    assert (served.on_disk, served.stable, served.candidate, served.is_awaiting_release) == (2, 1, None, True)
    release(watched, stable=2)
    [unreachable] = go_round(place, "127.0.0.1:1", 300.0, lambda: None).models
    assert unreachable.served
    assert (unreachable.served.is_awaiting_release, unreachable.served.missing, unreachable.problem) == (
        False,
        None,
        "",
    )


def test_errors_are_added_up_over_windows_and_a_promise_is_broken_only_surely(watched: Watched, place: Site) -> None:
    for days_ago in (1.0, 2.0):
        at = watched.predict_day(days_ago)
        score = patients(300, int(10 * days_ago))["probability"]
        decided = ["yes" if value >= 0.5 else "no" for value in score]
        likely_no = [row for row, value in enumerate(score) if value < 0.5]
        labels = dict(enumerate(decided)) | dict.fromkeys(likely_no[:100], "yes")  # which it calls "no"
        watched.label(at, labels)
    errors = {each.true_class: each for each in only(place).versions[0].errors}
    yes, no = errors["yes"], errors["no"]
    assert yes.is_broken
    assert 0.5 < yes.lower < yes.share < yes.upper < 1
    assert (no.share, no.is_broken) == (0, False)
    assert no.rows > 200, "of both days"
    assert 0 < no.promised < 0.02, "the upper bound, for test had no error"


def test_a_handful_of_labels_breaks_no_promise(watched: Watched, place: Site) -> None:
    at = watched.predict_day(1.0)
    score = patients(300, 10)["probability"]
    watched.label(at, {row: "yes" for row, value in list(enumerate(score))[:20] if value < 0.5})
    [errors] = only(place).versions[0].errors
    assert (errors.share, errors.is_broken) == (1.0, False)


def test_labels_and_predictions_have_an_age(watched: Watched, place: Site) -> None:
    at = watched.predict_day(3.0)
    watched.label(at, {0: "no", 1: "yes"})
    view = only(place)
    assert view.labels
    assert (view.labels.rows, view.labels.median_lag_s) == (2, 86400)
    assert abs(view.labels.newest - (at + DAY)) < timedelta(milliseconds=1)
    assert view.newest_prediction
    assert timedelta(0) <= view.newest_prediction - at < timedelta(seconds=1)


def test_a_model_that_cannot_be_examined_is_told_and_stops_no_other(watched: Watched, place: Site) -> None:
    other = Watched(watched.var, "others")
    other.push(1, reference_of(patients(600)))
    other.predict_day(1.0)
    watched.predict_day(1.0)
    (watched.var / "predictions" / "others").rename(watched.var / "moved")
    (watched.var / "predictions" / "others").write_text("no folder")
    (watched.var / "monitoring").mkdir()
    (watched.var / "monitoring" / "others").write_text("no folder either")
    finished = look(place)
    problems = {view.model: view.problem for view in finished.models}
    assert problems["patients"] == ""
    assert "others" in problems["others"]
    assert lines(finished)["others"].startswith("others: not examined: ")
    assert lines(finished)["patients"].startswith("patients: version 1 (stable) ")


def test_what_nobody_foresaw_stops_no_other_model_either(
    watched: Watched, place: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> ModelView:
        raise ZeroDivisionError("planted")

    monkeypatch.setattr(rounds, "look_at", fail)
    assert only(place).problem == "ZeroDivisionError: planted"


def test_a_report_that_cannot_be_read_is_made_anew(watched: Watched, place: Site) -> None:
    watched.predict_day(1.0)
    look(place)
    report = watched.var / "monitoring" / "patients" / "drift.json"
    report.write_text("{")
    assert only(place).versions[0].window
    assert DriftReport.latest(watched.var, "patients")


def test_a_version_without_a_reference_is_no_failure(watched: Watched, place: Site) -> None:
    watched.push(2, None)
    assert not (watched.var / "serving" / "patients" / "2" / DRIFT_REFERENCE).exists()
    release(watched, stable=2)
    watched.predict_day(1.0, version=2)
    view = only(place)
    assert (view.problem, view.versions[0].window) == ("", None)


def test_retraining_is_told_of_models_that_have_settings(watched: Watched, place: Site) -> None:
    assert only(place).retraining is None
    (watched.var / "config").mkdir()
    shutil.copytree(ROOT / "config" / "breast_cancer", watched.var / "config" / "patients")
    attempt = Attempt("1", "alert ModelDrift", "ann", NOW, stage="trial")
    change(watched.var, "patients", lambda known: known.with_attempt(attempt))
    retraining = only(place).retraining
    assert retraining
    assert (retraining.stage, retraining.is_paused) == ("trial", False)
    assert retraining.budget_left >= 0


def test_as_json_it_is_one_line(watched: Watched, place: Site) -> None:
    watched.predict_day(1.0)
    text = look(place).text()
    assert "\n" not in text
    [model] = json.loads(text)["models"]
    assert model["versions"][0]["window"]["rows"] == 300


def test_mlflow_is_left_alone_where_nobody_uses_it(
    watched: Watched, place: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert look(place).registry is None


def test_an_mlflow_that_cannot_be_told_is_told_and_drift_is_watched_all_the_same(
    watched: Watched, place: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
    release(watched, stable=1)
    watched.predict_day(1.0)
    finished = look(place)
    assert finished.models[0].versions[0].window
    assert finished.registry
    assert "127.0.0.1:1" in finished.registry.problem
    assert finished.registry.differing == ("patients",), "it was never told of the release"

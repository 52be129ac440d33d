"""Performance by true labels: bounds, pairs, what moves with the classes alone, and where a model errs."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from common.errors import DataError
from common.records.labels import between
from monitoring.cli import main
from monitoring.drift.timeline import Places
from monitoring.drift.window import Span
from monitoring.feedback import reading
from monitoring.number_performance import NumberPerformance
from monitoring.performance import measure
from serving.repository.drift_reference import Numbers, Scores
from tests.support.drift import DAY, MIDNIGHT, Watched, patients, reference_of

AT = MIDNIGHT + timedelta(hours=5)


@pytest.fixture
def watched(tmp_path: Path) -> Watched:
    made = Watched(tmp_path)
    for version in (1, 2):
        made.push(version, reference_of(patients(600)))
    return made


def measured(watched: Watched) -> Any:
    period = Span(MIDNIGHT, MIDNIGHT + DAY)
    with reading(watched.var) as connection:
        assert connection
        feedback = between(connection, watched.model, period.start, period.end)
    return measure(Places.under(watched.var, watched.model), period, feedback)


def decided(columns: dict[str, Any]) -> list[str]:
    return ["yes" if value >= 0.5 else "no" for value in columns["probability"]]


def other(label: str) -> str:
    return {"yes": "no", "no": "yes"}[label]


def test_a_version_has_bounds_overall_and_by_class(watched: Watched) -> None:
    columns = patients(300, 5)
    watched.predict(columns, AT)
    labels = dict(enumerate(decided(columns)))
    wrong = [row for row, label in labels.items() if label == "no"][:30]
    watched.label(AT, labels | dict.fromkeys(wrong, "yes"))
    [version] = measured(watched).versions
    assert (version.accuracy.rows, version.accuracy.share) == (300, 0.9)
    assert version.accuracy.lower < 0.9 < version.accuracy.upper
    assert version.by_class["no"].share == 1
    assert version.by_class["yes"].share == pytest.approx(1 - 30 / version.by_class["yes"].rows)


def test_a_class_that_became_more_frequent_is_no_loss_once_corrected(watched: Watched) -> None:
    """Test had errors on `yes` alone; here `yes` is more frequent, and wrong as often as there."""
    trained = reference_of(patients(600))
    assert trained.scores
    trained.scores.confusion.update({"no": {"no": 900, "yes": 0}, "yes": {"no": 20, "yes": 80}})
    watched.push(3, trained)
    columns = patients(400, 6, probability=lambda values, _: np.where(np.arange(400) % 5 == 0, 0.1, 0.9))
    watched.predict(columns, AT, version=3)
    watched.label(AT, dict.fromkeys(range(400), "yes") | dict.fromkeys(range(0, 400, 10), "no"), version=3)
    [version] = measured(watched).versions
    assert version.on_test == pytest.approx(0.98)
    yes = version.by_class["yes"]
    assert version.expected == pytest.approx((40 + 0.8 * yes.rows) / 400)
    assert version.corrected
    assert version.corrected.share == pytest.approx(0.9 + 0.1 * yes.share)
    assert version.corrected.lower < version.corrected.share < version.corrected.upper
    assert version.accuracy.share < 0.93 < version.corrected.share


def test_two_versions_are_paired_on_the_cases_that_both_answered(watched: Watched) -> None:
    columns = patients(200, 7)
    flipped = columns | {
        "probability": np.where(np.arange(200) < 30, 1 - columns["probability"], columns["probability"])
    }
    watched.predict(columns, AT, version=1)
    watched.predict(flipped, AT + timedelta(minutes=1), version=2, route="candidate")
    labels = decided(columns)
    for row in range(10):  # of the 30 that they differ on, the second is right on 10
        labels[row] = decided(flipped)[row]
    watched.label(AT, dict(enumerate(labels)))
    report = measured(watched)
    assert [version.version for version in report.versions] == [1], "labels were told of the first's answers alone"
    watched.label(AT + timedelta(minutes=1), {199: labels[199]}, version=2)
    [pair] = measured(watched).pairs
    assert (pair.first, pair.second, pair.is_paired, pair.rows) == (1, 2, True, 200)
    assert pair.difference == pytest.approx((10 - 20) / 200)
    assert pair.lower < pair.difference < pair.upper
    assert pair.p_value == pytest.approx(0.0987, abs=1e-3)


def test_without_a_common_case_they_stand_side_by_side(watched: Watched) -> None:
    for version in (1, 2):
        columns, at = patients(100, 10 + version), AT + timedelta(minutes=version)
        watched.predict(columns, at, version=version)
        labels = dict(enumerate(decided(columns)))
        watched.label(at, {row: other(label) if version == 2 and row < 50 else label for row, label in labels.items()})
    [pair] = measured(watched).pairs
    assert (pair.is_paired, pair.p_value, pair.rows) == (False, None, 200)
    assert pair.difference == -0.5
    assert pair.lower < -0.5 < pair.upper < 0


def test_a_slice_that_is_worse_is_found_and_chance_is_not(watched: Watched) -> None:
    columns = patients(600, 8)
    watched.predict(columns, AT)
    chance = np.random.default_rng(1)
    labels = {}
    for row, label in enumerate(decided(columns)):
        is_wrong = chance.random() < (0.4 if columns["kind"][row] == "c" else 0.05)
        labels[row] = other(label) if is_wrong else label
    watched.label(AT, labels)
    slices = measured(watched).slices
    assert [(each.column, each.value) for each in slices if each.is_finding] == [("kind", "c")]
    assert slices[0].accuracy.share < slices[0].others - 0.2
    assert {each.column for each in slices} == {"age", "pressure", "kind"}
    assert len([each for each in slices if each.column == "pressure"]) == 4


def test_without_labels_it_says_how_to_tell_them(watched: Watched) -> None:
    watched.predict(patients(100, 9), AT)
    watched.label(AT + DAY / 2, {0: "yes"})
    with pytest.raises(DataError, match="1 true label, none of a logged row"):
        measured(watched)


def of_numbers(watched: Watched, version: int) -> None:
    """Push a version whose decisions are numbers; on test it was off by 2 in the mean."""
    reference = reference_of(patients(600))
    assert reference.scores
    errors = Numbers.of(np.arange(5.0))
    watched.push(version, replace(reference, scores=Scores(reference.scores.score, {}, errors)))


def test_how_far_off_numbers_are_is_told_with_where_it_is_worse(watched: Watched) -> None:
    of_numbers(watched, 3)
    columns, at = patients(400, 3), AT
    said = np.round(np.random.default_rng(2).normal(50, 10, 400), 2)
    watched.predict(columns, at, 3, decided=[str(value) for value in said.tolist()])
    off = [9.0 if kind == "c" else 1.0 for kind in columns["kind"]]
    watched.label(at, {row: str(said[row] + off[row] * (-1) ** row) for row in range(400)}, 3)
    report = measured(watched)
    assert isinstance(report, NumberPerformance)
    [version] = report.versions
    assert version.error.mean == pytest.approx(np.mean(off))
    assert version.error.lower is not None
    assert version.error.upper is not None
    assert version.error.lower < np.mean(off) < version.error.upper
    assert version.on_test == 2.0
    assert [(each.column, each.value, each.others) for each in report.slices if each.is_finding] == [
        ("kind", "c", pytest.approx(1.0))
    ]


def test_two_versions_of_numbers_are_paired_on_the_cases_that_both_answered(watched: Watched) -> None:
    columns = patients(200, 7)
    for version, by in ((3, 1.0), (4, 3.0)):
        of_numbers(watched, version)
        at = AT + timedelta(minutes=version)
        watched.predict(columns, at, version=version, decided=[str(row + by) for row in range(200)])
        watched.label(at, {row: str(row) for row in range(200 if version == 3 else 1)}, version=version)
    report = measured(watched)
    assert isinstance(report, NumberPerformance)
    [pair] = report.pairs
    assert (pair.first, pair.second, pair.rows, pair.difference) == (3, 4, 200, 2.0)
    assert pair.p_value < 1e-9


def test_the_command_tells_errors_of_numbers_in_words(watched: Watched) -> None:
    of_numbers(watched, 3)
    at = watched.predict_day(2.0, version=3, decided=["7.0"] * 300)
    watched.label(at, {0: "8", 1: "9"}, 3)
    said = CliRunner(env={"VOUCH_VAR": str(watched.var)}).invoke(main, ["performance", "patients"])
    assert said.exit_code == 0, said.output
    assert said.stdout == "version 3: off by 1.5 (0 to 7.853) in the mean of 2, on test by 2\n"


def test_the_command_tells_it_in_words_and_as_json(watched: Watched) -> None:
    at = watched.predict_day(2.0)
    columns = patients(300, 20)
    labels = dict(enumerate(decided(columns)))
    watched.label(at, {row: other(label) if columns["kind"][row] == "b" else label for row, label in labels.items()})
    runner = CliRunner(env={"VOUCH_VAR": str(watched.var)})
    said = runner.invoke(main, ["performance", "patients"])
    assert said.exit_code == 6, said.output
    assert "SLICE  version 1, kind b: 0.0%" in said.stdout
    document = json.loads(runner.invoke(main, ["performance", "patients", "--json"]).stdout)
    assert document["versions"][0]["accuracy"]["rows"] == 300

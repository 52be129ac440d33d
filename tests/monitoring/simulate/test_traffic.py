"""Rows sent through a real web app: logged, marked, and their labels told afterwards."""

from __future__ import annotations

import json
from typing import Any

import pytest
from click.testing import CliRunner, Result

from common.errors import EnvironmentProblem
from common.records import labels as feedback
from common.records.reader import Filters, Reader
from monitoring.cli import main
from monitoring.simulate.traffic import Plan, RowsRefused, send


def simulate(listening: Any, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> Result:
    monkeypatch.setenv("VOUCH_VAR", str(listening.var))
    return CliRunner().invoke(main, ["simulate", "patients", "--url", listening.url, *arguments])


def logged(listening: Any, reference: str) -> list[dict[str, Any]]:
    """The rows on record under a reference."""
    assert listening.app[1].log.flush(10)
    reader = Reader(listening.var / "predictions" / "patients", Filters(reference=reference))
    return [row for table in reader.tables() for row in table.to_pylist()]


def test_rows_are_answered_logged_and_marked_and_labels_follow(listening: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    done = simulate(listening, monkeypatch, "--rows", "20", "--rate", "1000", "--seed", "5", "--json")
    assert done.exit_code == 0, done.output
    said = json.loads(done.stdout)
    assert (said["rows"], said["labels"], said["by_version"]) == (20, 20, {"1": 20})
    assert 8 < said["right"] <= 20
    rows = logged(listening, "synthetic:none-1-5")
    assert len(rows) == 20
    with listening.app[1].database.reading() as connection:
        known = feedback.of_requests(connection, "patients", [row["request_id"] for row in rows])
    assert len(known) == 20
    right = sum(known[row["request_id"], row["row"]].label == row["label"] for row in rows)
    assert right == said["right"]


def test_only_a_share_of_the_labels_is_told(listening: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    done = simulate(listening, monkeypatch, "--rows", "40", "--rate", "1000", "--label-share", "0.25", "--json")
    assert 2 < json.loads(done.stdout)["labels"] < 20


def test_a_shift_arrives_in_the_log(listening: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = ("--shift", "missing", "--size", "1", "--rows", "40", "--rate", "1000", "--label-share", "0")
    done = simulate(listening, monkeypatch, *arguments)
    assert "synthetic:missing-1-0" in done.stdout
    assert {row["input.cholesterol"] for row in logged(listening, "synthetic:missing-1-0")} == {None}


def test_a_share_above_one_is_a_wrong_argument(listening: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert simulate(listening, monkeypatch, "--shift", "concept", "--size", "2").exit_code == 2


def test_rows_that_the_app_refuses_end_it_with_what_was_wrong(listening: Any) -> None:
    with pytest.raises(RowsRefused, match="smoker"):
        send(Plan(listening.url, "patients", 100.0, "x"), {"smoker": ["maybe"]}, ["yes"], [1.0])


def test_an_app_that_is_away_is_told() -> None:
    with pytest.raises(EnvironmentProblem, match="does not answer"):
        send(Plan("http://127.0.0.1:9", "patients", 100.0, "x"), {"age": [1]}, ["yes"], [1.0])


def test_a_simulated_shift_is_found_and_clean_traffic_is_not(quiet: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def drift() -> Any:
        assert quiet.app[1].log.flush(10)
        return json.loads(CliRunner().invoke(main, ["drift", "patients", "--json"]).stdout)

    fast = ("--rate", "2000", "--label-share", "0", "--json")
    assert json.loads(simulate(quiet, monkeypatch, "--rows", "300", *fast).stdout)["rows"] == 300
    assert {m["column"] for w in drift()["windows"] for m in w["measurements"] if m["is_finding"]} == set()
    shift = ("--shift", "category", "--column", "smoker", "--size", "1", "--rows", "600")
    assert json.loads(simulate(quiet, monkeypatch, *shift, *fast).stdout)["rows"] == 600
    assert "input.smoker" in {m["column"] for w in drift()["windows"] for m in w["measurements"] if m["is_finding"]}

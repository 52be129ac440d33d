"""The command line: tables, exit codes, reports."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from common.records.drift import DriftReport
from monitoring.cli import main
from tests.support.drift import Watched, patients, reference_of
from tests.support.paths import ROOT

HEAVY = ("tensorflow", "tfx", "pandas", "numpy", "scipy", "duckdb", "jinja2", "pyarrow")
NOW = datetime.now(timezone.utc)


@pytest.fixture
def watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Watched:
    monkeypatch.setenv("VOUCH_VAR", str(tmp_path))
    made = Watched(tmp_path)
    made.push(1, reference_of(patients(600)))
    return made


def drift(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["drift", "patients", *arguments])


@pytest.mark.parametrize("arguments", [[], ["drift"], ["watch"], ["control"]], ids=["all", "drift", "watch", "control"])
def test_help_is_quick_for_it_imports_nothing_heavy(arguments: list[str]) -> None:
    code = (
        "import sys; from monitoring.cli import main\n"
        f"try: main({[*arguments, '--help']!r})\n"
        f"except SystemExit as done: print(done.code, [name for name in {HEAVY!r} if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.splitlines()[-1] == "0 []"


def test_clean_days_end_with_0_and_are_kept_for_the_page(watched: Watched) -> None:
    for days_ago in (1, 2, 3):
        watched.predict_day(days_ago)
    done = drift()
    assert done.exit_code == 0, done.output
    assert done.stdout.count("300 rows, 0 findings") == 3
    kept = DriftReport.latest(watched.var, "patients")
    assert kept
    assert [window.rows for window in kept.windows] == [300, 300, 300]


def test_a_slice_is_looked_at_alone_and_not_kept(watched: Watched) -> None:
    watched.predict_day(1)
    done = drift("--slice", "kind=b")
    assert done.exit_code == 3
    assert "no reference" in done.output
    assert DriftReport.latest(watched.var, "patients") is None
    assert "wanted such as sex=1" in drift("--slice", "kind").output


def test_an_alarm_ends_with_6_and_names_column_size_and_limit(watched: Watched) -> None:
    for days_ago in (1, 2):
        watched.predict_day(days_ago, by=15)
    done = drift()
    assert done.exit_code == 6
    assert re.search(r"pressure +distribution +W1/σ [\d.]+ > 0.15", done.stdout)
    assert "ALARM  pressure of version 1 has drifted in 2 of the last 2 windows" in done.stdout


def test_findings_of_one_window_are_no_alarm(watched: Watched) -> None:
    watched.predict_day(1, by=15)
    done = drift()
    assert done.exit_code == 0
    assert "pressure" in done.stdout


def test_as_json_it_says_all_that_was_measured(watched: Watched) -> None:
    watched.predict_day(1, by=15)
    said = json.loads(drift("--json").stdout)
    [window] = said["windows"]
    [pressure] = [m for m in window["measurements"] if (m["column"], m["kind"]) == ("input.pressure", "distribution")]
    assert pressure["is_finding"]
    assert pressure["numbers"]["median"] > pressure["numbers"]["training_median"] + 10


def test_a_kept_outcome_that_cannot_be_read_is_written_anew(watched: Watched) -> None:
    watched.predict_day(1)
    path = watched.var / "monitoring" / "patients" / "drift.json"
    path.parent.mkdir(parents=True)
    path.write_text("{")
    assert drift().exit_code == 0
    assert DriftReport.latest(watched.var, "patients")


def test_a_period_of_its_own_is_not_kept(watched: Watched) -> None:
    watched.predict_day(2)
    assert drift("--from", f"{NOW - timedelta(days=4):%Y-%m-%d}").exit_code == 0
    assert DriftReport.latest(watched.var, "patients") is None


@pytest.mark.parametrize(
    ("is_predicted", "said"), [(False, "no prediction"), (True, "too few rows")], ids=["nothing", "few"]
)
def test_where_nothing_can_be_measured_it_ends_with_3(watched: Watched, is_predicted: bool, said: str) -> None:
    if is_predicted:
        watched.predict(patients(20), NOW - timedelta(days=1))
    done = drift()
    assert done.exit_code == 3
    assert said in done.output


@pytest.mark.parametrize(
    "arguments",
    [
        ["--window", "1 day"],
        ["--window", "0d"],
        ["--from", "yesterday"],
        ["--from", "2026-01-02", "--to", "2026-01-01"],
    ],
    ids=" ".join,
)
def test_a_wrong_argument_ends_with_2(watched: Watched, arguments: list[str]) -> None:
    assert drift(*arguments).exit_code == 2


def test_an_unknown_model_ends_with_3_and_the_models_there_are(watched: Watched) -> None:
    done = CliRunner().invoke(main, ["drift", "nobody"])
    assert done.exit_code == 3
    assert "patients" in done.output


def test_the_report_is_one_file_with_each_column_drawn(watched: Watched, tmp_path: Path) -> None:
    watched.predict_day(1, by=15)
    assert drift("--html", str(tmp_path / "out" / "drift.html")).exit_code == 0
    page = (tmp_path / "out" / "drift.html").read_text(encoding="utf-8")
    assert re.findall(r'(?:src|href)="(?!data:)', page) == []
    assert re.findall(r"<figcaption>(\w+)", page)[0] == "pressure", "what drifted comes first"
    assert page.count("<svg") == 5
    assert {"training", "test", "window"} <= set(re.findall(r">(\w+)</text>", page))


def test_a_report_without_any_window_is_a_page_too(watched: Watched, tmp_path: Path) -> None:
    assert drift("--html", str(tmp_path / "drift.html")).exit_code == 3
    assert "No prediction in this time" in (tmp_path / "drift.html").read_text(encoding="utf-8")

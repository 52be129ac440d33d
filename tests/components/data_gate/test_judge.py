from __future__ import annotations

import csv

import numpy as np
import pytest

from components.data_gate.judge import Located, RawFinding, cell, export, file_name, judge, locate, name_files
from config.gate_settings import DataGateSettings

ROWS = {"train": 3, "test": 2}
LEAK = RawFinding("LABEL_LEAK", "'x' tells", feature="x", cure="Drop it")
CONSTANT = RawFinding("CONSTANT_FEATURE", "'c' is 1", feature="c")
ENUM = RawFinding("ENUM_TYPE_UNEXPECTED_STRING_VALUES", "In test, 'e' holds", feature="e", counts_rows=True)
DATA = {"n": [1, 2, 3], "t": ["=cmd()", "b", None], "y": ["0", "1", "0"]}


def weigh(*findings, override="", **settings):
    found = [Located(one, rows=2, values=["'a'"]) for one in findings]
    return judge(found, {("LABEL_LEAK", "x"): "rows.csv"}, DataGateSettings(**settings), ROWS, override)


def test_clean_data_pass():
    verdict = weigh()
    assert verdict.passed
    assert verdict.sentence == "The data passed: 5 rows (3 train, 2 test), no error."


def test_an_error_refuses_and_stands_first():
    verdict = weigh(CONSTANT, LEAK, ENUM)
    assert not verdict.passed
    assert verdict.sentence == "The data were refused: 'x' tells (1 more error); 1 warning."
    assert [f.severity for f in verdict.findings] == ["error", "error", "warn"]
    assert verdict.findings[0].sentence == "'x' tells. Drop it."
    assert verdict.findings[0].details["rows_file"] == "rows.csv"
    assert verdict.findings[1].sentence == "In test, 'e' holds: 'a' (2 rows)."


def test_an_override_passes_keeps_the_findings_and_says_why():
    verdict = weigh(LEAK, override="known, ticket 12")
    assert (verdict.passed, verdict.override) == (True, "known, ticket 12")
    assert verdict.findings[0].severity == "error"
    assert "known, ticket 12" in verdict.sentence


@pytest.mark.parametrize(
    ("severity", "expected"),
    [
        ({"LABEL_LEAK": "warn"}, "warn"),
        ({"LABEL_LEAK": "ignore"}, "info"),
        ({"LABEL_LEAK:x": "warn"}, "warn"),
        ({"LABEL_LEAK:z": "warn"}, "error"),
        ({"LABEL_LEAK": "error", "LABEL_LEAK:x": "ignore"}, "info"),
    ],
    ids=str,
)
def test_severities_come_from_the_settings(severity, expected):
    verdict = weigh(LEAK, severity=severity)
    assert verdict.findings[0].severity == expected
    assert verdict.passed == (expected != "error")


def test_the_default_severity_is_for_anomalies_not_for_our_checks():
    verdict = weigh(LEAK, ENUM, default_severity="warn")
    assert [f.severity for f in verdict.findings] == ["error", "warn"]


def test_a_check_may_know_better_unless_the_settings_speak():
    overlap = RawFinding("SPLIT_OVERLAP", "t", usual="warn")
    assert weigh(overlap).passed
    assert not weigh(overlap, severity={"SPLIT_OVERLAP": "error"}).passed


def everything(block):
    return np.ones(block.batch.num_rows, bool)


def raw_finding(**changes):
    return RawFinding(
        **{
            "kind": "K",
            "text": "t",
            "feature": "n",
            "splits": ("train",),
            "where": everything,
            "counts_rows": True,
            **changes,
        }
    )


def test_rows_are_counted_kept_up_to_a_limit_and_written(tmp_path, make_block):
    blocks = [make_block("train", DATA), make_block("train", DATA, 3), make_block("test", DATA)]
    (found,) = locate(blocks, [raw_finding()], most=4)
    assert (found.rows, found.values) == (6, ["1", "2", "3"])
    names = name_files([found])
    export([found], names, tmp_path, most=4)
    with (tmp_path / names["K", "n"]).open(encoding="utf-8", newline="") as file:
        rows = [*csv.DictReader(file)]
    assert [row["_row"] for row in rows] == ["0", "1", "2", "3"]
    assert rows[0] == {"_split": "train", "_row": "0", "n": "1", "t": "'=cmd()", "y": "0"}
    assert rows[2]["t"] == ""


def test_findings_of_one_kind_and_feature_share_a_file(tmp_path, make_block):
    found = locate(
        [make_block("train", DATA), make_block("test", DATA)],
        [raw_finding(), raw_finding(splits=("test", "train"))],
        most=10,
    )
    names = name_files(found)
    export(found, names, tmp_path, most=10)
    assert [path.name for path in tmp_path.iterdir()] == ["rows-K-n.csv"]
    assert len((tmp_path / "rows-K-n.csv").read_text().splitlines()) == 1 + 6


def test_without_rows_there_is_no_file(tmp_path, make_block):
    found = locate([make_block("train", DATA)], [raw_finding(where=None)], most=10)
    assert name_files(found) == {}


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ("=1+1", "'=1+1"),
        ("+1", "+1"),
        ("-1", "-1"),
        ("-1+2", "'-1+2"),
        ("@x", "'@x"),
        ("\t=1", "'\t=1"),
        ("\r=1", "'\r=1"),
        ("a=1", "a=1"),
        (-1.5, "-1.5"),
        (-2, "-2"),
        (None, ""),
        (float("nan"), "nan"),
    ],
)
def test_text_that_a_spreadsheet_would_run_is_escaped(value, written):
    assert cell(value) == written


def test_file_names_are_safe_and_distinct():
    names = {file_name("K", feature) for feature in ("a b", "a_b", "a/b", "../a", "ä" * 200, None)}
    assert len(names) == 6
    assert all("/" not in name and len(name) < 120 for name in names)

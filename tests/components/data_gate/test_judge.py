import pytest

from components.data_gate.finding import Located, RawFinding
from components.data_gate.judge import judge
from config.settings import DataGateSettings

ROWS = {"train": 3, "test": 2}
LEAK = RawFinding("LABEL_LEAK", "'x' tells", feature="x", cure="Drop it")
CONSTANT = RawFinding("CONSTANT_FEATURE", "'c' is 1", feature="c")
ENUM = RawFinding("ENUM_TYPE_UNEXPECTED_STRING_VALUES", "In test, 'e' holds", feature="e", counts_rows=True)


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

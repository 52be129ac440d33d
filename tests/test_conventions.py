"""What all tests keep to."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support.paths import ROOT
from tests.support.programs import ALL_ARE_THERE, DEBIAN, fail_skipped, program

MODULES = sorted((ROOT / "tests").rglob("*.py"))
BOUND = r"assert [^#\n]*(monotonic|perf_counter|time\.time)\(\) - \w+ <"


def imports_of_other_tests(text: str) -> list[str]:
    """The modules that are no support and are imported from."""
    modules = re.findall(r"^\s*(?:from|import) (tests[\w.]*)", text, flags=re.MULTILINE)
    return [module for module in modules if not module.startswith("tests.support")]


def test_helpers_are_imported_from_support_alone() -> None:
    assert {path.name: names for path in MODULES if (names := imports_of_other_tests(path.read_text()))} == {}


def test_no_test_fails_because_the_machine_is_slow() -> None:
    assert [path.name for path in MODULES if re.search(BOUND, path.read_text())] == []


@pytest.mark.parametrize("line", ["from tests.webapp.conftest import App", "    import tests.test_docs"])
def test_an_import_of_another_test_is_found(line: str) -> None:
    assert imports_of_other_tests(line)


def test_an_upper_bound_is_found() -> None:
    assert re.search(BOUND, "    assert time.monotonic" + "() - started < 1")


@pytest.mark.parametrize(
    ("reason", "variable", "outcome"),
    [
        ("chromium is missing: apt-get install chromium", "1", "failed"),
        ("any other reason", "1", "failed"),
        ("kubectl is missing: see there", "1", "skipped"),
        ("chromium is missing: apt-get install chromium", "", "skipped"),
    ],
)
def test_where_all_programs_are_there_no_test_is_skipped_in_silence(
    reason: str, variable: str, outcome: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(ALL_ARE_THERE, variable)
    report = pytest.TestReport("t", ("t", 1, "t"), {}, "skipped", ("t", 1, f"Skipped: {reason}"), "call")
    fail_skipped(report)
    assert report.outcome == outcome


def test_without_its_program_a_test_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(pytest.skip.Exception, match="promtool is missing: apt-get install prometheus"):
        program("promtool")


def test_what_tests_may_need_is_what_ci_installs() -> None:
    packages = re.findall(r"^([\w-]+)", (ROOT / ".ci" / "packages").read_text(), flags=re.MULTILINE)
    assert set(DEBIAN.values()) <= set(packages)

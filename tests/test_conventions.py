"""What all tests keep to."""

from __future__ import annotations

import re

import pytest

from tests.support.paths import ROOT

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

from __future__ import annotations

from pathlib import Path

import pytest

from common.errors import DataError
from serving.repository.layout import MAX_VERSION, models, unreadable, version_number, versions


@pytest.mark.parametrize(("name", "number"), [("1", 1), ("20261129", 20261129), (str(MAX_VERSION), MAX_VERSION)])
def test_a_version_is_an_int64_in_decimal(name: str, number: int) -> None:
    assert version_number(name) == number


@pytest.mark.parametrize(
    "name", ["", "0", "007", "-1", "+1", "1.0", "1_0", " 1", "१२", "²", str(MAX_VERSION + 1), "20261129213046123456"]
)
def test_nothing_else_is_a_version(name: str) -> None:
    assert version_number(name) is None


def test_versions_are_numeric_folders_in_rising_order(tmp_path: Path) -> None:
    assert versions(tmp_path / "absent") == []
    for name in ("10", "9", ".staging-11", "latest", "1.0", "007", "20261129213046123456"):
        (tmp_path / name).mkdir()
    (tmp_path / "12").write_text("a file")
    assert versions(tmp_path) == [9, 10]
    assert versions(tmp_path / "12") == []


def test_models_are_folders_with_a_version(tmp_path: Path) -> None:
    (tmp_path / "m" / "1").mkdir(parents=True)
    (tmp_path / "empty").mkdir()
    (tmp_path / "models.config").write_text("")
    assert (models(tmp_path), unreadable(tmp_path)) == (["m"], {})
    assert models(tmp_path / "absent") == []


def test_a_folder_that_cannot_be_read_is_told_and_hides_no_other(tmp_path: Path) -> None:
    (tmp_path / "m" / "1").mkdir(parents=True)
    closed = tmp_path / "lost+found"
    closed.symlink_to(closed)  # a loop, which not even root can read
    assert models(tmp_path) == ["m"]
    assert list(unreadable(tmp_path)) == ["lost+found"]
    with pytest.raises(DataError, match="cannot be read"):
        versions(closed)

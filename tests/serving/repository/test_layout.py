from __future__ import annotations

import os
from pathlib import Path

import pytest

from common.errors import DataError
from serving.repository import layout
from serving.repository.layout import MAX_VERSION, Listing, models, unreadable, version_number, versions


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


def test_a_listing_is_what_is_there_and_is_made_again_once_a_folder_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layout, "SETTLED_NS", -1)
    lists: list[Path] = []

    def counted(base: Path) -> list[int]:
        lists.append(base)
        return versions(base)

    monkeypatch.setattr(layout, "versions", counted)
    (tmp_path / "m" / "1").mkdir(parents=True)
    listing = Listing(tmp_path)
    assert [listing.versions("m"), listing.versions("m"), listing.models()] == [[1], [1], ["m"]]
    assert len(lists) == 1
    (tmp_path / "m" / "2").mkdir()
    os.utime(tmp_path / "m", ns=(0, 0))  # within the clock's tick it would look the same, which is what is waited for
    assert listing.versions("m") == [1, 2]
    (tmp_path / "m").rename(tmp_path / "n")
    assert (listing.models(), listing.versions("m")) == (["n"], [])


def test_a_folder_that_changed_just_now_is_listed_each_time(tmp_path: Path) -> None:
    listing = Listing(tmp_path)
    for number in range(1, 50):
        (tmp_path / "m" / str(number)).mkdir(parents=True)
        assert len(listing.versions("m")) == number

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from common.errors import DataError, GateRefused
from serving.repository.layout import versions
from serving.repository.transfer import add_version, copy_version
from tests.support.serving.versions import bare_version


@pytest.fixture
def base(tmp_path: Path) -> Path:
    for version in (1, 2):
        bare_version(tmp_path / "here" / "m", version)
    return tmp_path / "here" / "m"


def test_the_newest_or_a_named_version_is_copied_once(base: Path, tmp_path: Path) -> None:
    to = tmp_path / "there" / "m"
    assert copy_version(base, to) == (2, True)
    assert copy_version(base, to) == (2, False)
    assert copy_version(base, to, 1) == (1, True)
    assert versions(to) == [1, 2]
    assert (to / "2").stat().st_mode & 0o777 == 0o755  # another user serves it


def test_what_is_not_there_is_refused(base: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no version 3"):
        copy_version(base, tmp_path / "m", 3)


def test_a_damaged_version_is_refused(base: Path, tmp_path: Path) -> None:
    (base / "2" / "saved_model.pb").write_text("other")
    with pytest.raises(GateRefused, match=r"saved_model\.pb was changed"):
        copy_version(base, tmp_path / "m")
    assert not versions(tmp_path / "m")


def test_what_arrives_damaged_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(GateRefused, match="no valid manifest"):
        add_version(tmp_path / "m" / "1", lambda staged: (staged / "saved_model.pb").write_text("half"))
    assert not list((tmp_path / "m").iterdir())


def test_another_version_of_that_number_is_not_overwritten(base: Path, tmp_path: Path) -> None:
    other = bare_version(tmp_path / "other", 7)
    shutil.copytree(other, tmp_path / "m" / "2")
    with pytest.raises(DataError, match="another version of that number"):
        copy_version(base, tmp_path / "m")

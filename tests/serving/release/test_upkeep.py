"""What is removed, and what never is; backup and restore, tried on a folder that was damaged in between."""

from __future__ import annotations

import shutil
import tarfile
from pathlib import Path

import pytest

from common.errors import ConfigError, DataError, EnvironmentProblem, GateRefused
from serving.release import commands as release
from serving.release.servers import ReleaseContext
from serving.release.state import LOG, STATE, Entry, Intent, Record, State, Store, one_at_a_time
from serving.release.upkeep import back_up, bring_back, prune, removable
from serving.repository.layout import MANIFEST, versions
from serving.repository.manifest import problems
from tests.support.serving.versions import bare_version

ENTRY = Entry("1", "2026-11-21T09:00:00+00:00", "me", "promote", State(2), State(4, 2), "run", "digest", "")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    for version in range(1, 9):
        (tmp_path / "m" / str(version)).mkdir(parents=True)
    return Store(tmp_path, "m")


def test_what_is_released_or_in_use_stays_whatever_its_age(store: Store) -> None:
    store.write(Record(State(3, previous=1, candidate=4, weight_percent=10)))
    assert removable(store.base.parent, "m", 2) == [2, 5, 6]
    assert removable(store.base.parent, "m", 8) == []


def test_what_a_release_under_way_goes_to_stays(store: Store) -> None:
    store.write(Record(State(2), Intent(ENTRY)))
    assert removable(store.base.parent, "m", 1) == [1, 3, 5, 6, 7]


def test_a_broken_state_lets_nothing_released_go(store: Store) -> None:
    store.log(ENTRY)
    (store.base / STATE).write_text("{")
    assert removable(store.base.parent, "m", 1) == [1, 3, 5, 6, 7]


def test_what_is_removable_is_removed_but_not_when_only_asked_for(store: Store) -> None:
    root = store.base.parent
    store.write(Record(State(3)))
    assert prune(root, "m", 4, "tester", is_dry=True) == [1, 2, 4]
    assert versions(store.base) == [1, 2, 3, 4, 5, 6, 7, 8]
    assert prune(root, "m", 4, "tester") == [1, 2, 4]
    assert versions(store.base) == [3, 5, 6, 7, 8]
    with one_at_a_time(root, "another"), pytest.raises(EnvironmentProblem, match="another release is going on"):
        prune(root, "m", 1, "tester")
    assert versions(store.base) == [3, 5, 6, 7, 8]


def test_a_baseline_in_use_stays(tmp_path: Path) -> None:
    """Version 5 was compared with 1, the candidate 3 with 2; what 4 was compared with is nobody's concern any more."""
    base = tmp_path / "m"
    for version, baseline in ((1, ""), (2, ""), (3, "digest of 2"), (4, "digest of 3"), (5, "digest of 1"), (6, "")):
        bare_version(base, version, digest=f"digest of {version}", baseline=baseline)
    Store(tmp_path, "m").write(Record(State(5, candidate=3)))
    assert removable(tmp_path, "m", 1) == [4]
    Store(tmp_path, "m").write(Record(State(6)))
    assert removable(tmp_path, "m", 1) == [1, 2, 3, 4, 5]
    assert removable(tmp_path, "m", 2) == [2, 3, 4]
    (base / "1" / MANIFEST).unlink()
    assert removable(tmp_path, "m", 2) == [1, 2, 3, 4], "nobody can tell what it is"


def test_before_the_first_release_the_newest_stay(store: Store) -> None:
    assert removable(store.base.parent, "m", 3) == [1, 2, 3, 4, 5]
    with pytest.raises(ConfigError, match="at least one"):
        removable(store.base.parent, "m", 0)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Model m: 2 is stable and 1 kept for a rollback; model n: 1 is stable."""
    root = tmp_path / "serving"
    context = ReleaseContext(root, (), "tester")
    for model, version in (("m", 1), ("n", 1)):
        bare_version(root / model, version)
    release.prepare(context)
    bare_version(root / "m", 2)
    release.promote(context, "m", 2)
    return root


def state(root: Path, model: str) -> State:
    record = Store(root, model).read()
    assert record
    return record.state


def damaged(base: Path, version: int) -> list[str]:
    return sorted(path.read_text() for path in base.glob(f".damaged-{version}-*/saved_model.pb"))


def test_what_was_damaged_comes_back_and_what_is_whole_stays(root: Path, tmp_path: Path) -> None:
    file = tmp_path / "backup.tar"
    assert back_up(root, file).versions == {"m": [1, 2], "n": [1]}
    history = Store(root, "m").history()

    (root / "m" / "1" / "saved_model.pb").write_text("rotten")
    shutil.rmtree(root / "m" / "2")
    (root / "m" / STATE).write_text("{")
    (root / "m" / LOG).unlink()
    shutil.rmtree(root / "n")
    bare_version(root / "m", 3)

    report = bring_back(root, file)
    assert (report.versions, report.replaced) == ({"m": [1, 2], "n": [1]}, ["m 1"])
    assert versions(root / "m") == [1, 2, 3]
    assert not [wrong for version in (1, 2, 3) for wrong in problems(root / "m" / str(version))]
    assert (state(root, "m"), state(root, "n")) == (State(2, previous=1), State(1))
    assert Store(root, "m").history() == history
    assert damaged(root / "m", 1) == ["rotten"]
    assert bring_back(root, file).versions == {}  # a second time there is nothing to do
    (root / "m" / "1" / "saved_model.pb").write_text("rotten again")
    assert bring_back(root, file).replaced == ["m 1"]
    assert damaged(root / "m", 1) == ["rotten", "rotten again"]


def test_a_version_that_is_damaged_already_is_left_out_and_told(root: Path, tmp_path: Path) -> None:
    (root / "m" / "1" / "saved_model.pb").unlink()
    report = back_up(root, tmp_path / "backup.tar")
    assert report.versions == {"m": [2], "n": [1]}
    assert report.left_out == ["m 1: saved_model.pb is missing"]


def test_a_backup_that_was_damaged_changes_nothing(root: Path, tmp_path: Path) -> None:
    file = tmp_path / "backup.tar"
    back_up(root, file)
    content = file.read_bytes()
    file.write_bytes(content.replace(b"graph 2", b"graph X"))
    shutil.rmtree(root / "n")
    with pytest.raises(GateRefused, match=r"saved_model\.pb was changed"):
        bring_back(root, file)
    assert not (root / "n").exists()
    file.write_bytes(content[:700])
    with pytest.raises(ConfigError, match="no backup"):
        bring_back(root, file)


def test_what_is_no_backup_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes").write_text("notes")
    with pytest.raises(ConfigError, match="no backup"):
        bring_back(tmp_path / "serving", tmp_path / "notes")
    with tarfile.open(tmp_path / "other.tar", "w") as archive:
        archive.add(tmp_path / "notes", "notes")
    with pytest.raises(ConfigError, match="no backup"):
        bring_back(tmp_path / "serving", tmp_path / "other.tar")


def test_a_file_that_would_be_written_elsewhere_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes").write_text("notes")
    with tarfile.open(tmp_path / "evil.tar", "w") as archive:
        archive.add(tmp_path / "notes", "../../notes")
    with pytest.raises(ConfigError, match="no backup"):
        bring_back(tmp_path / "a" / "b", tmp_path / "evil.tar")


def test_nothing_pushed_is_nothing_to_back_up(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no model was pushed"):
        back_up(tmp_path, tmp_path / "backup.tar")
    assert not (tmp_path / "backup.tar").exists()


def test_what_was_never_released_is_kept_as_well(root: Path, tmp_path: Path) -> None:
    bare_version(root / "new", 4)
    back_up(root, tmp_path / "backup.tar")
    shutil.rmtree(root)
    assert bring_back(root, tmp_path / "backup.tar").versions == {"m": [1, 2], "n": [1], "new": [4]}
    assert Store(root, "new").read() is None


@pytest.mark.parametrize("is_restored", [False, True])
def test_a_disk_in_the_way_is_one_sentence_and_leaves_no_half_file(
    root: Path, tmp_path: Path, is_restored: bool
) -> None:
    file = tmp_path / "backup.tar"
    if is_restored:
        back_up(root, file)
        (tmp_path / "a file").write_text("")
        with pytest.raises(EnvironmentProblem, match="cannot be restored"):
            bring_back(tmp_path / "a file", file)
    else:
        file.mkdir()
        with pytest.raises(EnvironmentProblem, match="cannot be written"):
            back_up(root, file)
        assert sorted(path.name for path in tmp_path.iterdir()) == ["backup.tar", "serving"]

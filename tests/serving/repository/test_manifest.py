from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from common.errors import DataError
from serving.repository.manifest import FILE_NAME, Manifest, checksums, digest, problems, versions

MANIFEST = Manifest(
    "m",
    3,
    "run",
    "2026-11-21T05:46:10+00:00",
    "",
    "data",
    "settings",
    {"auc": [0.9, 0.8, 1.0]},
    {"threshold": 0.4},
    {"evaluation": "Blessed."},
    {},
)


@pytest.fixture
def version(tmp_path: Path) -> Path:
    folder = tmp_path / "3"
    (folder / "assets.extra").mkdir(parents=True)
    (folder / "saved_model.pb").write_bytes(b"graph")
    (folder / FILE_NAME).write_text(replace(MANIFEST, checksums=checksums(folder)).text())
    return folder


def test_what_is_written_is_read(version: Path) -> None:
    assert replace(Manifest.read(version), checksums={}) == MANIFEST
    assert problems(version) == []


def test_the_manifest_is_not_among_its_own_checksums(version: Path) -> None:
    assert set(checksums(version)) == {"saved_model.pb"}


@pytest.mark.parametrize(
    "text",
    [None, "", "no JSON", "[]", "{}", json.dumps({**asdict(MANIFEST), "more": 1})],
    ids=["absent", "empty", "no JSON", "a list", "no keys", "an unknown key"],
)
def test_a_version_without_a_valid_manifest_is_not_vouched_for(version: Path, text: str | None) -> None:
    if text is None:
        (version / FILE_NAME).unlink()
    else:
        (version / FILE_NAME).write_text(text)
    assert problems(version) == [f"no valid manifest in {version}"]
    with pytest.raises(DataError, match="push the model again"):
        Manifest.read(version)


def test_every_problem_is_named(version: Path) -> None:
    (version / "saved_model.pb").write_bytes(b"grapH")
    (version / "more").write_bytes(b"")
    assert problems(version) == ["more is not in the manifest", "saved_model.pb was changed"]
    (version / "saved_model.pb").unlink()
    assert problems(version)[0] == "saved_model.pb is missing"


def test_the_digest_depends_on_names_and_contents_alone() -> None:
    assert digest({"a": "1", "b": "2"}) == digest({"b": "2", "a": "1"})
    assert len({digest({"a": "1", "b": "2"}), digest({"a": "2", "b": "1"}), digest({"a": "1"})}) == 3


def test_versions_are_numeric_folders_in_rising_order(tmp_path: Path) -> None:
    assert versions(tmp_path / "absent") == []
    for name in ("10", "9", ".staging-11", "latest", "1.0"):
        (tmp_path / name).mkdir()
    (tmp_path / "12").write_text("a file")
    assert versions(tmp_path) == [9, 10]

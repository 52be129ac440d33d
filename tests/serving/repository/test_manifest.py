from __future__ import annotations

import json
import shutil
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from common.errors import DataError, GateRefused
from serving.repository.layout import MANIFEST, versions
from serving.repository.manifest import GateVerdict, Manifest, add_version, checksums, copy_version, digest, problems
from tests.support.serving.versions import bare_version

EXAMPLE = Manifest(
    "m",
    3,
    "run",
    "2026-11-21T05:46:10+00:00",
    "",
    "data",
    "settings",
    {"auc": [0.9, 0.8, 1.0]},
    {"threshold": 0.4},
    {"evaluation": GateVerdict(True, "auc is 0.9.", evidence=[{"kind": "THRESHOLD_MET"}])},
    {},
)


@pytest.fixture
def version(tmp_path: Path) -> Path:
    folder = tmp_path / "3"
    (folder / "assets.extra").mkdir(parents=True)
    (folder / "saved_model.pb").write_bytes(b"graph")
    (folder / MANIFEST).write_text(replace(EXAMPLE, checksums=checksums(folder)).text())
    return folder


def test_what_is_written_is_read(version: Path) -> None:
    assert replace(Manifest.read(version), checksums={}) == EXAMPLE
    assert problems(version) == []


def test_the_manifest_is_not_among_its_own_checksums(version: Path) -> None:
    assert set(checksums(version)) == {"saved_model.pb"}


def odd(**values: object) -> str:
    return json.dumps(asdict(EXAMPLE) | values)


@pytest.mark.parametrize(
    "text",
    [
        *(None, "", "no JSON", "[]", "{}", '{"sentences": null}', '{"sentences": {"serving": 1}}'),
        *(odd(more=1), odd(checksums=None), odd(checksums=[]), odd(version="3"), odd(version=2**63)),
        *(odd(verdicts=None), odd(verdicts={"serving": {"passed": "yes", "sentence": ""}})),
    ],
)
def test_a_version_without_a_valid_manifest_is_not_vouched_for(version: Path, text: str | None) -> None:
    if text is None:
        (version / MANIFEST).unlink()
    else:
        (version / MANIFEST).write_text(text)
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


def verdicts(passed: bool, sentence: str) -> dict[str, GateVerdict]:
    return {"evaluation": GateVerdict(passed, sentence), "serving": GateVerdict(True, "Not fit? It is.")}


def test_what_a_gate_decided_counts_and_not_what_it_says() -> None:
    assert replace(EXAMPLE, verdicts=verdicts(True, "The model is blessed")).is_blessed
    assert not replace(EXAMPLE, verdicts=verdicts(False, "Blessed? No: auc missed")).is_blessed
    assert not EXAMPLE.is_blessed, "there is no verdict of the serving gate"


@pytest.mark.parametrize(
    ("sentences", "is_blessed"),
    [
        ({"evaluation": "Blessed on 102 test rows.", "serving": "Loaded in 0.3 s."}, True),
        ({"evaluation": "Not blessed: auc is 0.9.", "serving": "Loaded in 0.3 s."}, False),
        ({"evaluation": "Blessed on 102 test rows.", "serving": "Not fit to serve: no."}, False),
        ({"evaluation": "Blessed on 102 test rows.", "serving": ""}, False),
        ({"evaluation": "Blessed on 102 test rows."}, False),
        ({"serving": "Loaded in 0.3 s."}, False),
        ({}, False),
    ],
)
def test_a_manifest_of_old_is_read_and_decided_as_before(
    version: Path, sentences: dict[str, str], is_blessed: bool
) -> None:
    values = {name: value for name, value in asdict(EXAMPLE).items() if name != "verdicts"}
    (version / MANIFEST).write_text(json.dumps(values | {"sentences": sentences}))
    manifest = Manifest.read(version)
    assert (manifest.is_blessed, manifest.sentences) == (is_blessed, sentences)


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

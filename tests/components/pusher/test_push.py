from __future__ import annotations

import multiprocessing
import os
from dataclasses import replace
from pathlib import Path

import pytest

from common.errors import DataError, EnvironmentProblem, GateRefused
from components.pusher.push import LAST, STAGING, STEPS, is_newest, push
from serving.repository.layout import MAX_VERSION, versions
from serving.repository.manifest import Manifest, problems

EMPTY = Manifest("m", 0, "run", "now", "", "data", "settings", {}, None, {}, {})
EXTRA = {"assets.extra/schema.pbtxt": "feature {}", "assets.extra/train_statistics.pb": b"\x00"}


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return make_model(tmp_path / "model", b"weights")


def make_model(folder: Path, weights: bytes) -> Path:
    (folder / "variables").mkdir(parents=True)
    (folder / "saved_model.pb").write_bytes(b"graph")
    (folder / "variables" / "variables.data").write_bytes(weights)
    return folder


def test_a_push_is_whole_and_says_what_it_is(model: Path, tmp_path: Path) -> None:
    pushed = push(model, tmp_path / "base", EMPTY, EXTRA)
    assert (pushed.version, pushed.is_new) == (1, True)
    manifest = Manifest.read(pushed.folder)
    assert (manifest.version, manifest.data_digest) == (1, "data")
    assert set(manifest.checksums) == {"saved_model.pb", "variables/variables.data", *EXTRA}
    assert problems(pushed.folder) == []


def test_the_same_model_is_not_pushed_twice(model: Path, tmp_path: Path) -> None:
    push(model, tmp_path / "base", EMPTY, EXTRA)
    again = push(model, tmp_path / "base", EMPTY, EXTRA)
    assert (again.version, again.is_new) == (1, False)


def test_a_model_trained_twice_is_not_pushed_twice_though_its_files_differ(model: Path, tmp_path: Path) -> None:
    base, told = tmp_path / "base", replace(EMPTY, identity="weights, data, settings")
    push(model, base, told, EXTRA)
    retrained = make_model(tmp_path / "retrained", b"weights, at another time")
    assert push(retrained, base, told, EXTRA).is_new is False
    assert push(retrained, base, replace(told, identity="other weights"), EXTRA).version == 2
    assert push(model, base, told, EXTRA).version == 3, "it is there, but no longer the newest"


def test_only_a_whole_version_is_the_newest(model: Path, tmp_path: Path) -> None:
    base = tmp_path / "base"
    first = push(model, base, EMPTY, EXTRA)
    assert is_newest(base, 1)
    (first.folder / "saved_model.pb").write_bytes(b"changed")
    assert not is_newest(base, 1)
    push(make_model(tmp_path / "other", b"better"), base, EMPTY, EXTRA)
    assert is_newest(base, 2)
    assert not is_newest(base, 1)


def test_numbers_only_grow_even_when_versions_are_removed(model: Path, tmp_path: Path) -> None:
    base = tmp_path / "base"
    push(model, base, EMPTY, EXTRA)
    second = push(make_model(tmp_path / "other", b"better"), base, EMPTY, EXTRA)
    for file in sorted(second.folder.rglob("*"), reverse=True):
        file.rmdir() if file.is_dir() else file.unlink()
    second.folder.rmdir()
    assert not is_newest(base, 2)
    assert push(make_model(tmp_path / "third", b"best"), base, EMPTY, EXTRA).version == 3


def test_a_newest_version_without_a_manifest_or_a_number_beyond_int64_stops_no_push(
    model: Path, tmp_path: Path
) -> None:
    base = tmp_path / "base"
    for name in ("3", "20261129213046123456", "007"):
        (base / name).mkdir(parents=True)
    assert push(model, base, EMPTY, EXTRA).version == 4
    (base / str(MAX_VERSION)).mkdir()
    with pytest.raises(DataError, match="no version number left"):
        push(make_model(tmp_path / "other", b"better"), base, EMPTY, EXTRA)


@pytest.mark.parametrize("step", STEPS)
def test_killed_after_any_step_the_next_push_completes(step: str, model: Path, tmp_path: Path) -> None:
    base = tmp_path / "base"
    older = push(make_model(tmp_path / "older", b"older"), base, EMPTY, EXTRA)

    def die(reached: str) -> None:
        if reached == step:
            os._exit(9)

    process = multiprocessing.get_context("fork").Process(target=push, args=(model, base, EMPTY, EXTRA, die))
    process.start()
    process.join()
    assert process.exitcode == 9
    assert all(problems(base / str(version)) == [] for version in versions(base)), "a version seen is a version whole"

    pushed = push(model, base, EMPTY, EXTRA)
    assert problems(pushed.folder) == []
    assert pushed.version > older.version
    assert not list(base.glob(f"{STAGING}*"))
    digests = [Manifest.read(base / str(version)).digest for version in versions(base)]
    assert len(set(digests)) == len(digests) == 2, "no model stands twice"
    assert int((base / LAST).read_text()) == pushed.version


@pytest.mark.parametrize("fault", ["cut", "flip", "remove", "add"])
def test_a_changed_version_is_told(fault: str, model: Path, tmp_path: Path) -> None:
    folder = push(model, tmp_path / "base", EMPTY, EXTRA).folder
    weights = folder / "variables" / "variables.data"
    if fault == "cut":
        weights.write_bytes(weights.read_bytes()[:-1])
    elif fault == "flip":
        weights.write_bytes(bytes([weights.read_bytes()[0] ^ 1]) + weights.read_bytes()[1:])
    elif fault == "remove":
        weights.unlink()
    else:
        (folder / "more").write_text("x")
    assert len(problems(folder)) == 1


def test_a_copy_gone_wrong_is_refused(model: Path, tmp_path: Path) -> None:
    base = tmp_path / "base"

    def corrupt(step: str) -> None:
        if step == "described":
            (base / f"{STAGING}1" / "saved_model.pb").write_bytes(b"other")

    with pytest.raises(GateRefused):
        push(model, base, EMPTY, EXTRA, corrupt)
    assert versions(base) == []
    assert not list(base.glob(f"{STAGING}*"))


def test_a_full_disk_leaves_what_is_served(model: Path, tmp_path: Path) -> None:
    base = tmp_path / "base"
    push(make_model(tmp_path / "older", b"older"), base, EMPTY, EXTRA)

    def full(step: str) -> None:
        if step == "copied":
            raise OSError(28, "No space left on device")

    with pytest.raises(EnvironmentProblem, match="No space left"):
        push(model, base, EMPTY, EXTRA, full)
    assert versions(base) == [1]
    assert not list(base.glob(f"{STAGING}*"))


def test_two_pushers_at_once_one_is_told_who_holds_it(model: Path, tmp_path: Path) -> None:
    base = tmp_path / "base"

    def second(step: str) -> None:
        if step == "locked":
            with pytest.raises(EnvironmentProblem, match=str(os.getpid())):
                push(model, base, EMPTY, EXTRA)

    assert push(model, base, EMPTY, EXTRA, second).version == 1


@pytest.mark.parametrize("name", [".push_lock", LAST, "1"])
def test_whatever_of_the_disk_is_in_the_way_is_one_sentence(model: Path, tmp_path: Path, name: str) -> None:
    base = tmp_path / "base"
    base.mkdir()
    (base / name).write_text("") if name == "1" else (base / name).mkdir()
    with pytest.raises(EnvironmentProblem, match=f"could not write the model to {base}\n  got: .*{name}") as problem:
        push(model, base, EMPTY, EXTRA)
    assert problem.value.exit_code == 5
    assert not list(base.glob(f"{STAGING}*"))

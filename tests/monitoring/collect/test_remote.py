"""Spans in a place that machines share, as DVC has them there."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from common.errors import DataError
from monitoring.collect.spans import write_dvc_pointers
from tests.support.collecting import Hospital

DVC = "dvc==3.67.1"


def contents(folder: Path) -> dict[str, bytes]:
    """A span's files without the pointers."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix != ".dvc"}


def two_spans(hospital: Hospital) -> None:
    hospital.asked([(50.0, "c"), (60.0, "a")], {0: "yes", 1: "no"}, reference="bed 7")
    assert hospital.collect().exit_code == 0


def test_dvc_pointers_name_each_file_by_its_md5(hospital: Hospital) -> None:
    hospital.asked([(50.0, "c")], {0: "yes"})
    hospital.collect("--dvc")
    folder = hospital.data / "span-2"
    pointers = sorted(path.name for path in folder.glob("*.dvc"))
    assert pointers == [f"{path.name}.dvc" for path in sorted(folder.iterdir()) if path.suffix != ".dvc"]
    text = (folder / "rows.csv.dvc").read_text()
    content = (folder / "rows.csv").read_bytes()
    assert f"md5: {hashlib.md5(content).hexdigest()}\n  size: {len(content)}\n" in text
    assert hospital.collect().exit_code == 3, "pointers are no examples"


def test_spans_are_pushed_once_and_pulled_as_they_were(hospital: Hospital, tmp_path: Path) -> None:
    two_spans(hospital)
    place = tmp_path / "share"
    assert hospital.told("push", str(place)).stdout.count(" brought to ") == 2
    assert "nothing new" in hospital.told("push", str(place)).stdout
    spans = {number: contents(hospital.data / f"span-{number}") for number in (1, 2)}
    shutil.rmtree(hospital.data)
    assert hospital.told("pull", str(place)).exit_code == 0
    assert {number: contents(hospital.data / f"span-{number}") for number in (1, 2)} == spans
    assert "all spans are here" in hospital.told("pull", str(place)).stdout


def test_a_file_that_was_damaged_there_is_not_taken(hospital: Hospital, tmp_path: Path) -> None:
    two_spans(hospital)
    place = tmp_path / "share"
    hospital.told("push", str(place))
    digest = hashlib.md5((hospital.data / "span-2" / "collected-0002.csv").read_bytes()).hexdigest()
    (place / "files" / "md5" / digest[:2] / digest[2:]).write_text("other")
    shutil.rmtree(hospital.data / "span-2")
    done = hospital.told("pull", str(place))
    assert done.exit_code == DataError.exit_code
    assert "collected-0002.csv of span 2 is damaged there" in done.output
    assert [path.name for path in hospital.data.iterdir() if "span" in path.name] == ["span-1"]


def test_what_was_forgotten_is_gone_there_too_and_on_other_machines(hospital: Hospital, tmp_path: Path) -> None:
    two_spans(hospital)
    place = tmp_path / "share"
    hospital.told("push", str(place))
    shutil.copytree(hospital.data, tmp_path / "before")
    old = hashlib.md5((hospital.data / "span-2" / "collected-0002.csv").read_bytes()).hexdigest()
    assert hospital.forget("bed 7").exit_code == 0
    assert "removed there, whose rows were forgotten" in hospital.told("push", str(place)).stdout
    assert not (place / "files" / "md5" / old[:2] / old[2:]).exists()
    forgotten = contents(hospital.data / "span-2")
    shutil.rmtree(hospital.data)
    shutil.move(tmp_path / "before", hospital.data)
    assert "span 2" in hospital.told("pull", str(place)).stdout
    assert contents(hospital.data / "span-2") == forgotten


def test_two_spans_of_one_number_are_told_and_left(hospital: Hospital, tmp_path: Path) -> None:
    two_spans(hospital)
    place = tmp_path / "share"
    hospital.told("push", str(place))
    (hospital.data / "span-2" / "rows.csv").write_text("size;kind;outcome\n")
    done = hospital.told("pull", str(place))
    assert done.exit_code == DataError.exit_code
    assert (hospital.data / "span-2" / "rows.csv").read_text() == "size;kind;outcome\n"


@pytest.mark.parametrize(("place", "code"), [("nowhere://x", 2), ("/proc/share", 5)])
def test_a_place_that_cannot_be_is_told(hospital: Hospital, place: str, code: int) -> None:
    done = hospital.told("push", place)
    assert done.exit_code == code, done.output


@pytest.fixture(scope="module")
def dvc(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The real one, which does not fit into our environment, in its own."""
    uv, place = Path(sys.executable).parent / "uv", tmp_path_factory.mktemp("dvc") / "environment"
    install = [uv, "pip", "install", "--quiet", "--python", place / "bin" / "python", DVC]
    for command in ([uv, "venv", "--quiet", "--python", sys.executable, place], install):
        done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
        if done.returncode:
            pytest.skip(f"{DVC} cannot be installed: {done.stderr}")
    return place / "bin" / "dvc"


@pytest.mark.exhaustive
def test_real_dvc_pulls_what_was_pushed(dvc: Path, hospital: Hospital, tmp_path: Path) -> None:
    two_spans(hospital)
    hospital.told("push", str(tmp_path / "share"))
    content = contents(hospital.data / "span-2")
    for path in (hospital.data / "span-2").iterdir():
        if path.suffix != ".dvc":
            path.unlink()
    for arguments in (["init", "--no-scm"], ["remote", "add", "-d", "share", str(tmp_path / "share")], ["pull"]):
        subprocess.run([dvc, *arguments], cwd=hospital.data, capture_output=True, text=True, check=True, timeout=120)
    assert contents(hospital.data / "span-2") == content


@pytest.mark.exhaustive
def test_real_dvc_takes_the_pointers_for_its_own(dvc: Path, hospital: Hospital) -> None:

    def run(*arguments: str) -> str:
        done = subprocess.run(
            [dvc, *arguments], cwd=hospital.data, capture_output=True, text=True, check=True, timeout=120
        )
        return done.stdout

    hospital.asked([(50.0, "c")], {0: "yes"})
    hospital.collect()
    write_dvc_pointers(hospital.data / "span-2")
    run("init", "--no-scm")
    run("commit", "-f", "span-2/rows.csv.dvc")
    content = (hospital.data / "span-2" / "rows.csv").read_bytes()
    (hospital.data / "span-2" / "rows.csv").unlink()
    run("checkout", "span-2/rows.csv.dvc")
    assert (hospital.data / "span-2" / "rows.csv").read_bytes() == content

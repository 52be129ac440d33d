"""Which exhaustive tests `.ci/run` runs after a change."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.paths import ROOT
from tests.support.programs import program

ALL = [
    "bench",
    "ci",
    "components",
    "config",
    "deploy",
    "monitoring",
    "notebooks",
    "pipeline",
    "serving",
    "webapp",
    "zoo",
]


def groups(*paths: str, root: Path = ROOT) -> list[str]:
    done = subprocess.run([root / ".ci" / "groups", *paths], capture_output=True, text=True, timeout=60, check=True)
    return done.stdout.split()


@pytest.mark.parametrize(
    ("path", "wanted"),
    [
        ("docs/serving.md", []),
        ("webapp/serve.py", ["webapp"]),
        ("serving/cli.py", ["deploy", "notebooks", "serving", "webapp"]),
        ("components/pusher/push.py", ["bench", "components", "notebooks", "pipeline"]),
        ("monitoring/drift/check.py", ["deploy", "monitoring", "notebooks"]),
        ("tests/monitoring/test_cli.py", ["monitoring"]),
        ("tests/serving/test_cli.py", ["serving"]),
        ("tests/pipeline/test_end_to_end.py", ["pipeline"]),
        (".ci/setup", ["ci"]),
        (".github/workflows/ci.yml", ["ci"]),
        ("config/onboard/init.py", ["config", "pipeline", "zoo"]),
        ("common/paths.py", ALL),
        ("requirements.txt", ALL),
        ("tests/conftest.py", ALL),
        ("a new room/file.py", ALL),
    ],
)
def test_a_change_calls_for_the_tests_of_what_stands_on_it(path: str, wanted: list[str]) -> None:
    assert groups(path) == wanted


@pytest.mark.parametrize("name", ["groups", "run"])
def test_shellcheck_has_no_complaint(name: str) -> None:
    done = subprocess.run([program("shellcheck"), ROOT / ".ci" / name], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_every_group_has_exhaustive_tests_and_no_other_folder_has() -> None:
    marked = {
        path.relative_to(ROOT / "tests").parts[0]
        for path in (ROOT / "tests").rglob("test_*.py")
        if re.search(r"mark\.exhaustive", path.read_text())
    }
    assert sorted(marked - {"ci"} | {"ci"}) == ALL


def test_the_change_is_what_left_the_main_branch_or_the_last_days_commits(tmp_path: Path) -> None:
    def git(*words: str, date: str = "2026-01-01T00:00:00Z") -> None:
        who = {f"GIT_{role}_{what}": "somebody" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
        dates = {"GIT_AUTHOR_DATE": date, "GIT_COMMITTER_DATE": date}
        subprocess.run(
            ["git", *words], cwd=tmp_path, env={**os.environ, **who, **dates}, capture_output=True, check=True
        )

    def commit(path: str, date: str) -> None:
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).touch()
        git("add", "-A")
        git("commit", "-qm", path, date=date)

    (tmp_path / ".ci").mkdir()
    shutil.copy2(ROOT / ".ci" / "groups", tmp_path / ".ci")
    git("init", "-q")
    commit("common/old.py", "2026-01-01T00:00:00Z")
    assert groups(root=tmp_path) == ALL, "there is nothing to compare with"
    commit("webapp/new.py", "2026-01-05T00:00:00Z")
    assert groups(root=tmp_path) == ["webapp"]
    git("update-ref", "refs/remotes/origin/main", "HEAD")
    assert groups(root=tmp_path) == ["webapp"], "the main branch itself: the last day's commits"
    commit("bench/new.py", "2026-01-05T01:00:00Z")
    assert groups(root=tmp_path) == ["bench"]

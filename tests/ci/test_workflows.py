"""The workflows on GitHub: least permissions, nothing typed in becomes a command, and what they call exists."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.paths import ROOT

WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
HASH = re.compile(r"[0-9a-f]{40}")


def load(path: Path) -> dict[str, Any]:
    values = yaml.safe_load(path.read_text(encoding="utf-8"))
    return {("on" if key is True else key): value for key, value in values.items()}  # YAML 1.1 takes `on` for true


def steps(workflow: dict[str, Any]) -> list[dict[str, Any]]:
    return [step for job in workflow["jobs"].values() for step in job["steps"]]


def test_there_is_one_for_changes_one_for_the_night_one_to_retrain_and_one_for_images() -> None:
    events = {path.stem: set(load(path)["on"]) for path in WORKFLOWS}
    assert events == {
        "ci": {"push", "pull_request"},
        "nightly": {"schedule", "workflow_dispatch"},
        "retrain": {"workflow_dispatch"},
        "images": {"push", "schedule", "workflow_dispatch"},
    }


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_may_read_and_nothing_else_and_keeps_no_token(path: Path) -> None:
    workflow = load(path)
    assert workflow["permissions"] == {"contents": "read"}
    assert not any("permissions" in job for job in workflow["jobs"].values())
    checkouts = [step for step in steps(workflow) if step.get("uses", "").startswith("actions/checkout@")]
    assert checkouts
    assert all(step["with"]["persist-credentials"] is False for step in checkouts)
    assert "secrets." not in path.read_text()


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_every_job_ends(path: Path) -> None:
    assert all(0 < job["timeout-minutes"] <= 240 for job in load(path)["jobs"].values())


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_an_action_is_pinned_by_its_hash_or_marked_as_not(path: Path) -> None:
    uses = re.findall(r"uses: (\S+)@(\S+)(.*)", path.read_text(encoding="utf-8"))
    assert uses
    assert all(HASH.fullmatch(version) or note.strip() == "# by tag" for _, version, note in uses)
    assert {name.partition("/")[0] for name, *_ in uses} == {"actions"}, "GitHub's own only"


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_what_was_typed_in_is_never_part_of_a_commands_text(path: Path) -> None:
    assert not [step for step in steps(load(path)) if "${{" in step.get("run", "")]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_what_a_workflow_calls_exists(path: Path) -> None:
    text = "\n".join(step.get("run", "") for step in steps(load(path)))
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    assert set(re.findall(r"\bmake ([a-z-]+)", text)) <= targets
    for script in re.findall(r"(?:^|[ (])(\.ci/\w+|webapp/Dockerfile|local_runner\.py)\b", text, re.MULTILINE):
        assert (ROOT / script).exists(), script


@pytest.mark.parametrize(("name", "python"), [("ci", {"3.11", "3.12"}), ("nightly", {"3.10", "3.11", "3.12", "3.13"})])
def test_both_lines_are_tested_where_their_wheels_run(name: str, python: set[str]) -> None:
    [job] = load(next(path for path in WORKFLOWS if path.stem == name))["jobs"].values()
    lines = job["strategy"]["matrix"]["include"]
    assert {line["python"] for line in lines} == python
    assert {(line["tfx"], line["machine"]) for line in lines} == {("1.16", "ubuntu-22.04"), ("1.21", "ubuntu-24.04")}

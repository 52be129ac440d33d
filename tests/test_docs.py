"""What the documents say is there, is there. `make test` is run by `.ci/run`, `make setup` by `ci/test_setup.py`."""

from __future__ import annotations

import json
import os
import re
import shlex
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import click
import pytest
from pydantic import BaseModel

import local_runner
from config.gate_settings import DATA_CHECKS
from config.load import load_settings
from config.settings import Settings
from monitoring import cli as monitoring
from tests.support.paths import ROOT

README = ROOT / "README.md"
FOLDERS = ("docs/*.md", "docs/decisions/*.md", "data/*/README.md")
DOCS = [README, *(ROOT / f"{name}.md" for name in ("CHANGELOG", "CONTRIBUTING", "SECURITY"))]
DOCS += [path for pattern in FOLDERS for path in sorted(ROOT.glob(pattern))]
PICTURES = sorted((ROOT / "docs" / "pictures").iterdir())
MOST_LINES, MOST_PICTURE_BYTES = 150, 300_000
RUNNER = "local_runner.py"
each = pytest.mark.parametrize("path", DOCS, ids=lambda path: str(path.relative_to(ROOT)))


def blocks(path: Path, language: str) -> list[str]:
    """The fenced code blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", path.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)


def code(path: Path) -> Iterator[str]:
    """Each line of code: those of fenced blocks, and the spans in prose."""
    text = path.read_text(encoding="utf-8")
    for fenced in re.findall(r"^```[a-z]*\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE):
        yield from fenced.splitlines()
    prose = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    yield from (span.replace("\n", " ") for span in re.findall(r"`([^`]+)`", prose))


def arguments(line: str) -> list[str]:
    """What follows `local_runner.py` on a line of code, without the comment; nothing if it does not stand there."""
    words = shlex.split(line, comments=True) if RUNNER in line else []
    return words[next(i for i, word in enumerate(words) if word.endswith(RUNNER)) + 1 :] if words else []


def slug(heading: str) -> str:
    """The anchor that GitHub gives a heading."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


def headings(path: Path) -> set[str]:
    return {slug(found) for found in re.findall(r"^#+ (.*)$", path.read_text(encoding="utf-8"), flags=re.MULTILINE)}


@each
def test_every_link_leads_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", path.read_text(encoding="utf-8")):
        if re.match(r"https?://", target):
            continue
        file, _, anchor = target.partition("#")
        found = (path.parent / file).resolve() if file else path
        assert found.exists(), target
        assert not anchor or anchor in headings(found), target


def test_every_document_is_in_the_index() -> None:
    index = (ROOT / "docs" / "README.md").read_text(encoding="utf-8")
    assert all(f"({path.name})" in index for path in DOCS if path.parent.name == "docs" and path.name != "README.md")


@each
def test_every_make_target_exists(path: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE))
    named = {found for line in code(path) for found in re.findall(r"(?:^|[\s;&])make ([a-z][a-z-]*)", line)}
    assert named <= targets


@each
def test_every_command_and_option_exists(path: Path) -> None:
    for line in code(path):
        said = arguments(line)
        if not said:
            continue
        assert said[0] in local_runner.main.commands, line
        known = {option for parameter in local_runner.main.commands[said[0]].params for option in parameter.opts}
        assert {word.partition("=")[0] for word in said if word.startswith("-")} <= known | {"--help"}, line


@each
def test_every_command_of_monitoring_exists(path: Path) -> None:
    for line in code(path):
        for said in re.findall(r"python -m monitoring ([a-z]+[^|>]*)", line):
            command, *words = shlex.split(said, comments=True)
            assert command in monitoring.main.commands, line
            known = {option for parameter in monitoring.main.commands[command].params for option in parameter.opts}
            assert {word for word in words if word.startswith("--")} <= known, line


@each
def test_every_module_to_be_run_exists(path: Path) -> None:
    for line in code(path):
        for module in re.findall(r"python -m ((?:config|bench|components|pipeline)[\w.]*)", line):
            assert (ROOT / f"{module.replace('.', '/')}.py").is_file(), line


def has_setting(model: Any, path: list[str]) -> bool:
    if not path or not issubclass(model, BaseModel):
        return True  # all of it is found, or what follows is the key of a mapping
    fields = {field.alias or name: field.annotation for name, field in model.model_fields.items()}
    if path[0] not in fields:
        return False
    inner = next(iter(get_args(fields[path[0]])), fields[path[0]])
    return has_setting(inner if isinstance(inner, type) else object, path[1:])


@each
def test_every_setting_named_exists(path: Path) -> None:
    sections = {name for name, field in Settings.model_fields.items() if not get_args(field.annotation)}
    for line in code(path):
        for key in re.findall(r"^([a-z_]+(?:\.[a-z_]+)+)$", line):
            if key.partition(".")[0] in sections and not key.endswith((".pb", ".pbtxt", ".py", ".json", ".md")):
                assert has_setting(Settings, key.split(".")), key


def test_every_finding_is_documented_and_no_other() -> None:
    gates = (ROOT / "docs" / "gates.md").read_text(encoding="utf-8")
    sources = [path for room in ("probe", "evaluation") for path in (ROOT / "components").glob(f"{room}*")]
    files = [file for path in sources for file in (path.rglob("*.py") if path.is_dir() else [path])]
    written = {kind for file in files for kind in re.findall(r'Finding\(\s*"([A-Z_]+)"', file.read_text("utf-8"))}
    listed = {
        kind
        for row in re.findall(r"^\| (`[A-Z`, _]+`) \|", gates, flags=re.MULTILINE)
        for kind in re.findall(r"[A-Z_]{2,}", row)
    }
    assert listed == written | set(DATA_CHECKS)


@pytest.mark.parametrize(
    "path", [*DOCS, *sorted((ROOT / "notebooks").glob("*.ipynb"))], ids=lambda path: str(path.relative_to(ROOT))
)
def test_no_path_of_somebodys_machine_is_told(path: Path) -> None:
    assert not re.findall(r"(?<![\w.])/(?:work|root|tmp|home|Users)/\S*", path.read_text(encoding="utf-8"))


def test_the_readme_is_short_and_its_pictures_are_small_and_used() -> None:
    text = "".join(path.read_text(encoding="utf-8") for path in DOCS)
    assert len(README.read_text(encoding="utf-8").splitlines()) <= MOST_LINES
    for picture in PICTURES:
        assert picture.stat().st_size < MOST_PICTURE_BYTES
        assert f"pictures/{picture.name}" in text


def test_make_demo_runs_what_the_shared_run_of_the_tests_runs() -> None:
    done = subprocess.run(
        ["make", "--dry-run", "demo"], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    commands = [arguments(line) for line in done.stdout.splitlines() if arguments(line)]
    assert commands == [["run", "config/breast_cancer"]]
    assert "-m serving start --sample 10" in done.stdout


def test_the_readmes_overrides_are_understood() -> None:
    lines = [line for line in code(README) if "--set" in line]
    assert lines
    for line in lines:
        words = shlex.split(line)
        load_settings(ROOT / words[words.index("run") + 1], [words[words.index("--set") + 1]])


def test_the_readmes_own_data_commands_work(vouch: Any, tmp_path: Path) -> None:
    [block] = [block for block in blocks(README, "sh") if "init DATA.csv" in block]
    init, run = [arguments(line) for line in block.splitlines() if arguments(line)]
    data = ROOT / "data" / "breast_cancer" / "breast_cancer.csv"
    stand_for = {"DATA.csv": str(data), "COLUMN": "diagnosis"}
    done = vouch(tmp_path / "var", *(stand_for.get(word, word) for word in init), "--out", tmp_path / "config")
    assert done.returncode == 0, done.stderr
    assert run == ["run", "config/<name>"]
    settings = load_settings(tmp_path / "config" / data.stem)
    assert settings.data.label == "diagnosis"
    options = {word for line in code(README) for word in re.findall(r"^--[a-z-]+", line)}
    known = {o for p in local_runner.main.commands["init"].params if isinstance(p, click.Option) for o in p.opts}
    assert options <= known


@pytest.mark.slow
@pytest.mark.parametrize("command", ["runs", "explain", "predict"])
def test_the_readmes_commands_work_after_a_run(pipeline_run: Any, start_vouch: Any, command: str) -> None:
    said = next(arguments(line) for line in code(README) if arguments(line)[:1] == [command])
    done = start_vouch(pipeline_run.var, *said).wait()
    assert done.returncode == 0, done.stderr
    assert "breast_cancer" in done.stdout or "Breast cancer" in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("index", range(len(blocks(ROOT / "docs" / "lineage.md", "python"))))
def test_lineage_can_be_asked_in_python(pipeline_run: Any, index: int) -> None:
    source = blocks(ROOT / "docs" / "lineage.md", "python")[index]
    done = subprocess.run(
        [sys.executable, "-c", source],
        cwd=ROOT,
        env={**os.environ, "VOUCH_VAR": str(pipeline_run.var)},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert "Trainer/model" in done.stdout


@pytest.mark.slow
def test_lineage_can_be_asked_in_sql(pipeline_run: Any) -> None:
    [query] = blocks(ROOT / "docs" / "lineage.md", "sql")
    with sqlite3.connect(f"file:{pipeline_run.metadata}?mode=ro", uri=True) as connection:
        rows = connection.execute(query).fetchall()
    trained = [state for run, kind, state in rows if run == pipeline_run.run_id and kind.endswith(".Trainer")]
    assert trained == [3]


@pytest.mark.slow
def test_the_manifest_has_the_fields_that_are_documented(pipeline_run: Any) -> None:
    text = (ROOT / "docs" / "lineage.md").read_text(encoding="utf-8")
    table = text.partition("## The manifest")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (`.*?) \|", table, flags=re.MULTILINE)
    named = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    version = pipeline_run.serving / str(pipeline_run.run.pushed_version)
    assert named == set(json.loads((version / "assets.extra" / "manifest.json").read_text(encoding="utf-8")))


def test_the_version_stands_in_the_project_file_and_heads_the_changes() -> None:
    version = re.search(r'^version = "([^"]+)"$', (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.MULTILINE)
    headings = re.findall(r"^## (.+)$", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert version
    assert next(heading for heading in headings if heading != "Unreleased").startswith(version[1])

"""The command line, and what docs/serving.md and docs/releases.md say of it, on a server that it started."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from serving.cli import main
from serving.repository.layout import versions
from tests.support.paths import ROOT
from tests.support.programs import program
from tests.support.serving.versions import bare_version, copy_version

DATA = ROOT / "data" / "breast_cancer" / "breast_cancer.csv"
MODEL = "breast_cancer"


def run(*arguments: object, var: Path | None = None, **environment: str) -> Result:
    return CliRunner().invoke(main, list(map(str, arguments)), env={"VOUCH_VAR": str(var), **environment})


def documented(name: str, language: str) -> list[str]:
    text = (ROOT / "docs" / f"{name}.md").read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)


def test_help_imports_next_to_nothing() -> None:
    code = "import sys, serving.cli; print({'grpc', 'requests', 'rich', 'numpy', 'google.protobuf'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["--rest-url", "localhost", "status", "m"], 2, "no REST address"),
        (["--rest-url", "http://127.0.0.1:1", "status", "m"], 5, "python -m serving start"),
        (["--rest-url", "http://127.0.0.1:1", "status"], 3, "no model was pushed"),
        (["--grpc", "127.0.0.1:1", "promote", "other"], 3, "there is no model 'other'"),
        (["canary", "m", "a lot"], 2, "such as 10%"),
        (["canary", "m", "110%"], 2, "no share"),
        (["predict", "m", "--file", "x.csv", "--version", "1", "--label", "stable"], 2, "a version and a label"),
        (["history", "other"], 3, "there is no model 'other'"),
        (["start"], 3, "no model was pushed"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_mistakes_are_told_with_an_exit_code(tmp_path: Path, arguments: list[str], code: int, told: str) -> None:
    done = run(*arguments, var=tmp_path)
    assert done.exit_code == code, done.output
    assert told in done.output


def test_without_a_server_nothing_is_promoted(tmp_path: Path) -> None:
    bare_version(tmp_path / "serving" / "m", 1)
    done = run("promote", "m", var=tmp_path, VOUCH_MODEL_SERVER_GRPC="127.0.0.1:1")
    assert (done.exit_code, "python -m serving start" in done.output) == (5, True)


def test_every_command_answers_in_json() -> None:
    registry = main.commands["registry"]
    assert isinstance(registry, click.Group)
    commands = {**main.commands, **registry.commands}
    for name in commands.keys() - {"registry", "open"}:  # a group, and what becomes MLflow's server
        command = commands[name]
        assert "--json" in {option for parameter in command.params for option in parameter.opts}, name


def test_a_deployment_is_prepared_pushed_elsewhere_backed_up_and_restored(tmp_path: Path) -> None:
    assert run("prepare", var=tmp_path).exit_code == 3
    bare_version(tmp_path / "serving" / "m", 1)
    (bare_version(tmp_path / "serving" / "bad", 1) / "saved_model.pb").unlink()
    done = run("prepare", "--json", var=tmp_path)
    assert (done.exit_code, json.loads(done.stdout)["m"]["stable"]) == (0, 1)
    assert "bad is left out" in done.stderr
    assert run("prepare", var=tmp_path).stdout == "m: version 1 is stable\n"
    assert (tmp_path / "serving" / "models.config").is_file()

    done = run("push", "m", "--to", tmp_path / "volume", "--json", var=tmp_path)
    assert json.loads(done.stdout) == {
        "model": "m",
        "version": 1,
        "folder": str(tmp_path / "volume" / "m" / "1"),
        "is_new": True,
    }
    assert "m 1 is already in" in run("push", "m", "--to", tmp_path / "volume", var=tmp_path).stdout

    done = run("backup", tmp_path / "backup.tar", "--json", var=tmp_path)
    assert json.loads(done.stdout)["versions"] == {"m": [1]}
    shutil.rmtree(tmp_path / "serving")
    done = run("restore", tmp_path / "backup.tar", var=tmp_path)
    assert (done.exit_code, done.stdout) == (0, f"m 1: brought back from {tmp_path / 'backup.tar'}\n")
    assert 'key: "stable"' in (tmp_path / "serving" / "models.config").read_text()


def test_old_versions_are_pruned_but_never_what_is_released_or_compared_with(tmp_path: Path) -> None:
    base = tmp_path / "serving" / "m"
    bare_version(base, 1)
    run("prepare", var=tmp_path)  # it is stable
    for version in (2, 3, 4):
        bare_version(base, version)
    bare_version(base, 5, digest="digest of 5")
    bare_version(base, 6, baseline="digest of 5")
    done = run("prune", "m", "--keep", "1", "--dry-run", "--json", var=tmp_path)
    assert json.loads(done.stdout) == {"model": "m", "removed": [], "removable": [2, 3, 4]}
    assert versions(base) == [1, 2, 3, 4, 5, 6]
    assert run("prune", "m", "--keep", "1", var=tmp_path).stdout == "removed from m: 2, 3, 4\n"
    assert sorted(child.name for child in base.glob("[!.]*")) == ["1", "5", "6"]
    assert run("prune", "other", "--keep", "1", var=tmp_path).exit_code == 3


def test_every_command_in_the_documents_exists() -> None:
    said = [
        line
        for name in ("serving", "releases", "tracking")
        for block in documented(name, "sh")
        for line in block.splitlines()
    ]
    commands = [shlex.split(line, comments=True) for line in said if line.startswith("python -m serving ")]
    assert {words[3] for words in commands} == set(main.commands)
    for words in commands:
        known = {option for parameter in main.commands[words[3]].params for option in parameter.opts}
        assert {word for word in words[4:] if word.startswith("--")} <= known


@dataclass(frozen=True)
class Served:
    """A server started by the command line, on free ports."""

    process: subprocess.Popen[str]
    var: Path
    pushed: Path
    rest: str
    grpc: str
    said: str

    def push(self, version: int) -> None:
        copy_version(self.pushed, self.var / "serving" / MODEL, version)

    def at_ours(self, text: str) -> str:
        """What a document says, at the ports of this server."""
        rest, grpc = self.rest.removeprefix("http://"), self.grpc
        text = text.replace("127.0.0.1:8501", rest).replace("127.0.0.1:8500", grpc)
        return text.replace("/mnt/", f"{self.var}/mnt/")

    def environment(self) -> dict[str, str]:
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        return {
            **os.environ,
            "PATH": path,
            "VOUCH_VAR": str(self.var),
            "PYTHONPATH": str(ROOT),
            "COLUMNS": "200",
            "VOUCH_MODEL_SERVER_REST": self.rest,
            "VOUCH_MODEL_SERVER_GRPC": self.grpc,
        }

    def shell(self, *command: str) -> str:
        done = subprocess.run(
            command, cwd=ROOT, env=self.environment(), capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def run(self, *arguments: object) -> Result:
        return run(
            *arguments,
            var=self.var,
            VOUCH_MODEL_SERVER_REST=self.rest,
            VOUCH_MODEL_SERVER_GRPC=self.grpc,
            COLUMNS="200",
        )


@pytest.fixture(scope="module")
def served(pipeline_run: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    var, pushed = tmp_path_factory.mktemp("cli"), pipeline_run.serving / "1"
    copy_version(pushed, var / "serving" / MODEL, 1)
    process = subprocess.Popen(
        [sys.executable, "-u", "-m", "serving", "start", "--rest-port", "0", "--grpc-port", "0", "--sample", "3"],
        cwd=ROOT,
        env={**os.environ, "VOUCH_VAR": str(var)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout
    said = ""
    for line in process.stdout:
        said += line
        if "Ctrl-C" in line:
            break
    urls = dict(re.findall(r"^  (status|metadata|metrics|grpc) +(\S+)$", said, flags=re.MULTILINE))
    assert set(urls) == {"status", "metadata", "metrics", "grpc"}, said
    rest = urls["status"].partition("/v1/")[0]
    found = Served(process, var, pushed, rest, urls["grpc"], said)
    yield found
    process.send_signal(signal.SIGINT)
    last = process.communicate(timeout=30)[0]
    assert (process.returncode, last) == (0, "stopped\n")
    assert run("status", MODEL, var=var, VOUCH_MODEL_SERVER_REST=rest).exit_code == 5, "the server went with it"


@pytest.mark.slow
def test_the_start_shows_predictions_by_both_protocols(served: Served) -> None:
    golden = json.loads((served.var / "serving" / MODEL / "1" / "assets.extra" / "golden.json").read_text())
    rows = re.findall(r"│ (\d+) +│ (\w) ([\d.]+) │ (\w) ([\d.]+) │", served.said)
    assert [(int(row), by_rest, by_grpc) for row, by_rest, _, by_grpc, _ in rows] == [
        (row, label, label) for row, label in enumerate(golden["outputs"]["label"][:3])
    ]
    assert all(by_rest == by_grpc for _, _, by_rest, _, by_grpc in rows)


@pytest.mark.slow
def test_what_is_served_is_shown(served: Served) -> None:
    [status] = json.loads(served.run("status", "--json").stdout)
    assert status["servers"] == {served.grpc: ""}
    assert status["versions"][0] | {"share_percent": 100} == {
        "version": 1,
        "state": "AVAILABLE",
        "error_code": "OK",
        "error": "",
        "labels": ["stable"],
        "share_percent": 100,
    }
    metadata = json.loads(served.run("metadata", MODEL, "--json").stdout)
    assert set(metadata["signatures"]) >= {"serving_default", "serving_examples", "serving_packed"}
    assert served.run("status", "other").exit_code == 1
    assert served.run("metadata", MODEL, "--label", "candidate").exit_code == 1


@pytest.mark.slow
@pytest.mark.parametrize("by", ["rest", "grpc"])
def test_a_file_is_predicted(served: Served, tmp_path: Path, by: str) -> None:
    out = tmp_path / "out.csv"
    done = served.run("predict", MODEL, "--file", DATA, "--out", out, "--by", by)
    assert (done.exit_code, done.output) == (0, "569 rows\n")
    rows = list(csv.DictReader(out.open()))
    assert [int(row["row"]) for row in rows] == list(range(1, 570))
    assert {row["version"] for row in rows} == {"1"}
    truth = [row["diagnosis"] for row in csv.DictReader(DATA.open())]
    assert sum(row["label"] == label for row, label in zip(rows, truth, strict=True)) > 540


@pytest.mark.slow
def test_both_protocols_give_the_same_file(served: Served) -> None:
    rest, grpc = (served.run("predict", MODEL, "--file", DATA, "--by", by).stdout for by in ("rest", "grpc"))
    assert rest == grpc
    assert next(csv.reader(io.StringIO(rest))) == ["row", "label", "probability", "version"]


@pytest.mark.slow
def test_each_row_can_be_had_as_json(served: Served) -> None:
    lines = [json.loads(line) for line in served.run("predict", MODEL, "--file", DATA, "--json").stdout.splitlines()]
    rows = list(csv.DictReader(io.StringIO(served.run("predict", MODEL, "--file", DATA).stdout)))
    assert [{name: str(value) for name, value in line.items()} for line in lines] == rows


@pytest.mark.slow
def test_a_row_that_breaks_a_rule_is_told_and_left_out(served: Served, tmp_path: Path) -> None:
    bad = tmp_path / "bad.csv"
    bad.write_text(DATA.read_text().replace("17.99,", '"17,99",', 1))
    done = served.run("predict", MODEL, "--file", bad, "--out", tmp_path / "out.csv")
    assert done.exit_code == 3
    assert "row 1, column radius_mean: this is not a number, got: '17,99'" in done.output
    assert "568 rows, 1 left out" in done.output
    assert [row["row"] for row in csv.DictReader((tmp_path / "out.csv").open())] == [str(n) for n in range(2, 570)]


@pytest.mark.slow
@pytest.mark.parametrize(
    "block", [b for b in documented("serving", "sh") if not re.search("serving start|serving.server", b)]
)
def test_the_serving_guides_commands_work(served: Served, block: str) -> None:
    if "curl " in block:
        program("curl")
    said = served.shell("bash", "-euc", served.at_ours(block))
    assert "error" not in said.replace('"error_', "").replace("  error", "")
    if ":predict" in block:
        assert json.loads(said)["outputs"]["label"] == ["M"]


@pytest.mark.slow
@pytest.mark.parametrize("block", documented("serving", "python"))
def test_the_serving_guides_python_works(served: Served, block: str) -> None:
    said = served.shell(sys.executable, "-W", "ignore", "-c", served.at_ours(block))
    assert "AVAILABLE" in said or said.count("['M', 'M', 'M']") == 2


@pytest.mark.slow
def test_the_release_guides_commands_work(served: Served) -> None:
    [block] = documented("releases", "sh")
    promote, canary, rollback, history = block.splitlines()
    served.push(2)
    assert "version 2 is stable; 1 is kept loaded" in served.shell("bash", "-c", promote)
    served.push(3)
    assert "3 is candidate with 10%" in served.shell("bash", "-c", canary)
    assert "version 2 is stable; 1 is kept loaded" in served.shell("bash", "-c", rollback)
    assert "version 1 is stable" in served.shell("bash", "-c", rollback)
    told = [line.split() for line in served.shell("bash", "-c", history).splitlines()]
    assert [words[3] for words in told[1:]] == ["rollback", "rollback", "canary", "promote", "first"]
    assert served.run("rollback", MODEL).exit_code == 3
    (served.var / "serving" / MODEL / ".release.json").write_text(
        (served.var / "serving" / MODEL / ".release.json").read_text().replace('"stable": 1', '"stable": 2')
    )
    done = served.run("status")
    assert (done.exit_code, "is not as released: label stable answers with version 1" in done.stdout) == (1, True)

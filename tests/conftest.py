"""One real run of the pipeline, shared by all tests that need its output, and the means to go on from it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support.paths import ROOT

CONFIG = ROOT / "config" / "breast_cancer"
RUN_TIMEOUT_S = 900


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take long: what is left in the end is short, and no worker waits for another."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@dataclass(frozen=True)
class PipelineRun:
    """A run by the command line; `var` holds all state."""

    var: Path
    model: str
    run_id: str | None
    returncode: int
    output: str

    @property
    def metadata(self) -> Path:
        return self.var / "metadata.sqlite"

    @property
    def run(self) -> Any:
        """The run as ML Metadata has it."""
        from pipeline.history.runs import find_run

        return find_run(self.metadata, self.run_id, self.model)

    @property
    def states(self) -> dict[str, str]:
        """State by component."""
        return {step.component: step.state for step in self.run.steps}

    @property
    def executed(self) -> set[str]:
        """The components that did not come from the cache; resolvers never do."""
        return {name for name, state in self.states.items() if state != "CACHED"} - {"LatestBlessedModel"}

    def uri(self, component: str, key: str) -> Path:
        return Path(self.run.uri(component, key))

    @property
    def model_folder(self) -> Path:
        """The SavedModel that Trainer wrote."""
        return self.uri("Trainer", "model") / "Format-Serving"

    @property
    def serving(self) -> Path:
        return self.var / "serving" / self.model

    @property
    def verdicts(self) -> dict[str, Any]:
        """Verdict by gate."""
        from common.paths import Paths
        from pipeline.history.runs import verdicts

        run = self.run
        return {v.gate: v for v in verdicts(run, Paths(self.var, self.model).run(run.run_id))}

    def split(self, name: str) -> list[str]:
        """The files of a split of the examples."""
        return sorted(str(path) for path in (self.uri("FileBasedExampleGen", "examples") / f"Split-{name}").iterdir())


def environment(var: Path) -> dict[str, str]:
    clean = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    return {**clean, "VOUCH_VAR": str(var), "TF_CPP_MIN_LOG_LEVEL": "3", "COLUMNS": "200"}


@pytest.fixture(scope="session")
def vouch() -> Callable[..., Any]:
    """Call `local_runner.py` in a process of its own and wait for it."""

    def call(var: Path, *arguments: object, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(ROOT / "local_runner.py"), *map(str, arguments)]
        return subprocess.run(
            command, cwd=cwd, env=environment(var), capture_output=True, text=True, timeout=RUN_TIMEOUT_S, check=False
        )

    return call


@pytest.fixture(scope="session")
def start_vouch() -> Callable[..., Any]:
    """Start `local_runner.py` in a process group of its own and do not wait."""

    def start(var: Path, *arguments: object) -> subprocess.Popen[str]:
        command = [sys.executable, str(ROOT / "local_runner.py"), *map(str, arguments)]
        return subprocess.Popen(
            command,
            cwd=ROOT,
            env=environment(var),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    return start


@pytest.fixture(scope="session")
def run_pipeline(vouch: Callable[..., Any]) -> Callable[..., PipelineRun]:
    """Run the pipeline by the command line; the run is read back from ML Metadata if it got that far."""

    def go(var: Path, *arguments: object, config: Path = CONFIG, sets: Sequence[str] = ()) -> PipelineRun:
        options = [part for text in sets for part in ("--set", text)]
        done = vouch(var, "run", config, *options, *arguments)
        from pipeline.history.runs import list_runs

        found = list_runs(var / "metadata.sqlite", config.name)
        return PipelineRun(
            var, config.name, found[0].run_id if found else None, done.returncode, done.stdout + done.stderr
        )

    return go


@pytest.fixture(scope="session")
def pipeline_run(run_pipeline: Callable[..., PipelineRun], tmp_path_factory: pytest.TempPathFactory) -> PipelineRun:
    """The one run of the real configuration on the real data. Add nothing to its var but runs of the same model."""
    done = run_pipeline(tmp_path_factory.mktemp("pipeline_run") / "var")
    assert done.returncode == 0, done.output
    return done


@pytest.fixture(scope="session")
def borrow(pipeline_run: PipelineRun, tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Any]:
    """Lend the shared run's var for runs that change its state, and put everything back afterwards.

    A copy would not do: ML Metadata and TFX's cache know artifacts by their absolute paths.
    """

    @contextmanager
    def lend() -> Iterator[Path]:
        var = pipeline_run.var
        kept = tmp_path_factory.mktemp("kept")
        shutil.copy2(pipeline_run.metadata, kept)
        shutil.copytree(var / "serving", kept / "serving")
        executions = ("pipeline/*/*/*/*", "pipeline/*/*/.system/*/*")
        there = {path for pattern in executions for path in var.glob(pattern)}
        yield var
        shutil.copy2(kept / "metadata.sqlite", var)
        (var / "metadata.sqlite-journal").unlink(missing_ok=True)
        shutil.rmtree(var / "serving")
        shutil.copytree(kept / "serving", var / "serving")
        for folder in {path for pattern in executions for path in var.glob(pattern)} - there:
            shutil.rmtree(folder, ignore_errors=True)  # the numbers of these executions will be given again

    return lend


@pytest.fixture(scope="session")
def breast_cancer() -> Any:
    """The settings of the real configuration."""
    from config.load import load_settings

    return load_settings(CONFIG)


@pytest.fixture(scope="session")
def transform_output(pipeline_run: PipelineRun) -> Any:
    """What Transform fitted in the shared run."""
    import tensorflow_transform as tft

    return tft.TFTransformOutput(str(pipeline_run.uri("Transform", "transform_graph")))


@pytest.fixture(scope="session")
def onboarded(run_pipeline: Callable[..., PipelineRun], vouch: Callable[..., Any]) -> Callable[..., PipelineRun]:
    """Let `init` describe a CSV and `run` run it, as a newcomer would."""

    def go(csv: Path, *init: str, sets: Sequence[str] = ()) -> PipelineRun:
        out = csv.parent / "config"
        described = vouch(csv.parent / "var", "init", csv, *init, "--out", out)
        assert described.returncode == 0, described.stderr
        return run_pipeline(csv.parent / "var", config=out / csv.stem, sets=sets)

    return go

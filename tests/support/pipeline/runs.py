"""A run of the pipeline as ML Metadata has it, and the one that all tests share."""

from __future__ import annotations

import fcntl
import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

from tests.support.paths import ROOT

CONFIG = ROOT / "config" / "breast_cancer"
DATA = ROOT / "data" / "breast_cancer" / "breast_cancer.csv"


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
        from pipeline.history import find_run

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
        """The folder of an artifact."""
        return Path(self.run.uri(component, key))

    @property
    def model_folder(self) -> Path:
        return self.uri("Trainer", "model") / "Format-Serving"

    @property
    def serving(self) -> Path:
        return self.var / "serving" / self.model

    @property
    def verdicts(self) -> dict[str, Any]:
        """Verdict by gate."""
        from common.paths import Paths
        from pipeline.history import verdicts

        run = self.run
        return {v.gate: v for v in verdicts(run, Paths(self.var, self.model).run(run.run_id))}

    def split(self, name: str) -> list[str]:
        """The files of a split of the examples."""
        return sorted(str(path) for path in (self.uri("FileBasedExampleGen", "examples") / f"Split-{name}").iterdir())


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Keep out the other processes that lock this file."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def made_once(folder: Path, make: Callable[[Path], PipelineRun]) -> PipelineRun:
    """Return the run that the first process to come made in `folder` for all."""
    folder.mkdir(exist_ok=True)
    record = folder / "run.json"
    with locked(folder / "lock"):
        if not record.exists():
            run = make(folder / "var")
            assert run.returncode == 0, run.output
            record.write_text(json.dumps(asdict(run), default=str))
    fields = json.loads(record.read_text())
    return PipelineRun(**{**fields, "var": Path(fields["var"])})


def copy_state(var: Path, copy: Path) -> Path:
    """Copy all state but the artifacts, which ML Metadata knows by their absolute paths and which never change."""
    return Path(shutil.copytree(var, copy, ignore=lambda folder, _: ["pipeline"] if Path(folder) == var else []))


def read_back(var: Path, model: str, call: CompletedProcess[str]) -> PipelineRun:
    """Return the newest run that a call of the command line left in `var`, if it got that far."""
    from pipeline.history import list_runs

    runs = list_runs(var / "metadata.sqlite", model)
    return PipelineRun(var, model, runs[0].run_id if runs else None, call.returncode, call.stdout + call.stderr)


@contextmanager
def put_back(var: Path, kept: Path) -> Iterator[None]:
    """Take back afterwards what runs do to the state in `var`; it is kept in the folder `kept` meanwhile."""
    shutil.copy2(var / "metadata.sqlite", kept)
    shutil.copytree(var / "serving", kept / "serving")
    executions = ("pipeline/*/*/*/*", "pipeline/*/*/.system/*/*")
    before = {path for pattern in executions for path in var.glob(pattern)}
    yield
    shutil.copy2(kept / "metadata.sqlite", var)
    (var / "metadata.sqlite-journal").unlink(missing_ok=True)
    shutil.rmtree(var / "serving")
    shutil.copytree(kept / "serving", var / "serving")
    for folder in {path for pattern in executions for path in var.glob(pattern)} - before:
        shutil.rmtree(folder, ignore_errors=True)  # the numbers of these executions will be given again

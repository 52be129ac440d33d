"""One real run of the pipeline, shared by all tests that need its output, and the means to go on from it."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.support.paths import ROOT
from tests.support.pipeline.processes import Forked, call, fork
from tests.support.pipeline.runs import CONFIG, PipelineRun, copy_state, locked, made_once, put_back, read_back
from tests.support.programs import fail_skipped

MAKES_THE_SHARED_RUN = ROOT / "tests" / "pipeline" / "test_end_to_end.py"
BROWSER = ROOT / "tests" / "webapp" / "browser"


def pytest_configure() -> None:
    """Let tests and what they start hear SIGINT, as a script's background job does not."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """See to it that no test is skipped in silence where all that it needs was installed."""
    report = yield
    fail_skipped(report)
    return report


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take long: what is left in the end is short, and no worker waits for another.

    While one makes the shared run, the others have files that do without it.
    """
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    with_run = {item.path for item in items if "pipeline_run" in getattr(item, "fixturenames", ())}
    items.sort(
        key=lambda item: (
            item.path not in slow,
            item.path != MAKES_THE_SHARED_RUN,
            item.path in with_run & slow,
            not item.path.is_relative_to(BROWSER),
        )
    )


@pytest.fixture(scope="session")
def vouch() -> Callable[..., Any]:
    """Call `local_runner.py` in a process of its own and wait for it."""
    return call


@pytest.fixture(scope="module")
def start_vouch() -> Iterator[Callable[..., Forked]]:
    """Start `local_runner.py` in a process group of its own and do not wait."""
    started: list[Forked] = []

    def start(var: Path, *arguments: object) -> Forked:
        started.append(fork(var, *arguments))
        return started[-1]

    yield start
    for process in started:
        process.kill()


@pytest.fixture(scope="session")
def run_pipeline() -> Callable[..., PipelineRun]:
    """Run the pipeline by the command line; the run is read back from ML Metadata if it got that far."""

    def go(var: Path, *arguments: object, config: Path = CONFIG, sets: Sequence[str] = ()) -> PipelineRun:
        options = [part for text in sets for part in ("--set", text)]
        return read_back(var, config.name, fork(var, "run", config, *options, *arguments).wait())

    return go


@pytest.fixture(scope="session")
def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the workers of this session have in common."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base


@pytest.fixture(scope="session")
def _original(shared_folder: Path) -> PipelineRun:
    """The one run of the real configuration on the real data, started as people do."""

    def make(var: Path) -> PipelineRun:
        return read_back(var, CONFIG.name, call(var, "run", CONFIG))

    return made_once(shared_folder / "pipeline_run", make)


@pytest.fixture(scope="session")
def pipeline_run(_original: PipelineRun, tmp_path_factory: pytest.TempPathFactory) -> PipelineRun:
    """The shared run, with a `var` of this worker's own. Runs that go on from it `borrow` the original."""
    with locked(_original.var.parent / "lock"):
        return replace(_original, var=copy_state(_original.var, tmp_path_factory.mktemp("pipeline_run") / "var"))


@pytest.fixture(scope="session")
def borrow(_original: PipelineRun, tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Any]:
    """Lend the shared run's var for runs that change its state, to one at a time, and put everything back afterwards.

    A copy would not do: ML Metadata and TFX's cache know artifacts by their absolute paths.
    """

    lent: list[Path] = []

    @contextmanager
    def lend() -> Iterator[Path]:
        with ExitStack() as stack:
            if not lent:
                stack.enter_context(locked(_original.var.parent / "lock"))
            stack.enter_context(put_back(_original.var, tmp_path_factory.mktemp("kept")))
            lent.append(_original.var)
            yield _original.var
            lent.pop()

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

"""What `local_runner.py run` and `predict` do: quiet logs, progress on the screen, the outcome in words."""

from __future__ import annotations

import contextlib
import logging
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table

from common.errors import ConfigError, DataError, VouchError
from common.paths import Paths, check_letters, new_run_id, var_root
from components import names
from config.settings import Settings

if TYPE_CHECKING:
    from pipeline.history import Run
    from pipeline.orchestrators.local import Progress

MARKS = {"ran": "[green]✓[/]", "cached": "[cyan]=[/]", "failed": "[red]✗[/]"}


def run_pipeline(
    settings: Settings,
    *,
    command: str,
    override: str = "",
    beam_args: list[str] | None = None,
    verbose: bool = False,
    weights_of: Path | None = None,
) -> bool:
    """Run the pipeline, show how it goes, and return whether the model is now pushed."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
    # OpenMP's threads spin while they wait: on a busy machine plain models would take ten times as long to fit
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    paths = Paths(var_root(), settings.name)
    check_letters(paths.var)
    started = time.monotonic()
    with contextlib.ExitStack() as stack:
        run_id = new_run_id()
        log = paths.run(run_id) / "run.log"
        console = Console(highlight=False)
        if not verbose:
            screen = stack.enter_context(output_to(log))
            console = Console(
                file=stack.enter_context(os.fdopen(os.dup(screen), "w", errors="replace")), highlight=False
            )
        console.print(f"[bold]{settings.title or settings.name}[/]  run {run_id}", soft_wrap=True)
        status = stack.enter_context(_spinner(console)) if console.is_terminal else None
        logging.getLogger().setLevel(logging.INFO)
        from pipeline.orchestrators.local import run
        from pipeline.pipeline import create_pipeline
        from pipeline.tracking import announce_run

        console.print(f"  {MARKS['ran']} {'start-up':<18}{time.monotonic() - started:7.1f} s")
        graph = create_pipeline(
            settings, paths, override=override, beam_args=beam_args, command=command, weights_of=weights_of
        )
        try:
            run(graph, paths, run_id, _reporter(console, status))
        except VouchError:
            console.print(f"  full log: {_relative(log)}", soft_wrap=True)
            raise
        finally:
            announce_run(paths, run_id, command)
        if status:
            status.stop()
        return _print_outcome(console, paths, run_id, time.monotonic() - started)


def check_run(settings: Settings, *, override: str, beam_args: list[str], command: str) -> None:
    """Read the data, and say what a run would run and what is cached; nothing is run."""
    paths, console = Paths(var_root(), settings.name), Console(highlight=False)
    with output_to(Path(os.devnull)):
        from components.examples.component import count_rows
        from pipeline.orchestrators.check import components_to_run
        from pipeline.pipeline import create_pipeline

        graph = create_pipeline(settings, paths, override=override, beam_args=beam_args, command=command)
        rows, classes = count_rows(settings)
        to_run = components_to_run(graph, paths)
    console.print(f"[bold]{settings.title or settings.name}[/]: the settings and the data can be read", soft_wrap=True)
    for title, counts in (("rows", rows), ("classes", classes)):
        told = ", ".join(f"{count} {name}" for name, count in counts.items())
        console.print(f"  {title:<8} {told}", soft_wrap=True, markup=False)
    for component, is_new in to_run.items():
        console.print(f"  {component:<20} {'would run' if is_new else 'cached'}")


def _spinner(console: Console) -> Live:
    """Return a line that moves while work goes on; unlike `console.status` it leaves libraries' output to the log."""
    return Live(
        Spinner("dots", "starting TFX"), console=console, transient=True, redirect_stdout=False, redirect_stderr=False
    )


def _reporter(console: Console, status: Any) -> Callable[[Progress], None]:
    def report(progress: Progress) -> None:
        if progress.state == "started":
            if status:
                status.update(Spinner("dots", progress.component))
            return
        time_taken = "   cached" if progress.state == "cached" else f"{progress.seconds:7.1f} s"
        console.print(f"  {MARKS[progress.state]} {progress.component:<18}{time_taken}")

    return report


def _print_outcome(console: Console, paths: Paths, run_id: str, seconds: float) -> bool:
    """Print metrics, verdicts and places; return whether the model is pushed."""
    from pipeline.history import find_run, print_verdicts, verdicts

    run = find_run(paths.metadata, run_id, paths.model)
    print_verdicts(console, verdicts(run, paths.run(run_id)))
    version = run.pushed_version
    places = {
        "model": _relative(paths.serving / str(version)) if version else None,
        "report": _relative(Path(run.uri(names.REPORT, names.REPORT_FILES) or "") / names.HTML),
        "model card": _relative(Path(run.uri(names.REPORT, names.REPORT_FILES) or "") / names.CARD),
        "full log": _relative(paths.run(run_id) / "run.log"),
        "lineage": _relative(paths.metadata),
    }
    if version:
        outcome = f"[green]{'pushed' if _is_new(run) else 'already there'} as version {version}[/]"
    else:
        outcome = "[red]not pushed[/]"
    console.print(f"\n[bold]{outcome}[/] in {seconds:.1f} s", soft_wrap=True)
    for name, place in places.items():
        if place:
            console.print(f"  {name:<11} {place}", soft_wrap=True)
    return version is not None


def _is_new(run: Run) -> bool:
    """Return whether a run made the version that it ends with."""
    step = run.step(names.PUSHER)
    if step is None or step.state != "COMPLETE":
        return False
    return any(a.custom_properties[names.IS_NEW].int_value for a in step.outputs.get(names.PUSHED_MODEL, []))


def set_operating_point(settings: Settings, version: int | None, command: str) -> bool:
    """Push a version with the weights of another one and the operating point of the settings, through all gates."""
    from serving.repository.layout import versions

    if not settings.data.is_binary:
        raise ConfigError(
            "there is no operating point", got=f"{len(settings.data.classes)} classes", wanted="two of them"
        )
    paths = Paths(var_root(), settings.name)
    known = versions(paths.serving)
    if not known or version not in (None, *known):
        raise DataError(
            f"{settings.name!r} has no such version",
            got=version or "none is pushed",
            wanted=f"one of {', '.join(map(str, known))}" if known else "a pushed version",
            fix="local_runner.py run first" if not known else "",
        )
    return run_pipeline(settings, command=command, weights_of=paths.serving / str(version or known[-1]))


def predict_test_rows(settings: Settings, rows: int) -> None:
    """Print what each signature of the newest pushed version says of some test rows, beside the truth."""
    from serving.repository.layout import versions

    paths = Paths(var_root(), settings.name)
    with output_to(Path(os.devnull)):
        from pipeline.history import list_runs

        numbers = versions(paths.serving)
        run = next((run for run in list_runs(paths.metadata, settings.name) if run.pushed_version), None)
        examples = run.uri(names.EXAMPLE_GEN, names.EXAMPLES) if run else None
        if not numbers or not examples:
            raise DataError(
                f"no version of {settings.name!r} is pushed", got=paths.serving, fix="local_runner.py run first"
            )
        from pipeline.scoring import score_rows  # TensorFlow: only once there is something to score

        scored = score_rows(paths.serving / str(numbers[-1]), examples, settings, rows)
    table = Table(
        title=f"{settings.title or settings.name}, version {numbers[-1]}: {len(scored)} rows of the test split"
    )
    table.add_column("row", justify="right")
    table.add_column(f"true {settings.data.label}")
    for signature in scored[0].by_signature:
        table.add_column(signature)
    for index, row in enumerate(scored):
        cells = [f"{label} {probability:.4f}" for label, probability in row.by_signature.values()]
        table.add_row(str(index), row.true, *cells)
    console = Console(highlight=False)
    console.print(table)
    shown = f"probability of {settings.data.positive_class}" if settings.data.is_binary else "highest probability"
    console.print(f"label at the operating point, and {shown}")


@contextlib.contextmanager
def output_to(log: Path) -> Iterator[int]:
    """Send all output of this process, that of C++ code too, to a file; yield a descriptor of the old stdout."""
    log.parent.mkdir(parents=True, exist_ok=True)
    screen, errors = os.dup(1), os.dup(2)
    with log.open("ab", buffering=0) as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    try:
        yield screen
    finally:
        os.dup2(screen, 1)
        os.dup2(errors, 2)
        os.close(screen)
        os.close(errors)


def _relative(path: Path) -> str:
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)

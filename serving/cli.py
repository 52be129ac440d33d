"""The model server's command line. What it takes is imported once a command runs, so that `--help` is instant."""

from __future__ import annotations

import getpass
import json
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click

from common.cli import CONFIGS, GRPC, JSON, MODEL, Group
from common.errors import ConfigError, DataError
from common.paths import MLFLOW_PAGE, MODEL_SERVER_GRPC, MODEL_SERVER_REST, var_root
from common.text import counted

if TYPE_CHECKING:
    from serving.client.types import Addresses, ModelClient, VersionSpec
    from serving.release.servers import ReleaseContext
    from serving.release.state import State
    from serving.release.upkeep import Report

VERSION = click.option("--version", type=click.IntRange(min=1), help="This version.")
LABEL = click.option("--label", help="The version that this label points to.")


def command(function: Callable[..., None]) -> click.Command:
    """Make a command of ours, which can always answer in JSON."""
    return main.command()(JSON(click.pass_obj(function)))


@dataclass(frozen=True)
class Edge:
    addresses: Addresses
    root: Path
    who: str


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--rest-url",
    envvar="VOUCH_MODEL_SERVER_REST",
    default=f"http://127.0.0.1:{MODEL_SERVER_REST}",
    show_default=True,
    metavar="URL",
    help="REST address of the model server ($VOUCH_MODEL_SERVER_REST).",
)
@GRPC
@click.pass_context
def main(context: click.Context, rest_url: str, grpc: str) -> None:
    """Start a model server, ask it, and release versions on it.

    What is served lies under var/serving (or $VOUCH_VAR/serving). Exit codes: 0 done, 1 failed, 2 configuration,
    3 data, 4 a gate refused, 5 this machine or the model server, 130 interrupted.
    """
    from serving.client.types import Addresses

    context.obj = Edge(Addresses(rest_url, grpc), var_root() / "serving", f"{getpass.getuser()}@{socket.gethostname()}")


@command
@click.option("--rest-port", default=MODEL_SERVER_REST, show_default=True, help="Port for REST; 0: any that is free.")
@click.option("--grpc-port", default=MODEL_SERVER_GRPC, show_default=True, help="Port for gRPC; 0: any that is free.")
@click.option("--docker", is_flag=True, help="Run TensorFlow Serving in Docker.")
@click.option("--wait", "wait_s", default=120.0, show_default=True, help="Seconds that loading may take.")
@click.option("--sample", type=click.IntRange(min=0), default=0, help="Then show so many predictions of each model.")
@click.option("--once", is_flag=True, help="Leave after that instead of waiting for Ctrl-C.")
@click.option(
    "--run", "command", metavar="COMMAND", help="Run a command that is told where the server is; end with it."
)
def start(
    edge: Edge,
    rest_port: int,
    grpc_port: int,
    docker: bool,
    wait_s: float,
    sample: int,
    once: bool,
    command: str,
    as_json: bool,
) -> None:
    """Start a model server on all pushed models and stay until Ctrl-C.

    It is TensorFlow Serving if a `tensorflow_model_server` is on PATH, else the embedded server. With --json one
    document is printed once it serves, and the rest goes to stderr.
    """
    from serving.launch.launcher import Start, launch, run_beside, show_sample
    from serving.show import show_running

    for number in (signal.SIGTERM, signal.SIGHUP):  # no server is left behind by a closed terminal
        signal.signal(number, _interrupt)
    options = Start(
        edge.root,
        rest_port,
        grpc_port,
        docker,
        edge.who,
        wait_s=wait_s,
        say=lambda line: click.echo(f"  {line}", err=as_json),
    )
    try:
        with launch(options) as running:
            show_running(running, as_json)
            if sample:
                show_sample(running, sample)
            if command:
                click.get_current_context().exit(run_beside(running, command))
            if not once:
                click.echo("Ctrl-C ends it", err=as_json)
                running.wait()
    except KeyboardInterrupt:
        click.echo("stopped", err=as_json)


@command
@click.argument("model", required=False)
def status(edge: Edge, model: str | None, as_json: bool) -> None:
    """Show what the server has loaded of MODEL, or of all models, and what the labels point to.

    Exit code 1 if a server has something else than is released.
    """
    from serving.show import show_status

    with _client(edge) as client, _context(edge) as context:
        is_in_step = show_status(client, context, model, as_json)
    click.get_current_context().exit(0 if is_in_step else 1)


@command
@MODEL
@VERSION
@LABEL
def metadata(edge: Edge, model: str, version: int | None, label: str | None, as_json: bool) -> None:
    """Show the signatures of MODEL: what they take and what they give."""
    from serving.show import show_metadata

    with _client(edge) as client:
        show_metadata(client, model, _which(version, label), as_json)


@main.command()
@MODEL
@click.option(
    "--file", "path", required=True, type=click.Path(path_type=Path), help="Rows: CSV, Excel, Parquet or .json."
)
@click.option("--out", type=click.Path(path_type=Path), help="CSV; default: stdout.")
@VERSION
@LABEL
@click.option("--by", type=click.Choice(["rest", "grpc"]), default="rest", show_default=True, help="Protocol.")
@click.option("--json", "as_json", is_flag=True, help="Each row as JSON, in a line of its own.")
@click.pass_obj
def predict(
    edge: Edge, model: str, path: Path, out: Path | None, version: int | None, label: str | None, by: str, as_json: bool
) -> None:
    """Predict every row of a file, by the stable version unless another is named.

    Columns that MODEL does not read are left out; a file is read as the training data were. One version answers all
    rows. A row that breaks a rule is told and left out; then the exit code is 3.
    """
    from serving.client.row_files import predict_file
    from serving.show import progress, whole_file

    with _client(edge, by) as client, whole_file(out) as file, progress(path) as show:
        rows, bad = predict_file(
            client, model, _which(version, label), path, file, show, root=edge.root, as_json=as_json
        )
    click.echo(counted(rows, "row") + (f", {bad} left out" if bad else ""), err=True)
    if bad:
        sys.exit(DataError.exit_code)


@command
def prepare(edge: Edge, as_json: bool) -> None:
    """Release the newest version that can be vouched for, of each model that has no release yet.

    The first step of a deployment: a model server that is started afterwards serves just what is released. Needs none.
    """
    from serving.release import commands as release
    from serving.release.servers import ReleaseContext

    states, left_out = release.prepare(ReleaseContext(edge.root, (), edge.who))
    for model, error in left_out.items():
        click.secho(f"{model} is left out: {error.what}", fg="yellow", err=True)
    if not states:
        raise DataError(
            f"nothing under {edge.root} can be released", fix="make demo, or push a model that is vouched for"
        )
    lines = [f"{model}: {state}" for model, state in states.items()]
    _show({model: asdict(state) for model, state in states.items()}, "\n".join(lines), as_json)


@command
@MODEL
@click.argument("version", type=click.IntRange(min=1), required=False)
def promote(edge: Edge, model: str, version: int | None, as_json: bool) -> None:
    """Make VERSION of MODEL stable; without one the candidate, else the newest."""
    from serving.release import commands as release

    with _context(edge) as context:
        _tell(model, release.promote(context, model, version), as_json)


@command
@MODEL
def rollback(edge: Edge, model: str, as_json: bool) -> None:
    """Take the last step back: end the canary, else make the previous version stable again."""
    from serving.release import commands as release

    with _context(edge) as context:
        _tell(model, release.rollback(context, model), as_json)


@command
@MODEL
@click.argument("share")
@VERSION
def canary(edge: Edge, model: str, share: str, version: int | None, as_json: bool) -> None:
    """Give SHARE (such as 10%) of the requests to a version, by default the newest; 0% ends it."""
    from serving.release import commands as release

    with _context(edge) as context:
        _tell(model, release.canary(context, model, _percent(share), version), as_json)


@command
@MODEL
@click.option("--limit", default=20, show_default=True, help="At most so many.")
def history(edge: Edge, model: str, limit: int, as_json: bool) -> None:
    """Show the releases of MODEL, newest first: when, who, what, and what was undone."""
    from serving.show import show_history

    show_history(edge.root, model, limit, as_json)


@command
@MODEL
@click.option(
    "--to", "folder", required=True, type=click.Path(path_type=Path), help="A folder of models, such as a volume's."
)
@VERSION
def push(edge: Edge, model: str, folder: Path, version: int | None, as_json: bool) -> None:
    """Copy a version of MODEL, by default the newest, into another folder of models, whole or not at all."""
    from serving.repository.manifest import copy_version

    version, is_new = copy_version(edge.root / model, folder / model, version)
    document = {"model": model, "version": version, "folder": str(folder / model / str(version)), "is_new": is_new}
    _show(document, f"{model} {version} is {'now' if is_new else 'already'} in {folder}", as_json)


@command
@MODEL
@click.option("--keep", required=True, type=click.IntRange(min=1), help="So many of the newest stay.")
@click.option("--dry-run", is_flag=True, help="Only say what would be removed.")
def prune(edge: Edge, model: str, keep: int, dry_run: bool, as_json: bool) -> None:
    """Remove old versions of MODEL, never one that is stable, candidate, or kept for a rollback."""
    from serving.release.upkeep import prune as remove

    old = remove(edge.root, model, keep, edge.who, dry_run)
    text = f"{'would be removed' if dry_run else 'removed'} from {model}: {', '.join(map(str, old)) or 'nothing'}"
    _show({"model": model, "removed": [] if dry_run else old, "removable": old}, text, as_json)


@command
@click.argument("file", type=click.Path(path_type=Path))
def backup(edge: Edge, file: Path, as_json: bool) -> None:
    """Write all versions and releases into FILE, a tar archive. No release can be made meanwhile."""
    from serving.release.state import one_at_a_time
    from serving.release.upkeep import back_up

    with one_at_a_time(edge.root, edge.who):
        _show_report(back_up(edge.root, file), f"in {file}", as_json)


@command
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
def restore(edge: Edge, file: Path, as_json: bool) -> None:
    """Bring versions and releases back from FILE: what is missing or damaged, and what was released then.

    Whole versions stay as they are, and so does what was pushed since. A running server is told by the next release.
    """
    from serving.release import commands as release
    from serving.release.servers import ReleaseContext
    from serving.release.state import one_at_a_time
    from serving.release.upkeep import bring_back

    with one_at_a_time(edge.root, edge.who):
        report = bring_back(edge.root, file)
    release.prepare(ReleaseContext(edge.root, (), edge.who))
    _show_report(report, f"brought back from {file}", as_json)


@main.group()
def registry() -> None:
    """Tell MLflow of runs, versions and releases; see docs/tracking.md."""


@registry.command()
@JSON
@CONFIGS
@click.option("--again", is_flag=True, help="Try what was given up, too.")
@click.pass_obj
def sync(edge: Edge, configs: Path, again: bool, as_json: bool) -> None:
    """Tell MLflow what waits on disk, register what was pushed, and let its aliases follow the releases.

    MLflow is at $MLFLOW_TRACKING_URI, else in var/mlflow. Exit code 1 if something is left, or was moved by hand.
    """
    from serving.mlflow_sync import show_sync, sync
    from serving.registry.queue import Queue

    if again:
        Queue(edge.root).try_again()
    with _context(edge) as context:
        report = sync(context, configs)
    is_told = show_sync(report, edge.root, as_json)
    click.get_current_context().exit(0 if is_told else 1)


@registry.command("status")
@JSON
@click.pass_obj
def registry_status(edge: Edge, as_json: bool) -> None:
    """Show what MLflow has not been told yet, and what a person moved in it; MLflow is not asked.

    Exit code 1 if there is anything.
    """
    from serving.mlflow_sync import show_status

    click.get_current_context().exit(0 if show_status(edge.root, as_json) else 1)


@registry.command("open")
@click.option("--port", default=MLFLOW_PAGE, show_default=True, help="Where the page is.")
@click.pass_obj
def open_registry(edge: Edge, port: int) -> None:
    """Open MLflow's page over var/mlflow; Ctrl-C ends it."""
    from serving.mlflow_sync import open_page

    open_page(edge.root, port)


def _show_report(report: Report, where: str, as_json: bool) -> None:
    lines = [f"{model} {', '.join(map(str, versions))}: {where}" for model, versions in report.versions.items()]
    lines += [f"{line} was damaged: moved aside" for line in report.replaced]
    _show(asdict(report), "\n".join(lines), as_json)
    for line in () if as_json else report.left_out:
        click.secho(f"left out: {line}", fg="yellow", err=True)


@contextmanager
def _client(edge: Edge, protocol: str = "rest") -> Iterator[ModelClient]:
    from serving.client import connect

    with closing(connect(edge.addresses, protocol)) as client:
        yield client


@contextmanager
def _context(edge: Edge) -> Iterator[ReleaseContext]:
    from serving.release.servers import ReleaseContext, release_clients

    with release_clients(edge.addresses.grpc) as clients:
        yield ReleaseContext(edge.root, clients, edge.who)


def _which(version: int | None, label: str | None) -> VersionSpec:
    from serving.client.types import VersionSpec

    if version and label:
        raise ConfigError("a version and a label are given", wanted="one of them")
    return VersionSpec(version, label)


def _percent(text: str) -> float:
    try:
        return float(text.removesuffix("%"))
    except ValueError:
        raise ConfigError("this is no share of the requests", got=repr(text), wanted="such as 10%") from None


def _tell(model: str, state: State, as_json: bool) -> None:
    _show({"model": model, **asdict(state)}, f"{model}: {state}", as_json)


def _show(document: object, text: str, as_json: bool) -> None:
    click.echo(json.dumps(document, indent=2) if as_json else text)


def _interrupt(*_: object) -> NoReturn:
    raise KeyboardInterrupt

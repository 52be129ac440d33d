"""The model server's command line. What it takes is imported once a command runs, so that `--help` is instant."""

from __future__ import annotations

import getpass
import signal
import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click

from common.cli import Group
from common.errors import ConfigError
from common.paths import var_root
from common.ports import MODEL_SERVER_GRPC, MODEL_SERVER_REST

if TYPE_CHECKING:
    from serving.client.types import Addresses, ModelClient, VersionSpec
    from serving.release.state import State
    from serving.release.transaction import ReleaseContext

MODEL = click.argument("model")
JSON = click.option("--json", "as_json", is_flag=True, help="As JSON.")
VERSION = click.option("--version", type=click.IntRange(min=1), help="This version.")
LABEL = click.option("--label", help="The version that this label points to.")


@dataclass(frozen=True)
class Edge:
    """What was read from options and the environment, once."""

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
@click.option(
    "--grpc",
    envvar="VOUCH_MODEL_SERVER_GRPC",
    default=f"127.0.0.1:{MODEL_SERVER_GRPC}",
    show_default=True,
    metavar="HOST:PORT",
    help="Its gRPC address ($VOUCH_MODEL_SERVER_GRPC).",
)
@click.pass_context
def main(context: click.Context, rest_url: str, grpc: str) -> None:
    """Start a model server, ask it, and release versions on it.

    What is served lies under var/serving (or $VOUCH_VAR/serving). Exit codes: 0 done, 1 failed, 2 configuration,
    3 data, 4 a gate refused, 5 this machine or the model server, 130 interrupted.
    """
    from serving.client.types import Addresses

    context.obj = Edge(Addresses(rest_url, grpc), var_root() / "serving", f"{getpass.getuser()}@{socket.gethostname()}")


@main.command()
@click.option("--rest-port", default=MODEL_SERVER_REST, show_default=True, help="Port for REST; 0: any that is free.")
@click.option("--grpc-port", default=MODEL_SERVER_GRPC, show_default=True, help="Port for gRPC; 0: any that is free.")
@click.option("--docker", is_flag=True, help="Run TensorFlow Serving in Docker.")
@click.option("--wait", "wait_s", default=120.0, show_default=True, help="Seconds that loading may take.")
@click.option("--sample", type=click.IntRange(min=0), default=0, help="Then show so many predictions of each model.")
@click.option("--once", is_flag=True, help="Leave after that instead of waiting for Ctrl-C.")
@click.option(
    "--run", "command", metavar="COMMAND", help="Run a command that is told where the server is; end with it."
)
@click.pass_obj
def start(
    edge: Edge, rest_port: int, grpc_port: int, docker: bool, wait_s: float, sample: int, once: bool, command: str
) -> None:
    """Start a model server on all pushed models and stay until Ctrl-C.

    It is TensorFlow Serving if a `tensorflow_model_server` is on PATH, else the embedded server.
    """
    from serving.launch.launcher import Start, launch

    for number in (signal.SIGTERM, signal.SIGHUP):  # no server is left behind by a closed terminal
        signal.signal(number, _interrupt)
    options = Start(
        edge.root, rest_port, grpc_port, docker, edge.who, wait_s=wait_s, say=lambda line: click.echo(f"  {line}")
    )
    try:
        with launch(options) as running:
            for model, state in running.models.items():
                click.secho(f"{model}: version {state.stable} is stable", bold=True)
                for name, url in running.urls(model).items():
                    click.echo(f"  {name:<9}{url}")
            click.echo(f"  {'grpc':<9}{running.addresses.grpc}")
            if sample:
                from serving.launch.sample import show_sample

                show_sample(running, sample)
            if command:
                from serving.launch.beside import run_beside

                code = run_beside(running, command)
                click.get_current_context().exit(code)
            if not once:
                click.echo("Ctrl-C ends it")
                running.wait()
    except KeyboardInterrupt:
        click.echo("stopped")


@main.command()
@click.argument("model", required=False)
@JSON
@click.pass_obj
def status(edge: Edge, model: str | None, as_json: bool) -> None:
    """Show what the server has loaded of MODEL, or of all models, and what the labels point to."""
    from serving.show import show_status

    with _client(edge) as client:
        show_status(client, edge.root, model, as_json)


@main.command()
@MODEL
@VERSION
@LABEL
@JSON
@click.pass_obj
def metadata(edge: Edge, model: str, version: int | None, label: str | None, as_json: bool) -> None:
    """Show the signatures of MODEL: what they take and what they give."""
    from serving.show import show_metadata

    with _client(edge) as client:
        show_metadata(client, model, _which(version, label), as_json)


@main.command()
@MODEL
@click.option("--file", "path", required=True, type=click.Path(path_type=Path), help="Rows, .csv or .json.")
@click.option("--out", type=click.Path(path_type=Path), help="CSV; default: stdout.")
@VERSION
@LABEL
@click.option("--by", type=click.Choice(["rest", "grpc"]), default="rest", show_default=True, help="Protocol.")
@click.pass_obj
def predict(
    edge: Edge, model: str, path: Path, out: Path | None, version: int | None, label: str | None, by: str
) -> None:
    """Predict every row of a file, by the stable version unless another is named.

    Columns that MODEL does not read are left out; an empty field means: missing. One version answers all rows.
    """
    from serving.client.predict_file import predict_file
    from serving.show import progress, whole_file

    with _client(edge, by) as client, whole_file(out) as file, progress(path) as told:
        rows = predict_file(client, model, _which(version, label), path, file, told)
    click.echo(f"{rows} rows", err=True)


@main.command()
@MODEL
@click.argument("version", type=click.IntRange(min=1), required=False)
@click.pass_obj
def promote(edge: Edge, model: str, version: int | None) -> None:
    """Make VERSION of MODEL stable; without one the candidate, else the newest."""
    from serving.release import commands as release

    with _context(edge) as context:
        _tell(model, release.promote(context, model, version))


@main.command()
@MODEL
@click.pass_obj
def rollback(edge: Edge, model: str) -> None:
    """Take the last step back: end the canary, else make the previous version stable again."""
    from serving.release import commands as release

    with _context(edge) as context:
        _tell(model, release.rollback(context, model))


@main.command()
@MODEL
@click.argument("share")
@VERSION
@click.pass_obj
def canary(edge: Edge, model: str, share: str, version: int | None) -> None:
    """Give SHARE (such as 10%) of the requests to a version, by default the newest; 0% ends it."""
    from serving.release import commands as release

    with _context(edge) as context:
        _tell(model, release.canary(context, model, _percent(share), version))


@main.command()
@MODEL
@click.option("--limit", default=20, show_default=True, help="At most so many.")
@JSON
@click.pass_obj
def history(edge: Edge, model: str, limit: int, as_json: bool) -> None:
    """Show the releases of MODEL, newest first: when, who, what, and what was undone."""
    from serving.show import show_history

    show_history(edge.root, model, limit, as_json)


@contextmanager
def _client(edge: Edge, protocol: str = "rest") -> Iterator[ModelClient]:
    from serving.client.types import connect

    with closing(connect(edge.addresses, protocol)) as client:
        yield client


@contextmanager
def _context(edge: Edge) -> Iterator[ReleaseContext]:
    from serving.client.grpc import GrpcClient
    from serving.release.transaction import ReleaseContext

    with closing(GrpcClient(edge.addresses.grpc)) as client:
        yield ReleaseContext(edge.root, client, edge.who)


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


def _tell(model: str, state: State) -> None:
    click.echo(f"{model}: {state}")


def _interrupt(*_: object) -> NoReturn:
    raise KeyboardInterrupt

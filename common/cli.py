"""What our command lines share: errors as text and an exit code."""

from __future__ import annotations

import errno
import io
import sys
from pathlib import Path
from typing import Any

import click

from common.errors import EnvironmentProblem, VouchError
from common.paths import MODEL_SERVER_GRPC

INTERRUPTED = 130  # as shells have it for Ctrl-C
MOMENT = click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S"])
MODEL = click.argument("model")
JSON = click.option("--json", "as_json", is_flag=True, help="As JSON.")
GRPC = click.option(
    "--grpc",
    envvar="VOUCH_MODEL_SERVER_GRPC",
    default=f"127.0.0.1:{MODEL_SERVER_GRPC}",
    show_default=True,
    metavar="HOST:PORT",
    help="gRPC address of the model server, or several divided by commas ($VOUCH_MODEL_SERVER_GRPC).",
)
CONFIGS = click.option(
    "--configs",
    envvar="VOUCH_MODELS",
    type=click.Path(path_type=Path),
    default=Path(__file__).resolve().parent.parent / "config",
    help="Folder of the models' settings ($VOUCH_MODELS).  [default: config/]",
)
_CURES = {
    errno.ENOSPC: "make room on the disk, then run it again",
    errno.EDQUOT: "make room within the quota, then run it again",
    errno.EROFS: "remount it for writing, or point VOUCH_VAR at a place that can be written to",
    errno.EACCES: "run it as the owner, or change the permissions",
    errno.EPERM: "run it as the owner, or change the permissions",
}


class _ErrorsAsText(click.Command):
    """Show our errors and this machine's as text and an exit code; say `interrupted` after Ctrl-C."""

    interrupted = "interrupted"

    def invoke(self, context: click.Context) -> Any:
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="replace")  # a terminal that lacks a letter shows a question mark
        try:
            return super().invoke(context)
        except VouchError as error:
            self._end(context, error)
        except OSError as error:
            if error.errno == errno.EPIPE:
                raise  # the reader of a pipe is gone: click ends without a word
            self._end(context, _as_problem(error))
        except KeyboardInterrupt:
            click.secho(self.interrupted, fg="yellow", err=True)
            context.exit(INTERRUPTED)

    @staticmethod
    def _end(context: click.Context, error: VouchError) -> None:
        click.secho(f"error: {error}", fg="red", err=True)
        context.exit(error.exit_code)


class Command(_ErrorsAsText):
    """A command line without commands."""


class Group(_ErrorsAsText, click.Group):
    """A command line of several commands."""


def _as_problem(error: OSError) -> EnvironmentProblem:
    what = f"this machine refuses {error.filename}" if error.filename else "this machine refuses to go on"
    return EnvironmentProblem(what, got=error.strerror or repr(error), fix=_CURES.get(error.errno or 0, ""))

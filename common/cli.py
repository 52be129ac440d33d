"""What our command lines share: errors as text and an exit code."""

from __future__ import annotations

import signal
from typing import Any

import click

from common.errors import VouchError

INTERRUPTED = 130  # as shells have it for Ctrl-C


class _Told(click.Command):
    """Show our errors as text and an exit code, never as a traceback; say `interrupted` after Ctrl-C."""

    interrupted = "interrupted"

    def main(self, *args: Any, **extra: Any) -> Any:
        """Hear SIGINT even as a script's background job, which inherits that it is ignored."""
        if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        return super().main(*args, **extra)

    def invoke(self, context: click.Context) -> Any:
        """Run a command."""
        try:
            return super().invoke(context)
        except VouchError as error:
            click.secho(f"error: {error}", fg="red", err=True)
            context.exit(error.exit_code)
        except KeyboardInterrupt:
            click.secho(self.interrupted, fg="yellow", err=True)
            context.exit(INTERRUPTED)


class Command(_Told):
    """A command line without commands."""


class Group(_Told, click.Group):
    """A command line of several commands."""

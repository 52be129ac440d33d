"""`python -m webapp`: serve the pages and the API."""

from __future__ import annotations

import os

import click

from common.cli import Command


@click.command(cls=Command, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--host", metavar="ADDRESS", help="Address to listen on ($VOUCH_HOST, 127.0.0.1).")
@click.option("--port", type=click.IntRange(0, 65535), help="Port; 0: any that is free ($VOUCH_PORT, $PORT, 8080).")
@click.option("--workers", type=click.IntRange(min=1), help="Worker processes ($VOUCH_WORKERS, 2).")
@click.option("--model-server", metavar="URL", help="REST address of the model server ($VOUCH_MODEL_SERVER_REST).")
@click.option("--once", is_flag=True, help="Answer one page and one prediction, show them, and leave.")
def main(host: str | None, port: int | None, workers: int | None, model_server: str | None, once: bool) -> None:
    """Serve the pages and the API until Ctrl-C. Everything is told by VOUCH_… variables: docs/web.md.

    Without VOUCH_AUTH=on it is an open demo on loopback. Users: flask --app webapp users --help.
    """
    from webapp.serve import serve
    from webapp.settings import read_settings

    options = {"HOST": host, "PORT": port, "WORKERS": workers, "MODEL_SERVER_REST": model_server}
    os.environ.update({f"VOUCH_{key}": str(value) for key, value in options.items() if value is not None})
    serve(read_settings(), once=once)  # the workers read the environment, too


if __name__ == "__main__":
    main(prog_name="python -m webapp")

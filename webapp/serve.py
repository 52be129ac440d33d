"""Run the web app: a few worker processes on one socket, each replaced when it dies."""

from __future__ import annotations

import logging
import logging.config
import os
import re
import shutil
import socket
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from functools import partial
from pathlib import Path
from typing import Any
from weakref import WeakSet

import uvicorn
from prometheus_client import values
from uvicorn.supervisors import Multiprocess

from common.errors import EnvironmentProblem
from common.records.files import get_arrow_ready
from serving.wire.garbage import spare_collections
from serving.wire.http_protocol import BoundedProtocol
from webapp.auth.accounts import Accounts
from webapp.http.door import Bounds, Door
from webapp.settings import WebSettings, read_settings

BACKLOG = 2048
DRAIN_S = 10  # for requests under way when the server is told to end
KEEP_ALIVE_S = 30
CONNECTIONS = 2000  # of each worker; one more is told to come again
PREDICT = "/api/v1/predict"
QUICK_BYTES = 1 << 16  # some 100 rows, which take a few milliseconds
METRICS_FOLDER = "PROMETHEUS_MULTIPROC_DIR"


class Connection(BoundedProtocol):
    """A connection that can be found, and cut when its client keeps it waiting."""

    open: WeakSet[Connection] = WeakSet()

    def connection_made(self, transport: Any) -> None:
        """Begin to read."""
        super().connection_made(transport)
        self.open.add(self)

    @classmethod
    def cut_the_stuck(cls, limit_s: float) -> None:
        """Cut all whose client has sent nothing whole, or taken nothing, for so long."""
        for connection in list(cls.open):
            if connection.transport.is_closing():
                cls.open.discard(connection)
            elif connection.is_stuck(limit_s):
                connection.transport.abort()


def serve(settings: WebSettings, *, once: bool = False) -> None:
    """Serve until SIGINT or SIGTERM, or only until it was asked `once`; requests under way are finished first.

    The workers read the environment again, so it must say what `settings` say. Raises EnvironmentProblem if the port
    is taken or the accounts cannot be read.
    """
    if settings.auth:  # found out here: a worker that cannot start is started again and again
        with closing(Accounts(settings.database)) as accounts:
            accounts.users()
    with closing(_listen(settings.host, settings.port)) as listening:
        host, port = listening.getsockname()[:2]
        shown = f"[{host}]" if ":" in host else host
        folder = tempfile.mkdtemp(prefix="vouch-metrics-")
        os.environ[METRICS_FOLDER] = folder  # the metrics look for it when they are imported
        url = f"http://{shown}:{port}"
        print(f"  web page  {url}/\n  API       {url}/api/docs", flush=True)
        try:
            supervisor = Multiprocess(_configuration(settings), sockets=[listening])
            with ThreadPoolExecutor(1) as pool:
                asked = pool.submit(_ask, url, supervisor) if once else None
                supervisor.run()
            if asked:
                print(asked.result(), flush=True)
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _ask(url: str, supervisor: Multiprocess) -> str:
    from webapp.demo import ask_once

    try:
        return ask_once(url)
    finally:
        supervisor.should_exit.set()


def make_door() -> Door:
    """Return what a worker serves. Called by uvicorn in each worker."""
    from webapp import create_app

    _forget_dead_workers()
    # The metrics ask for their process with each count, in case it is another by now: a worker never forks.
    values.ValueClass = values.MultiProcessValue(partial(int, os.getpid()))  # type: ignore[no-untyped-call]
    settings = read_settings()
    logging.config.dictConfig(_logging())
    app = create_app(settings)
    services = app.extensions["vouch"]
    get_arrow_ready()
    spare_collections()
    bounds = Bounds(settings.threads, settings.max_waiting, settings.body_limit_bytes, _quick_bytes)
    return Door(
        app,
        bounds,
        shed=services.metrics.shed.inc,
        close=services.close,
        sweep=lambda: Connection.cut_the_stuck(settings.read_timeout_s),
    )


def _quick_bytes(path: str) -> int:
    """Return the size of bodies that are answered on the loop: of predictions, which wait for the model server only."""
    return QUICK_BYTES if path == PREDICT else -1


def _configuration(settings: WebSettings) -> uvicorn.Config:
    return uvicorn.Config(
        "webapp.serve:make_door",
        factory=True,
        workers=settings.workers,
        http=Connection,
        ws="none",
        lifespan="on",
        interface="asgi3",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=DRAIN_S,
        limit_concurrency=CONNECTIONS,
        timeout_worker_healthcheck=int(settings.worker_timeout_s),
    )


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
        listening.listen(BACKLOG)
    except OSError as error:
        listening.close()
        raise EnvironmentProblem(
            f"the web app cannot listen on {host}:{port}",
            got=error.strerror,
            fix="end what uses the port, or choose another: VOUCH_PORT=8081",
        ) from None
    listening.set_inheritable(True)
    return listening


def _forget_dead_workers() -> None:
    """Take the gauges of workers that were killed out of the sums."""
    from prometheus_client.multiprocess import mark_process_dead

    for path in Path(os.environ[METRICS_FOLDER]).glob("gauge_live*_*.db") if METRICS_FOLDER in os.environ else ():
        pid = int(re.sub(r".*_(\d+)\.db", r"\1", path.name))
        if not Path(f"/proc/{pid}").exists():
            with suppress(OSError):
                mark_process_dead(pid)  # type: ignore[no-untyped-call]  # it carries no types


def _logging() -> dict[str, Any]:
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"line": {"format": "%(asctime)s %(levelname)s %(process)d %(name)s %(message)s"}},
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
        "root": {"level": os.environ.get("VOUCH_LOG_LEVEL", "WARNING"), "handlers": ["stderr"]},
    }

"""Run the web app: a few worker processes under granian, each replaced when it dies."""

from __future__ import annotations

import atexit
import faulthandler
import fcntl
import logging
import multiprocessing
import os
import shutil
import signal
import socket
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from functools import partial
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from granian import Granian
from granian.constants import HTTPModes, Interfaces
from granian.http import HTTP1Settings
from granian.log import LogLevels

from common.errors import EnvironmentProblem
from common.images import encoded
from common.logs import configuration
from common.records.database import Database
from webapp.http.admission import QUEUE, SLOW_CLIENTS, WATCHERS, Admission
from webapp.migrations import migrate
from webapp.settings import WebSettings, read_settings

if TYPE_CHECKING:
    from flask import Flask

BACKLOG = 2048
DRAIN_S = 8  # for requests under way when the server is told to end: all of it is to take no more than 10
CONNECTIONS = 2000  # of each worker; more wait until one ends
HEAD_BYTES = 1 << 16  # of a request's first line and headers
SWEEP_EVERY_S = 0.5
METRICS_FOLDER = "PROMETHEUS_MULTIPROC_DIR"
TARGET = "webapp.serve:make_worker_app"
ASK_S, READY_S = 10.0, 60.0  # for an answer, and to be ready, when it is asked once
PORT, SUPERVISOR = "VOUCH_LISTENING_PORT", "VOUCH_SUPERVISOR"  # what a worker is told besides the settings


def serve(settings: WebSettings, *, once: bool = False) -> None:
    """Serve until SIGINT or SIGTERM, or only until it was asked `once`; requests under way are finished first.

    The workers read the environment again, so it must say what `settings` say. Raises EnvironmentProblem if the port
    is taken or the database cannot be read.
    """
    with closing(Database(settings.database, migrate)) as database, database.reading():
        pass  # found out here: a worker that cannot start is started again and again
    with closing(_reserve(settings.host, settings.port)) as reserved:
        port = reserved.getsockname()[1]
        shown = f"[{settings.host}]" if ":" in settings.host else settings.host
        url = f"http://{shown}:{port}"
        folder = tempfile.mkdtemp(prefix="vouch-metrics-")
        os.environ[METRICS_FOLDER] = folder  # the metrics look for it when they are imported
        print(f"  web page  {url}/\n  API       {url}/api/docs", flush=True)
        try:
            with ThreadPoolExecutor(1) as pool:
                answer = pool.submit(_ask, url) if once else None
                make_server(TARGET, settings, *reserved.getsockname()[:2]).serve()
            if answer:
                print(answer.result(), flush=True)
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _ask(url: str) -> str:
    """Return what the page and the API answer, as soon as they are ready, and end the server.

    Raises EnvironmentProblem if it is not ready in time, or does not answer as it should.
    """
    try:
        return _asked_once(url)
    finally:
        os.kill(os.getpid(), signal.SIGTERM)


def _said(prediction: dict[str, Any]) -> str:
    if "value" in prediction:
        return "{value:.5g}, {lower:.5g} to {upper:.5g}".format(**prediction)
    return "{label} with {probability:.4f}".format(**prediction)


def _asked_once(url: str) -> str:
    import requests

    def answer(path: str, data: bytes | None = None) -> requests.Response:
        headers = {"Content-Type": "image/png"} if data else {}
        reply = requests.request("POST" if data else "GET", url + path, data=data, headers=headers, timeout=ASK_S)
        if not reply.ok:
            raise EnvironmentProblem(f"the web app answered {reply.status_code} to {path}", got=reply.text[:500])
        return reply

    deadline, is_ready = time.monotonic() + READY_S, False
    while not is_ready:
        try:
            is_ready = answer("/readyz").ok
        except (requests.RequestException, EnvironmentProblem) as error:
            if time.monotonic() > deadline:
                wanted = f"within {READY_S:g} s"
                raise EnvironmentProblem("the web app is not ready", got=error, wanted=wanted) from None
            time.sleep(0.1)
    lines = []
    pictured = answer("/api/openapi.json").json()["paths"]["/api/v1/predict/image"]["post"].get("x-models", [])
    for model in (entry["name"] for entry in answer("/api/v1/models").json()["models"]):
        page = answer(f"/predict/{model}")
        lines.append(f"  page      {model}: {page.status_code}, {len(page.content)} bytes")
        if model in pictured:
            predicted = answer(f"/api/v1/predict/image?model={model}&keep=no", _grey_picture()).json()
            [first] = predicted["predictions"]
            said = "none of these" if first["none_of_these"] else first["label"]
            said, truth = f"a grey picture: {said} ({first['confidence']:.4f})", ""
        else:
            predicted = answer(f"/api/v1/predict/by-index/0?model={model}").json()
            said, truth = f"row 0 of the test split: {_said(predicted['prediction'])}", predicted["true_label"]
        lines.append(f"  API       {said}, by version {predicted['version']}{f'; it is {truth}' if truth else ''}")
    return "\n".join(lines)


def _grey_picture() -> bytes:
    from PIL import Image

    return encoded(Image.new("RGB", (96, 96), "grey"))


def make_server(target: str, settings: WebSettings, address: str, port: int) -> Any:
    """Return granian with workers that serve what the `target` makes, which has to call `start_watch`."""
    os.environ |= {PORT: str(port), SUPERVISOR: str(os.getpid())}
    multiprocessing.set_start_method("spawn", force=True)  # a fork would take this process's threads along
    return Granian(
        target,
        factory=True,
        address=address,
        port=port,
        interface=Interfaces.WSGI,
        http=HTTPModes.http1,
        websockets=False,
        workers=settings.workers,
        blocking_threads=settings.max_waiting + QUEUE + SLOW_CLIENTS + 2 * len(WATCHERS),
        backlog=BACKLOG,
        backpressure=CONNECTIONS,
        http1_settings=HTTP1Settings(
            header_read_timeout=int(1000 * settings.read_timeout_s), max_buffer_size=HEAD_BYTES
        ),
        log_level=LogLevels.error,
        log_dictconfig=configuration(settings.log_level, settings.log_format),
        respawn_failed_workers=True,
        workers_kill_timeout=DRAIN_S,
    )


def make_worker_app() -> Flask:
    """Return what a worker serves. Called by granian in each worker."""
    from prometheus_client import values

    from common.records.files import get_arrow_ready
    from serving.wire.garbage import spare_collections
    from webapp import create_app

    # The metrics ask for their process with each count, in case it is another by now: a worker never forks.
    values.ValueClass = values.MultiProcessValue(partial(int, _metrics_place()))  # type: ignore[no-untyped-call]
    settings = read_settings()
    app = create_app(settings)
    app.extensions["vouch"].jobs.start()
    atexit.register(_end, app.extensions["vouch"].close)
    start_watch(app.extensions["admission"], settings.worker_timeout_s)
    get_arrow_ready()
    spare_collections()
    return app


def _end(close: Callable[[], None]) -> None:
    """End a worker: granian's threads, which may still be there, must not meet an interpreter that is taken down."""
    close()
    logging.shutdown()
    if os.getppid() != int(os.environ[SUPERVISOR]):  # it was killed, and cannot do so itself
        shutil.rmtree(os.environ[METRICS_FOLDER], ignore_errors=True)
    os._exit(0)


def start_watch(admission: Admission, stand_still_s: float) -> None:
    """Cut silent clients; end this worker when its supervisor is gone, or when Python stands still for so long."""
    threading.Thread(target=_watch, args=(admission, stand_still_s), name="watch", daemon=True).start()


def _watch(admission: Admission, stand_still_s: float) -> None:
    port, supervisor = int(os.environ[PORT]), int(os.environ[SUPERVISOR])
    while os.getppid() == supervisor:
        faulthandler.dump_traceback_later(stand_still_s, exit=True)
        admission.sweep(port)
        time.sleep(SWEEP_EVERY_S)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(DRAIN_S)
    os._exit(1)


def _reserve(host: str, port: int) -> socket.socket:
    """Return a socket that holds the port but does not listen: the workers bind to it, too. Raises EnvironmentProblem.

    A port that others share would be shared with us, so it is first asked for as if it were not to be.
    """
    try:
        with _bound(host, port, is_shared=False) as alone:
            port = alone.getsockname()[1]
        return _bound(host, port, is_shared=True)
    except OSError as error:
        raise EnvironmentProblem(
            f"the web app cannot listen on {host}:{port}",
            got=error.strerror,
            fix="end what uses the port, or choose another: VOUCH_PORT=8081",
        ) from None


def _bound(host: str, port: int, *, is_shared: bool) -> socket.socket:
    bound = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if is_shared:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        bound.bind((host, port))
    except OSError:
        bound.close()
        raise
    return bound


def _metrics_place() -> int:
    """Return a number that no living worker has: its metrics go on from where one that died left them."""
    folder = Path(os.environ[METRICS_FOLDER])
    for place in count():
        lock = os.open(folder / f"{place}.lock", os.O_CREAT | os.O_RDWR)  # held for as long as the process lives
        with suppress(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        os.close(lock)
    for path in folder.glob(f"gauge_live*_{place}.db"):
        path.unlink()
    return place

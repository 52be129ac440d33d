"""Hurt a web app while it is asked, and see that no answer is a failure and what was answered is on record.

Its model server is reached by a way between that can be slow, silent or gone.
"""

from __future__ import annotations

import os
import resource
import signal
import socket
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

import requests

from bench.commit import HERE, WebApp, is_ready, web_app
from bench.load import HOST, LOOK_EVERY_S
from bench.report import RunFailed
from common.records.reader import Reader
from serving.client.types import Addresses

CLIENTS, SLOW_CLIENTS = 8, 200
HURT_S, WELL_S, ANSWER_S = 4.0, 60.0, 30.0
FLUSH_S = 3.0  # what a process that is killed may lose: what its log had not written, see docs/decisions
FULL_BYTES = 1000  # no file may grow beyond, as on a full disk
REFUSALS = (429, 503)
Mood = Literal["well", "slow", "silent", "gone"]


@dataclass(frozen=True)
class Fault:
    """What clients saw of a fault. `cut`: connections without an answer; `failed`: other answers than 200, 429, 503.

    `lost`: answered, and neither on record nor counted as dropped; `excused`: answered just before a process was
    killed, which loses what it had not written yet.
    """

    name: str
    answered: int
    refused: int
    cut: int
    failed: int
    lost: int
    excused: int
    well_after_s: float

    @property
    def is_kept(self) -> bool:
        return not self.failed and self.lost <= self.excused


class Between:
    """A way to a server, which forwards bytes as its mood is."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._target = (parts.hostname or HOST, parts.port or 80)
        self._listening = socket.create_server((HOST, 0), backlog=1024)
        self.url = f"http://{HOST}:{self._listening.getsockname()[1]}"
        self._mood: Mood = "well"
        self._is_well = threading.Event()
        self._is_well.set()
        threading.Thread(target=self._accept, daemon=True).start()

    @contextmanager
    def being(self, mood: Mood) -> Iterator[None]:
        self._mood = mood
        self._is_well.clear()
        try:
            yield
        finally:
            self._mood = "well"
            self._is_well.set()

    def close(self) -> None:
        self._listening.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                if self._mood == "gone":
                    client.close()
                    continue
                server = socket.create_connection(self._target)
                for source, sink, is_answer in ((client, server, False), (server, client, True)):
                    threading.Thread(target=self._forward, args=(source, sink, is_answer), daemon=True).start()

    def _forward(self, source: socket.socket, sink: socket.socket, is_answer: bool) -> None:
        with suppress(OSError):
            while (data := source.recv(1 << 16)) and self._mood != "gone":
                if is_answer and self._mood == "slow":
                    self._is_well.wait(0.3)
                if is_answer and self._mood == "silent":
                    self._is_well.wait()
                sink.sendall(data)
        for side in (source, sink):
            with suppress(OSError):
                side.shutdown(socket.SHUT_RDWR)


@dataclass
class Clients:
    """Several who ask for one prediction after another, each by a reference of its own, while the context lasts."""

    url: str
    model: str
    row: Mapping[str, Any]
    answers: list[tuple[float, str, int]] = field(default_factory=list)  # when, reference, status; 0: none
    _is_over: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def asking(self) -> Iterator[None]:
        threads = [threading.Thread(target=self._ask_on) for _ in range(CLIENTS)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._is_over.set()
            for thread in threads:
                thread.join()

    def _ask_on(self) -> None:
        with requests.Session() as session:
            while not self._is_over.is_set():
                reference = uuid.uuid4().hex
                status = ask(session, self.url, {"model": self.model, "row": self.row, "reference": reference})
                self.answers.append((time.monotonic(), reference, status))
                if status != 200:
                    self._is_over.wait(LOOK_EVERY_S)  # nobody hammers a server that is away

    def count(self, *statuses: int) -> int:
        return sum(status in statuses for _, _, status in self.answers)


def ask(session: requests.Session, url: str, body: Mapping[str, Any]) -> int:
    """Return the status of a prediction, 0 if there was no answer."""
    try:
        return session.post(f"{url}/api/v1/predict", json=body, timeout=ANSWER_S).status_code
    except requests.RequestException:
        return 0


def faults(var: Path, addresses: Addresses, model: str, row: Mapping[str, Any], hurt_s: float = HURT_S) -> list[Fault]:
    """Run a web app on `var`, which has the model, through all faults. Raises RunFailed if it does not get well."""
    between = Between(addresses.rest)
    with ExitStack() as stack:
        stack.callback(between.close)
        way = Addresses(between.url, addresses.grpc)
        app = stack.enter_context(web_app(HERE, var, way))

        def hurt(name: str, act: Callable[[WebApp], object], is_kill: bool = False) -> Fault:
            return _hurt(name, app, Clients(app.url, model, row), act, is_kill)

        def feel(mood: Mood) -> Callable[[WebApp], object]:
            return lambda _app: _hold(between.being(mood), hurt_s)

        table = [
            hurt("model server down", feel("gone")),
            hurt("model server slow", feel("slow")),
            hurt("model server hanging", feel("silent")),
            hurt(f"slow clients × {SLOW_CLIENTS}", lambda app: _hold(_slow_clients(app.url), hurt_s)),
            hurt("disk full", lambda app: _hold(_full_disk(app), hurt_s)),
            hurt("kill -9 of a worker", lambda app: os.kill(min(workers(app.pid)), signal.SIGKILL), is_kill=True),
        ]

        def kill_supervisor(app: WebApp) -> None:
            ended = workers(app.pid)
            os.kill(app.pid, signal.SIGKILL)
            _wait(lambda: not any(Path(f"/proc/{pid}").exists() for pid in ended), "its workers go on without it")
            stack.enter_context(web_app(HERE, var, way, urlsplit(app.url).port or 0))

        return [*table, hurt("kill -9 of the supervisor", kill_supervisor, is_kill=True)]


def _hurt(name: str, app: WebApp, clients: Clients, act: Callable[[WebApp], object], is_kill: bool) -> Fault:
    dropped = _dropped(app.url)
    with clients.asking():
        _wait(lambda: clients.count(200) >= CLIENTS, "it answers nobody")
        began = time.monotonic()
        act(app)
        over = time.monotonic()
        answered = clients.count(200)
        _wait(lambda: is_ready(app.url) and clients.count(200) > answered + CLIENTS, f"it is not well after: {name}")
        well_after_s = time.monotonic() - over
    references = {reference for _, reference, status in clients.answers if status == 200}
    excused = sum(began - FLUSH_S < at < over and status == 200 for at, _, status in clients.answers) if is_kill else 0
    counted = 0 if is_kill else round(_dropped(app.url) - dropped)  # a supervisor's end begins the count anew

    def lost() -> int:
        return len(references - _recorded(app.var / "predictions" / clients.model)) - counted

    with suppress(RunFailed):
        _wait(lambda: lost() <= 0, "", within_s=2 * FLUSH_S)
    statuses = Counter(status for _, _, status in clients.answers)
    known = statuses[200] + statuses[0] + sum(statuses[status] for status in REFUSALS)
    return Fault(
        name,
        statuses[200],
        sum(statuses[status] for status in REFUSALS),
        statuses[0],
        statuses.total() - known,
        max(lost(), 0),
        excused,
        well_after_s,
    )


def workers(supervisor: int) -> list[int]:
    """Return the processes that answer: children of the supervisor that it spawned."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            parent = int(stat.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[1])
            if parent == supervisor and b"spawn_main" in stat.with_name("cmdline").read_bytes():
                found.append(int(stat.parent.name))
    return found


@contextmanager
def _slow_clients(url: str) -> Iterator[None]:
    """Connect many who begin to send a body and do not end."""
    parts = urlsplit(url)
    head = f"POST /api/v1/predict HTTP/1.1\r\nHost: {parts.netloc}\r\nContent-Type: application/json\r\n"
    with ExitStack() as stack:
        for _ in range(SLOW_CLIENTS):
            client = stack.enter_context(socket.create_connection((parts.hostname or HOST, parts.port or 80)))
            client.sendall(f'{head}Content-Length: 1000\r\n\r\n{{"row": '.encode())
        yield


@contextmanager
def _full_disk(app: WebApp) -> Iterator[None]:
    """Let no file of the workers grow, as on a full disk; nor the log on standard error."""
    limits = {pid: resource.prlimit(pid, resource.RLIMIT_FSIZE) for pid in workers(app.pid)}
    for pid, (_soft, hard) in limits.items():
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (FULL_BYTES, hard))
    try:
        yield
    finally:
        for pid, limit in limits.items():
            resource.prlimit(pid, resource.RLIMIT_FSIZE, limit)


def _hold(fault: Any, seconds: float) -> None:
    with fault:
        time.sleep(seconds)


def _recorded(base: Path) -> set[str]:
    tables = Reader(base).tables()
    return {reference for table in tables for reference in table["reference"].to_pylist() if reference}


def _dropped(url: str) -> float:
    text = requests.get(f"{url}/metrics", timeout=ANSWER_S).text
    lines = [line.split() for line in text.splitlines() if line.startswith("vouch_prediction_log_dropped_rows_total")]
    return sum(float(line[-1]) for line in lines)


def _wait(condition: Callable[[], bool], otherwise: str, within_s: float = WELL_S) -> None:
    deadline = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > deadline:
            raise RunFailed(otherwise, wanted=f"within {within_s:g} s")
        time.sleep(LOOK_EVERY_S)


def markdown(table: Sequence[Fault]) -> str:
    lines = ["| fault | answered | refused | cut | failed | lost | well after | |", "|---|---|---|---|---|---|---|---|"]
    lines += [
        f"| {fault.name} | {fault.answered:,} | {fault.refused:,} | {fault.cut:,} | {fault.failed} | {fault.lost}"
        f"{f' (of {fault.excused} not yet written)' if fault.excused else ''} | {fault.well_after_s:.1f} s "
        f"| {'kept' if fault.is_kept else '**missed**'} |"
        for fault in table
    ]
    return "\n".join(lines)

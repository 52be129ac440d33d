"""Count requests that fail while versions are promoted and rolled back under load. None may.

Four clients in processes of their own send rows by REST and gRPC, by the label `stable` and without one, first while
nothing happens, then while a second version is promoted and rolled back again and again. They retry nothing.
"""

from __future__ import annotations

import argparse
import multiprocessing
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import requests

from bench.load import Load
from bench.model_server import METHOD, PACKED_ROW, ROW, Bodies
from bench.report import RunFailed, finish, parser, positive, say, start, table, verdict
from bench.serving import newest
from common.files import write_text
from common.paths import Paths, var_root
from serving.client.grpc import GrpcClient
from serving.client.types import Addresses
from serving.launch.launcher import Start, launch
from serving.release.commands import promote, rollback
from serving.release.servers import ReleaseContext
from serving.repository.layout import MANIFEST, STABLE
from serving.repository.manifest import Manifest
from serving.wire.messages import message

STEADY, SWITCHING = "steady", "switching"
P99_TIMES = 3.0  # most that p99 may be while versions change, in times of the steady one
ROLLBACK_S = 1.0
ANSWER_S = 10.0
START_S = 60.0


@dataclass(frozen=True)
class Client:
    protocol: str
    label: str = ""

    def __str__(self) -> str:
        return f"{self.protocol}, {f'label {self.label}' if self.label else 'default version'}"


CLIENTS = (Client("REST", STABLE), Client("REST"), Client("gRPC", STABLE), Client("gRPC"))


@dataclass(frozen=True)
class Sent:
    """One request: when it ended on the machine's monotonic clock, what it took, and why it failed or nothing."""

    ended_s: float
    took_ms: float
    failure: str = ""


@dataclass(frozen=True)
class Change:
    what: str
    took_s: float


def main() -> None:
    options = arguments().parse_args()
    with tempfile.TemporaryDirectory() as folder:
        version = newest(Paths(var_root(), options.model).serving)
        sent, changes, switched_s = measure(version, Path(folder), options)
    result = summary(sent, changes, switched_s)
    numbers = {**result, "changes": [asdict(released) for released in changes]}
    finish(markdown(result), numbers, options.out, passed=result["passed"])


def arguments() -> argparse.ArgumentParser:
    options = parser("release", __doc__)
    options.add_argument("--model", default="breast_cancer", help="whose newest pushed version is used (%(default)s)")
    options.add_argument("--changes", type=positive, default=100, help="promotions and rollbacks (%(default)s)")
    options.add_argument("--steady", type=float, default=20.0, metavar="S", help="seconds before them (%(default)s)")
    options.add_argument("--rate", type=positive, default=50, help="requests per second of each client (%(default)s)")
    return options


def measure(
    version: Path, folder: Path, options: argparse.Namespace
) -> tuple[dict[Client, list[Sent]], list[Change], float]:
    """Return what each client sent, the changes, and when they began."""
    model, root = version.parent.name, folder / "serving"
    bodies = Bodies(version, folder / "bodies")
    push(version, root / model, 1)
    with (
        launch(Start(root, rest_port=0, grpc_port=0, who="bench", say=say)) as running,
        closing(GrpcClient(running.addresses.grpc)) as control,
        sending(running.addresses, bodies, options.rate) as collect,
    ):
        push(version, root / model, 2)
        say(f"steady for {options.steady:g} s")
        time.sleep(options.steady)
        switched_s = time.monotonic()
        changes = list(change(ReleaseContext(root, (control,), "bench"), model, options.changes))
        return collect(), changes, switched_s


def push(version: Path, base: Path, number: int) -> None:
    """Copy a pushed version under another number, or as another model, visible at once and whole."""
    hidden = base.parent / f".{base.name}-{number}"
    shutil.copytree(version, hidden)
    write_text(hidden / MANIFEST, replace(Manifest.read(version), model=base.name, version=number).text())
    base.mkdir(exist_ok=True)
    hidden.rename(base / str(number))


def change(context: ReleaseContext, model: str, times: int) -> Iterator[Change]:
    """Promote version 2 and roll it back in turn. Each promotion loads it, each rollback unloads it."""
    for index in range(times):
        began = time.monotonic()
        if index % 2 == 0:
            promote(context, model, 2)
        else:
            rollback(context, model)
        made = Change("rollback" if index % 2 else "promote", time.monotonic() - began)
        if index % 10 == 9:
            say(f"{index + 1} changes, the last took {made.took_s:.2f} s")
        yield made


@contextmanager
def sending(addresses: Addresses, bodies: Bodies, rate: int) -> Iterator[Callable[[], dict[Client, list[Sent]]]]:
    """Run all clients; what is yielded stops them and returns what they sent. Raises RunFailed if one is mute."""
    spawn = multiprocessing.get_context("spawn")
    stop = spawn.Event()
    pipes = {client: spawn.Pipe(duplex=False) for client in CLIENTS}
    processes = [
        spawn.Process(target=send_all, args=(client, addresses, bodies, rate, stop, pipes[client][1]), daemon=True)
        for client in CLIENTS
    ]

    def received(client: Client) -> Any:
        if not pipes[client][0].poll(START_S):
            raise RunFailed(f"the client by {client} says nothing")
        return pipes[client][0].recv()

    def collect() -> dict[Client, list[Sent]]:
        stop.set()
        return {client: received(client) for client in CLIENTS}

    for process in processes:
        process.start()
    try:
        for client in CLIENTS:
            received(client)  # it is ready
        yield collect
    finally:
        for process in processes:
            process.kill()
            process.join()


def send_all(client: Client, addresses: Addresses, bodies: Bodies, rate: int, stop: Any, pipe: Any) -> None:
    """Send at a steady rate until told to stop; say when the first was answered, and then what became of each."""
    send = by_rest(client, addresses.rest, bodies) if client.protocol == "REST" else by_grpc(client, addresses, bodies)
    sent = [_sent(send)]
    pipe.send("ready")
    due = time.monotonic()
    while not stop.is_set():
        due = max(due + 1 / rate, time.monotonic() - 1.0)  # a stall is caught up with, for at most a second
        time.sleep(max(due - time.monotonic(), 0))
        sent.append(_sent(send))
    pipe.send(sent)


def _sent(send: Callable[[], None]) -> Sent:
    began, failure = time.monotonic(), ""
    try:
        send()
    except Exception as error:  # whatever it is, it counts
        failure = f"{type(error).__name__}: {error}"[:300]
    ended = time.monotonic()
    return Sent(ended, (ended - began) * 1000, failure)


def by_rest(client: Client, url: str, bodies: Bodies) -> Callable[[], None]:
    """Return a function that sends one named row and checks the answer."""
    session, body = requests.Session(), bodies.rest(ROW).read_bytes()
    label = f"/labels/{client.label}" if client.label else ""

    def send() -> None:
        answer = session.post(f"{url}/v1/models/{bodies.model}{label}:predict", data=body, timeout=ANSWER_S)
        answer.raise_for_status()
        bodies.check(str(client), ROW, [row["probability"] for row in answer.json()["predictions"]])

    return send


def by_grpc(client: Client, addresses: Addresses, bodies: Bodies) -> Callable[[], None]:
    """Return a function that sends one packed row and checks the answer."""
    request = message("PredictRequest").FromString(bodies.grpc(PACKED_ROW).read_bytes()[5:])
    request.model_spec.version_label = client.label
    channel = grpc.insecure_channel(addresses.grpc, [("grpc.enable_retries", 0)])
    call = channel.unary_unary(METHOD, type(request).SerializeToString, message("PredictResponse").FromString)

    def send() -> None:
        tensor = call(request, timeout=ANSWER_S).outputs["probability"]
        bodies.check(str(client), PACKED_ROW, tensor.float_val or np.frombuffer(tensor.tensor_content, np.float32))

    return send


def summary(sent: dict[Client, list[Sent]], changes: Sequence[Change], switched_s: float) -> dict[str, Any]:
    """Return for each client how its requests fared before and during the changes, and whether every bar is kept."""
    clients = []
    for client, answers in sent.items():
        steady = _load([item for item in answers if item.ended_s < switched_s])
        switching = _load([item for item in answers if item.ended_s >= switched_s])
        failures = [item.failure for item in answers if item.failure]
        times = switching.p99_ms / steady.p99_ms
        kept = not failures and times <= P99_TIMES
        clients.append(
            {
                "client": str(client),
                "failed": len(failures),
                "failures": failures[:10],
                "p99_times": times,
                STEADY: asdict(steady),
                SWITCHING: asdict(switching),
                "kept": kept,
            }
        )
    took = {what: [item.took_s for item in changes if item.what == what] or [0.0] for what in ("promote", "rollback")}
    return {
        "clients": clients,
        "number_of_changes": len(changes),
        "median_s": {what: statistics.median(each) for what, each in took.items()},
        "slowest_s": {what: max(each) for what, each in took.items()},
        "passed": all(item["kept"] for item in clients) and max(took["rollback"]) < ROLLBACK_S,
    }


def markdown(result: dict[str, Any]) -> str:
    rows = []
    for client in result["clients"]:
        steady, switching = client[STEADY], client[SWITCHING]
        times_ms = [f"{phase[key]:.2f}" for phase in (steady, switching) for key in ("p50_ms", "p99_ms")]
        requests_sent = steady["requests"] + switching["requests"]
        ends = (f"{client['p99_times']:.2f}", verdict(client["kept"]))
        rows.append((client["client"], requests_sent, client["failed"], *times_ms, *ends))
    titles = ("client", "requests", "failed", "steady p50, ms", "p99", "switching p50, ms", "p99", "p99 times", "")
    median, slowest = result["median_s"], result["slowest_s"]
    took = ", ".join(f"{what} {median[what]:.2f} and {slowest[what]:.2f}" for what in median)
    failures = [f"- {client['client']}: {failure}" for client in result["clients"] for failure in client["failures"]]
    return "\n".join(
        [
            f"{table(titles, rows)}\n",
            f"{result['number_of_changes']} changes. Seconds, median and slowest: {took}. "
            f"Bars: none fails, p99 ≤ {P99_TIMES:g} times the steady, rollback < {ROLLBACK_S:g} s.",
            *(["", *failures] if failures else []),
        ]
    )


def _load(sent: Sequence[Sent]) -> Load:
    if not sent:
        raise RunFailed("a client sent nothing in one of the two phases")
    p50, p99 = np.percentile([request.took_ms for request in sent], [50, 99])
    seconds = max(sent[-1].ended_s - sent[0].ended_s, 1e-9)
    return Load(len(sent) / seconds, float(p50), float(p99), len(sent))


if __name__ == "__main__":
    start(main)

"""The long-running process: one instance by lease, a round at each interval, its metrics at a port."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import NoReturn

from prometheus_client import CollectorRegistry

from common.errors import EnvironmentProblem
from monitoring.lease import PACE, Pace, held, leave
from monitoring.watch.metrics import WatchCollector
from monitoring.watch.observe import Site
from monitoring.watch.rounds import go_round
from monitoring.watch.server import Access, serving
from monitoring.watch.views import Round

LEASE = "watch.lease"


@dataclass(frozen=True)
class Watch:
    """What is watched, how often, and where it is told."""

    site: Site
    model_servers: str  # HOST:PORT, several divided by commas
    interval_s: float
    host: str
    port: int
    pace: Pace = PACE


def once(watch: Watch) -> Round:
    """Go one round. Raises EnvironmentProblem that says who watches, if somebody does."""
    path = watch.site.var / "monitoring" / LEASE
    with held(path, is_patient=False, say=lambda line: None, end=leave, pace=watch.pace) as lease:
        return go_round(watch.site, watch.model_servers, watch.interval_s, lease.progress)


def forever(
    watch: Watch, access: Access, say: Callable[[str], None], done: Callable[[Round], None], stop: threading.Event
) -> NoReturn:
    """Go round after round, until `stop`; who comes second waits. `done` is given each round.

    Raises KeyboardInterrupt then: a signal alone may be lost in a query, which ends as if it had failed.
    """
    path, collector, registry = watch.site.var / "monitoring" / LEASE, WatchCollector(), CollectorRegistry()
    registry.register(collector)
    with ExitStack() as stack:
        lease = stack.enter_context(held(path, is_patient=True, say=say, end=leave, pace=watch.pace))

        def progress() -> None:
            if stop.is_set():
                raise KeyboardInterrupt
            lease.progress()

        is_listening = False
        while True:
            if not is_listening:
                is_listening = _listen(watch, access, registry, stack, say)
            finished = go_round(watch.site, watch.model_servers, watch.interval_s, progress)
            collector.newest = finished
            done(finished)
            _rest(watch.interval_s - finished.duration_s, watch.pace.stuck_s / 2, stop, progress)


def _listen(
    watch: Watch, access: Access, registry: CollectorRegistry, stack: ExitStack, say: Callable[[str], None]
) -> bool:
    """Open the port; while a watcher that stands still has it, go on without and try again."""
    try:
        port = stack.enter_context(serving(registry, watch.host, watch.port, access))
    except EnvironmentProblem as problem:
        say(f"nobody can read the metrics yet: {problem.what}, {problem.got}")
        return False
    say(f"metrics: http://{watch.host}:{port}/metrics")
    return True


def _rest(seconds: float, step_s: float, stop: threading.Event, progress: Callable[[], None]) -> None:
    while seconds > 0:
        stop.wait(min(seconds, step_s))
        progress()
        seconds -= step_s

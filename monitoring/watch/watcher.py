"""The long-running process: one instance by lease, a round at each interval, its metrics at a port."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import NoReturn

from prometheus_client import CollectorRegistry

from common.errors import EnvironmentProblem
from monitoring.lease import PACE, Lease, Pace, held, leave
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


def forever(watch: Watch, access: Access, say: Callable[[str], None], done: Callable[[Round], None]) -> NoReturn:
    """Go round after round, until the process ends; who comes second waits. `done` is given each round."""
    path, collector, registry = watch.site.var / "monitoring" / LEASE, WatchCollector(), CollectorRegistry()
    registry.register(collector)
    with ExitStack() as stack:
        lease = stack.enter_context(held(path, is_patient=True, say=say, end=leave, pace=watch.pace))
        is_listening = False
        while True:
            if not is_listening:
                is_listening = _listen(watch, access, registry, stack, say)
            collector.newest = go_round(watch.site, watch.model_servers, watch.interval_s, lease.progress)
            done(collector.newest)
            _rest(watch, lease, max(0.0, watch.interval_s - collector.newest.duration_s))


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


def _rest(watch: Watch, lease: Lease, seconds: float) -> None:
    while seconds > 0:
        lease.progress()
        step = min(seconds, watch.pace.stuck_s / 2)
        threading.Event().wait(step)
        seconds -= step

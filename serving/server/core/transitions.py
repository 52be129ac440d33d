"""Load what is wanted and unload the rest, one version giving way to the next without a request failing."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from serving.server.core.versions import Action, Available, Loaded, State, Version, VersionId, next_action
from serving.server.status import Code, StatusError, as_status

if TYPE_CHECKING:
    from serving.server.flags import Options


LOG = logging.getLogger("serving")
TICK_S = 0.1


class Closable(Protocol):
    """What a version loads to."""

    def close(self) -> None:
        """Free it."""


T = TypeVar("T", bound=Closable)


@dataclass(frozen=True)
class ManagerOptions:
    """How to look for versions, to load and to unload them."""

    num_load_threads: int = 0  # once started; 0: one
    num_unload_threads: int = 0  # 0: one
    max_num_load_retries: int = 5
    load_retry_interval_s: float = 60.0  # negative: no wait
    poll_wait_s: float = 1.0  # between two looks for versions; 0: only at the start and at a reload; negative: never
    allows_labels_for_unavailable: bool = False

    @staticmethod
    def of(flags: Options) -> ManagerOptions:
        return ManagerOptions(
            flags.num_load_threads,
            flags.num_unload_threads,
            flags.max_num_load_retries,
            flags.load_retry_interval_micros / 1e6,
            float(flags.file_system_poll_wait_seconds),
            flags.allow_version_labels_for_unavailable_models,
        )


class Transitions(Generic[T]):
    """The records of all versions, a thread that decides what comes next, and pools that load and unload.

    `changed` guards everything here but `available`, and tells of every change.
    """

    def __init__(self, load: Callable[[VersionId, Path], T], options: ManagerOptions) -> None:
        self.changed = threading.Condition()
        self.available: Available[T] = Available()
        self.versions: dict[str, dict[int, Version[T]]] = {}
        self.is_stopped = False
        self._wanted: dict[str, Mapping[int, Path]] = {}
        self._load_version = load
        self._options = options
        # all models load in parallel at the start, when nothing is served yet
        self._loads = _pool("serving-load", 4 * len(os.sched_getaffinity(0)))
        self._unloads = _pool("serving-unload", options.num_unload_threads)
        self._ticks = Periodic("serving-manager", self._tick, TICK_S)

    def start(self) -> None:
        self._ticks.start()

    def want(self, versions: Mapping[str, Mapping[int, Path]]) -> None:
        with self.changed:
            if self.is_stopped:
                return
            self._wanted.update(versions)
            self._aspire()
        self._ticks.wake()

    def end_initial_load(self) -> None:
        with self.changed:
            initial, self._loads = self._loads, _pool("serving-load", self._options.num_load_threads)
        initial.shutdown(wait=False)

    def in_state(self, state: State) -> list[Version[T]]:
        return [version for known in self.versions.values() for version in known.values() if version.state is state]

    def stop(self, timeout_s: float) -> None:
        """Refuse new requests and unload all versions, waiting so long for those in use."""
        with self.changed:
            self.is_stopped = True
            self._wanted = {name: {} for name in self.versions}
        self._ticks.stop(TICK_S)
        self._loads.shutdown(wait=False, cancel_futures=True)
        self._tick()
        with self.changed:
            self.changed.wait_for(lambda: not self.in_state(State.UNLOADING), timeout_s)
        self._unloads.shutdown()

    # --- in the manager's thread

    def _tick(self) -> None:
        with self.changed:
            self._aspire()
            while (step := self._next()) is not None:
                action, version = step
                if action is Action.LOAD:
                    self._submit_load(version)
                else:
                    self._retire(version)
            now = time.monotonic()
            for version in self.in_state(State.LOADING):
                if version.retry_at is not None and version.retry_at <= now:
                    self._submit_load(version)
            self.changed.notify_all()

    def _aspire(self) -> None:
        for name, wanted in self._wanted.items():
            known = self.versions.setdefault(name, {})
            for number, version in known.items():
                if number not in wanted:
                    version.is_aspired = False
                    if version.state is State.START:
                        version.end()
                    elif version.retry_at is not None:
                        version.end(_cancelled())
            for number, path in wanted.items():
                old = known.get(number)
                if old is None or (old.state is State.END and not old.is_aspired):
                    known[number] = Version(VersionId(name, number), path)
                elif old.state is State.AVAILABLE:
                    old.is_aspired = True
                # one that is going, or whose load was given up, must have ended first

    def _next(self) -> tuple[Action, Version[T]] | None:
        every = (next_action(known.values(), bool(self._wanted[name])) for name, known in self.versions.items())
        return min((step for step in every if step is not None), key=lambda step: step[0].value, default=None)

    def _submit_load(self, version: Version[T]) -> None:
        LOG.info("Loading servable version %s", version.id)
        version.state, version.retry_at = State.LOADING, None
        self._loads.submit(self._load, version)

    def _retire(self, version: Version[T]) -> None:
        if version.loaded is None:
            raise AssertionError(f"{version.id} is available, but not loaded")
        LOG.info("Unloading servable version %s", version.id)
        version.state = State.UNLOADING
        self.available.remove(version.loaded)
        version.loaded.retire(lambda: self._unload_later(version))

    # --- in the pools' threads

    def _load(self, version: Version[T]) -> None:
        try:
            servable = None if self._is_given_up(version) else self._load_version(version.id, version.path)
        except Exception as error:  # the edge: a broken model must not end the server
            self._fail(version, *_words(error))
        else:
            self._serve(version, servable)
        self._ticks.wake()

    def _is_given_up(self, version: Version[T]) -> bool:
        return self.is_stopped or not version.is_aspired

    def _serve(self, version: Version[T], servable: T | None) -> None:
        with self.changed:
            if servable is not None and not self._is_given_up(version):
                version.loaded = Loaded(version.id.name, version.id.version, servable)
                version.state = State.AVAILABLE
                self.available.add(version.loaded)
                LOG.info("Successfully loaded servable version %s", version.id)
                return
        if servable is not None:
            _close(servable, version.id)
        with self.changed:
            version.end(_cancelled())

    def _fail(self, version: Version[T], code: Code, message: str) -> None:
        with self.changed:
            version.failures += 1
            if self._is_given_up(version):
                version.end(_cancelled())
            elif version.failures <= self._options.max_num_load_retries:
                LOG.warning("Loading servable version %s failed, will retry: %s: %s", version.id, code.name, message)
                version.retry_at = time.monotonic() + max(self._options.load_retry_interval_s, 0.0)
            else:
                LOG.error("Servable %s cannot be loaded: %s: %s", version.id, code.name, message)
                version.end(StatusError(code, message))

    def _unload_later(self, version: Version[T]) -> None:
        try:
            self._unloads.submit(self._unload, version)
        except RuntimeError:  # the pool has ended, and the process will
            LOG.info("Leaving servable version %s to the end of the process", version.id)

    def _unload(self, version: Version[T]) -> None:
        if version.loaded is not None:
            _close(version.loaded.servable, version.id)
        with self.changed:
            version.end()
            self.changed.notify_all()
        LOG.info("Done unloading servable version %s", version.id)
        self._ticks.wake()


def _pool(name: str, threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(max(threads, 1), thread_name_prefix=name)


def _cancelled() -> StatusError:
    return StatusError(Code.CANCELLED, "Loading of servable cancelled")


def _words(error: Exception) -> tuple[Code, str]:
    """Return what is told of an error; a name for it in the caller's frame would keep alive what failed to load."""
    status = as_status(error)
    return status.code, status.message


def _close(servable: Closable, version: VersionId) -> None:
    try:
        servable.close()
    except Exception:  # the edge: what cannot be freed must not stop the transitions
        LOG.exception("Closing servable version %s failed", version)


class Periodic:
    """Call a function every so often, or sooner when woken, until stopped; what it raises is logged."""

    def __init__(self, name: str, function: Callable[[], None], interval_s: float | None) -> None:
        """Take the seconds between two calls; None: only when woken."""
        self._function = function
        self._interval_s = interval_s
        self._wake = threading.Event()
        self._is_stopped = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def wake(self) -> None:
        self._wake.set()

    def stop(self, timeout_s: float | None = None) -> None:
        """End after the present call, and wait so long for it."""
        self._is_stopped = True
        self._wake.set()
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join(timeout_s)

    def _run(self) -> None:
        while not self._is_stopped:
            try:
                self._function()
            except Exception:  # the edge of the thread: nobody else would see it
                LOG.exception("%s failed and goes on", self._thread.name)
            self._wake.wait(self._interval_s)
            self._wake.clear()

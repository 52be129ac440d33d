"""A thread that does one thing over and over."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

LOG = logging.getLogger("serving")


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
        """Begin with a first call, at once."""
        self._thread.start()

    def wake(self) -> None:
        """Have the function called soon."""
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

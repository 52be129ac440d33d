"""Python's garbage collector, in a process that answers requests."""

from __future__ import annotations

import gc

THRESHOLD = (50_000, 20, 20)


def spare_collections() -> None:
    """Look once through what the imports left, and rarely at the rest.

    A collection stops all requests, for 0.2 s with all of TensorFlow, and requests leave next to no cycles.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*THRESHOLD)

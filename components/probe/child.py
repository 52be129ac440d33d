"""Load a model in a process of its own and replay its golden rows: `["MODEL", "OUT.json"]` comes on standard input.

Nothing of the training process can help the model here, and a crash of the loader takes down nobody else.
"""

from __future__ import annotations

import importlib
import json
import os
import resource
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

CALLS = 30


@dataclass(frozen=True)
class SignatureReport:
    """What one signature did: largest difference of a probability, labels that differ, median time of one row."""

    signature: str
    error: str | None = None
    largest_difference: float = float("nan")
    wrong_labels: int = 0
    latency_ms: float = float("nan")


@dataclass(frozen=True)
class ProbeReport:
    """What the fresh process saw."""

    load_error: str | None
    load_s: float
    memory_mb: float
    signatures: tuple[SignatureReport, ...]


def probe(folder: Path) -> ProbeReport:
    import tensorflow as tf

    from serving.repository.contents import Golden
    from serving.server.core.servable import Servable
    from serving.server.status import StatusError

    golden = Golden.read(folder)
    started = time.monotonic()
    try:
        servable = Servable.load(folder)
    except (StatusError, tf.errors.OpError, RuntimeError, ValueError, OSError, KeyError) as error:
        return ProbeReport(_first_line(error), time.monotonic() - started, _memory_mb(), ())
    load_s = time.monotonic() - started
    reports = tuple(_replay(servable, name, inputs, golden) for name, inputs in golden.inputs.items())
    servable.close()
    return ProbeReport(None, load_s, _memory_mb(), reports)


def _replay(servable: Any, signature: str, inputs: dict[str, list[Any]], golden: Any) -> SignatureReport:
    import numpy as np
    import tensorflow as tf

    from serving.repository.contents import plain
    from serving.server.core.servable import as_array
    from serving.server.status import StatusError

    try:
        arrays = {name: as_array(plain(v), servable.dtype(signature, name)) for name, v in inputs.items()}
        outputs = servable.run(signature, arrays)
        first = {name: array[:1] for name, array in arrays.items()}
        times_ms = []
        for _ in range(CALLS):
            started = time.perf_counter()
            servable.run(signature, first)
            times_ms.append((time.perf_counter() - started) * 1000)
    except (StatusError, tf.errors.OpError, RuntimeError, ValueError, KeyError) as error:
        return SignatureReport(signature, error=_first_line(error))
    wanted = np.asarray(golden.probabilities)
    got = np.asarray(outputs["probabilities"])
    if got.shape != wanted.shape:
        return SignatureReport(signature, error=f"probabilities have the shape {got.shape}, wanted {wanted.shape}")
    labels = [value.decode() for value in outputs["label"]]
    return SignatureReport(
        signature,
        # NaN compares as no difference in max(): make it infinite
        largest_difference=float(np.nan_to_num(np.abs(got - wanted), nan=np.inf).max()),
        wrong_labels=sum(a != b for a, b in zip(labels, golden.labels, strict=True)),
        latency_ms=float(np.median(times_ms)),
    )


def _first_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else ''}"


def _memory_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    """Import what takes long, then probe the model named by the first line of standard input, if one comes."""
    importlib.import_module("serving.server.core.servable")
    if order := sys.stdin.readline():
        model, out = json.loads(order)
        Path(out).write_text(json.dumps(asdict(probe(Path(model)))), encoding="utf-8")
    os._exit(0)  # TensorFlow takes seconds to tear itself down


if __name__ == "__main__":
    main()

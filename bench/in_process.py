"""Limit (a): session calls on the pushed model in one process, with nothing around them.

Run: `python -m bench.in_process VERSION_FOLDER`. Each line of input is a JSON object with `signature`,
`rows`, `threads` and `seconds`; each is answered by a line with `calls`, `seconds`, `p50_ms`, `p99_ms`.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

from serving.server.core.servable import Servable, as_array


def main(version: Path) -> None:
    """Answer until the input ends."""
    servable = Servable.load(version)
    columns = json.loads((version / "assets.extra" / "golden.json").read_text(encoding="utf-8"))["inputs"]
    for line in sys.stdin:
        order = json.loads(line)
        signature, rows = order["signature"], order["rows"]
        inputs = {
            name: np.resize(array, (rows, *array.shape[1:]))
            for name, values in columns[signature].items()
            for array in [as_array(values, servable.dtype(signature, name))]
        }
        print(json.dumps(measured(servable, signature, inputs, order["threads"], order["seconds"])), flush=True)


def measured(
    servable: Servable, signature: str, inputs: dict[str, Any], threads: int, seconds: float
) -> dict[str, float]:
    servable.run(signature, inputs)
    took: list[list[float]] = [[] for _ in range(threads)]
    begin = time.perf_counter()
    stop = begin + seconds

    def work(mine: list[float]) -> None:
        started = time.perf_counter()
        while started < stop:
            servable.run(signature, inputs)
            ended = time.perf_counter()
            mine.append(ended - started)
            started = ended

    workers = [threading.Thread(target=work, args=(mine,)) for mine in took]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    elapsed = time.perf_counter() - begin
    p50, p99 = np.percentile([took_s for mine in took for took_s in mine], [50, 99]) * 1000
    return {"calls": sum(map(len, took)), "seconds": elapsed, "p50_ms": float(p50), "p99_ms": float(p99)}


if __name__ == "__main__":
    main(Path(sys.argv[1]))

"""Measure our ExampleGen: rows per second, and whether its peak memory stays flat.

Each size is read in a fresh process that imports, then times the executor's `Do` with the component's own execution
properties. Rates leave out the imports; process seconds (from its start to the end of `Do`) and peak memory do not.
"""

from __future__ import annotations

import json
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench.report import ROOT, RunFailed, finish, parser, start, table

FEATURES = 30
LABEL, CLASSES = "label", ("0", "1")
MOST_GROWTH = 1.10  # of peak memory, from the fewest rows to the most
CHUNK_ROWS = 50_000


@dataclass(frozen=True)
class Run:
    rows: int
    do_s: float
    process_s: float
    peak_mb: float

    @property
    def rows_per_s(self) -> float:
        return self.rows / self.do_s


def main() -> None:
    options = parser("examples", __doc__)
    options.add_argument("--rows", type=int, nargs="+", default=[100_000, 1_000_000], help="sizes (%(default)s)")
    options.add_argument("--images", action="store_true", help="read small pictures instead of lines of a CSV file")
    given = options.parse_args()
    runs: list[Run] = []
    with tempfile.TemporaryDirectory() as folder:
        for count in sorted(given.rows):
            source = Path(folder) / f"{count}" / ("pictures" if given.images else "rows.csv")
            (write_pictures if given.images else write_csv)(source, count)
            runs.append(measure(source, count, Path(folder) / f"out-{count}"))
            shutil.rmtree(source.parent)
    growth = round(runs[-1].peak_mb / runs[0].peak_mb, 2)
    passed = growth <= MOST_GROWTH
    numbers = {"runs": [asdict(run) for run in runs], "memory_growth": growth, "passed": passed}
    finish(markdown(runs, growth), numbers, given.out, passed=passed)


def write_csv(file: Path, rows: int) -> None:
    """Write random examples: 30 normal floats with six decimals and a label."""
    import pyarrow as pa
    import pyarrow.csv

    random = np.random.default_rng(rows)
    names = [f"feature_{i:02d}" for i in range(FEATURES)]
    schema = pa.schema([(name, pa.float64()) for name in names] + [(LABEL, pa.int64())])
    file.parent.mkdir(parents=True)
    headless = pa.csv.WriteOptions(include_header=False)  # quoted, as Arrow writes it, its lines are not counted
    with file.open("wb") as raw:
        raw.write(",".join(schema.names).encode() + b"\n")
        with pa.csv.CSVWriter(raw, schema, write_options=headless) as writer:
            for begin in range(0, rows, CHUNK_ROWS):
                values = random.normal(size=(FEATURES, min(CHUNK_ROWS, rows - begin))).round(6)
                labels = (values[0] > 0.3).astype(np.int64)
                writer.write(pa.RecordBatch.from_arrays([*map(pa.array, values), pa.array(labels)], schema=schema))


def write_pictures(folder: Path, count: int) -> None:
    """Write random pictures of 28 pixels a side as PNG, in a folder for each class."""
    from PIL import Image

    random = np.random.default_rng(count)
    for number in range(count):
        place = folder / CLASSES[number % 2] / f"{number // 1000:03d}"
        place.mkdir(parents=True, exist_ok=True)
        coarse = Image.fromarray(random.integers(0, 256, (6, 6, 3), np.uint8))
        coarse.resize((28, 28), Image.Resampling.BICUBIC).save(place / f"{number:06d}.png")


def measure(source: Path, rows: int, out: Path) -> Run:
    begin = time.monotonic()
    code = f"from bench.examples import child; child({str(source)!r}, {str(out)!r})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT)
    if done.returncode:
        raise RunFailed(f"ExampleGen failed at {rows} rows", got=done.stderr[-2000:])
    reported = json.loads(done.stdout.splitlines()[-1])
    if reported["rows"] != rows:
        raise RunFailed("ExampleGen lost rows", got=reported["rows"], wanted=str(rows))
    return Run(rows, round(reported["do_s"], 2), round(reported["end"] - begin, 2), round(reported["peak_mb"]))


def child(source: str, out: str) -> None:
    """Read a file; print time and memory, taken when `Do` ends, and the rows in what was written."""
    import tensorflow as tf
    from tfx.dsl.components.base.base_executor import BaseExecutor
    from tfx.types import standard_artifacts

    from components.examples.component import make_example_gen
    from config.data_settings import DataSettings
    from config.model_settings import ModelSettings
    from config.settings import Settings

    kind = "images" if Path(source).is_dir() else "csv"
    data = DataSettings(source=Path(source), format=kind, label=LABEL, classes=CLASSES)
    model = ModelSettings(kind="cnn" if data.is_images else "dense")
    component = make_example_gen(Settings(name="bench", data=data, model=model), None)
    context = BaseExecutor.Context(tmp_dir=f"{out}/.temp", unique_id="1")
    executor = component.executor_spec.executor_class(context)
    examples = standard_artifacts.Examples()
    examples.uri = out
    properties: dict[str, Any] = component.exec_properties
    begin = time.monotonic()
    executor.Do({}, {"examples": [examples]}, properties)
    end = time.monotonic()  # the system's clock, so that the parent's readings compare
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    files = tf.io.gfile.glob(f"{out}/Split-*/*")
    batches = tf.data.TFRecordDataset(files, compression_type="GZIP").batch(10_000)
    rows = sum(len(batch) for batch in batches.as_numpy_iterator())
    print(json.dumps({"do_s": end - begin, "end": end, "peak_mb": peak_mb, "rows": rows}))


def markdown(runs: Sequence[Run], growth: float) -> str:
    rows = [(f"{r.rows:,}", f"{r.rows_per_s:,.0f}", r.do_s, r.process_s, f"{r.peak_mb:,.0f}") for r in runs]
    return (
        f"{table(('rows', 'rows/s', 'Do, s', 'process, s', 'peak MB'), rows)}\n\n"
        f"Peak memory grew {growth} x from fewest to most rows; bar: {MOST_GROWTH:g} x."
    )


if __name__ == "__main__":
    start(main)

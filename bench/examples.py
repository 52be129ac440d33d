"""Compare our ExampleGen with TFX's CsvExampleGen: rows per second and peak memory.

Each run is a fresh process that imports, then times the executor's `Do` with the component's own execution properties,
on the same CSV and with the same splits. Rates leave out the imports, which both need; process seconds (from its
start to the end of `Do`) and peak memory include them.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from common.files import write_text

FEATURES = 30
LABEL, CLASSES = "label", ("0", "1")
LEAST_SPEEDUP = 8.0
MOST_GROWTH = 1.10  # of peak memory, from the fewest rows to the most
_CHUNK_ROWS = 50_000


@dataclass(frozen=True)
class Run:
    reader: str
    rows: int
    do_s: float
    process_s: float
    peak_mb: float

    @property
    def rows_per_s(self) -> float:
        return self.rows / self.do_s


def main() -> None:
    """Measure, print a Markdown table, and fail if a bar is missed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[100_000, 1_000_000], help="sizes (%(default)s)")
    parser.add_argument(
        "--stock-rows",
        type=int,
        default=100_000,
        help="CsvExampleGen is measured up to this size (%(default)s): 1M takes it minutes and 5 GB",
    )
    parser.add_argument("--out", type=Path, help="write the numbers as JSON")
    options = parser.parse_args()
    rows, stock_rows, out = options.rows, options.stock_rows, options.out
    runs: list[Run] = []
    with tempfile.TemporaryDirectory() as folder:
        for count in sorted(rows):
            source = Path(folder) / f"{count}" / "rows.csv"
            write_csv(source, count)
            readers = ["ours", "stock"] if count <= stock_rows else ["ours"]
            runs += [measure(reader, source, count, Path(folder) / f"{reader}-{count}") for reader in readers]
            source.unlink()
    result = summary(runs)
    print(markdown(runs, result))
    if out:
        write_text(out, json.dumps({"runs": [asdict(run) for run in runs], **result}, indent=2) + "\n")
    sys.exit(0 if result["passed"] else 1)


def write_csv(file: Path, rows: int) -> None:
    """Write random examples: 30 normal floats with six decimals and a label."""
    import pyarrow as pa
    import pyarrow.csv

    random = np.random.default_rng(rows)
    names = [f"feature_{i:02d}" for i in range(FEATURES)]
    schema = pa.schema([(name, pa.float64()) for name in names] + [(LABEL, pa.int64())])
    file.parent.mkdir(parents=True)
    headless = pa.csv.WriteOptions(include_header=False)
    with file.open("wb") as raw:
        raw.write(",".join(schema.names).encode() + b"\n")
        writer = pa.csv.CSVWriter(raw, schema, write_options=headless)
        for begin in range(0, rows, _CHUNK_ROWS):
            count = min(_CHUNK_ROWS, rows - begin)
            values = random.normal(size=(FEATURES, count)).round(6)
            labels = (values[0] > 0.3).astype(np.int64)
            writer.write(pa.RecordBatch.from_arrays([*map(pa.array, values), pa.array(labels)], schema=schema))
        writer.close()


def measure(reader: str, source: Path, rows: int, out: Path) -> Run:
    begin = time.monotonic()
    code = f"from bench.examples import child; child({reader!r}, {str(source)!r}, {str(out)!r})"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
        cwd=Path(__file__).resolve().parent.parent,
    )
    if done.returncode:
        raise SystemExit(f"{reader} failed at {rows} rows:\n{done.stderr[-2000:]}")
    reported = json.loads(done.stdout.splitlines()[-1])
    if reported["rows"] != rows:
        raise SystemExit(f"{reader} wrote {reported['rows']} of {rows} rows")
    return Run(reader, rows, round(reported["do_s"], 2), round(reported["end"] - begin, 2), round(reported["peak_mb"]))


def child(reader: str, source: str, out: str) -> None:
    """Run one reader on a file; print time and memory, taken when `Do` ends, and the rows in what it wrote."""
    import tensorflow as tf
    from tfx.types import standard_artifacts

    component = _ours(Path(source)) if reader == "ours" else _stock(Path(source))
    executor = component.executor_spec.executor_class(_context(component, Path(out)))
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


def summary(runs: Sequence[Run]) -> dict[str, Any]:
    """Hold the runs against the bars. The speed-up is taken at the largest size that both were measured at."""
    ours = {run.rows: run for run in runs if run.reader == "ours"}
    stock = {run.rows: run for run in runs if run.reader == "stock"}
    common = max(set(ours) & set(stock), default=None)
    speedup = round(stock[common].do_s / ours[common].do_s, 1) if common else None
    growth = round(ours[max(ours)].peak_mb / ours[min(ours)].peak_mb, 2)
    passed = growth <= MOST_GROWTH and (speedup is None or speedup >= LEAST_SPEEDUP)
    return {"speedup": speedup, "speedup_at_rows": common, "memory_growth": growth, "passed": passed}


def markdown(runs: Sequence[Run], result: dict[str, Any]) -> str:
    names = {"ours": "Vouch", "stock": "CsvExampleGen"}
    lines = ["| reader | rows | rows/s | Do, s | process, s | peak MB |", "|---|---|---|---|---|---|"]
    lines += [
        f"| {names[r.reader]} | {r.rows:,} | {r.rows_per_s:,.0f} | {r.do_s} | {r.process_s} | {r.peak_mb:,.0f} |"
        for r in runs
    ]
    compared = result["speedup_at_rows"]
    speed = f"{result['speedup']} x faster at {compared:,} rows" if compared else "not compared with CsvExampleGen"
    if compared and compared < max(run.rows for run in runs):
        speed += " (CsvExampleGen was not run on more)"
    lines += [
        "",
        f"{speed}; bar: {LEAST_SPEEDUP:g} x.",
        f"Peak memory grew {result['memory_growth']} x from fewest to most rows; bar: {MOST_GROWTH:g} x.",
        "rows/s and Do leave out the imports, the other columns do not.",
    ]
    return "\n".join(lines)


def _ours(source: Path) -> Any:
    from components.examples import make_example_gen
    from config.settings import DataSettings, Settings

    return make_example_gen(
        Settings(name="bench", data=DataSettings(source=source, label=LABEL, classes=CLASSES)), None
    )


def _stock(source: Path) -> Any:
    from tfx.components import CsvExampleGen
    from tfx.proto import example_gen_pb2

    weights = {"train": 64, "eval": 16, "test": 20}
    splits = [example_gen_pb2.SplitConfig.Split(name=name, hash_buckets=w) for name, w in weights.items()]
    config = example_gen_pb2.Output(split_config=example_gen_pb2.SplitConfig(splits=splits))
    return CsvExampleGen(input_base=str(source.parent), output_config=config)


def _context(component: Any, out: Path) -> Any:
    """Return what the launcher would hand the executor; Beam runs in memory, the fastest way on one machine."""
    from tfx.dsl.components.base.base_beam_executor import BaseBeamExecutor
    from tfx.dsl.components.base.base_executor import BaseExecutor

    scratch = str(out / ".temp")
    if issubclass(component.executor_spec.executor_class, BaseBeamExecutor):
        arguments = ["--runner=DirectRunner", "--direct_running_mode=in_memory"]
        return BaseBeamExecutor.Context(beam_pipeline_args=arguments, tmp_dir=scratch, unique_id="1")
    return BaseExecutor.Context(tmp_dir=scratch, unique_id="1")


if __name__ == "__main__":
    main()

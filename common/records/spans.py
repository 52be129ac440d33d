"""What lies beside the examples of a collected span; names that begin with `_` are no examples."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

PROVENANCE, SET_ASIDE, SUMMARY = "_provenance.parquet", "_set_aside.parquet", "_span.json"
IS_SYNTHETIC = "is_synthetic"


def synthetic_rows(folder: Path) -> int:
    """Return how many of a folder's examples are made up, by where they come from; nobody knows of any, none."""
    try:
        return int(pc.sum(pq.read_table(folder / PROVENANCE, columns=[IS_SYNTHETIC])[IS_SYNTHETIC]).as_py() or 0)
    except (OSError, pa.ArrowException, KeyError):
        return 0

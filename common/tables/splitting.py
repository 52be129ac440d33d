"""Share rows out by a hash of their content, or by their time.

The hash is defined here and nowhere else, on purpose: whatever Python, NumPy or file format, however the columns or
rows are ordered and whatever rows are added, a row stays in its split. Numbers enter as the bits of a float64, texts by
BLAKE2b, missing values not at all; each value is mixed with its column's name and the results are added.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

Hashes = NDArray[np.uint64]
_SHIFTS = (np.uint64(30), np.uint64(27), np.uint64(31))
_FACTORS = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))


class Splitter:
    """Assign rows to splits. Rows that differ only in the label, or that share a group, stay together."""

    def __init__(self, weights: Sequence[int], label: str, group_by: str | None, seed: int) -> None:
        self._bounds = np.cumsum(np.asarray(weights, np.uint64))
        self._label, self._group_by = label, group_by
        self._salt = _text_hash(f"seed {seed}")

    def assign(self, batch: pa.RecordBatch) -> NDArray[np.intp]:
        keys = [self._group_by] if self._group_by else [n for n in batch.schema.names if n != self._label]
        return _dealt(_mixed(row_hashes(batch, keys) ^ self._salt), self._bounds)


class RowSplitter:
    """Assign each row by all it holds, label included, and by how many such rows came before it.

    So equal rows are shared out too, and as nobody can tell which of them is which, a row that is added moves none.
    Keeps some hundred bytes for each different row.
    """

    def __init__(self, weights: Sequence[int], seed: int) -> None:
        self._bounds = np.cumsum(np.asarray(weights, np.uint64))
        self._salt = _text_hash(f"seed {seed}")
        self._counts: dict[int, int] = {}

    def assign(self, batch: pa.RecordBatch) -> NDArray[np.intp]:
        hashes = row_hashes(batch, batch.schema.names)
        distinct, kinds, counts = np.unique(hashes, return_inverse=True, return_counts=True)
        before = np.array([self._counts.get(kind, 0) for kind in distinct.tolist()], np.uint64)
        self._counts.update(zip(distinct.tolist(), (before + counts.astype(np.uint64)).tolist(), strict=True))
        place = np.empty(len(hashes), np.uint64)
        place[np.argsort(kinds, kind="stable")] = np.arange(len(hashes)) - np.repeat(np.cumsum(counts) - counts, counts)
        return _dealt(_mixed(_mixed(hashes ^ self._salt) + place + before[kinds]), self._bounds)


class TimeSplitter:
    """Assign rows by their time: the earliest to the first split, rows of one time to one split.

    `test_from`: when the last split begins.
    """

    def __init__(self, weights: Sequence[int], times: NDArray[np.float64]) -> None:
        """Take the times of all rows, in any order."""
        shares = np.cumsum(weights[:-1]) / sum(weights)
        places = np.minimum(np.round(shares * len(times)).astype(np.intp), max(len(times) - 1, 0))
        self._cuts = np.sort(times)[places] if len(times) else np.zeros(len(shares))
        self.test_from = float(self._cuts[-1])

    def assign(self, times: NDArray[np.float64]) -> NDArray[np.intp]:
        return np.searchsorted(self._cuts, times, side="right")


def _dealt(hashes: Hashes, bounds: Hashes) -> NDArray[np.intp]:
    return np.searchsorted(bounds, hashes % bounds[-1], side="right")


class Digest:
    """Condense the content of all rows, label included, whatever their order."""

    def __init__(self) -> None:
        self._rows = 0
        self._sums = np.zeros(2, np.uint64)

    def add(self, batch: pa.RecordBatch) -> None:
        first = _mixed(row_hashes(batch, batch.schema.names))
        self._rows += batch.num_rows
        self._sums += np.asarray([first.sum(), _mixed(first).sum()], np.uint64)

    def hexdigest(self) -> str:
        """Return the SHA-256 over the number of rows and the sums of their hashes."""
        return hashlib.sha256(f"{self._rows} {self._sums[0]} {self._sums[1]}".encode()).hexdigest()


def row_hashes(batch: pa.RecordBatch, columns: Sequence[str]) -> Hashes:
    """Return the sum over columns of each value's hash, `[rows]` uint64; missing values add nothing."""
    total = np.zeros(batch.num_rows, np.uint64)
    for name in columns:
        column = batch.column(name)
        hashes = _mixed(_value_bits(column) ^ _text_hash(f"column {name}"))
        if column.null_count:
            hashes[column.is_null().to_numpy(zero_copy_only=False)] = 0
        total += hashes
    return total


def _value_bits(column: Any) -> Hashes:
    if pa.types.is_string(column.type):
        encoded = column.dictionary_encode()
        known = np.asarray([_text_hash(text) for text in encoded.dictionary.to_pylist()] or [_text_hash("")])
        return known[encoded.indices.fill_null(0).to_numpy(zero_copy_only=False)]
    values = column.fill_null(0).to_numpy(zero_copy_only=False).astype(np.float64)
    return (values + 0.0).view(np.uint64)  # adding turns -0.0 into 0.0


def _text_hash(text: str) -> np.uint64:
    return np.uint64(int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little"))


def _mixed(bits: Hashes) -> Hashes:
    """Spread every bit over all (the finalizer of SplitMix64, Steele, Lea and Flood 2014). Returns a new array."""
    bits = bits ^ (bits >> _SHIFTS[0])
    bits *= _FACTORS[0]
    bits ^= bits >> _SHIFTS[1]
    bits *= _FACTORS[1]
    bits ^= bits >> _SHIFTS[2]
    return bits

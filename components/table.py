"""Rows of a split as read, free of TensorFlow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Table:
    """Rows as read: `[rows, n] float64` numbers with NaN for missing, `[rows, k] object` texts, `[rows]` targets, class
    indices or numbers.

    `groups [rows]`: the values of the column whose rows stay together, if there is one.
    """

    numbers: NDArray[np.float64]
    texts: NDArray[Any]
    targets: NDArray[Any]
    groups: NDArray[Any] | None = None

    @staticmethod
    def joined(parts: Sequence[Table], numbers: int, texts: int) -> Table:
        """Return the rows of all parts; without any, none of so many columns."""
        if not parts:
            return Table(np.zeros((0, numbers)), np.zeros((0, texts), object), np.zeros(0, np.int64))
        return Table(
            np.concatenate([part.numbers for part in parts]),
            np.concatenate([part.texts for part in parts]),
            np.concatenate([part.targets for part in parts]),
            None if parts[0].groups is None else np.concatenate([part.groups for part in parts]),
        )

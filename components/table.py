"""Rows of a split as plain arrays: what the plain models, the report and the showcase look at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

NO_INTEGER = -(2**63)  # stands for a missing integer code; TensorFlow's parser has no other way


@dataclass(frozen=True)
class Table:
    """Rows as read: `[rows, n] float64` numbers with NaN for missing, `[rows, k] object` texts, `[rows]` classes."""

    numbers: NDArray[np.float64]
    texts: NDArray[Any]
    classes: NDArray[np.int64]

    @staticmethod
    def joined(parts: Sequence[Table], numbers: int, texts: int) -> Table:
        """Return the rows of all parts; without any, none of so many columns."""
        if not parts:
            return Table(np.zeros((0, numbers)), np.zeros((0, texts), object), np.zeros(0, np.int64))
        return Table(
            np.concatenate([part.numbers for part in parts]),
            np.concatenate([part.texts for part in parts]),
            np.concatenate([part.classes for part in parts]),
        )

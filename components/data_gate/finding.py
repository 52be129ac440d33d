"""What a check hands over: a finding in the making, and how to recognise the rows behind it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from components.data_gate.blocks import Block

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Suspicion:
    """One thing noticed. `where` tells which rows of a block are meant; `cure` is what a person can do.

    `usual` takes the place of the kind's default severity. `counts_rows` says whether the text lacks the number of
    rows, so that it is added once they are found.
    """

    kind: str
    text: str
    feature: str | None = None
    splits: tuple[str, ...] = ()
    where: Callable[[Block], Mask] | None = None
    cure: str = ""
    usual: Literal["error", "warn", "info"] | None = None
    counts_rows: bool = False
    details: dict[str, Any] = field(default_factory=dict)

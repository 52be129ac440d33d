"""The rows that travel with a version: a sample of what it was trained on, and of what was held out to test it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.errors import DataError
from serving.repository.layout import SHOWCASE


@dataclass(frozen=True)
class Sample:
    """Rows of one split with their true labels. A missing value is None. `rows`: of the whole split."""

    columns: Mapping[str, Sequence[Any]]
    labels: tuple[str, ...]
    rows: int

    def __len__(self) -> int:
        return len(self.labels)

    def row(self, number: int) -> dict[str, Any]:
        """Return a row by its number from 0, missing values left out. Raises IndexError."""
        row = {name: values[number] for name, values in self.columns.items()}
        return {name: value for name, value in row.items() if value is not None}


@dataclass(frozen=True)
class Showcase:
    """Evenly thinned samples of the training split and of the test split."""

    train: Sample
    test: Sample

    @staticmethod
    def read(folder: Path) -> Showcase | None:
        """Read a version's showcase, None if it was pushed without. Raises DataError if the file is none."""
        path = folder / SHOWCASE
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
            return Showcase(_sample(document["train"]), _sample(document["test"]))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise DataError(f"cannot read {path}", got=error, fix="push the model again") from None


def _sample(part: Mapping[str, Any]) -> Sample:
    columns, labels = {name: tuple(values) for name, values in part["columns"].items()}, tuple(part["labels"])
    lengths = {len(values) for values in columns.values()}
    if lengths - {len(labels)}:
        raise ValueError(f"columns of {sorted(lengths)} rows and {len(labels)} labels")
    return Sample(columns, labels, int(part.get("rows", len(labels))))

"""Golden rows: real rows of the eval split with the answers they must get. They travel with the model."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components.verdict import write_text

DEFAULT = "serving_default"  # the three signatures of a model, DESIGN 3
EXAMPLES = "serving_examples"
PACKED = "serving_packed"
FOLDER = "assets.extra"  # TF Serving's name for files that travel with a model and are not loaded
FILE_NAME = "golden.json"
Inputs = dict[str, dict[str, list[Any]]]  # signature: input: values


@dataclass(frozen=True)
class Golden:
    """Rows as each signature takes them, in TF Serving's columnar REST form, and the outputs wanted."""

    inputs: Inputs
    probabilities: list[list[float]]
    labels: list[str]

    def write(self, model_folder: Path) -> None:
        """Write `assets.extra/golden.json`. Missing numbers stand as NaN, which TF Serving's JSON allows."""
        write_text(model_folder / FOLDER / FILE_NAME, json.dumps(vars(self)) + "\n")

    @staticmethod
    def read(model_folder: Path) -> Golden:
        """Read what `write` wrote."""
        return Golden(**json.loads((model_folder / FOLDER / FILE_NAME).read_text(encoding="utf-8")))


def plain(values: list[Any]) -> list[Any]:
    """Return JSON values with `{"b64": …}` turned into bytes."""
    return [base64.b64decode(v["b64"]) if isinstance(v, dict) else v for v in values]

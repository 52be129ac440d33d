"""The requests that are measured, made of the golden rows, and what their answers must be."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.pipeline import RunFailed
from serving.client.grpc import to_tensor
from serving.wire.messages import message

DEFAULT, PACKED = "serving_default", "serving_packed"
TOLERANCE = 1e-5


@dataclass(frozen=True)
class Shape:
    """A kind of request: so many rows by one signature."""

    signature: str
    rows: int

    def __str__(self) -> str:
        return f"{self.rows} by {self.signature}"


ROW, PACKED_ROW, BATCH_32, BATCH_1024 = Shape(DEFAULT, 1), Shape(PACKED, 1), Shape(PACKED, 32), Shape(PACKED, 1024)
SHAPES = (ROW, PACKED_ROW, BATCH_32, BATCH_1024)


class Bodies:
    """Writes requests under a folder and judges answers. `version` is the folder of the pushed version."""

    def __init__(self, version: Path, folder: Path) -> None:
        self.model = version.parent.name
        self.folder = folder
        extra = version / "assets.extra"
        golden = json.loads((extra / "golden.json").read_text(encoding="utf-8"))
        data = json.loads((extra / "training.json").read_text(encoding="utf-8"))["settings"]["data"]
        self.columns: dict[str, list[Any]] = golden["inputs"][DEFAULT]
        self.packed: list[list[float]] = golden["inputs"][PACKED]["features"]
        self.probability = np.array(golden["probabilities"])[:, data["classes"].index(data["positive"])]

    def rest(self, shape: Shape) -> Path:
        """Write the JSON for our server: one row as a named object, more by `inputs`."""
        body: dict[str, Any] = {"signature_name": shape.signature}
        if shape.signature == DEFAULT:
            names = self.columns.items()
            body["instances"] = [{name: values[row] for name, values in names} for row in self._rows(shape)]
        else:
            body["inputs"] = self._features(shape)
        return self._write(f"rest-{shape.signature}-{shape.rows}", json.dumps(body).encode())

    def rival(self, key: str, shape: Shape) -> Path:
        """Write the JSON for a rival: rows as plain lists, which are the quickest to read."""
        return self._write(f"{key}-{shape.rows}", json.dumps({key: self._features(shape)}).encode())

    def grpc(self, shape: Shape) -> Path:
        """Write a PredictRequest as it is framed on the wire."""
        request = message("PredictRequest")()
        request.model_spec.name, request.model_spec.signature_name = self.model, shape.signature
        if shape.signature == DEFAULT:
            arrays = {name: [values[row] for row in self._rows(shape)] for name, values in self.columns.items()}
        else:
            arrays = {"features": self._features(shape)}
        for name, values in arrays.items():
            request.inputs[name].CopyFrom(to_tensor(name, values, "DT_FLOAT"))
        data = request.SerializeToString()
        return self._write(f"grpc-{shape.signature}-{shape.rows}", b"\0" + len(data).to_bytes(4, "big") + data)

    def check(self, who: str, shape: Shape, answer: Sequence[float] | NDArray[Any]) -> None:
        """Raise RunFailed unless these are the golden probabilities: otherwise there is nothing to compare."""
        wanted = self.probability[self._rows(shape)]
        got = np.ravel(answer)
        if got.shape != wanted.shape or not np.allclose(got, wanted, rtol=0, atol=TOLERANCE):
            raise RunFailed(f"{who} answers {shape} wrongly", got=got[:4].tolist(), wanted=str(wanted[:4].tolist()))

    def _rows(self, shape: Shape) -> list[int]:
        return [index % len(self.packed) for index in range(shape.rows)]

    def _features(self, shape: Shape) -> list[list[float]]:
        return [self.packed[row] for row in self._rows(shape)]

    def _write(self, name: str, data: bytes) -> Path:
        self.folder.mkdir(parents=True, exist_ok=True)
        file = self.folder / name
        file.write_bytes(data)
        return file

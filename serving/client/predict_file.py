"""`python -m serving predict`: a file of rows in, a CSV of predictions out, a chunk at a time."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from common.tables.safe import safe_text
from serving.client.errors import InvalidRequest, ModelNotFound
from serving.client.row_files import Chunk, read_chunks
from serving.client.types import DEFAULT_SIGNATURE, NEWEST, Metadata, ModelClient, Outputs, Signature, VersionSpec
from serving.repository.layout import STABLE, TRAINING


def resolve(client: ModelClient, model: str, version_spec: VersionSpec) -> tuple[VersionSpec, Metadata]:
    """Return the one version that is to answer all rows: the one asked for, else the stable, else the newest."""
    if version_spec == NEWEST:
        try:
            return resolve(client, model, VersionSpec(label=STABLE))
        except ModelNotFound:
            pass  # a server that was not started by us knows no labels
    metadata = client.metadata(model, version_spec)
    return VersionSpec(version=metadata.version), metadata


def predict_file(
    client: ModelClient,
    model: str,
    version_spec: VersionSpec,
    path: Path,
    out: TextIO,
    report: Callable[[Chunk], None],
    *,
    root: Path,
    as_json: bool = False,
) -> int:
    """Write row number, outputs and version for every row of a file, as CSV or as a line of JSON each; return how many.

    What means missing is read from the version's folder under `root`, if it is there. Raises what the client and
    `read_chunks` raise; rows written by then are right.
    """
    pinned, metadata = resolve(client, model, version_spec)
    if DEFAULT_SIGNATURE not in metadata.signatures:
        raise InvalidRequest(
            f"{model} {metadata.version} has no signature {DEFAULT_SIGNATURE}", wanted=", ".join(metadata.signatures)
        )
    signature = metadata.signatures[DEFAULT_SIGNATURE]
    writer = csv.writer(out, lineterminator="\n")
    rows = 0
    for chunk in read_chunks(path, signature, null_texts=trained_null_texts(root / model / str(metadata.version))):
        table = as_table(client.predict(model, chunk.columns, pinned), signature)
        names = ["row", *table, "version"]
        if not rows and not as_json:
            writer.writerow(map(safe_text, names))
        for number, values in enumerate(zip(*table.values(), strict=True), start=chunk.first):
            row = [number, *values, metadata.version]
            if as_json:
                out.write(json.dumps(dict(zip(names, row, strict=True))) + "\n")
            else:
                writer.writerow(safe_text(value) if isinstance(value, str) else value for value in row)
        rows += len(chunk)
        report(chunk)
    return rows


def trained_null_texts(folder: Path) -> frozenset[str] | None:
    """Return the texts that meant missing in the training data of a version; None where that is not known."""
    try:
        training = json.loads((folder / TRAINING).read_text(encoding="utf-8"))
        return frozenset(training["settings"]["data"]["null_values"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def as_table(outputs: Outputs, signature: Signature) -> dict[str, list[Any]]:
    """Return what is one value a row, float32 in as few digits as tell it apart.

    For our models these are the label and its probability (of the positive class if there are two). A model without
    such outputs has them as JSON.
    """
    single = {name: values for name, values in sorted(outputs.items()) if not isinstance(values[0], list)}
    if "label" in single and "probability" not in single and "probabilities" in outputs:
        single["probability"] = [max(row) for row in outputs["probabilities"]]
    if not single:
        return {name: [json.dumps(value) for value in values] for name, values in sorted(outputs.items())}
    types = {name: info.dtype for name, info in signature.outputs.items()}
    return {
        name: [float(str(np.float32(value))) for value in values]
        if types.get(name, "DT_FLOAT") == "DT_FLOAT"
        else values
        for name, values in single.items()
    }

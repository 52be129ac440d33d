"""Answers as JSON: predictions by row or by column, classifications, regressions, status, metadata, errors."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson
from google.protobuf import json_format
from numpy.typing import NDArray

from serving.server.status import invalid_argument

if TYPE_CHECKING:
    from serving.server.core.inference import Result
    from serving.server.core.versions import VersionStatus

_NUMBERS = frozenset(map(np.dtype, ("f4", "f8", "i1", "i2", "i4", "i8", "u1", "u4", "u8", "?")))
_TYPE_NAMES = {"float16": "half"}


def write_predictions(outputs: Mapping[str, NDArray[Any]], is_row: bool) -> bytes:
    """Return the answer of a Predict call; DT_STRING outputs are object arrays of bytes.

    Floats have as few digits as read back to the same float32 or float64. Raises INVALID_ARGUMENT if the outputs have
    no common batch dimension (row form) or a type JSON cannot tell.
    """
    if not outputs:
        raise invalid_argument("Cannot convert empty tensor map to JSON")
    return b'{"predictions": %b}' % _rows(outputs) if is_row else b'{"outputs": %b}' % _columns(outputs)


def write_classifications(results: Sequence[Sequence[tuple[bytes, float]]]) -> bytes:
    """Return the answer of a Classify call: for each example its (label, float32 score) pairs."""
    if not results:
        raise invalid_argument("Cannot convert empty ClassificationResults to JSON")
    scores = np.array([score for pairs in results for _, score in pairs], np.float32)
    texts = iter(_rows_of(scores, ""))
    lists = [b"[%b]" % b", ".join(b"[%b, %b]" % (_quoted(label), next(texts)) for label, _ in row) for row in results]
    return b'{"results": [%b]}' % b", ".join(lists)


def write_regressions(values: NDArray[np.float32]) -> bytes:
    if not len(values):
        raise invalid_argument("Cannot convert empty RegressionResults to JSON")
    return b'{"results": %b}' % _text(values, "")


def write_error(message: str) -> bytes:
    return json.dumps({"error": message.encode("utf-8", "replace").decode()}, ensure_ascii=False, indent=4).encode()


def write_status(versions: Iterable[VersionStatus]) -> bytes:
    """Return the answer of a status call: int64 as text, defaults printed."""
    from serving.server.grpc_api import as_status_answer

    return _printed(_as_dict(as_status_answer(versions)))


def write_metadata(metadata: Result[Mapping[str, Any]]) -> bytes:
    """Return the answer of a metadata call: proto field names, every field without presence printed."""
    from serving.server.grpc_api import signature_map

    spec = {"name": metadata.spec.name, "signature_name": "", "version": str(metadata.spec.version)}
    return _printed({"model_spec": spec, "metadata": {"signature_def": _as_dict(signature_map(metadata))}})


def _as_dict(message: Any) -> dict[str, Any]:
    options = {"preserving_proto_field_name": True}
    try:
        fields: dict[str, Any] = json_format.MessageToDict(
            message, always_print_fields_with_no_presence=True, **options
        )
    except TypeError:  # protobuf before 5 has another name for it
        fields = json_format.MessageToDict(message, including_default_value_fields=True, **options)
    return fields


def _printed(value: dict[str, Any]) -> bytes:
    return json.dumps(value, indent=1, ensure_ascii=False).encode() + b"\n"


# --- predictions


def _rows(outputs: Mapping[str, NDArray[Any]]) -> bytes:
    size = _batch_size(outputs)
    if len(outputs) == 1:
        ((name, array),) = outputs.items()
        return _text(array, name)
    keys = [b"%b: " % _quoted(name.encode()) for name in outputs]
    columns = [_rows_of(array, name) for name, array in outputs.items()] if size else []
    rows = (b"{%b}" % b", ".join(map(bytes.__add__, keys, row)) for row in zip(*columns, strict=True))
    return b"[%b]" % b", ".join(rows)


def _batch_size(outputs: Mapping[str, NDArray[Any]]) -> int:
    size = -1
    for name, array in outputs.items():
        if array.ndim == 0:
            raise invalid_argument(f"The output {name!r} is a scalar, which has no rows: ask by 'inputs'")
        if size not in (-1, len(array)):
            raise invalid_argument(
                f"The output {name!r} has {len(array)} rows, but another has {size}: ask by 'inputs'"
            )
        size = len(array)
    return size


def _columns(outputs: Mapping[str, NDArray[Any]]) -> bytes:
    if len(outputs) == 1:
        ((name, array),) = outputs.items()
        return _text(array, name)
    members = (b"%b: %b" % (_quoted(name.encode()), _text(array, name)) for name, array in outputs.items())
    return b"{%b}" % b", ".join(members)


def _rows_of(array: NDArray[Any], name: str) -> list[bytes]:
    """Return the text of each row of an array that has rows: that of the whole array, cut where one ends."""
    depth = array.ndim - 1
    if array.dtype == np.object_ or 0 in array.shape:
        return [_text(np.asarray(row, array.dtype), name) for row in array]
    rows = _text(array, name)[array.ndim : -array.ndim].split(b"]" * depth + b"," + b"[" * depth)
    return [b"[" * depth + row + b"]" * depth for row in rows] if depth else rows


def _text(array: NDArray[Any], name: str) -> bytes:
    if array.dtype == np.object_:
        return _nested(array.tolist(), name.endswith("_bytes"))
    if array.dtype not in _NUMBERS:
        type_name = _TYPE_NAMES.get(array.dtype.name, array.dtype.name)
        raise invalid_argument(f"The output {name!r} is of type {type_name}, which JSON cannot hold: ask by gRPC")
    if 0 in array.shape:
        return orjson.dumps(array.tolist())
    # orjson takes no 0-dimensional array, and none that is not contiguous
    values = array[()] if array.ndim == 0 else np.ascontiguousarray(array)
    text = orjson.dumps(values, option=orjson.OPT_SERIALIZE_NUMPY)
    return _with_gaps(text, array) if b"null" in text else text


def _with_gaps(text: bytes, array: NDArray[Any]) -> bytes:
    """Put NaN and Infinity where orjson wrote null."""
    gaps = array[~np.isfinite(array)].tolist() if array.ndim else [array.item()]
    pieces = [b""] * (2 * len(gaps) + 1)
    pieces[::2], pieces[1::2] = text.split(b"null"), [json.dumps(gap).encode() for gap in gaps]
    return b"".join(pieces)


def _nested(value: Any, is_base64: bool) -> bytes:
    if type(value) is list:
        return b"[%b]" % b",".join([_nested(item, is_base64) for item in value])
    return b'{"b64": "%b"}' % base64.b64encode(value) if is_base64 else _quoted(value)


def _quoted(value: bytes) -> bytes:
    """Return bytes as a JSON string; what is not UTF-8 leaves as it came."""
    try:
        return orjson.dumps(value.decode())
    except UnicodeDecodeError:
        text = json.dumps(value.decode("utf-8", "surrogateescape"), ensure_ascii=False)
        return text.encode("utf-8", "surrogateescape")

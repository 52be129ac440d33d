"""Speak TensorFlow Serving's REST API: pooled connections, limits in time, answers taken apart with care."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from functools import partial
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

import numpy as np
import orjson
from google.protobuf import json_format

from common.errors import VouchError
from serving.client.errors import (
    BadAnswer,
    InvalidRequest,
    ModelNotFound,
    ModelServerDown,
    ModelServerFailed,
    ModelServerTimeout,
    refusal,
)
from serving.client.http import HttpPool, Reply
from serving.client.retry import Caller, Policy
from serving.client.types import (
    DEFAULT_SIGNATURE,
    NEWEST,
    Columns,
    Metadata,
    Outputs,
    VersionSpec,
    VersionStatus,
    checked,
    count_rows,
    metadata_of,
    versions_of,
)
from serving.wire.messages import message

HEADERS = {"Accept": "*/*", "Accept-Encoding": "identity", "Content-Type": "application/json"}
_STATUS_ERRORS: dict[int, type[VouchError]] = {
    400: InvalidRequest,
    404: ModelNotFound,
    408: ModelServerTimeout,
    413: InvalidRequest,
    429: ModelServerDown,
    501: InvalidRequest,
    503: ModelServerDown,
    504: ModelServerTimeout,
}


class RestClient:
    def __init__(self, url: str, policy: Policy | None = None) -> None:
        self.url = url.rstrip("/")
        self._caller = Caller(policy)
        self._output_names: dict[tuple[str, VersionSpec, str], str] = {}
        self._pool = HttpPool(self.url, HEADERS)

    def predict(
        self, model: str, columns: Columns, version_spec: VersionSpec = NEWEST, *, signature: str = DEFAULT_SIGNATURE
    ) -> Outputs:
        rows = count_rows(columns)
        body = _written(signature, columns)
        answer = self._ask("POST", f"{_path(model, version_spec)}:predict", body)
        if "outputs" not in answer:
            raise BadAnswer("the model server answered without outputs", got=_shown(answer))
        outputs = answer["outputs"]
        if not isinstance(outputs, dict) or set(outputs) == {"b64"}:
            outputs = {self._output_name(model, version_spec, signature): outputs}
        return checked({name: _decoded(values) for name, values in outputs.items()}, rows)

    def status(self, model: str, version_spec: VersionSpec = NEWEST) -> tuple[VersionStatus, ...]:
        answer = self._ask("GET", _path(model, version_spec))
        statuses = message("GetModelStatusResponse")()
        try:
            json_format.ParseDict({"model_version_status": answer["model_version_status"]}, statuses)
        except (KeyError, json_format.ParseError):
            raise BadAnswer("this is no status of a model", got=_shown(answer)) from None
        return versions_of(statuses)

    def metadata(self, model: str, version_spec: VersionSpec = NEWEST) -> Metadata:
        answer = self._ask("GET", f"{_path(model, version_spec)}/metadata")
        definitions = message("SignatureDefMap")()
        try:
            json_format.ParseDict(answer["metadata"]["signature_def"], definitions, ignore_unknown_fields=True)
            return metadata_of(int(answer["model_spec"]["version"]), definitions)
        except (KeyError, TypeError, ValueError, json_format.ParseError):
            raise BadAnswer("this is no metadata of a model", got=_shown(answer)) from None

    def close(self) -> None:
        self._pool.close()

    def _output_name(self, model: str, version_spec: VersionSpec, signature: str) -> str:
        """Return the name of a signature's only output, which REST leaves out of the answer."""
        key = (model, version_spec, signature)
        if key not in self._output_names:
            definition = self.metadata(model, version_spec).signatures.get(signature)
            if definition is None or len(definition.outputs) != 1:
                raise BadAnswer("the model server answered an output without its name", got=f"signature {signature}")
            [self._output_names[key]] = definition.outputs
        return self._output_names[key]

    def _ask(self, method: str, path: str, body: bytes = b"") -> dict[str, Any]:
        return self._caller.call(partial(self._attempt, method, path, body))

    def _attempt(self, method: str, path: str, body: bytes, left_s: float) -> dict[str, Any]:
        reply = self._pool.request(method, path, body, max(left_s, 0.001))
        answer = _parsed(reply.status, reply.content)
        if reply.status != HTTPStatus.OK:
            raise _refusal(reply, answer)
        return answer


def _path(model: str, version_spec: VersionSpec) -> str:
    base = f"/v1/models/{quote(model, safe='')}"
    if version_spec.version is not None:
        return f"{base}/versions/{version_spec.version}"
    return f"{base}/labels/{quote(version_spec.label, safe='')}" if version_spec.label else base


def _written(signature: str, columns: Mapping[str, Any]) -> bytes:
    """Return a request as JSON that TensorFlow Serving reads: with NaN and Infinity, which are no JSON."""
    request = {"signature_name": signature, "inputs": {name: _quick(values) for name, values in columns.items()}}
    try:
        body = orjson.dumps(request, default=_plain, option=orjson.OPT_SERIALIZE_NUMPY)
    except TypeError:  # a whole number or a text beyond orjson, or our own refusal, which comes again below
        body = b"null"
    if b"null" not in body:
        return body
    # orjson writes null for NaN and Infinity as for None
    return json.dumps({"signature_name": signature, "inputs": dict(columns)}, default=_plain).encode()


def _quick(values: Any) -> Any:
    """Return an array of floats as what orjson writes quickly, gaps or not."""
    if not isinstance(values, np.ndarray) or values.dtype.kind != "f" or not values.ndim:
        return values
    values = np.ascontiguousarray(values)
    if not np.isnan(values).any() or np.isinf(values).any():
        return values
    return orjson.Fragment(orjson.dumps(values, option=orjson.OPT_SERIALIZE_NUMPY).replace(b"null", b"NaN"))


def _plain(value: Any) -> Any:
    """Return what JSON has no words for as what TensorFlow Serving reads."""
    if isinstance(value, bytes):
        return {"b64": base64.b64encode(value).decode()}
    if hasattr(value, "tolist"):  # numpy's arrays and numbers
        return value.tolist()
    raise InvalidRequest("this value cannot be sent", got=f"{value!r} ({type(value).__name__})")


def _decoded(value: Any) -> Any:
    """Return a tensor with its bytes as such: all of its values are, or none."""
    leaf = value
    while isinstance(leaf, list) and leaf:
        leaf = leaf[0]
    return _with_bytes(value) if isinstance(leaf, dict) else value


def _with_bytes(value: Any) -> Any:
    if isinstance(value, list):
        return [_with_bytes(inner) for inner in value]
    return base64.b64decode(value["b64"]) if isinstance(value, dict) and set(value) == {"b64"} else value


def _parsed(status: int, content: bytes) -> dict[str, Any]:
    answer = None
    with suppress(ValueError, RecursionError):
        try:
            answer = orjson.loads(content)
        except ValueError:  # NaN, which is no JSON, makes a better error than that
            answer = json.loads(content)
    if isinstance(answer, dict):
        return answer
    text = _shown(content.decode(errors="replace"))
    if status == HTTPStatus.OK:
        raise BadAnswer("the model server's answer is no JSON object", got=text)
    return {"error": text}


def _refusal(reply: Reply, answer: Mapping[str, Any]) -> VouchError:
    text = str(answer.get("error", ""))
    kind = _STATUS_ERRORS.get(reply.status, ModelServerFailed)
    shown = f"{reply.status}: {text}" if kind is ModelServerFailed else text
    return refusal(kind, shown, _retry_after_s(reply.headers.get("Retry-After", "")))


def _retry_after_s(text: str) -> float:
    """Return the seconds that a Retry-After header asks for: a number, or a date."""
    if text.strip().isdecimal():
        return float(text)
    try:
        return max((parsedate_to_datetime(text) - datetime.now(timezone.utc)).total_seconds(), 0.0)
    except (TypeError, ValueError):
        return 0.0


def _shown(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= 200 else text[:200] + "…"

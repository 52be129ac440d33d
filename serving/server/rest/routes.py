"""The REST skin: method, target and body in, status and body out; no socket here."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import unquote

from serving.server.core.inference import ModelSpec
from serving.server.core.metrics import OTHER
from serving.server.rest.json_tensors import read_examples, read_predict
from serving.server.rest.json_writer import (
    write_classifications,
    write_error,
    write_metadata,
    write_predictions,
    write_regressions,
    write_status,
)
from serving.server.status import Code, StatusError, as_status, http_status, invalid_argument

if TYPE_CHECKING:
    from serving.server.core.loading import Core

_MODEL = r"/v1/models/([^/:]+)(?:/versions/([0-9]+)|/labels/([^/:]+))?"
_PREDICTION = re.compile(rf"{_MODEL}:(classify|regress|predict)", re.IGNORECASE)
_STATUS = re.compile(r"/v1/models(?:/([^/:]+))?(?:/versions/([0-9]+)|/labels/([^/:]+))?(?:/(metadata))?", re.IGNORECASE)
_LARGEST_VERSION = 2**63 - 1
_LARGE_BODY_BYTES = 1 << 20  # above, reading the JSON would hold up everybody else on the event loop
JSON = "application/json"
CORS = {
    "access-control-allow-origin": "*",
    "access-control-allow-methods": "POST, GET",
    "access-control-allow-headers": "Content-Type",
}
T = TypeVar("T")


@dataclass(frozen=True)
class Answer:
    status: int
    body: bytes
    content_type: str = JSON


@dataclass(frozen=True)
class Target:
    spec: ModelSpec
    verb: str  # of a POST: predict, classify, regress; of a GET: metadata or nothing


class RestApi:
    def __init__(self, core: Core, timeout_s: float | None, pool: Executor) -> None:
        self._inference, self._manager, self._metrics = core.inference, core.manager, core.metrics
        self._timeout_s = timeout_s
        self._pool = pool

    async def handle(self, method: str, target: str, body: bytes) -> Answer:
        """Answer one request; whatever goes wrong is an answer too."""
        started = time.perf_counter()
        name, verb = "", ""
        try:
            parsed = parse_target(method, target)
            name, verb = parsed.spec.name, parsed.verb
            output = await self._answer(method, parsed, body)
            code = Code.OK
        except Exception as error:  # the edge: whatever goes wrong must be an answer
            failed = as_status(error)
            code, output = failed.code, write_error(failed.message)
        known = name if not name or self._manager.is_configured(name) else OTHER
        self._metrics.request_count.cell(known, code.name).add()
        if code is Code.OK and method == "POST":
            elapsed_us = (time.perf_counter() - started) * 1e6
            self._metrics.request_latency.cell(name, verb, "REST").add(elapsed_us)
        return Answer(http_status(code), output)

    async def _answer(self, method: str, target: Target, body: bytes) -> bytes:
        if method == "GET":
            if target.verb == "metadata":
                return write_metadata(self._inference.metadata(target.spec))
            return write_status(self._manager.status(target.spec.name, target.spec.version))
        if target.verb == "predict":
            return await self._predict(target.spec, body)
        return await self._on_examples(target, body)

    async def _predict(self, spec: ModelSpec, body: bytes) -> bytes:
        request = await self._aside(
            len(body), lambda: read_predict(body, lambda signature: self._inference.input_types(spec, signature))
        )
        spec = ModelSpec(spec.name, spec.version, spec.label, request.signature_name)
        predicted = await self._inference.run_async(self._inference.predict(spec, request.inputs), self._timeout_s)
        return await self._aside(len(body), lambda: write_predictions(predicted.value, request.is_row))

    async def _on_examples(self, target: Target, body: bytes) -> bytes:
        request = await self._aside(len(body), lambda: read_examples(body))
        spec = ModelSpec(target.spec.name, target.spec.version, target.spec.label, request.signature_name)
        if target.verb == "classify":
            classified = await self._inference.run_async(
                self._inference.classify(spec, request.examples), self._timeout_s
            )
            return write_classifications(classified.value)
        regressed = await self._inference.run_async(self._inference.regress(spec, request.examples), self._timeout_s)
        return write_regressions(regressed.value)

    async def _aside(self, size_bytes: int, work: Callable[[], T]) -> T:
        """Do what takes long in a thread, and what does not at once: a thread costs more than a small body."""
        if size_bytes < _LARGE_BODY_BYTES:
            return work()
        return await asyncio.get_running_loop().run_in_executor(self._pool, work)


def parse_target(method: str, target: str) -> Target:
    """Return what a request line asks for. Raises StatusError INVALID_ARGUMENT."""
    pattern = {"POST": _PREDICTION, "GET": _STATUS}.get(method)
    match = pattern.fullmatch(target) if pattern else None
    if match is None:
        raise _malformed(method, target)
    name, version, label, verb = match.groups()
    if method == "POST" and verb != verb.lower():
        raise _malformed(method, target)
    if not name:
        raise invalid_argument("Missing model name in request.")
    spec = ModelSpec(unquote(name), _number(version) if version else None, unquote(label) if label else None)
    return Target(spec, (verb or "").lower())


def _number(version: str) -> int:
    digits = version.lstrip("0") or "0"
    if len(digits) > len(str(_LARGEST_VERSION)) or int(digits) > _LARGEST_VERSION:
        raise invalid_argument(f"Failed to convert version: {version} to numeric.")
    return int(digits)


def _malformed(method: str, target: str) -> StatusError:
    return invalid_argument(f"Malformed request: {method} {target}")

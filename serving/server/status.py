"""The outcomes of a call, as gRPC and TensorFlow Serving number them, and the one table to HTTP."""

from __future__ import annotations

from enum import IntEnum
from functools import partial
from typing import Any


class Code(IntEnum):
    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


_HTTP = {
    Code.OK: 200,
    Code.INVALID_ARGUMENT: 400,
    Code.FAILED_PRECONDITION: 400,
    Code.OUT_OF_RANGE: 400,
    Code.UNAUTHENTICATED: 401,
    Code.PERMISSION_DENIED: 403,
    Code.NOT_FOUND: 404,
    Code.ALREADY_EXISTS: 409,
    Code.ABORTED: 409,
    Code.RESOURCE_EXHAUSTED: 429,
    Code.CANCELLED: 499,
    Code.UNIMPLEMENTED: 501,
    Code.UNAVAILABLE: 503,
    Code.DEADLINE_EXCEEDED: 504,
}


class StatusError(Exception):
    def __init__(self, code: Code, message: str) -> None:
        super().__init__(f"{code.name}: {message}")
        self.code = code
        self.message = message


invalid_argument = partial(StatusError, Code.INVALID_ARGUMENT)
not_found = partial(StatusError, Code.NOT_FOUND)
failed_precondition = partial(StatusError, Code.FAILED_PRECONDITION)
unimplemented = partial(StatusError, Code.UNIMPLEMENTED)


def http_status(code: Code) -> int:
    return _HTTP.get(code, 500)


def as_status(error: Exception) -> StatusError:
    """Return any error as a status: TensorFlow's own (`tf.errors.OpError`) by its code, all else as INTERNAL."""
    if isinstance(error, StatusError):
        return error
    code: Any = getattr(error, "error_code", None)
    if code in [*Code]:
        return StatusError(Code(code), str(getattr(error, "message", error)))
    return StatusError(Code.INTERNAL, f"{type(error).__name__}: {error}")

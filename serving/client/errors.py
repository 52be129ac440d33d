"""What can go wrong between a client and a model server; whoever waits for the client is told to come back later."""

from __future__ import annotations

from common.errors import VouchError

UNKNOWN_LABEL = "Unrecognized servable version label"  # TensorFlow Serving calls it a bad request
START = "start it: python -m serving start"


class ModelNotFound(VouchError):
    """The server has no such model, version or label."""

    http_status = 404


class InvalidRequest(VouchError):
    """The server, or the client before it, cannot make sense of the request; the same again fails again."""

    exit_code = 3
    http_status = 400


class ModelServerDown(VouchError):
    """No connection, or the server says that it cannot answer now. `retry_after_s` is what it asked for."""

    exit_code = 5
    http_status = 503

    def __init__(self, what: str, *, got: object = None, fix: str = START, retry_after_s: float = 0.0) -> None:
        super().__init__(what, got=got, fix=fix)
        self.retry_after_s = retry_after_s


class CircuitOpen(ModelServerDown):
    """The server failed so often in a row that it is left alone for a while."""


class ModelServerTimeout(VouchError):
    """No answer in time."""

    exit_code = 5
    http_status = 503


class ModelServerFailed(VouchError):
    """The server itself reports an error that is no fault of the request."""

    http_status = 503


class BadAnswer(VouchError):
    """What came back is not an answer to the request: not JSON, not a number, or another count of rows."""

    http_status = 503


def refusal(kind: type[VouchError], text: str, retry_after_s: float = 0.0) -> VouchError:
    """Return the error for what a server said, whichever protocol it said it by."""
    if UNKNOWN_LABEL in text:
        return ModelNotFound("the model server does not know that label", got=text)
    if issubclass(kind, ModelServerDown):
        return kind("the model server cannot answer now", got=text, fix="later again", retry_after_s=retry_after_s)
    if kind is ModelServerTimeout:
        return kind("the model server gave the request up", got=text)
    return kind(f"the model server {'failed' if kind is ModelServerFailed else 'refused the request'}", got=text)

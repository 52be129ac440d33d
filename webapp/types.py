"""What passes between the rooms of the web app: values without behaviour, and the errors that several of them raise."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from common.errors import VouchError

MAX_PROBLEMS = 100
REFERENCE_LENGTH = 200  # characters of the asker's own name for a case
Source = Literal["page", "index", "batch", "api", "csv"]


class Role(IntEnum):
    """What somebody may do; each role may do what those below it may."""

    PUBLIC = 0
    VIEWER = 1
    OPERATOR = 2
    ADMIN = 3


@dataclass(frozen=True)
class Identity:
    """Who is asking. In the open demo everybody is `demo`, an operator."""

    name: str
    role: Role
    is_demo: bool = False


class NotAuthenticated(VouchError):
    """Nobody knows who is asking: no credential, or one that is wrong, expired or revoked."""

    http_status = 401


class Forbidden(VouchError):
    """It is known who is asking, and that they may not."""

    http_status = 403


class TooManyAttempts(VouchError):
    """Too often in too short a time; `retry_after_s` says when it may work again."""

    http_status = 429

    def __init__(self, what: str, *, retry_after_s: float, fix: str = "") -> None:
        super().__init__(what, fix=fix or f"wait {max(1, math.ceil(retry_after_s))} s, then try again")
        self.retry_after_s = retry_after_s


@dataclass(frozen=True)
class Problem:
    """One thing wrong with what was sent. `row` counts from 0; None where only one row was meant."""

    field: str
    rule: str  # a sentence: what was wanted
    got: str
    example: str
    row: int | None = None


class InvalidInput(VouchError):
    """What was sent cannot be predicted. `problems` are the first hundred."""

    exit_code = 3
    http_status = 400

    def __init__(self, problems: Sequence[Problem], what: str = "the input is not valid") -> None:
        self.problems = tuple(problems[:MAX_PROBLEMS])
        first = self.problems[0]
        first_rule = f"{first.field}: {first.rule}" if first.field else first.rule
        more = f", and {len(problems) - 1} more" if len(problems) > 1 else ""
        super().__init__(what, got=first.got + more, wanted=first_rule)


@dataclass(frozen=True)
class Caution:
    """A value outside what the model was trained on: it is answered, but less to be trusted."""

    field: str
    got: str
    rule: str  # a sentence: "the training data reach from 6.98 to 28.1"


@dataclass(frozen=True)
class RequestInfo:
    """Who asks, and how; goes into the log beside each prediction."""

    request_id: str
    who: str
    source: Source
    sticky_key: str = ""  # routes all requests with the same key alike, if not empty
    reference: str = ""  # the asker's own name for the case, to find it again


@dataclass(frozen=True)
class Interval:
    """Between what numbers the true one is promised to lie."""

    lower: float
    upper: float


@dataclass(frozen=True)
class PlainModel:
    """A plain model that a version carries. `threshold`: of two classes, from here on it says the positive one."""

    name: str
    threshold: float | None = None


@dataclass(frozen=True)
class NetworkInput:
    """A number that the network reads: a feature, scaled; a part of a date; a flag of what is missing; a category."""

    feature: str
    part: str
    value: float


@dataclass(frozen=True)
class Beside:
    """What stands beside the answer to a row: what plain models say, and what the network read of it."""

    plain: tuple[tuple[PlainModel, Outcome], ...]
    inputs: tuple[NetworkInput, ...]


@dataclass(frozen=True)
class Outcome:
    """The answer to one row. `score`: the probability of the positive class if there is one, else of the likeliest.

    Where a number is predicted, `score` is it, `label` its text, and there is an interval in place of probabilities.
    """

    label: str
    score: float
    probabilities: Mapping[str, float]  # by class
    cautions: tuple[Caution, ...] = ()
    interval: Interval | None = None
    beside: Beside | None = None  # where it was asked for
    strangeness: float | None = None  # of a picture, where the model tells it: above 1 it is none of the classes


@dataclass(frozen=True)
class Answer:
    """The answers to all rows of one request, and who gave them."""

    model: str
    version: int
    route: str  # stable or candidate
    threshold: float | None  # two classes: from here on the positive class is said
    outcomes: tuple[Outcome, ...]
    request_id: str
    latency_s: float


@dataclass(frozen=True)
class LoggedBatch:
    """What the prediction log keeps of one request. Columns, labels and probabilities have a row each."""

    time: datetime  # UTC
    model: str
    version: int
    route: str
    asked: RequestInfo
    latency_s: float
    columns: Mapping[str, Sequence[Any] | NDArray[Any]]  # feature: values; None or NaN: missing
    labels: Sequence[str]
    probabilities: NDArray[np.float32]  # [rows, classes]; of numbers [rows, 2], the bounds
    classes: tuple[str, ...]  # of numbers: what the bounds are called
    positive: str | None = None
    references: Sequence[str] = ()  # the asker's own names for the rows; empty: all have the request's
    first_row: int = 0  # its number in what was asked, which may come in several batches
    values: NDArray[np.float64] | None = None  # the numbers predicted, where those are
    strangeness: Sequence[float] = ()  # of pictures, where the model tells it

"""Send rows to the web app as anybody would, and tell it the true labels some time later.

Every row is marked: its reference begins with `synthetic:`, by which the prediction log knows it for ever.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import requests

from common.errors import ConfigError, EnvironmentProblem, VouchError
from common.records.files import SYNTHETIC
from monitoring.simulate.shifts import Columns

TIMEOUT_S = 10.0
PATIENCE_S = 60.0  # with an app that says it is busy, for one request
MOST_ROWS, MOST_LABELS = 100, 500  # of a request
REQUESTS_PER_S = 10.0
BUSY = (429, 503)


@dataclass(frozen=True)
class Plan:
    """`rate`: rows a second. Labels of a `label_share` of the rows follow `labels_after_s` after their prediction."""

    url: str
    model: str
    rate: float
    name: str  # of the simulation, in each row's reference
    labels_after_s: float = 0.0
    label_share: float = 1.0
    token: str = ""


@dataclass
class Sent:
    """What came of it. `right`: rows whose predicted label was the true one."""

    rows: int = 0
    labels: int = 0
    right: int = 0
    by_version: dict[int, int] = field(default_factory=dict)


@dataclass(frozen=True)
class _Due:
    """A true label to be told at a time of the monotonic clock."""

    at_s: float
    request_id: str
    row: int
    label: str


class RowsRefused(VouchError):
    """The web app takes the rows for wrong."""

    exit_code = 3


def send(plan: Plan, columns: Columns, labels: list[str], label_chances: list[float]) -> Sent:
    """Send all rows and labels; return when the last label is told.

    `label_chances`: a number from 0 to 1 for each row; below `label_share` its label is told. Raises RowsRefused,
    EnvironmentProblem where the app does not answer, ConfigError where it wants a login.
    """
    sent, due = Sent(), deque[_Due]()
    with requests.Session() as session:
        if plan.token:
            session.headers["Authorization"] = f"Bearer {plan.token}"
        started = time.monotonic()
        for first, rows in _portions(columns, plan.rate):
            _tell(session, plan, due, sent, until_s=started + first / plan.rate)
            body = {"model": plan.model, "rows": rows, "reference": f"{SYNTHETIC}{plan.name}"}
            answer = _post(session, plan, "predict", body)
            sent.rows += len(rows)
            sent.by_version[answer["version"]] = sent.by_version.get(answer["version"], 0) + len(rows)
            at_s = time.monotonic() + plan.labels_after_s
            for row, prediction in enumerate(answer["predictions"]):
                sent.right += prediction["label"] == labels[first + row]
                if label_chances[first + row] < plan.label_share:
                    due.append(_Due(at_s, answer["request_id"], row, labels[first + row]))
        _tell(session, plan, due, sent, until_s=due[-1].at_s if due else 0.0)
    return sent


def _portions(columns: Columns, rate: float) -> Iterator[tuple[int, list[dict[str, Any]]]]:
    """Yield requests' rows with the number of the first; what is missing is left out of a row."""
    rows = len(next(iter(columns.values())))
    size = max(1, min(MOST_ROWS, round(rate / REQUESTS_PER_S)))
    for first in range(0, rows, size):
        yield (
            first,
            [
                {name: values[row] for name, values in columns.items() if values[row] is not None}
                for row in range(first, min(rows, first + size))
            ],
        )


def _tell(session: requests.Session, plan: Plan, due: deque[_Due], sent: Sent, until_s: float) -> None:
    """Wait until a moment, telling the labels that come due by then."""
    while due and due[0].at_s <= until_s:
        _wait_until(due[0].at_s)
        labels: list[dict[str, object]] = []
        while due and due[0].at_s <= time.monotonic() and len(labels) < MOST_LABELS:
            label = due.popleft()
            labels.append({"request_id": label.request_id, "row": label.row, "label": label.label})
        _post(session, plan, "feedback/rows", {"model": plan.model, "labels": labels})
        sent.labels += len(labels)
    _wait_until(until_s)


def _wait_until(at_s: float) -> None:
    if (left_s := at_s - time.monotonic()) > 0:
        time.sleep(left_s)


def _post(session: requests.Session, plan: Plan, path: str, body: dict[str, Any]) -> Any:
    """Return the answer's JSON; an app that is busy is asked again when it says."""
    address, given_up_at_s = f"{plan.url.rstrip('/')}/api/v1/{path}", time.monotonic() + PATIENCE_S
    while True:
        try:
            reply = session.post(address, json=body, timeout=TIMEOUT_S)
        except requests.RequestException as error:
            fix = "start the web app, or give its address as --url"
            raise EnvironmentProblem(f"the web app at {plan.url} does not answer", got=error, fix=fix) from None
        if reply.status_code not in BUSY or time.monotonic() >= given_up_at_s:
            break
        time.sleep(min(float(reply.headers.get("Retry-After", 1)), PATIENCE_S))
    if reply.ok:
        return reply.json()
    text = reply.text[:2000]
    if reply.status_code in (401, 403):
        fix = "log in as an operator by /api/v1/auth/login and give the access token as VOUCH_TOKEN"
        raise ConfigError("the web app wants a login for this", got=f"{reply.status_code}: {text}", fix=fix)
    if reply.status_code in BUSY:
        raise EnvironmentProblem("the web app stays busy", got=text, fix="send fewer rows a second: --rate")
    raise RowsRefused("the web app refuses what was sent", got=f"{reply.status_code}: {text}")

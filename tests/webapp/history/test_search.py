"""What was predicted is found again, and what turned out to be true stands beside it."""

from __future__ import annotations

import csv
import io
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from common.errors import DataError, EnvironmentProblem
from common.records import labels
from common.records import reader as reader_module
from common.records.reader import Filters, Reader
from serving.client.errors import ModelNotFound
from tests.support.web.apps import own_app
from tests.support.web.logged import NOON, batch, hasty, minutes, put
from webapp.history import search as history_module
from webapp.history.search import History, PredictionNotFound, export
from webapp.services import Services
from webapp.types import RequestInfo

Here = tuple[History, Path, Services]


@pytest.fixture(autouse=True)
def _hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    hasty(monkeypatch)


@pytest.fixture(scope="module")
def _services(webapp_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Services]:
    with own_app(tmp_path_factory.mktemp("history") / "var", webapp_root / "serving", "http://127.0.0.1:9") as made:
        yield made[1]


@pytest.fixture
def here(_services: Services) -> Here:
    """The history, the empty folder of `cells` and the services of an app."""
    shutil.rmtree(_services.settings.predictions, ignore_errors=True)
    with _services.database.writing() as connection:
        connection.execute(labels.table.delete())
    return History(_services), _services.settings.predictions / "cells", _services


def asked(request_id: str, who: str = "ann") -> RequestInfo:
    return RequestInfo(request_id, who, "api")


def test_a_row_comes_back_as_it_went_in(here: Here) -> None:
    history, base, _ = here
    put(base, batch(2, asked=asked("r"), columns={"radius": [1.5, None], "city": ["Bandung", None]}))
    first, second = history.search("cells").rows
    assert (first.key, first.time, first.who, first.source, first.label) == (("r", 0), NOON, "ann", "api", "B")
    assert first.probabilities == {"B": 0.75, "M": 0.25}
    assert (first.probability, first.latency_ms, first.version, first.route) == (0.25, 1.5, 1, "stable")
    assert first.inputs == {"radius": 1.5, "city": "Bandung"}
    assert second.inputs == {"radius": None, "city": None}
    assert first.feedback is None


def test_pages_follow_each_other_without_gap_or_repetition(here: Here) -> None:
    history, base, _ = here
    for minute in range(7):
        put(base, batch(3, at=NOON + minutes(minute), asked=asked(f"r{minute}")))
    pages = [history.search("cells", Filters(), number, 5) for number in range(1, 7)]
    assert [len(page.rows) for page in pages] == [5, 5, 5, 5, 1, 0]
    assert [page.has_next for page in pages] == [True, True, True, True, False, False]
    keys = [row.key for page in pages for row in page.rows]
    assert keys == [(f"r{minute}", row) for minute in range(6, -1, -1) for row in range(3)]


def test_a_search_that_takes_too_long_says_how_far_it_looked(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    history, base, _ = here
    put(base, batch(1))
    monkeypatch.setattr(history_module, "SEARCH_S", -1.0)
    found = history.search("cells")
    assert (found.rows, found.has_next, found.stopped_at) == ((), False, NOON)


@pytest.mark.parametrize("day", [NOON.date(), None], ids=["day known", "day not known"])
def test_one_prediction_is_found_by_its_id_and_row(here: Here, day: Any) -> None:
    history, base, _ = here
    put(base, batch(3, asked=asked("wanted")))
    put(base, batch(3, at=NOON + minutes(1), asked=asked("other")))
    assert history.get("cells", "wanted", 2, day).inputs["radius"] == 20.0


@pytest.mark.parametrize(
    ("request_id", "row", "day"),
    [("nobody", 0, None), ("wanted", 1, None), ("", 0, None), ("wanted", 0, (NOON - minutes(24 * 60)).date())],
    ids=["unknown", "no such row", "empty", "another day"],
)
def test_what_was_not_predicted_is_not_found(here: Here, request_id: str, row: int, day: Any) -> None:
    history, base, _ = here
    put(base, batch(1, asked=asked("wanted")))
    with pytest.raises(PredictionNotFound, match="on record"):
        history.get("cells", request_id, row, day)


def test_a_prediction_just_made_is_written_down_to_be_found(here: Here) -> None:
    history, _, services = here
    services.log.append(batch(1, asked=asked("just now")))
    assert history.get("cells", "just now").label == "B"


def test_opted_out_it_says_why_nothing_is_found(make_app: Callable[..., Any]) -> None:
    _, services = make_app(log_predictions=False)
    services.log.append(batch(1, asked=asked("gone")))
    with pytest.raises(PredictionNotFound, match="VOUCH_LOG_PREDICTIONS"):
        History(services).get("cells", "gone")


@pytest.mark.parametrize("model", ["nobody", "..", "cells/date=2126-11-20"], ids=str)
def test_only_models_have_a_history(here: Here, model: str) -> None:
    with pytest.raises(ModelNotFound):
        here[0].search(model)


def test_the_last_word_on_a_label_counts_and_is_shown_with_who_said_it(here: Here) -> None:
    history, base, services = here
    put(base, batch(2, asked=asked("r")))
    history.add_feedback("cells", "r", 1, "B", "otto")
    told = history.add_feedback("cells", "r", 1, "M", "olga")
    first, second = history.search("cells").rows
    assert first.feedback is None
    assert second.feedback == told
    assert (told.label, told.who, told.version, told.key) == ("M", "olga", 1, ("r", 1))
    on_record = [(entry.who, entry.action, entry.detail) for entry in services.accounts.audit.entries(2)]
    assert on_record == [
        (who, "feedback", f"cells version 1, r row 1: {label}") for who, label in (("otto", "B"), ("olga", "M"))
    ]


def test_a_label_that_is_none_is_refused(here: Here) -> None:
    history, base, _ = here
    put(base, batch(1, asked=asked("r")))
    with pytest.raises(DataError, match="one of B, M"):
        history.add_feedback("cells", "r", 0, "X", "otto")
    with pytest.raises(PredictionNotFound):
        history.add_feedback("cells", "r", 1, "M", "otto")
    assert history.search("cells").rows[0].feedback is None


def test_a_label_and_its_audit_line_are_written_both_or_neither(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    history, base, services = here
    put(base, batch(1, asked=asked("r")))
    before = len(services.accounts.audit.entries())

    def fail(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(labels, "keep", fail)
    with pytest.raises(EnvironmentProblem, match="cannot be read or written"):
        history.add_feedback("cells", "r", 0, "M", "otto")
    assert len(services.accounts.audit.entries()) == before


def rows_of(here: Here, **wanted: Any) -> list[dict[str, str]]:
    _, base, services = here
    text = b"".join(export(services.database, base.name, Reader(base, Filters(**wanted)))).decode()
    return list(csv.DictReader(io.StringIO(text)))


def test_the_csv_has_everything_newest_first_with_the_true_labels(here: Here) -> None:
    history, base, _ = here
    put(base, batch(1, asked=asked("a")))
    inputs = {"radius": [None], "city": ["Bandung"]}
    put(base, batch(1, at=NOON + minutes(24 * 60), version=2, asked=asked("b"), columns=inputs))
    history.add_feedback("cells", "a", 0, "M", "otto")
    second, first = rows_of(here)
    assert first["time"] == "2126-11-20T12:00:00.000000Z"
    told = {name: first[name] for name in ("request_id", "row", "version", "label", "probability", "true_label")}
    assert told == {
        "request_id": "a",
        "row": "0",
        "version": "1",
        "label": "B",
        "probability": "0.25",
        "true_label": "M",
    }
    assert (first["probability.B"], first["input.radius"], first["true_label_by"]) == ("0.75", "10", "otto")
    assert (second["input.radius"], second["input.city"], second["true_label"]) == ("", "Bandung", "")
    assert rows_of(here, who="nobody") == []


def test_versions_with_other_classes_stand_in_one_csv(here: Here) -> None:
    _, base, _ = here
    put(base, batch(1))
    three = {"probabilities": np.float32([[0.5, 0.25, 0.25]]), "classes": ("B", "M", "U"), "version": 2}
    put(base, batch(1, at=NOON + minutes(1), **three))
    names = ("probability.B", "probability.M", "probability.U")
    assert [[row[name] for name in names] for row in rows_of(here)] == [["0.5", "0.25", "0.25"], ["0.75", "0.25", ""]]


@pytest.mark.parametrize("text", ["=1+1", "+A1", "-1+2", "@SUM(A1)", "\t=1", "\r=1"], ids=repr)
def test_no_text_in_the_csv_is_a_formula(here: Here, text: str) -> None:
    _, base, _ = here
    put(base, batch(1, asked=RequestInfo("r", text, "api"), columns={"city": [text], "radius": [-1.0]}))
    [row] = rows_of(here)
    assert (row["who"], row["input.city"], row["input.radius"]) == (f"'{text}", f"'{text}", "-1")


def test_the_csv_is_made_a_part_at_a_time(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader_module, "TABLE_ROWS", 2)
    _, base, services = here
    for minute in range(5):
        put(base, batch(2, at=NOON + minutes(minute)))
    parts = list(export(services.database, "cells", Reader(base)))
    assert len(parts) == 6, "a header, and a part for each two rows"
    assert parts[0].count(b"\n") == 1


def test_without_predictions_there_is_a_header(here: Here) -> None:
    _, base, services = here
    assert b"".join(export(services.database, "cells", Reader(base))).startswith(b'"time","request_id"')

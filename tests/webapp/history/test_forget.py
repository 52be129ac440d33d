from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from flask.testing import FlaskClient

from common.errors import EnvironmentProblem
from common.files import locked
from common.records import labels, upkeep
from common.records.files import days
from common.records.upkeep import LOCK, Upkeep, look_after
from tests.support.web.apps import App, csrf_token
from tests.support.web.logged import NOON, batch, minutes, put
from webapp.history.search import History, PredictionNotFound
from webapp.services import Services
from webapp.types import RequestInfo

Here = tuple[FlaskClient, Services, Path]
SECRET = "ward 7, bed 3"


def asked(request_id: str, reference: str = "") -> RequestInfo:
    return RequestInfo(request_id, "ann", "api", reference=reference)


@pytest.fixture
def here(make_app: Callable[..., App]) -> Here:
    """An app whose log has two predictions under SECRET, on two days, and one of somebody else's beside each."""
    app, services = make_app()
    base = services.settings.predictions / "cells"
    for day in range(2):
        at = NOON + timedelta(days=day)
        put(base, batch(1, at=at, asked=asked(f"hers-{day}", SECRET)))
        put(base, batch(1, at=at + minutes(1), asked=asked(f"other-{day}", "ward 8")))
    history = History(services)
    for request_id in ("hers-0", "other-0"):
        history.add_feedback("cells", request_id, 0, "M", "otto")
    return app.test_client(), services, base


def request_ids(services: Services) -> list[str]:
    return [logged.request_id for logged in History(services).search("cells").rows]


def is_anywhere(base: Path, text: str) -> bool:
    files = [path for path in base.rglob("*.parquet*") if path.is_file()]
    return any(text in str(pq.read_table(path).to_pylist()) for path in files)


def check_forgotten(services: Services, base: Path) -> None:
    assert request_ids(services) == ["other-1", "other-0"]
    assert not is_anywhere(base, SECRET)
    with services.database.reading() as connection:
        assert list(labels.of_requests(connection, "cells", ["hers-0", "other-0"])) == [("other-0", 0)]
    entry = services.accounts.audit.entries()[-1]
    assert (entry.action, entry.detail) == ("reference deleted", "cells: 2 predictions, 1 true label, 0 uploads")
    assert SECRET not in str(services.accounts.audit.entries())


def test_an_operator_deletes_all_of_a_reference_on_its_page(here: Here) -> None:
    client, services, base = here
    page = client.get("/history/cells/prediction?id=hers-0&row=0")
    assert "Delete this reference" in page.text
    token = csrf_token(client, "/history/cells/prediction?id=hers-0&row=0")
    answer = client.post("/history/cells/forget", data={"csrf_token": token, "reference": SECRET})
    assert answer.status_code == 303
    assert "2 predictions, 1 true label, 0 uploads" in client.get(answer.headers["Location"]).text
    check_forgotten(services, base)


def test_a_program_deletes_all_of_a_reference(here: Here) -> None:
    client, services, base = here
    answer = client.post("/api/v1/models/cells/forget", json={"reference": SECRET})
    assert answer.json == {"predictions": 2, "labels": 1, "uploads": 0, "images": 0}
    check_forgotten(services, base)
    assert client.post("/api/v1/models/cells/forget", json={"reference": SECRET}).status_code == 404


def test_the_command_line_asks_for_the_reference(here: Here) -> None:
    client, services, base = here
    told = client.application.test_cli_runner().invoke(args=["predictions", "forget", "cells"], input=f"{SECRET}\n")
    assert "deleted: 2 predictions, 1 true label, 0 uploads" in told.output
    check_forgotten(services, base)


def test_what_was_merged_before_is_deleted_from_the_merged_file_and_from_its_parts(here: Here) -> None:
    _, services, base = here
    look_after(base.parent, Upkeep(NOON + timedelta(days=3), 90))
    assert is_anywhere(base, SECRET)
    History(services).forget("cells", SECRET, "olga")
    check_forgotten(services, base)


def test_an_upload_that_a_deleted_row_came_with_is_deleted_with_its_result(here: Here) -> None:
    client, services, base = here
    content = f"radius,texture,smooth ness (mean),reference\n18.5,21,0.1,ward 9\n11,17,0.1,{'ward 10'}\n"
    sent = client.post("/api/v1/jobs", data=content, content_type="text/csv")
    job = services.jobs.wait(services.jobs.find(sent.json["id"], "demo"), 60)
    assert job.state == "done"
    assert services.log.flush(30)
    gone = History(services).forget("cells", "ward 9", "olga")
    assert (gone.predictions, gone.uploads) == (1, 1)
    assert client.get(sent.headers["Location"]).status_code == 404
    assert list((services.settings.var / "webapp" / "batches").iterdir()) == []
    assert is_anywhere(base, "ward 10")


def test_nothing_is_deleted_while_another_process_works_at_the_files_and_it_can_be_done_again(here: Here) -> None:
    _, services, base = here
    with locked(base / LOCK, "busy"), pytest.raises(EnvironmentProblem, match="looks after the log"):
        History(services).forget("cells", SECRET, "olga")
    assert is_anywhere(base, SECRET)
    History(services).forget("cells", SECRET, "olga")
    assert not is_anywhere(base, SECRET)


def test_a_disk_that_is_full_leaves_every_file_whole(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    _, services, base = here

    def fail(_: Path) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("common.files.sync", fail)
        with pytest.raises(OSError, match="No space"):
            upkeep.forget(base, SECRET)
    assert len(request_ids(services)) == 4


@pytest.mark.parametrize("reference", ["", "never used"])
def test_a_reference_that_nobody_used_is_told(here: Here, reference: str) -> None:
    with pytest.raises(PredictionNotFound):
        History(here[1]).forget("cells", reference, "olga")
    assert all(folder.is_dir() for folder in days(here[2]).values())


def wrong_bodies() -> list[Any]:
    return [{}, {"reference": ""}, {"reference": 7}, {"reference": "x" * 1000}]


@pytest.mark.parametrize("body", wrong_bodies(), ids=["none", "empty", "number", "long"])
def test_a_body_without_a_reference_is_refused(here: Here, body: dict[str, Any]) -> None:
    assert here[0].post("/api/v1/models/cells/forget", json=body).status_code == 400

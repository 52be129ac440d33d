"""The pages of models and versions, without a model server that could release one (see test_releases.py for that)."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from bs4 import BeautifulSoup, Tag
from flask.testing import FlaskClient

from common.paths import Paths
from common.records.drift import Alarm, DriftReport
from common.records.retrain import Attempt, Pause, Retraining, change, place
from serving.release.state import Entry, Record, State, Store
from serving.repository.layout import MANIFEST
from tests.support.web.apps import App, own_app
from tests.support.web.fake_model_server import FakeModelServer
from tests.support.web.models import Made, make_version, release
from tests.support.web.small_app import PASSWORD, SECRET, add_users, log_in
from webapp.insight.drift import light_of

METRICS = {"auc": [0.97, 0.93, 0.99], "calibration_error": 0.02}


@pytest.fixture(scope="module")
def _there(
    made: dict[str, Made], _fake: FakeModelServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[App, Path]]:
    folder = tmp_path_factory.mktemp("models")
    for version in (1, 2):
        make_version(folder / "pristine", made["cells"], version, METRICS)
    release(folder / "pristine", "cells", 1)
    with own_app(folder / "var", folder / "versions", _fake.url) as app:
        yield app, folder


@pytest.fixture
def root(_there: tuple[App, Path], fake: FakeModelServer) -> Path:
    """Versions 1 and 2 of `cells`, of which 1 is stable; whatever a test does to them is undone."""
    _, folder = _there
    shutil.rmtree(folder / "versions", ignore_errors=True)
    shutil.copytree(folder / "pristine", folder / "versions")
    return folder / "versions"


@pytest.fixture
def app(_there: tuple[App, Path], root: Path) -> App:
    return _there[0]


@pytest.fixture
def var(_there: tuple[App, Path]) -> Path:
    return _there[1] / "var"


@pytest.fixture
def operator(app: App) -> FlaskClient:
    return app[0].test_client()


def page_of(client: FlaskClient, path: str, status: int = 200) -> BeautifulSoup:
    response = client.get(path)
    assert response.status_code == status, response.text
    return BeautifulSoup(response.text, "html.parser")


def card_of(page: BeautifulSoup, version: int) -> str:
    found = page.select_one(f"#version-{version}")
    assert found
    return " ".join(found.get_text(" ").split())


def test_the_list_has_every_model_and_what_is_released(visitor: FlaskClient) -> None:
    page = page_of(visitor, "/models")
    names = ("cells", "flowers", "patients")
    links = {link["href"] for link in page.select("main a.button")}
    assert links == {f"/{where}/{name}" for where in ("models", "predict") for name in names}
    assert page.text.count("version 1 is stable") == 3
    told = " ".join(page.text.split())
    assert "Tells setosa or versicolor or virginica, by 2 values. AUC on test rows: 0.970, surely 0.930." in told


def test_without_a_model_the_list_says_how_to_get_one(make_app: Callable[..., App], tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    app, _ = make_app(serving=tmp_path / "empty")
    assert "No model has been pushed yet" in page_of(app.test_client(), "/models").text


def test_a_version_shows_its_metrics_verdicts_labels_and_whether_it_is_loaded(operator: FlaskClient) -> None:
    page = page_of(operator, "/models/cells")
    told = card_of(page, 1)
    for words in (
        "stable loaded",
        "AUC 0.97 confidence bounds 0.93 to 0.99",
        "Calibration error 0.02",
        "Evaluation: Blessed on 60 test rows",
        "Serving: Loaded in 0.3 s",
        "Decisions: Accuracy is 0.95 at the threshold 0.63, 0.94 at 0.5.",
        "Probabilities: The probability of the positive class is off by 0.06.",
    ):
        assert words in told
    assert "alibrated" not in told, "no manifest says so"
    assert "stable" not in card_of(page, 2).split("AUC")[0]
    assert [link["id"] for link in page.select("section.version")] == ["version-2", "version-1"], "the newest first"


def test_the_candidate_shows_its_share_and_can_be_taken_back(operator: FlaskClient, root: Path) -> None:
    release(root, "cells", 1, 2, 12.5)
    page = page_of(operator, "/models/cells")
    assert "candidate, 12.5% of the requests" in card_of(page, 2)
    assert "End the canary…" in page.text


def test_old_versions_come_when_asked_for_but_for_those_with_a_label(
    operator: FlaskClient, root: Path, made: dict[str, Made]
) -> None:
    for version in range(3, 9):
        make_version(root, made["cells"], version)
    page = page_of(operator, "/models/cells")
    shown = [section["id"] for section in page.select("section.version")]
    assert shown == ["version-8", "version-7", "version-6", "version-5", "version-4", "version-1"]
    [link] = page.select("a[href*=older]")
    assert link.text == "Show 2 older versions"
    page = page_of(operator, str(link["href"]))
    assert len(page.select("section.version")) == 8
    assert not page.select("a[href*=older]")


@pytest.mark.parametrize("mood", ["failing", "closing", "garbage"])
def test_with_the_model_server_away_all_else_is_there(operator: FlaskClient, fake: FakeModelServer, mood: Any) -> None:
    fake.mood = mood
    page = page_of(operator, "/models/cells")
    assert "What is loaded cannot be said right now" in page.text
    assert "not known whether loaded" in card_of(page, 1)
    assert "AUC" in card_of(page, 1)


def test_a_version_without_a_manifest_says_so_and_cannot_be_released(operator: FlaskClient, root: Path) -> None:
    (root / "cells" / "2" / MANIFEST).unlink()
    told = card_of(page_of(operator, "/models/cells"), 2)
    assert "no valid manifest" in told
    assert "Make stable" not in told


def test_a_state_that_cannot_be_read_does_not_hide_the_versions(operator: FlaskClient, root: Path) -> None:
    (root / "cells" / ".release.json").write_text("{")
    page = page_of(operator, "/models/cells")
    assert "is no release state" in page.text
    assert "AUC" in card_of(page, 1)


def test_the_history_of_releases_is_told_newest_first(operator: FlaskClient, root: Path) -> None:
    for number, outcome in ((1, "done"), (2, "undone: it did not load")):
        at = "2026-11-21T09:00:00.000+00:00"
        entry = Entry(str(number), at, f"olga{number}", "promote", None, State(number), "", "", "", outcome)
        Store(root, "cells").log(entry)
    rows = [
        " ".join(row.get_text(" ").split()) for row in page_of(operator, "/models/cells").select("#history tbody tr")
    ]
    assert len(rows) == 2
    assert rows[0].startswith(
        "21 Nov 2026, 09:00:00 UTC olga2 made stable – version 2 is stable undone it did not load"
    )
    assert rows[1].endswith("done")


def retraining_card(client: FlaskClient) -> Tag:
    card = page_of(client, "/models/cells").select_one("#retraining")
    assert card
    return card


def test_how_it_was_retrained_is_told_newest_first(operator: FlaskClient, var: Path) -> None:
    assert "Not yet." in retraining_card(operator).text
    at = datetime(2026, 11, 20, 12, tzinfo=timezone.utc)
    promoted = Attempt(
        "a",
        "alert ModelDrift",
        "Alertmanager",
        at,
        "ended",
        span=2,
        rows=500,
        version=2,
        outcome="promoted",
        reason="<b>",
    )
    active = Attempt("c", "schedule", "controller", at, "trial", version=3)
    refused = Attempt("b", "command", "ann", at, "ended", outcome="refused", reason="99 new rows", times=7)
    paused = Pause("ann", at, "audit")
    change(var, "cells", lambda _: Retraining("cells", (promoted, refused, active), paused=paused))
    card = retraining_card(operator)
    rows = [" ".join(row.text.split()) for row in card.select("tbody tr")]
    assert [row.split(" ")[-3:] for row in rows[:1]] == [["under", "way:", "trial"]]
    assert "command, 7 times, ann" in rows[1]
    assert "refused 99 new rows" in rows[1]
    assert "span 2, 500 new rows 2 promoted <b>" in rows[2]
    assert "by ann" in card.text
    place(var, "cells").write_text("{}")
    assert "not known" in retraining_card(operator).text
    place(var, "cells").unlink()


@pytest.mark.parametrize(
    "path",
    [
        "/models/nobody",
        "/models/cells/versions/9/report",
        "/models/nobody/versions/1/report",
        "/models/cells/versions/1/report",
        "/models/..%2F..%2Fetc/versions/1/report",
        "/models/nobody/release?what=rollback",
    ],
)
def test_what_is_not_there_is_not_found(operator: FlaskClient, path: str) -> None:
    page_of(operator, path, 404)


def write_report(var: Path, run_id: str, number: int, text: str = "<title>Report</title>") -> Path:
    folder = Paths(var, "cells").pipeline / "RunReport" / "report" / str(number)
    folder.mkdir(parents=True)
    (folder / "report.json").write_text(json.dumps({"run_id": run_id}))
    (folder / "report.html").write_text(text)
    return folder


def test_the_report_of_the_run_is_shown_with_its_styles_and_without_any_script(app: App, root: Path) -> None:
    _, services = app
    manifest = json.loads((root / "cells" / "1" / MANIFEST).read_text())
    write_report(services.settings.var, "another run", 7)
    write_report(services.settings.var, manifest["run_id"], 8, "<title>The right one</title>")
    broken = write_report(services.settings.var, "broken", 9)
    (broken / "report.json").write_text("{")
    client = app[0].test_client()
    assert page_of(client, "/models/cells").select('a[href="/models/cells/versions/1/report"]')
    response = client.get("/models/cells/versions/1/report")
    assert "The right one" in response.text
    assert response.mimetype == "text/html"
    policy = response.headers["Content-Security-Policy"]
    assert policy.startswith("sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:")
    assert "script" not in policy


@pytest.mark.parametrize(
    ("query", "now", "then", "button"),
    [
        ("what=promote&version=2", "version 1", "version 2", "Make version 2 stable?"),
        ("what=canary&version=2&weight=12.5", "none", "version 2, 12.5% of the requests", "Try version 2 as a canary?"),
    ],
    ids=["promote", "canary"],
)
def test_a_change_is_shown_before_it_is_made(
    operator: FlaskClient, query: str, now: str, then: str, button: str
) -> None:
    page = page_of(operator, f"/models/cells/release?{query}")
    assert [cell.text for cell in page.select("tbody td")] == [now, then]
    assert page.h1
    assert page.h1.text == button
    assert not page.select("input[type=password]"), "the demo has none"


@pytest.mark.parametrize(
    ("state", "then"),
    [
        (State(2, previous=1), ["version 2", "version 1"]),
        (State(1, candidate=2, weight_percent=10.0), ["version 2, 10% of the requests", "none"]),
    ],
    ids=["to the previous version", "out of a canary"],
)
def test_a_way_back_is_shown_before_it_is_taken(
    operator: FlaskClient, root: Path, state: State, then: list[str]
) -> None:
    Store(root, "cells").write(Record(state))
    page = page_of(operator, "/models/cells/release?what=rollback")
    assert [cell.text for cell in page.select("tbody td")] == then


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ("", "there is no such change"),
        ("what=explode", "there is no such change"),
        ("what=promote", "this is no version"),
        ("what=promote&version=x", "this is no version"),
        ("what=promote&version=0", "this is no version"),
        ("what=canary&version=2&weight=101", "this is no share"),
        ("what=canary&version=2&weight=nan", "this is no share"),
        ("what=canary&version=2&weight=", "this is no share"),
        ("what=rollback", "there is nothing to go back to"),
    ],
)
def test_a_change_that_is_none_is_refused_in_words(operator: FlaskClient, query: str, told: str) -> None:
    assert told in page_of(operator, f"/models/cells/release?{query}", 400).text


def test_a_change_decided_on_an_old_page_is_not_made(app: App, root: Path) -> None:
    client, before = app[0].test_client(), app[1].accounts.audit.entries()
    form = page_of(client, "/models/cells/release?what=promote&version=2").select("main form input")
    release(root, "cells", 1, 2, 50.0)
    answer = client.post("/models/cells/promote", data={field["name"]: field["value"] for field in form})
    assert answer.status_code == 409
    assert "somebody else changed the release meanwhile" in answer.text
    assert app[1].accounts.audit.entries() == before


def test_with_the_model_server_away_nothing_is_released_and_the_page_says_why(app: App, root: Path) -> None:
    client = app[0].test_client()
    before = Store(root, "cells").read()
    form = page_of(client, "/models/cells/release?what=promote&version=2").select("main form input")
    answer = client.post("/models/cells/promote", data={field["name"]: field["value"] for field in form})
    assert answer.status_code == 503
    assert "Retry-After" in answer.headers
    assert "This did not go through" in answer.text
    assert Store(root, "cells").read() == before
    assert [(e.who, e.action) for e in app[1].accounts.audit.entries(2)] == [
        ("demo", "release"),
        ("demo", "release refused"),
    ]


@pytest.mark.parametrize("what", ["promote", "canary", "rollback"])
def test_without_its_token_a_form_changes_nothing(operator: FlaskClient, what: str) -> None:
    assert operator.post(f"/models/cells/{what}", data={"version": "2", "weight": "5"}).status_code in (400, 403)


@pytest.mark.slow
def test_viewers_see_no_way_to_release_and_operators_must_say_their_password(
    make_app: Callable[..., App], root: Path
) -> None:
    app, services = make_app(serving=root, auth=True, secret_key=SECRET, secure_cookies=False, login_rate_limit="")
    add_users(services.accounts)
    viewer, operator = app.test_client(), app.test_client()
    log_in(viewer, "vera")
    assert "Make stable" not in viewer.get("/models/cells").text
    assert viewer.get("/models/cells/release?what=promote&version=2").status_code == 403
    log_in(operator, "otto")
    path = "/models/cells/release?what=promote&version=2"
    form = {field["name"]: field.get("value", "") for field in page_of(operator, path).select("main form input")}
    assert "password" in form
    for wrong in ("", "wrong", PASSWORD + "x"):
        answer = operator.post("/models/cells/promote", data=form | {"password": wrong})
        assert answer.status_code == 403
        assert "This is not your password" in answer.text
    assert not any(entry.action.startswith("release") for entry in services.accounts.audit.entries())


def test_the_list_says_what_monitoring_saw_last(make_app: Callable[..., App], root: Path) -> None:
    app, services = make_app(serving=root)
    now = datetime.now(timezone.utc)
    alarm = Alarm(1, "input.radius", 2, 3, now)
    for checked_at, alarms, words in (
        (None, (), "drift not measured yet"),
        (now, (), "no drift"),
        (now - timedelta(days=9), (), "drift not measured lately"),
        (now, (alarm,), "drift: radius"),
    ):
        if checked_at:
            DriftReport("cells", checked_at, 86400.0, (), alarms).write(services.settings.var)
        assert light_of(services.settings.var, "cells", now).words == words
    assert "drift: radius" in page_of(app.test_client(), "/models").text

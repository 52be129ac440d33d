"""Releases from the pages, on a model server that runs. Each test has a model of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from bs4 import BeautifulSoup
from flask.testing import FlaskClient

from common.errors import EnvironmentProblem
from common.files import locked
from serving.client.errors import ModelNotFound
from serving.release.state import LOCK, State, Store
from tests.support.serving.release_server import Hall, open_hall
from tests.support.serving.versions import copy_version, unloadable, wrong_golden
from tests.support.web.apps import App, own_app
from webapp.models import releases

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def hall(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hall]:
    with open_hall(tmp_path_factory.mktemp("hall")) as made:
        yield made


@pytest.fixture(scope="module")
def app(hall: Hall, tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    addresses, var = hall.running.addresses, tmp_path_factory.mktemp("app") / "var"
    with own_app(var, hall.context.root, addresses.rest, model_server_grpc=addresses.grpc) as made:
        yield made


@pytest.fixture
def browser(app: App) -> FlaskClient:
    return app[0].test_client()


def decide(browser: FlaskClient, model: str, query: str) -> tuple[int, str]:
    """Look at what a change would do, say yes, and return the status and the page that says how it went."""
    page = BeautifulSoup(browser.get(f"/models/{model}/release?{query}").text, "html.parser")
    form = page.select_one("main form")
    assert form, page.text
    values = {str(field["name"]): str(field["value"]) for field in form.select("input")}
    answer = browser.post(str(form["action"]), data=values)
    if answer.status_code == 303:
        return 303, browser.get(answer.headers["Location"]).text
    return answer.status_code, answer.text


def state(hall: Hall, model: str) -> State:
    record = Store(hall.context.root, model).read()
    assert record
    assert record.intent is None
    return record.state


def told(app: App, entries: int) -> list[tuple[str, str, str]]:
    return [(entry.who, entry.action, entry.detail) for entry in app[1].accounts.audit.entries(entries)]


def test_promote_canary_and_rollback_by_the_pages(hall: Hall, app: App, browser: FlaskClient) -> None:
    model = hall.model(1, 2, 3)
    status, page = decide(browser, model, "what=promote&version=2")
    assert (status, state(hall, model), hall.version(model, "stable")) == (303, State(2, previous=1), 2)
    assert "Done: version 2 is stable; 1 is kept loaded for a rollback." in page
    assert told(app, 2) == [
        ("demo", "release", f"{model}: promote version 2"),
        ("demo", "release done", f"{model}: {State(2, previous=1)}"),
    ]

    status, page = decide(browser, model, "what=canary&version=3&weight=12.5")
    assert (status, state(hall, model), hall.version(model, "candidate")) == (303, State(2, 1, 3, 12.5), 3)
    assert "candidate, 12.5% of the requests" in page
    loaded = BeautifulSoup(page, "html.parser").select("section.version")
    assert ["loaded" in " ".join(each.get_text(" ").split()) for each in loaded] == [True, True, True]

    assert decide(browser, model, "what=rollback")[0] == 303
    assert state(hall, model) == State(2, previous=1), "the canary was the last step"
    assert decide(browser, model, "what=rollback")[0] == 303
    assert (state(hall, model), hall.version(model, "stable")) == (State(1), 1)
    history = [(entry.what, entry.who) for entry in Store(hall.context.root, model).history()[1:]]
    assert history == [("promote", "demo"), ("canary 12.5%", "demo"), ("rollback", "demo"), ("rollback", "demo")]


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (wrong_golden, "answers by serving_default are wrong"),
        (unloadable, "could not load version 2"),
        (lambda folder: (folder / "assets.extra" / "golden.json").unlink(), "carries no golden rows"),
    ],
    ids=["wrong answers", "does not load", "no golden rows"],
)
def test_a_version_that_cannot_be_vouched_for_is_refused_in_words(
    hall: Hall, app: App, browser: FlaskClient, spoil: object, why: str
) -> None:
    model = hall.model(1)
    copy_version(hall.tiny, hall.base(model), 2, spoil)  # type: ignore[arg-type]
    status, page = decide(browser, model, "what=promote&version=2")
    assert status == 409
    assert "This did not go through" in page
    assert why in page
    assert (state(hall, model), hall.version(model, "stable")) == (State(1), 1)
    assert told(app, 1)[0][1] == "release refused"


def test_while_another_release_is_going_on_it_says_so_and_to_come_again(hall: Hall, browser: FlaskClient) -> None:
    model = hall.model(1, 2)
    with locked(hall.context.root / LOCK, "busy"):
        status, page = decide(browser, model, "what=promote&version=2")
    assert status == 503
    assert "another release is going on" in page
    assert state(hall, model) == State(1)


def test_what_cannot_be_put_on_record_is_not_done(hall: Hall, app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    model = hall.model(1, 2)

    def full(*_: object) -> None:
        raise EnvironmentProblem("the disk is full")

    monkeypatch.setattr(app[1].accounts.audit, "append", full)
    with pytest.raises(EnvironmentProblem, match="the disk is full"):
        releases.promote(app[1], model, "otto", 2)
    assert state(hall, model) == State(1)


def test_without_a_version_it_is_the_candidate_or_the_newest(hall: Hall, app: App) -> None:
    model = hall.model(1, 2, 3)
    assert releases.canary(app[1], model, "otto", 5) == State(1, None, 3, 5.0)
    assert releases.canary(app[1], model, "otto", 0) == State(1)
    assert releases.promote(app[1], model, "otto") == State(3, previous=1)
    assert releases.rollback(app[1], model, "otto") == State(1)


def test_a_model_that_is_not_there_cannot_be_released(app: App, tmp_path: Path) -> None:
    for act in (lambda: releases.promote(app[1], "nobody", "otto"), lambda: releases.rollback(app[1], "..", "otto")):
        with pytest.raises(ModelNotFound):
            act()

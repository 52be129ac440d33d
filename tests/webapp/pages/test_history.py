"""The history in a browser: search, one prediction, its true label, the CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from bs4 import BeautifulSoup
from flask.testing import FlaskClient

from serving.release.state import Entry, State, Store
from tests.support.web.apps import App, csrf_token, own_app
from tests.support.web.fake_model_server import FakeModelServer
from tests.support.web.logged import NOON, batch, minutes, put
from tests.support.web.models import Made, make_version, release
from tests.support.web.small_app import SECRET, add_users, log_in
from webapp.types import RequestInfo

ONE = "/history/cells/prediction?id=r1&row=0&day=2126-11-20"


@pytest.fixture(scope="module")
def app(webapp_root: Path, _fake: FakeModelServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    """Three predictions of `cells`, a minute apart, and some of `patients`."""
    with own_app(tmp_path_factory.mktemp("history") / "var", webapp_root / "serving", _fake.url) as made:
        base = made[1].settings.predictions
        for number, who in enumerate(("ann", "bob", "=cmd()")):
            put(base / "cells", batch(1, at=NOON + minutes(number), asked=RequestInfo(f"r{number}", who, "page")))
        put(base / "patients", batch(120, model="patients"))
        old = batch(1, model="patients", version=7, asked=RequestInfo("old", "bob", "api"), columns={"width": [1.5]})
        put(base / "patients", old)
        yield made


@pytest.fixture
def browser(app: App) -> FlaskClient:
    return app[0].test_client()


def page_of(client: FlaskClient, path: str, status: int = 200) -> BeautifulSoup:
    response = client.get(path)
    assert response.status_code == status, response.text
    return BeautifulSoup(response.text, "html.parser")


def times(page: BeautifulSoup) -> list[str]:
    return [str(time["datetime"]) for time in page.select("#predictions tbody td:first-child time")]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", "210"),
        ("?who=bob", "1"),
        ("?label=B", "210"),
        ("?label=M", ""),
        ("?version=1", "210"),
        ("?version=2", ""),
        ("?from=2126-11-20T14:01%2B02:00", "21"),
        ("?from=0001-01-01T00:00", "210"),
        ("?from=2126-11-20T12:01", "21"),
        ("?to=2126-11-20T12:01", "10"),
        ("?text=R2", "2"),
        ("?text=CMD(", "2"),
        ("?from=2126-11-20T12:01&to=2126-11-20T12:01", "1"),
        ("?page=2", ""),
        ("?page=x", "210"),
        ("?page=-1", "210"),
    ],
)
def test_the_table_has_what_passes_newest_first(browser: FlaskClient, query: str, expected: str) -> None:
    assert times(page_of(browser, f"/history/cells{query}")) == [f"2126-11-20T12:0{minute}:00Z" for minute in expected]


@pytest.mark.parametrize(
    ("query", "name"),
    [
        ("?from=yesterday", "from"),
        ("?to=2126-13-01", "to"),
        ("?to=9999-12-31T23:59", "to"),
        ("?version=two", "version"),
    ],
    ids=str,
)
def test_a_filter_that_means_nothing_is_refused_at_its_field(browser: FlaskClient, query: str, name: str) -> None:
    page = page_of(browser, f"/history/cells{query}", 400)
    assert page.select_one(f"#{name}")["aria-invalid"] == "true"  # type: ignore[index]
    assert page.select(f'.problems a[href="#{name}"]')
    assert not page.select("#predictions")


def test_pages_keep_the_filters(browser: FlaskClient) -> None:
    page = page_of(browser, "/history/patients?who=ann&page=2")
    assert [link["href"] for link in page.select("nav[aria-label=Pages] a")] == ["?who=ann&page=1", "?who=ann&page=3"]
    assert len(times(page)) == 50


def test_times_are_of_the_zone_that_the_form_says(browser: FlaskClient) -> None:
    query = "?from=2126-11-20T19:01&to=2126-11-20T19:01&zone=Asia/Jakarta"
    page = page_of(browser, f"/history/cells{query}")
    assert times(page) == ["2126-11-20T12:01:00Z"]
    assert "From (Asia/Jakarta)" in page.select_one("form.search").text  # type: ignore[union-attr]


@pytest.mark.parametrize("zone", ["Mars/Olympus", "../../etc/passwd", "x" * 150])
def test_a_zone_that_is_none_is_refused(browser: FlaskClient, zone: str) -> None:
    page = page_of(browser, f"/history/cells?from=2126-11-20T19:01&zone={zone}", 400)
    assert page.select_one("#from")["aria-invalid"] == "true"  # type: ignore[index]


def test_a_case_is_found_again_by_the_askers_own_reference(make_app: Callable[..., App]) -> None:
    app, services = make_app()
    client = app.test_client()
    form = {"radius": "18.5", "texture": "21", "smooth ness (mean)": "0.1", "__reference": " Sample 17/b "}
    page = client.post("/predict/cells", data=form | {"csrf_token": csrf_token(client, "/predict/cells")})
    assert "Sample 17/b" in BeautifulSoup(page.text, "html.parser").select_one("#result .facts").text  # type: ignore[union-attr]
    row = {"radius": 18.5, "texture": 21, "smooth ness (mean)": 0.1}
    client.post("/api/v1/predict", json={"row": row, "reference": "sample 18"})
    client.post("/api/v1/predict", json={"row": row})
    assert services.log.flush(5)
    found = page_of(client, "/history/cells?text=sample 17")
    assert [name.text for name in found.select("#predictions tbody tr .reference")] == ["Sample 17/b"]
    assert "Sample 17/b" in page_of(client, str(found.select_one("tbody a")["href"])).text  # type: ignore[index]
    exported = csv.DictReader(io.StringIO(client.get("/history/cells/export.csv").text))
    assert sorted(row["reference"] for row in exported) == ["", "Sample 17/b", "sample 18"]


CASES = """{},radius,texture,smooth ness (mean)
sample 1,18.5,21,0.1
sample 2,wide,21,0.1
  sample 3 ,11,17,0.1
,11,17,0.1
"""


@pytest.mark.parametrize("way", ["API", "API, a column by name", "page", "page, a column by name"])
def test_the_rows_of_a_file_are_found_by_the_references_in_a_column(make_app: Callable[..., App], way: str) -> None:
    app, services = make_app()
    client, by_name = app.test_client(), "name" in way
    text = CASES.format("Probe" if by_name else "reference")
    if way.startswith("API"):
        query = {"reference": "Probe"} if by_name else {}
        answer = client.post("/api/v1/predict/csv", data=text, content_type="text/csv", query_string=query)
    else:
        form = {"csrf_token": csrf_token(client, "/batch/cells"), "reference_column": "Probe" if by_name else ""}
        answer = client.post("/batch/cells", data=form | {"file": (io.BytesIO(text.encode()), "cases.csv")})
    assert answer.status_code == 200
    assert services.log.flush(5)
    found = page_of(client, "/history/cells?text=sample 3")
    assert [name.text for name in found.select("#predictions tbody tr .reference")] == ["sample 3"]
    exported = csv.DictReader(io.StringIO(client.get("/history/cells/export.csv").text))
    rows = {(row["reference"], row["row"], row["label"]) for row in exported}
    assert rows == {("sample 1", "0", "M"), ("sample 3", "1", "B"), ("", "2", "B")}


def test_a_column_of_references_that_is_not_there_is_refused(client: FlaskClient) -> None:
    query = {"reference": "Prob"}
    answer = client.post("/api/v1/predict/csv", data=CASES, content_type="text/csv", query_string=query)
    [error] = answer.json["errors"]
    assert (answer.status_code, error["field"], error["rule"]) == (400, "Prob", "must be a column of the file")


@pytest.mark.parametrize(
    "path", ["/by-index/cells?i=3&reference= my case ", "/api/v1/predict/by-index/3?reference=my case"]
)
def test_a_held_out_case_is_found_by_its_reference(make_app: Callable[..., App], path: str) -> None:
    app, services = make_app()
    client = app.test_client()
    assert client.get(path).status_code == 200
    assert services.log.flush(5)
    found = page_of(client, "/history/cells?text=my case")
    assert [name.text for name in found.select("#predictions tbody tr .reference")] == ["my case"]


def test_files_from_before_there_were_references_are_read(make_app: Callable[..., App]) -> None:
    app, services = make_app()
    base = services.settings.predictions / "cells"
    path = put(base, batch(1, asked=RequestInfo("old", "ann", "page")))
    pq.write_table(pq.read_table(path, partitioning=None).drop(["reference"]), path)
    put(base, batch(1, at=NOON + minutes(1), asked=RequestInfo("new", "ann", "page", reference="mine")))
    client = app.test_client()
    assert len(times(page_of(client, "/history/cells"))) == 2
    assert times(page_of(client, "/history/cells?text=mine")) == ["2126-11-20T12:01:00Z"]
    assert times(page_of(client, "/history/cells?text=old")) == ["2126-11-20T12:00:00Z"]
    assert page_of(client, "/history/cells/prediction?id=old").select("#answer")


def test_predictions_of_a_version_that_was_rolled_back_later_are_said_to_be(
    make_app: Callable[..., App], made: dict[str, Made], tmp_path: Path
) -> None:
    for version in (1, 2):
        make_version(tmp_path / "serving", made["cells"], version)
    release(tmp_path / "serving", "cells", 1)
    app, services = make_app(serving=tmp_path / "serving")
    for version in (1, 2):
        put(services.settings.predictions / "cells", batch(1, at=NOON + minutes(version), version=version))
    client, store = app.test_client(), Store(tmp_path / "serving", "cells")
    store.log(entry("promote", State(1), State(2, previous=1)))
    assert "rolled back" not in page_of(client, "/history/cells").text
    store.log(entry("rollback", State(2, previous=1), State(1)))
    page = page_of(client, "/history/cells")
    assert "Version 2 was rolled back, 21 Nov 2026" in page.text
    assert [badge.find_parent("tr").time["datetime"] for badge in page.select("tbody .badge.warn")] == [  # type: ignore[union-attr, index]
        "2126-11-20T12:02:00Z"
    ]
    link = page.select_one('.note-box a[href="?version=2"]')
    assert link
    assert times(page_of(client, f"/history/cells{link['href']}")) == ["2126-11-20T12:02:00Z"]
    store.log(entry("promote", State(1), State(2, previous=1)))
    assert "rolled back" not in page_of(client, "/history/cells").text, "it answers again"


def entry(what: str, before: State, after: State) -> Entry:
    return Entry(f"{what}{after}", "2026-11-21T09:00:00.000+00:00", "olga", what, before, after, "", "", "")


def test_without_predictions_it_says_so(browser: FlaskClient) -> None:
    assert "Nothing was predicted yet" in page_of(browser, "/history/flowers").text
    assert "No prediction passes these filters" in page_of(browser, "/history/flowers?who=ann").text


def test_opted_out_it_says_so(make_app: Callable[..., App]) -> None:
    app, _ = make_app(log_predictions=False)
    assert "Predictions are not kept at present" in page_of(app.test_client(), "/history/cells").text


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/history/nobody", 404),
        ("/history/cells/prediction?id=none", 404),
        ("/history/cells/prediction", 404),
        ("/history/cells/prediction?id=r1&row=x", 400),
        ("/history/cells/prediction?id=r1&day=x", 400),
        ("/history/cells/prediction?id=r1&row=99999999999999999999", 404),
        ("/history/cells/prediction?id=r1&day=9999-12-31", 404),
        ("/history/cells/prediction?id=r%C3%A9", 404),
        ("/history/cells/prediction?id=r1&row=-1", 404),
        ("/history/cells/prediction?id=%00", 404),
        ("/history/nobody/export.csv", 404),
        ("/history/cells/export.csv?from=x", 400),
    ],
)
def test_what_is_not_there_is_not_found(browser: FlaskClient, path: str, status: int) -> None:
    page_of(browser, path, status)


def test_one_prediction_shows_what_went_in_and_what_came_out(browser: FlaskClient) -> None:
    link = page_of(browser, "/history/cells?who=bob").select_one("#predictions tbody a")
    assert link
    page = page_of(browser, str(link["href"]))
    told = " ".join(page.select_one("#answer").get_text(" ").split())  # type: ignore[union-attr]
    for words in ("Predicted B", "Probability of B 75.0%", "Version 1 (stable)", "Who bob", "From page", "r1"):
        assert words in told
    inputs = {row.th.text: row.td.text for row in page.select("#inputs tbody tr") if row.th and row.td}
    assert inputs == {"Radius": "10", "Texture": "18", "Smooth ness (mean)": "0.1"}
    assert "Nobody said yet" in page.text


def test_no_probability_is_told_as_a_certainty(make_app: Callable[..., App]) -> None:
    app, services = make_app()
    certain = batch(1, asked=RequestInfo("sure", "ann", "page"), probabilities=np.float32([[0.0, 1.0]]))
    put(services.settings.predictions / "cells", certain)
    client = app.test_client()
    assert [cell.text for cell in page_of(client, "/history/cells").select("tbody td.probability")] == ["> 99.9%"]
    answer = page_of(client, "/history/cells/prediction?id=sure").select_one("#answer")
    assert "Probability of B < 0.1%" in " ".join(answer.get_text(" ").split())  # type: ignore[union-attr]


def test_the_true_label_is_written_down_and_shown_in_the_table(browser: FlaskClient) -> None:
    form = {"csrf_token": csrf_token(browser, ONE), "id": "r1", "row": "0", "day": "2126-11-20", "label": "M"}
    answer = browser.post("/history/cells/feedback", data=form)
    assert (answer.status_code, answer.headers["Location"]) == (303, ONE)
    page = page_of(browser, ONE)
    assert "The true label is written down" in page.text
    assert "M said demo" in " ".join(page.select_one("#truth").get_text(" ").split())  # type: ignore[union-attr]
    row = page_of(browser, "/history/cells?who=bob").select_one("#predictions .badge.fail")
    assert row
    assert row.text == "M"


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"label": "X"}, 400),
        ({"label": ""}, 400),
        ({"id": "none"}, 404),
        ({"row": "x"}, 400),
        ({"csrf_token": "x"}, 400),
    ],
    ids=str,
)
def test_a_label_that_cannot_be_is_refused(browser: FlaskClient, change: dict[str, str], status: int) -> None:
    form = {"csrf_token": csrf_token(browser, ONE), "id": "r0", "row": "0", "day": "2126-11-20", "label": "M"}
    assert browser.post("/history/cells/feedback", data=form | change).status_code == status
    assert "Nobody said yet" in page_of(browser, ONE.replace("r1", "r0")).text


def test_the_csv_has_what_passes_and_no_formula(browser: FlaskClient) -> None:
    response = browser.get("/history/cells/export.csv")
    assert response.mimetype == "text/csv"
    assert response.headers["Content-Disposition"] == 'attachment; filename="cells-predictions.csv"'
    assert [row["who"] for row in csv.DictReader(io.StringIO(response.text))] == ["'=cmd()", "bob", "ann"]
    filtered = browser.get("/history/cells/export.csv?who=ann")
    assert [row["request_id"] for row in csv.DictReader(io.StringIO(filtered.text))] == ["r0"]


def test_a_prediction_of_a_version_that_is_gone_is_shown_all_the_same(browser: FlaskClient) -> None:
    page = page_of(browser, "/history/patients/prediction?id=old")
    assert "width" in page.select_one("#inputs").text  # type: ignore[union-attr]


@pytest.mark.slow
def test_viewers_read_and_operators_write(make_app: Callable[..., App]) -> None:
    app, services = make_app(auth=True, secret_key=SECRET, secure_cookies=False, login_rate_limit="")
    add_users(services.accounts)
    put(services.settings.predictions / "cells", batch(1, asked=RequestInfo("r1", "ann", "page")))
    client = app.test_client()
    log_in(client, "vera")
    assert "Write it down" not in client.get(ONE).text
    token = {"csrf_token": csrf_token(client, "/account")}
    assert client.post("/history/cells/feedback", data=token | {"id": "r1", "label": "M"}).status_code == 403
    log_in(client, "otto")
    assert "Write it down" in client.get(ONE).text

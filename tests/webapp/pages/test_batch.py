from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from bs4 import BeautifulSoup
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from tests.support.web.apps import App, csrf_token
from tests.support.web.fake_model_server import FakeModelServer
from webapp.bulk.jobs import new_id
from webapp.tables import jobs

CELLS = "/batch/cells"
HEADER = "radius,texture,smooth ness (mean)"
FETCH = {"X-Requested-With": "fetch"}


def send(
    client: FlaskClient, content: str | None, headers: Mapping[str, str] | None = None, token: str = ""
) -> TestResponse:
    data: dict[str, object] = {"csrf_token": csrf_token(client, CELLS), "token": token}
    if content is not None:
        data["file"] = (io.BytesIO(content.encode()), "cases.csv")
    return client.post(CELLS, data=data, headers=dict(headers or {}))


def soup(response: TestResponse) -> BeautifulSoup:
    return BeautifulSoup(response.text, "html.parser")


def result_link(response: TestResponse) -> str:
    found = re.search(r'href="(/batch/cells/results/[^"]+)"', response.text)
    assert found
    return found[1]


def test_a_file_comes_back_with_predictions(visitor: FlaskClient) -> None:
    response = send(visitor, f"{HEADER}\n18.5,21,0.1\n11,17,0.1\n")
    assert response.status_code == 200
    assert "2 rows predicted" in soup(response).select_one("#result h2").text  # type: ignore[union-attr]
    download = visitor.get(result_link(response))
    rows = list(csv.DictReader(io.StringIO(download.text)))
    assert [(row["radius"], row["label"], row["version"]) for row in rows] == [("18.5", "M", "1"), ("11", "B", "1")]
    assert download.headers["Content-Disposition"] == "attachment; filename=cells-v1-predictions.csv"
    assert download.headers["Cache-Control"] == "private, no-store"


def test_the_template_can_be_uploaded_as_it_is(visitor: FlaskClient) -> None:
    template = visitor.get(f"{CELLS}/template.csv")
    assert template.mimetype == "text/csv"
    assert len(list(csv.reader(io.StringIO(template.text)))) == 4
    assert "3 rows predicted" in send(visitor, template.text).text


def test_rows_with_errors_are_listed_with_line_field_rule_and_example(visitor: FlaskClient) -> None:
    page = soup(send(visitor, f'{HEADER}\n18.5,21,0.1\nabc,21,0.1\n18.5,"2,5",0.1\n18.5,21,\n'))
    told = [[cell.text for cell in row.select("td")] for row in page.select("#wrong tbody tr")]
    assert [row[:4] for row in told] == [
        ["3", "radius", "must be a number", "abc"],
        ["4", "texture", "must be a number with a decimal point, not a comma", "2,5"],
        ["5", "smooth ness (mean)", "must be given", "nothing"],
    ]
    assert all(row[4] for row in told)
    assert "1 row predicted, 3 left out" in " ".join(page.select_one("#result h2").text.split())  # type: ignore[union-attr]


def test_labels_and_scores_are_shown_as_they_lie(visitor: FlaskClient) -> None:
    page = soup(send(visitor, f"{HEADER};x\n".replace(",", ";") + "18.5;21;0.1;a\n11;17;0.1;b\n11;17;0.1;c\n"))
    counts = dict(zip((dt.text for dt in page.select(".shares dt")), page.select(".shares dd"), strict=True))
    assert {label: dd.text.split()[0] for label, dd in counts.items()} == {"B": "2", "M": "1"}
    assert page.select("#result svg[role=img]")


def test_a_column_called_label_does_not_hide_ours(visitor: FlaskClient) -> None:
    page = soup(send(visitor, f"{HEADER},label\n18.5,21,0.1,mine\n"))
    assert [dt.text for dt in page.select(".shares dt")] == ["M"]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        pytest.param(None, "must be given", id="no-file"),
        pytest.param("radius,texture\n1,2\n", "smooth ness (mean)", id="missing-column"),
        pytest.param(f"{HEADER}\n", "at least one row", id="header-only"),
        pytest.param("", "", id="empty"),
    ],
)
def test_a_file_that_is_none_is_refused_as_a_whole(visitor: FlaskClient, content: str | None, told: str) -> None:
    response = send(visitor, content)
    page = soup(response)
    assert response.status_code == 400
    assert told in page.select_one("#problems").text  # type: ignore[union-attr]
    assert page.select('#problems a[href="#file"]')
    assert not page.select("#result h2")


def test_the_same_fault_of_many_columns_is_told_once(visitor: FlaskClient) -> None:
    [problem] = soup(send(visitor, "case\n7\n")).select("#problems li")
    assert problem.text.startswith("radius, texture, smooth ness (mean): ")


def test_too_many_rows_are_refused(make_app: Callable[..., App]) -> None:
    client = make_app(max_upload_rows=2)[0].test_client()
    response = send(client, f"{HEADER}\n" + "18.5,21,0.1\n" * 3)
    assert response.status_code == 413
    assert not list_of_results(client)


def list_of_results(client: FlaskClient) -> list[Path]:
    folder = client.application.extensions["vouch"].settings.var / "webapp" / "batches"
    return sorted(folder.glob("*.csv"))


def test_the_script_gets_the_result_and_a_token_for_the_next_file(visitor: FlaskClient) -> None:
    token = new_id()
    parts = soup(send(visitor, f"{HEADER}\n18.5,21,0.1\n", FETCH, token))
    assert [part["id"] for part in parts.select("[data-swap]")] == ["problems", "token", "result"]
    assert parts.select_one("#token")["value"] != token  # type: ignore[index]
    assert visitor.get(f"{CELLS}/progress/{token}").json == {"rows": 1, "share": 1.0}


def test_a_token_that_is_taken_is_not_used_again(visitor: FlaskClient) -> None:
    token = new_id()
    first = result_link(send(visitor, f"{HEADER}\n18.5,21,0.1\n", token=token))
    second = result_link(send(visitor, f"{HEADER}\n11,17,0.1\n", token=token))
    assert token in first
    assert token not in second
    assert "18.5" in visitor.get(first).text


def test_a_result_of_the_release_before_is_shown_without_its_summary(visitor: FlaskClient) -> None:
    token = new_id()
    send(visitor, f"{HEADER}\n18.5,21,0.1\n", token=token)
    with visitor.application.extensions["vouch"].database.writing() as connection:
        kept = json.loads(connection.execute(jobs.select().where(jobs.c.id == token)).one().result)
        old = {name: value for name, value in kept["result"].items() if name not in ("labels", "bins")}
        text = json.dumps({"result": old, "summary": {"labels": [["M", 1]], "bins": [[0.0, 1.0, 1.0]]}})
        connection.execute(jobs.update().where(jobs.c.id == token).values(result=text))
    shown = soup(visitor.get(f"{CELLS}/jobs/{token}")).select_one("#result")
    assert shown
    assert "1 row predicted" in shown.text
    assert "Labels" not in shown.text
    assert "None" not in shown.text


@pytest.mark.parametrize("path", ["results/{}.csv", "progress/{}"])
def test_what_somebody_else_uploaded_is_not_found(visitor: FlaskClient, path: str) -> None:
    token = new_id()
    send(visitor, f"{HEADER}\n18.5,21,0.1\n", token=token)
    address = f"{CELLS}/{path.format(token)}"
    assert visitor.get(address).status_code == 200
    with visitor.application.extensions["vouch"].database.writing() as connection:
        connection.execute(jobs.update().where(jobs.c.id == token).values(owner="somebody else"))
    assert visitor.get(address).status_code == 404


@pytest.mark.parametrize("token", ["x" * 32, "..%2F..%2Fwebapp", "short"])
def test_a_token_that_is_none_finds_nothing(visitor: FlaskClient, token: str) -> None:
    assert visitor.get(f"{CELLS}/results/{token}.csv").status_code == 404


def test_a_model_server_in_trouble_leaves_nothing_behind(make_app: Callable[..., App], fake: FakeModelServer) -> None:
    client = make_app(model_server_timeout_s=0.3)[0].test_client()
    fake.mood = "closing"
    response = send(client, f"{HEADER}\n18.5,21,0.1\n")
    assert response.status_code == 503
    assert "No prediction this time" in response.text
    assert not list_of_results(client)

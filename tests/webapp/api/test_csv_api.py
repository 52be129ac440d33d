"""A CSV over the API: in as a body or a form, out as a CSV or as a summary."""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from tests.support.web.models import Made
from webapp.api.schemas import CsvSummary, JobItem

URL = "/api/v1/predict/csv"
Apps = Callable[..., Any]


def as_csv(made: Made, rows: int = 20) -> str:
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(["id", *made.columns])
    writer.writerows([number, *(values[number] for values in made.columns.values())] for number in range(rows))
    return out.getvalue()


def uploaded(client: FlaskClient, text: str, way: str, **more: Any) -> Any:
    if way == "body":
        return client.post(URL, data=text, content_type="text/csv", **more)
    return client.post(URL, data={"file": (io.BytesIO(text.encode()), "../../rows.csv")}, **more)


@pytest.mark.parametrize("way", ["body", "form"])
@pytest.mark.parametrize("model", ["cells", "patients", "flowers"])
def test_every_row_comes_back_with_what_the_model_says(
    client: FlaskClient, made: dict[str, Made], model: str, way: str
) -> None:
    response = uploaded(client, as_csv(made[model]), way, query_string={"model": model})
    assert (response.status_code, response.content_type) == (200, "text/csv; charset=utf-8"), response.text
    rows = list(csv.DictReader(io.StringIO(response.text)))
    assert [row["id"] for row in rows] == list(map(str, range(20)))
    assert {row["label"] for row in rows} <= set(made[model].classes)
    assert {row["version"] for row in rows} == {"1"}
    assert (response.headers["X-Model"], response.headers["X-Rows"], response.headers["X-Failed"]) == (model, "20", "0")


def test_a_summary_tells_which_rows_are_left_out_and_why(client: FlaskClient, made: dict[str, Made]) -> None:
    lines = as_csv(made["cells"]).splitlines()
    lines[3] = "2,,20.5,0.1"
    response = uploaded(client, "\n".join(lines), "body", headers={"Accept": "application/json"})
    found = CsvSummary.model_validate(response.json)
    assert (found.rows, found.failed, found.model) == (19, 1, "cells")
    [error] = found.errors
    assert (error.field, error.row) == ("radius", 4)
    assert [(each.field, each.rows) for each in found.rules] == [("radius", 1)]


@pytest.mark.parametrize("accept", ["text/csv", "application/json"])
def test_nothing_is_left_on_disk(make_app: Apps, made: dict[str, Made], tmp_path: Path, accept: str) -> None:
    app, _ = make_app()
    response = uploaded(app.test_client(), as_csv(made["cells"]), "body", headers={"Accept": accept})
    assert response.status_code == 200
    assert response.data
    assert [path for path in (tmp_path / "var" / "uploads").rglob("*") if path.is_file()] == []


@pytest.mark.parametrize(
    ("text", "field", "status"),
    [
        ("", "", 400),
        ("a,b\n1,2\n", "radius", 400),
        ("radius,texture,smooth ness (mean)\n", "", 400),
        ("radius,radius\n1,2\n", "radius", 400),
        ("\x00\x01\x02", "radius", 400),
        ('"', "", 400),
    ],
    ids=["empty", "other columns", "header only", "column twice", "binary", "quote"],
)
def test_a_file_that_is_none_is_refused(client: FlaskClient, text: str, field: str, status: int) -> None:
    response = uploaded(client, text, "body")
    assert (response.status_code, response.content_type) == (status, "application/problem+json")
    assert response.json["errors"]


@pytest.mark.parametrize(
    ("part", "got"),
    [(b'name="csv"; filename="a.csv"', "csv"), (b'filename="a.csv"', "None"), (b'name="file"', "file")],
    ids=["another name", "no name", "text"],
)
def test_a_form_without_the_file_is_told(client: FlaskClient, part: bytes, got: str) -> None:
    body = b"--x\r\nContent-Disposition: form-data; " + part + b"\r\n\r\na\r\n--x--\r\n"
    response = client.post(URL, data=body, content_type="multipart/form-data; boundary=x")
    [error] = response.json["errors"]
    assert (response.status_code, error["field"], error["got"]) == (400, "file", got)


@pytest.mark.parametrize(
    "content_type",
    ["application/json", "", "text/csv; charset=utf-16", "multipart/form-data"],
    ids=["json", "none", "charset", "no boundary"],
)
def test_another_type_is_refused(client: FlaskClient, content_type: str) -> None:
    response = client.post(URL, data=b"a,b", content_type=content_type)
    assert response.status_code == (400 if "multipart" in content_type else 415)


def test_more_bytes_or_rows_than_are_taken_are_refused(make_app: Apps, made: dict[str, Made], tmp_path: Path) -> None:
    text = as_csv(made["cells"])
    app, _ = make_app(max_upload_rows=5)
    assert uploaded(app.test_client(), text, "body").status_code == 413
    app, _ = make_app(max_upload_bytes=200)
    assert uploaded(app.test_client(), text, "body").status_code == 413
    stream = io.BytesIO(text.encode() * 1000)
    response = app.test_client().post(
        URL, input_stream=stream, content_type="text/csv", environ_overrides={"wsgi.input_terminated": True}
    )
    assert response.status_code == 413
    assert stream.tell() <= 201
    assert list((tmp_path / "var").glob("uploads/*")) == []


def test_who_takes_neither_csv_nor_json_is_told(client: FlaskClient) -> None:
    assert uploaded(client, "a", "body", headers={"Accept": "image/png"}).status_code == 406


def finished(client: FlaskClient, location: str) -> JobItem:
    deadline = time.monotonic() + 60
    while (job := JobItem.model_validate(client.get(location).json)).state in ("waiting", "running"):
        assert time.monotonic() < deadline
    return job


def test_a_job_outlives_its_request_and_is_fetched_when_it_is_done(client: FlaskClient, made: dict[str, Made]) -> None:
    response = client.post("/api/v1/jobs", data=as_csv(made["cells"]), content_type="text/csv")
    assert response.status_code == 202, response.text
    job = finished(client, response.headers["Location"])
    assert (job.state, job.rows, job.share) == ("done", 20, 1.0)
    assert job.summary is not None
    result = client.get(f"{response.headers['Location']}/result")
    assert result.content_type == "text/csv; charset=utf-8"
    assert len(list(csv.DictReader(io.StringIO(result.text)))) == 20


def test_a_job_that_was_refused_says_what_is_wrong_and_has_no_result(client: FlaskClient) -> None:
    response = client.post("/api/v1/jobs", data="radius\n1\n", content_type="text/csv")
    job = finished(client, response.headers["Location"])
    assert (job.state, job.summary) == ("refused", None)
    assert [error.field for error in job.errors] == ["texture", "smooth ness (mean)"]
    assert client.get(f"{response.headers['Location']}/result").status_code == 404


def test_a_job_for_a_model_that_is_not_there_is_refused_at_once(client: FlaskClient) -> None:
    assert client.post("/api/v1/jobs?model=nothing", data="a\n1\n", content_type="text/csv").status_code == 404

"""The true label of a prediction, told over the API."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from flask.testing import FlaskClient

from common.records import labels
from tests.support.web.apps import App
from tests.support.web.models import Made

URL = "/api/v1/feedback"


def predicted(client: FlaskClient, made: Made, rows: int) -> str:
    body = {"model": made.name, "rows": [made.row(number) for number in range(rows)]}
    return str(client.post("/api/v1/predict", json=body).json["request_id"])


def test_a_true_label_is_kept_with_the_row(client: FlaskClient, made: dict[str, Made]) -> None:
    request_id = predicted(client, made["flowers"], 3)
    body = {"model": "flowers", "request_id": request_id, "row": 2, "label": "setosa"}
    response = client.post(URL, json=body)
    assert (response.status_code, response.json) == (201, body)


def test_the_first_row_of_the_default_model_is_meant_unless_said(client: FlaskClient, made: dict[str, Made]) -> None:
    request_id = predicted(client, made["cells"], 1)
    response = client.post(URL, json={"request_id": request_id, "label": "M"})
    assert response.json == {"model": "cells", "request_id": request_id, "row": 0, "label": "M"}


@pytest.mark.parametrize(
    ("more", "status"),
    [({"row": 5}, 404), ({"label": "Z"}, 400), ({"model": "other"}, 404), ({"model": "flowers"}, 404)],
    ids=str,
)
def test_what_does_not_fit_a_prediction_is_refused(
    client: FlaskClient, made: dict[str, Made], more: dict[str, Any], status: int
) -> None:
    body = {"request_id": predicted(client, made["cells"], 1), "label": "M"} | more
    response = client.post(URL, json=body)
    assert (response.status_code, response.content_type) == (status, "application/problem+json")


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ({}, {"request_id", "label"}),
        ({"request_id": "../..", "label": "M"}, {"request_id"}),
        ({"request_id": "0" * 32, "label": "", "row": -1}, {"label", "row"}),
        ({"request_id": "0" * 32, "label": "M", "row": 1.5}, {"row"}),
        ({"request_id": "0" * 32, "label": "M", "row": True}, {"row"}),
        ({"request_id": "0" * 32, "label": "M", "who": "me"}, {"who"}),
    ],
    ids=lambda value: " ".join(sorted(value)),
)
def test_every_wrong_key_is_named(client: FlaskClient, body: dict[str, Any], fields: set[str]) -> None:
    response = client.post(URL, json=body)
    assert response.status_code == 400
    assert {each["field"] for each in response.json["errors"]} == fields


def test_a_whole_number_may_be_written_with_a_point(client: FlaskClient, made: dict[str, Made]) -> None:
    request_id = predicted(client, made["cells"], 2)
    text = f'{{"request_id": "{request_id}", "label": "B", "row": 1.0}}'
    assert client.post(URL, data=text, content_type="application/json").json["row"] == 1


def test_many_labels_are_told_at_once(client: FlaskClient, made: dict[str, Made]) -> None:
    first, second = (predicted(client, made["cells"], 3) for _ in range(2))
    told = [{"request_id": each, "row": row, "label": "M"} for each in (first, second) for row in range(3)]
    response = client.post(f"{URL}/rows", json={"labels": told})
    assert (response.status_code, response.json) == (201, {"model": "cells", "kept": 6})


@pytest.mark.parametrize(
    ("wrong", "status"),
    [({"row": 5}, 404), ({"label": "Z"}, 400), ({"request_id": "0" * 32}, 404), ({"who": "me"}, 400)],
    ids=str,
)
def test_of_many_labels_all_are_kept_or_none(
    make_app: Callable[..., App], made: dict[str, Made], wrong: dict[str, Any], status: int
) -> None:
    app, app_services = make_app()
    client = app.test_client()
    request_id = predicted(client, made["cells"], 2)
    told = [{"request_id": request_id, "row": row, "label": "M"} for row in range(2)]
    assert client.post(f"{URL}/rows", json={"labels": [told[0], told[1] | wrong]}).status_code == status
    with app_services.database.reading() as connection:
        assert labels.of_requests(connection, "cells", [request_id]) == {}


@pytest.mark.parametrize("told", [[], [{"request_id": "0" * 32, "label": "M"}] * 1001], ids=["none", "too many"])
def test_no_label_and_too_many_are_refused(client: FlaskClient, told: list[Any]) -> None:
    assert client.post(f"{URL}/rows", json={"labels": told}).status_code == 400

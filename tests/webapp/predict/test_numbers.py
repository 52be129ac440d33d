"""A model that predicts numbers, at every door of the web app."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bs4 import BeautifulSoup
from flask.testing import FlaskClient

from serving.client.errors import BadAnswer
from tests.support.web.apps import App, csrf_token, own_app
from tests.support.web.fake_model_server import FakeModelServer
from tests.support.web.models import HALF_WIDTH, homes, make_version, release
from webapp.api.schemas import HeldOut, ModelDetail, NumberPrediction, Predictions
from webapp.predict.answers import read_answer
from webapp.services import Services

ROW = {"area": 100.0, "age": 20.0}
PRICE = 280.0


@pytest.fixture(scope="module")
def numbers_app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    folder = tmp_path_factory.mktemp("homes")
    server = FakeModelServer({("homes", 1): homes()})
    server.start()
    make_version(folder / "serving", homes(), 1, {"r2": [0.98, 0.97, 0.99]})
    release(folder / "serving", "homes", 1)
    with own_app(folder / "var", folder / "serving", server.url) as made:
        yield made
    server.stop()


@pytest.fixture
def client(numbers_app: App) -> FlaskClient:
    return numbers_app[0].test_client()


@pytest.fixture
def services(numbers_app: App) -> Services:
    return numbers_app[1]


def page(client: FlaskClient, url: str, **form: str) -> BeautifulSoup:
    response = client.post(url, data=form) if form else client.get(url)
    assert response.status_code == 200, response.text
    return BeautifulSoup(response.text, "html.parser")


def test_the_api_answers_a_value_with_its_interval(client: FlaskClient) -> None:
    answer = Predictions.model_validate(client.post("/api/v1/predict", json={"rows": [ROW]}).json)
    [prediction] = answer.predictions
    assert isinstance(prediction, NumberPrediction)
    assert (prediction.value, answer.threshold) == (PRICE, None)
    assert (prediction.lower, prediction.upper) == (PRICE - HALF_WIDTH, PRICE + HALF_WIDTH)


def test_a_held_out_row_comes_with_its_true_number(client: FlaskClient) -> None:
    answer = HeldOut.model_validate(client.get("/api/v1/predict/by-index/0").json)
    assert isinstance(answer.prediction, NumberPrediction)
    assert float(answer.true_label) == pytest.approx(homes().labels[200])


def test_the_api_says_that_it_is_regression(client: FlaskClient) -> None:
    detail = ModelDetail.model_validate(client.get("/api/v1/models/homes").json)
    assert (detail.task, detail.classes, detail.promised) == ("regression", [], 0.9)


def test_the_page_shows_value_interval_and_what_drives_it(client: FlaskClient) -> None:
    token = page(client, "/predict/homes").find("input", {"name": "csrf_token"})
    shown = page(client, "/predict/homes", area="100", age="20", csrf_token=str(token["value"]) if token else "")
    verdict = shown.select_one(".verdict h2")
    assert verdict is not None
    assert "280" in verdict.text
    assert "260 to 300 in 90.0% of cases" in verdict.text
    assert shown.select_one("svg.chart--gauge title").text == "Predicted Outcome"  # type: ignore[union-attr]
    assert "percentage points" not in shown.text
    assert "Close call" not in shown.text


def test_the_contributions_add_up_to_the_number(client: FlaskClient, services: Services) -> None:
    from webapp.insight.explain import asker, explain

    model_version = services.catalog.model_version("homes", 1)
    explained = explain(model_version, ROW, asker(services.predictor, model_version))
    assert explained.is_number
    total = explained.base + sum(effect.effect for effect in explained.effects)
    assert total == pytest.approx(explained.probability) == pytest.approx(PRICE)


def test_examples_are_of_the_low_the_middle_and_the_high(client: FlaskClient) -> None:
    texts = page(client, "/predict/homes").text
    assert all(f"Typical {third} outcome" in texts for third in ("low", "middle", "high"))


def test_a_row_of_the_test_split_says_whether_the_interval_holds_it(client: FlaskClient) -> None:
    texts = [page(client, f"/by-index/homes?i={number}").select_one(".verdict").text for number in range(8)]  # type: ignore[union-attr]
    assert all("inside the interval" in text or "outside the interval" in text for text in texts)
    assert any("inside the interval" in text for text in texts)


def test_a_csv_comes_back_with_value_and_bounds(client: FlaskClient) -> None:
    body: dict[str, Any] = {"file": (io.BytesIO(b"area,age\n100,20\n50,10\n"), "homes.csv")}
    reply = client.post("/api/v1/predict/csv", data=body)
    lines = reply.text.splitlines()
    assert lines[0] == "area,age,value,lower,upper,version,warnings"
    assert lines[1].startswith("100,20,280")


def test_a_batch_of_numbers_shows_how_they_spread(client: FlaskClient) -> None:
    file = (io.BytesIO(b"area,age\n100,20\n50,10\n"), "homes.csv")
    reply = client.post("/batch/homes", data={"file": file, "csrf_token": csrf_token(client, "/batch/homes")})
    assert reply.status_code == 200, reply.text
    result = BeautifulSoup(reply.text, "html.parser").select_one("#result")
    assert result
    assert "2 rows predicted" in " ".join(result.text.split())
    assert "How the values lie" in result.text
    assert "Labels" not in result.text
    assert result.select_one("svg")


def test_the_history_keeps_the_number_and_what_turned_out_to_be_true(client: FlaskClient, services: Services) -> None:
    answer = client.post("/api/v1/predict", json={"rows": [ROW]}).json
    assert services.log.flush(10)
    body = {"request_id": answer["request_id"], "label": "291.5"}
    told = client.post("/api/v1/feedback", json=body)
    assert told.status_code == 201, told.text
    shown = page(client, "/history/homes")
    assert "260 – 300" in shown.text
    assert "291.5" in shown.text
    refused = client.post("/api/v1/feedback", json=body | {"label": "dear"})
    assert refused.status_code == 400
    assert "a number" in refused.json["wanted"]


def test_the_metrics_have_no_series_for_each_number(client: FlaskClient) -> None:
    client.post("/api/v1/predict", json={"rows": [ROW, {"area": 51.0, "age": 3.0}]})
    lines = [line for line in client.get("/metrics").text.splitlines() if line.startswith("vouch_predictions_total{")]
    assert lines
    assert all('label=""' in line for line in lines)


def test_the_monitoring_page_shows_how_numbers_spread(client: FlaskClient, services: Services) -> None:
    client.post("/api/v1/predict", json={"rows": [ROW, {"area": 150.0, "age": 3.0}]})
    assert services.log.flush(10)
    shown = page(client, "/monitoring?model=homes").text
    assert "Spread of what was predicted" in shown
    assert "Values of the last hour" in shown
    assert "Probabilities" not in shown


@pytest.mark.parametrize(
    ("outputs", "message"),
    [
        ({"label": ["a"], "probabilities": [[1.0]]}, "no answer of a model of numbers"),
        ({"value": [1.0], "lower": [0.0, 0.0], "upper": [2.0]}, "another number of bounds"),
        ({"value": [float("nan")], "lower": [0.0], "upper": [2.0]}, "is no number"),
        ({"value": [3.0], "lower": [0.0], "upper": [2.0]}, "outside its own interval"),
    ],
)
def test_what_a_model_cannot_have_said_is_refused(services: Services, outputs: dict[str, Any], message: str) -> None:
    with pytest.raises(BadAnswer, match=message):
        read_answer(services.catalog.model_version("homes", 1), outputs)


def test_the_log_holds_the_number_and_its_bounds(client: FlaskClient, services: Services) -> None:
    import pyarrow.dataset as ds

    client.post("/api/v1/predict", json={"rows": [{"area": 70.0, "age": 7.0}]})
    assert services.log.flush(10)
    folder: Path = services.settings.predictions / "homes"
    rows = ds.dataset(folder, format="parquet").to_table().to_pylist()
    row = next(row for row in rows if row["input.area"] == 70.0)
    assert row["probability"] == pytest.approx(203.0)
    np.testing.assert_allclose(row["probabilities"], [183.0, 223.0])

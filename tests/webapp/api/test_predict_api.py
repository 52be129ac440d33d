"""POST /api/v1/predict and its relatives, by a test client."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from tests.support.web.fake_model_server import FakeModelServer
from tests.support.web.models import Made, homes, make_version, release
from webapp.api.schemas import HeldOut, NumberPrediction, Prediction, Predictions, ProblemDocument

URL = "/api/v1/predict"
Apps = Callable[..., Any]


def problem(response: Any) -> ProblemDocument:
    assert response.content_type == "application/problem+json"
    found = ProblemDocument.model_validate(response.json)
    assert found.status == response.status_code
    assert found.instance.endswith(response.headers["X-Request-ID"])
    return found


@pytest.mark.parametrize("form", ["rows", "row", "bare row", "bare rows"])
def test_a_row_is_answered_in_whichever_form_it_comes(client: FlaskClient, made: dict[str, Made], form: str) -> None:
    row = made["cells"].row()
    body = {"rows": {"rows": [row]}, "row": {"row": row}, "bare row": row, "bare rows": [row]}[form]
    response = client.post(URL, json=body)
    assert response.status_code == 200, response.text
    found = Predictions.model_validate(response.json)
    [prediction] = found.predictions
    assert isinstance(prediction, Prediction)
    assert (found.model, found.version, found.route, found.threshold) == ("cells", 1, "stable", 0.4)
    assert found.request_id == response.headers["X-Request-ID"]
    assert prediction.label == made["cells"].labels[0]
    assert prediction.probability == prediction.probabilities["M"]


@pytest.mark.parametrize("model", ["cells", "patients", "flowers"])
def test_every_kind_of_model_answers_many_rows(client: FlaskClient, made: dict[str, Made], model: str) -> None:
    rows = [made[model].row(number) for number in range(20)]
    found = Predictions.model_validate(client.post(URL, json={"model": model, "rows": rows}).json)
    assert len(found.predictions) == 20
    assert all(
        isinstance(each, Prediction) and set(each.probabilities) == set(made[model].classes)
        for each in found.predictions
    )


def test_a_value_beyond_the_training_data_is_answered_with_a_warning(
    client: FlaskClient, made: dict[str, Made]
) -> None:
    rows = [made["cells"].row(), made["cells"].row() | {"radius": 99.5}]
    first, second = client.post(URL, json=rows).json["predictions"]
    assert first["warnings"] == []
    [warning] = second["warnings"]
    assert (warning["field"], warning["got"]) == ("radius", "99.5")
    assert "the training data reach from" in warning["rule"]


def test_every_wrong_value_is_named_with_its_row(
    client: FlaskClient, made: dict[str, Made], fake: FakeModelServer
) -> None:
    good = made["cells"].row()
    rows = [good, good | {"radius": "1,5"}, good | {"texture": None, "colour": 3}]
    found = problem(client.post(URL, json=rows))
    told = {(each.row, each.field): (each.got, each.example) for each in found.errors}
    assert set(told) == {(1, "radius"), (2, "texture"), (2, "colour")}
    assert told[1, "radius"][0] == "1,5"
    assert float(told[1, "radius"][1]) > 0
    assert fake.asked == []


@pytest.mark.parametrize(
    ("body", "field", "rule"),
    [
        ("5", "", "object or a list"),
        ("null", "", "object or a list"),
        ("[]", "rows", "1 to 1000 rows"),
        ('{"rows": {}}', "rows", "list of objects"),
        ('{"rows": []}', "rows", "1 to 1000 rows"),
        ('{"rows": [1, {}]}', "", "must be an object"),
        ('{"row": [1]}', "", "must be an object"),
        ('{"row": {}, "rows": []}', "row", "left out"),
        ('{"row": {}, "modle": "x"}', "modle", "one of model"),
        ('{"row": {}, "model": 7}', "model", "text"),
        ('{"row": {}, "sticky": ""}', "sticky", "text"),
        ("{}", "radius", "must be given"),
        ('{"radius": 1, "radius": 2}', "radius", "only once"),
        ('{"radius": 1e999}', "", "RFC 8259"),
        ('{"radius": NaN}', "", "finite"),
        ('{"radius": 1e308}', "radius", "must lie between"),
        ('{"radius": 100000000000000000000000000000000000000000000000000}', "radius", "must lie between"),
        ('{"radius": true}', "radius", "must be a number"),
        ('{"radius": [1]}', "radius", "must be a number"),
        ('{"radius": {"a": {"b": 1}}}', "radius", "must be a number"),
        ("[" * 100_000, "", "must nest at most 8"),
        ("{", "", "RFC 8259"),
    ],
    ids=lambda value: value[:40],
)
def test_bad_input_is_told_with_field_and_rule(
    client: FlaskClient, fake: FakeModelServer, body: str, field: str, rule: str
) -> None:
    found = problem(client.post(URL, data=body, content_type="application/json"))
    assert found.status == 400
    assert any(each.field == field and rule in each.rule for each in found.errors), found.errors
    assert all(each.got and each.rule for each in found.errors)
    assert fake.asked == []


@pytest.fixture
def plain_client(make_app: Apps, made: dict[str, Made], tmp_path: Path) -> FlaskClient:
    """A browser where cells, patients and homes carry plain models, and flowers does not."""
    serving = tmp_path / "plain"
    for model in (*made.values(), homes()):
        carries = () if model.name == "flowers" else ("Logistic regression", "Decision tree")
        make_version(serving, replace(model, plain=carries), 1)
        release(serving, model.name, 1)
    app, _ = make_app(serving)
    return app.test_client()


def test_plain_models_answer_beside_ours(plain_client: FlaskClient, made: dict[str, Made]) -> None:
    body = {"model": "patients", "rows": [made["patients"].row(n) for n in range(3)]}
    alone = plain_client.post(URL, json=body).json["predictions"]
    found = Predictions.model_validate(plain_client.post(f"{URL}?plain=1", json=body).json)
    for own, prediction in zip(alone, found.predictions, strict=True):
        assert isinstance(prediction, Prediction)
        assert prediction.plain is not None
        assert [each.model for each in prediction.plain] == ["Logistic regression", "Decision tree"]
        assert {each.label for each in prediction.plain} == {own["label"]}
        assert {each.threshold for each in prediction.plain} == {0.5}
        assert prediction.plain[0].probability == own["probability"]
        assert prediction.inputs is None
        assert not {"plain", "inputs"} & {*own}


def test_the_numbers_that_the_network_reads_are_told(plain_client: FlaskClient, made: dict[str, Made]) -> None:
    body = {"model": "cells", "row": made["cells"].row()}
    [prediction] = plain_client.post(f"{URL}?inputs=1", json=body).json["predictions"]
    assert prediction["inputs"] == [{"feature": n, "part": "value", "value": 0.5} for n in made["cells"].columns]
    assert "plain" not in prediction


def test_plain_models_of_numbers_say_a_value(make_app: Apps, tmp_path: Path) -> None:
    model = replace(homes(), plain=("Linear regression", "Decision tree"))
    make_version(tmp_path / "serving", model, 1)
    release(tmp_path / "serving", "homes", 1)
    fake = FakeModelServer({("homes", 1): model})
    fake.start()
    app, _ = make_app(tmp_path / "serving", model_server_rest=fake.url)
    reply = app.test_client().post(f"{URL}?plain=1&inputs=1", json=model.row())
    fake.stop()
    [prediction] = Predictions.model_validate(reply.json).predictions
    assert isinstance(prediction, NumberPrediction)
    assert prediction.plain is not None
    assert {each.value for each in prediction.plain} == {prediction.value}
    assert prediction.inputs is not None


def test_a_held_out_row_is_answered_by_all(plain_client: FlaskClient) -> None:
    found = HeldOut.model_validate(plain_client.get(f"{URL}/by-index/2?model=cells&plain=1&inputs=1").json)
    assert isinstance(found.prediction, Prediction)
    assert len(found.prediction.plain or ()) == 2
    assert len(found.prediction.inputs or ()) == len(found.features)


@pytest.mark.parametrize("query", ["plain=1", "inputs=1"])
def test_a_version_without_plain_models_says_so_and_still_answers(
    plain_client: FlaskClient, made: dict[str, Made], query: str
) -> None:
    body = {"model": "flowers", "row": made["flowers"].row()}
    found = problem(plain_client.post(f"{URL}?{query}", json=body))
    assert found.status == 404
    assert found.detail == "version 1 of flowers carries no plain models"
    assert "serving_plain" in found.wanted
    assert plain_client.post(f"{URL}?plain=0", json=body).status_code == 200


@pytest.mark.parametrize("query", ["plain=1", "inputs=1"])
def test_a_candidate_without_plain_models_leaves_them_to_the_stable_version(
    make_app: Apps, made: dict[str, Made], tmp_path: Path, query: str
) -> None:
    serving, model = tmp_path / "serving", made["cells"]
    make_version(serving, replace(model, plain=("Decision tree",)), 1)
    make_version(serving, model, 2)
    release(serving, "cells", 1, candidate=2, weight_percent=100.0)
    app, _ = make_app(serving)
    client, row = app.test_client(), model.row()
    assert client.post(URL, json=row).json["route"] == "candidate"
    for reply in (client.post(f"{URL}?{query}", json=row), client.get(f"{URL}/by-index/2?{query}")):
        assert (reply.status_code, reply.json["version"], reply.json["route"]) == (200, 1, "stable")


@pytest.mark.parametrize("query", ["plain=yes", "inputs=", "plain=1&plain=1"])
def test_a_flag_that_means_nothing_is_refused(plain_client: FlaskClient, made: dict[str, Made], query: str) -> None:
    assert problem(plain_client.post(f"{URL}?{query}", json=made["cells"].row())).status == 400


@pytest.mark.parametrize(
    "spoilt",
    [
        {"label": [["B"]]},
        {"probabilities": [[[0.5, 0.6], [0.5, 0.6]]]},
        {"label": [["M", "M"]]},
        {"inputs": [[0.5]]},
        {"inputs": [0.5]},
    ],
    ids=str,
)
def test_an_answer_that_plain_models_cannot_have_given_is_refused(
    plain_client: FlaskClient, made: dict[str, Made], monkeypatch: pytest.MonkeyPatch, spoilt: dict[str, Any]
) -> None:
    whole, row = FakeModelServer.predict, next(n for n, label in enumerate(made["cells"].labels) if label == "B")

    def predict(self: FakeModelServer, made: Made, body: dict[str, Any]) -> dict[str, Any]:
        answer = whole(self, made, body)
        return answer | spoilt if body.get("signature_name") == "serving_plain" else answer

    monkeypatch.setattr(FakeModelServer, "predict", predict)
    body = {"model": "cells", "row": made["cells"].row(row)}
    assert problem(plain_client.post(f"{URL}?plain=1", json=body)).status == 503


def test_more_rows_than_are_taken_are_refused(make_app: Apps, made: dict[str, Made]) -> None:
    app, _ = make_app(max_rows=3)
    rows = [made["cells"].row()] * 4
    assert "1 to 3 rows" in problem(app.test_client().post(URL, json=rows)).errors[0].rule
    assert app.test_client().post(URL, json=rows[:3]).status_code == 200


@pytest.mark.parametrize(
    ("headers", "told"),
    [
        ({"Content-Type": "text/plain"}, "application/json"),
        ({}, "application/json"),
        ({"Content-Type": "application/json; charset=latin-1"}, "UTF-8"),
        ({"Content-Type": "application/json", "Content-Encoding": "gzip"}, "compressed"),
        ({"Content-Type": "application/x-www-form-urlencoded"}, "application/json"),
    ],
    ids=["text", "none", "charset", "gzip", "form"],
)
def test_another_media_type_is_refused(client: FlaskClient, headers: dict[str, str], told: str) -> None:
    found = problem(client.post(URL, data="{}", headers=headers))
    assert (found.status, told in f"{found.detail} {found.wanted}") == (415, True)


def test_json_may_say_that_it_is_utf_8(client: FlaskClient, made: dict[str, Made]) -> None:
    body = json.dumps(made["cells"].row())
    assert client.post(URL, data=body, content_type="application/json; charset=UTF-8").status_code == 200


def test_a_body_that_says_it_is_too_large_is_refused(make_app: Apps) -> None:
    app, _ = make_app(max_body_bytes=100)
    found = problem(app.test_client().post(URL, data=b" " * 101, content_type="application/json"))
    assert (found.status, found.got) == (413, "101 bytes")


def test_a_body_of_unknown_length_is_read_no_further_than_the_bound(make_app: Apps) -> None:
    app, _ = make_app(max_body_bytes=100)
    body = io.BytesIO(b" " * 1_000_000)
    response = app.test_client().post(
        URL, input_stream=body, content_type="application/json", environ_overrides={"wsgi.input_terminated": True}
    )
    assert body.tell() <= 101  # when the answer begins; what still comes is dropped after it
    assert problem(response).status == 413


def test_who_takes_only_html_is_told_that_there_is_none(client: FlaskClient) -> None:
    assert problem(client.post(URL, json={}, headers={"Accept": "text/html"})).status == 406


@pytest.mark.parametrize("accept", ["*/*", "application/*", "text/html, application/json;q=0.1"])
def test_who_takes_json_among_others_gets_it(client: FlaskClient, made: dict[str, Made], accept: str) -> None:
    assert client.post(URL, json=made["cells"].row(), headers={"Accept": accept}).status_code == 200


def test_a_word_in_the_query_that_means_nothing_is_refused(client: FlaskClient) -> None:
    found = problem(client.get("/api/v1/predict/by-index/1?modle=cells"))
    assert (found.errors[0].field, found.errors[0].rule) == (
        "modle",
        "must be inputs or model or plain or reference, once",
    )
    assert problem(client.get("/api/v1/predict/by-index/1?model=a&model=b")).errors[0].field == "model"


def test_another_method_is_refused_with_those_that_are_taken(client: FlaskClient) -> None:
    response = client.get(URL)
    assert problem(response).status == 405
    assert "POST" in response.headers["Allow"]


def test_an_unknown_address_is_told_as_a_problem(client: FlaskClient) -> None:
    assert problem(client.get("/api/v1/nothing")).status == 404


def test_an_unknown_model_is_told_with_those_there_are(client: FlaskClient) -> None:
    found = problem(client.post(URL, json={"model": "../../etc", "rows": [{}]}))
    assert (found.status, "cells" in found.wanted) == (404, True)


@pytest.mark.parametrize("mood", ["garbage", "nan", "fewer", "beyond", "stranger", "unavailable", "failing", "closing"])
def test_a_model_server_that_fails_is_told_as_something_to_come_back_to(
    make_app: Apps, made: dict[str, Made], fake: FakeModelServer, mood: Any
) -> None:
    app, _ = make_app()  # its own: failures open the breaker
    fake.mood = mood
    response = app.test_client().post(URL, json=made["cells"].row())
    assert problem(response).status == 503
    assert int(response.headers["Retry-After"]) >= 1
    assert "predictions" not in response.json


def test_the_model_server_gets_what_was_understood_and_not_what_was_sent(
    client: FlaskClient, made: dict[str, Made], fake: FakeModelServer
) -> None:
    body = b'{ "row": ' + json.dumps(made["cells"].row()).encode().replace(b"{", b'{  "radius" :\n 1.25e1, "x": 0,', 1)
    body = body.replace(b'"x": 0, "radius": ', b'"texture_": ')
    client.post(URL, data=body, content_type="application/json")
    assert fake.asked == []
    client.post(URL, json={"row": made["cells"].row(), "sticky": "planted"})
    [asked] = fake.asked
    assert "planted" not in json.dumps(asked)
    assert set(asked) <= {"inputs", "signature_name", "path"}


def test_the_same_sticky_text_goes_to_the_same_version(make_app: Apps, made: dict[str, Made], tmp_path: Any) -> None:
    serving = tmp_path / "serving"
    for version in (1, 2):
        make_version(serving, made["cells"], version)
    release(serving, "cells", 1, candidate=2, weight_percent=50.0)
    app, _ = make_app(serving=serving)
    client, row = app.test_client(), made["cells"].row()

    def version_for(key: str) -> int:
        return int(client.post(URL, json={"row": row, "sticky": key}).json["version"])

    first = {key: version_for(key) for key in map(str, range(12))}
    assert set(first.values()) == {1, 2}
    assert {key: version_for(key) for key in first} == first
    mixed = {client.post(URL, json=row).json["route"] for _ in range(40)}
    assert mixed == {"stable", "candidate"}


def test_a_held_out_row_comes_with_its_true_label(client: FlaskClient, made: dict[str, Made]) -> None:
    found = HeldOut.model_validate(client.get("/api/v1/predict/by-index/3?model=flowers").json)
    assert (found.index, found.rows) == (3, 60)
    assert found.true_label == made["flowers"].labels[203]
    assert found.features == made["flowers"].row(203)
    assert isinstance(found.prediction, Prediction)
    assert set(found.prediction.probabilities) == set(made["flowers"].classes)


@pytest.mark.parametrize(
    ("index", "status"),
    [("60", 404), ("999999999", 404), ("-1", 400), ("x", 400), ("9" * 5000, 400), ("٣", 400)],
    ids=["past", "far", "negative", "text", "digits", "arabic"],
)
def test_a_row_that_is_not_there_is_told(client: FlaskClient, index: str, status: int) -> None:
    assert problem(client.get(f"/api/v1/predict/by-index/{index}")).status == status


def test_an_empty_name_is_no_model(client: FlaskClient) -> None:
    assert client.get("/api/v1/predict/by-index/0?model=").status_code == 404


@pytest.mark.parametrize("asked", ["bare row", "list", "held-out row", "csv"])
def test_with_several_models_a_request_must_name_its_model(make_app: Apps, asked: str) -> None:
    client = make_app(model="")[0].test_client()
    row = {"radius": 18.5, "texture": 21, "smooth ness (mean)": 0.1}
    response = {
        "bare row": lambda: client.post("/api/v1/predict", json=row),
        "list": lambda: client.post("/api/v1/predict", json=[row]),
        "held-out row": lambda: client.get("/api/v1/predict/by-index/0"),
        "csv": lambda: client.post("/api/v1/predict/csv", data=b"radius\n1\n", content_type="text/csv"),
    }[asked]()
    assert response.status_code == 400
    assert response.json["wanted"] == "one of: cells, flowers, patients"
    assert client.post("/api/v1/predict", json={"row": row, "model": "cells"}).status_code == 200

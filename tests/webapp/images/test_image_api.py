"""Pictures over the API: as a body or in a form, answered, logged, kept."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from common.images import statistics, upright
from common.records.files import INPUT, STRANGENESS
from common.records.reader import ALL, Reader
from config.data_settings import IMAGE_BYTES, IMAGE_STATISTICS
from tests.support.web.apps import App
from tests.support.web.fake_model_server import FakeModelServer
from tests.support.web.pictures import kept_files, picture
from webapp.api.schemas import ImagePredictions
from webapp.services import Services

URL = "/api/v1/predict/image?model=garden"


def sent(client: FlaskClient, *files: tuple[str, bytes], query: str = "") -> Any:
    """Send files in a form."""
    return client.post(URL + query, data={"file": [(io.BytesIO(data), name) for name, data in files]})


def logged(services: Services) -> list[tuple[Any, ...]]:
    assert services.log.flush(10)
    reader = Reader(services.settings.predictions / "garden", ALL)
    return reader.query(f'SELECT request_id, label, reference, "{INPUT}{IMAGE_BYTES}" FROM passing')


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_a_body_is_answered_by_its_class(client: FlaskClient, kind: str) -> None:
    response = client.post(URL, data=picture("green", kind=kind), content_type=f"image/{kind.lower()}")
    assert response.status_code == 200, response.text
    answer = ImagePredictions.model_validate(response.json)
    assert (answer.model, answer.version, answer.route) == ("garden", 1, "stable")
    [prediction] = answer.predictions
    assert (prediction.label, prediction.width, prediction.height) == ("green", 64, 48)
    assert prediction.confidence == prediction.probabilities["green"] == prediction.top[0].probability > 0.5
    assert [prediction.top[0].label, len(prediction.top)] == ["green", 3]
    assert not prediction.none_of_these


def test_several_files_are_answered_in_their_order_by_one_request(
    client: FlaskClient, image_server: FakeModelServer
) -> None:
    response = sent(client, ("a.jpg", picture("red")), ("b.png", picture("blue", kind="PNG")))
    answer = ImagePredictions.model_validate(response.json)
    assert [(each.file, each.label) for each in answer.predictions] == [("a.jpg", "red"), ("b.png", "blue")]
    assert len(image_server.asked) == 1


def test_a_prediction_is_logged_by_the_hash_of_the_picture_that_is_kept(
    client: FlaskClient, services: Services
) -> None:
    response = sent(client, ("a.jpg", picture("blue", (70, 40))), query="&reference=bed+7")
    [prediction] = ImagePredictions.model_validate(response.json).predictions
    assert response.json["kept"]
    row = (response.json["request_id"], "blue", "bed 7", prediction.sha256)
    assert row in logged(services)
    assert prediction.sha256 in {path.stem for path in kept_files(services.settings.var)}


def test_what_drift_asks_of_a_picture_is_logged_as_example_gen_measures_it(
    client: FlaskClient, services: Services
) -> None:
    sent_picture = picture("green", (1500, 900), "JPEG")  # larger than what the model is shown
    response = sent(client, ("a.jpg", sent_picture))
    assert services.log.flush(10)
    columns = [f'"{INPUT}{name}"' for name in IMAGE_STATISTICS]
    select = f"SELECT {STRANGENESS}, {', '.join(columns)} FROM passing WHERE request_id = $request"
    reader = Reader(services.settings.predictions / "garden", ALL)
    [(strangeness, *measured)] = reader.query(select, {"request": response.json["request_id"]})
    assert dict(zip(IMAGE_STATISTICS, measured, strict=True)) == statistics(upright(sent_picture))
    assert 0 < strangeness < 1


def test_who_does_not_want_it_is_not_kept(client: FlaskClient, services: Services) -> None:
    response = sent(client, ("a.jpg", picture("green", (31, 17))), query="&keep=no")
    [prediction] = response.json["predictions"]
    assert not response.json["kept"]
    assert prediction["sha256"] not in {path.stem for path in kept_files(services.settings.var)}


def test_where_pictures_are_not_collected_none_is_kept(image_app: App, client: FlaskClient, tmp_path: Path) -> None:
    from dataclasses import replace

    app, services = image_app
    unkept = services.settings.model_copy(update={"collect_images": False})
    app.extensions["vouch"] = replace(services, settings=unkept)
    try:
        response = sent(client, ("a.jpg", picture("green", (33, 19))))
    finally:
        app.extensions["vouch"] = services
    assert not response.json["kept"]
    assert response.json["predictions"][0]["sha256"] not in {path.stem for path in kept_files(services.settings.var)}


@pytest.mark.parametrize(
    ("data", "status"),
    [(b"<svg/>", 415), (b"", 400), (picture(size=(400, 300))[:1500], 400), (bytes((1 << 20) + 1), 413)],
    ids=["svg", "empty", "cut", "large"],
)
def test_what_is_no_picture_is_refused(client: FlaskClient, data: bytes, status: int) -> None:
    response = client.post(URL, data=data, content_type="image/jpeg")
    assert (response.status_code, response.mimetype) == (status, "application/problem+json")
    [error] = response.json["errors"]
    assert error["field"] == "file"


def test_one_bad_file_refuses_all_and_is_named(
    client: FlaskClient, services: Services, image_server: FakeModelServer
) -> None:
    response = sent(client, ("a.jpg", picture("red", (20, 20))), ("b.svg", b"<svg/>"))
    assert response.status_code == 415
    assert [error["row"] for error in response.json["errors"]] == [1]
    assert not image_server.asked


@pytest.mark.parametrize("count", [0, 5])
def test_so_many_files_at_a_time(client: FlaskClient, count: int) -> None:
    response = sent(client, *[("a.jpg", picture())] * count, query="&keep=no")
    assert response.status_code == 400 if count else response.status_code in (400, 415)


@pytest.mark.parametrize(
    ("url", "status"), [("?model=cells", 400), ("?model=nothing", 404), ("?model=garden&keep=perhaps", 400), ("", 400)]
)
def test_what_is_asked_wrongly_is_told(client: FlaskClient, url: str, status: int) -> None:
    response = client.post(f"/api/v1/predict/image{url}", data=picture(), content_type="image/png")
    assert response.status_code == status


def test_another_type_is_refused(client: FlaskClient) -> None:
    assert client.post(URL, json={"rows": []}).status_code == 415


@pytest.mark.parametrize(
    ("path", "options"),
    [
        ("/api/v1/predict", {"json": {"model": "garden", "row": {"image_bytes": "x"}}}),
        ("/api/v1/predict/csv?model=garden", {"data": "image_bytes\nx\n", "content_type": "text/csv"}),
    ],
)
def test_rows_for_a_model_of_pictures_are_told_where_to_go(client: FlaskClient, path: str, options: Any) -> None:
    response = client.post(path, **options)
    assert response.status_code == 400
    assert "/api/v1/predict/image" in response.json["next"]


def test_a_broken_answer_of_the_model_server_is_no_answer(client: FlaskClient, image_server: FakeModelServer) -> None:
    image_server.mood = "nan"
    assert sent(client, ("a.jpg", picture())).status_code in (502, 503)


def test_the_document_and_the_ready_requests_have_it_for_models_of_pictures(client: FlaskClient) -> None:
    document = client.get("/api/openapi.json").json
    operation = document["paths"]["/api/v1/predict/image"]["post"]
    assert operation["x-models"] == ["garden"]
    assert {"image/jpeg", "multipart/form-data"} <= set(operation["requestBody"]["content"])
    assert "Row_garden" not in document["components"]["schemas"]
    collection = client.get("/api/docs/vouch.postman_collection.json").text
    assert "predict/image?model=garden" in collection
    text = client.get("/api/docs/vouch.http").text
    assert "/api/v1/predict/image?model=garden\n" in text
    assert "< ./picture.jpg" in text

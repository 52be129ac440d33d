"""Pictures that were predicted are labelled: one after the other, by several people, and deleted on request."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from common.records import image_labels, images, labels
from common.records.image_labels import agreement_of
from tests.support.web.apps import App, csrf_token, own_app
from tests.support.web.fake_model_server import FakeModelServer
from tests.support.web.pictures import kept_files, picture
from webapp.images.labelling import Labelling
from webapp.services import Services

URL = "/label/garden"
CLASSES = ("blue", "green", "red")


@pytest.fixture
def own(image_server: FakeModelServer, image_serving: Path, tmp_path: Path) -> Iterator[App]:
    image_server.calm()
    with own_app(tmp_path / "var", image_serving, image_server.url) as made:
        yield made


@pytest.fixture
def services(own: App) -> Services:
    return own[1]


@pytest.fixture
def client(own: App) -> FlaskClient:
    return own[0].test_client()


def predicted(client: FlaskClient, colour: str, width: int = 40, reference: str = "") -> tuple[str, str]:
    """Predict a picture; return its hash and the request."""
    query = {"model": "garden"} | ({"reference": reference} if reference else {})
    data = {"file": (io.BytesIO(picture(colour, (width, 30), "PNG")), "a.png")}
    response = client.post("/api/v1/predict/image", query_string=query, data=data)
    return response.json["predictions"][0]["sha256"], response.json["request_id"]


def shown(client: FlaskClient, path: str = URL) -> str:
    """Return the hash of the picture to be labelled, the empty text if there is none."""
    found = re.search(r'name="sha256" value="(\w+)"', client.get(path).text)
    return found[1] if found else ""


def told(client: FlaskClient, sha256: str, **fields: str) -> Any:
    data = {"csrf_token": csrf_token(client, URL), "sha256": sha256, **fields}
    return client.post(URL, data=data)


def true_label(services: Services, request_id: str) -> str | None:
    with services.database.reading() as connection:
        known = labels.of_requests(connection, "garden", [request_id])
    return known[request_id, 0].label if known else None


def test_pictures_are_labelled_one_after_the_other(client: FlaskClient, services: Services) -> None:
    waiting = {predicted(client, colour)[0] for colour in CLASSES}
    done = []
    while sha256 := shown(client):
        page = client.get(URL).text
        assert 'data-key="1"' in page
        assert f"/collected/garden/{sha256}" in page
        assert told(client, sha256, label="red").status_code == 303
        done.append(sha256)
    assert sorted(done) == sorted(waiting)
    assert "All pictures are labelled." in client.get(URL).text


def test_a_label_is_the_true_label_of_what_was_predicted(client: FlaskClient, services: Services) -> None:
    sha256, first = predicted(client, "green")
    again, second = predicted(client, "green")
    assert sha256 == again
    told(client, sha256, label="blue")
    assert [true_label(services, request) for request in (first, second)] == ["blue", "blue"]


def test_a_skipped_picture_comes_again_after_the_others(client: FlaskClient) -> None:
    predicted(client, "green"), predicted(client, "red")
    first = shown(client)
    second = shown(client, f"{URL}?after={first}")
    assert {first, second} != {first}
    assert shown(client, f"{URL}?after={second}") == first


def test_a_bad_picture_is_no_example(client: FlaskClient, services: Services) -> None:
    sha256, request = predicted(client, "green")
    told(client, sha256, bad="bad")
    assert shown(client) == ""
    assert true_label(services, request) is None
    with services.database.reading() as connection:
        agreement = agreement_of(image_labels.of_image(connection, "garden", sha256))
    assert agreement
    assert agreement.is_bad


def test_the_last_word_is_taken_back(client: FlaskClient, services: Services) -> None:
    sha256, request = predicted(client, "green")
    told(client, sha256, label="green")
    response = client.post(f"{URL}/undo", data={"csrf_token": csrf_token(client, URL)})
    assert response.headers["Location"].endswith(f"image={sha256}")
    assert shown(client) == sha256
    assert true_label(services, request) is None
    response = client.post(f"{URL}/undo", data={"csrf_token": csrf_token(client, URL)})
    assert "nothing of yours" in client.get(response.headers["Location"]).text


def test_what_people_contradict_each_other_about_is_set_aside(client: FlaskClient, services: Services) -> None:
    sha256, request = predicted(client, "green")
    labelling = Labelling(services, "garden")
    labelling.tell(sha256, "green", CLASSES, "ana")
    told(client, sha256, label="red")
    assert shown(client) == ""
    assert shown(client, f"{URL}?show=disputed") == sha256
    assert true_label(services, request) is None
    labelling.tell(sha256, "red", CLASSES, "ana")
    assert true_label(services, request) == "red"
    assert shown(client, f"{URL}?show=disputed") == ""


@pytest.mark.parametrize(
    ("sha256", "fields", "status"),
    [
        ("0" * 64, {"label": "red"}, 404),
        ("../../../webapp.sqlite", {"label": "red"}, 404),
        ("", {"label": "violet"}, 400),
    ],
)
def test_what_cannot_be_told_is_refused(client: FlaskClient, sha256: str, fields: dict[str, str], status: int) -> None:
    real, _ = predicted(client, "green")
    assert told(client, sha256 or real, **fields).status_code == status


def test_a_true_label_told_in_the_history_is_one_of_the_picture(client: FlaskClient, services: Services) -> None:
    sha256, request = predicted(client, "green")
    services.log.flush(10)
    body = {"model": "garden", "request_id": request, "label": "red"}
    assert client.post("/api/v1/feedback", json=body).status_code == 201
    with services.database.reading() as connection:
        assert [said.label for said in image_labels.of_image(connection, "garden", sha256)] == ["red"]
    page = client.get(f"/history/garden/prediction?id={request}").text
    assert f"/collected/garden/{sha256}" in page


def test_a_picture_is_sent_as_a_picture(client: FlaskClient) -> None:
    sha256, _ = predicted(client, "green")
    response = client.get(f"/collected/garden/{sha256}")
    assert (response.status_code, response.mimetype) == (200, "image/png")
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert client.get("/collected/garden/..%2f..%2fwebapp.sqlite").status_code == 404


def test_a_reference_is_deleted_with_its_pictures(client: FlaskClient, services: Services) -> None:
    hers, _ = predicted(client, "green", reference="bed 7")
    shared, _ = predicted(client, "red", reference="bed 7")
    predicted(client, "red", reference="bed 8")
    told(client, hers, label="green")
    response = client.post("/api/v1/models/garden/forget", json={"reference": "bed 7"})
    assert response.json == {"predictions": 2, "labels": 1, "uploads": 0, "images": 1}
    assert [path.stem for path in kept_files(services.settings.var)] == [shared]
    with services.database.reading() as connection:
        assert image_labels.of_model(connection, "garden") == {}


def test_old_pictures_are_removed_as_predictions_are(tmp_path: Path) -> None:
    today = date(2026, 11, 30)
    for days in (0, 90, 91):
        images.keep(tmp_path / "garden", today - timedelta(days=days), f"{days:064x}", b"\x89PNG")
    images.remove_before(tmp_path, today, 90)
    assert [image.day for image in images.images(tmp_path / "garden")] == [today, today - timedelta(days=90)]


def test_a_full_disk_costs_no_answer(client: FlaskClient, services: Services) -> None:
    services.settings.collected.write_text("no folder")
    sha256, _ = predicted(client, "green")
    assert sha256
    assert shown(client) == ""


def test_models_of_rows_have_nothing_to_label(client: FlaskClient) -> None:
    assert client.get("/label/cells").status_code == 400
    assert "/label/" not in client.get("/predict/cells").text
    assert "/label/garden" in client.get("/predict/garden").text

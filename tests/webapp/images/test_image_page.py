"""The page of a model of pictures, as a browser without a script has it."""

from __future__ import annotations

import io
import re
from typing import Any

import pytest
from flask.testing import FlaskClient

from config.data_settings import IMAGE_BYTES
from tests.support.web.apps import csrf_token
from tests.support.web.fake_model_server import FakeModelServer
from tests.support.web.pictures import kept_files, picture, spotted
from webapp.images.occlusion import CELLS
from webapp.services import Services

URL = "/predict/garden"


def sent(client: FlaskClient, *files: tuple[str, bytes], **fields: str) -> Any:
    """Send the form with files."""
    data = {"csrf_token": csrf_token(client, URL), "file": [(io.BytesIO(data), name) for name, data in files], **fields}
    return client.post(f"{URL}/images", data=data)


def verdicts(page: str) -> list[str]:
    return re.findall(r"<strong>([^<]+)</strong> <span class=\"because\"", page)


def test_the_page_takes_pictures_and_offers_nothing_for_rows(client: FlaskClient) -> None:
    page = client.get(URL).text
    assert re.search(r'<input id="file" name="file" type="file" multiple', page)
    assert 'capture="environment"' in page
    assert "<script>" not in page
    for missing in ("/by-index/", "/batch/", "Paste a row"):
        assert missing not in page


def test_a_picture_is_answered_with_class_confidence_and_info(client: FlaskClient) -> None:
    response = sent(client, ("meadow.jpg", picture("green")))
    assert response.status_code == 200
    assert verdicts(response.text) == ["green"]
    for part in ("As grass is.", "meadow.jpg", "version 1", "data:image/jpeg;base64,"):
        assert part in response.text


def test_what_a_class_rests_on_is_asked_for_at_once(client: FlaskClient, image_server: FakeModelServer) -> None:
    response = sent(client, ("meadow.png", spotted("green", 2, 4, CELLS)))
    assert [len(asked["inputs"][IMAGE_BYTES]) for asked in image_server.asked] == [1, CELLS * CELLS + 1]
    assert 'class="occlusion"' in response.text
    assert "parts without which green becomes less likely" in response.text
    assert "row 3, column 5: +" in response.text


def test_several_pictures_are_answered_each(client: FlaskClient, image_server: FakeModelServer) -> None:
    response = sent(client, ("a.jpg", picture("red")), ("b.png", picture("blue", kind="PNG")))
    assert verdicts(response.text) == ["red", "blue"]
    assert [len(asked["inputs"][IMAGE_BYTES]) for asked in image_server.asked] == [2]


def test_a_bad_file_does_not_cost_the_others_their_answer(client: FlaskClient) -> None:
    response = sent(client, ("a.jpg", picture("red")), ("b<i>.svg", b"<svg/>"))
    assert response.status_code == 200
    assert verdicts(response.text) == ["red"]
    assert "1 picture not answered" in response.text
    assert "b&lt;i&gt;.svg: the file is not a picture" in response.text


@pytest.mark.parametrize(
    ("files", "status"), [((), 400), ((("a.svg", b"<svg/>"),), 415), ((("a.jpg", picture()),) * 5, 400)]
)
def test_without_a_picture_there_is_no_answer(client: FlaskClient, files: Any, status: int) -> None:
    response = sent(client, *files)
    assert response.status_code == status
    assert not verdicts(response.text)
    assert 'role="alert"' in response.text


def test_a_picture_like_no_class_is_called_none_of_these(client: FlaskClient) -> None:
    response = sent(client, ("wall.png", picture("grey", kind="PNG")))
    assert verdicts(response.text) == ["None of these"]
    assert "most like" in response.text


def test_the_answer_stands_where_the_model_server_fails_afterwards(
    client: FlaskClient, image_server: FakeModelServer
) -> None:
    token = csrf_token(client, URL)
    image_server.mood = "failing"
    data = {"csrf_token": token, "file": (io.BytesIO(picture()), "a.jpg")}
    response = client.post(f"{URL}/images", data=data)
    assert response.status_code in (502, 503)
    assert "No prediction this time" in response.text


def test_a_picture_is_kept_unless_that_is_not_wanted(client: FlaskClient, services: Services) -> None:
    before = len(kept_files(services.settings.var))
    sent(client, ("a.png", picture("red", (21, 22), kind="PNG")), keep="no")
    assert len(kept_files(services.settings.var)) == before
    sent(client, ("a.png", picture("red", (21, 22), kind="PNG")))
    assert len(kept_files(services.settings.var)) == before + 1


def test_a_script_gets_the_parts_alone(client: FlaskClient) -> None:
    data = {"csrf_token": csrf_token(client, URL), "file": (io.BytesIO(picture("blue")), "a.jpg")}
    response = client.post(f"{URL}/images", data=data, headers={"X-Requested-With": "fetch"})
    assert "<html" not in response.text
    assert verdicts(response.text) == ["blue"]


@pytest.mark.parametrize(
    ("method", "path"), [("get", "/by-index/garden"), ("get", "/batch/garden"), ("get", "/batch/garden/template.csv")]
)
def test_pages_of_rows_say_that_the_model_reads_pictures(client: FlaskClient, method: str, path: str) -> None:
    response = getattr(client, method)(path)
    assert response.status_code == 400
    assert "garden reads pictures, not rows" in response.text


def test_pages_of_pictures_say_that_a_model_reads_rows(client: FlaskClient) -> None:
    assert client.get("/predict/cells/images").status_code == 400
    assert client.get("/predict/cells").status_code == 200


@pytest.mark.parametrize(
    "path", ["/models", "/models/garden", "/history/garden", "/monitoring", "/api/v1/models/garden"]
)
def test_other_pages_can_do_with_a_model_of_pictures(client: FlaskClient, path: str) -> None:
    assert client.get(path).status_code == 200


def test_the_form_needs_its_token(client: FlaskClient) -> None:
    response = client.post(f"{URL}/images", data={"file": (io.BytesIO(picture()), "a.jpg")})
    assert response.status_code == 400
    assert "CSRF" in response.text

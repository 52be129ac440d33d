"""Two architectures of one model of pictures: switched, and switched back, while pictures are predicted."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from bs4 import BeautifulSoup
from flask.testing import FlaskClient

from serving.launch.launcher import Start, launch
from tests.support.web.apps import App, own_app
from tests.support.web.models import garden, make_version, release
from tests.support.web.picture_models import put_graph
from tests.support.web.pictures import picture, spotted

pytestmark = [pytest.mark.slow, pytest.mark.exhaustive]
URL = "/api/v1/predict/image?model=garden&keep=no"
SPOT = spotted("green", 1, 1, 8)  # grey to who takes the mean


@pytest.fixture
def garden_app(tmp_path: Path) -> Iterator[App]:
    """The app on a real model server with two versions, the first of them stable."""
    serving = tmp_path / "serving"
    for version in (1, 2):
        put_graph(make_version(serving, garden(), version), by_brightest=version == 2)
    release(serving, "garden", 1)
    with launch(Start(serving, 0, 0)) as running:
        grpc = {"model_server_grpc": running.addresses.grpc}
        with own_app(tmp_path / "var", serving, running.addresses.rest, **grpc) as made:
            yield made


class Asking:
    """Asks for predictions in a thread, one after the other."""

    def __init__(self, client: FlaskClient) -> None:
        self.answers: list[tuple[int, int]] = []  # status and version
        self._client, self._is_over = client, threading.Event()
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._ask)

    def __enter__(self) -> Asking:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join(60)

    def _ask(self) -> None:
        while not self._is_over.is_set():
            response = self._client.post(URL, data=picture(), content_type="image/jpeg")
            version = response.json["version"] if response.status_code == 200 and response.json else 0
            with self._changed:
                self.answers.append((response.status_code, version))
                self._changed.notify_all()

    def until(self, version: int) -> None:
        """Wait until a version answers what is asked from now on."""
        with self._changed:
            before = len(self.answers)
            assert self._changed.wait_for(lambda: (200, version) in self.answers[before:], 60)


def by_page(client: FlaskClient, what: str, **query: object) -> int:
    """Confirm a release on its page."""
    page = BeautifulSoup(client.get("/models/garden/release", query_string={"what": what, **query}).text, "html.parser")
    form = {field["name"]: field.get("value", "") for field in page.select("main form input")}
    return client.post(f"/models/garden/{what}", data=form).status_code


def test_switched_and_back_by_program_and_by_page_without_a_failed_request(garden_app: App) -> None:
    app, _ = garden_app
    operator = app.test_client()
    with Asking(app.test_client()) as asking:
        asking.until(1)
        for version, path, body in ((2, "promote", {"version": 2}), (1, "rollback", {})):
            response = operator.post(f"/api/v1/models/garden/{path}", json=body)
            assert response.status_code == 200, response.text
            assert response.json["stable"] == version
            asking.until(version)
        for version, what, query in ((2, "promote", {"version": 2}), (1, "rollback", {})):
            assert by_page(operator, what, **query) == 303
            asking.until(version)
    assert {status for status, _ in asking.answers} == {200}


def test_a_share_goes_to_the_other_architecture_and_says_so(garden_app: App) -> None:
    app, _ = garden_app
    client = app.test_client()
    response = client.post("/api/v1/models/garden/canary", json={"percent": 100, "version": 2})
    assert response.status_code == 200, response.text
    response = client.post(URL, data={"file": (io.BytesIO(SPOT), "spot.png")})
    [prediction] = response.json["predictions"]
    assert (response.json["version"], response.json["route"], prediction["label"]) == (2, "candidate", "green")
    assert client.post("/api/v1/models/garden/canary", json={"percent": 0}).status_code == 200
    response = client.post(URL, data={"file": (io.BytesIO(SPOT), "spot.png")})
    [prediction] = response.json["predictions"]
    assert (response.json["version"], response.json["route"], prediction["none_of_these"]) == (1, "stable", True)

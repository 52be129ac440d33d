from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from bs4 import BeautifulSoup
from flask.testing import FlaskClient

from tests.support.web.apps import App
from tests.support.web.fake_model_server import FakeModelServer
from tests.support.web.models import Made, make_version, release


def page_of(client: FlaskClient, path: str, status: int = 200) -> BeautifulSoup:
    response = client.get(path)
    assert response.status_code == status
    return BeautifulSoup(response.text, "html.parser")


def test_a_case_shows_its_values_the_answer_and_the_truth(visitor: FlaskClient, made: dict[str, Made]) -> None:
    page = page_of(visitor, "/by-index/cells?i=5")
    shown = {row.th.text: row.td.text for row in page.select(".inputs tbody tr") if row.th and row.td}
    assert float(shown["Radius"]) == pytest.approx(made["cells"].columns["radius"][205], rel=1e-3)
    assert f"True label: {made['cells'].labels[205]}" in page.text


def test_a_wrong_answer_is_marked_as_such(visitor: FlaskClient, made: dict[str, Made]) -> None:
    marks = set()
    for number in range(60):
        verdict = page_of(visitor, f"/by-index/patients?i={number}").select_one(".verdict")
        assert verdict
        label, mark = verdict.select("h2 strong")[0].text, verdict.select(".badge")[0].text
        assert (mark == "right") == (label == made["patients"].labels[200 + number])
        marks.add(mark)
        if marks == {"right", "wrong"}:
            return
    pytest.fail("the fake model makes no mistake, so the badge that says so was not seen")


def test_plain_models_and_what_the_network_reads_are_folded_away(
    make_app: Callable[..., App], made: dict[str, Made], tmp_path: Path
) -> None:
    serving = tmp_path / "plain"
    make_version(serving, replace(made["cells"], plain=("Logistic regression", "Decision tree")), 1)
    release(serving, "cells", 1)
    app, _ = make_app(serving)
    tables = page_of(app.test_client(), "/by-index/cells?i=5").select("details table")
    by_caption = {table.select("caption")[0].text: [cell.text for cell in table.select("tbody th")] for table in tables}
    assert by_caption["What plain models say"] == ["Logistic regression", "Decision tree"]
    assert by_caption["What the network reads"] == ["Radius", "Texture", "Smooth ness (mean)"]


def test_a_version_without_plain_models_has_no_such_part(visitor: FlaskClient) -> None:
    assert "plain models" not in page_of(visitor, "/by-index/cells?i=5").text


def test_links_lead_to_the_neighbours_and_stay_within_the_split(visitor: FlaskClient) -> None:
    def links(number: int) -> list[str]:
        page = page_of(visitor, f"/by-index/cells?i={number}")
        return [str(link["href"]) for link in page.select("a[rel]")]

    assert links(5) == ["?i=4", "?i=6"]
    assert links(0) == ["?i=1"]
    assert links(59) == ["?i=58"]


@pytest.mark.parametrize("text", ["60", "-1", "1.5", "x", "", "99999999999999999999", "٣"])
def test_a_case_that_is_none_is_refused_at_its_field(visitor: FlaskClient, text: str) -> None:
    page = page_of(visitor, f"/by-index/cells?i={text}", 400)
    field = page.select_one("#i")
    assert field
    assert field["aria-invalid"] == "true"
    assert "i-error" in str(field["aria-describedby"])
    assert "must be a whole number from 0 to 59" in page.select_one("#i-error").text.lower()  # type: ignore[union-attr]
    assert not page.select(".verdict")


def test_a_model_server_in_trouble_leaves_a_page_to_go_on_from(
    make_app: Callable[..., App], fake: FakeModelServer
) -> None:
    client = make_app(model_server_timeout_s=0.3)[0].test_client()
    fake.mood = "closing"
    page = page_of(client, "/by-index/cells?i=1", 503)
    assert "No prediction this time" in page.text
    assert page.select("a[rel=next]")

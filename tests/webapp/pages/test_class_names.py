"""Classes as people call them, on every page that shows one; programs are told the class itself."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path

import pytest
from bs4 import BeautifulSoup
from flask.testing import FlaskClient

from tests.support.web.apps import App, csrf_token, own_app
from tests.support.web.fake_model_server import FakeModelServer

NAMES = """name: cells
data: {source: cells.csv, label: outcome, classes: [B, M], positive: M}
class_names: {B: benign, M: malignant}
"""
GOOD = {"radius": "18.5", "texture": "21", "smooth ness (mean)": "0.1"}


@pytest.fixture(scope="module")
def app(webapp_root: Path, _fake: FakeModelServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    """An app that knows the names, and predicted one malignant case."""
    root = tmp_path_factory.mktemp("named")
    (root / "config" / "cells").mkdir(parents=True)
    (root / "config" / "cells" / "pipeline.yaml").write_text(NAMES, encoding="utf-8")
    with own_app(root / "var", webapp_root / "serving", _fake.url, models=root / "config") as made:
        yield made


@pytest.fixture
def browser(app: App, fake: FakeModelServer) -> FlaskClient:
    return app[0].test_client()


def page_of(client: FlaskClient, path: str) -> BeautifulSoup:
    return BeautifulSoup(client.get(path).text, "html.parser")


def predicted(browser: FlaskClient) -> BeautifulSoup:
    form = GOOD | {"csrf_token": csrf_token(browser, "/predict/cells")}
    return BeautifulSoup(browser.post("/predict/cells", data=form).text, "html.parser")


def texts(page: BeautifulSoup, selector: str) -> list[str]:
    return [" ".join(found.get_text(" ").split()) for found in page.select(selector)]


def test_examples_are_called_by_name_and_found_by_class(browser: FlaskClient) -> None:
    links = {link.text: link["href"] for link in page_of(browser, "/predict/cells").select("a[data-fill]")}
    assert links == {
        "Typical benign": "?example=typical-B",
        "Typical malignant": "?example=typical-M",
        "Borderline": "?example=borderline",
    }


def test_an_answer_and_its_charts_say_the_name(browser: FlaskClient) -> None:
    page = predicted(browser)
    assert texts(page, "#result .verdict h2 strong") == ["malignant"]
    assert "Probability of malignant" in texts(page, ".chart--waterfall text")
    assert texts(page, ".chart--scatter .chart-key") == ["benign", "malignant"]
    assert "malignant" in texts(page, ".chart--gauge title")[0]
    assert "probability of malignant" in page.select_one("#result").text  # type: ignore[union-attr]


def test_the_truth_of_a_test_row_is_said_by_name(browser: FlaskClient) -> None:
    assert texts(page_of(browser, "/by-index/cells?i=0"), ".verdict p > strong")[0] in ("benign", "malignant")


def test_a_file_keeps_the_class_and_its_page_tells_both(browser: FlaskClient) -> None:
    form = {"csrf_token": csrf_token(browser, "/batch/cells"), "file": (io.BytesIO(_file()), "x.csv")}
    page = BeautifulSoup(browser.post("/batch/cells", data=form).text, "html.parser")
    assert texts(page, ".shares dt") == ["malignant M"]
    assert "Probability of malignant" in texts(page, ".chart--histogram text")
    link = page.select_one(".result-head a")
    assert link
    assert [row["label"] for row in csv.DictReader(io.StringIO(browser.get(str(link["href"])).text))] == ["M"]


def _file() -> bytes:
    return f"{','.join(GOOD)}\n{','.join(GOOD.values())}\n".encode()


def test_the_history_is_searched_by_class_and_read_by_name(app: App, browser: FlaskClient) -> None:
    predicted(browser)
    app[1].log.flush(timeout_s=5)
    page = page_of(browser, "/history/cells?label=M")
    assert {option["value"]: option.text for option in page.select("#label option")} == {
        "": "any",
        "B": "benign",
        "M": "malignant",
    }
    assert texts(page, "#predictions tbody td:nth-child(2)")[0] == "malignant"
    assert "Probability of malignant" in texts(page, "#predictions th")
    link = page.select_one("#predictions tbody a")
    assert link
    one = page_of(browser, str(link["href"]))
    assert "Predicted malignant Probability of benign" in texts(one, "#answer")[0]
    assert {option["value"]: option.text for option in one.select("#label option")}["M"] == "malignant"


def test_monitoring_counts_by_name(app: App, browser: FlaskClient) -> None:
    predicted(browser)
    app[1].log.flush(timeout_s=5)
    page = page_of(browser, "/monitoring?model=cells")
    told = texts(page, "#answers tbody td:nth-child(2)")
    assert "malignant" in told
    assert not {"B", "M"} & set(told)
    assert "Probability of malignant" in texts(page, "#scores text")


def test_programs_are_told_the_class(browser: FlaskClient) -> None:
    row = {name: float(value) for name, value in GOOD.items()}
    answer = browser.post("/api/v1/predict", json={"model": "cells", "rows": [row]})
    assert answer.status_code == 200, answer.text
    assert '"label":"M"' in answer.text.replace(" ", "")
    assert "malignant" not in answer.text

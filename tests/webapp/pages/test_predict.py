from __future__ import annotations

import html
import json
import re
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from bs4 import BeautifulSoup, Tag
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from common.tables.cleaning import Cleaning
from tests.support.web.apps import App, csrf_token
from tests.support.web.fake_model_server import FakeModelServer
from tests.support.web.models import Made
from tests.support.web.small_app import SECRET
from webapp.models.catalog import Field
from webapp.models.statistics import Stats
from webapp.pages.predict import as_text, inputs_of
from webapp.pages.result import Result
from webapp.types import Answer, Outcome

CELLS, PATIENTS, FLOWERS = "/predict/cells", "/predict/patients", "/predict/flowers"
GOOD = {"radius": "18.5", "texture": "21", "smooth ness (mean)": "0.1"}
FETCH = {"X-Requested-With": "fetch"}


def send(
    client: FlaskClient, path: str, values: Mapping[str, str], headers: Mapping[str, str] | None = None
) -> TestResponse:
    return client.post(path, data={**values, "csrf_token": csrf_token(client, path)}, headers=dict(headers or {}))


def soup(response: TestResponse) -> BeautifulSoup:
    return BeautifulSoup(response.text, "html.parser")


def values_of(page: BeautifulSoup) -> dict[str, str]:
    form = page.select_one("form#case")
    assert form
    found = {str(each["name"]): str(each.get("value", "")) for each in form.select(".fields input")}
    for select in form.select("select"):
        chosen = select.select_one("option[selected]")
        found[str(select["name"])] = chosen.text if chosen else ""
    return found


@pytest.mark.parametrize(("preferred", "leads_to"), [("cells", "/predict/cells"), ("", "/models")])
def test_the_first_page_leads_to_a_form_or_lists_several_models(
    make_app: Callable[..., Any], preferred: str, leads_to: str
) -> None:
    app, _ = make_app(model=preferred)
    response = app.test_client().get("/")
    assert (response.status_code, response.location) == (302, leads_to)


def test_every_field_has_a_label_and_what_the_training_data_hold(visitor: FlaskClient, made: dict[str, Made]) -> None:
    page = soup(visitor.get(PATIENTS))
    names = {str(each["name"]): str(each["id"]) for each in page.select("form#case .fields [name]")}
    assert set(names) == set(made["patients"].columns)
    assert {str(label["for"]) for label in page.select("form#case .fields label")} == set(names.values())
    hint = page.select_one(f"#{names['age']}-hint")
    assert hint
    assert re.fullmatch(r"[\d.]+ – [\d.]+ · [\d.]+", hint.text)


def test_categories_are_picked_and_numbers_are_typed(visitor: FlaskClient) -> None:
    page = soup(visitor.get(PATIENTS))
    assert [o.text for o in page.select("select[name=smoker] option")] == ["– choose –", "no", "yes"]
    assert page.select("input[name=pressure][type=text][inputmode=decimal]")
    assert not page.select("[type=number]"), "a browser drops a comma from one, and the wheel turns it"


def test_codes_are_picked_by_what_people_call_them() -> None:
    ward = Field("ward", "categorical", "int", True, ("0", "1"), "Ward", "", "", "", Stats(), {"1": "surgery"})
    model_version = SimpleNamespace(
        fields=(ward,), groups=(("", (ward,)),), by_name={"ward": ward}, cleaning=Cleaning()
    )
    [shown] = inputs_of(model_version, {"ward": "1"})  # type: ignore[arg-type]
    assert (shown.value, shown.options) == ("1", (("0", "0"), ("1", "surgery (1)")))


def test_optional_fields_say_so(visitor: FlaskClient) -> None:
    labels = [label.text for label in soup(visitor.get(PATIENTS)).select(".fields label") if "optional" in label.text]
    assert len(labels) == 1
    assert "Cholesterol" in labels[0]


def test_a_good_case_is_answered_with_all_that_makes_it_traceable(visitor: FlaskClient) -> None:
    response = send(visitor, CELLS, GOOD)
    verdict = soup(response).select_one("#result .verdict")
    assert verdict
    assert response.status_code == 200
    said = " ".join(verdict.select_one("h2").text.split())  # type: ignore[union-attr]
    assert re.fullmatch(r"Outcome M \(M [<> \d.]+%, threshold 40\.0%\)", said)
    assert "calibrated" not in response.text, "no version says that it is"
    for told in ("threshold", "40.0%", "version 1", "stable", "UTC", response.headers["X-Request-ID"]):
        assert told in verdict.text
    assert verdict.select('a[href="/models/cells"]')


def test_the_answer_comes_with_its_reasons_and_its_place_among_the_training_data(visitor: FlaskClient) -> None:
    result = soup(send(visitor, CELLS, GOOD)).select_one("#result")
    assert result
    assert next(row.th.text for row in result.select("details tbody tr") if row.th) == "Radius"
    contributions = [points(row.select("td")[-1].text) for row in result.select("details tbody tr")]
    start, end = (points(f"+{text.rstrip('%')}") for text in re.findall(r"[\d.]+%", waterfall(result))[:2])
    assert sum(contributions) == pytest.approx(end - start, abs=0.2)
    assert len(result.select("svg[role=img]")) == 3
    assert len(result.select("table")[1].select("tbody tr")) == 5, "the nearest training cases"
    assert not result.select_one("details:has(.chart--scatter)").has_attr("open")  # type: ignore[union-attr]


def waterfall(result: Tag) -> str:
    found = result.select_one(".chart--waterfall desc")
    assert found
    return found.text


def points(text: str) -> float:
    return float(text.replace("−", "-"))


@pytest.mark.parametrize(
    ("probability", "threshold", "label", "rival"),
    [
        (0.6, 0.63, "B", "M"),
        (0.7, 0.63, "M", "B"),
        (0.008, 0.63, "B", None),
        (0.99, 0.63, "M", None),
        (0.51, 0.4, "M", None),
    ],
)
def test_near_the_threshold_it_is_a_close_call(
    visitor: FlaskClient, probability: float, threshold: float, label: str, rival: str | None
) -> None:
    version = visitor.application.extensions["vouch"].catalog.model_version("cells", 1)
    outcome = Outcome(label, probability, {"B": 1 - probability, "M": probability})
    answer = Answer("cells", 1, "stable", threshold, (outcome,), "", 0.0)
    result = Result(version, {}, answer, datetime.now(timezone.utc), None, (), None, None, None)
    assert result.rival == rival


def test_a_close_call_is_explained(make_app: Callable[..., App], made: dict[str, Made]) -> None:
    client = make_app()[0].test_client()
    page = soup(client.get(f"{CELLS}?example=borderline"))
    answered = soup(send(client, CELLS, values_of(page)))
    assert "Close call." in answered.select_one("#result").text  # type: ignore[union-attr]
    assert "Close call." not in soup(send(client, CELLS, GOOD)).text


def test_a_lone_decimal_comma_is_understood_and_shown_as_it_was_read(visitor: FlaskClient) -> None:
    page = soup(send(visitor, CELLS, GOOD | {"radius": "18,5"}))
    assert values_of(page) == GOOD
    assert "18,5 was read as 18.5." in page.select_one("#field-0-note").text  # type: ignore[union-attr]
    parts = soup(send(visitor, CELLS, GOOD | {"radius": "18,5"}, FETCH))
    assert parts.select_one("#field-0-note")["data-value"] == "18.5"  # type: ignore[index]


@pytest.mark.parametrize("text", ["1.234,5", "1,234.5", "1,2,3", "1,5 mm"])
def test_a_comma_that_may_mean_anything_is_refused_and_kept(visitor: FlaskClient, text: str) -> None:
    page = soup(send(visitor, CELLS, GOOD | {"radius": text}))
    assert "a decimal point, not a comma" in page.select_one("#problems").text  # type: ignore[union-attr]
    assert values_of(page) == GOOD | {"radius": text}


ROWS = {
    "tabs": "18.5\t21\t0.1",
    "semicolons and decimal commas": "18,5;21;0,1",
    "commas": "18.5,21,0.1\n",
    "a header in another order": "Texture,extra,radius,smooth ness (mean)\n21,x,18.5,0.1",
    "a header of titles": "RADIUS\tTexture\tSmooth ness (mean)\r\n18.5\t21\t0.1\r\n",
    "quotes": '"18,5";"21";"0,1"',
}


@pytest.mark.parametrize("pasted", ROWS.values(), ids=ROWS)
def test_a_pasted_row_fills_the_form(visitor: FlaskClient, pasted: str) -> None:
    token = {"csrf_token": csrf_token(visitor, CELLS)}
    page = soup(visitor.post(f"{CELLS}/paste", data={"pasted": pasted, **token}))
    assert values_of(page) == GOOD
    assert not page.select(".verdict")


@pytest.mark.parametrize(
    ("pasted", "said"),
    [
        ("", "nothing was pasted"),
        ("1\t2", "2 values"),
        ("18,5,21,0,1", "5 values"),
        ("1\t2\t3\n4\t5\t6", "2 rows"),
        ("radius\ttexture", "0 rows"),
        ("x" * 200_000, "no row of a table"),
    ],
    ids=["nothing", "too few", "decimal commas between commas", "two rows", "a header alone", "a cell that never ends"],
)
def test_what_is_no_row_of_the_model_is_not_filled_in(visitor: FlaskClient, pasted: str, said: str) -> None:
    token = {"csrf_token": csrf_token(visitor, CELLS)}
    response = visitor.post(f"{CELLS}/paste", data={"pasted": pasted, **token}, headers=FETCH)
    assert response.status_code == 400
    assert said in soup(response).select_one("#problems").text  # type: ignore[union-attr]
    assert [part["id"] for part in soup(response).select("[data-swap]")] == ["problems"], "the form keeps its values"


def test_examples_are_a_table_of_their_values(visitor: FlaskClient) -> None:
    rows = soup(visitor.get(CELLS)).select("table.examples tbody tr")
    assert [row.th.text for row in rows if row.th] == ["Typical B", "Typical M", "Borderline"]
    for row in rows:
        texts = json.loads(html.unescape(str(row.select_one("a")["data-fill"])))  # type: ignore[index]
        shown = [float(cell.text) for cell in row.select("td")]
        assert shown == pytest.approx([float(texts[name]) for name in GOOD], rel=1e-3)


@pytest.mark.parametrize(
    ("value", "text"), [("v1.0", "v1.0"), ("7.0", "7.0"), (7.0, "7"), (7, "7"), (0.1, "0.1"), (None, "")]
)
def test_only_numbers_lose_their_point(value: object, text: str) -> None:
    assert as_text(value) == text


def test_a_session_that_is_over_is_told_to_the_script_and_leads_others_to_the_login(
    make_app: Callable[..., App],
) -> None:
    client = make_app(auth=True, secret_key=SECRET, secure_cookies=False)[0].test_client()
    assert client.post(CELLS, data=GOOD).status_code == 303
    response = client.post(CELLS, data=GOOD, headers=FETCH)
    assert response.status_code == 401
    assert "What you entered is kept" in soup(response).select_one("main .problem").text  # type: ignore[union-attr]
    assert soup(response).select('main .problem a[href="/login"][target=_blank]')


def test_several_classes_are_ranked(visitor: FlaskClient) -> None:
    page = soup(send(visitor, FLOWERS, {"petal length (cm)": "1.5", "petal width (cm)": "0.2"}))
    ranked = [each.text for each in page.select("#result .shares dt")]
    assert ranked[0] == "setosa"
    assert sorted(ranked) == ["setosa", "versicolor", "virginica"]


def test_the_form_keeps_its_values_after_an_answer(visitor: FlaskClient) -> None:
    assert values_of(soup(send(visitor, CELLS, GOOD))) == GOOD


def test_every_problem_is_listed_on_top_and_tied_to_its_field(visitor: FlaskClient) -> None:
    wrong = {"radius": "1.012,5", "texture": "", "smooth ness (mean)": "1e99"}
    response = send(visitor, CELLS, wrong)
    page = soup(response)
    assert response.status_code == 400
    assert len(page.select("#problems li")) == 3
    for link in page.select("#problems a"):
        field = page.select_one(str(link["href"]))
        assert field
        assert field["aria-invalid"] == "true"
        note = page.select_one(f"#{field['id']}-note")
        assert note
        assert note["id"] in str(field["aria-describedby"]).split()
        assert note["class"] == ["error"]
    assert "must be a number with a decimal point, not a comma" in page.text
    assert values_of(page) == wrong


def test_a_value_outside_the_training_data_is_answered_with_a_warning_at_its_field(visitor: FlaskClient) -> None:
    response = send(visitor, CELLS, GOOD | {"texture": "90"})
    page = soup(response)
    assert response.status_code == 200
    notes = list(page.select("form#case .caution"))
    assert len(notes) == 1
    assert "The training data reach from" in notes[0].text
    assert "1 value outside the training data" in page.select_one("#result").text  # type: ignore[union-attr]


def test_the_script_gets_only_the_parts_that_change(visitor: FlaskClient) -> None:
    parts = soup(send(visitor, CELLS, GOOD | {"texture": "90"}, FETCH))
    assert not parts.select("html, form")
    ids = [part["id"] for part in parts.select("[data-swap]")]
    assert ids == ["problems", "result", "field-0-note", "field-1-note", "field-2-note"]
    assert "The training data reach" in parts.select_one("#field-1-note").text  # type: ignore[union-attr]


def test_examples_fill_the_form_without_a_script(visitor: FlaskClient) -> None:
    page = soup(visitor.get(CELLS))
    link = next(link for link in page.select("a[data-fill]") if link.text == "Typical M")
    filled = values_of(soup(visitor.get(CELLS + str(link["href"]))))
    assert filled == json.loads(html.unescape(str(link["data-fill"])))
    assert float(filled["radius"]) > 15


def test_an_example_that_is_none_leaves_the_form_empty(visitor: FlaskClient) -> None:
    assert set(values_of(soup(visitor.get(f"{CELLS}?example=nothing"))).values()) == {""}


@pytest.mark.parametrize("mood", ["closing", "nan"])
def test_a_model_server_in_trouble_is_told_and_nothing_is_lost(
    make_app: Callable[..., App], fake: FakeModelServer, mood: str
) -> None:
    client = make_app(model_server_timeout_s=0.3)[0].test_client()
    fake.mood = mood  # type: ignore[assignment]
    response = send(client, CELLS, GOOD)
    page = soup(response)
    assert response.status_code in (502, 503)
    assert (response.status_code == 503) == ("Retry-After" in response.headers)
    assert "No prediction this time" in page.select_one("#problems").text  # type: ignore[union-attr]
    assert not page.select(".verdict")
    assert values_of(page) == GOOD


def test_without_reasons_the_answer_still_stands(
    make_app: Callable[..., App], webapp_root: Path, tmp_path: Path
) -> None:
    (tmp_path / "copy").mkdir()
    for path in (webapp_root / "serving").rglob("*"):
        target = tmp_path / "copy" / path.relative_to(webapp_root / "serving")
        if path.is_dir():
            target.mkdir(exist_ok=True)
        elif path.name != "showcase.json":
            target.write_bytes(path.read_bytes())
    client = make_app(serving=tmp_path / "copy")[0].test_client()
    result = soup(send(client, CELLS, GOOD)).select_one("#result")
    assert result
    assert "threshold 40.0%" in result.text
    assert "Known cases" not in result.text


def test_a_model_that_is_none_has_no_page(visitor: FlaskClient) -> None:
    response = visitor.get("/predict/nothing")
    assert response.status_code == 404
    assert "there is no such model" in response.text


@pytest.mark.parametrize("path", [CELLS, "/by-index/cells", "/batch/cells", "/predict/nothing"])
def test_pages_of_a_model_about_health_say_that_it_is_no_medical_device(visitor: FlaskClient, path: str) -> None:
    assert "Not a medical device." in visitor.get(path).text


def test_pages_of_other_models_say_that_they_err(visitor: FlaskClient) -> None:
    footer = soup(visitor.get(FLOWERS)).select_one("footer .statement")
    assert footer
    assert "medical" not in footer.text
    assert "estimates of a statistical model" in footer.text


@pytest.mark.parametrize("path", [CELLS, PATIENTS, FLOWERS, "/by-index/patients", "/batch/patients"])
def test_pages_hold_nothing_that_the_content_security_policy_forbids(visitor: FlaskClient, path: str) -> None:
    page = soup(visitor.get(path))
    assert not page.select("[style], style, script:not([src])")
    assert not [name for tag in page.find_all() for name in tag.attrs if name.startswith("on")]


def test_hostile_values_come_back_as_text(visitor: FlaskClient) -> None:
    response = send(visitor, PATIENTS, {"city": '"><script>alert(1)</script>', "age": "'><b>"})
    assert "<script>alert" not in response.text
    assert "<b>" not in response.text


@pytest.mark.parametrize(
    ("value", "text"), [(7.0, "7"), (7.5, "7.5"), (7, "7"), ("v1.0", "v1.0"), ("7.0", "7.0"), (None, "")], ids=repr
)
def test_only_a_number_loses_a_fraction_of_nothing(value: Any, text: str) -> None:
    assert as_text(value) == text

from __future__ import annotations

import gettext
import io
import re
from functools import cache
from pathlib import Path

import pytest
from babel.messages.catalog import Catalog
from babel.messages.extract import extract_from_dir
from babel.messages.frontend import parse_mapping_cfg
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from bs4 import BeautifulSoup
from flask.testing import FlaskClient
from markupsafe import escape

import webapp
from tests.webapp.conftest import csrf_token
from webapp.pages import wording
from webapp.predict.rules import DECIMAL_POINT, FINITE, GIVEN, SOME_NUMBER, TEXT, UNICODE, WHOLE

ROOT = Path(webapp.__file__).parent
PO = ROOT / "translations" / "id" / "LC_MESSAGES" / "messages.po"
KEYWORDS = {"_": None, "gettext": None, "ngettext": (1, 2), "lazy_gettext": None}
PLACE = re.compile(r"%\(\w+\)[sd]|%%|\{\w+\}")
RULES = (
    GIVEN,
    SOME_NUMBER,
    FINITE,
    WHOLE,
    TEXT,
    UNICODE,
    DECIMAL_POINT,
    "must be at least 0",
    "must be at most 1",
    "must lie between -3.4e+38 and 3.4e+38",
    "must be one of no, yes",
    "must be one of a, b or 7 others",
    "the training data reach from 1 to 2",
    "the training data never had this value",
)
SAME = {"%(count)s MiB", "API", "API, CSV", "AUC", "Data", "Label", "Model", "Recall", "demo"}  # in both languages


def one(message: object) -> str:
    return str(message[0] if isinstance(message, tuple | list) else message)


@cache
def catalog() -> Catalog:
    with PO.open("rb") as file:
        return read_po(file, "id", abort_invalid=True)


def test_every_text_of_the_app_has_its_indonesian() -> None:
    with (ROOT / "translations" / "babel.cfg").open() as file:
        methods, options = parse_mapping_cfg(file)
    found = extract_from_dir(ROOT, methods, options, KEYWORDS)
    wanted = {one(message) for _file, _line, message, _comments, _context in found}
    translated = {one(message.id) for message in catalog() if message.id and one(message.string)}
    assert sorted(wanted - translated) == []
    assert sorted(translated - wanted) == []


def test_places_in_a_text_are_those_of_the_english() -> None:
    for message in catalog():
        if message.id:
            ours = [message.id[-1], *message.string] if isinstance(message.id, tuple) else [message.id, message.string]
            assert {tuple(sorted(set(PLACE.findall(text)))) for text in ours if text} == {
                tuple(sorted(set(PLACE.findall(ours[0]))))
            }, message.id


def test_texts_that_are_the_same_in_both_languages_are_meant_to_be() -> None:
    alike = {one(message.id) for message in catalog() if message.id and one(message.id) == one(message.string)}
    assert alike <= SAME


def test_what_is_compiled_is_what_is_written() -> None:
    file = io.BytesIO()
    write_mo(file, catalog())
    file.seek(0)
    fresh, kept = gettext.GNUTranslations(file), gettext.GNUTranslations(PO.with_suffix(".mo").open("rb"))
    read = [{k: v for k, v in each._catalog.items() if k} for each in (fresh, kept)]  # type: ignore[attr-defined]
    assert read[0] == read[1], "compile it: pybabel compile -d webapp/translations"


def language_of(visitor: FlaskClient, path: str, **headers: str) -> str:
    html = BeautifulSoup(visitor.get(path, headers=headers).text, "html.parser").html
    assert html
    return str(html["lang"])


@pytest.mark.parametrize(
    ("accepted", "wanted"), [("id-ID,id;q=0.9,en;q=0.5", "id"), ("en-GB", "en"), ("fr", "en"), ("", "en")]
)
def test_the_browser_says_which_language_until_somebody_chooses(
    visitor: FlaskClient, accepted: str, wanted: str
) -> None:
    assert language_of(visitor, "/predict/cells", **{"Accept-Language": accepted}) == wanted


def test_a_language_once_chosen_stays(visitor: FlaskClient) -> None:
    assert language_of(visitor, "/predict/cells?lang=id") == "id"
    assert language_of(visitor, "/batch/cells", **{"Accept-Language": "en"}) == "id"
    assert language_of(visitor, "/predict/cells?lang=en") == "en"
    assert language_of(visitor, "/predict/cells") == "en"


def test_a_language_that_there_is_not_is_left_alone(visitor: FlaskClient) -> None:
    response = visitor.get("/predict/cells?lang=../../etc")
    assert response.status_code == 200
    assert "lang=" not in response.headers.get("Set-Cookie", "")


def test_the_switch_leads_to_this_very_page(visitor: FlaskClient) -> None:
    page = BeautifulSoup(visitor.get("/by-index/cells?i=3&_external=x").text, "html.parser")
    links = [str(link["href"]) for link in page.select(".languages a")]
    assert links == ["?i=3&_external=x&lang=en", "?i=3&_external=x&lang=id"]


@pytest.mark.parametrize("path", ["/predict/cells", "/by-index/cells", "/batch/cells", "/nothing"])
def test_indonesian_pages_are_indonesian(visitor: FlaskClient, path: str) -> None:
    text = visitor.get(f"{path}?lang=id").text
    assert "Bukan alat medis." in text
    assert "Not a medical device" not in text
    english = {one(m.id) for m in catalog() if m.id and len(one(m.id)) > 24 and not PLACE.search(one(m.id))}
    assert [message for message in english if str(escape(message)) in text] == []


@pytest.mark.parametrize("rule", RULES)
def test_every_rule_can_be_said_in_indonesian(visitor: FlaskClient, rule: str) -> None:
    with visitor.application.test_request_context("/?lang=id"):
        assert wording.rule(rule) != rule
    with visitor.application.test_request_context("/?lang=en"):
        assert wording.rule(rule) == rule


def test_numbers_follow_the_language_in_texts_only(visitor: FlaskClient) -> None:
    page = BeautifulSoup(visitor.get("/predict/cells?lang=id&example=typical-M").text, "html.parser")
    field = page.select_one("input[name=radius]")
    assert field
    assert "," not in str(field["value"])
    assert "," in page.select_one("#field-0-hint").text  # type: ignore[union-attr]


def test_numbers_in_charts_follow_the_language(visitor: FlaskClient) -> None:
    form = {"radius": "18.5", "texture": "21", "smooth ness (mean)": "0.1"}
    token = csrf_token(visitor, "/predict/cells?lang=id")
    page = BeautifulSoup(visitor.post("/predict/cells", data=form | {"csrf_token": token}).text, "html.parser")
    gauge, effects, _plane = page.select("#result svg[role=img]")
    assert "ambang 40,0%" in gauge.text
    assert "18,5, biasanya" in effects.text
    numbers = [text.text for text in page.select("#result svg text") if re.search(r"\d", text.text)]
    assert [text for text in numbers if re.search(r"\d\.\d", text)] == []
    assert any(re.fullmatch(r"[+−]\d+,\d", text) for text in numbers)


@pytest.mark.parametrize(
    ("effect", "digits", "told"), [(0.123, 1, "+12.3"), (-0.0012, 2, "−0.12"), (0.0001, 1, "0.0"), (-0.00001, 1, "0.0")]
)
def test_effects_have_a_sign_unless_they_are_none(visitor: FlaskClient, effect: float, digits: int, told: str) -> None:
    with visitor.application.test_request_context("/?lang=en"):
        assert wording.points(effect, digits) == told


@pytest.mark.parametrize(
    ("share", "told"), [(0.0, "0.0%"), (0.00001, "< 0.1%"), (0.5, "50.0%"), (0.99996, "> 99.9%"), (1.0, "100.0%")]
)
def test_a_share_is_not_rounded_to_all_or_nothing(visitor: FlaskClient, share: float, told: str) -> None:
    with visitor.application.test_request_context("/?lang=en"):
        assert wording.percent(share) == told


@pytest.mark.parametrize(("value", "told"), [(0.0, "< 0.1%"), (0.5, "50.0%"), (1.0, "> 99.9%")])
def test_no_probability_is_a_certainty(visitor: FlaskClient, value: float, told: str) -> None:
    with visitor.application.test_request_context("/?lang=en"):
        assert wording.probability(value) == told


@pytest.mark.parametrize(
    ("value", "told"),
    [(13.6543, "13.65"), (0.118421, "0.1184"), (1234567.0, "1,234,567"), (-0.00001234, "-1.234e-05"), (0.0, "0")],
)
def test_numbers_are_told_with_four_digits(visitor: FlaskClient, value: float, told: str) -> None:
    with visitor.application.test_request_context("/?lang=en"):
        assert wording.number(value) == told

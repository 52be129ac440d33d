"""What could be misread, or lost: a comma, the wheel, a verdict of other values, a session, a small screen."""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import product

import pytest
from playwright.sync_api import Page, expect

from tests.support.web.browsing import (
    DATA,
    MODEL,
    PHONE,
    Check,
    Open,
    again_until,
    fits,
    is_same,
    log_in,
    mark,
    predict_example,
)
from tests.support.web.running import Site

pytestmark = pytest.mark.slow
FIRST = "form#case .fields input"


def press_predict(page: Page) -> None:
    page.locator("form#case button.primary").click()


def verdict(page: Page) -> str:
    return page.locator("#result .verdict h2").inner_text()


def test_a_typed_decimal_comma_is_shown_as_it_was_read_and_gives_the_same_verdict(demo: Site, open_page: Open) -> None:
    page = open_page(f"{demo.url}/predict/{MODEL}")
    predict_example(page)
    said, radius = verdict(page), page.locator(FIRST).first
    number = radius.input_value()
    assert "." in number
    radius.fill("")
    radius.press_sequentially(number.replace(".", ","))
    expect(radius).to_have_value(number.replace(".", ","))
    press_predict(page)
    expect(radius).to_have_value(number)
    expect(page.locator("#field-0-note")).to_have_text(f"{number.replace('.', ',')} was read as {number}.")
    assert verdict(page) == said


def test_a_comma_that_may_mean_anything_is_refused_with_the_sentence(demo: Site, open_page: Open) -> None:
    page = open_page(f"{demo.url}/predict/{MODEL}?example=borderline")
    page.locator(FIRST).first.fill("1.234,5")
    press_predict(page)
    expect(page.locator("#problems")).to_contain_text("must be a number with a decimal point, not a comma")
    expect(page.locator(FIRST).first).to_have_value("1.234,5")
    expect(page.locator("#result .verdict")).to_have_count(0)


def test_neither_wheel_nor_arrow_changes_a_value(demo: Site, open_page: Open) -> None:
    page = open_page(f"{demo.url}/predict/{MODEL}?example=borderline")
    radius = page.locator(FIRST).first
    number = radius.input_value()
    radius.click()
    for key in ("ArrowUp", "ArrowDown", "ArrowDown"):
        page.keyboard.press(key)
    top = page.evaluate("window.scrollY")
    radius.hover()
    page.mouse.wheel(0, 300)
    page.wait_for_function("top => window.scrollY !== top", arg=top)
    expect(radius).to_have_value(number)


def test_a_verdict_of_other_values_is_grey_says_so_and_is_not_printed(
    demo: Site, open_page: Open, check_accessible: Check
) -> None:
    page = open_page(f"{demo.url}/predict/{MODEL}")
    changes: tuple[Callable[[], object], ...] = (
        lambda: page.locator(FIRST).first.press("1"),
        lambda: page.locator("a[data-clear]").click(),
        lambda: page.locator('a[href*="example="] >> nth=1').click(),
    )
    for change in changes:
        predict_example(page)
        expect(page.locator("#result .stale")).to_be_hidden()
        change()
        expect(page.locator("#result .stale")).to_contain_text("Values changed, predict again.")
        assert float(page.evaluate("getComputedStyle(document.querySelector('#result .verdict')).opacity")) < 1
        expect(page.locator("[data-print]")).to_be_disabled()
        page.emulate_media(media="print")
        expect(page.locator("#result .verdict")).to_be_hidden()
        expect(page.locator(".printed")).to_be_hidden()
        expect(page.locator("#result .stale")).to_be_visible()
        page.emulate_media(media="screen")
    press_predict(page)
    expect(page.locator("#result.is-stale")).to_have_count(0)
    expect(page.locator("#result .stale")).to_be_hidden()
    expect(page.locator("[data-print]")).to_be_enabled()
    check_accessible(page)


def test_a_verdict_that_comes_after_another_change_is_an_old_one(demo: Site, open_page: Open) -> None:
    page = open_page(f"{demo.url}/predict/{MODEL}?example=borderline")
    held = []
    page.route("**/predict/*", lambda route: held.append(route))
    press_predict(page)
    page.locator(FIRST).first.press("1")
    typed = page.locator(FIRST).first.input_value()
    [route] = held
    route.continue_()
    expect(page.locator("#result .stale")).to_be_visible()
    expect(page.locator(FIRST).first).to_have_value(typed)


def test_a_session_that_is_over_costs_no_input(closed: Site, open_page: Open, check_accessible: Check) -> None:
    page = open_page(f"{closed.url}/predict/{MODEL}")
    log_in(page, "vera")
    page.locator('a[href*="example="]').first.click()
    number = page.locator(FIRST).first.input_value()
    mark(page)
    page.context.clear_cookies()
    press_predict(page)
    expect(page.locator("#problems")).to_contain_text("What you entered is kept")
    expect(page.locator(FIRST).first).to_have_value(number)
    check_accessible(page)
    with page.context.expect_page() as opened:
        page.locator("#problems a[href='/login']").click()
    log_in(opened.value, "vera")
    expect(opened.value.locator("header .who")).to_be_visible()
    press_predict(page)
    expect(page.locator("#result .verdict")).to_be_visible()
    expect(page.locator("#problems [role=alert]")).to_have_count(0)
    assert is_same(page)


def test_a_row_of_a_sheet_is_pasted_in(demo: Site, open_page: Open) -> None:
    header, *rows = (line.split(",") for line in DATA.read_text().splitlines()[:7])
    label = header.index("diagnosis")
    page = open_page(f"{demo.url}/predict/{MODEL}")
    mark(page)
    page.get_by_text("Paste a row").click()
    for row, (delimiter, with_header) in zip(reversed(rows), product("\t;,", (True, False)), strict=True):
        lines = [header, row] if with_header else [[cell for i, cell in enumerate(row) if i != label]]
        page.locator("#pasted").fill("\n".join(delimiter.join(cells) for cells in lines))
        page.get_by_role("button", name="Fill in").click()
        expect(page.locator("[name=radius_mean]")).to_have_value(row[header.index("radius_mean")])
        expect(page.locator("[name=texture_worst]")).to_have_value(row[header.index("texture_worst")])
    press_predict(page)
    expect(page.locator("#result .verdict h2")).to_contain_text("malignant")
    assert is_same(page)


def test_what_was_pasted_and_does_not_fit_is_said_and_the_form_kept(
    demo: Site, open_page: Open, check_accessible: Check
) -> None:
    page = open_page(f"{demo.url}/predict/{MODEL}?example=borderline")
    number = page.locator(FIRST).first.input_value()
    page.get_by_text("Paste a row").click()
    page.locator("#pasted").fill("1;2;3")
    page.get_by_role("button", name="Fill in").click()
    expect(page.locator("#problems")).to_contain_text("got 3 values, wanted 30")
    expect(page.locator(FIRST).first).to_have_value(number)
    check_accessible(page)


def test_the_contributions_of_a_case_add_up_to_its_probability(demo: Site, open_page: Open) -> None:
    page = open_page(f"{demo.url}/predict/{MODEL}")
    ids = set()
    for example in range(3):
        with page.expect_response(lambda answer: answer.request.method == "POST"):
            page.locator('a[href*="example="]').nth(example).click()
            press_predict(page)
        expect(page.locator("#result .stale")).to_be_hidden()
        ids.add(page.locator("#result .facts code").inner_text())
        cells = page.locator("#result details:has-text('Shapley') tbody tr td:last-child").all_text_contents()
        levels = page.locator(".chart--waterfall .chart-value").all_text_contents()
        base, probability = (float(re.sub(r"[<>% ]", "", text)) for text in (levels[0], levels[-1]))
        assert len(cells) == 30
        assert sum(float(cell.replace("−", "-")) for cell in cells) == pytest.approx(probability - base, abs=0.3)
    assert len(ids) == 3


def test_on_a_phone_the_result_leads_back_to_the_values(demo: Site, open_page: Open) -> None:
    page = open_page(f"{demo.url}/predict/{MODEL}", PHONE)
    predict_example(page)
    expect(page.locator("#result h2").first).to_be_in_viewport()
    page.get_by_text("Back to the values").click()
    expect(page.locator("form#case h2")).to_be_in_viewport()
    assert fits(page)


def test_on_a_phone_the_history_shows_what_was_said_and_leads_to_the_details(
    demo: Site, open_page: Open, check_accessible: Check
) -> None:
    page = open_page(f"{demo.url}/predict/{MODEL}", PHONE)
    predict_example(page)
    page.goto(f"{demo.url}/history/{MODEL}")
    row = page.locator("#predictions tbody tr").first
    again_until(row, page.reload)
    row.scroll_into_view_if_needed()
    for cell in (row.locator("td.probability"), row.get_by_role("link", name="Details")):
        box = cell.bounding_box()
        assert box
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= PHONE["width"]
    assert fits(page)
    check_accessible(page)


def test_times_are_in_the_zone_of_the_reader_with_utc_in_the_title(demo: Site, open_page: Open) -> None:
    page = open_page(f"{demo.url}/predict/{MODEL}", timezone_id="Asia/Jakarta")
    predict_example(page)
    time = page.locator("#result time")
    utc, title = str(time.get_attribute("datetime")), str(time.get_attribute("title"))
    hour, minute = int(utc[11:13]), utc[14:16]
    assert f"{(hour + 7) % 24:02}:{minute}" in time.inner_text()
    assert f"{hour:02}:{minute}" in title
    assert title.endswith("UTC")


def test_a_reader_is_told_that_another_version_answers_since_the_last_visit(demo: Site, open_page: Open) -> None:
    page = open_page(f"{demo.url}/predict/{MODEL}")
    expect(page.locator("#changed")).to_be_hidden()
    page.evaluate(f"localStorage.setItem('version of {MODEL}', '7')")
    page.reload()
    expect(page.locator("#changed")).to_contain_text("version 7 answered then, version 1 does now")
    page.reload()
    expect(page.locator("#changed")).to_be_hidden()

"""Ways to a prediction: one case, a case of the test split, a file; with the mouse, by keyboard, without JavaScript."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.support.web.browsing import (
    DATA,
    MODEL,
    Check,
    Open,
    again_until,
    at_both_widths,
    fits,
    is_same,
    mark,
    predict_example,
    tab_to,
)
from tests.support.web.running import Site

pytestmark = pytest.mark.slow


@at_both_widths
def test_a_case_is_predicted_without_a_new_page(
    demo: Site, open_page: Open, check_accessible: Check, viewport: dict[str, int]
) -> None:
    page = open_page(f"{demo.url}/predict/{MODEL}", viewport)
    mark(page)
    predict_example(page)
    expect(page.locator("#result")).to_contain_text("version 1")
    assert is_same(page)
    assert page.locator("#result svg[role=img]").count() == 3
    expect(page.locator("#status")).to_contain_text("%")  # what a screen reader says
    expect(page.locator("#result h2").first).to_be_in_viewport()
    assert fits(page)
    check_accessible(page, in_the_dark=True)


def test_a_case_is_predicted_without_javascript(demo: Site, open_page: Open) -> None:
    page = open_page(f"{demo.url}/predict/{MODEL}", java_script_enabled=False)
    predict_example(page, 1)
    expect(page.locator("#result")).to_contain_text("version 1")


def test_a_case_is_predicted_by_keyboard_alone(demo: Site, open_page: Open) -> None:
    page = open_page(f"{demo.url}/predict/{MODEL}")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    tab_to(page, 'a[href*="example="]')
    page.keyboard.press("Enter")
    tab_to(page, "form#case button.primary")
    page.keyboard.press("Enter")
    expect(page.locator("#result")).to_contain_text("version 1")


def test_a_wrong_value_is_led_to_and_its_note_goes_when_it_is_right(
    demo: Site, open_page: Open, check_accessible: Check
) -> None:
    page = open_page(f"{demo.url}/predict/{MODEL}")
    page.locator('a[href*="example="]').first.click()
    field = page.locator("form#case .fields input").first
    right = field.input_value()
    field.fill("")
    field.press("Enter")
    expect(page.locator("#problems [role=alert]")).to_be_focused()
    check_accessible(page)
    tab_to(page, "#problems a")
    page.keyboard.press("Enter")
    expect(field).to_be_focused()
    expect(field).to_have_attribute("aria-invalid", "true")
    page.keyboard.type(right)
    page.keyboard.press("Enter")
    expect(page.locator("#result .verdict")).to_be_visible()
    expect(page.locator("[aria-invalid], #problems [role=alert]")).to_have_count(0)


def test_a_case_waits_on_its_page_while_there_is_no_network(demo: Site, open_page: Open) -> None:
    page = open_page(f"{demo.url}/predict/{MODEL}")
    page.locator('a[href*="example="]').first.click()
    page.context.set_offline(True)
    page.locator("form#case button.primary").click()
    expect(page.locator("#problems [role=alert]")).to_contain_text("what you entered is kept")
    page.context.set_offline(False)
    page.locator("form#case button.primary").click()
    expect(page.locator("#result .verdict")).to_be_visible()
    expect(page.locator("#problems [role=alert]")).to_have_count(0)


@at_both_widths
def test_a_held_out_row_is_found_by_its_number_and_from_its_neighbour(
    demo: Site, open_page: Open, check_accessible: Check, viewport: dict[str, int]
) -> None:
    page = open_page(f"{demo.url}/by-index/{MODEL}", viewport)
    tab_to(page, "input[name=i]")
    page.keyboard.type("7")  # the Tab key selected what was there
    page.keyboard.press("Enter")
    page.wait_for_url("**?i=7&*")
    expect(page.locator(".outcome")).to_contain_text("version 1")
    expect(page.locator(".outcome")).to_contain_text("True label")
    page.locator("a[rel=next]").click()
    expect(page.locator("input[name=i]")).to_have_value("8")
    page.locator("a[rel=prev]").click()
    expect(page.locator("input[name=i]")).to_have_value("7")
    assert fits(page)
    check_accessible(page)


def test_a_row_that_is_not_there_is_refused_in_words(demo: Site, open_page: Open, check_accessible: Check) -> None:
    page = open_page(f"{demo.url}/by-index/{MODEL}?i=100000")
    expect(page.locator(".problems")).to_be_focused()
    expect(page.locator("#i-error")).to_be_visible()
    expect(page.locator("input[name=i]")).to_have_attribute("aria-invalid", "true")
    check_accessible(page)


@at_both_widths
def test_a_file_is_scored_while_its_progress_is_shown(
    demo: Site, open_page: Open, tmp_path: Path, check_accessible: Check, viewport: dict[str, int]
) -> None:
    header, *rows = DATA.read_text().splitlines()
    large = tmp_path / "large.csv"
    large.write_text("\n".join([header, *rows * 60]) + "\n")
    page = open_page(f"{demo.url}/batch/{MODEL}", viewport)
    mark(page)
    page.evaluate("""
        window.told = [];
        const text = document.querySelector("#progress [data-text]");
        new MutationObserver(() => window.told.push(text.textContent)).observe(text, {childList: true});
    """)
    upload(page, large)
    expect(page.locator("#progress")).to_be_visible()
    expect(page.locator("#result h2").first).to_contain_text("34,140")
    expect(page.locator("#progress")).to_be_hidden()
    assert any("rows" in text for text in page.evaluate("window.told"))
    assert is_same(page)
    assert fits(page)
    check_accessible(page)


def test_rows_with_bad_cells_are_listed_and_the_others_come_back(
    demo: Site, open_page: Open, tmp_path: Path, check_accessible: Check
) -> None:
    lines = [line.split(",") for line in DATA.read_text().splitlines()[:11]]
    bad = lines[0].index("radius_mean")
    lines[3][bad], lines[5][bad] = "big", "-1"
    file = tmp_path / "bad.csv"
    file.write_text("\n".join(",".join(cells) for cells in lines))
    page = open_page(f"{demo.url}/batch/{MODEL}")
    page.evaluate("document.getElementById('status').remove()")  # a page of an older version of the app has none
    upload(page, file)
    listed = page.locator("#wrong tbody tr")
    expect(listed.first).to_contain_text("radius_mean")
    expect(listed.first.locator("td").first).to_have_text("4")  # as an editor numbers the lines
    check_accessible(page)
    answered = download(page)
    assert len(answered) == 10 - listed.count() > 0
    assert all(row["label"] for row in answered)
    assert "big" not in {row["radius_mean"] for row in answered}


def test_a_file_that_cannot_be_read_is_refused_in_words(
    demo: Site, open_page: Open, tmp_path: Path, check_accessible: Check
) -> None:
    file = tmp_path / "other.csv"
    file.write_text("colour,shape\nred,round\n")
    page = open_page(f"{demo.url}/batch/{MODEL}")
    mark(page)
    page.set_input_files("#file", file)
    page.locator("#file").focus()
    tab_to(page, "form[data-progress] button.primary")
    page.keyboard.press("Enter")
    expect(page.locator("#problems [role=alert]")).to_be_focused()
    expect(page.locator("#problems")).to_contain_text("radius_mean")
    assert is_same(page)
    check_accessible(page)


def test_a_prediction_is_found_again_and_exported(demo: Site, open_page: Open) -> None:
    page = open_page(f"{demo.url}/predict/{MODEL}")
    request_id = predict_example(page)
    page.goto(f"{demo.url}/history/{MODEL}")
    page.locator("input[name=text]").fill(request_id)
    page.keyboard.press("Enter")
    page.wait_for_url("**text=*")
    found = page.locator("#predictions tbody tr")
    again_until(found, page.reload)
    expect(found).to_have_count(1)
    with page.expect_download() as coming:
        page.locator('a[href*="export.csv"]').click()
    exported = list(csv.DictReader(coming.value.path().read_text().splitlines()))
    assert [row["request_id"] for row in exported] == [request_id]
    page.locator("select[name=version]").select_option("2")
    page.locator("form.search button.primary").click()
    expect(found).to_have_count(0)


def upload(page: Page, file: Path) -> None:
    page.set_input_files("#file", file)
    page.locator("form[data-progress] button.primary").click()


def download(page: Page) -> list[dict[str, str]]:
    with page.expect_download() as coming:
        page.locator('#result a[href*="/results/"]').click()
    return list(csv.DictReader(coming.value.path().read_text().splitlines()))

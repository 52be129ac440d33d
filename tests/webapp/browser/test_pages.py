"""People's ways through the pages, in a real browser, at the width of a desk and of a phone."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from tests.webapp.browser.conftest import DESKTOP, PHONE, Open, fits
from tests.webapp.browser.site import PASSWORD, ROOT, Site

pytestmark = pytest.mark.slow

MODEL = "breast_cancer"
DATA = ROOT / "data" / "breast_cancer" / "breast_cancer.csv"
PAGES = ["predict/{}", "by-index/{}?i=0", "batch/{}", "models", "models/{}", "history/{}", "monitoring"]
at_both_widths = pytest.mark.parametrize("viewport", [DESKTOP, PHONE], ids=["desktop", "phone"])


@at_both_widths
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("path", PAGES)
def test_a_page_is_accessible_and_fits(
    demo: Site, open_page: Open, check_accessible: Callable[[Page], None], path: str, viewport: dict[str, int],
    scheme: str,
) -> None:  # fmt: skip
    page = open_page(f"{demo.url}/{path.format(MODEL)}", viewport, color_scheme=scheme)
    assert fits(page)
    expect(page.locator("footer")).to_contain_text("Not a medical device")
    check_accessible(page)


@at_both_widths
def test_a_case_is_predicted_without_a_new_page(
    demo: Site, open_page: Open, check_accessible: Callable[[Page], None], viewport: dict[str, int]
) -> None:
    page = open_page(f"{demo.url}/predict/{MODEL}", viewport)
    page.evaluate("window.isTheSame = true")
    page.get_by_role("link", name="Typical M").click()
    page.get_by_role("button", name="Predict").click()
    expect(page.locator("#result")).to_contain_text("version 1")
    assert page.evaluate("window.isTheSame")
    assert page.locator("#result svg[role=img]").count() == 3
    assert fits(page)
    check_accessible(page)


def test_a_case_is_predicted_without_javascript(demo: Site, open_page: Open) -> None:
    page = open_page(f"{demo.url}/predict/{MODEL}", java_script_enabled=False)
    page.get_by_role("link", name="Typical B").click()
    page.get_by_role("button", name="Predict").click()
    expect(page.locator("#result")).to_contain_text("version 1")


def test_a_case_is_predicted_by_keyboard_alone(demo: Site, open_page: Open) -> None:
    page = open_page(f"{demo.url}/predict/{MODEL}?example=borderline")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.locator("form#case input[type=number], form#case input[inputmode]").first.focus()
    page.keyboard.press("Enter")
    expect(page.locator("#result")).to_contain_text("version 1")


def test_a_held_out_row_is_shown_with_its_truth(demo: Site, open_page: Open) -> None:
    page = open_page(f"{demo.url}/by-index/{MODEL}?i=3")
    expect(page.locator("main")).to_contain_text("version 1")


def test_a_file_is_scored(demo: Site, open_page: Open) -> None:
    page = open_page(f"{demo.url}/batch/{MODEL}")
    page.set_input_files("input[type=file]", DATA)
    page.locator("main form button").last.click()
    with page.expect_download() as coming:
        page.get_by_role("link", name="Download the results").click()
    lines = coming.value.path().read_text().splitlines()
    assert len(lines) == 570
    assert "probability" in lines[0]


def log_in(page: Page, name: str) -> None:
    page.locator("input[name=name]").fill(name)
    page.locator("input[type=password]").fill(PASSWORD)
    page.locator("main form button").last.click()


def test_a_stranger_has_to_log_in_and_comes_where_they_wanted(
    closed: Site, open_page: Open, check_accessible: Callable[[Page], None]
) -> None:
    page = open_page(f"{closed.url}/models")
    assert "/login" in page.url
    check_accessible(page)
    log_in(page, "vera")
    page.wait_for_url("**/models")


def test_a_viewer_finds_no_way_to_release(closed: Site, open_page: Open) -> None:
    page = open_page(f"{closed.url}/models/{MODEL}")
    log_in(page, "vera")
    page.wait_for_url(f"**/models/{MODEL}")
    assert page.get_by_role("button", name="Promote").count() == 0

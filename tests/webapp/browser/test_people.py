"""With a login: who may do what, and what an operator does to the release and to the truth."""

from __future__ import annotations

import pytest
from playwright.sync_api import Browser, Page, StorageState, expect

from tests.support.web.browsing import (
    MODEL,
    Check,
    Open,
    again_until,
    at_both_widths,
    fits,
    log_in,
    predict_example,
    tab_to,
)
from tests.support.web.running import PASSWORD, Site

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def vera(closed: Site, browser: Browser) -> StorageState:
    """The cookies of a viewer who is logged in."""
    return _cookies(closed, browser, "vera")


@pytest.fixture(scope="module")
def otto(closed: Site, browser: Browser) -> StorageState:
    """The cookies of an operator who is logged in."""
    return _cookies(closed, browser, "otto")


def _cookies(closed: Site, browser: Browser, name: str) -> StorageState:
    context = browser.new_context()
    page = context.new_page()
    page.goto(f"{closed.url}/models")
    log_in(page, name)
    page.wait_for_url("**/models")
    state = context.storage_state()
    context.close()
    return state


@at_both_widths
def test_a_stranger_has_to_log_in_and_comes_where_they_wanted(
    closed: Site, open_page: Open, check_accessible: Check, viewport: dict[str, int]
) -> None:
    page = open_page(f"{closed.url}/models", viewport)
    assert "/login" in page.url
    assert fits(page)
    check_accessible(page)
    log_in(page, "vera")
    page.wait_for_url("**/models")


def test_a_wrong_password_is_told_and_the_right_one_is_taken_by_keyboard(closed: Site, open_page: Open) -> None:
    page = open_page(f"{closed.url}/models")
    log_in(page, "vera", "not the one")
    expect(page.locator("main [role=alert]")).to_be_visible()
    expect(page.locator("input[name=name]")).to_have_value("vera")
    tab_to(page, "input[type=password]")
    page.keyboard.type(PASSWORD)
    enter(page, "**/models")
    page.locator('form[action="/logout"] button').click()
    page.goto(f"{closed.url}/models")
    assert "/login" in page.url


def test_a_viewer_finds_no_way_to_release(closed: Site, open_page: Open, vera: StorageState) -> None:
    page = open_page(f"{closed.url}/models/{MODEL}", storage_state=vera)
    expect(page.locator("#version-2")).to_be_visible()
    expect(page.locator('a[href*="/release"], form[action*="/release"]')).to_have_count(0)
    answer = page.goto(f"{closed.url}/models/{MODEL}/release?what=promote&version=2")
    assert answer
    assert answer.status == 403
    expect(page.locator(".error-page")).to_be_visible()


@at_both_widths
def test_a_version_is_promoted_after_a_second_thought_and_rolled_back(
    closed: Site, open_page: Open, otto: StorageState, check_accessible: Check, viewport: dict[str, int]
) -> None:
    page = open_page(f"{closed.url}/models/{MODEL}", viewport, storage_state=otto)
    page.locator('#version-2 a[href*="what=promote"]').click()
    check_accessible(page)
    confirm(page, "not the one")
    expect(page.locator("#password-error")).to_be_visible()
    confirm(page)
    page.wait_for_url(f"**/models/{MODEL}")
    expect(page.locator("#version-2 .badge.pass")).to_have_text("stable")
    expect(page.locator("#version-1 .badge.pass")).to_have_count(0)
    assert fits(page)
    check_accessible(page)
    page.locator('#release a[href*="what=rollback"]').click()
    confirm(page)
    page.wait_for_url(f"**/models/{MODEL}")
    expect(page.locator("#version-1 .badge.pass")).to_have_text("stable")
    expect(page.locator("#history tbody tr").first).to_contain_text("otto")


def test_a_canary_is_tried_and_ended_by_keyboard_alone(closed: Site, open_page: Open, otto: StorageState) -> None:
    page = open_page(f"{closed.url}/models/{MODEL}", storage_state=otto)
    tab_to(page, "#weight-2")
    enter(page, "**/release?*")
    confirm_by_keyboard(page)
    expect(page.locator("#version-2 .badge.accent")).to_contain_text("10")
    expect(page.locator("#version-1 .badge.pass")).to_have_text("stable")
    tab_to(page, '#release a[href*="what=rollback"]')
    enter(page, "**/release?*")
    confirm_by_keyboard(page)
    expect(page.locator("#version-2 .badge.accent")).to_have_count(0)


def test_who_takes_a_step_back_from_a_release_changes_nothing(
    closed: Site, open_page: Open, otto: StorageState
) -> None:
    page = open_page(f"{closed.url}/models/{MODEL}/release?what=promote&version=2", storage_state=otto)
    page.locator("#change form a.button").click()
    page.wait_for_url(f"**/models/{MODEL}")
    expect(page.locator("#version-1 .badge.pass")).to_have_text("stable")


def test_the_truth_is_told_later_and_shown_to_all(
    closed: Site, open_page: Open, otto: StorageState, vera: StorageState, check_accessible: Check
) -> None:
    page = open_page(f"{closed.url}/predict/{MODEL}", storage_state=otto)
    request_id = predict_example(page)
    page.goto(f"{closed.url}/history/{MODEL}?who=otto&text={request_id}")
    found = page.locator("#predictions tbody tr")
    again_until(found, page.reload)
    found.locator("a").click()
    page.locator("#truth select[name=label]").select_option(index=1)
    page.locator("#truth form button").click()
    expect(page.locator("#truth .badge")).to_be_visible()
    expect(page.locator("#truth")).to_contain_text("otto")
    check_accessible(page)
    viewer = open_page(f"{closed.url}/history/{MODEL}?text={request_id}", storage_state=vera)
    expect(viewer.locator("#predictions tbody .badge")).to_have_count(1)
    viewer.locator("#predictions tbody a").click()
    expect(viewer.locator("#truth")).to_contain_text("otto")
    expect(viewer.locator("#truth form")).to_have_count(0)


def confirm(page: Page, password: str = PASSWORD) -> None:
    page.locator("input[name=password]").fill(password)
    page.locator("#change form button").click()


def confirm_by_keyboard(page: Page) -> None:
    tab_to(page, "input[name=password]")
    page.keyboard.type(PASSWORD)
    enter(page, f"**/models/{MODEL}")


def enter(page: Page, leads_to: str) -> None:
    page.keyboard.press("Enter")
    page.wait_for_url(leads_to)

"""What people do in a browser, and what they can see of it."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.support.web.running import PASSWORD, ROOT

Open = Callable[..., Page]
Check = Callable[..., None]
DESKTOP, PHONE = {"width": 1280, "height": 900}, {"width": 360, "height": 740}
at_both_widths = pytest.mark.parametrize(
    "viewport", [DESKTOP, pytest.param(PHONE, marks=pytest.mark.exhaustive)], ids=["desktop", "phone"]
)
MODEL = "breast_cancer"
DATA = ROOT / "data" / "breast_cancer" / "breast_cancer.csv"
MOST_TABS = 90
WAIT_S = 15.0


def fits(page: Page) -> bool:
    """Return whether nothing has to be scrolled sideways."""
    return bool(page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"))


def tab_to(page: Page, selector: str) -> None:
    """Go on by the Tab key until what is meant has the focus; all that has it on the way must show it."""
    for _ in range(MOST_TABS):
        page.keyboard.press("Tab")
        is_there, is_seen = page.evaluate(
            """wanted => {
                const here = document.activeElement;
                const isSeen = here === document.body || getComputedStyle(here).outlineStyle !== "none";
                return [here.matches(wanted), isSeen];
            }""",
            selector,
        )
        assert is_seen, page.evaluate("document.activeElement.outerHTML")
        if is_there:
            return
    raise AssertionError(f"no way by keyboard to {selector}")


def log_in(page: Page, name: str, password: str = PASSWORD) -> None:
    """Fill the login form and send it."""
    page.locator("input[name=name]").fill(name)
    page.locator("input[type=password]").fill(password)
    page.locator("main form button").last.click()


def mark(page: Page) -> None:
    """Put a mark on the page that a new page would not have."""
    page.evaluate("window.isTheSame = true")


def is_same(page: Page) -> bool:
    """Return whether it is still the page with the mark."""
    return bool(page.evaluate("window.isTheSame === true"))


def predict_example(page: Page, place: int = 0) -> str:
    """Fill in an example, predict, and return the request's id."""
    page.locator('a[href*="example="]').nth(place).click()
    page.locator("form#case button.primary").click()
    expect(page.locator("#result:not(.is-stale) .verdict")).to_be_visible()
    return page.locator("#result .facts code").inner_text()


def again_until(wanted: Locator, act: Callable[[], object]) -> None:
    """Do something again and again until something is there, such as looking for what is logged now and then."""
    deadline = time.monotonic() + WAIT_S
    while not wanted.count():
        assert time.monotonic() < deadline, f"{wanted} did not come:\n{wanted.page.locator('main').inner_text()}"
        act()

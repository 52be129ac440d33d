"""All pages in a real browser: at the width of a desk and of a phone, light, dark, on paper."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import expect

from serving.client.types import Addresses
from tests.support.web.browsing import DESKTOP, MODEL, PHONE, Check, Open, again_until, fits, predict_example
from tests.support.web.fake_model_server import FakeModelServer
from tests.support.web.running import Site, site
from webapp.pages.monitoring import REFRESH_S

pytestmark = pytest.mark.slow

REFRESH_MS = 1000 * REFRESH_S
PAGES = ["predict/{}", "by-index/{}?i=0", "batch/{}", "models", "models/{}", "history/{}", "monitoring"]


@pytest.mark.parametrize("path", PAGES)
def test_a_page_is_accessible_and_fits(demo: Site, open_page: Open, check_accessible: Check, path: str) -> None:
    page = open_page(f"{demo.url}/{path.format(MODEL)}")
    check_accessible(page)
    for viewport in (DESKTOP, PHONE):
        page.set_viewport_size(viewport)  # type: ignore[arg-type]
        assert fits(page)
    expect(page.locator(".error-page")).to_have_count(0)
    expect(page.locator("footer")).to_contain_text("Not a medical device")


@pytest.mark.exhaustive
@pytest.mark.parametrize("path", PAGES)
def test_a_page_is_accessible_in_the_dark_and_on_a_phone(
    demo: Site, open_page: Open, check_accessible: Check, path: str
) -> None:
    page = open_page(f"{demo.url}/{path.format(MODEL)}")
    for viewport in (DESKTOP, PHONE):
        page.set_viewport_size(viewport)  # type: ignore[arg-type]
        check_accessible(page, in_the_dark=True)


def test_the_scheme_of_the_reader_is_kept_to(demo: Site, open_page: Open) -> None:
    page = open_page(f"{demo.url}/models")
    bright = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.emulate_media(color_scheme="dark")
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor")
    brightness = [sum(int(part) for part in text.strip("rgb()").split(",")) for text in (bright, dark)]
    assert brightness[0] > 3 * 220
    assert brightness[1] < 3 * 60


def test_a_result_on_paper_has_the_case_and_none_of_the_controls(demo: Site, open_page: Open) -> None:
    page = open_page(f"{demo.url}/predict/{MODEL}")
    predict_example(page)
    page.emulate_media(media="print")
    for selector in ("header nav", "form#case", "[data-print]"):
        expect(page.locator(selector)).to_be_hidden()
    expect(page.locator("#result .verdict")).to_be_visible()
    expect(page.locator(".printed dt")).to_have_count(30)
    expect(page.locator(".printed dt").first).to_be_visible()
    expect(page.locator("footer")).to_be_visible()


def test_the_numbers_of_monitoring_live_until_somebody_wants_them_to_rest(demo: Site, open_page: Open) -> None:
    page = open_page(f"{demo.url}/by-index/{MODEL}?i=1")
    page.clock.install()
    page.goto(f"{demo.url}/monitoring")
    page.evaluate(
        "const real = fetch; window.asked = 0; window.fetch = (...all) => { asked += 1; return real(...all); }"
    )
    shown = page.locator("#routes tr", has_text="/by-index/<model>").locator("td.number").first
    before = int(shown.inner_text())
    page.request.get(f"{demo.url}/by-index/{MODEL}?i=2")
    # the number shown first may be 5 s old: then it grows by more than one
    more = page.locator("#routes tr", has_text="/by-index/<model>").locator(f"td.number >> text=/^(?!{before}$)\\d+$/")
    again_until(more.first, lambda: page.clock.fast_forward(REFRESH_MS))  # a worker counts once in a while
    page.locator("#refresh").uncheck()
    asked = page.evaluate("window.asked")  # known to the page, so it is still the same
    assert asked
    page.clock.fast_forward(2 * REFRESH_MS)
    assert page.evaluate("window.asked") == asked


@pytest.fixture
def shaky(webapp_root: Path, fake: FakeModelServer, tmp_path: Path) -> Iterator[Site]:
    """The app on a model server that can be told to fail."""
    (tmp_path / "serving").symlink_to(webapp_root / "serving")
    with site(tmp_path, Addresses(fake.url)) as found:
        yield found


def test_while_the_model_server_is_away_the_case_waits_and_goes_through_after(
    shaky: Site, fake: FakeModelServer, open_page: Open, check_accessible: Check
) -> None:
    page = open_page(f"{shaky.url}/predict/cells")
    page.locator('a[href*="example="]').first.click()
    values = [field.input_value() for field in page.locator("form#case .field input").all()]
    fake.mood = "closing"
    with page.expect_response(lambda answer: answer.request.method == "POST") as answered:
        page.locator("form#case button.primary").click()
    assert answered.value.status == 503
    assert int(answered.value.headers["retry-after"]) > 0
    expect(page.locator("#problems [role=alert]")).to_be_focused()
    assert [field.input_value() for field in page.locator("form#case .field input").all()] == values
    check_accessible(page)
    fake.calm()

    def try_again() -> None:
        page.locator("form#case button.primary:enabled").click()
        expect(page.locator("form#case")).not_to_have_attribute("aria-busy", "true")

    again_until(page.locator("#result .verdict"), try_again)  # the breaker lets one try through after a while
    expect(page.locator("#problems [role=alert]")).to_have_count(0)

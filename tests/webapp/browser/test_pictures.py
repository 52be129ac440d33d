"""Pictures in a real browser: chosen, dropped, answered."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from serving.client.types import Addresses
from tests.support.web.browsing import DESKTOP, PHONE, Check, Open, fits, is_same, mark
from tests.support.web.fake_model_server import FakeModelServer
from tests.support.web.models import garden, make_version, release
from tests.support.web.pictures import picture, spotted
from tests.support.web.running import Site, site

pytestmark = pytest.mark.slow

DROP = """([selector, kind, text]) => {
    const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
    const carried = new DataTransfer();
    carried.items.add(new File([bytes], `${kind}.png`, { type: "image/png" }));
    const options = { bubbles: true, cancelable: true };
    const event = kind === "drop" ? new DragEvent(kind, { ...options, dataTransfer: carried })
                                  : new ClipboardEvent(kind, { ...options, clipboardData: carried });
    document.querySelector(selector).dispatchEvent(event);
}"""


@pytest.fixture(scope="module")
def pictured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The open demo of a model of pictures."""
    var, made = tmp_path_factory.mktemp("pictured"), garden()
    fake = FakeModelServer({(made.name, 1): made})
    fake.start()
    make_version(var / "serving", made, 1)
    release(var / "serving", made.name, 1)
    with site(var, Addresses(rest=fake.url, grpc="127.0.0.1:9")) as found:
        yield found
    fake.stop()


def choose(page: Page, *files: tuple[str, bytes]) -> None:
    page.set_input_files("#file", [{"name": name, "mimeType": "image/png", "buffer": data} for name, data in files])


@pytest.mark.parametrize("viewport", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_a_picture_is_shown_answered_and_explained(
    pictured: Site, open_page: Open, check_accessible: Check, viewport: dict[str, int]
) -> None:
    page = open_page(f"{pictured.url}/predict/garden", viewport)
    check_accessible(page)
    mark(page)
    choose(page, ("meadow.png", spotted("green", 2, 4, 7)))
    expect(page.locator(".previews canvas")).to_have_count(1)
    page.locator("form#case button.primary").click()
    expect(page.locator(".verdict h2 strong")).to_have_text("None of these")
    expect(page.locator("svg.occlusion rect.occluded").first).to_be_visible()
    choose(page, ("a.png", picture("red", kind="PNG")), ("b.png", picture("blue", kind="PNG")))
    expect(page.locator(".stale")).to_be_visible()
    page.locator("form#case button.primary").click()
    expect(page.locator(".verdict h2 strong")).to_have_text(["red", "blue"])
    assert is_same(page)
    assert fits(page)
    check_accessible(page, in_the_dark=True)


@pytest.mark.parametrize(("kind", "selector"), [("drop", "form#case"), ("paste", "body")])
def test_a_picture_is_dropped_or_pasted(pictured: Site, open_page: Open, kind: str, selector: str) -> None:
    page = open_page(f"{pictured.url}/predict/garden")
    text = base64.b64encode(picture("blue", kind="PNG")).decode()
    page.evaluate(DROP, [selector, kind, text])
    expect(page.locator(".previews li")).to_have_text(f"{kind}.png")
    page.locator("form#case button.primary").click()
    expect(page.locator(".verdict h2 strong")).to_have_text("blue")


def test_it_works_without_a_script(pictured: Site, open_page: Open, tmp_path: Path) -> None:
    page = open_page(f"{pictured.url}/predict/garden", java_script_enabled=False)
    choose(page, ("a.png", picture("green", kind="PNG")), ("b.svg", b"<svg/>"))
    page.locator("form#case button.primary").click()
    expect(page.locator(".verdict h2 strong")).to_have_text("green")
    expect(page.locator("#problems")).to_contain_text("b.svg: the file is not a picture")


@pytest.mark.parametrize("viewport", [DESKTOP, pytest.param(PHONE, marks=pytest.mark.exhaustive)])
def test_pictures_are_labelled_by_a_key_each(
    pictured: Site, open_page: Open, check_accessible: Check, viewport: dict[str, int]
) -> None:
    page = open_page(f"{pictured.url}/predict/garden", viewport)
    sizes = [(40 + number, viewport["width"] // 20) for number in range(4)]
    choose(page, *((f"{number}.png", picture("red", size, "PNG")) for number, size in enumerate(sizes)))
    page.locator("form#case button.primary").click()
    expect(page.locator(".verdict")).to_have_count(4)
    page.get_by_role("link", name="Label", exact=True).click()
    check_accessible(page)
    assert fits(page)
    expect(page.locator("kbd").first).to_be_visible()
    left = int(page.locator(".tally dd").first.inner_text())
    for key in ("1", "3", "x"):
        expect(page.locator("kbd").first).to_be_visible()
        before = page.locator("[name=sha256]").input_value()
        page.keyboard.press(key)
        expect(page.locator("[name=sha256]")).not_to_have_value(before)
    expect(page.locator(".tally dd").first).to_have_text(str(left - 3))
    expect(page.locator("kbd").first).to_be_visible()
    page.keyboard.press("u")
    expect(page.locator(".tally dd").first).to_have_text(str(left - 2))
    page.goto(f"{pictured.url}/label/garden")
    before = page.locator("[name=sha256]").input_value()
    expect(page.locator("kbd").first).to_be_visible()
    page.keyboard.press("s")
    expect(page.locator("[name=sha256]")).not_to_have_value(before)

"""Take the pictures of the documentation. `make screenshots` runs this beside a model server that it started."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from playwright.sync_api import Page

from common.paths import var_root
from serving.client.types import Addresses
from tests.support.web.chromium import chromium
from tests.support.web.running import ROOT, site

PICTURES = ROOT / "docs" / "pictures"
VIEWPORT = {"width": 1200, "height": 900}
MODEL = "breast_cancer"
DATA = ROOT / "data" / "breast_cancer" / "breast_cancer.csv"


def main() -> None:
    """Write docs/pictures/{predict,batch,models,phone}.png."""
    addresses = Addresses(os.environ["VOUCH_MODEL_SERVER_REST"], os.environ["VOUCH_MODEL_SERVER_GRPC"])
    with tempfile.TemporaryDirectory() as folder:
        var = Path(folder)
        (var / "serving").symlink_to(var_root() / "serving")
        with site(var, addresses) as found, chromium() as browser:
            desktop = browser.new_page(viewport=VIEWPORT, locale="en-GB")  # type: ignore[arg-type]
            _predict(desktop, found.url, "predict")
            _batch(desktop, found.url)
            desktop.goto(f"{found.url}/models/{MODEL}")
            desktop.screenshot(path=PICTURES / "models.png")
            phone = browser.new_page(viewport={"width": 390, "height": 1000}, color_scheme="dark", locale="en-GB")
            _predict(phone, found.url, "phone")


def _predict(page: Page, url: str, name: str) -> None:
    page.goto(f"{url}/predict/{MODEL}?example=borderline")
    page.locator("form#case button:not(.link)").last.click()
    page.wait_for_selector("#result svg")
    page.evaluate("window.scrollTo(0, 0)")
    page.screenshot(path=PICTURES / f"{name}.png")


def _batch(page: Page, url: str) -> None:
    page.goto(f"{url}/batch/{MODEL}")
    page.set_input_files("input[type=file]", DATA)
    page.locator("main form button").last.click()
    page.wait_for_load_state("networkidle")
    page.screenshot(path=PICTURES / "batch.png")


if __name__ == "__main__":
    main()

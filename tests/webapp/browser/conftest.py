"""Debian's chromium on the real thing: a pushed model, a model server, the web app, with and without a login."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from serving.client.types import Addresses
from serving.launch.launcher import Start, launch
from tests.support.pipeline.runs import PipelineRun
from tests.support.serving.versions import copy_version
from tests.support.web.browsing import DESKTOP, Check, Open
from tests.support.web.running import Site, add_user, guarded, site
from webapp.types import Role

PATIENCE_MS = 15_000
AXE = "how => axe.run(how).then(found => found.violations)"
STATE = """() => {  // which page, how wide, and what of it may be there or not
    const parts = "[role=alert], .verdict, .stale, .error, .note-box, details[open], table";
    const shown = [...document.querySelectorAll(parts)].filter((part) => part.checkVisibility());
    const seen = shown.map((part) => part.className || part.tagName);
    return [location.pathname.split("/").slice(1, 2), innerWidth, ...new Set(seen)].join(" ");
}"""
QUICKLY = {"resultTypes": ["violations"], "selectors": False, "preload": False}
expect.set_options(timeout=PATIENCE_MS)


@dataclass(frozen=True)
class Models:
    """A model server on a `var` with version 1 stable and version 2 pushed."""

    var: Path
    addresses: Addresses


@pytest.fixture(scope="session")
def models(pipeline_run: PipelineRun, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Models]:
    var = tmp_path_factory.mktemp("browser") / "var"
    pushed = pipeline_run.serving / "1"
    copy_version(pushed, var / "serving" / pipeline_run.model, 1)
    with launch(Start(var / "serving", rest_port=0, grpc_port=0)) as running:
        copy_version(pushed, var / "serving" / pipeline_run.model, 2)
        yield Models(var, running.addresses)


@pytest.fixture(scope="session")
def demo(models: Models) -> Iterator[Site]:
    """The open demo."""
    with site(models.var, models.addresses) as found:
        yield found


@pytest.fixture(scope="session")
def closed(models: Models) -> Iterator[Site]:
    """The same with a login, and users: vera may look, otto may release."""
    add_user(models.var, "vera", Role.VIEWER)
    add_user(models.var, "otto", Role.OPERATOR)
    with site(models.var, models.addresses, guarded()) as found:
        yield found


@pytest.fixture
def open_page(browser: Browser) -> Iterator[Open]:
    """Open a URL in a window of its own; whatever the browser complains of fails the test."""
    contexts, complaints = [], []

    def open_(url: str, viewport: dict[str, int] = DESKTOP, **options: Any) -> Page:
        context = browser.new_context(viewport=viewport, locale="en-GB", reduced_motion="reduce", **options)  # type: ignore[arg-type]
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda said: complaints.append(said.text) if said.type == "error" else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.set_default_timeout(PATIENCE_MS)
        page.goto(url)
        return page

    yield open_
    for context in contexts:
        context.close()
    assert not [text for text in complaints if "Failed to load resource" not in text]  # statuses are looked at apart


@pytest.fixture(scope="session")
def check_accessible() -> Check:
    """Fail for what axe-core calls serious or critical, once for each page as it is; with `in_the_dark` that, too."""
    script = Axe().axe_script
    checked = set()

    def check(page: Page, *, in_the_dark: bool = False) -> None:
        state = (page.evaluate(STATE), in_the_dark)
        if state in checked:
            return
        checked.add(state)
        page.evaluate(script)
        found = page.evaluate(AXE, QUICKLY)
        if in_the_dark:
            page.emulate_media(color_scheme="dark")
            found += page.evaluate(AXE, {**QUICKLY, "runOnly": ["color-contrast"]})
            page.emulate_media(color_scheme="light")
        grave = [
            f"{each['id']}: {each['help']}: {[node['html'][:160] for node in each['nodes'][:3]]}"
            for each in found
            if each["impact"] in ("serious", "critical")
        ]
        assert not grave, "\n".join(grave)

    return check

"""The flowers' whole way in a browser: uploaded, labelled, learnt from, promoted, rolled back."""

from __future__ import annotations

import runpy
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner
from playwright.sync_api import Page, expect

from monitoring.cli import main as monitoring
from serving.launch.launcher import Start, launch
from tests.support.paths import ROOT
from tests.support.pipeline.runs import PipelineRun
from tests.support.web.browsing import Open
from tests.support.web.running import site

pytestmark = [pytest.mark.slow, pytest.mark.exhaustive]

CONFIG = ROOT / "config" / "flowers"
ROSE = "2"  # its key: the second class
NEW = 3


def upload(page: Page, url: str, files: list[Path]) -> str:
    """Predict pictures; return which version answered."""
    page.goto(f"{url}/predict/flowers")
    page.set_input_files("#file", files)
    page.locator("form#case button.primary").click()
    expect(page.locator(".verdict")).to_have_count(len(files))
    return page.locator("#result .facts dd", has_text="version").inner_text()


def test_what_was_uploaded_is_labelled_learnt_from_promoted_and_rolled_back(
    run_pipeline: Callable[..., PipelineRun], open_page: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw = runpy.run_path(str(ROOT / "data" / "flowers" / "draw.py"))["main"]
    var = tmp_path / "var"
    draw(var / "flowers")
    draw(tmp_path / "new", pictures=NEW, seed=99)
    run = run_pipeline(var, config=CONFIG)
    assert run.returncode == 0, run.output[-2000:]
    with launch(Start(var / "serving", 0, 0)) as running, site(var, running.addresses) as here:
        page = open_page(f"{here.url}/predict/flowers")
        assert "version 1" in upload(page, here.url, sorted((tmp_path / "new" / "rose").iterdir()))
        page.get_by_role("link", name="Label", exact=True).click()
        for left in reversed(range(NEW)):
            expect(page.locator("kbd").first).to_be_visible()
            page.keyboard.press(ROSE)
            expect(page.locator(".tally dd").first).to_have_text(str(left))
        monkeypatch.setenv("VOUCH_VAR", str(var))
        collected = CliRunner().invoke(monitoring, ["collect", "flowers"])
        assert f"{NEW} pictures added" in collected.output
        assert len(list((var / "flowers" / "collected-0001" / "rose").iterdir())) == NEW
        again = run_pipeline(var, config=CONFIG)
        assert again.returncode == 0, again.output[-2000:]
        files = sorted((tmp_path / "new" / "tulip").iterdir())
        for what, version in (("promote&version=2", 2), ("rollback", 1)):
            page.goto(f"{here.url}/models/flowers/release?what={what}")
            page.locator("main form button").last.click()
            expect(page.locator(".flash")).to_contain_text("Done")
            assert f"version {version}" in upload(page, here.url, files)

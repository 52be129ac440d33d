"""docs/web-settings.md lists the settings as they are."""

from __future__ import annotations

from tests.support.paths import ROOT
from webapp.reference import environment, markdown
from webapp.settings import WebSettings, read_settings


def test_the_document_is_current() -> None:
    assert (ROOT / "docs" / "web-settings.md").read_text(encoding="utf-8") == markdown(), "run: make docs"


def test_the_example_of_an_environment_is_current_and_starts() -> None:
    text = (ROOT / ".env.example").read_text(encoding="utf-8")
    assert text == environment(), "run: make docs"
    given = dict(line.removeprefix("# ").split("=", 1) for line in text.splitlines() if line.startswith("# VOUCH_"))
    assert read_settings(given) == read_settings({})


def test_every_setting_is_described_and_no_secret_shown() -> None:
    text = markdown()
    for name, field in WebSettings.model_fields.items():
        assert f"`VOUCH_{name.upper()}`" in text
        assert field.description

"""docs/web-settings.md lists the settings as they are."""

from __future__ import annotations

from tests.support.paths import ROOT
from webapp.reference import markdown
from webapp.settings import WebSettings


def test_the_document_is_current() -> None:
    assert (ROOT / "docs" / "web-settings.md").read_text(encoding="utf-8") == markdown(), "run: make docs"


def test_every_setting_is_described_and_no_secret_shown() -> None:
    text = markdown()
    for name, field in WebSettings.model_fields.items():
        assert f"`VOUCH_{name.upper()}`" in text
        assert field.description

"""The report on paper: what Chromium prints of it on A4."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from components.evaluation.baselines import Baseline
from components.evaluation.bounds import Difference, Metric
from components.report.views import render_html
from tests.support.pdf import text_of
from tests.support.programs import skip_without

pytestmark = pytest.mark.slow
A4_WITHIN_MARGINS = 703  # CSS pixels, 210 mm less 12 on each side
NAMES = ("auc", "average_precision", "precision", "recall", "specificity", "f1", "binary_accuracy", "log_loss", "brier")
WIDEST = (
    """() => Math.max(...[...document.querySelectorAll("td, th, svg")].map(e => e.getBoundingClientRect().right))"""
)
HIDDEN = """() => [...document.querySelectorAll("main td, main li")].filter(e => !e.checkVisibility()).length"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from tests.support.web.chromium import chromium, installed

    if installed() is None:
        skip_without("chromium")
    with chromium() as browser:
        yield browser


def test_no_column_is_lost_and_nothing_is_folded_on_paper(browser: Any, make_facts: Any, tmp_path: Path) -> None:
    metrics = tuple(Metric(name, 0.9 + i / 1000, 0.8 + i / 1000, 0.95 + i / 1000) for i, name in enumerate(NAMES))
    plain = tuple(
        Baseline(f"Plain model {i}", 339, 113, 0.5, metrics, 0.9, Difference(0.1234, 0.0432, 0.2342, 0.1))
        for i in range(4)
    )
    file = tmp_path / "report.html"
    file.write_text(render_html(make_facts(metrics=metrics, baselines=plain)), encoding="utf-8")
    page = browser.new_page(viewport={"width": A4_WITHIN_MARGINS, "height": 1000})
    page.goto(file.as_uri())
    page.emulate_media(media="print")
    assert page.evaluate(WIDEST) <= A4_WITHIN_MARGINS
    assert page.evaluate(HIDDEN) == 0
    printed = text_of(page.pdf(format="A4", prefer_css_page_size=True))
    numbers = [f"{value:.3f}" for m in metrics for value in (m.value, m.lower, m.upper)]
    assert all(printed.count(number) >= len(plain) for number in ("0.123", "0.043", "0.234"))
    assert [number for number in numbers if printed.count(number) < 1 + len(plain)] == []
    page.close()

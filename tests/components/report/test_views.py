"""Each file of the report, from invented facts: whole, safe and without exceptions on odd data."""

from __future__ import annotations

import math
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import openpyxl
import pytest
import yaml

from common.errors import ConfigError
from components.evaluation.bounds import Metric
from components.report.curves import class_curves
from components.report.facts import BlessedFacts, History, Network, SliceFacts, SplitFacts
from components.report.figures import HEIGHT_PX, PLAIN_PX, WIDTH_PX, write_png
from components.report.views import render_card, render_html, write_xlsx
from components.verdict import Finding, Verdict
from config.settings import CardSettings

VOID = {"meta", "link", "line", "circle", "path", "rect", "br"}
NAN_METRICS = (Metric("auc", math.nan, math.nan, math.nan, asked=0.97), Metric("recall", 0.5, 0.1, 0.9))
ONE_CLASS = class_curves("M", np.zeros(4, bool), np.array([0.1, 0.2, 0.3, 0.4]))
NASTY = '=HYPERLINK("http://x","<script>alert(1)</script>")'

TUNED = Network(
    configured=(256, 128, 1),
    saved=(64, 32, 1),
    parameters=9,
    tuned={"dropout": 0.1, "hidden_units": [64, 32]},
    trials=(
        {"score": 0.1234, "dropout": 0.1, "hidden_units": "64-32"},
        {"score": 0.2345, "dropout": 0.3, "hidden_units": "256-128"},
    ),
)

ODD = {
    "refused": {"pushed_version": None, "verdicts": (Verdict("evaluation", False, "Not blessed: too low."),)},
    "no positives in test": {"curves": (ONE_CLASS,), "confusion": ((4, 0), (0, 0)), "metrics": NAN_METRICS},
    "empty test split": {"confusion": ((0, 0), (0, 0)), "metrics": (), "baselines": (), "curves": ()},
    "empty slice": {"slices": (SliceFacts("stain = red", 0, NAN_METRICS),)},
    "no slices": {"slices": ()},
    "no baselines": {"baselines": ()},
    "nothing blessed": {"blessed": None},
    "no stages": {"stages": ()},
    "tuned": {"network": TUNED},
    "one epoch": {"history": History({"loss": [0.7], "val_loss": [0.6]}, 1)},
    "nan loss": {"history": History({"loss": [math.nan, math.nan], "val_loss": [math.nan, math.nan]}, 0)},
    "no class counts": {"splits": (SplitFacts("train", 0, {}), SplitFacts("test", 0, {}))},
    "nasty text": {"title": NASTY, "description": NASTY, "source": NASTY, "label": NASTY},
}
DRAWN = {"pushed_version", "curves", "history", "title"}  # what the picture shows


SHEETS = ["Summary", "Metrics", "Confusion", "Slices", "Baselines"]


class Page(HTMLParser):
    """Collect a page's tags and see that they nest."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.mark.slow
@pytest.mark.parametrize("changes", ODD.values(), ids=ODD.keys())
def test_odd_runs_get_every_file(make_facts: Any, tmp_path: Path, changes: dict[str, Any]) -> None:
    facts = make_facts(**changes)
    Page(render_html(facts))
    render_card(facts)
    facts.as_json()
    write_xlsx(facts, tmp_path / "report.xlsx")
    if DRAWN & changes.keys():
        write_png(facts, tmp_path / "report.png")
    assert len(openpyxl.load_workbook(tmp_path / "report.xlsx").sheetnames) == 10


def test_many_classes_get_every_file(make_facts: Any, tmp_path: Path) -> None:
    facts = make_facts(tuple(f"class {i}" for i in range(30)), rows=300)
    text = render_html(facts)
    assert len(Page(text).all("figure")) == 2 + 2 + 6 + 6  # learning; ROC, PR; six of calibration and of scores
    assert "The first 6 of 30 classes" in text
    render_card(facts)
    write_xlsx(facts, tmp_path / "report.xlsx")
    write_png(facts, tmp_path / "report.png")


def test_page_needs_nothing_else_and_runs_nothing(make_facts: Any) -> None:
    text = render_html(make_facts())
    page = Page(text)
    assert len(text.encode()) < 2_000_000
    assert not re.findall(r"(?:src|href)=\"(?!#|data:)", text)
    assert not re.findall(r"url\(|@import|https?://", text)
    assert not page.all("script")


def test_page_can_be_read_without_seeing_it(make_facts: Any) -> None:
    page = Page(render_html(make_facts()))
    assert page.all("html")[0]["lang"] == "en"
    assert len(page.all("h1")) == 1
    charts = [svg for svg in page.all("svg") if svg.get("aria-hidden") != "true"]
    assert charts
    assert all(svg["role"] == "img" for svg in charts)
    assert len(page.all("desc")) == len(charts)
    assert all("scope" in header for header in page.all("th"))
    assert {link["href"] for link in page.all("a")} <= {f"#{s['id']}" for s in page.all("section")}


def test_page_says_verdicts_metrics_and_threshold(make_facts: Any) -> None:
    text = render_html(make_facts())
    for words in (
        "Pushed as version 3",
        "0.9961",
        "0.9912",
        "at threshold 0.4312",
        "Logistic regression",
        "256 – 128 – 64 – 32 – 1, as configured",
        "stain = blue",
        "ENUM_TYPE_UNEXPECTED_STRING_VALUES",
        "CsvExampleGen/examples/1",
    ):
        assert words in text


def test_page_says_when_the_saved_network_is_another(make_facts: Any) -> None:
    text = render_html(make_facts(network=Network((256, 1), (128, 1), 9)))
    assert "but configured: 256 – 1" in text


def test_what_the_tuner_chose_is_told_as_such(make_facts: Any) -> None:
    facts = make_facts(network=TUNED)
    text, card = render_html(facts), render_card(facts)
    assert "64 – 32 – 1, as the tuner found (configured: 256 – 128 – 1)" in text
    assert "0.2345" in text
    assert "in 2 trials: dropout 0.1, hidden units [64, 32] (layers configured: 256-128-1)" in card


def test_the_command_is_the_one_that_was_run(make_facts: Any) -> None:
    facts = make_facts(command="python local_runner.py run elsewhere/x --set model.epochs=3")
    assert "`python local_runner.py run elsewhere/x --set model.epochs=3` on the same data" in render_card(facts)
    assert "run elsewhere/x --set model.epochs=3" in render_html(facts)


def test_the_blessed_model_is_named_with_its_numbers(make_facts: Any) -> None:
    other = (Metric("auc", 0.8766, 0.8, 0.9),)
    facts = make_facts(blessed=BlessedFacts(2, "20261120T000000.000000", other))
    for text in (render_html(facts), render_card(facts)):
        assert "version 2 (run 20261120T000000.000000)" in text
        assert "0.877" in text
    assert "version 2" not in render_card(make_facts(blessed=None))


def test_the_gates_word_on_the_operating_point_stands_beside_it(make_facts: Any) -> None:
    finding = Finding(
        "OPERATING_POINT", "info", "asked was a recall of 0.95; test saw 0.9474, surely between 0.8 and 0.99."
    )
    facts = make_facts(verdicts=(Verdict("evaluation", True, "Fine.", (finding,)), Verdict("serving", True, "Fine.")))
    for text in (render_html(facts), render_card(facts)):
        assert "Asked was a recall of 0.95; test saw 0.9474" in text


def test_text_from_data_stays_text(make_facts: Any) -> None:
    text = render_html(make_facts(title=NASTY, verdicts=(Verdict("data", False, NASTY),), source=NASTY))
    assert "<script>" not in text
    assert "&lt;script&gt;" in text
    _, _, body = render_card(make_facts(title=NASTY, description=NASTY, source=NASTY)).split("---\n", 2)
    assert f"`{NASTY}`" in body, "in a code span HTML is text, and entities would be shown as they are"
    assert "<script>" not in re.sub(r"`[^`\n]*`", "", body)


def test_workbook_has_numbers_as_numbers_and_no_formula(make_facts: Any, tmp_path: Path) -> None:
    path = tmp_path / "report.xlsx"
    write_xlsx(make_facts(("=1+1", "@M"), title="+cmd|x", label="-y\x00"), path)
    book = openpyxl.load_workbook(path)
    assert book.sheetnames == [*SHEETS, "Data", "History", "Curves", "Lineage", "Gates"]
    cells = [cell for sheet in book for row in sheet for cell in row]
    assert not [cell for cell in cells if cell.data_type == "f"]
    risky = [c for c in cells if isinstance(c.value, str) and c.value.startswith(("=", "+", "@"))]
    assert risky
    assert all(cell.quotePrefix for cell in risky)
    assert book["Metrics"]["B2"].value == 0.9961
    assert book["Metrics"]["B2"].number_format == "0.0000"
    assert book["Baselines"]["B2"].value == 339, "the network has rows fitted, too"
    assert {sheet.page_setup.orientation for sheet in book} == {"landscape"}
    assert all(sheet.sheet_properties.pageSetUpPr.fitToPage for sheet in book)
    summary = {row[0].value: row[1].value for row in book["Summary"]}
    assert summary["Confidence of each bound"] == 0.95
    assert summary["Positive class"] == "M"
    assert book["History"]["A3"].value == 2


def test_picture_is_a_png_of_the_size_told(make_facts: Any, tmp_path: Path) -> None:
    write_png(make_facts(), tmp_path / "report.png")
    head = (tmp_path / "report.png").read_bytes()[:24]
    assert head.startswith(b"\x89PNG")
    assert (int.from_bytes(head[16:20], "big"), int.from_bytes(head[20:24], "big")) == (WIDTH_PX, HEIGHT_PX + PLAIN_PX)


def test_plain_models_have_their_matrices_on_the_page_in_the_picture_and_in_the_workbook(
    make_facts: Any, tmp_path: Path
) -> None:
    facts = make_facts()
    assert "Logistic regression: confusion matrix at threshold 0.5000" in render_html(facts)
    write_xlsx(facts, tmp_path / "report.xlsx")
    rows = [[cell.value for cell in row] for row in openpyxl.load_workbook(tmp_path / "report.xlsx")["Confusion"]]
    place = next(number for number, row in enumerate(rows) if row[0] == "Logistic regression")
    assert rows[place + 1 : place + 3] == [["B", *facts.baselines[0].confusion[0]], ["M", *facts.confusion[1]]]
    alone = make_facts(baselines=())
    write_png(facts, tmp_path / "with.png")
    write_png(alone, tmp_path / "without.png")
    heights = [int.from_bytes((tmp_path / f"{n}.png").read_bytes()[20:24], "big") for n in ("with", "without")]
    assert heights == [HEIGHT_PX + PLAIN_PX, HEIGHT_PX]


def test_card_has_a_head_that_yaml_reads_and_every_section(make_facts: Any) -> None:
    _, head, body = render_card(make_facts()).split("---\n", 2)
    values = yaml.safe_load(head)
    assert values["pipeline_tag"] == "tabular-classification"
    result = values["model-index"][0]["results"][0]
    kinds = {m["type"]: m["value"] for m in result["metrics"]}
    assert kinds["roc_auc"] == 0.9961, "Hugging Face's name"
    assert kinds["accuracy"] == 0.9732
    for title in (
        "Intended use",
        "Out of scope",
        "Data",
        "Metrics",
        "Operating point",
        "Ethical considerations and limitations",
        "How to reproduce",
    ):
        assert f"\n## {title}\n\n" in body


@pytest.mark.parametrize("changes", [{"model": "", "title": ""}, {"run_id": " "}], ids=["name", "run id"])
def test_card_with_a_hole_is_refused(make_facts: Any, changes: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match="not complete") as caught:
        render_card(make_facts(**changes))
    assert "nothing for" in str(caught.value)


def test_card_without_a_description_says_that_nobody_gave_one(make_facts: Any) -> None:
    assert "has not said for whom" in render_card(make_facts(description=" "))


def test_the_card_names_who_stands_behind_the_model(make_facts: Any) -> None:
    own = CardSettings(owner="Ward 7", contact="ward7@example.org", licence="CC-BY-4.0")
    card = render_card(make_facts(card=own.model_dump()))
    head, body = card.split("---\n", 2)[1:]
    assert yaml.safe_load(head)["license"] == "cc-by-4.0"
    assert "- Owner: Ward 7\n- Contact: ward7@example.org\n- Licence: CC-BY-4.0\n" in body.replace("\\", "")
    assert "Owner" not in render_card(make_facts())


def test_a_class_without_a_test_row_leaves_its_curves_out(make_facts: Any, tmp_path: Path) -> None:
    """Rare classes of small tables have none by chance; the picture was not drawn then, after the push."""
    facts = make_facts(("a", "b", "c"))
    absent = class_curves("c", np.zeros(100, bool), np.full(100, 0.1))
    facts = make_facts(("a", "b", "c"), curves=(*facts.curves[:2], absent))
    write_png(facts, tmp_path / "picture.png")
    assert (tmp_path / "picture.png").stat().st_size > 10_000

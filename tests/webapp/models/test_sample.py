from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from common.errors import DataError
from serving.repository.layout import SHOWCASE
from serving.repository.showcase import Showcase
from tests.support.web.models import Made
from webapp.models.catalog import Catalog
from webapp.models.sample import showcase_of

PART = {"rows": 2, "columns": {"age": [41, None], "stain": ["blue", "grün"]}, "labels": ["B", "M"]}


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str], Path]:
    def go(text: str) -> Path:
        (tmp_path / SHOWCASE).parent.mkdir()
        (tmp_path / SHOWCASE).write_text(text, encoding="utf-8")
        return tmp_path

    return go


def test_rows_come_back_with_their_labels(write: Callable[[str], Path]) -> None:
    found = Showcase.read(write(json.dumps({"train": PART, "test": {**PART, "rows": 900}})))
    assert found
    assert (len(found.train), found.train.rows, found.test.rows) == (2, 2, 900)
    assert found.train.labels == ("B", "M")
    assert found.train.row(0) == {"age": 41, "stain": "blue"}


def test_a_gap_is_left_out_of_the_row(write: Callable[[str], Path]) -> None:
    found = Showcase.read(write(json.dumps({"train": PART, "test": PART})))
    assert found
    assert found.test.row(1) == {"stain": "grün"}
    with pytest.raises(IndexError):
        found.test.row(2)


def test_a_version_pushed_before_there_were_showcases_has_none(tmp_path: Path) -> None:
    assert Showcase.read(tmp_path) is None


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        json.dumps({"train": PART}),
        json.dumps({"train": PART, "test": {"columns": {}}}),
        json.dumps({"train": PART, "test": {"columns": [1], "labels": []}}),
        json.dumps({"train": PART, "test": {"columns": {"age": [1]}, "labels": ["B", "M"]}}),
    ],
    ids=["no JSON", "no object", "no test split", "no labels", "no columns", "uneven"],
)
def test_a_broken_file_is_told(write: Callable[[str], Path], text: str) -> None:
    with pytest.raises(DataError, match=r"showcase\.json"):
        Showcase.read(write(text))


def test_a_version_is_read_once(webapp_root: Path, tmp_path: Path, made: dict[str, Made]) -> None:
    model_version = Catalog(webapp_root / "serving", tmp_path).model_version("patients", 1)
    found = showcase_of(model_version)
    assert found
    assert found is showcase_of(model_version)
    assert found.train.columns["city"][:3] == tuple(made["patients"].columns["city"][:3])

"""Files of examples, read and written as their settings say."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from common.records.labels import Feedback
from config.schema import Feature
from config.settings import Settings
from monitoring.collect.examples import examples_of
from monitoring.collect.rows import LabelledRow
from tests.support.collecting import AT


def test_numbers_and_labels_are_collected_as_the_file_writes_them(tmp_path: Path) -> None:
    cleaning = {"delimiter": ";", "decimal": ",", "thousands": ".", "label_map": {"ja": "yes"}}
    data = {"source": "x.csv", "label": "outcome", "classes": ["no", "yes"], **cleaning}
    settings = Settings.model_validate({"name": "patients", "data": data})
    features = [Feature("size", "numeric", "float", True), Feature("kind", "categorical", "string", False)]
    like, path = tmp_path / "like.csv", tmp_path / "new.csv"
    like.write_text("size;kind;outcome \n1.234,5; a ;ja\n7;?;no\n", encoding="utf-8")
    examples = examples_of(settings, features)
    assert [*examples.contents(like)] == [((1234.5, "a"), "yes"), ((7.0, None), "no")]
    told = Feedback(AT, "request", 0, 1, "yes", "ann")
    values = {"size": 1.234, "kind": None}
    examples.write(path, [LabelledRow(("request", 0), AT, 1, values, told)], like)
    assert path.read_text(encoding="utf-8") == "size;kind;outcome\n1,234;;yes\n"
    assert [*examples.contents(path)] == [((np.float32(1.234), None), "yes")]

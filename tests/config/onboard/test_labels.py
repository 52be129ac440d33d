"""What `init` makes of the label: its classes, the positive one, or a number to predict."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from tensorflow_metadata.proto.v0 import schema_pb2

from common.errors import ConfigError
from components.examples.blocks import read_request
from config.load import load_settings
from config.schema import read_schema
from tests.support.onboarding import ROWS, Init, blocks_of, read, read_as_examples, toy


def test_a_class_called_none_is_not_missing(init: Init) -> None:
    result = init(toy(y=["None", "Apnea", "Insomnia", "None"] * 50))
    settings, _ = read(result)
    assert settings.data.classes == ("Apnea", "Insomnia", "None")
    assert "None" in settings.data.null_values, "in the other columns it does"
    assert read_as_examples(result)["y"].null_count == 0


@pytest.mark.parametrize(
    ("labels", "classes", "settings", "told"),
    [
        pytest.param(
            ["a", "b", "B", "b"] * 50,
            {"a": 50, "b": 150},
            {"label_map": {"B": "b"}},
            "'B' (50 rows) as 'b'",
            id="capitals",
        ),
        pytest.param(
            ["a", "b", None, "b"] * 50,
            {"a": 50, "b": 100},
            {"drop_unlabelled": True},
            "nothing for 'y' in 50 rows (line 4)",
            id="no label",
        ),
        pytest.param(
            ["a", "b"] * 97 + ["c", "c", "d", "d", "e", "e"],
            {"a": 97, "b": 97, "other": 6},
            {"merge_rare_classes": "other"},
            "'c': 2, 'd': 2, 'e': 2",
            id="rare classes",
        ),
    ],
)
def test_labels_are_cleaned_by_settings_that_say_why(
    init: Init, labels: list[Any], classes: dict[str, int], settings: dict[str, Any], told: str
) -> None:
    result = init(toy(y=labels))
    data = load_settings(result.config).data
    assert (dict(result.classes), data.classes) == (classes, tuple(classes))
    assert {key: getattr(data, key) for key in settings} == settings
    assert told in str(result)
    rows = [block.labelled(read_request(load_settings(result.config), None)).batch for block in blocks_of(result)]
    counted = pd.Series(pa.Table.from_batches(rows)["y"].to_pylist()).value_counts()
    assert counted.to_dict() == classes


def test_labels_are_merged_as_told(init: Init) -> None:
    result = init(toy(y=["0", "1", "2", "3"] * 50), label_map={"0": "no", "1": "yes", "2": "yes", "3": "yes"})
    settings, _ = read(result)
    assert (settings.data.classes, settings.data.positive) == (("no", "yes"), "yes")
    assert settings.data.label_map == {"0": "no", "1": "yes", "2": "yes", "3": "yes"}
    with pytest.raises(ConfigError, match="did you mean '1'"):
        init(toy(y=["0", "1"] * 100), label_map={"1.": "yes"}, force=True)


@pytest.mark.parametrize(
    ("classes", "positive"),
    [
        pytest.param(["B", "M", "B", "M"], "M", id="M and B"),
        pytest.param(["F", "M", "M", "M"], "F", id="M and F is no diagnosis: the rarer"),
        pytest.param(["no", "yes", "yes", "yes"], "yes", id="yes though commoner"),
        pytest.param(["True", "False", "True", "True"], "True", id="true"),
        pytest.param([0, 1, 1, 1], "1", id="one"),
        pytest.param([1, 2, 2, 2], "2", id="one and two"),
        pytest.param(["Positive", "negative", "Positive", "negative"], "Positive", id="positive"),
        pytest.param(["left", "right", "right", "right"], "left", id="rarer"),
        pytest.param(["left", "right", "left", "right"], "right", id="equal: the last"),
    ],
)
def test_the_positive_class_is_guessed_and_the_guess_explained(init: Init, classes: list[Any], positive: str) -> None:
    result = init(toy(y=classes * 50))
    assert result.positive == positive
    assert load_settings(result.config).data.positive == positive
    assert "# Guessed: " in result.config.read_text(encoding="utf-8")


def test_the_positive_class_can_be_given(init: Init) -> None:
    result = init(toy(), positive="no")
    assert load_settings(result.config).data.positive_class == "no"
    assert "Guessed" not in result.config.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        pytest.param([0, 1], ("0", "1"), id="integers"),
        pytest.param(["10", "9"], ("9", "10"), id="in the order of numbers"),
        pytest.param(["0.0", "1.0"], ("0.0", "1.0"), id="floats as written"),
        pytest.param(["no", "yes"], ("no", "yes"), id="Norway"),
        pytest.param([">50K", "<=50K"], ("<=50K", ">50K"), id="signs"),
        pytest.param(["a, b", "c: #d"], ("a, b", "c: #d"), id="YAML signs"),
        pytest.param(["gänse", "日本"], ("gänse", "日本"), id="other letters"),
    ],
)
def test_classes_are_text_as_written(init: Init, labels: list[Any], classes: tuple[str, ...]) -> None:
    settings, schema = read(init(toy(y=labels * 100)))
    assert settings.data.classes == classes
    assert tuple(schema["y"].string_domain.value) == classes


def test_a_number_to_predict_is_seen_and_described(init: Init) -> None:
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"x": rng.normal(size=ROWS).round(3), "price": (rng.gamma(2, 1000, ROWS)).round(2)})
    result = init(table, label="price")
    settings = load_settings(result.config)
    assert (settings.data.task, settings.data.classes) == ("regression", ())
    assert settings.evaluation.metrics == ("rmse", "mae", "r2", "example_count")
    assert settings.evaluation.change_metric == "r2"
    label = next(f for f in read_schema(result.schema).feature if f.name == "price")
    assert label.type == schema_pb2.FLOAT
    assert "a number to predict" in str(result)


def test_few_whole_numbers_are_classes_unless_told_otherwise(init: Init) -> None:
    table = toy(y=np.arange(ROWS) % 5)
    assert len(load_settings(init(table).config).data.classes) == 5
    assert load_settings(init(table, task="regression", force=True).config).data.is_regression


def test_rows_without_a_number_are_left_out_and_told(init: Init) -> None:
    numbers = [f"{i / 7:.2f}" if i % 20 else "n/a" for i in range(ROWS)]
    result = init(toy(y=numbers), task="regression")
    settings = load_settings(result.config)
    assert settings.data.drop_unlabelled
    assert "n/a" in settings.data.null_values
    assert f"No number for 'y' in {ROWS // 20} rows" in str(result)

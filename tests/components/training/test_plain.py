"""What plain models say as TF ops and by scikit-learn, on tables of every kind."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from common.errors import DataError
from common.text import MISSING_CODE
from components.table import Table
from components.tasks import plain as kinds
from components.training import plain
from components.training.plain import Encoder, PlainModels
from config.schema import Feature
from config.settings import Settings

pytestmark = pytest.mark.slow  # TensorFlow's graph
FEATURES = (
    Feature("size", "numeric", "float", required=False),
    Feature("count", "numeric", "int", required=False),
    Feature("colour", "categorical", "string", required=False),
    Feature("ward", "categorical", "int", required=False),
)
CLASSES = {"two": ("B", "M"), "three": ("a", "b", "c"), "five": tuple("vwxyz")}


def settings(classes: tuple[str, ...] = (), positive: str = "", **data: Any) -> Settings:
    named = {"classes": classes} if classes else {"task": "regression"}
    asked = {"source": "x.csv", "label": "y", **named, **({"positive": positive} if positive else {}), **data}
    metrics = ("auc", "accuracy") if classes else ("r2",)
    kind = {"kind": "cnn" if data.get("format") == "images" else "dense"}
    return Settings.model_validate({"name": "x", "data": asked, "model": kind, "evaluation": {"metrics": metrics}})


def table(rows: int, seed: int, classes: int = 0) -> Table:
    """Return rows of FEATURES, a fifth of the values missing, whose targets can be learned in part."""
    rng = np.random.default_rng(seed)
    size = rng.normal(1000, 5, rows).astype(np.float32).astype(np.float64)
    count, ward = rng.integers(0, 50, rows).astype(np.float64), rng.choice([1, 2, 5], rows)
    colour = rng.choice(["red", "blue", "Grün"], rows)
    score = (size - 1000) / 5 + count / 25 + (colour == "red") + (ward == 5) + rng.normal(0, 0.3, rows)
    targets = np.digitize(score, np.quantile(score, np.arange(1, classes) / classes)) if classes else 1000 * score
    missing = rng.random((rows, 4)) < 0.2
    numbers = np.where(missing[:, :2], np.nan, np.stack([size, count], axis=1))
    texts = np.stack([np.where(missing[:, 2], "", colour), np.where(missing[:, 3], MISSING_CODE, ward)], axis=1)
    return Table(numbers, texts.astype(object), targets)


def as_columns(rows: Table) -> dict[str, Any]:
    """Return what `tf.io.parse_example` makes of the same rows: what is missing is not there."""
    import tensorflow as tf

    def sparse(values: Any, is_there: Any, dtype: Any) -> Any:
        places = np.flatnonzero(is_there)
        indices = np.stack([places, 0 * places], axis=1)
        return tf.SparseTensor(indices, tf.constant(list(values[places]), dtype), [len(values), 1])

    size, count = rows.numbers.T
    colour, ward = rows.texts.T
    return {
        "size": sparse(size, ~np.isnan(size), tf.float32),
        "count": sparse(np.nan_to_num(count).astype(np.int64), ~np.isnan(count), tf.int64),
        "colour": sparse(colour, colour != "", tf.string),
        "ward": sparse(ward.astype(np.int64), ward != str(MISSING_CODE), tf.int64),
    }


@pytest.mark.parametrize("kind", [*CLASSES, "two, the first of interest", "numbers"])
def test_ops_say_what_scikit_learn_says(kind: str) -> None:
    import tensorflow as tf

    classes = CLASSES.get(kind.partition(",")[0], ())
    asked = settings(classes, positive="B" if "first" in kind else "")
    models = PlainModels.fit(table(600, 0, len(classes)), table(150, 1, len(classes)), asked)
    exported = models.export(FEATURES, asked)
    assert exported is not None
    linear = "Logistic regression" if classes else "Linear regression"
    assert [one["name"] for one in exported.facts({})["plain_models"]] == [linear, "Decision tree", "SVM (RBF kernel)"]
    rows = table(500, 2, len(classes))
    said = {name: values.numpy() for name, values in tf.function(exported)(as_columns(rows)).items()}
    x = models.encode(rows)
    for number, one in enumerate(exported.models.fitted):
        estimator = one.model.estimator
        if not classes:
            wanted = estimator.predict(x)
            np.testing.assert_allclose(said["value"][:, number], wanted, rtol=0, atol=1e-6 * np.abs(wanted).max())
        elif hasattr(estimator, "predict_proba"):
            np.testing.assert_allclose(said["probabilities"][:, number], estimator.predict_proba(x), rtol=0, atol=1e-6)
        else:
            assert one.model.ops is not None
            margins = one.model.ops(estimator, tf.constant(x)).numpy()
            np.testing.assert_allclose(margins, one.model.said(x), rtol=0, atol=1e-6)
    golden = exported.golden(rows)
    for name, values in said.items():
        if name == "label":
            assert [[label.decode() for label in row] for row in values] == golden[name]
        else:
            np.testing.assert_allclose(values, golden[name], rtol=1e-6, atol=1e-6)


def test_what_the_export_answers_is_what_the_report_judges() -> None:
    asked = settings(CLASSES["two"])
    models = PlainModels.fit(table(600, 0, 2), table(150, 1, 2), asked)
    exported, rows = models.export(FEATURES, asked), table(400, 2, 2)
    assert exported is not None
    labels = np.array(exported.golden(rows)["label"])
    for number, one in enumerate(exported.models.fitted):
        judged = models.rows(one, rows)
        assert [CLASSES["two"][i] for i in judged.decided] == labels[:, number].tolist()
        assert one.threshold is not None


def test_margins_of_an_svm_become_probabilities_that_eval_bears_out() -> None:
    models = PlainModels.fit(table(900, 0, 3), table(600, 1, 3), settings(CLASSES["three"]))
    rows: Any = models.rows(models.fitted[-1], table(900, 2, 3))
    sure = rows.probabilities.max(axis=1)
    assert abs(sure.mean() - (rows.true == rows.decided).mean()) < 0.1


def test_a_class_that_train_lacks_is_never_called() -> None:
    import tensorflow as tf

    train, asked = table(300, 0, 2), settings(CLASSES["three"])
    models = PlainModels.fit(train, table(90, 1, 3), asked)
    exported = models.export(FEATURES, asked)
    assert exported is not None
    said = {name: values.numpy() for name, values in tf.function(exported)(as_columns(table(50, 2, 3))).items()}
    assert said["probabilities"][:, :, 2].max() == 0.0
    np.testing.assert_allclose(said["probabilities"].sum(axis=2), 1, atol=1e-6)


def test_a_model_too_large_for_a_graph_stays_in_the_report(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = settings(CLASSES["two"])
    models = PlainModels.fit(table(600, 0, 2), table(150, 1, 2), asked)
    monkeypatch.setattr(plain, "MOST_BYTES", 10_000)
    exported = models.export(FEATURES, asked)
    assert exported is not None
    assert "SVM (RBF kernel)" in [one.model.name for one in models.fitted]
    assert "SVM (RBF kernel)" not in [one.model.name for one in exported.models.fitted]
    monkeypatch.setattr(plain, "MOST_BYTES", 1)
    assert models.export(FEATURES, asked) is None


def test_pictures_have_plain_models_to_be_judged_by_and_none_to_ask() -> None:
    asked = settings(CLASSES["two"], format="images")
    models = PlainModels.fit(table(100, 0, 2), table(50, 1, 2), asked)
    assert models.fitted
    assert models.export((), asked) is None


def test_the_fitted_ones_are_read_back_as_they_were(tmp_path: Path) -> None:
    models, rows = PlainModels.fit(table(300, 0), table(90, 1), settings()), table(50, 2)
    models.write(tmp_path)
    read = PlainModels.read(tmp_path)
    assert [one.model.name for one in read.fitted] == [one.model.name for one in models.fitted]
    for one, again in zip(models.fitted, read.fitted, strict=True):
        np.testing.assert_array_equal(models.rows(one, rows).decided, read.rows(again, rows).decided)


def test_a_model_without_them_says_so(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no plain models beside it"):
        PlainModels.read(tmp_path)


def test_an_svm_sees_fewer_rows_than_the_others() -> None:
    train = table(kinds.MAX_SVM_ROWS + 1, 0)
    limits = {one.model.name: one.rows for one in PlainModels.fit(train, table(90, 1), settings()).fitted}
    assert {limits.pop("SVM (RBF kernel)")} == {kinds.MAX_SVM_ROWS}
    assert {*limits.values()} == {len(train.targets)}


def test_a_constant_column_and_one_without_a_value_are_encoded_as_nothing() -> None:
    train = table(50, 0)
    train = replace(train, numbers=np.stack([np.full(50, 3.0), np.full(50, np.nan)], axis=1))
    encoded = Encoder.of(train)(train)
    assert not encoded[:, :2].any()
    assert encoded[:, 2].all(), "the flag of what is missing"

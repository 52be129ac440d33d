"""One window: what is a finding, and what must not be one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from common.images import statistics
from common.records.drift import Measurement
from common.records.files import INPUT, STRANGENESS
from config.data_settings import IMAGE_BYTES, IMAGE_STATISTICS
from monitoring.drift.check import check
from monitoring.drift.window import Gathered, Span, Window, read_window
from serving.repository.drift_reference import DriftReference, Numbers, Scores
from tests.support.drift import DAY, MIDNIGHT, Watched, floats, patients, reference_of

TRAINED = patients(600)
REFERENCE = reference_of(TRAINED)


def logged(var: Path, columns: Any, reference: DriftReference = REFERENCE) -> Window:
    """The rows as the log gives them back."""
    watched = Watched(var)
    watched.predict(columns, MIDNIGHT + DAY / 2)
    return read_window(var / "predictions" / "patients", Span(MIDNIGHT, MIDNIGHT + DAY), 1, reference)


def found(measured: tuple[Measurement, ...]) -> set[tuple[str, str]]:
    return {(each.title, each.kind) for each in measured if each.is_finding}


def test_rows_like_the_training_rows_have_no_finding(tmp_path: Path) -> None:
    measured = check(REFERENCE, logged(tmp_path, patients(500, seed=2)))
    assert found(measured) == set()
    assert {each.title for each in measured} == {"age", "pressure", "kind", "probability", "label"}
    assert all(0 <= each.numbers["jensen_shannon"] < 0.2 for each in measured if each.kind == "distribution")


def some(share: float, value: Any) -> Callable[[Any, np.random.Generator], Any]:
    """Put a value in place of a share of a column's."""

    def change(values: Any, chance: np.random.Generator) -> Any:
        is_changed = chance.random(len(values)) < share
        changed = [value if there else old for there, old in zip(is_changed, values, strict=True)]
        return changed if isinstance(values, list) else np.array(changed, float)

    return change


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({"pressure": lambda values, _: floats(values + 7.5)}, {("pressure", "distribution")}),
        ({"pressure": some(0.2, np.nan)}, {("pressure", "missing")}),
        ({"kind": some(0.2, None)}, {("kind", "missing")}),
        ({"kind": lambda values, _: ["abc"["bca".index(v)] for v in values]}, {("kind", "distribution")}),
        ({"kind": some(0.08, "z")}, {("kind", "unknown")}),
        ({"pressure": some(0.08, 500.0)}, {("pressure", "outside"), ("pressure", "distribution")}),
        (
            {"probability": lambda values, _: np.clip(values + 0.3, 0, 1)},
            {("probability", "distribution"), ("label", "distribution")},
        ),
    ],
    ids=["half a sigma", "numbers missing", "texts missing", "swapped", "unknown", "outside", "scores"],
)
def test_what_has_drifted_is_found_where_it_is(tmp_path: Path, changes: Any, wanted: set[Any]) -> None:
    drifted = found(check(REFERENCE, logged(tmp_path, patients(500, seed=3, **changes))))
    assert wanted <= drifted
    assert {name for name, _ in drifted} == {name for name, _ in wanted}


def pictures(rows: int, seed: int, light: float = 1.0, strange: float = 0.0) -> dict[str, Any]:
    """What the log has of pictures: the hash, what ExampleGen measures, and how far the network says they lie."""
    chance = np.random.default_rng(seed)
    colours = chance.integers(40, 216, (rows, 1, 1, 3)) + chance.normal(0, 20, (rows, 16, 16, 3))
    pixels = (light * colours.clip(0, 255)).astype(np.uint8)
    measured = [statistics(Image.fromarray(each)) for each in pixels]
    return {
        "probability": chance.beta(5, 2, rows),
        STRANGENESS: np.abs(chance.normal(0.7 + strange, 0.1, rows)),
        IMAGE_BYTES: [f"{seed:032x}{i:032x}" for i in range(rows)],
        **{name: np.array([each[name] for each in measured]) for name in IMAGE_STATISTICS},
    }


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [({}, set[str]()), ({"light": 0.6}, {"brightness", "red", "green", "blue"}), ({"strange": 0.1}, {STRANGENESS})],
    ids=["alike", "darker", "far from training"],
)
def test_pictures_have_drifted_by_their_pixels_or_by_what_the_network_makes_of_them(
    tmp_path: Path, changes: dict[str, float], wanted: set[str]
) -> None:
    trained = pictures(200, 1)
    known = reference_of({name: trained[name] for name in ("probability", *IMAGE_STATISTICS)})
    assert known.scores
    known = replace(known, scores=replace(known.scores, strangeness=Numbers.of(trained[STRANGENESS])))
    window = logged(tmp_path, pictures(150, 2, **changes), known)
    assert window.gone == window.new == ()
    drifted = {name for name, _ in found(check(known, window))}
    assert wanted <= drifted
    assert bool(wanted) == bool(drifted)


def test_a_difference_that_is_sure_but_small_is_none(tmp_path: Path) -> None:
    columns = patients(8_000, seed=4, pressure=lambda values, _: floats(values + 1.2))
    reference = reference_of(patients(8_000))
    [pressure] = [
        each
        for each in check(reference, logged(tmp_path, columns, reference))
        if (each.title, each.kind) == ("pressure", "distribution")
    ]
    assert pressure.p_value < 1e-6
    assert pressure.size < pressure.limit
    assert not pressure.is_finding


def test_a_difference_that_is_large_but_may_be_chance_is_none() -> None:
    few = {name: values[:8] for name, values in patients(8, seed=5, pressure=lambda v, _: floats(v + 10)).items()}
    gathered = Gathered(REFERENCE)
    gathered.add(
        pa.table({INPUT + "pressure": few["pressure"], INPUT + "age": few["age"], INPUT + "kind": few["kind"]})
    )
    [pressure] = [each for each in check(REFERENCE, gathered.window()) if each.title == "pressure"]
    assert pressure.size > pressure.limit
    assert not pressure.is_finding


@pytest.mark.parametrize(("value", "is_finding"), [(7.0, False), (7.5, True), (6.0, True)])
def test_a_constant_has_drifted_when_it_is_something_else(tmp_path: Path, value: float, is_finding: bool) -> None:
    reference = reference_of({**TRAINED, "age": floats([7.0] * 600)})
    drifted = found(check(reference, logged(tmp_path, {**patients(300), "age": floats([value] * 300)}, reference)))
    assert (("age", "distribution") in drifted) == is_finding


def test_what_was_never_there_and_now_is_has_come(tmp_path: Path) -> None:
    empty = reference_of({**TRAINED, "age": np.full(600, np.nan), "kind": [None] * 600})
    assert found(check(empty, logged(tmp_path, patients(300), empty))) == {("age", "missing"), ("kind", "missing")}


def test_a_column_that_is_gone_is_all_missing_and_named(tmp_path: Path) -> None:
    columns = {name: values for name, values in patients(300).items() if name != "age"}
    window = logged(tmp_path, {**columns, "height": floats([1.7] * 300)})
    assert (window.gone, window.new) == (("age",), ("height",))
    assert found(check(REFERENCE, window)) == {("age", "missing")}


def test_a_column_whose_values_are_now_texts_is_all_missing() -> None:
    gathered = Gathered(replace(REFERENCE, scores=None))
    columns = patients(200)
    gathered.add(pa.table({INPUT + "age": ["old"] * 200, INPUT + "kind": columns["kind"]}))
    assert ("age", "missing") in found(check(replace(REFERENCE, scores=None), gathered.window()))


def test_infinite_values_lie_outside(tmp_path: Path) -> None:
    window = logged(tmp_path, patients(300, pressure=some(0.1, np.inf)))
    assert ("pressure", "outside") in found(check(REFERENCE, window))


def test_whole_numbers_are_compared_to_the_last_digit() -> None:
    large = np.arange(2**53 - 300, 2**53)
    trained = reference_of({"age": large, "probability": np.full(300, 0.2)}, is_scored=False)
    trained.numbers["age"] = type(trained.numbers["age"]).of(large.astype(float))
    gathered = Gathered(trained)
    gathered.add(pa.table({INPUT + "age": pa.array(large)}))
    [age] = check(trained, gathered.window())
    assert (age.size, age.p_value) == (0.0, 1.0)


def test_without_scores_of_the_test_rows_features_are_measured_all_the_same(tmp_path: Path) -> None:
    unscored = replace(REFERENCE, scores=None)
    measured = check(unscored, logged(tmp_path, patients(300), unscored))
    assert {each.title for each in measured} == {"age", "pressure", "kind"}


def test_of_too_many_rows_the_newest_are_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("monitoring.drift.window.MOST_ROWS", 120)
    window = logged(tmp_path, patients(300))
    assert window.rows == 120
    assert len(window.numbers[INPUT + "age"].values) == 120


def numbers_reference(rows: int = 400, seed: int = 3) -> DriftReference:
    """A model that predicts numbers: off by about 1 on test."""
    rng = np.random.default_rng(seed)
    predicted = rng.normal(100, 10, rows)
    scores = Scores.of_numbers(predicted, predicted + rng.normal(0, 1, rows))
    return replace(reference_of({"x": rng.normal(size=rows), "probability": np.zeros(rows)}), scores=scores)


def answered(reference: DriftReference, rows: int, error: float, seed: int, shift: float = 0.0) -> Window:
    rng = np.random.default_rng(seed)
    predicted = rng.normal(100 + shift, 10, rows)
    truth = {("r", i): str(predicted[i] + rng.normal(0, error)) for i in range(rows)}
    gathered = Gathered(reference, truth)
    columns = {"request_id": ["r"] * rows, "row": range(rows), INPUT + "x": rng.normal(size=rows)}
    labels = [str(value) for value in predicted]
    gathered.add(pa.table({**columns, "probability": predicted, "label": labels}))
    return gathered.window()


def test_predicted_numbers_are_measured_and_are_no_classes() -> None:
    reference = numbers_reference()
    measured = check(reference, answered(reference, 300, 1.0, seed=4))
    assert found(measured) == set()
    assert {each.title for each in measured} == {"x", "probability", "error of the prediction"}
    shifted = check(reference, answered(reference, 300, 1.0, seed=4, shift=8.0))
    assert ("probability", "distribution") in found(shifted)


def test_predictions_that_are_further_off_than_on_test_are_a_finding_and_nearer_ones_are_none() -> None:
    reference = numbers_reference()
    assert ("error of the prediction", "errors") in found(check(reference, answered(reference, 300, 2.0, seed=5)))
    assert found(check(reference, answered(reference, 300, 0.4, seed=5))) == set()
    again = [found(check(reference, answered(reference, 200, 1.0, seed=100 + seed))) for seed in range(60)]
    assert sum(bool(findings) for findings in again) <= 3

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from config.data_settings import DataSettings
from config.settings import Settings


def make(**changes: Any) -> Settings:
    data = {"source": "x.csv", "label": "y", "classes": ["a", "b"], **changes.pop("data", {})}
    return Settings.model_validate({"name": "m", "data": data, **changes})


def test_defaults_are_the_recipe() -> None:
    settings = make()
    assert settings.model.hidden_units == (256, 128, 64, 32)
    assert settings.data.positive_class == "b"
    assert settings.data.positive_index == 1
    assert settings.data.is_binary


def test_numbers_are_judged_by_margins_of_their_own_unless_told() -> None:
    def margins(**evaluation: float) -> tuple[float, float]:
        asked = make(data={"task": "regression", "classes": []}, evaluation=evaluation).evaluation
        return asked.change_margin, asked.plain_margin

    assert margins() == (0.01, 0.03)
    assert margins(change_margin=0.002) == (0.002, 0.03)
    assert (make().evaluation.change_margin, make().evaluation.plain_margin) == (0.005, 0.02)


def test_settings_are_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        make().seed = 1  # type: ignore[misc]


def test_an_empty_value_is_the_default() -> None:
    assert make(model=None, split={"train": None, "test": 30}).split.train == 64


def test_an_empty_value_of_a_key_of_ones_own_is_refused() -> None:
    with pytest.raises(ValidationError, match="valid number"):
        make(evaluation={"thresholds": {"auc": None}})


def test_an_unknown_key_is_refused_even_when_empty() -> None:
    with pytest.raises(ValidationError, match="Extra inputs"):
        make(model={"epoch": None})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        pytest.param({"data": {"classes": ["a", "a"]}}, "classes: must be distinct", id="class twice"),
        pytest.param({"data": {"classes": ["a"]}}, "classes: name at least two", id="one class"),
        pytest.param({"data": {"positive": "c"}}, "positive: should be one of the classes a, b, got c", id="positive"),
        pytest.param({"data": {"classes": ["a", "b", "c"], "positive": "a"}}, "for two classes only", id="three"),
        pytest.param({"data": {"ignore": ["y"]}}, "ignore: the label", id="label ignored"),
        pytest.param({"data": {"label": ""}}, "at least 1 character", id="label empty"),
        pytest.param({"split": {"group_by": "y"}}, "split.group_by: cannot be the label", id="group is label"),
        pytest.param({"split": {"group_by": "g"}, "data": {"ignore": ["g"]}}, "never a feature", id="group ignored"),
        pytest.param({"split": {"group_by": "g", "by": "row"}}, "leave one of the two out", id="group row by row"),
        pytest.param({"split": {"by": "time"}}, "give both or neither", id="time without a column"),
        pytest.param({"split": {"time": "t"}}, "give both or neither", id="time without by"),
        pytest.param({"split": {"by": "time", "time": "y"}}, "split.time: cannot be the label", id="time is label"),
        pytest.param({"categorical": ["y"]}, "categorical: is for features", id="label categorical"),
        pytest.param({"data": {"classes": ["a", "b", "c"]}}, "use accuracy", id="binary metric, three classes"),
        pytest.param(
            {"evaluation": {"thresholds": {"acc": 0.9}}}, "thresholds.acc: 'acc' should be one of", id="metric"
        ),
        pytest.param({"evaluation": {"thresholds": {"example_count": 1}}}, "should be one of", id="count as threshold"),
        pytest.param({"evaluation": {"thresholds": {"auc": 97}}}, "at most 1, got 97", id="per cent"),
        pytest.param({"evaluation": {"change_metric": "recal"}}, "change_metric: 'recal'", id="change metric"),
        pytest.param({"model": {"dropout": float("nan")}}, "finite|less than", id="nan"),
        pytest.param({"model": {"learning_rate": float("inf")}}, "finite number", id="infinity"),
        pytest.param({"tuner": {"dropout": [1.5]}}, "less than 1", id="tuner dropout"),
        pytest.param({"tuner": {"hidden_units": [[]]}}, "at least 1 item", id="tuner without layers"),
        pytest.param({"class_names": {"c": "x"}}, "class_names: 'c' should be one of the classes a, b", id="no class"),
        pytest.param({"class_names": {"a": "b"}}, "class_names: two classes cannot be called the same", id="one name"),
        pytest.param({"class_names": {"a": ""}}, "at least 1 character", id="class name empty"),
        pytest.param({"class_names": {"a": "x" * 61}}, "at most 60 characters", id="class name long"),
        pytest.param({"class_names": {"a": None}}, "valid string", id="class name missing"),
        pytest.param({"name": "Breast Cancer"}, "match pattern", id="name"),
    ],
)
def test_impossible_values_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        make(**changes)


IMAGES: dict[str, Any] = {
    "name": "flowers",
    "data": {"source": "photos", "format": "images", "classes": ["daisy", "rose", "tulip"]},
    "model": {"kind": "cnn"},
    "evaluation": {"metrics": ["auc", "accuracy"]},
}


def test_images_need_no_label():
    assert Settings.model_validate(IMAGES).data.label == "label"


def test_the_serving_gate_asks_of_images_what_their_networks_can_hold():
    probe = Settings.model_validate(IMAGES).probe
    assert (probe.tolerance, probe.max_latency_ms) == (1e-5, 500.0)
    of_a_file = Settings.model_validate(IMAGES | {"data": DataSettings(**IMAGES["data"]), "probe": {"tolerance": 1e-4}})
    assert (of_a_file.probe.tolerance, of_a_file.probe.max_latency_ms) == (1e-4, 500.0)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"model": {"kind": "dense"}}, "model.kind: dense is for tables; images take cnn"),
        ({"model": {"kind": "cnn", "weights": "imagenet"}}, "weights: cnn starts from none, got imagenet"),
        ({"model": {"kind": "cnn", "weights": "a.weights.npz"}}, "weights: cnn starts from none, got a.weights.npz"),
        ({"model": {"kind": "mobilenet_v2", "weights": "imagenet"}}, "mobilenet_v2 starts from none or a path, got"),
        ({"model": {"kind": "cnn", "fine_tune_epochs": 3}}, "fine_tune_epochs: is for a network with weights"),
        ({"dates": {"taken": "ymd"}}, "dates: is for tables"),
        ({"schema": "schema.pbtxt"}, "schema: is for tables"),
        ({"tuner": {"enabled": True}}, "tuner.enabled: is for tables"),
        ({"split": {"group_by": "patient"}}, "split.group_by: with images it is group"),
        ({"image": {"group": "^(.+)_"}}, "split.group_by: with images it is group"),
        ({"image": {"group": "^[a-"}}, "is no regular expression"),
        ({"image": {"group": "^a"}}, "should hold one pair of brackets"),
        ({"class_info": {"oak": "A tree."}}, "class_info: 'oak' should be one of the classes"),
    ],
)
def test_what_does_not_go_with_images_is_refused_by_name(changes, told):
    with pytest.raises(ValidationError) as refused:
        Settings.model_validate(IMAGES | changes)
    assert told in str(refused.value)


@pytest.mark.parametrize(
    "model",
    [
        {"kind": "efficientnet_lite0", "weights": "imagenet", "fine_tune_epochs": 2},
        {"kind": "efficientnet_lite0", "weights": "own.weights.npz"},
        {"kind": "mobilenet_v2", "weights": "own.weights.npz"},
        {"kind": "mobilenet_v2"},
    ],
)
def test_right_pairs_of_network_and_weights_are_taken(model):
    assert Settings.model_validate(IMAGES | {"model": model}).model.kind == model["kind"]


def test_a_table_takes_neither_an_image_network_nor_its_settings():
    table = {"name": "t", "data": {"source": "t.csv", "label": "y", "classes": ["a", "b"]}}
    for change, told in (
        ({"model": {"kind": "cnn"}}, "model.kind: cnn is for"),
        ({"image": {"size": 32}}, "image: is"),
    ):
        with pytest.raises(ValidationError, match=told):
            Settings.model_validate(table | change)

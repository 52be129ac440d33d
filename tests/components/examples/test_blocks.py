"""What reading depends on, as TFX's cache key has it, and totals that cannot be trusted or learnt from."""

from __future__ import annotations

import glob
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import schema_pb2

from common.errors import DataError
from components.examples.blocks import ReadRequest, check_totals, read_request, reconcile
from components.examples.sources import base_and_pattern
from config.settings import Settings

TREE: dict[str, Any] = {"name": "m", "data": {"source": "/data/x.csv", "label": "y", "classes": ["a", "b"]}}
SCHEMA = """
feature { name: "x" type: FLOAT } feature { name: "n" type: INT int_domain { max: 9 } }
feature { name: "t" type: BYTES } feature { name: "y" type: INT }
"""
SPLITS = {"train": 64, "eval": 16, "test": 20}


def settings(**changes: Any) -> Settings:
    return Settings.model_validate(TREE | changes | {"data": TREE["data"] | changes.get("data", {})})


def test_a_changed_copy_cleans_texts_as_it_says() -> None:
    request = read_request(settings(), None)
    assert "-" not in request.cleaning.null_values
    assert "-" in request.model_copy(update={"null_values": ("-",)}).cleaning.null_values
    with pytest.raises(KeyError, match="null_valeus"):
        request.model_copy(update={"null_valeus": ("-",)})


def schema(text: str = SCHEMA) -> schema_pb2.Schema:
    return text_format.Parse(text, schema_pb2.Schema())


@pytest.mark.parametrize(
    "changes",
    [
        {"model": {"epochs": 3}},
        {"title": "other"},
        {"data_gate": {"leak_score": 0.5}},
        {"data": {"classes": ["b", "a"], "positive": "a"}},
        {"data": {"null_values": list(reversed(settings().data.null_values))}},
        {"data": {"source": "/data/x.csv"}},
    ],
    ids=["model", "title", "gate", "classes-turned", "nulls-turned", "same"],
)
def test_unrelated_settings_change_nothing(changes: dict[str, Any]) -> None:
    assert read_request(settings(**changes), schema()) == read_request(settings(), schema())


@pytest.mark.parametrize(
    "changes",
    [{"seed": 7}, {"split": {"group_by": "g"}}, {"data": {"delimiter": ";"}}, {"data": {"ignore": ["t"]}}],
    ids=["seed", "group", "delimiter", "ignore"],
)
def test_what_matters_changes_it(changes: dict[str, Any]) -> None:
    assert read_request(settings(**changes), schema()) != read_request(settings(), schema())


def test_only_types_are_taken_from_the_schema() -> None:
    assert read_request(settings(), schema()).columns == {"n": "int", "t": "string", "x": "float", "y": "int"}
    assert read_request(settings(), schema(SCHEMA.replace("max: 9", "max: 5"))) == read_request(settings(), schema())
    assert read_request(settings(), schema()).known_dtype("y") == "string"  # the label is always text


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("file.csv", (".", "file.csv")),
        ("", (".", "*.csv")),
        ("*.csv", (".", "*.csv")),
        ("span-{SPAN}/v{VERSION}/part-*.csv", (".", "span-{SPAN}/v{VERSION}/part-*.csv")),
        ("in/{YYYY}-{MM}-{DD}.csv", ("in", "{YYYY}-{MM}-{DD}.csv")),
        ("absent/file.csv", ("absent", "file.csv")),
    ],
    ids=["file", "folder", "glob", "span-and-version", "date", "absent"],
)
def test_source_is_taken_apart(tmp_path: Path, source: str, expected: tuple[str, str]) -> None:
    (tmp_path / "file.csv").touch()
    assert base_and_pattern(tmp_path / source, "csv") == (tmp_path / expected[0], expected[1])


def test_whole_data_pass(make_request: Callable[..., ReadRequest]) -> None:
    reconcile(100, SPLITS, 100)
    reconcile(100, SPLITS, None)
    check_totals({"a": 60, "b": 40}, SPLITS, make_request(classes=("a", "b", "never seen")))


@pytest.mark.parametrize(
    ("read", "counted"), [(101, None), (99, None), (100, 101), (100, 0)], ids=["lost", "doubled", "unread", "none"]
)
def test_lost_or_doubled_rows_are_refused(read: int, counted: int | None) -> None:
    with pytest.raises(DataError, match="lost or doubled"):
        reconcile(read, SPLITS, counted)


@pytest.mark.parametrize(
    ("classes", "splits", "told"),
    [
        ({}, dict.fromkeys(SPLITS, 0), "there are no rows"),
        ({"a": 100}, SPLITS, "one class only"),
        ({"a": 2, "b": 1}, {"train": 3, "eval": 0, "test": 0}, r"'eval' is empty.*\n.*\n.*\n.*add rows.*split\.eval"),
    ],
    ids=["no-rows", "one-class", "empty-split"],
)
def test_unusable_data_are_refused(
    make_request: Callable[..., ReadRequest], classes: dict[str, int], splits: dict[str, int], told: str
) -> None:
    with pytest.raises(DataError, match=told):
        check_totals(classes, splits, make_request())


def test_a_path_that_exists_is_taken_literally(tmp_path: Path) -> None:
    folder = tmp_path / "in put[1] a*b"
    folder.mkdir()
    (folder / "odd name (1) [x].csv").touch()
    base, pattern = base_and_pattern(folder / "odd name (1) [x].csv", "csv")
    assert glob.glob(str(base / pattern)) == [str(folder / "odd name (1) [x].csv")]
    base, pattern = base_and_pattern(folder, "csv")
    assert glob.glob(str(base / pattern)) == [str(folder / "odd name (1) [x].csv")]

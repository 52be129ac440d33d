from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from common.errors import DataError
from serving.repository.drift_reference import Categories, DriftReference, Numbers, Scores, edges_of_each
from serving.repository.layout import DRIFT_REFERENCE, MANIFEST
from serving.repository.manifest import Manifest
from tests.support.serving.versions import bare_version


@pytest.fixture
def version(tmp_path: Path) -> Path:
    folder = bare_version(tmp_path / "cells", 3)
    manifest = replace(Manifest.read(folder), drift_reference=DRIFT_REFERENCE)
    (folder / MANIFEST).write_text(manifest.text())
    return folder


def test_few_different_numbers_are_kept_whole() -> None:
    numbers = Numbers.of(np.array([3.0, 1.0, np.nan, 3.0, 2.0, 3.0]))
    assert (numbers.rows, numbers.missing, numbers.present) == (6, 1, 5)
    assert (numbers.edges, numbers.below, numbers.up_to) == ([1, 2, 3], [0, 1, 2], [1, 2, 5])
    assert numbers.sigma == pytest.approx(np.std([3, 1, 3, 2, 3], ddof=1))


def test_of_many_numbers_the_quantiles_are_kept_with_both_ends() -> None:
    values = np.random.default_rng(1).normal(size=20_000)
    numbers = Numbers.of(values)
    assert (len(numbers.edges), numbers.up_to[-1], numbers.below[0]) == (1001, 20_000, 0)
    assert (numbers.edges[0], numbers.edges[-1]) == (values.min(), values.max())
    assert np.diff(numbers.up_to).max() <= 21


@pytest.mark.parametrize("values", [[], [np.nan, np.inf, -np.inf]], ids=["no rows", "none is finite"])
def test_without_a_number_there_is_no_edge(values: list[float]) -> None:
    numbers = Numbers.of(np.array(values))
    assert (numbers.missing, numbers.edges, numbers.sigma) == (len(values), [], 0.0)


def test_a_float32_is_written_as_people_wrote_it_and_a_long_whole_number_to_its_last_digit() -> None:
    assert Numbers.of(np.array([170.4], np.float32).astype(np.float64)).edges == [170.4]
    assert Numbers.of(np.array([123456789.0, 3e38])).edges == [123456789.0, 3e38]


def test_categories_are_counted_the_rare_ones_of_many_together() -> None:
    values = ["a"] * 5 + ["b", "", None] + [f"rare{i}" for i in range(1100)]
    categories = Categories.of(values)
    assert (categories.rows, categories.missing, categories.other, categories.once) == (1108, 2, 102, 1101)
    assert (len(categories.counts), next(iter(categories.counts.items()))) == (1000, ("a", 5))


def test_scores_say_how_often_which_class_was_taken_for_which() -> None:
    scores = Scores.of(np.array([0, 0, 1]), np.array([0, 1, 1]), np.array([0.1, 0.6, 0.9]), ("B", "M"))
    assert scores.confusion == {"B": {"B": 1, "M": 1}, "M": {"B": 0, "M": 1}}
    assert scores.labels == Categories(3, 0, {"B": 1, "M": 2})
    assert Scores.parse(scores.text()) == scores


def test_what_is_written_is_read_again(version: Path) -> None:
    scores = Scores.of(np.array([0, 1]), np.array([0, 1]), np.array([0.1, 0.9]), ("B", "M"))
    numbers, categories = {"radius": Numbers.of(np.array([1.5, 2.5]))}, {"kind": Categories.of(["ä", None])}
    reference = DriftReference(2, numbers, categories, scores)
    (version / DRIFT_REFERENCE).write_text(reference.text(), encoding="utf-8")
    assert DriftReference.read(version) == reference


def test_a_version_of_an_earlier_release_is_told_plainly(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="version 3 of cells has nothing that drift could be measured against") as told:
        DriftReference.read(bare_version(tmp_path / "cells", 3))
    assert "local_runner.py run" in str(told.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (json.dumps({"schema_version": 2}), "schema version 2; this release reads 1"),
        ("{", "cannot be read"),
        ("[]", "cannot be read"),
        (json.dumps({"schema_version": 1, "rows": "many"}), "cannot be read"),
        (None, "cannot be read"),
    ],
    ids=["later", "half", "list", "wrong", "gone"],
)
def test_a_reference_that_is_none_is_told(version: Path, text: str | None, said: str) -> None:
    if text is not None:
        (version / DRIFT_REFERENCE).write_text(text)
    with pytest.raises(DataError, match=said):
        DriftReference.read(version)


def test_thousands_of_features_share_the_room() -> None:
    assert [edges_of_each(features) for features in (0, 30, 5_000, 1_000_000)] == [1001, 1001, 100, 51]

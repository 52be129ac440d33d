"""Totals that cannot be trusted or learnt from are refused."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from common.errors import DataError
from components.examples.labels import check_totals, reconcile
from components.examples.request import ReadRequest

SPLITS = {"train": 64, "eval": 16, "test": 20}


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

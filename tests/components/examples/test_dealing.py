"""Which of today's test rows an older dealing had put into its test split, too."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from common.errors import DataError
from components.examples.blocks import read_request
from components.examples.component import write_splits
from components.examples.dealing import Origin, dealing, in_test_then
from components.examples.sources import open_source
from config.settings import Settings
from tests.support.pictures import picture_settings, write_pictures
from tests.support.pipeline.tiny import tiny_settings

ROWS = 600
COLUMNS = dict.fromkeys(("signal", "patient", "label"))  # of types that nobody noted
THEN: dict[str, dict[str, Any]] = {
    "other weights": {"train": 70, "eval": 15, "test": 15},
    "another seed": {"seed": 9},
    "by row": {"by": "row", "seed": 9},
    "by group": {"group_by": "patient"},
    "by time": {"by": "time", "time": "patient"},
}


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    source = tmp_path_factory.mktemp("data") / "rows.csv"
    rng = np.random.default_rng(0)
    lines = [f"{s!r},{row // 4},{'yes' if s > 0 else 'no'}" for row, s in enumerate(rng.normal(size=ROWS).tolist())]
    source.write_text("\n".join(["signal,patient,label", *lines]) + "\n", encoding="utf-8")
    return source


def origin_of(settings: Settings, folder: Path) -> Origin:
    request = read_request(settings, None)
    source = open_source([settings.data.source], "rows.csv", request)
    _, digest = write_splits(source, request, settings.split.weights, folder)
    return Origin(str(settings.data.source), request, digest)


def dealt(settings: Settings) -> tuple[np.ndarray[Any, Any], float | None]:
    request = read_request(settings, None)
    source = open_source([settings.data.source], "rows.csv", request)
    assign, test_from = dealing(source, request, list(settings.split.weights.values()))
    return np.concatenate([assign(block) for block in source.blocks()]), test_from


@pytest.mark.parametrize("how", THEN)
def test_an_older_dealing_is_done_again(table: Path, tmp_path: Path, how: str) -> None:
    now, then = tiny_settings(source=table), tiny_settings(source=table, split=THEN[how])
    origin = origin_of(now, tmp_path)
    (splits, _), (before, test_from) = dealt(now), dealt(then)
    fair = in_test_then(origin, now.split, then, COLUMNS, test_from)
    assert fair.tolist() == (before == 2)[splits == 2].tolist()
    assert 0 < fair.sum() < len(fair)


def test_columns_that_came_later_took_no_part_in_it(table: Path, tmp_path: Path) -> None:
    now = tiny_settings(source=table)
    origin = origin_of(now, tmp_path)
    older = now.model_copy(update={"data": now.data.model_copy(update={"ignore": ("patient",)})})
    (splits, _), (before, _) = dealt(now), dealt(older)
    fair = in_test_then(origin, now.split, older, dict.fromkeys(("signal", "label")), None)
    assert fair.tolist() == (before == 2)[splits == 2].tolist()
    with pytest.raises(DataError, match="dealt by age, which are no longer read"):
        in_test_then(origin, now.split, now, dict.fromkeys(("signal", "age", "label")), None)


READ_OTHERWISE: dict[str, dict[str, Any]] = {
    "a mark for missing": {"null_values": ("", "-", "7")},
    "percentages": {"percent": True},
    "labels left out": {"null_values": ("", "-", "perhaps"), "drop_unlabelled": True},
    "labels mapped": {"label_map": {"perhaps": "no"}},
}


@pytest.mark.parametrize("by", ["content", "row"])
@pytest.mark.parametrize("how", READ_OTHERWISE)
def test_rows_that_were_read_otherwise_are_read_so_again(tmp_path: Path, how: str, by: str) -> None:
    """What a value is read as decides its row's split: a mark more for missing deals rows anew."""
    path = tmp_path / "rows.csv"
    numbers = np.random.default_rng(1).integers(0, 9, size=(ROWS, 4))
    labels = np.where(numbers[:, 0] > 6, "perhaps", np.where(numbers[:, 1] > 4, "yes", "no"))
    lines = [f"{','.join(map(str, row))},{label}" for row, label in zip(numbers.tolist(), labels, strict=True)]
    path.write_text("\n".join(["a,b,c,d,label", *lines]) + "\n", encoding="utf-8")
    now = tiny_settings(source=path, split={"by": by})
    now = now.model_copy(update={"data": now.data.model_copy(update={"merge_rare_classes": "no"})})
    then = now.model_copy(update={"data": now.data.model_copy(update=READ_OTHERWISE[how])})
    origin, dtypes = origin_of(now, tmp_path / "now"), dict.fromkeys("abcd", "string")
    request = read_request(then, None).model_copy(update={"columns": dtypes, "drop_unlabelled": False})
    source = open_source([path], "rows.csv", request)
    assign, _ = dealing(source, request, list(then.split.weights.values()))
    before = np.concatenate([assign(block) for block in source.blocks()])
    splits, _ = dealt(now)
    fair = in_test_then(origin, now.split, then, {**dtypes, "label": "string"}, None)
    assert fair.tolist() == (before == 2)[splits == 2].tolist()
    assert 0 < fair.sum() < len(fair)


def test_pictures_that_belonged_together_otherwise_are_put_so_again(tmp_path: Path) -> None:
    folder = write_pictures(tmp_path / "pictures", 40)
    now = picture_settings(folder)
    then = picture_settings(folder, image={"group": r"/\d(\d)\d\."}, split={"group_by": "group"})
    origin = origin_of(now, tmp_path / "now")
    (splits, _), (before, _) = dealt(now), dealt(then)
    fair = in_test_then(origin, now.split, then, dict.fromkeys(("near", "label")), None)
    assert fair.tolist() == (before == 2)[splits == 2].tolist()
    assert not fair.all()


def test_rows_that_are_no_longer_those_of_the_run_are_refused(table: Path) -> None:
    settings = tiny_settings(source=table)
    origin = Origin(str(table), read_request(settings, None), "another digest")
    with pytest.raises(DataError, match="other rows than those of this run"):
        in_test_then(origin, settings.split, settings, COLUMNS, None)

import csv

import numpy as np
import pytest

from components.data_gate.export import cell, export, file_name, name_files
from components.data_gate.finding import RawFinding, locate

DATA = {"n": [1, 2, 3], "t": ["=cmd()", "b", None], "y": ["0", "1", "0"]}


def everything(block):
    return np.ones(block.batch.num_rows, bool)


def raw_finding(**changes):
    return RawFinding(
        **{
            "kind": "K",
            "text": "t",
            "feature": "n",
            "splits": ("train",),
            "where": everything,
            "counts_rows": True,
            **changes,
        }
    )


def test_rows_are_counted_kept_up_to_a_limit_and_written(tmp_path, make_block):
    blocks = [make_block("train", DATA), make_block("train", DATA, 3), make_block("test", DATA)]
    (found,) = locate(blocks, [raw_finding()], most=4)
    assert (found.rows, found.values) == (6, ["1", "2", "3"])
    names = name_files([found])
    export([found], names, tmp_path, most=4)
    with (tmp_path / names["K", "n"]).open(encoding="utf-8", newline="") as file:
        rows = [*csv.DictReader(file)]
    assert [row["_row"] for row in rows] == ["0", "1", "2", "3"]
    assert rows[0] == {"_split": "train", "_row": "0", "n": "1", "t": "'=cmd()", "y": "0"}
    assert rows[2]["t"] == ""


def test_findings_of_one_kind_and_feature_share_a_file(tmp_path, make_block):
    found = locate(
        [make_block("train", DATA), make_block("test", DATA)],
        [raw_finding(), raw_finding(splits=("test", "train"))],
        most=10,
    )
    names = name_files(found)
    export(found, names, tmp_path, most=10)
    assert [path.name for path in tmp_path.iterdir()] == ["rows-K-n.csv"]
    assert len((tmp_path / "rows-K-n.csv").read_text().splitlines()) == 1 + 6


def test_without_rows_there_is_no_file(tmp_path, make_block):
    found = locate([make_block("train", DATA)], [raw_finding(where=None)], most=10)
    assert name_files(found) == {}


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ("=1+1", "'=1+1"),
        ("+1", "+1"),
        ("-1", "-1"),
        ("-1+2", "'-1+2"),
        ("@x", "'@x"),
        ("\t=1", "'\t=1"),
        ("\r=1", "'\r=1"),
        ("a=1", "a=1"),
        (-1.5, "-1.5"),
        (-2, "-2"),
        (None, ""),
        (float("nan"), "nan"),
    ],
)
def test_text_that_a_spreadsheet_would_run_is_escaped(value, written):
    assert cell(value) == written


def test_file_names_are_safe_and_distinct():
    names = {file_name("K", feature) for feature in ("a b", "a_b", "a/b", "../a", "ä" * 200, None)}
    assert len(names) == 6
    assert all("/" not in name and len(name) < 120 for name in names)

"""What files `init` understands, and that ExampleGen then reads them so."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tensorflow_metadata.proto.v0 import schema_pb2

from common.errors import DataError
from config.load import load_settings
from config.onboard.init import onboard
from tests.support.onboarding import CSV, ROWS, TEXT, Init, read, read_as_examples, toy


@pytest.mark.parametrize("ends", [("", ""), (",", ""), (",", ",")], ids=["none", "header only", "everywhere"])
def test_kaggles_copy_with_an_id_and_a_trailing_column_works(init: Init, ends: tuple[str, str]) -> None:
    header, *rows = CSV.read_text(encoding="utf-8").splitlines()
    lines = [f"id,{header}{ends[0]}", *(f"{842302 + 7 * i},{row}{ends[1]}" for i, row in enumerate(rows))]
    result = init("\n".join(lines) + "\n", "diagnosis")
    assert len(result.features) == 30
    assert set(result.ignored) == ({"id", ""} if ends[1] else {"id"})
    assert read_as_examples(result).num_rows == 569


def test_an_index_written_by_pandas_is_left_out(init: Init) -> None:
    result = init(toy().to_csv())
    assert result.ignored == {"": "Columns without a name."}
    assert read_as_examples(result).column_names == ["x", "y"]


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"sep=;\r\n" + TEXT.replace(",", ";").encode(), id="excel-s-line"),
        pytest.param(b"# of 2024\n" + TEXT.encode(), id="comment"),
        pytest.param(TEXT.replace("\n", "\r").encode(), id="lone-carriage-returns"),
        pytest.param(TEXT.replace(",", "\t").encode("utf-16"), id="utf-16"),
        pytest.param(gzip.compress(TEXT.encode()), id="gzip"),
    ],
)
def test_csv_of_all_kinds_is_understood_and_then_read_as_examples(init: Init, content: bytes) -> None:
    result = init(content)
    assert (result.rows, dict(result.classes), result.features) == (ROWS, {"a": 100, "b": 100}, ("x",))
    assert read_as_examples(result).slice(0, 2).to_pydict() == {"x": [0.5, 1.5], "y": ["a", "b"]}


def test_parquet_is_read_by_its_own_types(tmp_path: Path) -> None:
    path = tmp_path / "toy.parquet"
    table = toy(
        count=np.arange(ROWS) % 37,
        dose=[1.0, 2.0, None, 4.0] * 50,
        colour=pd.Categorical(["red", "green", "blue", None] * 50),
        day=pd.date_range("2024-01-01", periods=ROWS),
        parts=[[1, 2]] * ROWS,
        y=[0.0, 1.0] * 100,
    )
    table.to_parquet(path)
    result = onboard(path, label="y", out=tmp_path / "config")
    settings, schema = read(result)
    assert (settings.data.format, settings.data.classes) == ("parquet", ("0", "1"))
    assert list(result.ignored) == ["day", "parts"]
    types = {name: schema_pb2.FeatureType.Name(feature.type) for name, feature in schema.items()}
    assert types == {"y": "BYTES", "x": "FLOAT", "count": "INT", "dose": "FLOAT", "colour": "BYTES"}
    read_back = read_as_examples(result).slice(0, 4).to_pydict()
    assert (read_back["dose"], read_back["y"]) == ([1.0, 2.0, None, 4.0], ["0", "1", "0", "1"])


def test_a_workbook_is_read_as_its_first_sheet(init: Init, tmp_path: Path) -> None:
    path = tmp_path / "book.xlsx"
    table = toy(count=np.arange(ROWS) % 37, day=pd.date_range("2024-01-01", periods=ROWS), zip=["00501", "02139"] * 100)
    table.to_excel(path, index=False)
    result = onboard(path, label="y", out=tmp_path / "config")
    assert (result.features, [*result.ignored]) == (("x", "count", "zip"), ["day"])
    rows = read_as_examples(result)
    assert rows.slice(0, 2).to_pydict() == {
        "x": pytest.approx(table["x"][:2].tolist()),
        "y": ["no", "no"],
        "count": [0, 1],
        "zip": ["00501", "02139"],
    }


@pytest.mark.parametrize("sep", [";", "\t", "|"])
def test_the_delimiter_is_found(init: Init, sep: str) -> None:
    assert load_settings(init(toy(colour=["a,b", "c"] * 100), sep=sep).config).data.delimiter == sep


@pytest.mark.parametrize("newline", ["\n", "\r\n"], ids=["LF", "CRLF"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"], ids=["plain", "BOM"])
def test_marks_and_line_ends_do_not_matter(init: Init, newline: str, mark: bytes) -> None:
    text = toy().to_csv(index=False, lineterminator=newline)
    assert init(mark + text.encode(), label="y").features == ("x",)


def test_odd_column_names_survive(init: Init) -> None:
    names = {
        "a: b": [1.5, 2.5] * 100,
        "# c": [1.5, 2.5] * 100,
        "yes": [1.5, 2.5] * 100,
        'say "x"': [1.5, 2.5] * 100,
        "new\nline": [1.5, 2.5] * 100,
    }
    result = init(toy(**names), name="odd")
    settings, schema = read(result)
    assert set(result.features) == {"x", *names}
    assert set(settings.features) == {"x", *names}
    assert set(schema) == {"x", "y", *names}


@pytest.mark.parametrize("columns", [20_000, 1_000_000])
def test_a_table_that_lies_on_its_side_is_told_before_it_is_read(init: Init, columns: int) -> None:
    header = ",".join(f"c{number}" for number in range(columns))
    with pytest.raises(DataError, match=r"toy\.csv:1: there are too many columns\n(.*\n)*.*turn the table") as error:
        init(f"{header},y\n" + f"{'1,' * columns}a\n" * 2)
    assert len(str(error.value)) < 500


def test_a_parquet_table_that_lies_on_its_side_is_told(tmp_path: Path) -> None:
    path = tmp_path / "wide.parquet"
    pq.write_table(pa.table({f"c{number}": pa.nulls(0) for number in range(10_001)}), path)
    with pytest.raises(DataError, match=r"too many columns\n.*10,001"):
        onboard(path, label="y", out=tmp_path)


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"cannot read .*gone\.csv"):
        onboard(tmp_path / "gone.csv", label="y", out=tmp_path)


def test_many_rows_are_all_read(init: Init) -> None:
    random = np.random.default_rng(0)
    rows = 200_000
    block = pd.DataFrame({f"x{i}": random.normal(size=1000).round(3) for i in range(10)} | {"y": ["a", "b"] * 500})
    text = block.to_csv(index=False, header=False) * (rows // 1000)
    content = ",".join(block.columns) + "\n" + text
    assert init(content).rows == rows


def test_a_number_that_no_run_could_read_is_told(init: Init) -> None:
    with pytest.raises(DataError, match="beyond what a 32-bit float can"):
        init(toy(z=[1e308, *range(ROWS - 1)]))

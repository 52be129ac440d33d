"""The component in TFX: spans, counts, cache, and artifacts that TFX's own tools read."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from common.errors import DataError
from config.settings import Settings
from tests.support.paths import ROOT

pytestmark = pytest.mark.slow
DATA = ROOT / "data" / "breast_cancer" / "breast_cancer.csv"
SPLITS = ("train", "eval", "test")


def settings(source: Path, **changes: Any) -> Settings:
    data = {"source": source, "label": "diagnosis", "classes": ("B", "M")} | changes.pop("data", {})
    return Settings.model_validate({"name": "wisconsin", "data": data, **changes})


@pytest.fixture
def run(tmp_path: Path) -> Callable[[Settings], Any]:
    """Run the component by TFX's own local runner and return its newest Examples artifact."""
    from ml_metadata.metadata_store import MetadataStore
    from tfx.orchestration.local.local_dag_runner import LocalDagRunner
    from tfx.orchestration.metadata import sqlite_metadata_connection_config
    from tfx.orchestration.pipeline import Pipeline
    from tfx.types.artifact_utils import deserialize_artifact

    from components.examples.component import make_example_gen
    from pipeline.pipeline import LOCAL_BEAM_ARGS

    connection = sqlite_metadata_connection_config(str(tmp_path / "metadata.sqlite"))

    def go(given: Settings) -> Any:
        component = make_example_gen(given, None)
        root = str(tmp_path / "pipeline")
        LocalDagRunner().run(
            Pipeline("examples", root, connection, [component], enable_cache=True, beam_pipeline_args=LOCAL_BEAM_ARGS)
        )
        store = MetadataStore(connection)
        found = max(store.get_artifacts_by_type("Examples"), key=lambda artifact: artifact.id)
        return deserialize_artifact(store.get_artifact_type("Examples"), found)

    return go


def rows_of(artifact: Any) -> dict[str, list[dict[str, Any]]]:
    """Read the artifact as TFX's components do, by its own utilities."""
    import tensorflow as tf
    from tfx.types.artifact_utils import decode_split_names, get_split_uri

    def values(serialized: bytes) -> dict[str, Any]:
        features = tf.train.Example.FromString(serialized).features.feature
        return {
            name: list(getattr(f, f.WhichOneof("kind")).value) for name, f in features.items() if f.WhichOneof("kind")
        }

    found = {}
    for split in decode_split_names(artifact.split_names):
        files = tf.io.gfile.glob(get_split_uri([artifact], split) + "/*")
        records = tf.data.TFRecordDataset(sorted(files), compression_type="GZIP")
        found[split] = [values(serialized) for serialized in records.as_numpy_iterator()]
    return found


def counts(artifact: Any) -> dict[str, int]:
    return {split: artifact.get_int_custom_property(f"rows_{split}") for split in SPLITS}


def test_breast_cancer(run: Callable[[Settings], Any]) -> None:
    from tfx.components.util.examples_utils import get_payload_format_string
    from tfx.components.util.tfxio_utils import get_record_batch_factory_from_artifact
    from tfx_bsl.tfxio.dataset_options import RecordBatchesOptions

    artifact = run(settings(DATA))
    read = rows_of(artifact)
    assert counts(artifact) == {split: len(rows) for split, rows in read.items()}
    assert artifact.get_int_custom_property("rows_in") == 569
    assert len(artifact.get_string_custom_property("source_digest")) == 64
    assert get_payload_format_string(artifact) == "FORMAT_TF_EXAMPLE"

    with DATA.open() as file:
        expected = list(csv.DictReader(file))
    key = ("diagnosis", "radius_mean", "area_worst")
    given = sorted((row[key[0]].encode(), *(float(np.float32(row[k])) for k in key[1:])) for row in expected)
    assert sorted(tuple(row[k][0] for k in key) for rows in read.values() for row in rows) == given

    batches = get_record_batch_factory_from_artifact([artifact], ["test"])(
        [f"{artifact.uri}/Split-train/*"], RecordBatchesOptions(batch_size=100, num_epochs=1), None
    )
    assert sum(batch.num_rows for batch in batches) == counts(artifact)["train"]


def test_formats_give_the_same_examples(tmp_path: Path) -> None:
    import tensorflow as tf

    text = tmp_path / "rows.csv"
    lines = [f"{i / 7},{i},{'' if i % 5 == 0 else f'w{i % 3}'},{'ab'[i % 2]}" for i in range(200)]
    text.write_text("x,n,t,y\n" + "\n".join(lines) + "\n")
    columns = list(zip(*(line.split(",") for line in lines), strict=True))
    table = pa.table(
        {
            "x": [float(v) for v in columns[0]],
            "n": [int(v) for v in columns[1]],
            "t": [v or None for v in columns[2]],
            "y": columns[3],
        }
    )
    pa.parquet.write_table(table, tmp_path / "rows.parquet", row_group_size=64)
    data = {"label": "y", "classes": ("a", "b")}
    first = execute(settings(text, data=data), tmp_path / "1")
    second = execute(settings(tmp_path / "rows.parquet", data={**data, "format": "parquet"}), tmp_path / "2")
    written = tf.io.gfile.glob(f"{first.uri}/Split-*/*")
    for number, file in enumerate(written):
        tf.io.gfile.copy(file, str(tmp_path / f"part-{number}.gz"))
    source = tmp_path / "part-*.gz"
    third = execute(settings(source, data={**data, "format": "tfrecord"}), tmp_path / "3")

    def ordered(artifact: Any) -> Any:
        return {split: sorted(rows, key=lambda row: row["n"]) for split, rows in rows_of(artifact).items()}

    assert "t" not in ordered(first)["train"][0]  # row 0 has none
    assert ordered(first) == ordered(second) == ordered(third)
    assert len({a.get_string_custom_property("source_digest") for a in (first, second, third)}) == 1


def execute(given: Settings, folder: Path) -> Any:
    """Run only the executor."""
    from tfx.types.standard_artifacts import Examples

    from components.examples.component import make_example_gen

    component = make_example_gen(given, None)
    artifact = Examples()
    artifact.uri = str(folder)
    component.executor_spec.executor_class().Do({}, {"examples": [artifact]}, component.exec_properties)
    return artifact


def test_newest_span_and_version_are_read(tmp_path: Path, run: Callable[[Settings], Any]) -> None:
    for span, version, rows in ((9, 1, 100), (10, 1, 200), (10, 2, 300)):
        folder = tmp_path / f"span-{span}" / f"v{version}"
        folder.mkdir(parents=True)
        (folder / "rows.csv").write_text("x,y\n" + "".join(f"{i},{'ab'[i % 2]}\n" for i in range(rows)))
    source = tmp_path / "span-{SPAN}" / "v{VERSION}" / "*.csv"
    artifact = run(settings(source, data={"label": "y", "classes": ("a", "b")}))
    assert artifact.get_int_custom_property("rows_in") == 300
    assert [artifact.get_int_custom_property(name) for name in ("span", "version")] == [10, 2]


def test_newest_date_is_read(tmp_path: Path, run: Callable[[Settings], Any]) -> None:
    for day, rows in (("2023-12-31", 100), ("2024-01-02", 200)):
        (tmp_path / f"{day}.csv").write_text("x,y\n" + "".join(f"{i},{'ab'[i % 2]}\n" for i in range(rows)))
    artifact = run(settings(tmp_path / "{YYYY}-{MM}-{DD}.csv", data={"label": "y", "classes": ("a", "b")}))
    assert artifact.get_int_custom_property("rows_in") == 200


def test_cache_survives_what_the_examples_do_not_depend_on(run: Callable[[Settings], Any]) -> None:
    first = run(settings(DATA))
    assert run(settings(DATA, model={"epochs": 3}, title="other")).id == first.id
    assert run(settings(DATA, seed=7)).id != first.id


@pytest.mark.parametrize(
    ("content", "told"),
    [("x,y\n1,a\n2,b\n", "split '.*' is empty"), ("x,y\n", "no rows"), ("x,y\n1,a\n2,a\n", "one class only")],
    ids=["tiny", "header-only", "one-class"],
)
def test_what_cannot_be_split_is_refused(tmp_path: Path, content: str, told: str) -> None:
    (tmp_path / "rows.csv").write_text(content)
    with pytest.raises(DataError, match=told):
        execute(settings(tmp_path, data={"label": "y", "classes": ("a", "b")}), tmp_path / "out")


def test_a_row_lost_in_writing_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from components.examples.writing import SplitWriter

    whole = SplitWriter.write
    monkeypatch.setattr(SplitWriter, "write", lambda self, batch, splits: whole(self, batch.slice(1), splits[1:]))
    with pytest.raises(DataError, match=r"lost or doubled.*\n.*569 read, 569 counted apart"):
        execute(settings(DATA), tmp_path / "out")


def test_shards_keep_the_order_and_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from components.examples import sources, writing

    monkeypatch.setattr(writing, "SHARD_ROWS", 100)
    monkeypatch.setattr(sources, "BLOCK_BYTES", 256)
    (tmp_path / "rows.csv").write_text("x,y\n" + "".join(f"{i},{'ab'[i % 2]}\n" for i in range(1000)))
    artifact = execute(settings(tmp_path, data={"label": "y", "classes": ("a", "b")}), tmp_path / "out")
    files = sorted(path.name for path in (tmp_path / "out" / "Split-train").iterdir())
    assert files[0] == f"data_tfrecord-00000-of-{len(files):05d}.gz"
    assert len(files) > 3
    for rows in rows_of(artifact).values():
        assert [row["x"] for row in rows] == sorted(row["x"] for row in rows)


def test_by_time_the_latest_rows_test_and_it_is_noted_when_they_begin(
    run: Callable[[Settings], Any], tmp_path: Path
) -> None:
    from components import splits

    days = [f"2026-{1 + i // 28:02d}-{1 + i % 28:02d}" for i in range(200)]
    lines = [f"{day},{i % 7},{'BM'[i % 2]}" for i, day in enumerate(days)]
    (tmp_path / "days.csv").write_text("\n".join(["day,x,diagnosis", *lines[::-1]]) + "\n", encoding="utf-8")
    artifact = run(settings(tmp_path / "days.csv", split={"by": "time", "time": "day"}))
    by_split = {split: sorted(row["day"][0].decode() for row in rows) for split, rows in rows_of(artifact).items()}
    assert [by_split[split] for split in ("train", "eval", "test")] == [days[:128], days[128:160], days[160:]]
    begins = splits.test_begins([f"{artifact.uri}/Split-eval/any"])
    assert begins == np.datetime64(days[160], "us").astype(int)


@pytest.mark.parametrize(
    ("time", "message"),
    [("", "time 'day' is missing"), ("30.11.2026", "time 'day' is no date"), ("2026-13-01", "time 'day' is no date")],
)
def test_a_row_without_a_time_is_told(run: Callable[[Settings], Any], tmp_path: Path, time: str, message: str) -> None:
    lines = ["day,x,diagnosis", *(f"2026-01-{i % 28 + 1:02d},{i},{'BM'[i % 2]}" for i in range(50)), f"{time},3,B"]
    (tmp_path / "days.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    with pytest.raises(DataError, match=rf"days.csv:52: {message}"):
        run(settings(tmp_path / "days.csv", split={"by": "time", "time": "day"}))


def test_letters_of_patterns_in_a_path_that_exists_are_letters(run: Callable[[Settings], Any], tmp_path: Path) -> None:
    source = tmp_path / "in put[1]" / "odd name (1) [x].csv"
    source.parent.mkdir()
    source.write_bytes(DATA.read_bytes())
    (tmp_path / "in put1").mkdir()
    (tmp_path / "in put1" / source.name).write_text("another file\n", encoding="utf-8")
    assert sum(counts(run(settings(source))).values()) == 569

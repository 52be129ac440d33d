import pyarrow as pa
import pytest

from components.data_gate.blocks import flat, read_blocks
from components.data_gate.checks.overlap import row_overlaps
from components.data_gate.scan import Columns, scan_rows


@pytest.mark.parametrize(
    ("lists", "expected"),
    [
        (pa.array([[1], None, [], [2]], pa.large_list(pa.int64())), [1, None, None, 2]),
        (pa.array([[1, 2], None], pa.large_list(pa.int64())), ["[1, 2]", None]),
        (pa.array([[b"\xff"], [b"a"]], pa.large_list(pa.large_binary())), ["\\xff", "a"]),
        (pa.nulls(2), [None, None]),
    ],
    ids=["missing", "several-values", "not-utf-8", "nothing"],
)
def test_lists_become_values(lists, expected):
    assert flat(lists).to_pylist() == expected


def example(**values) -> bytes:
    import tensorflow as tf

    kinds = {int: "int64_list", float: "float_list", bytes: "bytes_list"}
    features = {}
    for name, value in values.items():
        feature = tf.train.Feature()
        getattr(feature, kinds[type(value)]).value.append(value)
        features[name] = feature
    return tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString()


@pytest.fixture
def write(tmp_path):
    import tensorflow as tf

    def _write(split: str, *examples: bytes) -> list[str]:
        file = str(tmp_path / f"{split}.gz")
        with tf.io.TFRecordWriter(file, tf.io.TFRecordOptions("GZIP")) as writer:
            for one in examples:
                writer.write(one)
        return [file]

    return _write


@pytest.mark.slow
def test_rows_come_back_as_one_value_a_column(write):
    files = {"train": write("train", example(a=1, b=2.5, c=b"x"), example(a=2, c="ä".encode()), example(b=0.5))}
    (block,) = read_blocks(files)
    assert (block.split, block.first_row) == ("train", 0)
    assert {name: block.column(name).to_pylist() for name in "abcd"} == {
        "a": [1, 2, None],
        "b": [2.5, None, 0.5],
        "c": ["x", "ä", None],
        "d": [None, None, None],
    }


@pytest.mark.slow
def test_a_copy_across_splits_is_found_on_disk(write):
    row = example(a=1.5, c=b"x", y=b"0")
    files = {"train": write("train", example(a=0.5, y=b"1"), row), "test": write("test", row)}
    scan = scan_rows(read_blocks(files), Columns(label="y"), ["a", "c"], {"train": 2, "test": 1}, seed=0)
    assert [s.kind for s in row_overlaps(scan.content, ["a", "c"], False)] == ["SPLIT_OVERLAP"]


@pytest.mark.slow
def test_an_empty_split_has_no_blocks(write):
    assert [*read_blocks({"eval": write("eval"), "test": []})] == []

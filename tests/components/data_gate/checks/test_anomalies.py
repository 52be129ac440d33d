import pytest
from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import anomalies_pb2, schema_pb2

from components.data_gate.checks.anomalies import schema_anomalies

SCHEMA = text_format.Parse(
    """
    feature { name: "color" type: BYTES domain: "colors" }
    feature { name: "shade" type: BYTES string_domain { name: "shade" value: "light" } }
    feature { name: "flag" type: BYTES bool_domain { true_value: "on" false_value: "off" } }
    feature { name: "age" type: INT int_domain { min: 0 max: 120 } presence { min_fraction: 1.0 } }
    feature { name: "size" type: FLOAT float_domain { min: 0.7 max: 2.0 } presence { min_fraction: 0.5 } }
    string_domain { name: "colors" value: "red" value: "blue" }
    """,
    schema_pb2.Schema(),
)
COLUMNS = {
    "color": ["red", "mauve", None, "blue"],
    "shade": ["light", "dark", "light", "light"],
    "flag": ["on", "off", "maybe", None],
    "age": [5, -1, 130, None],
    "size": [0.5, 2.5, None, 1.0],
}


def anomaly(name: str, kind: str, words: str = "TFDV's words") -> anomalies_pb2.Anomalies:
    anomalies = anomalies_pb2.Anomalies()
    info = anomalies.anomaly_info[name]
    info.path.step.append(name)
    info.reason.add(type=anomalies_pb2.AnomalyInfo.Type.Value(kind), description=words)
    return anomalies


@pytest.mark.parametrize(
    ("name", "kind", "said", "rows"),
    [
        ("color", "ENUM_TYPE_UNEXPECTED_STRING_VALUES", "values that the schema does not list", [1]),
        ("shade", "ENUM_TYPE_UNEXPECTED_STRING_VALUES", "values that the schema does not list", [1]),
        ("flag", "BOOL_TYPE_UNEXPECTED_STRING", "values that the schema does not list", [2]),
        ("age", "INT_TYPE_SMALL_INT", "below the schema's least value 0", [1]),
        ("age", "INT_TYPE_BIG_INT", "above the schema's largest value 120", [2]),
        ("size", "FLOAT_TYPE_SMALL_FLOAT", "below the schema's least value 0.7", [0]),
        ("size", "FLOAT_TYPE_BIG_FLOAT", "above the schema's largest value 2", [1]),
        ("age", "FEATURE_TYPE_LOW_FRACTION_PRESENT", "the schema wants it in all rows", [3]),
        ("size", "FEATURE_TYPE_LOW_FRACTION_PRESENT", "wants it in at least 50.0%", [2]),
        ("age", "INT_TYPE_INT_EXPECTED", "another type than the schema's integers", []),
    ],
)
def test_anomalies_in_plain_words_with_their_rows(make_block, name, kind, said, rows):
    (finding,) = schema_anomalies({"train": anomaly(name, kind)}, SCHEMA, ())
    assert (finding.kind, finding.feature, finding.splits) == (kind, name, ("train",))
    assert finding.text.startswith(f"In train, {name!r} ")
    assert said in finding.text
    assert finding.where(make_block("train", COLUMNS)).nonzero()[0].tolist() == rows


def test_a_value_of_another_type_is_found(make_block):
    (finding,) = schema_anomalies({"train": anomaly("age", "INT_TYPE_INT_EXPECTED")}, SCHEMA, ())
    assert finding.where(make_block("train", {"age": ["five", None]})).tolist() == [True, False]


def test_the_same_anomaly_in_several_splits_is_told_once():
    told = {split: anomaly("color", "ENUM_TYPE_UNEXPECTED_STRING_VALUES", f"12 % in {split}") for split in "ab"}
    (finding,) = schema_anomalies(told, SCHEMA, ())
    assert finding.splits == ("a", "b")


def test_other_anomalies_are_told_in_tfdvs_words():
    (finding,) = schema_anomalies({"test": anomaly("new", "SCHEMA_NEW_COLUMN", "New column. ")}, SCHEMA, ())
    assert finding.text == "In test, 'new': New column"
    assert finding.where is None


def test_ignored_columns_may_be_anything():
    assert schema_anomalies({"test": anomaly("color", "SCHEMA_MISSING_COLUMN")}, SCHEMA, ("color",)) == []


def test_a_reasonless_anomaly_and_missing_data_are_told():
    told = anomalies_pb2.Anomalies(data_missing=True)
    told.dataset_anomaly_info.description = "too few"
    kinds = {s.kind: s.text for s in schema_anomalies({"eval": told}, SCHEMA, ())}
    assert kinds == {"NO_DATA_IN_SPAN": "In eval: TFDV saw no rows", "UNKNOWN_TYPE": "In eval: too few"}


def test_a_clean_bill_finds_nothing():
    assert schema_anomalies({"train": anomalies_pb2.Anomalies()}, SCHEMA, ()) == []

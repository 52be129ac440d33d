from __future__ import annotations

import random
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from components.tasks import task_of

pytestmark = pytest.mark.slow
CUSTOM = {
    "left_out": ["label"],
    "codes": ["ward"],
    "vocabulary_size": 1000,
    "dates": {"admitted": "dmy"},
    "derived": {},
    "cleaning": {"null_values": ["", "?", "-999"], "spellings": {"colour": {"Red": "red"}}},
}
TRAIN = [
    # wide: required; small: required; constant; optional numbers; text; optional text; codes; optional codes as text
    {
        "wide": 1e6,
        "small": 1e-3,
        "constant": 0.1,
        "optional": 1.0,
        "never": None,
        "colour": "red",
        "shape": "round",
        "ward": 3,
        "admitted": "1.2.2020",
        "label": "a",
    },
    {
        "wide": 3e6,
        "small": 3e-3,
        "constant": 0.1,
        "optional": None,
        "never": None,
        "colour": "red",
        "shape": None,
        "ward": 3,
        "admitted": "2.2.2020",
        "label": "b",
    },
    {
        "wide": 5e6,
        "small": 5e-3,
        "constant": 0.1,
        "optional": 5.0,
        "never": None,
        "colour": "blue",
        "shape": "square",
        "ward": 11,
        "admitted": "3 Mar 2021 08:15",
        "label": "a",
    },
    {
        "wide": 7e6,
        "small": 7e-3,
        "constant": 0.1,
        "optional": None,
        "never": None,
        "colour": "green",
        "shape": "round",
        "ward": None,
        "admitted": None,
        "label": "b",
    },
]
NUMBERS = ["constant", "never", "optional", "small", "wide"]  # Transform hands inputs over in this order
PARTS = ["year", "month", "weekday", "days"]  # of `admitted`
OPTIONAL = ["never", "optional", "admitted"]


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The transform graph fitted on the four rows, seven times each."""
    import tensorflow as tf
    import tensorflow_transform as tft
    import tensorflow_transform.beam as tft_beam
    from tensorflow_transform.tf_metadata import dataset_metadata, metadata_io, schema_utils

    from components.features.transform import preprocessing_fn

    required = dict.fromkeys(("wide", "small", "constant"), tf.float32) | {"colour": tf.string, "label": tf.string}
    optional = {
        "optional": tf.float32,
        "never": tf.float32,
        "shape": tf.string,
        "ward": tf.int64,
        "admitted": tf.string,
    }
    spec = {name: tf.io.FixedLenFeature([], dtype) for name, dtype in required.items()}
    spec |= {name: tf.io.VarLenFeature(dtype) for name, dtype in optional.items()}
    metadata = dataset_metadata.DatasetMetadata(schema_utils.schema_from_feature_spec(spec))
    rows = [{k: ([] if v is None else [v]) if k in optional else v for k, v in row.items()} for row in TRAIN]
    folder = tmp_path_factory.mktemp("transform")
    with tft_beam.Context(temp_dir=str(folder / "temp")):
        graph = (rows * 7, metadata) | tft_beam.AnalyzeDataset(lambda inputs: preprocessing_fn(inputs, CUSTOM))
        graph | tft_beam.WriteTransformFn(str(folder / "graph"))
    metadata_io.write_metadata(metadata, str(folder / "graph" / tft.TFTransformOutput.RAW_METADATA_DIR))
    return tft.TFTransformOutput(str(folder / "graph"))


@pytest.fixture(scope="module")
def transform(fitted: Any) -> Any:
    """Put rows through the fitted graph, as parsed from tf.Examples."""
    import tensorflow as tf

    layer, spec = fitted.transform_features_layer(), fitted.raw_feature_spec()

    def go(rows: list[dict[str, Any]]) -> dict[str, Any]:
        examples = tf.constant([example(row).SerializeToString() for row in rows])
        return {key: value.numpy() for key, value in layer(tf.io.parse_example(examples, spec)).items()}

    return go


def example(row: dict[str, Any]) -> Any:
    import tensorflow as tf

    features = {}
    for name, value in row.items():
        if isinstance(value, str):
            features[name] = tf.train.Feature(bytes_list=tf.train.BytesList(value=[value.encode()]))
        elif isinstance(value, int):
            features[name] = tf.train.Feature(int64_list=tf.train.Int64List(value=[value]))
        elif value is not None:
            features[name] = tf.train.Feature(float_list=tf.train.FloatList(value=[value]))
    return tf.train.Example(features=tf.train.Features(feature=features))


def number(out: dict[str, Any], name: str) -> Any:
    return out["numeric"][:, NUMBERS.index(name)]


def missing(out: dict[str, Any], name: str) -> Any:
    return out["numeric"][:, len(NUMBERS) + len(PARTS) + OPTIONAL.index(name)]


def code(out: dict[str, Any], name: str) -> Any:
    return out["categorical"][:, ["colour", "shape", "ward"].index(name)]


def test_numbers_travel_packed_and_categories_as_ids(transform: Any) -> None:
    out = transform(TRAIN)
    assert set(out) == {"numeric", "categorical"}
    assert (out["numeric"].shape, out["numeric"].dtype) == ((4, len(NUMBERS) + len(PARTS) + len(OPTIONAL)), np.float32)
    assert (out["categorical"].shape, out["categorical"].dtype) == ((4, 3), np.int64)


@pytest.mark.parametrize("name", ["wide", "small"])
def test_z_scores_whatever_the_scale(transform: Any, name: str) -> None:
    z = [(x - 4) / np.sqrt(5) for x in (1, 3, 5, 7)]
    np.testing.assert_allclose(number(transform(TRAIN), name), z, rtol=1e-5)


def test_a_missing_number_is_the_mean_and_says_so(transform: Any) -> None:
    out = transform(TRAIN)
    np.testing.assert_allclose(number(out, "optional"), [-1, 0, 1, 0], atol=1e-6)
    np.testing.assert_array_equal(missing(out, "optional"), [0, 1, 0, 1])


def test_a_constant_column_and_one_without_any_value_are_0(transform: Any) -> None:
    out = transform([*TRAIN, {**TRAIN[0], "constant": 0.2}])
    np.testing.assert_array_equal(number(out, "constant"), 0)
    np.testing.assert_array_equal(number(out, "never"), 0)
    np.testing.assert_array_equal(missing(out, "never"), 1)


def test_a_batch_in_which_nobody_has_a_value(transform: Any) -> None:
    bare = {**TRAIN[0], "optional": None, "shape": None, "ward": None}
    out = transform([bare, bare])
    np.testing.assert_array_equal(missing(out, "optional"), [1, 1])
    np.testing.assert_array_equal(code(out, "shape"), [2, 2])
    np.testing.assert_array_equal(code(out, "ward"), [2, 2])


def test_unseen_and_missing_categories_share_the_id_past_the_vocabulary(transform: Any, fitted: Any) -> None:
    from components.features.transform import vocabulary_sizes

    colours, shapes, wards = vocabulary_sizes(fitted, 3)
    assert (colours, shapes, wards) == (3, 2, 2)
    out = transform([{**TRAIN[0], "colour": "violet", "shape": None, "ward": 12}])
    assert out["categorical"].tolist() == [[colours, shapes, wards]]
    assert transform(TRAIN)["categorical"].max(axis=0).tolist() == [colours - 1, shapes, wards]


def test_integer_codes_are_categories(transform: Any) -> None:
    first, second, third, absent = code(transform(TRAIN), "ward")
    assert first == second != third
    assert absent not in (first, third)


def test_blanks_marks_of_gaps_and_spellings_mean_the_same_to_the_graph(transform: Any) -> None:
    """Who asks the model server itself sends what stands in the file."""
    raw = [
        {**TRAIN[0], "colour": " Red\u00a0", "shape": "\tround ", "optional": -999.0},
        {**TRAIN[0], "colour": "?", "shape": " ? ", "optional": None},
    ]
    clean = [{**TRAIN[0], "optional": None}, {**TRAIN[0], "colour": "", "shape": None, "optional": None}]
    for key, values in transform(clean).items():
        np.testing.assert_array_equal(transform(raw)[key], values)


def test_a_date_is_year_month_weekday_and_days(transform: Any) -> None:
    parts = np.array([[2020, 2, 5, 18_293], [2020, 2, 6, 18_294], [2021, 3, 2, 18_689]], np.float64)
    wanted = (parts - parts.mean(axis=0)) / parts.std(axis=0)
    out = transform(TRAIN)
    np.testing.assert_allclose(out["numeric"][:3, len(NUMBERS) : len(NUMBERS) + 4], wanted, rtol=1e-5)
    np.testing.assert_array_equal(out["numeric"][3, len(NUMBERS) : len(NUMBERS) + 4], 0)
    np.testing.assert_array_equal(missing(out, "admitted"), [0, 0, 0, 1])
    odd = transform([{**TRAIN[0], "admitted": text} for text in ("soon", "1.13.2020", "2020-02-01")])
    np.testing.assert_array_equal(missing(odd, "admitted"), 1)


@pytest.mark.parametrize(
    ("order", "written", "first", "step"),
    [
        *((order, order, date(1899, 12, 25), 997) for order in ("ymd", "dmy", "mdy")),
        ("dmy", "short", date(1969, 1, 1), 306),  # to 2068
        ("mdy", "American", date(1969, 1, 1), 306),
    ],
)
def test_days_and_weekdays_are_python_s(order: Any, written: str, first: date, step: int) -> None:
    import tensorflow as tf

    from components.features.transform import date_parts

    formats = {"ymd": "%Y-%m-%d", "dmy": "%d.%m.%Y", "mdy": "%b %d, %Y", "short": "%d.%m.%y", "American": "%m/%d/%y"}
    days = [first + timedelta(step * n) for n in range(120)]
    parts = date_parts(tf.constant([day.strftime(formats[written]) for day in days]), order)
    wanted = [(d.year, d.month, d.weekday(), (d - date(1970, 1, 1)).days) for d in days]
    assert [tuple(int(value) for value in row) for row in zip(*(part.numpy() for part in parts), strict=True)] == wanted


def test_columns_left_out_do_not_matter(transform: Any) -> None:
    other = transform([{**row, "label": "c"} for row in TRAIN])
    for key, value in transform(TRAIN).items():
        np.testing.assert_array_equal(value, other[key])


@pytest.mark.parametrize(
    ("splits", "same"), [(("eval", "test"), True), (("train",), False)], ids=["eval and test", "train"]
)
def test_only_train_rows_are_looked_at(
    pipeline_run: Any, breast_cancer: Any, transform_output: Any, tmp_path: Path, splits: tuple[str, ...], same: bool
) -> None:
    """Change every row of some splits and let the pipeline's own Transform fit again: the same bits come out."""
    import tensorflow_transform as tft

    from components.splits import some_rows
    from components.training.dataset import SplitReader

    again = tft.TFTransformOutput(str(fit_again(pipeline_run, breast_cancer, splits, tmp_path)))
    rows = some_rows(pipeline_run.split("train"), 50)
    before, after = (
        SplitReader(graph, breast_cancer.data.label, task_of(breast_cancer.data)).transform(rows)["numeric"]
        for graph in (transform_output, again)
    )
    assert np.array_equal(before, after) == same


def fit_again(pipeline_run: Any, settings: Any, splits: tuple[str, ...], folder: Path) -> Path:
    """Run Transform as the graph has it on examples in which some splits' numbers are other ones."""
    import tensorflow as tf
    from tfx.dsl.components.base.base_beam_executor import BaseBeamExecutor
    from tfx.types import standard_artifacts

    from common.paths import Paths
    from pipeline.pipeline import LOCAL_BEAM_ARGS, create_pipeline

    changed = folder / "examples"
    source = pipeline_run.uri("FileBasedExampleGen", "examples")
    for name in ("train", "eval", "test"):
        target = changed / f"Split-{name}" / "data_tfrecord-00000-of-00001.gz"
        target.parent.mkdir(parents=True)
        with tf.io.TFRecordWriter(str(target), "GZIP") as writer:
            files = sorted(str(path) for path in (source / f"Split-{name}").iterdir())
            for record in tf.data.TFRecordDataset(files, compression_type="GZIP").as_numpy_iterator():
                writer.write(shaken(record) if name in splits else record)

    paths = Paths(folder / "var", settings.name)
    graph = create_pipeline(settings, paths)
    component = next(c for c in graph.components if c.id == "Transform")
    examples, schema, output = (
        standard_artifacts.Examples(),
        standard_artifacts.Schema(),
        standard_artifacts.TransformGraph(),
    )
    examples.uri, examples.split_names = str(changed), '["train", "eval", "test"]'
    examples.set_string_custom_property("file_format", "tfrecords_gzip")
    examples.set_string_custom_property("payload_format", "FORMAT_TF_EXAMPLE")
    schema.uri, output.uri = str(pipeline_run.uri("ImportSchemaGen", "schema")), str(folder / "graph")
    context = BaseBeamExecutor.Context(beam_pipeline_args=LOCAL_BEAM_ARGS, tmp_dir=str(folder / "tmp"), unique_id="1")
    component.executor_spec.executor_class(context).Do(
        {"examples": [examples], "schema": [schema]}, {"transform_graph": [output]}, dict(component.exec_properties)
    )
    return folder / "graph"


def shaken(record: bytes) -> bytes:
    import tensorflow as tf

    row = tf.train.Example.FromString(record)
    for feature in row.features.feature.values():
        if feature.float_list.value:
            feature.float_list.value[0] *= random.Random(len(record)).uniform(2, 3)
    return bytes(row.SerializeToString())

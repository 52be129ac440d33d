"""Columns may be called anything and hold large whole numbers: what the model reads is what stands in the rows."""

from __future__ import annotations

import keyword
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from common.tables.cleaning import Cleaning
from components.tasks import ClassHead, task_of
from config.schema import Feature

pytestmark = pytest.mark.slow
OURS = [
    *("examples", "examples_", "features", "label", "probabilities", "probability", "numeric", "categorical"),
    *("inputs", "instances", "signature_name", "serving_default", "transform_graph", "scorer", "column_0", "column_1"),
    *("vocabulary_0", "vocabulary_1", "self", "name", "threshold"),
]
ODD = [
    "_freq_",
    "__class__",
    "a b",
    "a-b",
    "a_b",
    "x.1",
    "x:0",
    "a/b",
    "größe",
    "GRÖSSE",
    "性别",
    "температура/°C",
    " ",
    "\t",
]
LETTERS = st.characters(exclude_categories=["Cs"], exclude_characters="\x00")
NAMES = st.one_of(
    st.text(LETTERS, min_size=1, max_size=8),
    st.sampled_from(keyword.kwlist),
    st.sampled_from(OURS),
    st.sampled_from(ODD),
)
KINDS: tuple[tuple[Literal["numeric", "categorical"], Literal["int", "float", "string"]], ...] = (
    ("categorical", "string"),
    ("numeric", "int"),
    ("categorical", "string"),
    ("numeric", "float"),
    ("categorical", "int"),
)
ROWS = 40
STAMP = 1_700_000_000


@dataclass(frozen=True)
class Exported:
    """A fitted transform graph and a network that was never trained, exported: what each door says of the rows."""

    transformed: dict[str, Any]
    scores: Any  # of Transform and Keras in this process, [rows]
    answers: dict[str, Any]
    inputs: dict[str, list[str]]


def value(feature: Feature, column: int, row: int) -> Any:
    """Each column has another number of categories, so that none can stand for another."""
    if feature.dtype == "string":
        return ("one\nline", "two\r\nlines", "a\\nb", "blue", "red")[row % (2 + column % 4)]
    if feature.kind == "categorical":
        return row % (2 + column % 4)
    return STAMP + row if feature.dtype == "int" else row / 7


def export(features: list[Feature], label: str, folder: Path) -> Exported:
    import tensorflow as tf
    import tensorflow_transform as tft
    import tensorflow_transform.beam as tft_beam
    from tensorflow_transform.tf_metadata import dataset_metadata, metadata_io, schema_utils

    from components.export.real_rows import inputs_of
    from components.export.signatures import Scorer
    from components.features.transform import preprocessing_fn
    from components.training import trainer
    from components.training.dataset import SplitReader
    from config.settings import Settings
    from serving.repository.contents import plain
    from serving.server.core.servable import Servable, as_array

    dtypes = {"string": tf.string, "int": tf.int64, "float": tf.float32}
    spec = {f.name: tf.io.FixedLenFeature([], dtypes[f.dtype]) for f in features}
    spec[label] = tf.io.FixedLenFeature([], tf.string)
    metadata = dataset_metadata.DatasetMetadata(schema_utils.schema_from_feature_spec(spec))
    columns = {f.name: [value(f, i, row) for row in range(ROWS)] for i, f in enumerate(features)}
    rows = [{name: values[i] for name, values in columns.items()} | {label: "ny"[i % 2]} for i in range(ROWS)]
    custom = {
        "left_out": [label],
        "codes": [f.name for f in features if (f.kind, f.dtype) == ("categorical", "int")],
        "dates": {},
        "derived": {},
        "cleaning": asdict(Cleaning()),
        "vocabulary_size": 100,
    }
    with tft_beam.Context(temp_dir=str(folder / "temp")):
        graph = (rows, metadata) | tft_beam.AnalyzeDataset(lambda inputs: preprocessing_fn(inputs, custom))
        graph | tft_beam.WriteTransformFn(str(folder / "graph"))
    metadata_io.write_metadata(metadata, str(folder / "graph" / tft.TFTransformOutput.RAW_METADATA_DIR))
    transform_output = tft.TFTransformOutput(str(folder / "graph"))

    data = {"source": "x.csv", "label": label, "classes": ["n", "y"]}
    chosen = Settings.model_validate({"name": "names", "data": data, "model": {"hidden_units": [8], "seed": 3}})
    network = trainer.build(chosen, transform_output, features)
    scorer = Scorer(network, transform_output, features, ClassHead(("n", "y"), 1))
    scorer.save(folder / "model")
    serialized = [tf.train.Example(features=as_features(row)).SerializeToString() for row in rows]
    transformed = SplitReader(transform_output, label, task_of(chosen.data)).transform(serialized)
    scores = tf.sigmoid(network(transformed, training=False)).numpy()[:, 0]
    servable = Servable.load(folder / "model")
    inputs = inputs_of(serialized, features, scorer.has_packed, scorer.examples_input)
    answers = {
        signature: servable.run(
            signature, {n: as_array(plain(v), servable.dtype(signature, n)) for n, v in columns.items()}
        )["probability"]
        for signature, columns in inputs.items()
    }
    servable.close()
    return Exported(transformed, scores, answers, {name: [*columns] for name, columns in inputs.items()})


def as_features(row: dict[str, Any]) -> Any:
    import tensorflow as tf

    def feature(content: Any) -> Any:
        if isinstance(content, str):
            return tf.train.Feature(bytes_list=tf.train.BytesList(value=[content.encode()]))
        if isinstance(content, int):
            return tf.train.Feature(int64_list=tf.train.Int64List(value=[content]))
        return tf.train.Feature(float_list=tf.train.FloatList(value=[content]))

    return tf.train.Features(feature={name: feature(content) for name, content in row.items()})


def described(names: list[str]) -> list[Feature]:
    features = []
    for i, name in enumerate(names):
        kind, dtype = KINDS[i % len(KINDS)]
        values = tuple(sorted({value(Feature(name, kind, dtype, True), i, row) for row in range(ROWS)}))
        features.append(Feature(name, kind, dtype, True, values if dtype == "string" else ()))
    return features


@pytest.mark.exhaustive
@given(drawn=st.lists(NAMES, min_size=6, max_size=14, unique=True))
@settings(max_examples=2, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
def test_columns_may_be_called_anything(drawn: list[str]) -> None:
    check_names(drawn)


def test_columns_may_be_called_as_our_own_and_as_no_graph_allows() -> None:
    check_names(["examples", "label", "__class__", "a b", "größe", " "])


def check_names(drawn: list[str]) -> None:
    """Export a model whose columns, and their twins in other letters, are called so, and ask it by every signature."""
    twins = [name.swapcase() for name in drawn if name.swapcase().swapcase() == name]
    label, *names = dict.fromkeys([*drawn, *twins])
    features = described(names)
    with tempfile.TemporaryDirectory() as folder:
        exported = export(features, label, Path(folder))
    for signature, answers in exported.answers.items():
        np.testing.assert_allclose(answers, exported.scores, atol=1e-6, err_msg=signature)
    assert set(exported.inputs["serving_default"]) == set(names)
    [examples_input] = exported.inputs["serving_examples"]
    assert examples_input not in [*names, label], "TFMA would take the column for it"
    by_name = sorted(((f, i) for i, f in enumerate(features) if f.kind == "categorical"), key=lambda pair: pair[0].name)
    for ids, (feature, i) in zip(exported.transformed["categorical"].T, by_name, strict=True):
        told_apart = {value(feature, i, row) for row in range(ROWS)}
        assert sorted(set(ids.tolist())) == list(range(len(told_apart))), feature


@pytest.fixture(scope="module")
def stamps(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """One column of seconds since 1970, beside one of fractions."""
    features = [Feature("stamp", "numeric", "int", True), Feature("size", "numeric", "float", True)]
    return export(features, "label", tmp_path_factory.mktemp("stamps"))


def test_large_whole_numbers_are_told_apart(stamps: Exported) -> None:
    """As float32 the seconds of two minutes are one number."""
    stamp = stamps.transformed["numeric"][:, 1]
    np.testing.assert_allclose(stamp, (np.arange(ROWS) - (ROWS - 1) / 2) / np.arange(ROWS).std(), rtol=1e-6)


@pytest.mark.parametrize("signature", ["serving_default", "serving_packed", "serving_examples"])
def test_they_reach_the_model_whole_through_every_signature(stamps: Exported, signature: str) -> None:
    np.testing.assert_allclose(stamps.answers[signature], stamps.scores, atol=1e-6)
    assert len(set(stamps.answers[signature].tolist())) == ROWS

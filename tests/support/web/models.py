"""Pushed versions made by hand: all that the web app reads of one, and no SavedModel that TensorFlow could load.

Three models: `cells` (numbers only, two classes), `patients` (numbers, text, codes, gaps; two classes) and `flowers`
(numbers, three classes). `webapp_root` in conftest.py has one version of each, stable. `garden` reads pictures.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import schema_pb2, statistics_pb2

from config.data_settings import IMAGE_BYTES, STRANGENESS
from serving.release.servers import write_config
from serving.release.state import Record, State, Store
from serving.repository.drift_reference import Categories, DriftReference, Numbers
from serving.repository.layout import DRIFT_REFERENCE, EVALUATION, EXTRA, MANIFEST, SCHEMA, STATISTICS, TRAINING
from serving.repository.manifest import GateVerdict, Manifest, checksums
from tests.support.web.pictures import COLOURS, LEAST, as_golden, picture

BLESSED = {
    "evaluation": GateVerdict(
        True,
        "Blessed on 60 test rows: auc is 0.97, and with 95% confidence at least 0.93 ≥ 0.9.",
        evidence=[
            {"kind": "OPERATING_POINT", "sentence": "accuracy is 0.95 at the threshold 0.63, 0.94 at 0.5."},
            {"kind": "NOT_SHOWN_CALIBRATED", "sentence": "the probability of the positive class is off by 0.06."},
        ],
    ),
    "serving": GateVerdict(
        True, "Loaded in 0.3 s by the session loader; 2 signatures gave the golden answers to the bit."
    ),
}
ROWS = 300
HALF_WIDTH = np.float32(20.0)  # of the intervals of homes


@dataclass(frozen=True)
class Made:
    """A model by its columns. `columns`: name to values of the training split; None is a gap."""

    name: str
    columns: Mapping[str, Sequence[Any]]
    labels: Sequence[Any]
    classes: tuple[str, ...]
    positive: str | None = None
    threshold: float | None = None
    categorical: tuple[str, ...] = ()
    domains: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    minimum: Mapping[str, float] = field(default_factory=dict)
    none_of_these: float | None = None  # of pictures
    plain: tuple[str, ...] = ()  # its plain models, which say what it says

    @property
    def is_packed(self) -> bool:
        return (
            IMAGE_BYTES not in self.columns
            and not self.categorical
            and all(not isinstance(self.first(name), str) for name in self.columns)
        )

    def first(self, name: str) -> Any:
        return next(value for value in self.columns[name] if value is not None)

    def row(self, number: int = 0) -> dict[str, Any]:
        """A row of the training data, gaps left out."""
        return {name: values[number] for name, values in self.columns.items() if values[number] is not None}


def cells() -> Made:
    """Numbers only, one column all but decides: malignant cells are large."""
    chance = np.random.default_rng(1)
    is_malignant = np.arange(ROWS) % 3 == 0
    columns = {
        "radius": np.where(is_malignant, 18.0, 12.0) + chance.normal(0, 1.5, ROWS),
        "texture": np.where(is_malignant, 21.0, 18.0) + chance.normal(0, 3, ROWS),
        "smooth ness (mean)": chance.normal(0.1, 0.01, ROWS),
    }
    return Made(
        "cells",
        {name: _floats(values) for name, values in columns.items()},
        ["M" if m else "B" for m in is_malignant],
        ("B", "M"),
        "M",
        0.4,
        minimum=dict.fromkeys(columns, 0.0),
    )


def patients() -> Made:
    """Numbers whole and not, text with a closed domain and without, codes, gaps."""
    chance = np.random.default_rng(2)
    is_ill = np.arange(ROWS) % 2 == 0
    cholesterol: list[float | None] = _floats(chance.normal(200, 30, ROWS))  # type: ignore[assignment]
    cholesterol[::10] = [None] * len(cholesterol[::10])
    columns: dict[str, Sequence[Any]] = {
        "age": [int(value) for value in np.clip(np.where(is_ill, 62, 45) + chance.normal(0, 8, ROWS), 18, 95)],
        "pressure": _floats(np.where(is_ill, 145.0, 120.0) + chance.normal(0, 10, ROWS)),
        "cholesterol": cholesterol,
        "smoker": ["yes" if value else "no" for value in chance.random(ROWS) < np.where(is_ill, 0.6, 0.2)],
        "city": [("Bandung", "Jakarta", "Surabaya")[number % 3] for number in range(ROWS)],
        "ward": [int(value) for value in chance.integers(0, 4, ROWS)],
    }
    return Made(
        "patients",
        columns,
        ["yes" if ill else "no" for ill in is_ill],
        ("no", "yes"),
        "yes",
        0.5,
        categorical=("ward",),
        domains={"smoker": ("no", "yes")},
        minimum={"age": 0, "pressure": 0.0},
    )


def flowers() -> Made:
    """Three classes, told by one length."""
    chance = np.random.default_rng(3)
    kind = np.arange(ROWS) % 3
    columns = {
        "petal length (cm)": _floats(np.array([1.5, 4.2, 5.6])[kind] + chance.normal(0, 0.3, ROWS)),
        "petal width (cm)": _floats(np.array([0.2, 1.3, 2.0])[kind] + chance.normal(0, 0.15, ROWS)),
    }
    names = ("setosa", "versicolor", "virginica")
    return Made("flowers", columns, [names[k] for k in kind], names)


def garden() -> Made:
    """Pictures of one colour; three classes. It is no part of `made`: tests that mean it make it."""
    pictures = [as_golden(picture(COLOURS[number % 3], kind="PNG")) for number in range(ROWS)]
    return Made(
        "garden", {IMAGE_BYTES: pictures}, [COLOURS[number % 3] for number in range(ROWS)], COLOURS, none_of_these=0.05
    )


def homes() -> Made:
    """A number by two others: the price of a home. As `garden`, it is no part of `made`."""
    chance = np.random.default_rng(4)
    area, age = chance.uniform(40, 200, ROWS), chance.uniform(0, 90, ROWS)
    prices = 3 * area - age + chance.normal(0, 10, ROWS)
    columns = {"area": _floats(area), "age": _floats(age)}
    return Made("homes", columns, _floats(prices), ())


def make_version(serving: Path, made: Made, version: int, metrics: Mapping[str, Any] | None = None) -> Path:
    """Write a version folder, whole, with a manifest."""
    folder = serving / made.name / str(version)
    (folder / EXTRA).mkdir(parents=True)
    (folder / "saved_model.pb").write_bytes(b"graph %d" % version)
    (folder / SCHEMA).write_text(text_format.MessageToString(_schema(made)), encoding="utf-8")
    (folder / STATISTICS).write_bytes(_statistics(made).SerializeToString())
    (folder / DRIFT_REFERENCE).write_text(_drift_reference(made).text(), encoding="utf-8")
    (folder / TRAINING).write_text(json.dumps(_training(made)), encoding="utf-8")
    (folder / EVALUATION).write_text(json.dumps({"overall": {"rows": 60, "auc": [0.97, 0.93, 0.99]}}))
    _write_golden(folder, made)
    if IMAGE_BYTES not in made.columns:
        _write_showcase(folder, made)
    manifest = Manifest(
        made.name,
        version,
        f"20261121T08460{version % 10}.000000",
        "2026-11-21T08:46:40+00:00",
        f"digest{version}",
        "data",
        "settings",
        dict(metrics or {"auc": [0.97, 0.93, 0.99]}),
        _operating_point(made),
        BLESSED,
        {},
        drift_reference=DRIFT_REFERENCE,
    )
    (folder / MANIFEST).write_text(replace(manifest, checksums=checksums(folder)).text(), encoding="utf-8")
    return folder


def release(serving: Path, model: str, stable: int, candidate: int | None = None, weight_percent: float = 0.0) -> None:
    """Write the state that a release leaves behind."""
    Store(serving, model).write(Record(State(stable, candidate=candidate, weight_percent=weight_percent)))
    write_config(serving)


def _floats(values: Any) -> list[float]:
    return [float(np.float32(value)) for value in values]


def _operating_point(made: Made) -> dict[str, Any] | None:
    if made.threshold is None:
        return None
    return {"threshold": made.threshold, "recall": 0.95, "precision": 0.9, "target_recall": 0.95, "rows": 60}


def _training(made: Made) -> dict[str, Any]:
    data = {"source": f"{made.name}.csv", "label": "outcome", "classes": list(made.classes), "positive": made.positive}
    settings = {"name": made.name, "data": data, "categorical": list(made.categorical), "schema": "schema.pbtxt"}
    if IMAGE_BYTES in made.columns:
        image = {"none_of_these": made.none_of_these}
        settings = {"name": made.name, "data": data | {"format": "images"}, "model": {"kind": "cnn"}, "image": image}
        settings["class_info"] = {"green": "As grass is."}
    settings["medical"] = made.name in ("cells", "patients")
    if len(made.classes) > 2:
        settings["evaluation"] = {"metrics": ["auc", "accuracy"]}
    facts: dict[str, Any] = {"operating_point": _operating_point(made)}
    if not made.classes:
        settings["data"] = {"source": f"{made.name}.csv", "label": "outcome", "task": "regression"}
        facts = {"intervals": {"coverage": 0.9, "edges": [], "widths": [float(HALF_WIDTH)], "rows": [60]}}
    if made.plain:
        facts["plain_models"] = [{"name": name, "threshold": made.threshold} for name in made.plain]
        facts["inputs"] = [[name, "value"] for name in made.columns]
    return {"settings": settings, **facts, "features": list(made.columns), "rows": {"train": ROWS, "eval": 60}}


def _schema(made: Made) -> schema_pb2.Schema:
    schema = schema_pb2.Schema()
    for name in made.columns:
        value = made.first(name)
        feature = schema.feature.add(name=name)
        feature.type = (
            schema_pb2.INT
            if isinstance(value, int)
            else schema_pb2.FLOAT
            if isinstance(value, float)
            else schema_pb2.BYTES
        )
        feature.presence.min_fraction = 0.0 if None in made.columns[name] else 1.0
        if name in made.minimum:
            domain = feature.int_domain if isinstance(value, int) else feature.float_domain
            domain.min = type(value)(made.minimum[name])
        if name in made.domains:
            feature.string_domain.value.extend(made.domains[name])
    label = schema.feature.add(name="outcome", type=schema_pb2.BYTES if made.classes else schema_pb2.FLOAT)
    label.presence.min_fraction = 1.0
    label.string_domain.value.extend(made.classes)
    return schema


def _statistics(made: Made) -> statistics_pb2.DatasetFeatureStatisticsList:
    found = statistics_pb2.DatasetFeatureStatisticsList()
    dataset = found.datasets.add(num_examples=ROWS)
    columns = {name: values for name, values in made.columns.items() if name != IMAGE_BYTES}
    for name, values in [*columns.items(), ("outcome", made.labels)]:
        there = [value for value in values if value is not None]
        feature = dataset.features.add()
        feature.path.step.append(name)
        if isinstance(there[0], str):
            feature.type = statistics_pb2.FeatureNameStatistics.STRING
            _common(feature.string_stats.common_stats, there)
            counts = {value: there.count(value) for value in sorted(set(there), key=lambda v: -there.count(v))}
            feature.string_stats.unique = len(counts)
            for rank, (value, count) in enumerate(counts.items()):
                feature.string_stats.top_values.add(value=value, frequency=count)
                feature.string_stats.rank_histogram.buckets.add(
                    low_rank=rank, high_rank=rank, label=value, sample_count=count
                )
            continue
        is_int = isinstance(there[0], int)
        feature.type = (
            statistics_pb2.FeatureNameStatistics.INT if is_int else statistics_pb2.FeatureNameStatistics.FLOAT
        )
        _common(feature.num_stats.common_stats, there)
        _numbers(feature.num_stats, np.array(there, float))
    return found


def _drift_reference(made: Made) -> DriftReference:
    texts = {name for name in made.columns if name in made.categorical or isinstance(made.first(name), str)}
    columns = {name: values for name, values in made.columns.items() if name != IMAGE_BYTES}
    numbers = {
        name: Numbers.of(np.array([np.nan if value is None else value for value in values], float))
        for name, values in columns.items()
        if name not in texts
    }
    categories = {
        name: Categories.of(None if value is None else str(value) for value in made.columns[name])
        for name in sorted(texts)
    }
    return DriftReference(ROWS, numbers, categories)


def _common(stats: Any, there: Sequence[Any]) -> None:
    stats.num_non_missing, stats.num_missing = len(there), ROWS - len(there)
    stats.min_num_values = stats.max_num_values = 1
    stats.tot_num_values = len(there)


def _numbers(stats: Any, values: np.ndarray[Any, Any]) -> None:
    stats.mean, stats.std_dev, stats.median = values.mean(), values.std(), float(np.median(values))
    stats.min, stats.max, stats.num_zeros = values.min(), values.max(), int((values == 0).sum())
    counts, edges = np.histogram(values, 10)
    histogram = stats.histograms.add(type=statistics_pb2.Histogram.STANDARD)
    for count, low, high in zip(counts, edges, edges[1:], strict=False):
        histogram.buckets.add(low_value=low, high_value=high, sample_count=float(count))
    quantiles = stats.histograms.add(type=statistics_pb2.Histogram.QUANTILES)
    edges = np.quantile(values, np.linspace(0, 1, 11))
    for low, high in pairwise(edges):
        quantiles.buckets.add(low_value=low, high_value=high, sample_count=len(values) / 10)


def _write_golden(folder: Path, made: Made) -> None:
    rows = [row for row in map(made.row, range(40)) if set(row) == set(made.columns)][:4]
    columns = {name: [row[name] for row in rows] for name in made.columns}
    inputs: dict[str, Any] = {"serving_default": columns}
    if made.is_packed:
        inputs["serving_packed"] = {"features": [list(row.values()) for row in rows]}
    outputs = answers_of(made, columns)
    golden = {"inputs": inputs, "outputs": {name: values for name, values in outputs.items() if name != "probability"}}
    (folder / EXTRA / "golden.json").write_text(json.dumps(golden), encoding="utf-8")


def answers_of(made: Made, columns: Mapping[str, Sequence[Any]]) -> dict[str, Any]:
    """Return the outputs of a signature for columns."""
    from tests.support.web.fake_model_server import probabilities_of

    if not made.classes:
        values = np.float32(3.0) * np.array(columns["area"], np.float32) - np.array(columns["age"], np.float32)
        bounds = {"lower": (values - HALF_WIDTH).tolist(), "upper": (values + HALF_WIDTH).tolist()}
        return {"value": values.tolist(), **bounds}
    probabilities = probabilities_of(made, columns)
    outputs: dict[str, Any] = {"probabilities": probabilities.tolist(), "label": labels_of(made, probabilities)}
    if made.positive:
        outputs["probability"] = probabilities[:, made.classes.index(made.positive)].tolist()
    if made.none_of_these:
        outputs[STRANGENESS] = (LEAST / probabilities.max(axis=1)).tolist()
    return outputs


def labels_of(made: Made, probabilities: np.ndarray[Any, Any]) -> list[str]:
    """What the model says: the positive class from the threshold on, else the likeliest."""
    if made.threshold is None:
        return [made.classes[i] for i in probabilities.argmax(axis=1)]
    positive = made.classes.index(str(made.positive))
    return [
        made.classes[positive if row[positive] >= np.float32(made.threshold) else 1 - positive] for row in probabilities
    ]


def _write_showcase(folder: Path, made: Made) -> None:
    def part(rows: slice) -> dict[str, Any]:
        return {
            "columns": {name: list(values)[rows] for name, values in made.columns.items()},
            "labels": [str(label) for label in made.labels][rows],
        }

    showcase = {"train": part(slice(0, 200)), "test": part(slice(200, 260))}
    (folder / EXTRA / "showcase.json").write_text(json.dumps(showcase), encoding="utf-8")

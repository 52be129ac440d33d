"""Gather a run's facts from its artifacts."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timezone
from importlib import metadata as packages
from pathlib import Path
from typing import Any

from tensorflow_metadata.proto.v0 import anomalies_pb2, statistics_pb2
from tfx.utils import path_utils

from components.evaluation.baselines import MAX_FIT_ROWS, compare
from components.evaluation.gate import OVERALL, SliceMetrics, read_metrics, read_verdict
from components.report import facts as f
from components.report.curves import Scored, class_curves, confusion_matrix, point_on_test
from components.report.splits import SplitTables, saved_widths
from components.verdict import Verdict
from config.schema import Feature, model_features, read_schema
from config.settings import EvaluationSettings, Settings
from serving.repository.layout import TRAINING

SPLITS = ("train", "eval", "test")
PACKAGES = {
    "TFX": "tfx",
    "TensorFlow": "tensorflow",
    "Keras": "keras",
    "Transform": "tensorflow-transform",
    "Model Analysis": "tensorflow-model-analysis",
    "Beam": "apache-beam",
    "scikit-learn": "scikit-learn",
    "NumPy": "numpy",
}


def gather(
    artifacts: Mapping[str, Any],
    settings: Settings,
    settings_hash: str,
    run_id: str,
    root: Path,
    stages: Sequence[f.Stage],
) -> f.Facts:
    """Return all facts of a run.

    `artifacts`: the component's inputs by key; `root`: the pipeline's root, which places are told relative to.
    """
    uris = {key: Path(artifact.uri) for key, artifact in artifacts.items()}
    model = Path(path_utils.serving_model_path(str(uris["model"])))
    training = json.loads((model / TRAINING).read_text(encoding="utf-8"))
    examples, data = artifacts["examples"], settings.data
    rows = {split: examples.get_int_custom_property(f"rows_{split}") for split in SPLITS}
    features = model_features(read_schema(uris["schema"] / "schema.pbtxt"), settings)
    tables = SplitTables(uris["examples"], features, data.label, data.classes)
    scored = tables.score("test", model)
    metrics = read_metrics(str(uris["evaluation"]))
    overall = [_slice(s, settings.evaluation) for s in metrics if s.name == OVERALL]
    train, evaluation, test = (tables.read(split, rows[split], MAX_FIT_ROWS) for split in SPLITS)
    statistics = {split: _statistics(uris["statistics"], split) for split in SPLITS}
    return f.Facts(
        model=settings.name,
        title=settings.title,
        description=settings.description,
        run_id=run_id,
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        pushed_version=_pushed_version(artifacts["pushed_model"]),
        label=data.label,
        classes=data.classes,
        positive=data.positive_class if data.is_binary else None,
        source=data.source.name,
        source_digest=examples.get_string_custom_property("source_digest"),
        settings_hash=settings_hash,
        seed=settings.seed,
        confidence=settings.evaluation.confidence,
        group_by=settings.split.group_by,
        rows_in=examples.get_int_custom_property("rows_in"),
        splits=tuple(_split(name, rows[name], statistics[name], settings) for name in SPLITS),
        features=_features(features, statistics["train"], settings),
        anomalies=tuple(found for split in SPLITS for found in _anomalies(uris["anomalies"], split)),
        verdicts=(
            Verdict.read(uris["data_verdict"]),
            read_verdict(str(uris["evaluation"]), settings),
            Verdict.read(uris["serving_verdict"]),
        ),
        metrics=overall[0].metrics if overall else (),
        slices=tuple(_slice(s, None) for s in metrics if s.name != OVERALL),
        operating_point=_operating_point(training["operating_point"], scored, settings),
        confusion=confusion_matrix(scored, len(data.classes)),
        curves=_curves(scored, settings),
        history=_history(training["history"]),
        network=_network(training, model, settings),
        baselines=compare(train, evaluation, test, settings),
        stages=tuple(stages),
        lineage=tuple(_artifact(key, artifact, root) for key, artifact in artifacts.items()),
        environment=environment(),
        training=training["settings"]["model"],
    )


def environment() -> dict[str, str]:
    """Return the versions that a run depends on."""
    found = {"Python": platform.python_version()}
    found |= {title: packages.version(name) for title, name in PACKAGES.items()}
    return {**found, "Platform": platform.platform()}


def _slice(found: SliceMetrics, asked: EvaluationSettings | None) -> f.SliceFacts:
    thresholds = asked.thresholds if asked else {}
    metrics = tuple(f.Metric(name, *values, asked=thresholds.get(name)) for name, values in found.values.items())
    return f.SliceFacts(found.name, found.rows, metrics)


def _curves(scored: Scored, settings: Settings) -> tuple[Any, ...]:
    data = settings.data
    ranked = [data.positive_index] if data.is_binary else range(len(data.classes))
    return tuple(class_curves(data.classes[i], scored.true == i, scored.probabilities[:, i]) for i in ranked)


def _operating_point(point: Any, scored: Scored, settings: Settings) -> f.OperatingPointFacts | None:
    if point is None:
        return None
    rate, recall, precision = point_on_test(scored, settings.data.positive_index)
    return f.OperatingPointFacts(
        point["threshold"],
        point["target_recall"],
        point["rows"],
        point["recall"],
        point["precision"],
        rate,
        recall,
        precision,
    )


def _history(values: Mapping[str, Sequence[float]]) -> f.History:
    """Return the history with the epoch kept: that of the least eval loss, as model.fit restores it."""
    on_eval = [float(v) for v in values.get("val_loss", ())]
    known = [v for v in on_eval if v == v]
    return f.History(values, on_eval.index(min(known)) + 1 if known else 0)


def _network(training: Mapping[str, Any], model: Path, settings: Settings) -> f.Network:
    trained, told = training["settings"]["model"], settings.model.model_dump(mode="json")
    outputs = 1 if settings.data.is_binary else len(settings.data.classes)
    tuned = {key: value for key, value in trained.items() if value != told[key]} if settings.tuner.enabled else {}
    return f.Network((*trained["hidden_units"], outputs), saved_widths(model), training["parameters"], tuned)


def _pushed_version(artifact: Any) -> int | None:
    return artifact.get_int_custom_property("version") if artifact.get_int_custom_property("pushed") else None


def _statistics(folder: Path, split: str) -> dict[str, Any]:
    """Return a split's FeatureNameStatistics by feature; nothing if there are none."""
    path = folder / f"Split-{split}" / "FeatureStats.pb"
    if not path.is_file():
        return {}
    parsed = statistics_pb2.DatasetFeatureStatisticsList.FromString(path.read_bytes())
    return {"/".join(s.path.step) or s.name: s for dataset in parsed.datasets for s in dataset.features}


def _split(name: str, rows: int, statistics: Mapping[str, Any], settings: Settings) -> f.SplitFacts:
    label = statistics.get(settings.data.label)
    buckets = label.string_stats.rank_histogram.buckets if label else ()
    return f.SplitFacts(name, rows, {bucket.label: int(bucket.sample_count) for bucket in buckets})


def _features(
    features: Sequence[Feature], statistics: Mapping[str, Any], settings: Settings
) -> tuple[f.FeatureFacts, ...]:
    found = []
    for feature in features:
        display, seen = settings.features.get(feature.name), statistics.get(feature.name)
        described = f.FeatureFacts(
            name=feature.name,
            title=(display and display.name) or feature.name,
            unit=(display and display.unit) or "",
            kind=feature.kind,
            missing=0,
        )
        if seen is not None and seen.HasField("num_stats"):
            numbers = seen.num_stats
            described = replace(
                described,
                missing=int(numbers.common_stats.num_missing),
                minimum=numbers.min,
                mean=numbers.mean,
                maximum=numbers.max,
                deviation=numbers.std_dev,
            )
        elif seen is not None:
            texts = seen.string_stats
            described = replace(described, missing=int(texts.common_stats.num_missing), distinct=int(texts.unique))
        found.append(described)
    return tuple(found)


def _anomalies(folder: Path, split: str) -> list[f.AnomalyFacts]:
    path = folder / f"Split-{split}" / "SchemaDiff.pb"
    if not path.is_file():
        return []
    parsed = anomalies_pb2.Anomalies.FromString(path.read_bytes())
    return [
        f.AnomalyFacts(split, feature, anomalies_pb2.AnomalyInfo.Type.Name(reason.type), reason.description)
        for feature, info in sorted(parsed.anomaly_info.items())
        for reason in info.reason
    ]


def _artifact(key: str, artifact: Any, root: Path) -> f.ArtifactFacts:
    place = Path(artifact.uri)
    relative = place.relative_to(root) if place.is_relative_to(root) else Path(*place.parts[-3:])
    return f.ArtifactFacts(key, artifact.type_name, artifact.id, relative.as_posix())

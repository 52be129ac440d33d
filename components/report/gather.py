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

import numpy as np
import tensorflow as tf
from ml_metadata.metadata_store import metadata_store
from ml_metadata.proto import metadata_store_pb2
from tensorflow_metadata.proto.v0 import anomalies_pb2
from tfx.utils import path_utils

from components.evaluation.baselines import MAX_FIT_ROWS, compare
from components.evaluation.bounds import Metric
from components.evaluation.verdict import OVERALL, SliceMetrics, read_metrics, read_verdict
from components.report import facts as f
from components.report.curves import Scored, class_curves, confusion_matrix, point_on_test
from components.splits import SplitTables
from components.verdict import Verdict
from config.schema import Feature, model_features, read_schema
from config.settings import EvaluationSettings, Settings
from serving.repository.contents import FILE_NAME as STATISTICS_FILE
from serving.repository.contents import Statistics, parse_statistics
from serving.repository.layout import EXAMPLES_SIGNATURE, TRAINING
from serving.server.core.servable import Servable

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

    `artifacts`: the component's inputs by key; `root`: the pipeline's root, which places are relative to.
    """
    uris = {key: Path(artifact.uri) for key, artifact in artifacts.items()}
    model = Path(path_utils.serving_model_path(str(uris["model"])))
    training = json.loads((model / TRAINING).read_text(encoding="utf-8"))
    examples, data = artifacts["examples"], settings.data
    rows = {split: examples.get_int_custom_property(f"rows_{split}") for split in SPLITS}
    features = model_features(read_schema(uris["schema"] / "schema.pbtxt"), settings)
    tables = SplitTables(uris["examples"], features, data.label, data.classes)
    scored = _score(tables, model, len(data.classes))
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
        anomalies=tuple(anomaly for split in SPLITS for anomaly in _anomalies(uris["anomalies"], split)),
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


def _score(tables: SplitTables, model: Path, classes: int) -> Scored:
    """Return what the exported model, loaded as the model server loads it, says of the test rows."""
    servable = Servable.load(model)
    true, decided, probabilities = [], [], []
    for batch, indices in tables.batches("test"):
        outputs = servable.run(EXAMPLES_SIGNATURE, {"examples": batch})
        true.append(indices)
        decided.append(tables.classes(outputs["label"]))
        probabilities.append(outputs["probabilities"])
    servable.close()
    if not true:
        return Scored(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros((0, classes), np.float32))
    return Scored(np.concatenate(true), np.concatenate(decided), np.concatenate(probabilities))


def saved_widths(model: Path) -> tuple[int, ...]:
    """Return the width of each dense layer as the saved kernels have it."""
    kernels = {}
    for name, shape in tf.train.list_variables(str(model / "variables" / "variables")):
        parts = name.split("/")
        if parts[0] == "network_variables" and len(shape) == 2:
            kernels[int(parts[1])] = int(shape[1])
    return tuple(kernels[i] for i in sorted(kernels))


def environment() -> dict[str, str]:
    versions = {title: packages.version(name) for title, name in PACKAGES.items()}
    return {"Python": platform.python_version(), **versions, "Platform": platform.platform()}


def _slice(metrics: SliceMetrics, evaluation: EvaluationSettings | None) -> f.SliceFacts:
    thresholds = evaluation.thresholds if evaluation else {}
    bounded = tuple(Metric(name, *values, asked=thresholds.get(name)) for name, values in metrics.values.items())
    return f.SliceFacts(metrics.name, metrics.rows, bounded)


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
    trained, configured = training["settings"]["model"], settings.model.model_dump(mode="json")
    outputs = 1 if settings.data.is_binary else len(settings.data.classes)
    tuned = {key: value for key, value in trained.items() if value != configured[key]} if settings.tuner.enabled else {}
    return f.Network((*trained["hidden_units"], outputs), saved_widths(model), training["parameters"], tuned)


def _pushed_version(artifact: Any) -> int | None:
    return artifact.get_int_custom_property("version") if artifact.get_int_custom_property("pushed") else None


def _statistics(folder: Path, split: str) -> Statistics:
    """Return a split's statistics, empty ones if there are none."""
    path = folder / f"Split-{split}" / STATISTICS_FILE
    return parse_statistics(path.read_bytes()) if path.is_file() else Statistics()


def _split(name: str, rows: int, statistics: Statistics, settings: Settings) -> f.SplitFacts:
    label = statistics.columns.get(settings.data.label)
    buckets = label.string_stats.rank_histogram.buckets if label else ()
    return f.SplitFacts(name, rows, {bucket.label: int(bucket.sample_count) for bucket in buckets})


def _features(features: Sequence[Feature], statistics: Statistics, settings: Settings) -> tuple[f.FeatureFacts, ...]:
    described_features = []
    for feature in features:
        display, seen = settings.features.get(feature.name), statistics.columns.get(feature.name)
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
        described_features.append(described)
    return tuple(described_features)


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


def read_stages(metadata: Path, pipeline_name: str, run_id: str) -> tuple[f.Stage, ...]:
    """Return the stages of a run that are over, in order; nothing if there is no such store or run."""
    if not metadata.is_file():
        return ()
    config = metadata_store_pb2.ConnectionConfig()
    config.sqlite.filename_uri = str(metadata)
    config.sqlite.connection_mode = metadata_store_pb2.SqliteMetadataSourceConfig.READONLY
    store = metadata_store.MetadataStore(config)
    names = f"{pipeline_name}.{run_id}", run_id  # TFX has used both
    contexts = (store.get_context_by_type_and_name("pipeline_run", name) for name in names)
    context = next((c for c in contexts if c is not None), None)
    if context is None:
        return ()
    types = {t.id: t.name for t in store.get_execution_types()}
    states = metadata_store_pb2.Execution.State
    unfinished = (metadata_store_pb2.Execution.RUNNING, metadata_store_pb2.Execution.NEW)
    return tuple(
        _stage(e, states.Name(e.last_known_state), _node(store, e, pipeline_name) or types[e.type_id])
        for e in sorted(store.get_executions_by_context(context.id), key=lambda e: e.id)
        if e.last_known_state not in unfinished
    )


def _stage(execution: Any, state: str, component: str) -> f.Stage:
    lasted_ms = execution.last_update_time_since_epoch - execution.create_time_since_epoch
    return f.Stage(component, state, 0.0 if state == "CACHED" else lasted_ms / 1000, execution.id)


def _node(store: Any, execution: Any, pipeline_name: str) -> str | None:
    contexts = store.get_contexts_by_execution(execution.id)
    return next((c.name.removeprefix(f"{pipeline_name}.") for c in contexts if c.type == "node"), None)

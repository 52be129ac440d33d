"""The run report as a TFX component: a run's facts, gathered from its artifacts, and every view of them."""

from __future__ import annotations

import base64
import json
import platform
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timezone
from importlib import metadata as packages
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from ml_metadata.proto import metadata_store_pb2
from tensorflow_metadata.proto.v0 import anomalies_pb2
from tfx.dsl.components.base.base_executor import BaseExecutor
from tfx.dsl.components.base.executor_spec import ExecutorClassSpec
from tfx.types import artifact_utils, standard_artifacts
from tfx.types.component_spec import ChannelParameter, ComponentSpec
from tfx.utils import path_utils

from common.errors import DataError
from common.files import write_text
from common.images import thumbnail
from components.artifacts import OwnComponent, ReportArtifact, VerdictArtifact, channels, parameters, read_only_store
from components.evaluation.baselines import read_baselines
from components.evaluation.bounds import Metric
from components.evaluation.comparison import score
from components.evaluation.verdict import OVERALL, SliceMetrics, read_metrics
from components.examples.seen import read_seen
from components.names import CARD, EVALUATION_VERDICT, HTML, JSON, PNG, SETTINGS, XLSX
from components.report import facts as f
from components.report.curves import class_curves, point_on_test
from components.report.figures import write_png
from components.report.views import render_card, render_html, write_xlsx
from components.splits import SPLITS, SplitTables, read_anomalies, read_statistics, written_rows
from components.tasks import task_of
from components.tasks.operating_point import OperatingPoint
from components.tasks.rows import Answered, NumberRows, Rows
from components.verdict import Verdict
from config.data_settings import IMAGE_BYTES
from config.gate_settings import EvaluationSettings
from config.load import settings_values, settings_yaml
from config.schema import Feature
from config.settings import Settings
from serving.repository.contents import Statistics
from serving.repository.layout import TRAINING, versions
from serving.repository.manifest import Manifest

MISTAKES = 12  # pictures
TUNER_RESULTS = "tuner_results.json"  # TFX's
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
    command: str,
    serving: Path,
) -> f.Facts:
    """Return all facts of a run.

    `artifacts`: the component's inputs by key; `root`: the pipeline's root, which places are relative to; `command`:
    what started the run; `serving`: where the model's versions lie.
    """
    uris = {key: Path(artifact.uri) for key, artifact in artifacts.items()}
    model = Path(path_utils.serving_model_path(str(uris["model"])))
    training = json.loads((model / TRAINING).read_text(encoding="utf-8"))
    examples, pushed, data = artifacts["examples"], artifacts["pushed_model"], settings.data
    rows = written_rows(examples)
    tables = SplitTables.of(uris["examples"], uris["schema"], settings)
    scored = score(model, tables, settings)
    metrics = read_metrics(str(uris["evaluation"]))
    overall = [_slice(s, settings.evaluation) for s in metrics if s.name == OVERALL]
    evaluation = Verdict.read(uris["evaluation"])
    known = [finding.details for finding in evaluation.findings]
    statistics = {split: read_statistics(uris["statistics"], split) for split in SPLITS}
    return f.Facts(
        model=settings.name,
        title=settings.title,
        description=settings.description,
        card=settings.card.model_dump(),
        run_id=run_id,
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        pushed_version=pushed.get_int_custom_property("version") if pushed.get_int_custom_property("pushed") else None,
        label=data.label,
        classes=data.classes,
        positive=data.positive_class if data.is_binary else None,
        source=data.source_name,
        source_digest=examples.get_string_custom_property("source_digest"),
        settings_hash=settings_hash,
        seed=settings.seed,
        confidence=next((k["confidence"] for k in known if "confidence" in k), settings.evaluation.confidence),
        group_by=settings.split.group_by,
        test_groups=next((s.groups for s in metrics if s.name == OVERALL), None),
        rows_in=examples.get_int_custom_property("rows_in"),
        splits=tuple(f.SplitFacts(name, rows[name], _class_counts(statistics[name], data.label)) for name in SPLITS),
        features=tuple(_feature(feature, statistics["train"], settings) for feature in tables.features),
        anomalies=tuple(
            f.AnomalyFacts(split, feature, anomalies_pb2.AnomalyInfo.Type.Name(reason.type), reason.description)
            for split in SPLITS
            for feature, info in sorted(read_anomalies(uris["anomalies"], split).anomaly_info.items())
            for reason in info.reason
        ),
        verdicts=(Verdict.read(uris["data_verdict"]), evaluation, Verdict.read(uris["serving_verdict"])),
        metrics=overall[0].metrics if overall else (),
        slices=tuple(_slice(s, None) for s in metrics if s.name != OVERALL),
        test_rows=len(scored),
        **_of_classes(training, scored, settings),
        numbers=f.number_facts(scored) if isinstance(scored, NumberRows) else None,
        history=_history(training["history"]),
        network=_network(training, model, settings, uris.get("tuner_results")),
        baselines=read_baselines(uris["evaluation"]),
        blessed=next((_blessed(k, serving) for k in known if "baseline" in k), None),
        stages=tuple(stages),
        lineage=tuple(_artifact(key, artifact, root) for key, artifact in artifacts.items()),
        environment=environment(),
        settings=settings_values(settings) | {"model": training["settings"]["model"]},
        command=command,
        mistakes=_worst_mistakes(tables, scored, data.classes) if data.is_images and isinstance(scored, Rows) else (),
        pictures=read_seen(uris["examples"]) if data.is_images else None,
    )


def _worst_mistakes(tables: SplitTables, scored: Rows, classes: Sequence[str]) -> tuple[f.Mistake, ...]:
    """Return the test pictures that were most surely called what they are not."""
    sure = scored.probabilities[np.arange(len(scored)), scored.decided]
    wrong = np.flatnonzero(scored.true != scored.decided)
    worst = wrong[np.argsort(-sure[wrong], kind="stable")][:MISTAKES].tolist()
    pictures: dict[int, str] = {}
    first = 0
    for batch, _ in tables.batches("test") if worst else ():
        for row in set(worst) & set(range(first, first + len(batch))):
            example = tf.train.Example.FromString(batch[row - first])
            [content] = example.features.feature[IMAGE_BYTES].bytes_list.value
            pictures[row] = base64.b64encode(thumbnail(content)).decode()
        first += len(batch)
    return tuple(
        f.Mistake(pictures[i], classes[scored.true[i]], classes[scored.decided[i]], float(sure[i])) for i in worst
    )


def _blessed(known: Mapping[str, Any], serving: Path) -> f.BlessedFacts:
    """Return what the gate's finding says of the blessed model, and which of the pushed versions it is."""
    metrics = tuple(Metric(**metric) for metric in known["baseline_metrics"])
    for version in versions(serving):
        with suppress(DataError):
            manifest = Manifest.read(serving / str(version))
            if manifest.digest == known["baseline"]:
                return f.BlessedFacts(version, manifest.run_id, metrics)
    return f.BlessedFacts(None, "", metrics)


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


def _of_classes(training: Mapping[str, Any], scored: Answered, settings: Settings) -> dict[str, Any]:
    """Return what there is to say of a classifier's answers, nothing of numbers."""
    if not isinstance(scored, Rows):
        return {"operating_point": None, "confusion": (), "curves": ()}
    return {
        "operating_point": _operating_point(training["operating_point"], scored, settings),
        "confusion": scored.confusion,
        "curves": _curves(scored, settings),
    }


def _curves(scored: Rows, settings: Settings) -> tuple[Any, ...]:
    data = settings.data
    ranked = [data.positive_index] if data.is_binary else range(len(data.classes))
    return tuple(class_curves(data.classes[i], scored.true == i, scored.probabilities[:, i]) for i in ranked)


def _operating_point(point: Any, scored: Rows, settings: Settings) -> f.OperatingPointFacts | None:
    if point is None:
        return None
    on_test = point_on_test(scored, settings.data.positive_index)
    chosen = OperatingPoint(**point)
    return f.OperatingPointFacts(
        chosen.threshold, chosen.words, chosen.vouched, chosen.rows, chosen.recall, chosen.precision, *on_test
    )


def _history(values: Mapping[str, Sequence[float]]) -> f.History:
    """Return the history with the epoch kept: that of the least eval loss, as model.fit restores it."""
    on_eval = [float(v) for v in values.get("val_loss", ())]
    known = [v for v in on_eval if v == v]
    return f.History(values, on_eval.index(min(known)) + 1 if known else 0)


def _network(training: Mapping[str, Any], model: Path, settings: Settings, tuner_results: Path | None) -> f.Network:
    trained, configured = training["settings"]["model"], settings.model.model_dump(mode="json")
    tuned = {key: value for key, value in trained.items() if value != configured[key]} if settings.tuner.enabled else {}
    trials = json.loads((tuner_results / TUNER_RESULTS).read_text(encoding="utf-8")) if tuner_results else []
    trials = [{key: value for key, value in trial.items() if key != "trial_id"} for trial in trials]
    hidden = () if settings.data.is_images else configured["hidden_units"]
    widths = (*hidden, task_of(settings.data).width)
    return f.Network(widths, saved_widths(model), training["parameters"], tuned, tuple(trials))


def _class_counts(statistics: Statistics, label: str) -> dict[str, int]:
    buckets = statistics.columns[label].string_stats.rank_histogram.buckets if label in statistics.columns else ()
    return {bucket.label: int(bucket.sample_count) for bucket in buckets}


def _feature(feature: Feature, statistics: Statistics, settings: Settings) -> f.FeatureFacts:
    display, seen = settings.features.get(feature.name), statistics.columns.get(feature.name)
    title, unit = (display.name or feature.name, display.unit or "") if display else (feature.name, "")
    if seen is None:
        return f.FeatureFacts(feature.name, title, unit, feature.kind, missing=0)
    if not seen.HasField("num_stats"):
        texts = seen.string_stats
        missing, distinct = int(texts.common_stats.num_missing), int(texts.unique)
        return f.FeatureFacts(feature.name, title, unit, feature.kind, missing, distinct=distinct)
    seen = seen.num_stats
    missing = int(seen.common_stats.num_missing)
    return f.FeatureFacts(feature.name, title, unit, feature.kind, missing, seen.min, seen.mean, seen.max, seen.std_dev)


def _artifact(key: str, artifact: Any, root: Path) -> f.ArtifactFacts:
    place = Path(artifact.uri)
    relative = place.relative_to(root) if place.is_relative_to(root) else Path(*place.parts[-3:])
    return f.ArtifactFacts(key, artifact.type_name, artifact.id, relative.as_posix())


def read_stages(metadata: Path, pipeline_name: str, run_id: str) -> tuple[f.Stage, ...]:
    """Return the stages of a run that are over, in order; nothing if there is no such store or run."""
    store = read_only_store(metadata)
    if store is None:
        return ()
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


class RunReportSpec(ComponentSpec):
    """All that a run made.

    `settings`: JSON; `settings_hash`: as in the manifest; `metadata`: ML Metadata's file; `command`: what started it;
    `serving`: where the model's versions lie.
    """

    PARAMETERS = parameters(settings=str, settings_hash=str, metadata=str, command=str, serving=str)
    INPUTS = channels(
        examples=standard_artifacts.Examples,
        statistics=standard_artifacts.ExampleStatistics,
        schema=standard_artifacts.Schema,
        anomalies=standard_artifacts.ExampleAnomalies,
        data_verdict=VerdictArtifact,
        transform_graph=standard_artifacts.TransformGraph,
        model=standard_artifacts.Model,
        evaluation=standard_artifacts.ModelEvaluation,
        serving_verdict=VerdictArtifact,
        pushed_model=standard_artifacts.PushedModel,
    ) | {"tuner_results": ChannelParameter(type=standard_artifacts.TunerResults, optional=True)}
    OUTPUTS = channels(report=ReportArtifact)


class Executor(BaseExecutor):
    """Gather the facts once and write every view of them."""

    def Do(self, input_dict: Any, output_dict: Any, exec_properties: Any) -> None:
        settings = Settings.model_validate_json(exec_properties["settings"])
        folder = Path(artifact_utils.get_single_uri(output_dict["report"]))
        root = folder.parents[2]  # <root>/<component>/<output>/<execution id>
        run_id = self._context.pipeline_run_id
        facts = gather(
            {
                key: artifact_utils.get_single_instance(artifacts)
                for key, artifacts in sorted(input_dict.items())
                if artifacts
            },
            settings,
            exec_properties["settings_hash"],
            run_id,
            root,
            read_stages(Path(exec_properties["metadata"]), settings.name, run_id),
            exec_properties["command"],
            Path(exec_properties["serving"]),
        )
        write_report(facts, folder)


def write_report(facts: f.Facts, folder: Path) -> None:
    """Write all files of a report, and the evaluation gate's verdict, which `explain` reads without TensorFlow."""
    folder.mkdir(parents=True, exist_ok=True)
    for verdict in facts.verdicts:
        if verdict.gate == "evaluation":
            verdict.write(folder / EVALUATION_VERDICT)
    write_text(folder / CARD, render_card(facts))
    write_text(folder / JSON, facts.as_json())
    write_text(folder / SETTINGS, settings_yaml(facts.settings))
    write_text(folder / HTML, render_html(facts))
    write_xlsx(facts, folder / XLSX)
    write_png(facts, folder / PNG)


class RunReport(OwnComponent):
    SPEC_CLASS = RunReportSpec
    EXECUTOR_SPEC = ExecutorClassSpec(Executor)

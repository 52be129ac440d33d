"""The atomic pusher as a TFX component."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from google.protobuf import text_format
from tfx.components.util import model_utils
from tfx.dsl.components.base.base_executor import BaseExecutor
from tfx.dsl.components.base.executor_spec import ExecutorClassSpec
from tfx.types import artifact_utils, standard_artifacts
from tfx.types.component_spec import ComponentSpec
from tfx.utils import path_utils

from components.artifacts import OwnComponent, VerdictArtifact, channels, parameters
from components.evaluation.verdict import OVERALL, SliceMetrics, read_metrics
from components.export.drift_reference import drift_reference
from components.export.real_rows import picture_showcase, showcase
from components.names import IS_NEW, PUSHED, VERSION
from components.pusher.push import push
from components.splits import SplitTables, written_rows
from components.verdict import Verdict
from config.load import settings_hash, settings_values, settings_yaml
from config.schema import read_schema, served_schema
from config.settings import Settings, ShowcaseSettings
from serving.repository.layout import DRIFT_REFERENCE, EVALUATION, SCHEMA, SETTINGS, SHOWCASE, STATISTICS, TRAINING
from serving.repository.manifest import Manifest


class AtomicPusherSpec(ComponentSpec):
    """The model, both blessings and all the manifest is made of. `settings`, `showcase`: JSON; `base`: where to."""

    PARAMETERS = parameters(settings=str, showcase=str, base=str)
    INPUTS = channels(
        model=standard_artifacts.Model,
        model_blessing=standard_artifacts.ModelBlessing,
        infra_blessing=standard_artifacts.InfraBlessing,
        verdict=VerdictArtifact,
        evaluation=standard_artifacts.ModelEvaluation,
        examples=standard_artifacts.Examples,
        statistics=standard_artifacts.ExampleStatistics,
        schema=standard_artifacts.Schema,
    )
    OUTPUTS = channels(pushed_model=standard_artifacts.PushedModel)


class Executor(BaseExecutor):
    """Push if both gates blessed; else say so in the output artifact and leave the served versions alone."""

    def Do(self, input_dict: Any, output_dict: Any, exec_properties: Any) -> None:
        settings = Settings.model_validate_json(exec_properties["settings"])
        output = artifact_utils.get_single_instance(output_dict["pushed_model"])
        blessed = model_utils.is_model_blessed(artifact_utils.get_single_instance(input_dict["model_blessing"]))
        fit = model_utils.is_infra_validated(artifact_utils.get_single_instance(input_dict["infra_blessing"]))
        if not (blessed and fit):
            output.set_int_custom_property(PUSHED, 0)
            return
        uris = {key: artifact_utils.get_single_uri(artifacts) for key, artifacts in input_dict.items() if artifacts}
        model = Path(path_utils.serving_model_path(uris["model"]))
        training = json.loads((model / TRAINING).read_text(encoding="utf-8"))
        metrics = read_metrics(uris["evaluation"])
        evaluation = Verdict.read(Path(uris["evaluation"]))
        data_digest = input_dict["examples"][0].get_string_custom_property("source_digest")
        manifest = Manifest(
            model=settings.name,
            version=0,
            run_id=self._context.pipeline_run_id,
            created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
            digest="",
            data_digest=data_digest,
            settings_hash=settings_hash(settings),
            metrics=next(s.values for s in metrics if s.name == OVERALL),
            operating_point=training.get("operating_point"),
            verdicts={
                "evaluation": evaluation.for_manifest(),
                "serving": Verdict.read(Path(uris["verdict"])).for_manifest(),
            },
            checksums={},
            baseline=next((f.details["baseline"] for f in evaluation.findings if "baseline" in f.details), ""),
            identity=_identity(training, data_digest),
            drift_reference=DRIFT_REFERENCE,
        )
        extra = _extra(uris, settings, metrics)
        tables = SplitTables.of(uris["examples"], uris["schema"], settings)
        rows = written_rows(input_dict["examples"][0])
        extra[DRIFT_REFERENCE] = drift_reference(
            tables, rows["train"], Path(uris["evaluation"]), settings.evaluation.slices
        ).text()
        is_images = settings.data.is_images
        limits = ShowcaseSettings.model_validate_json(exec_properties["showcase"])
        if limits.train_rows or limits.test_rows:
            most = {"train": limits.train_rows, "test": limits.test_rows}
            extra[SHOWCASE] = picture_showcase(tables, rows, most) if is_images else showcase(tables, rows, most)
        pushed = push(model, Path(exec_properties["base"]), manifest, extra)
        output.set_int_custom_property(PUSHED, 1)
        output.set_int_custom_property(VERSION, pushed.version)
        output.set_int_custom_property(IS_NEW, int(pushed.is_new))
        output.set_string_custom_property("pushed_destination", str(pushed.folder))


def _identity(training: Mapping[str, Any], data_digest: str) -> str:
    """Return a digest of what a model is. Its files will not do: they hold the time it took, and numbers of nodes."""
    parts = [data_digest, *(training.get(key) for key in ("weights_digest", "settings", "operating_point"))]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _extra(uris: Mapping[str, str], settings: Settings, metrics: Sequence[SliceMetrics]) -> dict[str, str | bytes]:
    """Return the files that travel with the model beside those Trainer wrote."""
    trained = json.loads((Path(path_utils.serving_model_path(uris["model"])) / TRAINING).read_text(encoding="utf-8"))
    return {
        SETTINGS: settings_yaml(settings_values(settings) | {"model": trained["settings"]["model"]}),
        SCHEMA: text_format.MessageToString(
            served_schema(read_schema(Path(uris["schema"]) / "schema.pbtxt"), settings)
        ),
        STATISTICS: (Path(uris["statistics"]) / "Split-train" / "FeatureStats.pb").read_bytes(),
        EVALUATION: json.dumps({s.name: {"rows": s.rows, **s.values} for s in metrics}, indent=2) + "\n",
    }


class AtomicPusher(OwnComponent):
    SPEC_CLASS = AtomicPusherSpec
    EXECUTOR_SPEC = ExecutorClassSpec(Executor)

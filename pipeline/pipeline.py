"""The pipeline on one page: from examples to a pushed model that three gates vouch for."""

from __future__ import annotations

import hashlib
from dataclasses import asdict
from importlib import metadata as packages
from pathlib import Path
from typing import Any

from google.protobuf import text_format
from tensorflow_data_validation import StatsOptions
from tensorflow_metadata.proto.v0 import schema_pb2
from tfx.components import ExampleValidator, SchemaGen, StatisticsGen, Trainer, Transform, Tuner
from tfx.components.schema_gen.import_schema_gen.component import ImportSchemaGen
from tfx.dsl.components.common.resolver import Resolver
from tfx.orchestration.metadata import sqlite_metadata_connection_config
from tfx.orchestration.pipeline import Pipeline
from tfx.proto import trainer_pb2, transform_pb2
from tfx.types import Channel
from tfx.types.standard_artifacts import Model, ModelBlessing

from common.files import write_text
from common.paths import Paths
from components.data_gate.component import DataGate
from components.data_gate.scan import Columns
from components.evaluation.component import BlessedBeforeStrategy, Evaluator
from components.examples.component import make_example_gen
from components.names import BLESSED_MODEL
from components.probe.component import ServingProbe
from components.pusher.component import AtomicPusher
from components.report.component import RunReport
from config.data_settings import IMAGE_FACTS
from config.gate_settings import DataGateSettings, EvaluationSettings, ProbeSettings
from config.load import settings_hash
from config.model_settings import ModelSettings, TunerSettings
from config.schema import check_schema, image_schema, model_features, read_schema
from config.settings import CardSettings, RegistrySettings, RetrainSettings, Settings, ShowcaseSettings

# Beam's in-process runner by its own name: its default first looks for a faster one to fetch from the network. An image
# is named because TFX would else build a source package for each component; the local runner uses neither.
LOCAL_BEAM_ARGS = [
    "--runner=apache_beam.runners.portability.fn_api_runner.fn_runner.FnApiRunner",
    "--direct_running_mode=in_memory",
    "--sdk_container_image=unused",
]
TRAIN, EVAL = ["train"], ["eval"]


def with_runner(beam_args: list[str]) -> list[str]:
    """Return Beam's arguments, with ours for this machine in front unless they name a runner of their own."""
    return beam_args if any(arg.startswith("--runner") for arg in beam_args) else [*LOCAL_BEAM_ARGS, *beam_args]


def create_pipeline(
    settings: Settings,
    paths: Paths,
    *,
    override: str = "",
    beam_args: list[str] | None = None,
    command: str = "",
    weights_of: Path | None = None,
) -> Pipeline:
    """Return the graph for one model.

    `override` is the reason given for going on in spite of data errors, `command` what the report names to repeat it,
    `weights_of` a version whose weights are taken instead of training any.
    """
    curated = _curated_schema(settings)
    about_model = _without_display(settings)
    for_training = _for_training(settings)

    examples = make_example_gen(settings, curated)
    statistics = StatisticsGen(examples=examples.outputs["examples"], stats_options=_stats_options(settings))
    if curated:
        schema: Any = ImportSchemaGen(schema_file=str(_without_ignored(curated, settings, paths.pipeline)))
    else:
        # from train alone, or a column that happens to be empty in another split is set aside. Another split may then
        # lack values that train has: no shapes, which would make each of them a must
        schema = SchemaGen(
            statistics=statistics.outputs["statistics"], infer_feature_shape=False, exclude_splits=[*EVAL, "test"]
        )
    validator = ExampleValidator(statistics=statistics.outputs["statistics"], schema=schema.outputs["schema"])
    data = {
        "examples": examples.outputs["examples"],
        "statistics": statistics.outputs["statistics"],
        "schema": schema.outputs["schema"],
    }
    data_gate = DataGate(
        **data,
        anomalies=validator.outputs["anomalies"],
        data_gate=settings.data_gate,
        columns=Columns.of(settings),
        seed=settings.seed,
        override=override,
        reports_uri=paths.reports,
    )

    transform = Transform(
        examples=examples.outputs["examples"],
        schema=schema.outputs["schema"],
        **_features(settings, curated),
        splits_config=transform_pb2.SplitsConfig(analyze=TRAIN, transform=TRAIN),
        materialize=False,
        disable_statistics=True,
        disable_analyzer_cache=True,
    )
    transform.add_upstream_node(data_gate)
    inputs = {
        "examples": examples.outputs["examples"],
        "transform_graph": transform.outputs["transform_graph"],
        "schema": schema.outputs["schema"],
        "train_args": trainer_pb2.TrainArgs(splits=TRAIN),
        "eval_args": trainer_pb2.EvalArgs(splits=EVAL),
    }
    tuner = (
        Tuner(
            tuner_fn="components.training.tuner.tuner_fn",
            custom_config=_as_custom_config(for_training.model_copy(update={"tuner": settings.tuner})),
            **inputs,
        )
        if settings.tuner.enabled
        else None
    )
    best = {"hyperparameters": tuner.outputs["best_hyperparameters"]} if tuner else {}
    trainer = Trainer(
        run_fn="components.training.trainer.run_fn",
        custom_config=_as_custom_config(for_training, weights_of) | {"plain_models": _fitted_by()},
        **inputs,
        **best,
    )

    blessed = Resolver(
        strategy_class=BlessedBeforeStrategy,
        candidate=trainer.outputs["model"],
        model=Channel(type=Model),
        model_blessing=Channel(type=ModelBlessing),
    ).with_id(BLESSED_MODEL)
    evaluator = Evaluator(
        examples=examples.outputs["examples"],
        schema=schema.outputs["schema"],
        model=trainer.outputs["model"],
        baseline_models=blessed.outputs["model"],
        settings=_for_evaluation(about_model),
        metadata=paths.metadata,
    )
    probe = ServingProbe(
        model=trainer.outputs["model"],
        examples=examples.outputs["examples"],
        evaluation=evaluator.outputs["evaluation"],
        probe=settings.probe,
    )
    pusher = AtomicPusher(
        model=trainer.outputs["model"],
        model_blessing=evaluator.outputs["blessing"],
        infra_blessing=probe.outputs["blessing"],
        verdict=probe.outputs["verdict"],
        evaluation=evaluator.outputs["evaluation"],
        **data,
        settings=about_model,
        showcase=settings.showcase,
        base=paths.serving,
    )
    report = RunReport(
        **data,
        anomalies=validator.outputs["anomalies"],
        data_verdict=data_gate.outputs["verdict"],
        transform_graph=transform.outputs["transform_graph"],
        model=trainer.outputs["model"],
        evaluation=evaluator.outputs["evaluation"],
        serving_verdict=probe.outputs["verdict"],
        pushed_model=pusher.outputs["pushed_model"],
        settings=settings,
        settings_hash=settings_hash(about_model),
        metadata=paths.metadata,
        command=command,
        serving=paths.serving,
        **({"tuner_results": tuner.outputs["tuner_results"]} if tuner else {}),
    )

    before = [examples, statistics, schema, validator, data_gate, transform]
    after = [trainer, blessed, evaluator, probe, pusher, report]
    return Pipeline(
        pipeline_name=settings.name,
        pipeline_root=str(paths.pipeline),
        components=[*before, tuner, *after] if tuner else [*before, *after],
        enable_cache=True,
        metadata_connection_config=sqlite_metadata_connection_config(str(paths.metadata)),
        beam_pipeline_args=with_runner([*settings.beam_args, *(beam_args or [])]),
    )


def _curated_schema(settings: Settings) -> schema_pb2.Schema | None:
    """Return the schema that somebody wrote, or the one of pictures. Raises ConfigError where it does not fit."""
    if settings.data.is_images:
        return image_schema(settings)
    if settings.schema_file is None:
        return None
    curated = read_schema(settings.schema_file)
    check_schema(curated, settings)
    return curated


def _stats_options(settings: Settings) -> StatsOptions | None:
    """Let the statistics pass over the bytes of pictures: they would be kept as values."""
    if not settings.data.is_images:
        return None
    return StatsOptions(feature_allowlist=[settings.data.label, *IMAGE_FACTS])


def _without_ignored(curated: schema_pb2.Schema, settings: Settings, root: Path) -> Path:
    """Return a copy without ignored columns, which the rows do not have: TFX would ask for those that are required.

    It is named by its content, for TFX's cache knows an imported file by its path alone.
    """
    kept = schema_pb2.Schema.FromString(curated.SerializeToString())
    del kept.feature[:]
    kept.feature.extend(feature for feature in curated.feature if feature.name not in settings.data.ignore)
    text = text_format.MessageToString(kept)
    copy = root / "curated_schemas" / hashlib.sha256(text.encode()).hexdigest()[:16] / "schema.pbtxt"
    if not copy.is_file():
        write_text(copy, text)
    return copy


def _features(settings: Settings, curated: schema_pb2.Schema | None) -> dict[str, Any]:
    """Return what makes features of the columns, and what it is told."""
    if settings.data.is_images:
        function = "components.features.pixels.preprocessing_fn"
        return {"preprocessing_fn": function, "custom_config": {"size": settings.image.size}}
    about = _about_features(settings, curated)
    return {"preprocessing_fn": "components.features.transform.preprocessing_fn", "custom_config": about}


def _about_features(settings: Settings, curated: schema_pb2.Schema | None) -> dict[str, Any]:
    codes = {*settings.categorical}
    if curated:  # which may call an integer categorical itself
        codes |= {f.name for f in model_features(curated, settings) if (f.kind, f.dtype) == ("categorical", "int")}
    left_out = sorted(settings.no_features)
    return {
        "left_out": left_out,
        "codes": sorted(codes),
        "dates": settings.dates,
        "derived": settings.derived,
        "cleaning": asdict(settings.data.cleaning),
        "vocabulary_size": settings.vocabulary_size,
    }


def _for_training(settings: Settings) -> Settings:
    """Return what Trainer reads, all else at its default.

    Its cache follows from it, as does what a model says it was made by: whatever is not listed here retrains nothing.
    """
    metric = "r2" if settings.data.is_regression else "auc"
    return Settings(
        name=settings.name,
        seed=settings.model_seed,
        data=settings.data.without_place(),
        split=settings.split.model_copy(update={"seed": settings.split_seed}),
        categorical=settings.categorical,
        dates=settings.dates,
        derived=settings.derived,
        vocabulary_size=settings.vocabulary_size,
        image=settings.image,
        model=settings.model,
        operating_point=settings.operating_point,
        evaluation=EvaluationSettings(metrics=(metric,), change_metric=metric),  # the default is for two classes only
        probe=ProbeSettings(golden_rows=settings.probe.golden_rows),
    )


def _for_evaluation(about_model: Settings) -> Settings:
    """Return the settings with all that cannot change how a given model is judged at its default."""
    others = {"model": ModelSettings(kind=about_model.model.kind), "tuner": TunerSettings(), "probe": ProbeSettings()}
    return about_model.model_copy(update=others)


def _as_custom_config(settings: Settings, weights_of: Path | None = None) -> dict[str, str]:
    earlier = {"weights_of": str(weights_of)} if weights_of else {}
    return {"settings": settings.model_dump_json(by_alias=True), **earlier}


def _fitted_by() -> str:
    """Return by what plain models are fitted and read again: no cached Trainer of another one will do, or without."""
    return f"scikit-learn {packages.version('scikit-learn')}"


def _without_display(settings: Settings) -> Settings:
    """Return the settings with all that cannot change the model at its default, so that TFX's cache holds."""
    return settings.model_copy(
        update={
            "title": "",
            "description": "",
            "features": {},
            "class_names": {},
            "class_info": {},
            "card": CardSettings(),
            "showcase": ShowcaseSettings(),
            "registry": RegistrySettings(),
            "retrain": RetrainSettings(),
            "beam_args": (),
            "data_gate": DataGateSettings(),
            "schema_file": settings.schema_file and Path(settings.schema_file.name),
            "data": settings.data.without_place(),
            "tuner": settings.tuner if settings.tuner.enabled else TunerSettings(),
        }
    )

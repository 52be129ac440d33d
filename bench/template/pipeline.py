"""The template's graph, every step that it has commented out switched on."""

from __future__ import annotations

from typing import Any

import tensorflow_model_analysis as tfma
from tfx import v1 as tfx

from bench.template.preprocessing import transformed_name


def create_pipeline(
    *,
    pipeline_name: str,
    pipeline_root: str,
    data_path: str,
    schema_path: str | None,
    split: dict[str, int],
    custom_config: dict[str, Any],
    train_steps: int,
    eval_steps: int,
    thresholds: dict[str, float],
    serving_model_dir: str,
    metadata_path: str,
    beam_pipeline_args: list[str],
) -> tfx.dsl.Pipeline:
    """Return the graph; the split's weights and the thresholds are those of the settings."""
    splits = [tfx.proto.SplitConfig.Split(name=name, hash_buckets=split[name]) for name in ("train", "eval", "test")]
    example_gen = tfx.components.CsvExampleGen(
        input_base=data_path, output_config=tfx.proto.Output(split_config=tfx.proto.SplitConfig(splits=splits))
    )
    statistics_gen = tfx.components.StatisticsGen(examples=example_gen.outputs["examples"])
    if schema_path is None:
        schema_gen = tfx.components.SchemaGen(statistics=statistics_gen.outputs["statistics"])
    else:
        schema_gen = tfx.components.ImportSchemaGen(schema_file=schema_path)
    example_validator = tfx.components.ExampleValidator(
        statistics=statistics_gen.outputs["statistics"], schema=schema_gen.outputs["schema"]
    )
    transform = tfx.components.Transform(
        examples=example_gen.outputs["examples"],
        schema=schema_gen.outputs["schema"],
        preprocessing_fn="bench.template.preprocessing.preprocessing_fn",
        custom_config=custom_config,
    )
    trainer = tfx.components.Trainer(
        run_fn="bench.template.model.run_fn",
        examples=transform.outputs["transformed_examples"],
        schema=schema_gen.outputs["schema"],
        transform_graph=transform.outputs["transform_graph"],
        train_args=tfx.proto.TrainArgs(num_steps=train_steps),
        eval_args=tfx.proto.EvalArgs(num_steps=eval_steps),
        custom_config=custom_config,
    )
    model_resolver = tfx.dsl.Resolver(
        strategy_class=tfx.dsl.experimental.LatestBlessedModelStrategy,
        model=tfx.dsl.Channel(type=tfx.types.standard_artifacts.Model),
        model_blessing=tfx.dsl.Channel(type=tfx.types.standard_artifacts.ModelBlessing),
    ).with_id("latest_blessed_model_resolver")
    evaluator = tfx.components.Evaluator(
        examples=example_gen.outputs["examples"],
        example_splits=["test"],
        model=trainer.outputs["model"],
        baseline_model=model_resolver.outputs["model"],
        eval_config=_eval_config(transformed_name(custom_config["label"]), thresholds),
    )
    pusher = tfx.components.Pusher(
        model=trainer.outputs["model"],
        model_blessing=evaluator.outputs["blessing"],
        push_destination=tfx.proto.PushDestination(
            filesystem=tfx.proto.PushDestination.Filesystem(base_directory=serving_model_dir)
        ),
    )
    return tfx.dsl.Pipeline(
        pipeline_name=pipeline_name,
        pipeline_root=pipeline_root,
        components=[
            example_gen,
            statistics_gen,
            schema_gen,
            example_validator,
            transform,
            trainer,
            model_resolver,
            evaluator,
            pusher,
        ],
        metadata_connection_config=tfx.orchestration.metadata.sqlite_metadata_connection_config(metadata_path),
        beam_pipeline_args=beam_pipeline_args,
    )


def _eval_config(label_key: str, thresholds: dict[str, float]) -> tfma.EvalConfig:
    """Return the template's question, with the metrics of ours where TFMA has them by name."""
    change_threshold = tfma.GenericChangeThreshold(
        direction=tfma.MetricDirection.HIGHER_IS_BETTER, absolute={"value": -1e-10}
    )
    metrics = [tfma.MetricConfig(class_name=name) for name in ("ExampleCount", "Precision", "Recall")]
    for name, lower_bound in thresholds.items():
        threshold = tfma.MetricThreshold(
            value_threshold=tfma.GenericValueThreshold(lower_bound={"value": lower_bound}),
            change_threshold=change_threshold,
        )
        metrics.append(tfma.MetricConfig(class_name=name, threshold=threshold))
    return tfma.EvalConfig(
        model_specs=[
            tfma.ModelSpec(
                signature_name="serving_default",
                label_key=label_key,
                preprocessing_function_names=["transform_features"],
            )
        ],
        slicing_specs=[tfma.SlicingSpec()],
        metrics_specs=[tfma.MetricsSpec(metrics=metrics)],
    )

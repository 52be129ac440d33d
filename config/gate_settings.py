"""What the three gates ask, and where a binary model decides."""

from __future__ import annotations

from typing import Annotated, Any, Literal, get_args

from pydantic import Field, field_validator, model_validator

from common.text import nearest
from config.frozen import Frozen, Positive, Probability, Severity, Tolerance

LOSSES = frozenset({"log_loss", "brier", "rmse", "mae"})  # metrics of which less is better
MetricName = Literal[
    "auc",
    "average_precision",
    "precision",
    "recall",
    "specificity",
    "f1",
    "binary_accuracy",
    "accuracy",
    "log_loss",
    "brier",
    "rmse",
    "mae",
    "r2",
    "example_count",
]

METRICS: tuple[str, ...] = get_args(MetricName)
OF_NUMBERS = ("rmse", "mae", "r2")  # metrics of a model that predicts numbers
# The data gate's own checks beside TFDV's anomalies, with their severity unless told otherwise.
DATA_CHECKS: dict[str, Literal["error", "warn", "info"]] = {
    "ROW_LOSS": "error",
    "NOT_FINITE": "error",
    "SPLIT_OVERLAP": "error",
    "GROUP_OVERLAP": "error",
    "SPLIT_OFF_WEIGHTS": "warn",
    "SPLIT_WITHOUT_VALUES": "warn",
    "CLASS_ABSENT": "warn",
    "CLASS_SHARE_DIFFERS": "warn",
    "FEATURE_SET_ASIDE": "warn",
    "LABEL_LEAK": "error",
    "POSSIBLE_LEAK": "warn",
    "ID_FEATURE": "error",
    "POSSIBLE_ID": "warn",
    "CONSTANT_FEATURE": "warn",
    "PRECISION_LOST": "warn",
    "CONTRADICTORY_LABELS": "warn",
    "DUPLICATE_ROWS": "info",
    "SAMPLED": "info",
    "IMAGE_UNREADABLE": "warn",
    "IMAGE_OUTSIDE_CLASSES": "warn",
    "IMAGE_NEAR_DUPLICATES": "info",
    "IMAGE_LARGE_GROUP": "warn",
    "IMAGE_LEAK": "error",
    "IMAGE_POSSIBLE_LEAK": "warn",
}


class DataGateSettings(Frozen):
    """What stops a run before anything is fitted."""

    default_severity: Severity = Field("error", description="Severity of TFDV's anomalies not listed in `severity`.")
    severity: dict[str, Severity] = Field(
        default_factory=dict,
        description="Severity by kind: TFDV's anomaly types (`ENUM_TYPE_UNEXPECTED_STRING_VALUES`, …) and our checks "
        "(`SPLIT_OVERLAP`, `LABEL_LEAK`, …, see gates.md); `KIND:column` for one column only.",
    )
    leak_score: Probability = Field(
        0.995,
        description="A single feature whose cross-validated balanced accuracy on the label reaches this is a leak.",
    )
    id_uniqueness: Probability = Field(
        0.99, description="An integer or text feature with this share of distinct values is taken for an id."
    )
    max_exported_rows: Positive = Field(1000, description="At most so many offending rows are exported per anomaly.")

    @field_validator("severity")
    @classmethod
    def _check_kinds(cls, severity: dict[str, Severity]) -> dict[str, Severity]:
        if not severity:
            return severity
        from tensorflow_metadata.proto.v0 import anomalies_pb2  # only whoever lists kinds pays for it

        known = {*DATA_CHECKS, *anomalies_pb2.AnomalyInfo.Type.keys()}
        for kind in severity:
            if kind.partition(":")[0] not in known:
                near = nearest(kind.partition(":")[0], known)
                raise ValueError(f"{kind}: unknown kind {kind!r}" + (f"; did you mean {near!r}?" if near else ""))
        return severity

    def severity_of(
        self, kind: str, feature: str | None = None, usual: Literal["error", "warn", "info"] | None = None
    ) -> Literal["error", "warn", "info"]:
        """Return how grave a kind of finding is; `usual` takes the place of the check's own default."""
        chosen = self.severity.get(f"{kind}:{feature}") or self.severity.get(kind)
        severity = chosen or usual or DATA_CHECKS.get(kind) or self.default_severity
        return "info" if severity == "ignore" else severity


class OperatingPointSettings(Frozen):
    """Binary: what the decision threshold is chosen for, on eval."""

    objective: Literal["f1", "balanced_accuracy", "accuracy", "recall_at_least", "precision_at_least", "cost"] = Field(
        "recall_at_least",
        description="What the threshold makes as large as it can; of `recall_at_least` the precision, of "
        "`precision_at_least` the recall, of `cost` the least cost.",
    )
    at_least: Probability | None = Field(
        None, description="The share that `recall_at_least` or `precision_at_least` asks for; without it 0.95."
    )
    miss_cost: Annotated[float, Field(gt=0.0)] = Field(
        1.0, description="With `cost`: how many false alarms one miss costs as much as."
    )

    @model_validator(mode="before")
    @classmethod
    def _ask_for_a_share(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        asks = str(values.get("objective", "recall_at_least")).endswith("_at_least")
        if asks and values.get("at_least") is None:
            return {**values, "at_least": 0.95}
        if not asks and values.get("at_least") is not None:
            raise ValueError("at_least: is for recall_at_least and precision_at_least")
        return values


class Slice(Frozen):
    """Rows on which the metrics are computed apart."""

    feature: str = Field(description="Column to slice by.")
    values: tuple[str, ...] = Field((), description="Only these values; empty: each value a slice.")
    thresholds: dict[str, Annotated[float, Field(ge=0.0)]] = Field(
        {}, description="As `evaluation.thresholds`, but for each of these slices by itself."
    )


class EvaluationSettings(Frozen):
    """What a model must show on the test split before it may be served."""

    metrics: tuple[MetricName, ...] = Field(
        ("auc", "precision", "recall", "binary_accuracy", "example_count"),
        description="Reported for each slice. Multi-class: auc is one-versus-rest, the rest are macro averages. "
        "Regression: rmse, mae, r2 and example_count, which are its default.",
    )
    thresholds: dict[str, Annotated[float, Field(ge=0.0)]] = Field(
        default_factory=dict,
        description="Metric: least value of its lower confidence bound on the whole test split; of log_loss, brier, "
        "rmse and mae the most of the upper one. None need be given: plain models and the blessed one are measure "
        "enough.",
    )
    confidence: Annotated[float, Field(gt=0.5, lt=1.0)] = Field(0.95, description="Of the one-sided lower bounds.")
    bootstrap_samples: Positive = Field(2000, description="Resamplings behind the bounds.")
    change_metric: str = Field(
        "auc",
        description="Metric on which a candidate must not fall behind the blessed model. Default with regression: r2.",
    )
    change_margin: Tolerance = Field(
        0.005, description="By how much it may fall behind and still be called equal. Default with regression: 0.01."
    )
    when_not_comparable: Literal["decide_without", "refuse"] = Field(
        "decide_without",
        description="Where no blessed model can be compared fairly: all else decides, or nothing passes.",
    )
    plain_margin: Tolerance = Field(
        0.02,
        description="By how much of `change_metric` the best plain model may be better and still be called equal. "
        "Default with regression: 0.03.",
    )
    when_plain_is_better: Literal["warn", "refuse"] = Field(
        "warn", description="Where a plain model is better by more than `plain_margin`, with confidence."
    )
    slices: tuple[Slice, ...] = Field((), description="Parts of the test split reported apart.")

    @model_validator(mode="after")
    def _check(self) -> EvaluationSettings:
        judged = [metric for metric in self.metrics if metric != "example_count"]
        asked_of = {"": self.thresholds} | {f"slices.{i}.": part.thresholds for i, part in enumerate(self.slices)}
        named = {"change_metric": self.change_metric}
        for place, thresholds in asked_of.items():
            for metric, asked in thresholds.items():
                named[f"{place}thresholds.{metric}"] = metric
                if metric not in LOSSES and asked > 1:
                    raise ValueError(f"{place}thresholds.{metric}: should be at most 1, got {asked:g}")
        for key, metric in named.items():
            if metric not in judged:
                raise ValueError(f"{key}: {metric!r} should be one of evaluation.metrics ({', '.join(judged)})")
        return self


class ProbeSettings(Frozen):
    """What the exported model must show in a fresh process before it may be pushed."""

    golden_rows: Annotated[int, Field(ge=1, le=1000)] = Field(16, description="Rows replayed through each signature.")
    tolerance: Annotated[float, Field(gt=0.0)] = Field(
        1e-6, description="Largest difference of a probability allowed. Default with images: 1e-05."
    )
    max_latency_ms: Annotated[float, Field(gt=0.0)] = Field(
        50.0, description="Median time of one call with one row. Default with images: 500."
    )
    max_memory_mb: Positive = Field(2048, description="Resident memory of the loading process.")
    timeout_s: Positive = Field(300, description="After this the probe has failed.")

"""Every number and name a run depends on, typed, frozen and validated before anything starts.

`docs/configuration.md` is generated from the descriptions here (`make docs`).
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from common.tables.cleaning import Cleaning, Decimal, Thousands
from common.tables.dates import Order
from common.tables.remote import URL, name_of
from common.text import NULL_TEXTS, nearest
from config.derived import parse

Probability = Annotated[float, Field(ge=0.0, le=1.0)]
Positive = Annotated[int, Field(gt=0)]
Url = Annotated[str, Field(pattern=URL)]
Seed = Annotated[int, Field(ge=0, le=2**31 - 1)]
Severity = Literal["error", "warn", "ignore"]
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
Tolerance = Annotated[float, Field(ge=0.0)]
ClassName = Annotated[str, Field(min_length=1, max_length=60)]
IMAGE_BYTES = "image_bytes"  # what the model of images reads
IMAGE_GROUP, IMAGE_PATH, IMAGE_HASH, IMAGE_NEAR, IMAGE_HISTOGRAM = "group", "path", "sha256", "near", "histogram"
IMAGE_STATISTICS = ("brightness", "contrast", "saturation", "sharpness", "red", "green", "blue")
IMAGE_HEADER = ("width", "height", "aspect", "file_bytes", "has_exif", "border_red", "border_green", "border_blue")
# what stands beside each picture in the Examples: for the data gate, plain models and drift, not for the network
IMAGE_TEXTS = (IMAGE_GROUP, IMAGE_PATH, IMAGE_HASH, IMAGE_NEAR)
IMAGE_FACTS = (*IMAGE_TEXTS, IMAGE_HISTOGRAM, *IMAGE_STATISTICS, *IMAGE_HEADER)


class Frozen(BaseModel):
    """Refuse unknown keys and any change after reading.

    Checks across keys raise ValueError("key: what is wrong"); the loader finds the line by that key.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _empty_means_default(cls, values: Any) -> Any:
        """Let `key:` with nothing after it stand for the default, as in a section whose keys are commented out."""
        if not isinstance(values, dict):
            return values
        known = {field.alias or name for name, field in cls.model_fields.items()}
        return {key: value for key, value in values.items() if value is not None or key not in known}


class DataSettings(Frozen):
    """Where the examples come from and what is to be predicted."""

    source: Path | Url = Field(
        description="File, folder or glob of the examples, relative to the YAML file, or the URL of one file. "
        "`{SPAN}`, `{VERSION}` and `{YYYY}-{MM}-{DD}` pick the newest, as in TFX."
    )
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = Field(
        None, description="Of the file at a URL: another one is refused, and this one is fetched once."
    )
    format: Literal["csv", "parquet", "tfrecord", "images"] = Field(
        "csv", description="How the examples are stored; `images`: a folder of pictures for each class, at any depth."
    )
    label: str = Field(min_length=1, description="Column to predict. With images it need not be given.")
    task: Literal["classification", "regression"] = Field(
        "classification", description="Whether the label is one of `classes` or a number."
    )
    classes: tuple[str, ...] = Field(
        (),
        description="All label values as text, at least two, in the order of the model's probabilities. None with "
        "`task: regression`.",
    )
    positive: str | None = Field(
        None, description="Binary only: the class whose probability is reported. Default: the last of `classes`."
    )
    ignore: tuple[str, ...] = Field((), description="Columns to leave out, such as an id.")
    delimiter: str = Field(",", min_length=1, max_length=1, description="CSV column separator.")
    trim: bool = Field(True, description="Take off the blanks around texts and columns' names.")
    decimal: Decimal = Field(".", description="What stands before a number's fraction.")
    thousands: Thousands | None = Field(None, description="What parts the digits of `1,234,567` in threes.")
    percent: bool = Field(False, description="Read `12.5%` as the number 12.5.")
    null_values: tuple[str, ...] = Field(NULL_TEXTS, description="Texts that mean: missing.")
    spellings: dict[str, dict[str, str]] = Field(
        default_factory=dict, description="By text column: what is written otherwise, as `{Male: male}`."
    )
    label_map: dict[str, str] = Field(
        default_factory=dict, description="Labels that are another class, as `{0: no, 1: yes, 2: yes}`."
    )
    drop_unlabelled: bool = Field(False, description="Leave out rows without a label; else they stop the run.")
    merge_rare_classes: str | None = Field(
        None, description="The class of every label that `classes` does not list; else an unknown one stops the run."
    )

    @model_validator(mode="before")
    @classmethod
    def _label_of_images(cls, values: Any) -> Any:
        """Give the label of images, which stands in no file, a name."""
        is_unnamed = isinstance(values, dict) and values.get("format") == "images" and values.get("label") is None
        return {**values, "label": "label"} if is_unnamed else values

    @model_validator(mode="after")
    def _check(self) -> DataSettings:
        if self.is_regression:
            self._check_no_classes()
        elif len(self.classes) < 2:
            raise ValueError("classes: name at least two, or say task: regression if the label is a number")
        if len(set(self.classes)) != len(self.classes):
            raise ValueError(f"classes: must be distinct, got {', '.join(self.classes)}")
        if self.positive is not None and self.positive not in self.classes:
            raise ValueError(f"positive: should be one of the classes {', '.join(self.classes)}, got {self.positive}")
        if self.positive is not None and len(self.classes) != 2:
            raise ValueError(f"positive: is for two classes only, and there are {len(self.classes)}")
        for key, label in (*((f"label_map.{old}", new) for old, new in self.label_map.items()), *self._merged):
            if label not in self.classes:
                raise ValueError(f"{key}: should be one of the classes {', '.join(self.classes)}, got {label}")
        if isinstance(self.source, str) and self.sha256 is None:
            raise ValueError(f"source: a URL needs data.sha256; local_runner.py init {self.source} writes both")
        if self.decimal == self.thousands:
            raise ValueError(f"thousands: cannot be the same as decimal, got {self.thousands}")
        if self.label in self.ignore:
            raise ValueError(f"ignore: the label {self.label!r} cannot be ignored")
        return self

    def _check_no_classes(self) -> None:
        given = {
            "classes": self.classes,
            "positive": self.positive,
            "label_map": self.label_map,
            "merge_rare_classes": self.merge_rare_classes,
        }
        if named := [key for key, value in given.items() if value]:
            raise ValueError(f"{named[0]}: is for classes, and with task: regression the label is a number")

    @property
    def _merged(self) -> list[tuple[str, str]]:
        return [("merge_rare_classes", self.merge_rare_classes)] if self.merge_rare_classes is not None else []

    def class_of(self, text: str) -> str:
        """Return the class that a label stands for; the empty text is none."""
        label = self.cleaning.of_labels(self.label, self.classes, self.label_map).text(self.label, text)
        is_listed = not label or label in self.classes or self.merge_rare_classes is None
        return label if is_listed else str(self.merge_rare_classes)

    @property
    def source_name(self) -> str:
        """The source without what comes before its name."""
        return self.source.name if isinstance(self.source, Path) else name_of(self.source)

    def without_place(self) -> DataSettings:
        """Return them without the place of the source: nothing that a run does depends on it."""
        return self.model_copy(update={"source": Path(self.source_name)})

    @property
    def cleaning(self) -> Cleaning:
        return Cleaning(self.trim, self.decimal, self.thousands, self.percent, self.null_values, self.spellings)

    @property
    def is_images(self) -> bool:
        return self.format == "images"

    @property
    def is_regression(self) -> bool:
        return self.task == "regression"

    @property
    def is_binary(self) -> bool:
        return len(self.classes) == 2

    @property
    def positive_class(self) -> str:
        return self.positive or self.classes[-1]

    @property
    def positive_index(self) -> int:
        return self.classes.index(self.positive_class)


class SplitSettings(Frozen):
    """How rows are shared out: as a rule by a hash of their content, so that old rows stay put when new ones come."""

    train: Positive = Field(64, description="Hash buckets (weight) of the training split.")
    eval: Positive = Field(16, description="Weight of the split for early stopping, tuning and the decision threshold.")
    test: Positive = Field(20, description="Weight of the split that only the Evaluator's gate reads.")
    group_by: str | None = Field(
        None, description="Column whose rows must stay in one split (a patient, a household). Not a feature."
    )
    seed: Seed | None = Field(None, description="Of the splits alone; without it `seed`.")
    by: Literal["content", "row", "time"] = Field(
        "content",
        description="`content`: equal rows go to one split. `row`: each copy of a row is dealt by itself, for tables "
        "of few different rows. `time`: the past trains, the latest rows test.",
    )
    time: str | None = Field(
        None, description="With `by: time`: the column of numbers or ISO dates that says when. Not a feature."
    )

    @model_validator(mode="after")
    def _check(self) -> SplitSettings:
        if self.group_by and self.by != "content":
            raise ValueError(f"group_by: keeps rows together, and by: {self.by} parts them; leave one of the two out")
        if (self.by == "time") != (self.time is not None):
            raise ValueError("time: names a column for by: time; give both or neither")
        return self

    @property
    def weights(self) -> dict[str, int]:
        return {"train": self.train, "eval": self.eval, "test": self.test}


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


class ImageSettings(Frozen):
    """Pictures: what is read of them, and what the network sees. Only with `data.format: images`."""

    size: Annotated[int, Field(ge=16, le=512)] = Field(
        64, description="Width and height in pixels that each picture is resized to, in the exported graph."
    )
    augmentation: Literal["none", "shift", "flip"] = Field(
        "flip",
        description="Of training pictures alone: `shift` moves, zooms and brightens them a little, `flip` mirrors them "
        "besides.",
    )
    bad_files: Literal["skip", "refuse"] = Field(
        "skip", description="Files that are broken, cut off, too large or no pictures: leave out and list, or stop."
    )
    group: str | None = Field(
        None,
        description="Pattern (regular expression) on a picture's path below `data.source`; what its first group holds "
        "names pictures that belong together, for `split.group_by: group`.",
    )
    none_of_these: Probability | None = Field(
        None, description="Below this probability of the likeliest class a picture is called none of these."
    )

    @field_validator("group")
    @classmethod
    def _check_pattern(cls, pattern: str | None) -> str | None:
        try:
            groups = re.compile(pattern).groups if pattern else 1
        except re.error as error:
            raise ValueError(f"group: {pattern!r} is no regular expression: {error}") from None
        if groups != 1:
            raise ValueError(f"group: should hold one pair of brackets, as in '^(.+)_', got {pattern}")
        return pattern


WEIGHTS = {  # beside a path: what each kind of network can start from
    "dense": ("none",),
    "cnn": ("none",),
    "mobilenet_v2": ("none",),
    "efficientnet_lite0": ("none", "imagenet"),
}


class ModelSettings(Frozen):
    """Architecture and training of the network."""

    kind: Literal["dense", "cnn", "mobilenet_v2", "efficientnet_lite0"] = Field(
        "dense", description="Architecture: `dense` for tables, each other one for images."
    )
    weights: str = Field(
        "none",
        min_length=1,
        description="What training starts from: `none` (at random), `imagenet` (efficientnet_lite0 alone; see "
        "docs/images.md), or, but for cnn, the path of a file `.weights.h5` or `.npz`, relative to the YAML file.",
    )
    fine_tune_epochs: Annotated[int, Field(ge=0)] = Field(
        0,
        description="With weights: after `epochs` of the head alone, so many of the whole network at a tenth of the "
        "learning rate.",
    )
    hidden_units: tuple[Positive, ...] = Field((256, 128, 64, 32), min_length=1, description="Width of each layer.")
    activation: Literal["relu", "gelu", "selu", "tanh", "elu", "silu"] = Field("relu", description="Of hidden layers.")
    batch_normalization: bool = Field(True, description="Normalize each hidden layer's output over the batch.")
    dropout: Annotated[float, Field(ge=0.0, lt=1.0)] = Field(0.3, description="Share of units dropped in training.")
    l2: Annotated[float, Field(ge=0.0)] = Field(0.0, description="L2 penalty on the kernels.")
    kernel_initializer: str = Field("glorot_uniform", description="Keras name of the initializer.")
    label_smoothing: Annotated[float, Field(ge=0.0, lt=0.5)] = Field(0.0, description="Of the cross-entropy.")
    optimizer: Literal["adam", "adamw", "sgd"] = Field("adam", description="Keras optimizer.")
    learning_rate: Annotated[float, Field(gt=0.0)] = Field(1e-4, description="Initial learning rate.")
    learning_rate_schedule: Literal["constant", "cosine", "one_cycle"] = Field(
        "constant",
        description="`cosine` decays to zero over all epochs; `one_cycle` first climbs to ten times the rate for 30 % "
        "of them.",
    )
    epochs: Positive = Field(100, description="Passes over the training split, at most.")
    batch_size: Positive = Field(32, description="Examples a training step.")
    early_stopping_patience: Annotated[int, Field(ge=0)] = Field(
        20, description="Epochs without a better eval loss before stopping; the best weights are kept. 0: never stop."
    )
    class_weights: Literal["none", "balanced"] = Field("none", description="`balanced` weighs rare classes up.")
    loss: Literal["squared", "huber"] = Field(
        "squared",
        description="Regression only, of the label in standard deviations: `huber` counts errors beyond one of them "
        "linearly, so that outliers weigh less.",
    )
    interval: Annotated[float, Field(ge=0.5, lt=1.0)] = Field(
        0.9, description="Regression only: the share of true values that prediction intervals are made to hold."
    )
    steps_per_execution: Positive = Field(64, description="Training steps in one call into the graph; speed only.")
    in_memory_limit_mb: Positive = Field(
        1024, description="Transformed examples up to this size are trained from memory, larger ones streamed."
    )
    seed: Seed | None = Field(
        None, description="Of initial weights, shuffling and tuning alone; without it `seed`. It deals no row anew."
    )

    @model_validator(mode="after")
    def _check(self) -> ModelSettings:
        named = WEIGHTS[self.kind]
        if self.weights not in named and not (self.weights_file and self.takes_path):
            allowed = " or ".join([*named, *(["a path"] if self.takes_path else [])])
            raise ValueError(f"weights: {self.kind} starts from {allowed}, got {self.weights}")
        if self.fine_tune_epochs and self.weights == "none":
            raise ValueError("fine_tune_epochs: is for a network with weights; train longer by epochs")
        return self

    @property
    def takes_path(self) -> bool:
        """Whether weights of a file fit the network."""
        return self.kind in ("mobilenet_v2", "efficientnet_lite0")

    @property
    def weights_file(self) -> Path | None:
        """The file of weights, if they come from one that somebody named."""
        return None if self.weights in ("none", "imagenet") else Path(self.weights)


class TunerSettings(Frozen):
    """KerasTuner's search; off unless asked for."""

    enabled: bool = Field(False, description="Search before training; the best values are what Trainer trains.")
    trials: Positive = Field(5, description="Combinations tried.")
    epochs: Positive = Field(20, description="Epochs of each trial.")
    learning_rate: tuple[Annotated[float, Field(gt=0.0)], ...] = Field(
        (1e-4, 3e-4, 1e-3), min_length=1, description="Candidates."
    )
    dropout: tuple[Annotated[float, Field(ge=0.0, lt=1.0)], ...] = Field(
        (0.1, 0.3, 0.5), min_length=1, description="Candidates."
    )
    hidden_units: tuple[Annotated[tuple[Positive, ...], Field(min_length=1)], ...] = Field(
        ((256, 128, 64, 32), (128, 64), (64, 32)), min_length=1, description="Candidate architectures."
    )


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
    change_margin: Tolerance = Field(0.005, description="By how much it may fall behind and still be called equal.")
    when_not_comparable: Literal["decide_without", "refuse"] = Field(
        "decide_without",
        description="Where no blessed model can be compared fairly: all else decides, or nothing passes.",
    )
    plain_margin: Tolerance = Field(
        0.02, description="By how much of `change_metric` the best plain model may be better and still be called equal."
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
    tolerance: Annotated[float, Field(gt=0.0)] = Field(1e-6, description="Largest difference of a probability allowed.")
    max_latency_ms: Annotated[float, Field(gt=0.0)] = Field(50.0, description="Median time of one call with one row.")
    max_memory_mb: Positive = Field(2048, description="Resident memory of the loading process.")
    timeout_s: Positive = Field(300, description="After this the probe has failed.")


class ShowcaseSettings(Frozen):
    """Rows that travel with a pushed model, for the web page to show. They are rows of real people, if the data are."""

    train_rows: Annotated[int, Field(ge=0)] = Field(
        500, description="Of the training split, at most: example cases and the map. 0: none."
    )
    test_rows: Annotated[int, Field(ge=0)] = Field(
        1000, description="Of the held-out test split, at most: the page *by index*. 0: none."
    )


class CardSettings(Frozen):
    """What the model card says of who stands behind the model. Markdown is not rendered."""

    owner: str = Field("", description="Who answers for it.")
    contact: str = Field("", description="Where to ask, or to report what goes wrong.")
    licence: str = Field("", description="Of the model, as SPDX has it, such as CC-BY-4.0.")
    citation: str = Field("", description="How to cite it, or its data.")


class RegistrySettings(Frozen):
    """What MLflow's registry may do to the releases (docs/tracking.md)."""

    follow: bool = Field(
        False,
        description="A version that somebody gives the alias `production` in MLflow is made stable, if it passes the "
        "checks of every release. Off: it is told.",
    )


class RetrainSettings(Frozen):
    """When the controller may train this model again, and how the new version is tried (docs/retraining.md)."""

    min_labels: Positive = Field(100, description="New rows with their true label that there must be.")
    every_days: Annotated[float, Field(ge=0.0)] = Field(
        0.0, description="Also retrain without an alarm when the last time is so long ago. 0: never."
    )
    cool_down_hours: Annotated[float, Field(ge=0.0)] = Field(
        24.0, description="Pause after a retraining, whatever alarms."
    )
    runs_per_week: Positive = Field(3, description="The budget: so many in any seven days.")
    time_limit_hours: Annotated[float, Field(gt=0.0)] = Field(6.0, description="After this a run is stopped.")
    most_per_user: Positive = Field(1000, description="Rows that one user labelled, of those that are added.")
    with_synthetic: bool = Field(False, description="Take rows of `simulate`, too: to try the loop.")
    canary_percent: Annotated[float, Field(gt=0.0, le=100.0)] = Field(
        10.0, description="Share of the requests that the new version answers while it is on trial."
    )
    canary_hours: Annotated[float, Field(gt=0.0)] = Field(24.0, description="How long it is on trial.")
    canary_rows: Positive = Field(
        200, description="Rows that it must have answered by then; the trial goes on for up to seven times as long."
    )
    keep: Positive = Field(5, description="Newest runs, versions and spans that stay on disk.")


class FeatureDisplay(Frozen):
    """How people see a feature."""

    name: str | None = Field(None, description="Name for people.")
    unit: str | None = Field(None, description="Unit of its values.")
    group: str | None = Field(None, description="Heading it stands under.")
    description: str | None = Field(None, description="One sentence.")
    values: dict[str, str] = Field({}, description="What people call each code or text, where a form lets them pick.")


class Settings(Frozen):
    """Everything that decides how one model's pipeline runs."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_]{0,62}$", description="Name of the model, also in the model server.")
    title: str = Field("", description="Name for people.")
    description: str = Field("", description="What it predicts, for whom, and what it must not be used for.")
    seed: Seed = Field(42, description="Of splits, initial weights, shuffling and bootstrap.")
    schema_file: Path | None = Field(
        None, alias="schema", description="Curated `schema.pbtxt` beside the YAML file; without: inferred at each run."
    )
    data: DataSettings
    split: SplitSettings = SplitSettings()
    data_gate: DataGateSettings = DataGateSettings()
    categorical: tuple[str, ...] = Field((), description="Integer columns that are codes, not quantities.")
    derived: dict[str, str] = Field(
        default_factory=dict,
        description="Features made of others, such as `petal_area: petal_length * petal_width`; computed in the "
        "exported graph. See docs/examples.md.",
    )
    dates: dict[str, Order] = Field(
        default_factory=dict,
        description="Columns of dates that become numbers: year, month, weekday, days. Each with the order of its "
        "parts, `{admitted: ymd}`.",
    )
    vocabulary_size: Positive = Field(1000, description="At most so many values of a text feature are told apart.")
    image: ImageSettings = ImageSettings()
    model: ModelSettings = ModelSettings()
    tuner: TunerSettings = TunerSettings()
    operating_point: OperatingPointSettings = OperatingPointSettings.model_validate({})
    evaluation: EvaluationSettings = EvaluationSettings()
    probe: ProbeSettings = ProbeSettings()
    showcase: ShowcaseSettings = ShowcaseSettings()
    registry: RegistrySettings = RegistrySettings()
    retrain: RetrainSettings = RetrainSettings()
    class_names: dict[str, ClassName] = Field(
        default_factory=dict,
        description="What people call each of `data.classes`, at most 60 letters. Pages show it; the API and CSV files "
        "keep the class.",
    )
    class_info: dict[str, str] = Field(
        default_factory=dict, description="A sentence or two on each of `data.classes`, which the page of images shows."
    )
    features: dict[str, FeatureDisplay] = Field(default_factory=dict, description="Display names, units and groups.")
    card: CardSettings = CardSettings()
    beam_args: tuple[str, ...] = Field((), description="Passed to Apache Beam, e.g. `--runner=PortableRunner`.")

    @model_validator(mode="before")
    @classmethod
    def _take_target_recall(cls, values: Any) -> Any:
        """Read `evaluation.target_recall`, which stands in older files and in the settings of older models."""
        evaluation = values.get("evaluation") if isinstance(values, dict) else None
        if not isinstance(evaluation, dict) or evaluation.get("target_recall") is None:
            return values
        if values.get("operating_point") is not None:
            raise ValueError("evaluation.target_recall: operating_point says it already; take one of them out")
        others = {key: value for key, value in evaluation.items() if key != "target_recall"}
        point = {"objective": "recall_at_least", "at_least": evaluation["target_recall"]}
        return {**values, "evaluation": others, "operating_point": point}

    @model_validator(mode="before")
    @classmethod
    def _judge_numbers_as_numbers(cls, values: Any) -> Any:
        """Let `evaluation` default to metrics of numbers with `task: regression`."""
        data, given = (values.get(key) for key in ("data", "evaluation")) if isinstance(values, dict) else (None, None)
        is_regression = data.is_regression if isinstance(data, DataSettings) else _task_of(data) == "regression"
        if not is_regression or not isinstance(given, dict | None):
            return values
        return {
            **values,
            "evaluation": {"metrics": [*OF_NUMBERS, "example_count"], "change_metric": "r2"} | (given or {}),
        }

    @model_validator(mode="after")
    def _check_metrics(self) -> Settings:
        wanted = {*OF_NUMBERS} if self.data.is_regression else {*METRICS} - {*OF_NUMBERS}
        for metric in self.evaluation.metrics:
            if metric not in wanted | {"example_count"}:
                known = ", ".join(name for name in METRICS if name in wanted)
                raise ValueError(f"evaluation.metrics: {metric} is not for {self.data.task}; take of {known}")
        if self.data.is_regression and self.model.class_weights != "none":
            raise ValueError("model.class_weights: is for classes, and with task: regression the label is a number")
        return self

    @model_validator(mode="after")
    def _check(self) -> Settings:
        if "binary_accuracy" in self.evaluation.metrics and not self.data.is_binary:
            raise ValueError("evaluation.metrics: binary_accuracy is for two classes; use accuracy")
        for key, column in (("group_by", self.split.group_by), ("time", self.split.time)):
            if column == self.data.label:
                raise ValueError(f"split.{key}: cannot be the label")
            if column in self.data.ignore:
                raise ValueError(f"data.ignore: {column!r} is split.{key}, which is never a feature anyway")
        for name, source in self.derived.items():
            try:
                parse(source)
            except ValueError as error:
                raise ValueError(f"derived.{name}: {error}") from None
        for key in ("categorical", "dates"):
            if self.data.label in getattr(self, key):
                raise ValueError(f"{key}: is for features, and this is the label")
        if both := sorted({*self.categorical} & {*self.dates}):
            raise ValueError(f"dates: {both[0]!r} stands in categorical, too; leave it out of one of the two")
        return self

    @model_validator(mode="after")
    def _check_images(self) -> Settings:
        if not self.data.is_images:
            if self.model.kind != "dense":
                raise ValueError(f"model.kind: {self.model.kind} is for data.format: images; tables take dense")
            if self.image != ImageSettings():
                raise ValueError("image: is for data.format: images")
            return self
        if self.model.kind == "dense":
            kinds = ", ".join(kind for kind in WEIGHTS if kind != "dense")
            raise ValueError(f"model.kind: dense is for tables; images take {kinds}")
        for_tables = {
            "schema": self.schema_file,
            "categorical": self.categorical,
            "derived": self.derived,
            "dates": self.dates,
            "features": self.features,
            "data.ignore": self.data.ignore,
            "evaluation.slices": self.evaluation.slices,
            "tuner.enabled": self.tuner.enabled,
            "split.time": self.split.time,
            "data.task": self.data.is_regression,
        }
        for key, value in for_tables.items():
            if value:
                raise ValueError(f"{key}: is for tables; leave it out with data.format: images")
        if isinstance(self.data.source, str):
            raise ValueError("data.source: images are read from a folder, not from a URL")
        if self.split.group_by not in (None, IMAGE_GROUP) or (self.image.group is None) != (
            self.split.group_by is None
        ):
            raise ValueError(
                f"split.group_by: with images it is {IMAGE_GROUP}, and image.group says how; both or neither"
            )
        return self

    @property
    def no_features(self) -> frozenset[str]:
        """Columns that the model does not read: the label, those that rows are dealt by, and ignored ones."""
        dealing = {column for column in (self.split.group_by, self.split.time) if column}
        beside = IMAGE_FACTS if self.data.is_images else ()
        return frozenset({self.data.label, *dealing, *self.data.ignore, *beside})

    @property
    def split_seed(self) -> int:
        return self.seed if self.split.seed is None else self.split.seed

    @property
    def model_seed(self) -> int:
        return self.seed if self.model.seed is None else self.model.seed

    @model_validator(mode="after")
    def _check_class_names(self) -> Settings:
        classes = self.data.classes
        for key, labels in (("class_names", self.class_names), ("class_info", self.class_info)):
            for label in labels:
                if label not in classes:
                    raise ValueError(f"{key}: {label!r} should be one of the classes {', '.join(classes)}")
        if len({self.class_names.get(label, label) for label in classes}) != len(classes):
            raise ValueError("class_names: two classes cannot be called the same")
        return self


def _task_of(data: Any) -> Any:
    return data.get("task") if isinstance(data, dict) else None

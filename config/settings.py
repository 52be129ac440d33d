"""Every number and name a run depends on, typed, frozen and validated before anything starts.

`docs/configuration.md` is generated from the descriptions here (`make docs`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, model_validator

from common.tables.dates import Order
from config.data_settings import IMAGE_FACTS, IMAGE_GROUP, DataSettings, ImageSettings, SplitSettings
from config.derived import parse
from config.frozen import Frozen, Positive, Seed
from config.gate_settings import (
    METRICS,
    OF_NUMBERS,
    DataGateSettings,
    EvaluationSettings,
    OperatingPointSettings,
    ProbeSettings,
)
from config.model_settings import WEIGHTS, ModelSettings, TunerSettings

ClassName = Annotated[str, Field(min_length=1, max_length=60)]
# a distance between what layers make of a picture multiplies what 32 bits lose (1.5e-6 was seen), and layers take time
PROBE_OF_IMAGES = {"tolerance": 1e-5, "max_latency_ms": 500.0}
# R² of models that differ in luck alone varies by 0.005, twice as much as an area does: docs/benchmarks.md
EVALUATION_OF_NUMBERS = {
    "metrics": [*OF_NUMBERS, "example_count"],
    "change_metric": "r2",
    "change_margin": 0.01,
    "plain_margin": 0.03,
}


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
    medical: bool = Field(False, description="It is about people's health: pages say that it is no medical device.")
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
        if _said(data, "task") != "regression" or not isinstance(given, dict | None):
            return values
        return {**values, "evaluation": EVALUATION_OF_NUMBERS | (given or {})}

    @model_validator(mode="before")
    @classmethod
    def _probe_images_as_images(cls, values: Any) -> Any:
        data, given = (values.get(key) for key in ("data", "probe")) if isinstance(values, dict) else (None, None)
        if _said(data, "format") != "images" or not isinstance(given, dict | None):
            return values
        return {**values, "probe": PROBE_OF_IMAGES | (given or {})}

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


def _said(data: Any, key: str) -> Any:
    return data.get(key) if isinstance(data, dict) else getattr(data, key, None)

"""What goes over the wire where it does not depend on a model; the document is made of these."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from common.logs import VALID_ID
from webapp.models import releases

REQUEST_ID = f"^{VALID_ID.pattern}$"
MODEL_NAME = f"^{releases.MODEL_NAME.pattern}$"
STICKY_LENGTH, LABEL_LENGTH, PASSWORD_LENGTH = 200, 500, 1024
VERSION_MAX = 2**63 - 1

Probability = Annotated[float, Field(ge=0.0, le=1.0)]
Model = Annotated[str, Field(pattern=MODEL_NAME, description="Name of the model.", examples=["breast_cancer"])]
Version = Annotated[int, Field(ge=1, le=VERSION_MAX, description="Number of a pushed version.", examples=[2])]
Route = Annotated[Literal["stable", "candidate"], Field(description="Under which label the version answered.")]
RequestId = Annotated[
    str, Field(pattern=REQUEST_ID, description="Names this request, in the log too.", examples=["0f" * 16])
]
Threshold = Annotated[
    float | None, Field(description="Two classes: from this probability on the positive class is the label.")
]
Password = Annotated[
    str, Field(min_length=1, max_length=PASSWORD_LENGTH, examples=["…"], json_schema_extra={"format": "password"})
]


def _whole(value: Any) -> Any:
    """Return 7 for 7.0: to JSON they are the same number."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


class Sent(BaseModel):
    """A body that clients send: every key is known, every value of its type."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class Given(BaseModel):
    """A body that clients get."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


class ProblemItem(Given):
    """One thing wrong with what was sent."""

    field: str = Field(description="Feature or key; empty: the body itself.")
    rule: str = Field(description="What it should be.")
    got: str
    example: str
    row: int | None = Field(
        None, ge=0, description="Which row, where there are several: from 0 in JSON; as a spreadsheet counts in CSV."
    )


class ProblemDocument(BaseModel):
    """An error (RFC 9457)."""

    model_config = ConfigDict(frozen=True)
    type: str
    title: str
    status: int = Field(ge=400, le=599)
    detail: str = Field(description="What went wrong.")
    instance: str = Field("", description="Names the request, as X-Request-ID does.")
    got: str = ""
    wanted: str = ""
    next: str = Field("", description="What to do about it.")
    errors: list[ProblemItem] = Field([], description="What is wrong with the input, at most 100.")


class Warning_(Given):
    """A value outside what the model was trained on. The prediction stands, but trust it less."""

    model_config = ConfigDict(title="Warning")
    field: str
    got: str
    rule: str


class PlainPrediction(Given):
    """What a plain model says of the row; it was fitted and judged beside the network in the version's report."""

    model: str = Field(examples=["Logistic regression"])
    label: str
    probability: Probability = Field(description="Of the positive class if there is one, else of the label.")
    probabilities: dict[str, Probability] = Field(description="By class.")
    threshold: Threshold


class PlainNumber(Given):
    """What a plain model of numbers says of the row."""

    model: str = Field(examples=["Linear regression"])
    value: float


class InputItem(Given):
    """A number that the network reads, by the version's own graph."""

    feature: str = Field(description="A feature, or one that is derived from others.")
    part: Literal["value", "year", "month", "weekday", "days", "missing", "category"] = Field(
        description="value: in standard deviations from the mean, as are a date's parts; missing: 1 if it is; "
        "category: its number in the vocabulary."
    )
    value: float


Inputs = Annotated[list[InputItem] | None, Field(description="Where `inputs=1` asked for them.")]


class Prediction(Given):
    """The answer to one row."""

    label: str
    probability: Probability = Field(description="Of the positive class if there is one, else of the label.")
    probabilities: dict[str, Probability] = Field(description="By class.")
    warnings: list[Warning_]
    plain: list[PlainPrediction] | None = Field(None, description="Where `plain=1` asked for them.")
    inputs: Inputs = None


class NumberPrediction(Given):
    """The answer to one row of a model that predicts numbers."""

    value: float
    lower: float = Field(description="From here on the true value is promised to lie, in the model's share of cases.")
    upper: float = Field(description="Up to here.")
    warnings: list[Warning_]
    plain: list[PlainNumber] | None = Field(None, description="Where `plain=1` asked for them.")
    inputs: Inputs = None


class Answered(Given):
    """Who answered."""

    model: Model
    version: Version
    route: Route
    threshold: Threshold
    request_id: RequestId


class Predictions(Answered):
    """Predictions, one a row, in the order of the rows."""

    predictions: list[Prediction] | list[NumberPrediction]


class ClassShare(Given):
    """A class and its probability."""

    label: str
    probability: Probability


class ImagePrediction(Given):
    """The answer to one picture."""

    file: str = Field(description="What the file was called.")
    width: int = Field(ge=0, description="Of the picture as it came, upright.")
    height: int = Field(ge=0)
    sha256: str = Field(description="Of the picture as it was predicted, which the prediction log has in its place.")
    label: str = Field(description="The likeliest class.")
    confidence: Probability = Field(description="Of the label.")
    none_of_these: bool = Field(
        description="It lies so far from the training pictures that it may be none of the classes."
    )
    info: str = Field(description="What there is to say of the class; may be empty.")
    top: list[ClassShare] = Field(description="The three likeliest classes.")
    probabilities: dict[str, Probability] = Field(description="By class.")


class ImagePredictions(Answered):
    """Predictions, one a picture, in the order in which they were sent."""

    kept: bool = Field(description="Whether the pictures are kept for labelling and retraining.")
    predictions: list[ImagePrediction]


class HeldOut(Answered):
    """A row that the model never saw in training, and what it says of it."""

    index: int = Field(ge=0)
    rows: int = Field(ge=1, description="How many there are.")
    features: dict[str, Any]
    prediction: Prediction | NumberPrediction
    true_label: str


class RuleCount(Given):
    """How many rows broke a rule."""

    field: str
    rule: str
    rows: int = Field(ge=1)


class CsvSummary(Answered):
    """What became of an uploaded CSV."""

    rows: int = Field(ge=0, description="Rows predicted.")
    failed: int = Field(ge=0, description="Rows left out.")
    rows_with_warnings: int = Field(ge=0, description="Rows with a value outside what the model was trained on.")
    rules: list[RuleCount] = Field(description="What the rows left out broke, the most frequent first.")
    errors: list[ProblemItem] = Field(description="The first 100; `row` counts as a spreadsheet does, the header is 1.")


class JobItem(Given):
    """An upload that is predicted when there is time for it."""

    id: str
    model: Model
    state: Literal["waiting", "running", "done", "refused", "failed"] = Field(description="The last three are final.")
    rows: int = Field(ge=0, description="Predicted so far.")
    share: Probability = Field(description="Of the file's bytes, so far.")
    created: str
    expires: str = Field(description="Then the job and its result are removed.")
    summary: CsvSummary | None = Field(description="Of a job that is done.")
    problem: str = Field(description="Why there is no result, of one that was refused or failed.")
    errors: list[ProblemItem] = Field(description="What is wrong with the file, at most 100.")


class ModelSummary(Given):
    """A model in the list."""

    name: Model
    title: str
    versions: list[Version]
    stable: int | None = Field(description="Version that answers; null: nothing is released yet.")
    candidate: int | None = Field(description="Version that is tried beside it.")
    candidate_percent: float = Field(ge=0, le=100, description="Share of the requests that the candidate gets.")


class ModelList(Given):
    """All models."""

    default: Model | None = Field(description="Model that is meant when a request names none; null: one must be named.")
    models: list[ModelSummary]


class TrainingRange(Given):
    """Where the training data lay; values beyond are answered with a warning."""

    minimum: float
    maximum: float
    median: float | None
    missing: Probability = Field(description="Share of the rows without a value.")


class FeatureItem(Given):
    """One value that the model reads."""

    name: str
    type: Literal["number", "integer", "string"]
    required: bool = Field(description="false: may be left out, or null.")
    title: str
    unit: str
    group: str
    description: str
    values: list[str] = Field(description="The only values allowed; empty: any.")
    minimum: int | float | None = Field(description="Least value allowed.")
    maximum: int | float | None = Field(description="Largest value allowed.")
    training: TrainingRange | None
    example: str | float | int


class Metric(Given):
    """A metric on the test split, with its confidence bounds."""

    value: float | None
    lower: float | None
    upper: float | None


class VersionItem(Given):
    """One pushed version."""

    version: Version
    labels: list[Literal["stable", "candidate", "previous"]]
    created: str = Field("", description="UTC, ISO 8601.")
    run_id: str = ""
    threshold: Threshold = None
    metrics: dict[str, Metric] = Field({}, description="On the test split, by name.")
    verdicts: dict[str, str] = Field({}, description="What each gate said.")
    calibrated: bool | None = Field(
        None, description="Whether test showed that the probabilities may be called calibrated."
    )
    problem: str = Field("", description="Why nothing is known of it; empty: all is well.")


class ModelDetail(ModelSummary):
    """All about a model."""

    description: str
    label: str = Field(description="What is predicted.")
    task: Literal["classification", "regression"] = Field(description="Whether a class is predicted, or a number.")
    promised: Probability | None = Field(description="Regression: the share of true values that intervals hold.")
    classes: list[str] = Field(description="None where a number is predicted.")
    positive: str | None = Field(description="Two classes: the one whose probability is told.")
    features: list[FeatureItem]
    version_details: list[VersionItem]


class Rollback(Sent):
    """Takes the last step back."""

    password: Password | None = Field(None, description="Yours, once more. Needed when logins are on.")


class Promotion(Rollback):
    """Which version to make stable. Default: the candidate, else the newest."""

    version: Annotated[Version | None, BeforeValidator(_whole)] = None


class Canary(Promotion):
    """Gives a share of the requests to a version. Default: the candidate, else the newest."""

    percent: float = Field(ge=0, le=100, description="Share of the requests; 0 ends the trial.", examples=[10])


class Released(Given):
    """What is released now."""

    model: Model
    stable: Version
    candidate: Version | None
    candidate_percent: float = Field(ge=0, le=100)
    previous: Version | None = Field(description="Kept loaded for a rollback.")


class Reference(Sent):
    """Whose rows are meant: the asker's own name for a case."""

    reference: str = Field(min_length=1, max_length=STICKY_LENGTH, examples=["case-17"])


class Forgotten(Given):
    """How much was deleted."""

    predictions: int = Field(ge=0, description="Rows.")
    labels: int = Field(ge=0)
    uploads: int = Field(ge=0)
    images: int = Field(ge=0, description="Pictures that were kept.")


class TrueLabel(Sent):
    """The true label of a row that was predicted."""

    request_id: RequestId
    row: Annotated[int, BeforeValidator(_whole)] = Field(
        0, ge=0, le=2**31 - 1, description="Which row of that request, from 0."
    )
    label: str = Field(
        min_length=1,
        max_length=LABEL_LENGTH,
        description="One of the model's classes, or a number where it predicts those.",
        examples=["M"],
    )


class Feedback(TrueLabel):
    """The true label of a row that was predicted, and its model."""

    model: Model | None = None


class FeedbackRows(Sent):
    """The true labels of many rows: all of them are kept, or none."""

    model: Model | None = None
    labels: list[TrueLabel] = Field(min_length=1, max_length=1000)


class FeedbackRowsKept(Given):
    """How many true labels were kept."""

    model: Model
    kept: int = Field(ge=1)


class FeedbackKept(Given):
    """The true label, as it was kept."""

    model: Model
    request_id: RequestId
    row: int
    label: str


class Done(Given):
    """It is done."""

    done: Literal[True] = True

"""All that a report says, gathered once as plain values; each output file is a view of it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from components.evaluation.baselines import Baseline
from components.evaluation.bounds import Metric
from components.report.curves import ClassCurves
from components.verdict import Verdict


@dataclass(frozen=True)
class SliceFacts:
    name: str
    rows: int
    metrics: tuple[Metric, ...]


@dataclass(frozen=True)
class SplitFacts:
    """A split's rows, by class as far as the statistics know them."""

    name: str
    rows: int
    class_counts: Mapping[str, int]


@dataclass(frozen=True)
class FeatureFacts:
    """A column that the model reads, described on the train split. Numbers are None for text."""

    name: str
    title: str
    unit: str
    kind: str
    missing: int
    minimum: float | None = None
    mean: float | None = None
    maximum: float | None = None
    deviation: float | None = None
    distinct: int | None = None


@dataclass(frozen=True)
class AnomalyFacts:
    """An anomaly that ExampleValidator reported."""

    split: str
    feature: str
    kind: str
    sentence: str


@dataclass(frozen=True)
class Stage:
    """A component of the run; `seconds` is 0 if its outputs came from the cache."""

    component: str
    state: str
    seconds: float
    execution_id: int


@dataclass(frozen=True)
class ArtifactFacts:
    """An input of the report: what it is in ML Metadata, and where it lies under the pipeline's root."""

    name: str
    type: str
    artifact_id: int
    uri: str


@dataclass(frozen=True)
class Network:
    """The network as configured, and the layer widths read back from the saved variables."""

    configured: tuple[int, ...]
    saved: tuple[int, ...]
    parameters: int
    tuned: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_as_configured(self) -> bool:
        """Whether what was saved is what was asked for."""
        return self.configured == self.saved


@dataclass(frozen=True)
class History:
    """Values by epoch as Keras names them, and the epoch (from 1) whose weights were kept."""

    values: Mapping[str, Sequence[float]]
    kept_epoch: int

    @property
    def epochs(self) -> int:
        return max((len(series) for series in self.values.values()), default=0)


@dataclass(frozen=True)
class OperatingPointFacts:
    """The decision threshold, what it showed on eval when it was chosen, and what it shows on test."""

    threshold: float
    target_recall: float
    eval_rows: int
    eval_recall: float
    eval_precision: float
    false_positive_rate: float
    recall: float
    precision: float


@dataclass(frozen=True)
class Facts:
    model: str
    title: str
    description: str
    run_id: str
    created: str  # UTC, ISO 8601
    pushed_version: int | None
    label: str
    classes: tuple[str, ...]
    positive: str | None  # None if multi-class
    source: str
    source_digest: str
    settings_hash: str
    seed: int
    confidence: float
    group_by: str | None  # column whose rows stay in one split
    rows_in: int
    splits: tuple[SplitFacts, ...]
    features: tuple[FeatureFacts, ...]
    anomalies: tuple[AnomalyFacts, ...]
    verdicts: tuple[Verdict, ...]
    metrics: tuple[Metric, ...]
    slices: tuple[SliceFacts, ...]
    operating_point: OperatingPointFacts | None
    confusion: tuple[tuple[int, ...], ...]  # true by decided class
    curves: tuple[ClassCurves, ...]
    history: History
    network: Network
    baselines: tuple[Baseline, ...]
    stages: tuple[Stage, ...]
    lineage: tuple[ArtifactFacts, ...]
    environment: Mapping[str, str]
    training: Mapping[str, Any]  # the settings of the network as trained

    @property
    def name(self) -> str:
        return self.title or self.model

    @property
    def headline(self) -> str:
        return "Not pushed" if self.pushed_version is None else f"Pushed as version {self.pushed_version}"

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why it was pushed or not, in sentences."""
        refused = tuple(v.sentence for v in self.verdicts if not v.passed)
        if self.pushed_version is not None:
            gates = [v.gate for v in self.verdicts]
            return (f"The {', '.join(gates[:-1])} and {gates[-1]} gates vouch for it.",)
        return refused or ("Every gate passed, but nothing was pushed: the run's log says why.",)

    @property
    def overrides(self) -> tuple[str, ...]:
        """What an operator said on going on in spite of errors."""
        return tuple(f"The {v.gate} gate was overridden: {v.override}" for v in self.verdicts if v.override)

    @property
    def comparison(self) -> str:
        """How the network compares with the best plain model, by the first metric that both have."""
        own = next((m for m in self.metrics if math.isfinite(m.value)), None)
        others = [(m, b.name) for b in self.baselines for m in b.metrics if own and m.name == own.name]
        known = [(m, name) for m, name in others if math.isfinite(m.value)]
        if own is None or not known:
            return ""
        best, name = max(known, key=lambda pair: pair[0].value)
        apart = best.lower > own.upper or own.lower > best.upper
        words = "Their bounds do not overlap." if apart else "Their bounds overlap: these rows do not set them apart."
        return f"Best plain model by {own.title}: {name}, {best.value:.3f}; the network: {own.value:.3f}. {words}"

    @property
    def test_rows(self) -> int:
        """Rows of the test split that were scored."""
        return sum(map(sum, self.confusion))

    def metric(self, name: str) -> Metric | None:
        """Return a metric on the whole test split, if it was asked for."""
        return next((metric for metric in self.metrics if metric.name == name), None)

    def as_json(self) -> str:
        """Return the JSON twin of the report; numbers that are not defined are null."""
        values = {
            "headline": self.headline,
            "reasons": self.reasons,
            "comparison": self.comparison,
            **asdict(self),
            "network": {**asdict(self.network), "is_as_configured": self.network.is_as_configured},
        }
        return json.dumps(_finite(values), indent=1, allow_nan=False) + "\n"


def _finite(value: Any) -> Any:
    """Return JSON values with NaN and infinities as None."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return value

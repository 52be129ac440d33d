"""All that a report says, gathered once as plain values; each output file is a view of it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from components.evaluation.baselines import Baseline, best_of
from components.evaluation.bounds import Metric
from components.examples.seen import Seen
from components.report.curves import HISTOGRAM_BINS, MAX_POINTS, ClassCurves, Points
from components.tasks.rows import NumberRows
from components.verdict import Verdict
from serving.repository.manifest import METRIC_TITLES


@dataclass(frozen=True)
class NumberFacts:
    """Evenly thinned test rows by rising prediction: `(predicted, true)`, and the interval around each.

    `residuals`: bins of how much too high predictions are: low, high, rows.
    """

    points: Points
    spans: Points
    residuals: tuple[tuple[float, float, int], ...]


def number_facts(scored: NumberRows) -> NumberFacts:
    order = np.argsort(scored.decided, kind="stable")
    chosen = order[np.unique(np.linspace(0, len(order) - 1, min(len(order), MAX_POINTS)).round().astype(int))]
    rows = scored.of(chosen) if len(order) else scored
    counts, edges = np.histogram(scored.errors, bins=HISTOGRAM_BINS)
    return NumberFacts(
        tuple(zip(rows.decided.tolist(), rows.true.tolist(), strict=True)),
        tuple(zip(rows.lower.tolist(), rows.upper.tolist(), strict=True)),
        tuple(zip(edges[:-1].tolist(), edges[1:].tolist(), counts.tolist(), strict=True)),
    )


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
    """The layer widths as configured and as read back from the saved variables.

    `tuned`: what the tuner found of the settings, and `trials`, what it tried, by its objective, the best first.
    """

    configured: tuple[int, ...]
    saved: tuple[int, ...]
    parameters: int
    tuned: Mapping[str, Any] = field(default_factory=dict)
    trials: tuple[Mapping[str, Any], ...] = ()

    @property
    def is_as_configured(self) -> bool:
        return self.configured == self.saved

    @property
    def is_as_trained(self) -> bool:
        """Whether the saved widths are those that were to be trained, configured or tuned."""
        hidden = self.tuned.get("hidden_units", self.configured[:-1])
        return self.saved == (*hidden, self.configured[-1])


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
    asked: str  # in words
    vouched: float | None  # of what was asked, by the eval rows
    eval_rows: int
    eval_recall: float
    eval_precision: float
    false_positive_rate: float
    recall: float
    precision: float


@dataclass(frozen=True)
class BlessedFacts:
    """The blessed model that the gate compared with; no version where it was never pushed, or is no longer there."""

    version: int | None
    run_id: str
    metrics: tuple[Metric, ...]  # on the same test rows

    @property
    def name(self) -> str:
        return (
            "a blessed model that is not pushed"
            if self.version is None
            else f"version {self.version} (run {self.run_id})"
        )


@dataclass(frozen=True)
class Mistake:
    """A test picture that is called another class than its own, as a small JPEG in base64."""

    picture: str
    true: str
    decided: str
    probability: float  # of the class it is called


@dataclass(frozen=True)
class Facts:
    model: str
    title: str
    description: str
    card: dict[str, str]
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
    test_groups: int | None  # how many groups the test rows are of, if `group_by` is given
    rows_in: int
    splits: tuple[SplitFacts, ...]
    features: tuple[FeatureFacts, ...]
    anomalies: tuple[AnomalyFacts, ...]
    verdicts: tuple[Verdict, ...]
    metrics: tuple[Metric, ...]
    slices: tuple[SliceFacts, ...]
    test_rows: int
    operating_point: OperatingPointFacts | None
    confusion: tuple[tuple[int, ...], ...]  # true by decided class
    curves: tuple[ClassCurves, ...]
    numbers: NumberFacts | None  # of a model that predicts numbers
    history: History
    network: Network
    baselines: tuple[Baseline, ...]
    blessed: BlessedFacts | None
    stages: tuple[Stage, ...]
    lineage: tuple[ArtifactFacts, ...]
    environment: Mapping[str, str]
    settings: Mapping[str, Any]  # all that the run came to, `model` as it was trained
    command: str  # that started the run
    mistakes: tuple[Mistake, ...] = ()  # of a model of pictures, the worst first
    pictures: Seen | None = None  # what reading noticed of their folder

    @property
    def name(self) -> str:
        return self.title or self.model

    @property
    def headline(self) -> str:
        return "Not pushed" if self.pushed_version is None else f"Pushed as version {self.pushed_version}"

    @property
    def reasons(self) -> tuple[str, ...]:
        refused = tuple(v.sentence for v in self.verdicts if not v.passed)
        if self.pushed_version is not None:
            gates = [v.gate for v in self.verdicts]
            return (f"The {', '.join(gates[:-1])} and {gates[-1]} gates vouch for it.",)
        return refused or ("Every gate passed, but nothing was pushed: the run's log says why.",)

    @property
    def overrides(self) -> tuple[str, ...]:
        return tuple(f"The {v.gate} gate was overridden: {v.override}" for v in self.verdicts if v.override)

    @property
    def comparison(self) -> str:
        """How the network compares with the plain model that was best on eval, in pairs on the same test rows."""
        best = best_of(self.baselines)
        if best is None or best.behind is None:
            return ""
        found, title = best.behind, METRIC_TITLES[self.change_metric]
        words = "these rows do not set them apart" if found.lower <= 0 <= found.upper else "they are not the same"
        return (
            f"Best plain model by {title} on eval: {best.name}. On the same {best.test_rows} test rows the network is "
            f"better by {found.value:.3f} ({found.lower:.3f} to {found.upper:.3f}): {words}."
        )

    @property
    def change_metric(self) -> str:
        """The metric by which models are compared in pairs."""
        return str(self.settings["evaluation"]["change_metric"])

    @property
    def judged(self) -> int:
        """How many candidates the test rows have judged, this one included."""
        counts = [
            finding.details["judged"] for v in self.verdicts for finding in v.findings if "judged" in finding.details
        ]
        return max(counts, default=1)

    @property
    def point_on_test(self) -> str:
        """What the gate said of the operating point: what was asked of it, and what test saw."""
        return self._said("OPERATING_POINT")

    @property
    def intervals_on_test(self) -> str:
        """What the gate said of prediction intervals: what was promised, and what test saw."""
        return self._said("INTERVALS_HOLD", "INTERVALS_OFF")

    def _said(self, *kinds: str) -> str:
        said = [f.sentence for v in self.verdicts for f in v.findings if f.kind in kinds]
        return said[0][:1].upper() + said[0][1:] if said else ""

    @property
    def test_size(self) -> str:
        """The test rows in words; those of a group say less than as many by themselves."""
        groups = f" of {self.test_groups} groups ({self.group_by})" if self.test_groups is not None else ""
        return f"{self.test_rows} test rows{groups}"

    @property
    def test_use(self) -> str:
        """What the test rows were used for."""
        if self.judged == 1:
            return "that nothing was fitted or chosen on"
        return f"that nothing was fitted on; they have judged {self.judged} candidates"

    def split(self, name: str) -> SplitFacts:
        return next((split for split in self.splits if split.name == name), SplitFacts(name, 0, {}))

    def metric(self, name: str) -> Metric | None:
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

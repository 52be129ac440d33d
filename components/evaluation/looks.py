"""How many candidates the test rows have judged, as ML Metadata knows it, and what that costs.

Whoever trains until a model passes lets luck choose, and the bound of the one that passes is no longer what it says. So
a threshold is held against the bound at a confidence that grows with the candidates refused since the last one passed
(alpha spending): the k-th may pass wrongly with chance `(1 - confidence) / k²`, by adding up a series, however long,
with at most 1.65 times that of its first candidate. A model that passes costs the next one nothing: a retraining loop
is judged on its tenth run as on its first. What that comes to is measured by `python -m bench.looks`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from components.artifacts import read_only_store
from components.splits import SplitTables
from components.verdict import Finding

SKETCHED = 256  # rows by which a test split is known again: those of the least hashes
LEAST_SHARED = 0.5  # of today's test rows; a candidate that was judged on fewer had another judge
WORN_FROM = 10  # candidates
ROWS, CANDIDATE, PASSED = "test_rows", "candidate_id", "passed"  # custom properties of an evaluation


@dataclass(frozen=True)
class Looks:
    """The candidates judged on today's test rows before this one, and how many were refused since one passed."""

    judged: int = 0
    refused: int = 0

    def confidence(self, configured: float) -> float:
        """Return the confidence with which a bound must reach its threshold."""
        return 1 - (1 - configured) / (self.refused + 1) ** 2

    def finding(self, configured: float) -> Finding | None:
        """Tell of them, nothing for the first candidate."""
        if not self.judged:
            return None
        count, held = self.judged + 1, self.confidence(configured)
        details = {"judged": count, "refused_before": self.refused, "confidence": held}
        sentence = f"these test rows have judged {count} candidates"
        if self.refused:
            sentence += (
                f", {self.refused} refused since one passed, so that thresholds ask for {100 * held:.5g}% confidence"
            )
        if count < WORN_FROM:
            return Finding("TEST_ROWS_JUDGED", "info", f"{sentence}.", details=details)
        sentence += "; what was chosen by them looks better on them than it is: judge by a new span of data, or deal "
        return Finding("TEST_ROWS_WORN", "warn", f"{sentence}a fresh test split (split.seed).", details=details)


def sketch(tables: SplitTables) -> str:
    """Return the least hashes of the test rows, by which another test split can be seen to hold the same ones."""
    hashes: NDArray[np.int64] = np.zeros(0, np.int64)
    for batch, _ in tables.batches("test"):
        hashed = tf.strings.to_hash_bucket_fast(batch, 2**63 - 1).numpy()
        hashes = np.unique(np.concatenate([hashes, hashed]))[:SKETCHED]
    return " ".join(f"{number:x}" for number in hashes)


def shared(today: str, earlier: str) -> float:
    """Return the share of today's rows that an earlier test split held, estimated from both sketches."""
    rows, known = ({int(number, 16) for number in text.split()} for text in (today, earlier))
    comparable = {row for row in rows if len(known) < SKETCHED or row <= max(known)}
    return len(comparable & known) / len(comparable) if comparable else 0.0


def count(evaluations: Iterable[Any], today: str, candidate: int) -> Looks:
    """Count the other candidates among ML Metadata's evaluations that were judged on at least half of today's rows."""
    judged: set[int] = set()
    refused: set[int] = set()
    for evaluation in sorted(evaluations, key=lambda artifact: artifact.id):
        properties = evaluation.custom_properties
        other = properties[CANDIDATE].int_value
        if other in (0, candidate) or shared(today, properties[ROWS].string_value) < LEAST_SHARED:
            continue
        judged.add(other)
        refused = set() if properties[PASSED].int_value else {*refused, other}
    return Looks(len(judged), len(refused))


def record(evaluation: Any, candidate: int, passed: bool, rows: str) -> None:
    """Let an evaluation's artifact say whom it judged, by which rows, for those after it."""
    evaluation.set_int_custom_property(CANDIDATE, candidate)
    evaluation.set_int_custom_property(PASSED, int(passed))
    evaluation.set_string_custom_property(ROWS, rows)


def earlier_evaluations(metadata: Path, pipeline_name: str) -> list[Any]:
    """Return a pipeline's evaluations from ML Metadata, nothing if it has none there."""
    store = read_only_store(metadata)
    context = store and store.get_context_by_type_and_name("pipeline", pipeline_name)
    if not context or not any(kind.name == "ModelEvaluation" for kind in store.get_artifact_types()):
        return []
    kind = store.get_artifact_type("ModelEvaluation").id
    return [artifact for artifact in store.get_artifacts_by_context(context.id) if artifact.type_id == kind]

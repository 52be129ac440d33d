"""From rows to answers: route, validate, ask the model server, look the answer over, log, count."""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from itertools import chain
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from common.errors import VouchError
from common.text import MISSING_CODE
from config.settings import IMAGE_BYTES
from serving.client.errors import BadAnswer, ModelNotFound, ModelServerDown
from serving.client.types import DEFAULT_SIGNATURE, ModelClient, Outputs, VersionSpec
from webapp.http.metrics import Metrics
from webapp.models.catalog import Catalog, ModelVersion
from webapp.models.releases import Choice, Router
from webapp.predict.log_writer import PredictionLog
from webapp.predict.validation import Checked, check_rows
from webapp.types import Answer, LoggedBatch, Outcome, RequestInfo

PACKED, PACKED_INPUT = "serving_packed", "features"
SUM_TOLERANCE = 1e-3
LABEL_TOLERANCE = 1e-4  # the model compares in float32
T = TypeVar("T")
Columns = Mapping[str, Any]  # field: a value a row


@dataclass(frozen=True)
class Scored:
    labels: list[str]
    probabilities: NDArray[np.float64]  # [rows, classes]

    def scores(self, model_version: ModelVersion) -> NDArray[np.float64]:
        """Return `[rows]`: the probability of the positive class if there is one, else of the likeliest."""
        if model_version.positive is None:
            return np.asarray(self.probabilities.max(axis=1))
        return self.probabilities[:, model_version.classes.index(model_version.positive)]


class Predictor:
    """Ask released versions by their number, so that it is certain which one answered. Safe between threads."""

    def __init__(
        self, catalog: Catalog, router: Router, client: ModelClient, log: PredictionLog, metrics: Metrics
    ) -> None:
        self._catalog, self._router, self._client, self._log, self._metrics = catalog, router, client, log, metrics

    def predict(self, model: str, rows: Sequence[Mapping[str, Any]], request_info: RequestInfo) -> Answer:
        """Return the answers to rows of JSON values.

        Raises InvalidInput, ModelNotFound, NothingReleased, BadAnswer and what the client raises when the server is
        to blame.
        """
        started = time.perf_counter()

        def attempt(choice: Choice) -> tuple[ModelVersion, Choice, Checked, Scored]:
            model_version = self._catalog.model_version(model, choice.version)
            model_version.refuse_images()
            checked = check_rows(model_version, rows)
            return model_version, choice, checked, self.predict_columns(model_version, checked.columns)

        model_version, choice, checked, scored = self.routed(model, request_info, attempt)
        latency_s = time.perf_counter() - started
        self.record(model_version, choice, request_info, (checked.columns, scored), latency_s)
        self.cautioned(model, Counter(caution.field for caution in chain.from_iterable(checked.cautions)))
        return Answer(
            model,
            model_version.version,
            choice.route,
            model_version.threshold,
            _outcomes(model_version, scored, checked),
            request_info.request_id,
            latency_s,
        )

    def predict_images(self, model: str, images: Sequence[bytes], request_info: RequestInfo) -> Answer:
        """Return the answers to pictures that TensorFlow reads. They are logged by their SHA-256. Raises as `predict`,
        and WrongKind.
        """
        started = time.perf_counter()

        def attempt(choice: Choice) -> tuple[ModelVersion, Choice, Scored]:
            model_version = self._catalog.model_version(model, choice.version)
            model_version.require_images()
            return model_version, choice, self.predict_columns(model_version, {IMAGE_BYTES: list(images)})

        model_version, choice, scored = self.routed(model, request_info, attempt)
        latency_s = time.perf_counter() - started
        logged = {IMAGE_BYTES: [hashlib.sha256(image).hexdigest() for image in images]}
        self.record(model_version, choice, request_info, (logged, scored), latency_s)
        return Answer(
            model,
            model_version.version,
            choice.route,
            model_version.threshold,
            _outcomes(model_version, scored, Checked({}, [()] * len(images))),
            request_info.request_id,
            latency_s,
        )

    def routed(self, model: str, request_info: RequestInfo, attempt: Callable[[Choice], T]) -> T:
        """Return what `attempt` returns for the version that is to answer; if it is gone, for the one in its place.

        Raises ModelNotFound, NothingReleased, ModelServerDown if the model server has neither, and what `attempt`
        raises.
        """
        choice = self._router.choose(model, request_info.sticky_key)
        try:
            return attempt(choice)
        except ModelNotFound:  # a release is under way
            choice = self._router.fallback(model)
        try:
            return attempt(choice)
        except ModelNotFound as error:
            raise ModelServerDown(
                f"the model server does not have {model} version {choice.version}",
                got=error.got,
                fix="python -m serving status says what it has",
            ) from None

    def pinned(self, model: str, request_info: RequestInfo) -> tuple[ModelVersion, Choice]:
        """Return the version that is to answer a whole series of requests. Raises as `routed`."""

        def attempt(choice: Choice) -> tuple[ModelVersion, Choice]:
            model_version = self._catalog.model_version(model, choice.version)
            model_version.refuse_images()
            states = self._client.status(model, VersionSpec(version=choice.version))
            if not any(status.version == choice.version and status.state == "AVAILABLE" for status in states):
                raise ModelNotFound("the version is not loaded", got=", ".join(status.state for status in states))
            return model_version, choice

        return self.routed(model, request_info, attempt)

    def predict_columns(self, model_version: ModelVersion, columns: Columns) -> Scored:
        """Return what one version says of columns that were checked. Nothing is logged; see `record`.

        Raises BadAnswer, ModelNotFound and what the client raises when the server is to blame.
        """
        version_spec = VersionSpec(version=model_version.version)
        started = time.perf_counter()
        outcome = "ok"
        try:
            if model_version.has_packed:
                fields = model_version.fields
                kind = np.float64 if any(field.dtype == "int" for field in fields) else np.float32
                matrix: Any = np.array([columns[field.name] for field in fields], kind).T
                outputs = self._client.predict(
                    model_version.model, {PACKED_INPUT: matrix}, version_spec, signature=PACKED
                )
            else:
                outputs = self._client.predict(model_version.model, columns, version_spec, signature=DEFAULT_SIGNATURE)
            return _scored(model_version, outputs)
        except VouchError as error:
            outcome = type(error).__name__
            raise
        finally:
            self._metrics.model_server_call(outcome, time.perf_counter() - started)

    def record(
        self,
        model_version: ModelVersion,
        choice: Choice,
        request_info: RequestInfo,
        result: tuple[Columns, Scored],
        latency_s: float,
        first_row: int = 0,
        references: Sequence[str] = (),
    ) -> None:
        """Log and count rows that were answered.

        `first_row` is the first one's number in what was asked, `references` the asker's own names for the rows.
        """
        columns, scored = result
        self._log.append(
            LoggedBatch(
                datetime.now(timezone.utc),
                model_version.model,
                model_version.version,
                choice.route,
                request_info,
                latency_s,
                _as_logged(model_version, columns),
                scored.labels,
                scored.probabilities.astype(np.float32),
                model_version.classes,
                model_version.positive,
                references,
                first_row,
            )
        )
        self._metrics.predicted(
            model_version.model,
            model_version.version,
            choice.route,
            scored.labels,
            scored.scores(model_version).astype(np.float32),
        )

    def cautioned(self, model: str, cautions: Counter[str]) -> None:
        """Count values outside what the model was trained on, by field."""
        for name, count in cautions.items():
            self._metrics.cautions.labels(model, name).inc(count)


def _scored(model_version: ModelVersion, outputs: Outputs) -> Scored:
    """Return what the model said, if it can have said it. Raises BadAnswer."""
    try:
        labels, probabilities = outputs["label"], np.array(outputs["probabilities"], np.float64)
    except (KeyError, TypeError, ValueError) as error:
        raise BadAnswer(
            "this is no answer of a classifier",
            got=f"{type(error).__name__}: {error}",
            wanted="label and probabilities",
        ) from None
    if probabilities.shape != (len(labels), len(model_version.classes)):
        raise BadAnswer(
            "the model answered another number of probabilities",
            got=probabilities.shape,
            wanted=f"{len(model_version.classes)} for each of {len(labels)} rows",
        )
    is_probability = (probabilities >= 0.0) & (probabilities <= 1.0)  # NaN is none
    if not is_probability.all():
        raise BadAnswer(
            "the model answered a value that is not a probability", got=float(probabilities[~is_probability][0])
        )
    if {*map(type, labels)} != {str} or not set(model_version.classes).issuperset(labels):
        odd = next(label for label in labels if not isinstance(label, str) or label not in model_version.classes)
        raise BadAnswer("the model answered a class it does not have", got=repr(odd)[:80])
    _check_agreement(model_version, labels, probabilities)
    return Scored(labels, probabilities)


def _check_agreement(model_version: ModelVersion, labels: Sequence[str], probabilities: NDArray[np.float64]) -> None:
    """Raise BadAnswer unless each row's probabilities sum to one, and its label is what they and the threshold say."""
    sums = probabilities.sum(axis=1)
    if len(sums) and np.abs(sums - 1.0).max() > SUM_TOLERANCE:
        odd = sums[np.abs(sums - 1.0).argmax()]
        raise BadAnswer("the model answered probabilities that do not sum to one", got=f"{odd:.4f}")
    chosen = probabilities[np.arange(len(labels)), [model_version.classes.index(label) for label in labels]]
    if model_version.positive and model_version.threshold is not None:
        scores = probabilities[:, model_version.classes.index(model_version.positive)]
        is_positive = np.array([label == model_version.positive for label in labels], bool)
        against = np.where(is_positive, model_version.threshold - scores, scores - model_version.threshold)
    else:
        against = probabilities.max(axis=1, initial=0.0) - chosen
    if len(labels) and against.max() > LABEL_TOLERANCE:
        row = int(against.argmax())
        got = f"{labels[row]!r} with {np.round(probabilities[row], 4).tolist()}"
        raise BadAnswer("the model answered a label that its probabilities do not say", got=got)


def _outcomes(model_version: ModelVersion, scored: Scored, checked: Checked) -> tuple[Outcome, ...]:
    scores, probabilities = scored.scores(model_version).tolist(), scored.probabilities.tolist()
    rows = zip(scored.labels, scores, probabilities, checked.cautions, strict=True)
    return tuple(
        Outcome(label, score, dict(zip(model_version.classes, each, strict=True)), cautions)
        for label, score, each, cautions in rows
    )


def _as_logged(model_version: ModelVersion, columns: Columns) -> Columns:
    """Return columns with None for a missing text or code; a missing number stays NaN."""
    logged = dict(columns)
    for field in model_version.fields:
        if field.kind == "categorical" and not field.required:
            logged[field.name] = [None if value in ("", MISSING_CODE) else value for value in columns[field.name]]
    return logged

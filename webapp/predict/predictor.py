"""From rows to answers: route, validate, ask the model server, look the answer over, log, count."""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timezone
from itertools import chain
from typing import Any, TypeVar

import numpy as np

from common.errors import VouchError
from common.text import MISSING_CODE
from config.data_settings import IMAGE_BYTES
from serving.client.errors import ModelNotFound, ModelServerDown
from serving.client.types import ModelClient, Outputs, VersionSpec
from serving.repository.layout import DEFAULT_SIGNATURE, PACKED_SIGNATURE, PLAIN_SIGNATURE
from webapp.http.metrics import Metrics
from webapp.models.catalog import Catalog, ModelVersion, NoPlainModels
from webapp.models.releases import Choice, Router
from webapp.predict.answers import BOUNDS, Scored, read_answer, read_beside
from webapp.predict.log_writer import PredictionLog
from webapp.predict.validation import Checked, check_rows
from webapp.types import Answer, Beside, LoggedBatch, Outcome, RequestInfo

PACKED_INPUT = "features"
T = TypeVar("T")
Columns = Mapping[str, Any]  # field: a value a row


class Predictor:
    """Ask released versions by their number, so that it is certain which one answered. Safe between threads."""

    def __init__(
        self, catalog: Catalog, router: Router, client: ModelClient, log: PredictionLog, metrics: Metrics
    ) -> None:
        self._catalog, self._router, self._client, self._log, self._metrics = catalog, router, client, log, metrics

    def predict(
        self, model: str, rows: Sequence[Mapping[str, Any]], request_info: RequestInfo, *, with_beside: bool = False
    ) -> Answer:
        """Return the answers to rows of JSON values; with what stands beside each, if that is asked for.

        Raises InvalidInput, ModelNotFound, NothingReleased, NoPlainModels, BadAnswer and what the client raises when
        the server is to blame.
        """
        started = time.perf_counter()

        def attempt(choice: Choice) -> tuple[ModelVersion, Choice, Checked, Scored, Sequence[Beside | None]]:
            model_version = self._catalog.model_version(model, choice.version)
            model_version.refuse_images()
            checked = check_rows(model_version, rows)
            beside = self.beside(model_version, checked.columns) if with_beside else [None] * len(rows)
            return model_version, choice, checked, self.predict_columns(model_version, checked.columns), beside

        model_version, choice, checked, scored, beside = self.routed(model, request_info, attempt)
        latency_s = time.perf_counter() - started
        self.record(model_version, choice, request_info, (checked.columns, scored), latency_s)
        self.cautioned(model, Counter(caution.field for caution in chain.from_iterable(checked.cautions)))
        outcomes = tuple(
            replace(outcome, beside=own)
            for outcome, own in zip(scored.outcomes(model_version, checked.cautions), beside, strict=True)
        )
        return _answer(model_version, choice, outcomes, request_info, latency_s)

    def predict_images(self, model: str, columns: Columns, request_info: RequestInfo) -> Answer:
        """Return the answers to pictures. They are logged by their SHA-256. Raises as `predict`, and WrongKind.

        `columns`: IMAGE_BYTES that TensorFlow reads, and what else is to be logged of each.
        """
        started, images = time.perf_counter(), columns[IMAGE_BYTES]

        def attempt(choice: Choice) -> tuple[ModelVersion, Choice, Scored]:
            model_version = self._catalog.model_version(model, choice.version)
            model_version.require_images()
            return model_version, choice, self.predict_columns(model_version, {IMAGE_BYTES: images})

        model_version, choice, scored = self.routed(model, request_info, attempt)
        latency_s = time.perf_counter() - started
        logged = {**columns, IMAGE_BYTES: [hashlib.sha256(image).hexdigest() for image in images]}
        self.record(model_version, choice, request_info, (logged, scored), latency_s)
        outcomes = scored.outcomes(model_version, [()] * len(images))
        return _answer(model_version, choice, outcomes, request_info, latency_s)

    def routed(self, model: str, request_info: RequestInfo, attempt: Callable[[Choice], T]) -> T:
        """Return what `attempt` returns for the version that is to answer.

        If that is gone, or lacks the plain models that are asked for, the stable one answers in its place.

        Raises ModelNotFound, NothingReleased, ModelServerDown if the model server has neither, and what `attempt`
        raises.
        """
        choice = self._router.choose(model, request_info.sticky_key)
        try:
            return attempt(choice)
        except (ModelNotFound, NoPlainModels):  # a release is under way, or the candidate has none
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
        if not model_version.has_packed:
            return self._asked(model_version, columns, DEFAULT_SIGNATURE, read_answer)
        fields = model_version.fields
        kind = np.float64 if any(field.dtype == "int" for field in fields) else np.float32
        matrix: Any = np.array([columns[field.name] for field in fields], kind).T
        return self._asked(model_version, {PACKED_INPUT: matrix}, PACKED_SIGNATURE, read_answer)

    def beside(self, model_version: ModelVersion, columns: Columns) -> list[Beside]:
        """Return what plain models say of checked columns, and what the network reads of them. Nothing is logged.

        Raises NoPlainModels, and as `predict_columns`.
        """
        model_version.require_plain()
        return self._asked(model_version, columns, PLAIN_SIGNATURE, read_beside)

    def _asked(
        self, model_version: ModelVersion, inputs: Columns, signature: str, read: Callable[[ModelVersion, Outputs], T]
    ) -> T:
        version_spec = VersionSpec(version=model_version.version)
        started = time.perf_counter()
        outcome = "ok"
        try:
            outputs = self._client.predict(model_version.model, inputs, version_spec, signature=signature)
            return read(model_version, outputs)
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
                BOUNDS if model_version.predicts_numbers else model_version.classes,
                model_version.positive,
                references,
                first_row,
                scored.values,
                scored.strangeness,
            )
        )
        self._metrics.predicted(
            model_version.model,
            model_version.version,
            choice.route,
            None if model_version.predicts_numbers else scored.labels,
            scored.scores(model_version).astype(np.float32),
        )

    def cautioned(self, model: str, cautions: Counter[str]) -> None:
        """Count values outside what the model was trained on, by field."""
        self._metrics.cautioned(model, cautions)


def _answer(
    model_version: ModelVersion, choice: Choice, outcomes: tuple[Outcome, ...], asked: RequestInfo, latency_s: float
) -> Answer:
    model, version, threshold = model_version.model, model_version.version, model_version.threshold
    return Answer(model, version, choice.route, threshold, outcomes, asked.request_id, latency_s)


def _as_logged(model_version: ModelVersion, columns: Columns) -> Columns:
    """Return columns with None for a missing text or code; a missing number stays NaN."""
    logged = dict(columns)
    for field in model_version.fields:
        if field.kind == "categorical" and not field.required:
            logged[field.name] = [None if value in ("", MISSING_CODE) else value for value in columns[field.name]]
    return logged

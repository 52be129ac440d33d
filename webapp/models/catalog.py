"""What can be said about each pushed version: its fields, its names for people, what it was measured at.

All of it comes from the version's own folder but the names for people, which come from `config/<model>`.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import threading
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from common.errors import ConfigError, DataError
from common.tables.cleaning import Cleaning
from common.tables.dates import Order
from config import schema
from config.load import CONFIG_NAME, load_settings
from config.schema import Kind
from config.settings import FeatureDisplay, Settings
from serving.client.errors import ModelNotFound
from serving.repository.layout import SCHEMA, STATISTICS, TRAINING, Listing
from serving.repository.manifest import Manifest
from webapp.models.statistics import Stats, read_statistics
from webapp.types import PlainModel

logger = logging.getLogger(__name__)


class UnreadableVersion(DataError):
    http_status = 503


class ModelNotNamed(ModelNotFound):
    """There are several models, and nobody said which is meant."""

    http_status = 400


class WrongKind(DataError):
    """A model of rows was asked for what one of pictures does, or the other way round."""

    http_status = 400


class NoPlainModels(DataError):
    """A version that carries no plain models was asked for what they say."""

    http_status = 404


class NothingPushed(ModelNotFound):
    """There is no model to ask; there may be one later."""

    http_status = 503


@dataclass(frozen=True)
class Field:
    """One value that the model reads. `minimum` and `maximum` are the schema's, not the training data's."""

    name: str
    kind: Kind
    dtype: Literal["int", "float", "string"]
    required: bool
    values: tuple[str, ...]  # the only texts allowed; empty: any
    title: str
    unit: str
    group: str
    description: str
    stats: Stats
    value_names: Mapping[str, str] = dataclasses.field(default_factory=dict)  # what people call a code
    minimum: float | None = None
    maximum: float | None = None
    date_order: Order | None = None  # of a date's parts

    @property
    def is_code(self) -> bool:
        """Whether it is a whole number that stands for a category."""
        return self.dtype == "int" and self.kind == "categorical"

    @cached_property
    def example(self) -> str:
        """A value as in the training data, as text."""
        if self.stats.top:
            return self.stats.top[0][0]
        if self.values:
            return self.values[0]
        if self.dtype == "string":
            return "text"
        middle = self.stats.median if self.stats.median is not None else self.minimum or 0.0
        return str(round(middle)) if self.dtype == "int" else f"{middle:g}"


@dataclass(frozen=True, eq=False)
class ModelVersion:
    """One pushed version, for people and for predictions. `threshold`: from here on `positive` is said."""

    model: str
    version: int
    title: str
    description: str
    fields: tuple[Field, ...]  # in the schema's order, which is that of the packed matrix
    label: str
    classes: tuple[str, ...]  # in the order of the probabilities; none where a number is predicted
    positive: str | None  # None unless there are two classes
    threshold: float | None
    manifest: Manifest
    folder: Path
    has_packed: bool  # all fields are quantities: a row is one line of a float32 matrix
    class_names: Mapping[str, str]  # what people call a class; one that is not there: as it is
    cleaning: Cleaning  # how the training data's texts were read
    is_medical: bool = False  # pages have to say that it is no medical device
    reads_images: bool = False  # by the one input IMAGE_BYTES
    class_info: Mapping[str, str] = dataclasses.field(default_factory=dict)  # of pictures: what there is to say of one
    none_share: float | None = None  # of true pictures: it takes so many for none of the classes, or never any
    derived: Mapping[str, str] = dataclasses.field(default_factory=dict)  # what it computes from the fields, and how
    promised: float | None = None  # of numbers: the share of true ones that intervals hold
    label_range: tuple[float, float] = (0.0, 1.0)  # of numbers: from where to where the true ones of training lay
    plain_models: tuple[PlainModel, ...] = ()  # in the order of their answers
    inputs: tuple[tuple[str, str], ...] = ()  # of the network: whose each is, and which part of it

    def refuse_images(self) -> None:
        """Raise WrongKind for what only tables have."""
        if self.reads_images:
            raise WrongKind(
                f"{self.model} reads pictures, not rows",
                wanted="a picture",
                fix=f"POST /api/v1/predict/image?model={self.model}, or the page Predict",
            )

    def require_plain(self) -> None:
        """Raise NoPlainModels for a version that was made without."""
        if not self.plain_models:
            raise NoPlainModels(
                f"version {self.version} of {self.model} carries no plain models",
                wanted="a version with the signature serving_plain",
                fix="run the pipeline for a version that has it, or ask without plain and inputs",
            )

    def require_images(self) -> None:
        """Raise WrongKind for a model of rows."""
        if not self.reads_images:
            raise WrongKind(f"{self.model} reads rows, not pictures", wanted="rows", fix="POST /api/v1/predict")

    @property
    def predicts_numbers(self) -> bool:
        return not self.classes

    @cached_property
    def by_name(self) -> dict[str, Field]:
        return {field.name: field for field in self.fields}

    @cached_property
    def groups(self) -> tuple[tuple[str, tuple[Field, ...]], ...]:
        """Each heading with its fields, in the order in which the headings come first."""
        by_heading: dict[str, list[Field]] = {}
        for field in self.fields:
            by_heading.setdefault(field.group, []).append(field)
        return tuple((heading, tuple(fields)) for heading, fields in by_heading.items())

    def field(self, name: str) -> Field:
        return self.by_name[name]

    def called(self, label: str) -> str:
        return self.class_names.get(label, label)


class Catalog:
    """The pushed versions under a root. A version never changes, so each is read once. Safe between threads."""

    def __init__(self, serving: Path, models: Path) -> None:
        self._serving, self._models = serving, models
        self._model_versions: dict[tuple[str, int], ModelVersion] = {}
        self._lock, self._listing = threading.Lock(), Listing(serving)

    def models(self) -> list[str]:
        return self._listing.models()

    def versions(self, model: str) -> list[int]:
        numbers: list[int] = []
        if model not in (".", "..") and Path(model).name == model:
            with suppress(DataError, ValueError):  # a folder that cannot be read is no model, nor a name with a NUL
                numbers = self._listing.versions(model)
        if not numbers:
            raise self._unknown(model)
        return numbers

    def default(self, preferred: str) -> str:
        """Return the model that a request means which names none: the preferred, else the only one.

        Raises NothingPushed without any, ModelNotNamed if there are several: one pushed later must change no answer.
        """
        candidates = [preferred] if preferred else self.models()
        if len(candidates) > 1:
            raise ModelNotNamed(
                "the request names no model",
                wanted=f"one of: {', '.join(candidates)}",
                fix="name it, or set VOUCH_MODEL",
            )
        return candidates[0] if candidates else self.opening("")

    def opening(self, preferred: str) -> str:
        """Return the model that pages open with: the preferred, else the first by name. Raises NothingPushed."""
        if preferred:
            self.versions(preferred)
            return preferred
        pushed = self.models()
        if not pushed:
            raise NothingPushed("no model has been pushed yet", fix="make demo trains and pushes one")
        return pushed[0]

    def model_version(self, model: str, version: int) -> ModelVersion:
        """Return one version's card. Raises ModelNotFound, UnreadableVersion."""
        model_version = self._model_versions.get((model, version))
        if model_version:
            return model_version
        with self._lock:
            if (model, version) not in self._model_versions:
                try:
                    self._model_versions[model, version] = self._read(model, version)
                except (ConfigError, DataError) as error:
                    raise UnreadableVersion(error.what, got=error.got, fix="push the model again") from None
            return self._model_versions[model, version]

    def _read(self, model: str, version: int) -> ModelVersion:
        numbers = self.versions(model)
        if version not in numbers:
            raise ModelNotFound(f"{model} has no version {version}", wanted=f"one of {', '.join(map(str, numbers))}")
        folder = self._serving / model / str(version)
        training = _json(folder / TRAINING)
        try:
            trained = Settings.model_validate(training["settings"])
            names, point = list(training["features"]), training.get("operating_point")
        except (KeyError, TypeError, ValidationError) as error:
            raise DataError(f"{folder / TRAINING} does not tell how the model was trained", got=error) from None
        shown = self._shown(trained)
        fields = _fields(folder, trained, names, shown)
        return ModelVersion(
            model=model,
            version=version,
            title=shown.title or prettified(model),
            description=shown.description,
            fields=fields,
            label=trained.data.label,
            classes=trained.data.classes,
            positive=trained.data.positive_class if trained.data.is_binary else None,
            threshold=float(point["threshold"]) if point else None,
            manifest=Manifest.read(folder),
            folder=folder,
            has_packed=all(field.kind == "numeric" for field in fields),
            cleaning=trained.data.cleaning,
            class_names=shown.class_names,
            is_medical=shown.medical,
            reads_images=trained.data.is_images,
            class_info=shown.class_info,
            none_share=trained.image.none_of_these,
            derived=trained.derived,
            promised=training["intervals"]["coverage"] if trained.data.is_regression else None,
            label_range=_label_range(folder, trained),
            plain_models=tuple(PlainModel(**each) for each in training.get("plain_models", ())),
            inputs=tuple((name, part) for name, part in training.get("inputs", ())),
        )

    def _shown(self, trained: Settings) -> Settings:
        """Return the settings with today's names for people, or those it was trained with."""
        usual = self._models / trained.name / CONFIG_NAME
        for path in sorted(self._models.glob(f"*/{CONFIG_NAME}"), key=lambda path: path != usual):
            try:
                settings = load_settings(path)
            except ConfigError as error:
                logger.warning("names for people are not taken from %s: %s", path, error.what)
                continue
            if settings.name == trained.name:
                return settings
        return trained

    def _unknown(self, model: str) -> ModelNotFound:
        pushed = ", ".join(self.models()) or "none has been pushed yet"
        return ModelNotFound("there is no such model", got=repr(model[:80]), wanted=f"one of: {pushed}")


def _label_range(folder: Path, trained: Settings) -> tuple[float, float]:
    label = read_statistics(folder / STATISTICS).get(trained.data.label) if trained.data.is_regression else None
    low, high = (label.minimum, label.maximum) if label else (None, None)
    return (0.0, 1.0) if low is None or high is None else (low, high)


def _fields(folder: Path, trained: Settings, names: Iterable[str], shown: Settings) -> tuple[Field, ...]:
    known, used = read_statistics(folder / STATISTICS), set(names)
    fields = []
    for feature in schema.model_features(schema.read_schema(folder / SCHEMA), trained):
        if feature.name not in used:
            continue
        display = shown.features.get(feature.name) or FeatureDisplay()
        fields.append(
            Field(
                feature.name,
                feature.kind,
                feature.dtype,
                feature.required,
                feature.values,
                title=display.name or prettified(feature.name),
                unit=display.unit or "",
                group=display.group or "",
                description=display.description or "",
                stats=known.get(feature.name) or Stats(),
                value_names=display.values,
                minimum=feature.minimum,
                maximum=feature.maximum,
                date_order=trained.dates.get(feature.name),
            )
        )
    return tuple(fields)


def _json(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"cannot read {path}", got=error) from None
    if not isinstance(document, dict):
        raise DataError(f"{path} holds no object", got=type(document).__name__)
    return document


def prettified(name: str) -> str:
    words = name.replace("_", " ").strip()
    return words[:1].upper() + words[1:]

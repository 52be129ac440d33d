"""From uploaded files to answers: decoded, predicted in one request, kept unless somebody does not want it."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from itertools import islice
from typing import BinaryIO

from common.records import images
from config.data_settings import IMAGE_BYTES, IMAGE_STATISTICS
from webapp.images.decoding import Picture, RefusedImage
from webapp.models.catalog import ModelVersion
from webapp.predict.validation import shown
from webapp.services import Services
from webapp.types import Answer, InvalidInput, Outcome, Problem, RequestInfo

TOP = 3
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Read:
    """What became of one uploaded file: a picture, or why there is none. `number` counts from 0."""

    number: int
    name: str
    picture: Picture | None = None
    refusal: RefusedImage | None = None


def read_files(app_services: Services, files: Iterable[tuple[str, BinaryIO]]) -> list[Read]:
    """Decode files, each with its name. Raises InvalidInput where there are none, or too many; NoRoom."""
    most = app_services.settings.max_images
    sent = list(islice(files, most + 1))
    if not 0 < len(sent) <= most:
        got = "none" if not sent else "more"
        raise InvalidInput([Problem("file", f"must be 1 to {most} pictures", got, "file=@flower.jpg")])
    return [_read(app_services, number, *each) for number, each in enumerate(sent)]


def _read(app_services: Services, number: int, name: str, stream: BinaryIO) -> Read:
    limit_bytes = app_services.settings.max_image_bytes
    data = stream.read(limit_bytes + 1)
    name = shown(name)
    try:
        if len(data) > limit_bytes:
            raise RefusedImage("FILE_TOO_LARGE", f"must have at most {limit_bytes} bytes", "more")
        return Read(number, name, app_services.decoders.picture(data))
    except RefusedImage as refusal:
        return Read(number, name, refusal=refusal)


def predict(
    app_services: Services, model: str, pictures: Sequence[Picture], request_info: RequestInfo, *, keep: bool
) -> Answer:
    """Answer pictures, and keep them if that is wanted and allowed. Raises as Predictor.predict_images."""
    columns = {
        IMAGE_BYTES: [picture.data for picture in pictures],
        **{name: [picture.statistics[name] for picture in pictures] for name in IMAGE_STATISTICS},
    }
    reply = app_services.predictor.predict_images(model, columns, request_info)
    if keep and keeps(app_services):
        base, today = app_services.settings.collected / model, datetime.now(timezone.utc).date()
        for picture in pictures:
            try:
                images.keep(base, today, picture.sha256, picture.data)
            except OSError as error:  # the answer stands
                log.warning("a picture could not be kept: %s", error)
    return reply


def keeps(app_services: Services) -> bool:
    """Tell whether pictures are kept at all: not without the log, which says what they were predicted as."""
    return app_services.settings.collect_images and app_services.settings.log_predictions


@dataclass(frozen=True)
class Verdict:
    """What the model says of one picture. `none_of_these`: it lies far from all of training."""

    label: str
    confidence: float
    top: tuple[tuple[str, float], ...]
    info: str
    none_of_these: bool


def verdict_of(model_version: ModelVersion, outcome: Outcome) -> Verdict:
    ranking = sorted(outcome.probabilities.items(), key=lambda pair: -pair[1])
    confidence = outcome.probabilities[outcome.label]
    is_none = outcome.strangeness is not None and outcome.strangeness > 1.0
    info = model_version.class_info.get(outcome.label, "")
    return Verdict(outcome.label, confidence, tuple(ranking[:TOP]), info, is_none)

"""Label pictures that were kept: which comes next, what people say of it, and what that makes of its predictions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone

from sqlalchemy import Connection

from common.errors import DataError, VouchError
from common.records import image_labels, images
from common.records.files import start_of
from common.records.image_labels import Agreement, ImageLabel, ImagePrediction, agreement_of
from common.records.images import KeptImage
from config.data_settings import IMAGE_BYTES
from webapp.services import Services

FLUSH_S = 2.0


class NoSuchImage(VouchError):
    """There is no such picture on disk."""

    http_status = 404


@dataclass(frozen=True)
class Counts:
    """How many pictures nobody has labelled, and of how many people contradict each other."""

    unlabelled: int = 0
    disputed: int = 0
    labelled: int = 0


@dataclass(frozen=True)
class Task:
    """The picture to look at, if there is one."""

    counts: Counts
    image: KeptImage | None = None
    said: tuple[ImageLabel, ...] = ()
    predictions: tuple[ImagePrediction, ...] = ()


class Labelling:
    """One model's pictures. Cheap to make."""

    def __init__(self, app_services: Services, model: str) -> None:
        self._services, self._model = app_services, model
        self.base = app_services.settings.collected / model

    def next(self, after: str = "", *, is_disputed: bool = False) -> Task:
        """Return the first picture that nobody has labelled, or that is disputed; of those `after` a picture, by hash,
        first.
        """
        with self._services.database.reading() as connection:
            known = image_labels.of_model(connection, self._model)
        kept = [*images.images(self.base)]
        agreements = [agreement_of(known.get(image.sha256, ())) for image in kept]
        unlabelled = [place for place, said in enumerate(agreements) if said is None]
        disputed = [place for place, said in enumerate(agreements) if said and said.is_disputed]
        counts = Counts(len(unlabelled), len(disputed), len(kept) - len(unlabelled) - len(disputed))
        waiting = disputed if is_disputed else unlabelled
        start = next((place for place, image in enumerate(kept, start=1) if image.sha256 == after), 0)
        place = next((place for place in waiting if place >= start), waiting[0] if waiting else None)
        chosen = None if place is None else kept[place]
        return self._task(counts, chosen, tuple(known.get(chosen.sha256, ())) if chosen else ())

    def one(self, sha256: str) -> Task:
        """Return a picture whatever was said of it. Raises NoSuchImage."""
        counts = self.next().counts
        with self._services.database.reading() as connection:
            said = image_labels.of_image(connection, self._model, sha256)
        return self._task(counts, self.find(sha256), tuple(said))

    def find(self, sha256: str) -> KeptImage:
        """Raises NoSuchImage."""
        if image := next(images.find(self.base, sha256), None):
            return image
        raise NoSuchImage("this picture is not kept", fix="it may have been deleted, or be too old")

    def tell(self, sha256: str, label: str | None, classes: tuple[str, ...], who: str) -> Agreement | None:
        """Write down what somebody says; None is a bad picture. Its predictions get the label that all agree on.

        Raises NoSuchImage, and DataError for what is no class.
        """
        self.find(sha256)
        if label is not None and label not in classes:
            raise DataError(
                "this is no class of the model", got=repr(label[:80]), wanted=f"one of {', '.join(classes)}"
            )
        predictions = self._predictions(sha256)
        with self._services.database.writing() as connection:
            said = ImageLabel(sha256, who, label, datetime.now(timezone.utc))
            image_labels.tell(connection, self._model, said)
            return self._settle(connection, sha256, predictions, who)

    def take_back(self, who: str) -> str | None:
        """Take back somebody's last word; return the picture that it was about."""
        with self._services.database.writing() as connection:
            sha256 = image_labels.take_back(connection, self._model, who)
        if sha256:
            predictions = self._predictions(sha256)
            with self._services.database.writing() as connection:
                self._settle(connection, sha256, predictions, who)
        return sha256

    def _settle(
        self, connection: Connection, sha256: str, predictions: Sequence[ImagePrediction], who: str
    ) -> Agreement | None:
        agreement = image_labels.settle(connection, self._model, sha256, predictions, who)
        detail = f"{self._model}, picture {sha256[:12]}: {_words(agreement)}"
        self._services.accounts.audit.append_in(connection, who, "picture labelled", detail)
        return agreement

    def _task(self, counts: Counts, image: KeptImage | None, said: tuple[ImageLabel, ...]) -> Task:
        predictions = tuple(self._predictions(image.sha256)) if image else ()
        return Task(counts, image, said, predictions)

    def _predictions(self, sha256: str) -> list[ImagePrediction]:
        """Return what was predicted of a picture, the newest first. The log may lag behind."""
        self._services.log.flush(FLUSH_S)
        log = self._services.settings.predictions / self._model
        days = [image.day for image in images.find(self.base, sha256)]
        start = start_of(min(days)) if days else None
        return image_labels.predictions_of(log, IMAGE_BYTES, {sha256}, start).get(sha256, [])


def _words(agreement: Agreement | None) -> str:
    if agreement is None:
        return "nothing"
    return "disputed" if agreement.is_disputed else "bad picture" if agreement.is_bad else str(agreement.label)

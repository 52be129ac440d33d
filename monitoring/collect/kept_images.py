"""The pictures that the web app has kept of a model, with what people say of them and what they were predicted as."""

from __future__ import annotations

import getpass
from collections.abc import Sequence
from datetime import datetime, timezone
from functools import cached_property
from pathlib import Path

from sqlalchemy import Connection

from common.records import image_labels, images
from common.records.image_labels import Agreement, ImageLabel, ImagePrediction, agreement_of
from common.records.images import KeptImage
from config.data_settings import IMAGE_BYTES
from config.settings import Settings


class KeptImages:
    """Read once, but for the labels that are told here."""

    def __init__(self, var: Path, settings: Settings, connection: Connection) -> None:
        self.settings, self._connection = settings, connection
        self._log = var / "predictions" / settings.name
        kept = images.images(var / images.FOLDER / settings.name)
        self.images: dict[str, KeptImage] = {image.sha256: image for image in kept}
        self._said = image_labels.of_model(connection, settings.name)

    @cached_property
    def predictions(self) -> dict[str, list[ImagePrediction]]:
        """What was predicted of each, the newest first."""
        return image_labels.predictions_of(self._log, IMAGE_BYTES, self.images.keys())

    def labels(self, sha256: str) -> Sequence[ImageLabel]:
        return self._said.get(sha256, ())

    def agreement(self, sha256: str) -> Agreement | None:
        return agreement_of(self.labels(sha256))

    def tell(self, sha256: str, label: str | None) -> bool:
        """Write down the word of the system's user; return whether it is news."""
        who = f"cli:{getpass.getuser()}"
        if any(each.who == who and each.label == label for each in self.labels(sha256)):
            return False
        said = ImageLabel(sha256, who, label, datetime.now(timezone.utc))
        image_labels.tell(self._connection, self.settings.name, said)
        predictions = self.predictions.get(sha256, ())
        image_labels.settle(self._connection, self.settings.name, sha256, predictions, who)
        self._said[sha256] = [*(each for each in self.labels(sha256) if each.who != who), said]
        return True

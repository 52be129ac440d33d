"""What a class rests on: the picture once more for each of its cells, with that one grey, in one request."""

from __future__ import annotations

from dataclasses import dataclass

from config.data_settings import IMAGE_BYTES
from webapp.images.decoding import Picture
from webapp.models.catalog import ModelVersion
from webapp.services import Services

CELLS = 7  # rows and columns: with the picture itself 50 pictures in one request


@dataclass(frozen=True)
class Cell:
    """By how much one cell raises the probability: that of the whole picture less that without it."""

    row: int
    column: int
    effect: float


def occlusion_of(app_services: Services, model_version: ModelVersion, picture: Picture, label: str) -> list[Cell]:
    """Ask the model server for a picture and all its copies with one cell grey. Nothing is logged.

    Return the cells, the one that raises the class's probability most first. Raises RefusedImage, NoRoom and as
    Predictor.predict_columns.
    """
    copies = app_services.decoders.occluded(picture, CELLS)
    scored = app_services.predictor.predict_columns(model_version, {IMAGE_BYTES: copies})
    whole, *without = scored.probabilities[:, model_version.classes.index(label)].tolist()
    cells = (Cell(*divmod(i, CELLS), whole - share) for i, share in enumerate(without))
    return sorted(cells, key=lambda cell: -cell.effect)

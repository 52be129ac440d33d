"""What the page of a model of pictures shows: the class of each, and of a single one what the class rests on."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from typing import BinaryIO, cast

from flask import Response, make_response, render_template, request

from common.errors import VouchError
from webapp import wording
from webapp.auth import asked_by
from webapp.http.errors import page_with
from webapp.images.decoding import Picture
from webapp.images.occlusion import CELLS, Cell, occlusion_of
from webapp.images.predicting import Read, Verdict, keeps, predict, read_files, verdict_of
from webapp.models.catalog import ModelVersion
from webapp.pages import frame
from webapp.pages.result import unless_it_fails
from webapp.services import services
from webapp.types import REFERENCE_LENGTH, Answer, InvalidInput

FILE, KEEP, REFERENCE = "file", "keep", "__reference"
NO = "no"
LEAST_EFFECT = 0.01  # of probability; below, no part of a picture is said to matter
NAMED_CELLS = 3


@dataclass(frozen=True)
class OcclusionMap:
    """The cells that speak for a picture's class, the one that does most first; and the same in words."""

    cells: Sequence[Cell]
    words: str


@dataclass(frozen=True)
class Shown:
    """One picture that was answered."""

    read: Read
    row: int  # its number in the request
    verdict: Verdict
    preview: str
    occlusion: OcclusionMap | None = None


@dataclass(frozen=True)
class Pictures:
    """What became of a form: answers, files that could not be read, or why there is no answer at all."""

    shown: Sequence[Shown] = ()
    problems: Sequence[tuple[str, str]] = ()  # the id of the field, and what is wrong
    failure: VouchError | None = None
    answer: Answer | None = None
    answered_by: ModelVersion | None = None
    time: datetime | None = None
    reference: str = ""
    is_kept: bool = False


def form_page(model_version: ModelVersion) -> Response:
    return make_response(_page(model_version, Pictures()))


def answered_page(model_version: ModelVersion) -> Response:
    """Answer the form's pictures. Those that can be read are answered beside others that cannot."""
    try:
        read = read_files(services(), _files())
    except InvalidInput as error:
        problems = [(FILE, f"Choose a picture: {problem.rule}, got {problem.got}") for problem in error.problems]
        return make_response(_page(model_version, Pictures(problems=problems)), error.http_status)
    except VouchError as error:
        return page_with(_page(model_version, Pictures(failure=error)), error)
    refusals = [each.refusal for each in read if each.refusal]
    problems = [_told(each, each.refusal) for each in read if each.refusal]
    try:
        pictures = _answered(model_version, [each for each in read if each.picture], problems)
    except VouchError as error:
        return page_with(_page(model_version, Pictures(problems=problems, failure=error)), error)
    status = 200 if pictures.shown else refusals[0].http_status
    return make_response(_page(model_version, pictures), status)


def _answered(model_version: ModelVersion, read: Sequence[Read], problems: Sequence[tuple[str, str]]) -> Pictures:
    if not read:
        return Pictures(problems=problems)
    is_wanted = request.form.get(KEEP) != NO
    reference = request.form.get(REFERENCE, "").strip()[:REFERENCE_LENGTH]
    pictures = [each.picture for each in read if each.picture]
    asked = asked_by("page", reference=reference)
    answer = predict(services(), model_version.model, pictures, asked, keep=is_wanted)
    answered_by = services().catalog.model_version(answer.model, answer.version)
    shown = [
        Shown(each, row, verdict_of(answered_by, outcome), _as_uri(picture.preview))
        for row, (each, picture, outcome) in enumerate(zip(read, pictures, answer.outcomes, strict=True))
    ]
    if len(shown) == 1:
        shown = [replace(shown[0], occlusion=_occlusion(answered_by, shown[0], pictures[0]))]
    return Pictures(
        shown,
        problems,
        answer=answer,
        answered_by=answered_by,
        time=datetime.now(timezone.utc),
        reference=reference,
        is_kept=is_wanted and keeps(services()),
    )


def _files() -> Iterator[tuple[str, BinaryIO]]:
    """Yield the files of the form; a field that nothing was chosen in sends one without a name."""
    return ((file.filename, cast(BinaryIO, file.stream)) for file in request.files.getlist(FILE) if file.filename)


def _told(read: Read, refusal: InvalidInput) -> tuple[str, str]:
    return FILE, f"{read.name}: {refusal.problems[0].rule}, got {refusal.problems[0].got}"


def _occlusion(model_version: ModelVersion, shown: Shown, picture: Picture) -> OcclusionMap | None:
    label = shown.verdict.label
    cells = unless_it_fails(
        "occlusion map", model_version, lambda: occlusion_of(services(), model_version, picture, label)
    )
    if cells is None:
        return None
    speaking = [cell for cell in cells if cell.effect > 0] if cells[0].effect >= LEAST_EFFECT else []
    return OcclusionMap(speaking, occlusion_words(cells, model_version.called(label)))


def occlusion_words(cells: Sequence[Cell], name: str) -> str:
    """Return which cells speak most for a class, for those who do not see the drawing."""
    strongest = [cell for cell in cells[:NAMED_CELLS] if cell.effect >= LEAST_EFFECT]
    if not strongest:
        return f"No single part of the picture matters much for {name}."
    named = "; ".join(
        f"row {cell.row + 1}, column {cell.column + 1}: {wording.points(cell.effect)}" for cell in strongest
    )
    return (
        f"Marked are the parts without which {name} becomes less likely, the darker the more. "
        f"Of {CELLS} rows and columns most, in points: {named}."
    )


def _as_uri(jpeg: bytes) -> str:
    return f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}"


def _page(model_version: ModelVersion, pictures: Pictures) -> str:
    settings = services().settings
    return render_template(
        "_images_parts.html" if frame.is_partial() else "images.html",
        model_version=model_version,
        pictures=pictures,
        collects=keeps(services()),
        retention_days=settings.log_retention_days,
        cells=CELLS,
        max_images=settings.max_images,
        max_mib=settings.max_image_bytes / 2**20,
    )

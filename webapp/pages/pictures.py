"""What the page of a model of pictures shows: the class of each, and of a single one what the class rests on."""

from __future__ import annotations

import base64
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import BinaryIO, cast

from flask import Response, make_response, render_template, request
from markupsafe import Markup
from werkzeug.datastructures import FileStorage

from common.draw.svg import box
from common.errors import VouchError
from webapp import wording
from webapp.http.errors import page_with
from webapp.images.occlusion import CELLS, Occlusion, occlusion_of
from webapp.images.predicting import Read, Verdict, keeps, predict, read_files, verdict_of
from webapp.models.catalog import ModelVersion
from webapp.pages import frame
from webapp.services import services
from webapp.types import REFERENCE_LENGTH, Answer, InvalidInput, Outcome

FILE, KEEP, REFERENCE = "file", "keep", "__reference"
NO = "no"
LEAST_EFFECT = 0.01  # of probability; below, no part of a picture is said to matter
NAMED_CELLS = 3
SHADE = 0.75  # of the cell without which the probability falls most
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class OcclusionMap:
    """The picture with the cells marked that speak for its class, and the same in words."""

    drawing: Markup
    words: str


@dataclass(frozen=True)
class Shown:
    """One picture that was answered."""

    read: Read
    row: int  # its number in the request
    verdict: Verdict
    outcome: Outcome
    preview: str
    occlusion: OcclusionMap | None = None


@dataclass(frozen=True)
class Pictures:
    """What became of a form: answers, files that could not be read, or why there is no answer at all."""

    shown: Sequence[Shown] = ()
    problems: Sequence[str] = ()
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
        read = read_files(services(), ((_name(file), cast(BinaryIO, file.stream)) for file in _files()))
    except InvalidInput as error:
        problems = [f"Choose a picture: {problem.rule}, got {problem.got}" for problem in error.problems]
        return make_response(_page(model_version, Pictures(problems=problems)), error.http_status)
    except VouchError as error:
        return page_with(_page(model_version, Pictures(failure=error)), error)
    refusals = [each.refusal for each in read if each.refusal]
    problems = [_told(each) for each in read if each.refusal]
    try:
        pictures = _answered(model_version, [each for each in read if each.picture], problems)
    except VouchError as error:
        return page_with(_page(model_version, Pictures(problems=problems, failure=error)), error)
    status = 200 if pictures.shown else refusals[0].http_status
    return make_response(_page(model_version, pictures), status)


def _answered(model_version: ModelVersion, read: Sequence[Read], problems: Sequence[str]) -> Pictures:
    if not read:
        return Pictures(problems=problems)
    is_wanted = request.form.get(KEEP) != NO
    reference = request.form.get(REFERENCE, "").strip()[:REFERENCE_LENGTH]
    pictures = [each.picture for each in read if each.picture]
    asked = frame.asked("page", reference)
    answer = predict(services(), model_version.model, pictures, asked, keep=is_wanted)
    answered_by = services().catalog.model_version(answer.model, answer.version)
    shown = [
        Shown(each, row, verdict_of(answered_by, outcome), outcome, _as_uri(picture.preview))
        for row, (each, picture, outcome) in enumerate(zip(read, pictures, answer.outcomes, strict=True))
    ]
    if len(shown) == 1:
        [single] = shown
        shown = [Shown(**{**vars(single), "occlusion": _occlusion(answered_by, single)})]
    return Pictures(
        shown,
        problems,
        answer=answer,
        answered_by=answered_by,
        time=datetime.now(timezone.utc),
        reference=reference,
        is_kept=is_wanted and keeps(services()),
    )


def _files() -> list[FileStorage]:
    """Return the files of the form; a field that nothing was chosen in sends one without a name."""
    return [file for file in request.files.getlist(FILE) if file.filename]


def _name(file: FileStorage) -> str:
    return cast(str, file.filename)


def _told(read: Read) -> str:
    problem = read.refusal.problems[0] if read.refusal else None
    return f"{read.name}: {problem.rule}, got {problem.got}" if problem else read.name


def _occlusion(model_version: ModelVersion, shown: Shown) -> OcclusionMap | None:
    """Return what the class rests on, None where it cannot be had: the answer stands."""
    picture = shown.read.picture
    if picture is None:
        return None
    try:
        occlusion = occlusion_of(services(), model_version, picture, shown.verdict.label)
    except VouchError as error:
        log.warning("no occlusion map by %s %d: %s", model_version.model, model_version.version, error.what)
        return None
    words = occlusion_words(occlusion, model_version.called(shown.verdict.label))
    size = (320.0, 320.0 * picture.height / max(picture.width, 1))
    drawing = _drawing(occlusion, shown.preview, size, words)
    return OcclusionMap(drawing, words)


def occlusion_words(occlusion: Occlusion, name: str) -> str:
    """Return which cells speak most for a class, for those who do not see the drawing."""
    strongest = [cell for cell in occlusion.by_effect()[:NAMED_CELLS] if cell.effect >= LEAST_EFFECT]
    if not strongest:
        return f"No single part of the picture matters much for {name}."
    cells = "; ".join(
        f"row {cell.row + 1}, column {cell.column + 1}: {wording.points(cell.effect)}" for cell in strongest
    )
    return (
        f"Marked are the parts without which {name} becomes less likely, the darker the more. "
        f"Of {CELLS} rows and columns most, in points: {cells}."
    )


def _drawing(occlusion: Occlusion, preview: str, size: tuple[float, float], words: str) -> Markup:
    width, height = size
    strongest = max(cell.effect for cell in occlusion.by_effect())
    opening = Markup('<svg class="occlusion" viewBox="0 0 {:.0f} {:.0f}" role="img"><title>{}</title>')
    image = Markup('<image href="{}" width="{:.0f}" height="{:.0f}" preserveAspectRatio="none"/>')
    parts = [opening.format(width, height, words), image.format(preview, width, height)]
    for cell in occlusion.by_effect() if strongest >= LEAST_EFFECT else ():
        if cell.effect > 0:
            place = box(
                cell.column * width / CELLS, cell.row * height / CELLS, width / CELLS, height / CELLS, "occluded"
            )
            opacity = SHADE * cell.effect / strongest
            parts.append(Markup('<g fill-opacity="{:.2f}">{}</g>').format(opacity, place))
    return Markup("").join([*parts, Markup("</svg>")])


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
        max_images=settings.max_images,
        max_mib=settings.max_image_bytes / 2**20,
    )

"""Predictions of pictures: one as the body, or several in a form."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import BinaryIO, cast

from flask import Request, Response, request

from webapp.api.body import IMAGES, MULTIPART, check_media_type
from webapp.api.csv import STICKY
from webapp.api.predict import MODEL, REFERENCE, TAG, model_asked, text_asked
from webapp.api.routes import Operation, Parameter, answer, route
from webapp.api.schemas import ClassShare, ImagePrediction, ImagePredictions
from webapp.auth import asked_by
from webapp.images.predicting import Read, keeps, predict, read_files, verdict_of
from webapp.predict.validation import shown
from webapp.services import services
from webapp.types import InvalidInput, Problem, Role

PART = "file"
YES, NO = "yes", "no"
KEEP = Parameter(
    "keep", "`no`: the pictures are not kept for labelling and retraining.", {"type": "string", "enum": [YES, NO]}
)


@route(
    "POST",
    "/predict/image",
    Operation(
        "Predict pictures",
        TAG,
        Role.VIEWER,
        ImagePredictions,
        parameters=(MODEL, STICKY, REFERENCE, KEEP),
        refusals=(404,),
        takes=(MULTIPART, *IMAGES),
    ),
)
def predict_image() -> Response:
    """Answer each picture with its class, its confidence and the three likeliest classes.

    The body is a picture, or a form with one or more as `file`: JPEG, PNG, GIF, BMP or WebP. Each is turned upright as
    its EXIF data say, and written anew without them before anybody sees it. A file that is no picture refuses the whole
    request: 415 for what is none, 413 for one that is too large, 400 for one that is broken. `none_of_these` is true
    where the picture lies further from those of training than the model's limit. Pictures are kept for labelling unless
    `keep=no`, or the operator keeps none.
    """
    check_media_type(request, (MULTIPART, *IMAGES))
    app_services, asker = services(), asked_by("api", text_asked(STICKY), text_asked(REFERENCE))
    model = model_asked(app_services)
    app_services.catalog.model_version(model, app_services.router.fallback(model).version).require_images()
    is_wanted = _is_wanted()
    read = read_files(app_services, _files(request))
    pictures = [each.picture for each in read if each.picture]
    if len(pictures) < len(read):
        raise _refused(read)
    reply = predict(app_services, model, pictures, asker, keep=is_wanted)
    model_version = app_services.catalog.model_version(model, reply.version)
    predictions = []
    for each, picture, outcome in zip(read, pictures, reply.outcomes, strict=True):
        verdict = verdict_of(model_version, outcome)
        predictions.append(
            ImagePrediction(
                file=each.name,
                width=picture.width,
                height=picture.height,
                sha256=picture.sha256,
                label=verdict.label,
                confidence=verdict.confidence,
                none_of_these=verdict.none_of_these,
                info=verdict.info,
                top=[ClassShare(label=label, probability=share) for label, share in verdict.top],
                probabilities=dict(outcome.probabilities),
            )
        )
    return answer(
        ImagePredictions(
            model=model,
            version=reply.version,
            route="candidate" if reply.route == "candidate" else "stable",
            threshold=reply.threshold,
            request_id=reply.request_id,
            kept=is_wanted and keeps(app_services),
            predictions=predictions,
        )
    )


def _is_wanted() -> bool:
    text = request.args.get(KEEP.name, YES)
    if text not in (YES, NO):
        raise InvalidInput([Problem(KEEP.name, f"must be {YES} or {NO}", shown(text), f"{KEEP.name}={NO}")])
    return text == YES


def _files(sent: Request) -> Iterable[tuple[str, BinaryIO]]:
    if sent.mimetype != MULTIPART:
        return [("", cast(BinaryIO, sent.stream))]
    return ((file.filename or "", cast(BinaryIO, file.stream)) for file in sent.files.getlist(PART))


def _refused(read: Sequence[Read]) -> InvalidInput:
    """Return one error for all files that were refused, with the status of the first."""
    refusals = [(each, each.refusal) for each in read if each.refusal]
    problems = [
        Problem(PART, problem.rule, problem.got, problem.example, each.number if len(read) > 1 else None)
        for each, refusal in refusals
        for problem in refusal.problems
    ]
    error = InvalidInput(problems, "a picture cannot be read" if len(read) > 1 else refusals[0][1].what)
    error.http_status = refusals[0][1].http_status
    return error

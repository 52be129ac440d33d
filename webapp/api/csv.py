"""Predictions for a whole CSV: up it goes, down comes the same with what the model says of each row.

A small one is answered at once; a large one is a job to ask for, which outlives the connection and the worker.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import BinaryIO, cast

from flask import Request, Response, request, url_for

from webapp.api.body import CSV, JSON, MULTIPART, check_media_type
from webapp.api.models import TEXT
from webapp.api.predict import MODEL, TAG, model_asked, text_asked
from webapp.api.routes import Operation, Parameter, answer, route
from webapp.api.schemas import CsvSummary, JobItem, ProblemItem, RuleCount
from webapp.auth import asked_by, identity
from webapp.bulk.csv_blocks import Limits
from webapp.bulk.jobs import TOKEN, Job
from webapp.bulk.scoring import REFERENCE, BulkResult, Upload, score_csv
from webapp.predict.validation import shown
from webapp.services import services
from webapp.types import InvalidInput, Problem, Role

PART, UPLOADS = "file", "uploads"
PIECE_BYTES = 1 << 16
STICKY = Parameter("sticky", "Requests with the same text are answered by the same version.", TEXT)
REFERENCES = Parameter(
    REFERENCE, f"Column with your own name for each case. Default: the one called `{REFERENCE}`, if there is one.", TEXT
)
JOB = Parameter("job_id", "The job's id.", {"type": "string", "pattern": f"^{TOKEN.pattern}$"}, in_path=True)
ACCEPTED = 202
HEADERS = {
    "X-Model": "Name of the model.",
    "X-Version": "Version that answered.",
    "X-Rows": "Rows predicted.",
    "X-Failed": "Rows left out; the JSON summary says why.",
}


@route(
    "POST",
    "/predict/csv",
    Operation(
        "Predict a CSV",
        TAG,
        Role.VIEWER,
        CsvSummary,
        parameters=(MODEL, STICKY, REFERENCES),
        refusals=(404,),
        takes=(CSV, MULTIPART),
        gives=(CSV, JSON),
        headers=HEADERS,
    ),
)
def predict_csv() -> Response:
    """Answer a CSV with the same CSV and further columns: label, probability, version and warnings.

    The body is the file itself, or a form with it as `file`. Rows that break a rule are left out; with
    `Accept: application/json` the answer is a summary that says which, and why, instead of the rows. The history finds
    each row by its own name in the column `reference`.
    """
    check_media_type(request, (CSV, MULTIPART))
    app_services = services()
    who = asked_by("csv", text_asked(STICKY))
    limits = Limits(app_services.settings.max_upload_bytes, app_services.settings.max_upload_rows)
    upload = Upload(model_asked(app_services), _stream(request), limits, reference_column=text_asked(REFERENCES))
    folder = app_services.settings.var / UPLOADS
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        file = stack.enter_context(tempfile.TemporaryFile(dir=folder))  # nameless: nothing is left after a crash
        result = score_csv(app_services.predictor, upload, who, file)
        if request.accept_mimetypes.best_match((CSV, JSON), CSV) == JSON:
            return answer(_summary(result, who.request_id))
        stack.pop_all()
    values = (result.model, result.version, result.rows, result.failed)
    headers = dict(zip(HEADERS, map(str, values), strict=True))
    return Response(_pieces(file), headers=headers, content_type=f"{CSV}; charset=utf-8")


@route(
    "POST",
    "/jobs",
    Operation(
        "Upload a CSV",
        "jobs",
        Role.VIEWER,
        JobItem,
        parameters=(MODEL, STICKY, REFERENCES),
        status=ACCEPTED,
        refusals=(404,),
        takes=(CSV, MULTIPART),
        headers={"Location": "Where to ask for the job."},
    ),
)
def upload_job() -> Response:
    """Take a CSV to be predicted as soon as there is time for it. Ask for the job until its state is final."""
    check_media_type(request, (CSV, MULTIPART))
    app_services, who = services(), asked_by("csv", text_asked(STICKY))
    model = model_asked(app_services)
    app_services.catalog.versions(model)  # there is such a model
    upload = Upload(model, _stream(request), app_services.jobs.limits, reference_column=text_asked(REFERENCES))
    job = app_services.jobs.submit(who, upload)
    response = answer(_job(job), ACCEPTED)
    response.headers["Location"] = url_for(".job", job_id=job.id)
    return response


@route(
    "GET",
    "/jobs/<job_id>",
    Operation("Ask for a job", "jobs", Role.VIEWER, JobItem, parameters=(JOB,), refusals=(404,)),
)
def job(job_id: str) -> Response:
    """Tell how far a job of one's own is, or what came of it. It is kept for a day after its end."""
    return answer(_job(services().jobs.find(job_id, identity().name)))


@route(
    "GET",
    "/jobs/<job_id>/result",
    Operation("Fetch a job's result", "jobs", Role.VIEWER, JobItem, parameters=(JOB,), refusals=(404,), gives=(CSV,)),
)
def job_result(job_id: str) -> Response:
    """Send the CSV with what the model says of each row."""
    path, _ = services().jobs.result(job_id, identity().name)
    return Response(_pieces(path.open("rb")), content_type=f"{CSV}; charset=utf-8")


def _stream(sent: Request) -> BinaryIO:
    """Return the CSV in the body. A form's file waits on disk if it is large."""
    if sent.mimetype == CSV:
        return cast(BinaryIO, sent.stream)
    if PART not in sent.files:
        part_names = shown(", ".join(map(str, [*sent.files, *sent.form])))  # a part may be without a name
        raise InvalidInput([Problem(PART, "must be the form's field with the CSV", part_names, "file=@rows.csv")])
    return cast(BinaryIO, sent.files[PART].stream)


def _job(job: Job) -> JobItem:
    problems = job.error.problems if isinstance(job.error, InvalidInput) else ()
    return JobItem(
        id=job.id,
        model=job.model,
        state=job.state,
        rows=job.rows,
        share=job.share,
        created=job.created.isoformat(),
        expires=job.expires.isoformat(),
        summary=_summary(job.result, job.request_id) if job.result else None,
        problem=job.error.what if job.error else "",
        errors=_items(problems),
    )


def _items(problems: Sequence[Problem]) -> list[ProblemItem]:
    return [ProblemItem(field=p.field, rule=p.rule, got=p.got, example=p.example, row=p.row) for p in problems]


def _summary(result: BulkResult, request_id: str) -> CsvSummary:
    return CsvSummary(
        model=result.model,
        version=result.version,
        route=result.route,
        threshold=result.threshold,
        request_id=request_id,
        rows=result.rows,
        failed=result.failed,
        rows_with_warnings=result.cautions,
        rules=[RuleCount(field=field, rule=rule, rows=rows) for field, rule, rows in result.counts],
        errors=_items(result.problems),
    )


def _pieces(file: BinaryIO) -> Iterator[bytes]:
    with file:
        file.seek(0)
        yield from iter(lambda: file.read(PIECE_BYTES), b"")

"""Many cases at once: a CSV in, a CSV with predictions out, and what is wrong with which row."""

from __future__ import annotations

import csv
import io
import os
from dataclasses import dataclass
from typing import IO, BinaryIO, cast

from flask import Blueprint, Response, jsonify, make_response, render_template, request, send_file
from markupsafe import Markup

from common.errors import VouchError
from common.tables.safe import safe_text
from webapp.auth import identity, requires
from webapp.bulk.csv_blocks import Limits
from webapp.bulk.result_files import BatchFiles, Progress, Summary, new_token, summarise
from webapp.bulk.scoring import BulkResult, Upload, score_csv
from webapp.http.errors import answer_vouch_error
from webapp.insight import charts
from webapp.models.catalog import ModelVersion
from webapp.models.sample import showcase_of
from webapp.pages import frame
from webapp.pages.inputs import as_text
from webapp.services import services
from webapp.types import InvalidInput, Problem, Role

blueprint = Blueprint("batch", __name__)
EXAMPLE_ROWS = 3


@dataclass(frozen=True)
class Job:
    """What became of an upload: a result, or what is wrong with the file, or why there is no answer at all."""

    token: str = ""
    result: BulkResult | None = None
    summary: Summary | None = None
    histogram: Markup | None = None
    refusal: InvalidInput | None = None
    failure: VouchError | None = None
    is_fileless: bool = False

    @property
    def status(self) -> int:
        """The status of the answer, where the model server is not to blame."""
        return 400 if self.is_fileless else self.refusal.http_status if self.refusal else 200

    @property
    def refused(self) -> list[tuple[str, Problem]]:
        """What is wrong with the file, and where; the same of many columns is told once."""
        alike: dict[tuple[str, str], list[Problem]] = {}
        for problem in self.refusal.problems if self.refusal else ():
            alike.setdefault((problem.rule, problem.got), []).append(problem)
        return [(", ".join(problem.field for problem in some), some[0]) for some in alike.values()]


@blueprint.route("/batch/<model>", methods=["GET", "POST"])
@requires(Role.VIEWER)
def page(model: str) -> Response:
    """Show the form, and after a file was sent what came of it."""
    model_version = frame.form_version(model)
    _files().sweep()
    job = Job()
    if request.method == "POST":
        sent = request.files.get("file")
        job = _scored(model_version, sent.stream) if sent and sent.filename else Job(is_fileless=True)
    if job.failure is None:
        return make_response(_page(model_version, job), job.status)
    response = answer_vouch_error(job.failure)  # its status and headers, on the page that leads on
    response.set_data(_page(model_version, job))
    return response


@blueprint.get("/batch/<model>/template.csv")
@requires(Role.VIEWER)
def template(model: str) -> Response:
    """Send a CSV that can be uploaded as it is: the header and some rows."""
    model_version, file = frame.form_version(model), io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow([safe_text(field.name) for field in model_version.fields])
    for row in _example_rows(model_version):
        writer.writerow([safe_text(row[field.name]) for field in model_version.fields])
    response = Response(file.getvalue(), mimetype="text/csv")
    response.headers.set("Content-Disposition", "attachment", filename=f"{model_version.model}-template.csv")
    return response


@blueprint.get("/batch/<model>/results/<token>.csv")
@requires(Role.VIEWER)
def result(model: str, token: str) -> Response:
    """Send a result to the one who uploaded the file."""
    path, done = _files().result(token, identity().name)
    name = f"{done.model}-v{done.version}-predictions.csv"
    response = send_file(path, "text/csv", as_attachment=True, download_name=name)
    response.headers["Cache-Control"] = "private, no-store"  # people's rows
    return response


@blueprint.get("/batch/<model>/progress/<token>")
@requires(Role.VIEWER)
def progress(model: str, token: str) -> Response:
    """Tell how far an upload is, to the one who sends it."""
    so_far = _files().progress(token, identity().name)
    return jsonify(rows=so_far.rows, share=so_far.share)


def _scored(model_version: ModelVersion, stream: IO[bytes]) -> Job:
    settings, files, who = services().settings, _files(), identity().name
    token = files.begin(request.form.get("token", ""), who, model_version.model)
    size_bytes = stream.seek(0, os.SEEK_END)
    stream.seek(0)
    limits = Limits(settings.max_upload_bytes, settings.max_upload_rows)
    reference_column = request.form.get("reference_column", "").strip()
    upload = Upload(model_version.model, cast(BinaryIO, stream), limits, size_bytes, reference_column)
    try:
        report = files.reporter(token, who, model_version.model)
        with files.new_result(token) as file:
            result = score_csv(services().predictor, upload, frame.asked("batch"), file, report)
    except InvalidInput as error:
        return Job(refusal=error)
    except VouchError as error:
        return Job(failure=error)
    summary = summarise(files.path(token))
    files.finish(token, Progress(who, result.model, result.rows, 1.0, result.version))
    return Job(token, result, summary, _histogram(model_version, result, summary))


def _histogram(model_version: ModelVersion, result: BulkResult, summary: Summary) -> Markup:
    rules = {} if result.threshold is None else {"threshold": result.threshold}
    of = (
        f"Probability of {model_version.called(model_version.positive)}"
        if model_version.positive
        else "Probability of the likeliest class"
    )
    return charts.histogram("How the scores lie", of, summary.bins, rules)


def _page(model_version: ModelVersion, job: Job) -> str:
    settings = services().settings
    return render_template(
        "_batch_parts.html" if frame.is_partial() else "batch.html",
        model_version=model_version,
        job=job,
        token=new_token(),
        max_bytes=settings.max_upload_bytes,
        max_rows=settings.max_upload_rows,
    )


def _example_rows(model_version: ModelVersion) -> list[dict[str, str]]:
    """Return rows of the test split, or without one rows of typical values."""
    showcase = showcase_of(model_version)
    if showcase is None or not len(showcase.test):
        return [{field.name: field.example for field in model_version.fields}] * EXAMPLE_ROWS
    rows = (showcase.test.row(number) for number in range(min(EXAMPLE_ROWS, len(showcase.test))))
    return [{field.name: as_text(row.get(field.name)) for field in model_version.fields} for row in rows]


def _files() -> BatchFiles:
    return BatchFiles(services().settings.var / "webapp" / "batches")

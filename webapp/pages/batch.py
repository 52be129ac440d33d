"""Many cases at once: a CSV in, a CSV with predictions out, and what is wrong with which row."""

from __future__ import annotations

import csv
import io
from typing import BinaryIO, cast

from flask import Blueprint, Response, jsonify, make_response, redirect, render_template, request, send_file, url_for
from markupsafe import Markup
from werkzeug.wrappers import Response as AnyResponse

from common.tables.columns import safe_text
from webapp.auth import asked_by, identity, requires
from webapp.bulk.jobs import Job, new_id
from webapp.bulk.scoring import Upload
from webapp.http.errors import page_with
from webapp.insight import charts
from webapp.models.catalog import ModelVersion
from webapp.models.sample import showcase_of
from webapp.pages import frame
from webapp.pages.predict import as_text
from webapp.services import services
from webapp.types import InvalidInput, Role

blueprint = Blueprint("batch", __name__)
EXAMPLE_ROWS = 3
WAIT_S = 30.0  # most files are done by then; the page of a longer one looks again by itself
LOOK_AGAIN_S = 2


@blueprint.route("/batch/<model>", methods=["GET", "POST"])
@requires(Role.VIEWER)
def page(model: str) -> AnyResponse:
    model_version = frame.rows_version(model)
    if request.method == "GET":
        return make_response(_page(model_version))
    sent = request.files.get("file")
    if not sent or not sent.filename:
        return make_response(_page(model_version, is_fileless=True), 400)
    jobs, form = services().jobs, request.form
    reference_column = form.get("reference_column", "").strip()
    upload = Upload(model, cast(BinaryIO, sent.stream), jobs.limits, reference_column=reference_column)
    job = jobs.wait(jobs.submit(asked_by("batch"), upload, form.get("token", "")), WAIT_S)
    if job.is_open:
        return redirect(url_for(".job", model=model, job_id=job.id), 303)
    failure = None if isinstance(job.error, InvalidInput) else job.error
    return page_with(_page(model_version, job), failure, job.error.http_status if job.error else 200)


@blueprint.get("/batch/<model>/jobs/<job_id>")
@requires(Role.VIEWER)
def job(model: str, job_id: str) -> Response:
    """Show how far an upload is, or what came of it, to the one who sent it."""
    job = services().jobs.find(job_id, identity().name)
    response = make_response(_page(frame.rows_version(model), job))
    if job.is_open:
        response.headers["Refresh"] = str(LOOK_AGAIN_S)
    return response


@blueprint.get("/batch/<model>/template.csv")
@requires(Role.VIEWER)
def template(model: str) -> Response:
    model_version, file = frame.rows_version(model), io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow([safe_text(field.name) for field in model_version.fields])
    for row in _example_rows(model_version):
        writer.writerow([safe_text(row[field.name]) for field in model_version.fields])
    response = Response(file.getvalue(), mimetype="text/csv")
    response.headers.set("Content-Disposition", "attachment", filename=f"{model_version.model}-template.csv")
    return response


@blueprint.get("/batch/<model>/results/<job_id>.csv")
@requires(Role.VIEWER)
def result(model: str, job_id: str) -> Response:
    path, done = services().jobs.result(job_id, identity().name)
    name = f"{done.model}-v{done.version}-predictions.csv"
    response = send_file(path, "text/csv", as_attachment=True, download_name=name)
    response.headers["Cache-Control"] = "private, no-store"  # people's rows
    return response


@blueprint.get("/batch/<model>/progress/<job_id>")
@requires(Role.VIEWER)
def progress(model: str, job_id: str) -> Response:
    job = services().jobs.find(job_id, identity().name)
    return jsonify(rows=job.rows, share=job.share)


def _histogram(model_version: ModelVersion, job: Job) -> Markup | None:
    if job.result is None or not job.result.bins:
        return None
    title = f"How the {'values' if model_version.predicts_numbers else 'scores'} lie"
    return charts.scores(title, model_version, job.result.threshold, job.result.bins)


def _page(model_version: ModelVersion, job: Job | None = None, *, is_fileless: bool = False) -> str:
    app_services = services()
    return render_template(
        "_batch_parts.html" if frame.is_partial() else "batch.html",
        model_version=model_version,
        job=job,
        is_fileless=is_fileless,
        refused=_refused(job.error) if job and isinstance(job.error, InvalidInput) else [],
        histogram=_histogram(model_version, job) if job else None,
        uploads=app_services.jobs.of(identity().name, model_version.model),
        token=new_id(),
        max_bytes=app_services.settings.max_upload_bytes,
        max_rows=app_services.settings.max_upload_rows,
    )


def _refused(refusal: InvalidInput) -> list[tuple[str, str]]:
    """Return what is wrong with a file, for the summary at the top; the same of many columns is told once."""
    alike: dict[tuple[str, str], list[str]] = {}
    for problem in refusal.problems:
        alike.setdefault((problem.rule, problem.got), []).append(problem.field)
    told = ((", ".join(fields), f"{rule} – {got}" if got else rule) for (rule, got), fields in alike.items())
    return [("file", f"{fields}: {words}" if fields else words) for fields, words in told]


def _example_rows(model_version: ModelVersion) -> list[dict[str, str]]:
    """Return rows of the test split, or without one rows of typical values."""
    showcase = showcase_of(model_version)
    if showcase is None or not len(showcase.test):
        return [{field.name: field.example for field in model_version.fields}] * EXAMPLE_ROWS
    rows = (showcase.test.row(number) for number in range(min(EXAMPLE_ROWS, len(showcase.test))))
    return [{field.name: as_text(row.get(field.name)) for field in model_version.fields} for row in rows]

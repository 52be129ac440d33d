"""What a prediction's label really was."""

from __future__ import annotations

from flask import Response, request

from webapp.api.body import read_as
from webapp.api.routes import Operation, answer, route
from webapp.api.schemas import Feedback, FeedbackKept
from webapp.auth import identity
from webapp.history.search import History
from webapp.services import services
from webapp.types import Role

CREATED = 201


@route(
    "POST",
    "/feedback",
    Operation("Tell a true label", "feedback", Role.OPERATOR, FeedbackKept, Feedback, status=CREATED, refusals=(404,)),
)
def feedback() -> Response:
    """Keep the true label of a row that was predicted, for monitoring and retraining. The last word counts."""
    app_services = services()
    body = read_as(Feedback, request, app_services.settings)
    model = body.model or app_services.catalog.default(app_services.settings.model)
    History(app_services).add_feedback(model, body.request_id, body.row, body.label, identity().name)
    return answer(FeedbackKept(model=model, request_id=body.request_id, row=body.row, label=body.label), CREATED)

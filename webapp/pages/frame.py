"""What all pages have around them: the navigation, who is asking, which model, how the values are written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from flask import g, request, url_for
from flask.sansio.app import App

from common.errors import VouchError
from webapp import wording
from webapp.auth import identity
from webapp.models.catalog import ModelVersion
from webapp.services import services
from webapp.types import Role

LABELLING = "labelling.page"
PAGES = (
    ("predict.page", "Predict", True),
    ("by_index.page", "By index", True),
    ("batch.page", "Batch", True),
    (LABELLING, "Label", True),
    ("models.page", "Models", False),
    ("history.page", "History", True),
    ("monitoring.page", "Monitoring", False),
)
OF_ROWS: tuple[str, ...] = ("by_index.page", "batch.page")


@dataclass(frozen=True)
class Entry:
    title: str
    url: str
    is_here: bool


def init_app(app: App) -> None:
    app.context_processor(_frame)
    app.jinja_env.filters.update(wording.FILTERS)


def _frame() -> dict[str, Any]:
    """Return what base.html needs; it also stands around errors, so nothing here may fail."""
    who, models = identity(), services().catalog.models()
    is_stranger = who.role < Role.VIEWER  # has to log in before anything else
    return {
        "who": who,
        "nav": [] if is_stranger else _navigation(models),
        "other_models": [] if is_stranger else _other_models(models),
        "is_medical": _is_medical(models),
        "request_id": g.get("request_id", ""),
    }


def form_version(model: str) -> ModelVersion:
    """Return the card of the stable version, which forms are made from. Raises ModelNotFound, NothingReleased."""
    return services().catalog.model_version(model, services().router.fallback(model).version)


def rows_version(model: str) -> ModelVersion:
    """Return the same for what only models of rows have. Raises WrongKind, too."""
    model_version = form_version(model)
    model_version.refuse_images()
    return model_version


def is_partial() -> bool:
    return "X-Requested-With" in request.headers


def _navigation(models: Sequence[str]) -> list[Entry]:
    named = (request.view_args or {}).get("model")
    model = named if named in models else opening_model(models)
    missing = OF_ROWS if model and _reads_images(model) else (LABELLING,)
    if identity().role < Role.OPERATOR:
        missing += (LABELLING,)
    return [
        Entry(str(title), url_for(endpoint, model=model) if is_per_model else url_for(endpoint), _is_here(endpoint))
        for endpoint, title, is_per_model in PAGES
        if (model or not is_per_model) and endpoint not in missing
    ]


def _reads_images(model: str) -> bool:
    model_version = _version_or_none(model)
    return model_version is not None and model_version.reads_images


def _is_medical(models: Sequence[str]) -> bool:
    """Tell whether the page's model is about health; where a page has none, whether any model is."""
    named: Any = (request.view_args or {}).get("model")
    known = [_version_or_none(model) for model in ([named] if named in models else models)]
    return any(model_version.is_medical for model_version in known if model_version)


def _version_or_none(model: str) -> ModelVersion | None:
    try:
        return form_version(model)
    except VouchError:
        return None


def _is_here(endpoint: str) -> bool:
    return (request.endpoint or "").partition(".")[0] == endpoint.partition(".")[0]


def opening_model(models: Sequence[str]) -> str | None:
    """Return the model that pages open with: the preferred, else the first of all."""
    preferred = services().settings.model
    return next((model for model in models if preferred in ("", model)), None)


def _other_models(models: Sequence[str]) -> list[Entry]:
    arguments, rule = request.view_args or {}, request.url_rule
    model = arguments.get("model")
    if rule is None or "GET" not in (rule.methods or ()) or set(arguments) != {"model"} or model not in models:
        return []
    return (
        [Entry(name, url_for(rule.endpoint, model=name), name == model) for name in models] if len(models) > 1 else []
    )

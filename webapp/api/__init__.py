"""The JSON API under /api/v1, its OpenAPI document and the page to browse it."""

from __future__ import annotations

from webapp.api import csv, images, login, models, openapi, predict, ready_requests
from webapp.api.routes import blueprint

__all__ = ["blueprints", "csv", "images", "login", "models", "openapi", "predict", "ready_requests"]
blueprints = (blueprint,)

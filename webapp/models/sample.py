"""The sample rows of a version, read once and kept while they are asked for."""

from __future__ import annotations

from functools import lru_cache

from serving.repository.showcase import Showcase
from webapp.models.catalog import ModelVersion

KEPT_VERSIONS = 8  # whose rows stay in memory


@lru_cache(KEPT_VERSIONS)
def showcase_of(model_version: ModelVersion) -> Showcase | None:
    return Showcase.read(model_version.folder)

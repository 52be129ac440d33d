"""Which model the candidate is compared with."""

from __future__ import annotations

from typing import Any

from tfx.dsl.input_resolution.strategies.latest_blessed_model_strategy import LatestBlessedModelStrategy

CANDIDATE, MODEL, BLESSING = "candidate", "model", "model_blessing"


class BlessedBeforeStrategy(LatestBlessedModelStrategy):
    """Resolve the latest model blessed before the candidate was trained.

    TFX's own strategy takes the latest of all: a repeated run would compare a cached candidate with itself, and
    nothing after it could come from the cache.
    """

    def resolve_artifacts(self, store: Any, input_dict: dict[str, list[Any]]) -> dict[str, list[Any]]:
        """Return the candidate, and the blessed model with its blessing or nothing."""
        candidates = input_dict[CANDIDATE]
        newest = max((artifact.id for artifact in candidates), default=0)
        older = [model for model in input_dict[MODEL] if model.id < newest]
        resolved = super().resolve_artifacts(store, {MODEL: older, BLESSING: input_dict[BLESSING]})
        return {CANDIDATE: candidates, **resolved}

"""Version labels: names for versions, set with the model config."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from serving.server.config.models import ModelConfig
from serving.server.core.status import failed_precondition


def assign(
    models: Iterable[ModelConfig],
    current: Callable[[str], Mapping[str, int]],
    is_available: Callable[[str, int], bool],
    allows_unavailable: bool = False,
) -> dict[str, Mapping[str, int]]:
    """Return all models' labels as a new config has them; those it leaves out vanish.

    A label points to an available version; with `allows_unavailable` a new one may point anywhere, and one in use may
    stay where it is. Raises StatusError FAILED_PRECONDITION otherwise.
    """
    labels: dict[str, Mapping[str, int]] = {}
    for model in models:
        in_use = current(model.name)
        for label, version in model.labels.items():
            may_point_anywhere = allows_unavailable and in_use.get(label, version) == version
            if not may_point_anywhere and not is_available(model.name, version):
                raise failed_precondition(
                    f"Request to assign label to version {version} of model {model.name}, "
                    "which is not currently available for inference"
                )
        if model.labels:
            labels[model.name] = dict(model.labels)
    return labels

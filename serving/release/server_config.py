"""The model server's config: which versions of which models to load, and what the labels mean."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from google.protobuf import text_format

from common.files import write_text
from serving.release.state import CONFIG, State, Store
from serving.repository.layout import models
from serving.wire.messages import message

HEADER = "# Written by `python -m serving`; changes made by hand are lost at the next release.\n"


@dataclass(frozen=True)
class Plan:
    """What a server is to hold of one model."""

    loaded: tuple[int, ...]
    labels: Mapping[str, int]

    @staticmethod
    def of(state: State, also: Iterable[int] = ()) -> Plan:
        """Return the plan of a state, with further versions kept loaded beside."""
        return Plan(tuple(sorted({*state.loaded, *also})), state.labels)


def write_config(root: Path, changed: Mapping[str, Plan] | None = None) -> Any:
    """Write `models.config` for every released model under `root` and return it as a ModelServerConfig.

    `changed` stands in for the recorded state of the models it names.
    """
    config = message("ModelServerConfig")()
    config.model_config_list.SetInParent()
    for model in models(root):
        record = Store(root, model).read()
        plan = (changed or {}).get(model) or (Plan.of(record.wanted) if record else None)
        if plan:
            _add(config.model_config_list, root / model, plan)
    write_text(root / CONFIG, HEADER + text_format.MessageToString(config))
    return config


def _add(configs: Any, base: Path, plan: Plan) -> None:
    entry = configs.config.add(name=base.name, base_path=str(base.absolute()), model_platform="tensorflow")
    entry.model_version_policy.specific.versions.extend(plan.loaded)
    for label, version in sorted(plan.labels.items()):
        entry.version_labels[label] = version

"""The model server's config: which versions of which models to load, and what the labels mean."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from google.protobuf import text_format

from common.files import write_text
from serving.release.state import CONFIG, DONE, Record, State, Store
from serving.repository.layout import STABLE, models, unreadable
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


Plans = Mapping[str, "Plan | None"]  # by model; None leaves it out


def make_config(root: Path, changed: Plans) -> Any:
    """Return a ModelServerConfig of every released model under `root`.

    `changed` stands in for the recorded state of the models it names.
    """
    config = message("ModelServerConfig")()
    config.model_config_list.SetInParent()
    for model in sorted({*models(root), *unreadable(root)}):
        record = None if model in changed else recorded(root, model)
        plan = Plan.of(record.wanted) if record else changed.get(model)
        if plan:
            _add(config.model_config_list, root / model, plan)
    return config


def write_config(root: Path, changed: Plans | None = None) -> None:
    """Write `models.config`, which servers read at their start, or poll."""
    write_text(root / CONFIG, HEADER + text_format.MessageToString(make_config(root, changed or {})))


def recorded(root: Path, model: str) -> Record | None:
    """Return a model's record, None before the first release.

    Where the state file is lost or broken it is the last release that the log calls done, else what `models.config`
    says: never a version that nobody promoted.
    """
    store = Store(root, model)
    if record := store.intact():
        return record
    with suppress(OSError):
        if released := [entry.after for entry in store.history() if entry.outcome == DONE]:
            return Record(released[-1])
    return _configured(root, model)


def _configured(root: Path, model: str) -> Record | None:
    config = message("ModelServerConfig")()
    with suppress(OSError, ValueError, text_format.ParseError):
        text_format.Parse((root / CONFIG).read_text(encoding="utf-8"), config)
    stable = {entry.name: entry.version_labels.get(STABLE, 0) for entry in config.model_config_list.config}
    return Record(State(stable[model])) if stable.get(model, 0) > 0 else None


def _add(configs: Any, base: Path, plan: Plan) -> None:
    entry = configs.config.add(name=base.name, base_path=str(base.absolute()), model_platform="tensorflow")
    entry.model_version_policy.specific.versions.extend(plan.loaded)
    for label, version in sorted(plan.labels.items()):
        entry.version_labels[label] = version

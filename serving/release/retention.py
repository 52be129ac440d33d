"""Which versions may be removed: never one that is released, on its way, or that others still compare with."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from common.errors import ConfigError
from serving.release.server_config import recorded
from serving.repository.layout import versions


def removable(root: Path, model: str, keep: int, in_use: Iterable[int] = ()) -> list[int]:
    """Return the versions of a model that may go, in rising order.

    The newest `keep` stay, and whatever their age the stable version, the candidate, the previous one, those of a
    release under way, and those `in_use` elsewhere, such as a baseline. Raises ConfigError for a `keep` below 1.
    """
    if keep < 1:
        raise ConfigError("at least one version must be kept", got=keep, wanted="1 or more")
    present, record = versions(root / model), recorded(root, model)
    kept = {*present[-keep:], *in_use}
    if record:
        kept.update(record.state.loaded, record.intent.entry.after.loaded if record.intent else ())
    return [version for version in present if version not in kept]

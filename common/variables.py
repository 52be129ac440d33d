"""Environment variables, and the files that hold their values where these are secrets."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from common.errors import ConfigError


def read_variable(environment: Mapping[str, str], name: str) -> str | None:
    """Return a variable's value, or what stands in the file that `<name>_FILE` names; None without either.

    Raises ConfigError if the file cannot be read.
    """
    if name in environment:
        return environment[name]
    file = environment.get(f"{name}_FILE")
    if not file:
        return None
    try:
        return Path(file).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read the file that {name}_FILE names", got=f"{file}: {error}") from None

"""Find the versions of the models in the file system."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from serving.server.config.models import Latest, ModelConfig, Policy, Specific
from serving.server.status import StatusError, invalid_argument

LOG = logging.getLogger("serving")
_NUMBER = re.compile(r"[-+]?[0-9]+", re.ASCII)
_INT64 = range(-(2**63), 2**63)


class Source:
    """Look for versions; what is amiss is logged when it appears, not at every look."""

    def __init__(self) -> None:
        self._told: set[str] = set()

    def poll(self, models: Iterable[ModelConfig]) -> dict[str, dict[int, Path]] | None:
        """Return each model's versions to serve and their folders; None if any base path cannot be read.

        A share that is away for a moment must not unload anything, not even of another model.
        """
        problems: list[str] = []
        by_model: dict[str, dict[int, Path]] = {}
        try:
            for model in models:
                by_model[model.name] = _versions(model, problems)
        except StatusError as error:
            problems.append(f"FileSystemStoragePathSource encountered a filesystem access error: {error.message}")
            return None
        finally:
            self._tell(problems)
        return by_model

    def _tell(self, problems: list[str]) -> None:
        for problem in problems:
            if problem not in self._told:
                LOG.warning("%s", problem)
        self._told = set(problems)


def local_path(base_path: str) -> Path:
    """Return the folder a base path names: an absolute path or a `file://` URI, whose host does not matter."""
    if base_path.startswith("file://"):
        _, slash, rest = base_path.removeprefix("file://").partition("/")
        return Path(slash + rest)
    return Path(base_path)


def choose(policy: Policy, versions: Iterable[int]) -> list[int]:
    """Return the versions a policy serves, of those there are."""
    known = sorted(versions)
    if isinstance(policy, Latest):
        return known[-policy.count :]
    if isinstance(policy, Specific):
        return [version for version in known if version in policy.versions]
    return known


def _versions(model: ModelConfig, problems: list[str]) -> dict[int, Path]:
    base_path = local_path(model.base_path)
    try:
        with os.scandir(base_path) as children:
            names = sorted(child.name for child in children)  # a file is taken for a version, too, and fails to load
    except OSError as error:
        raise invalid_argument(
            f"Could not find base path {model.base_path} for servable {model.name} with error {error}"
        ) from None
    folders = _numbered(names, problems)
    chosen = choose(model.policy, folders)
    if isinstance(model.policy, Specific):
        problems += [
            f"Version {version} of servable {model.name}, which was requested to be served as a 'specific' version in "
            "the servable's version policy, was not found in the file system"
            for version in sorted(model.policy.versions.difference(chosen))
        ]
    if not chosen:
        problems.append(
            f"No versions of servable {model.name} found under base path {model.base_path}. "
            "Did you forget to name your leaf directory as a number (eg. '/1/')?"
        )
    return {version: base_path / folders[version] for version in chosen}


def _numbered(names: Iterable[str], problems: list[str]) -> Mapping[int, str]:
    """Return the folders by their numbers; of two with the same number the last by name counts."""
    folders: dict[int, str] = {}
    for name in names:
        if not _NUMBER.fullmatch(name) or int(name) not in _INT64:
            continue
        version = int(name)
        if version in folders:
            problems.append(
                f"Duplicate version directories detected. Version {version} will be loaded from {name}, "
                f"{folders[version]} will be ignored."
            )
        folders[version] = name
    return folders

"""Pushed versions in MLflow's registry (`vouch://serving/<model>/<version>`), and aliases that follow releases."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from serving.registry.queue import Released
from serving.registry.tracking import find_run
from serving.repository.layout import versions
from serving.repository.manifest import Manifest

PRODUCTION, CANDIDATE = "production", "candidate"
VERSION_TAG, DIGEST_TAG, PATH_TAG = "serving.version", "manifest.sha256", "serving.path"
Labels = Mapping[str, int | None]  # by alias: the version that holds it


@dataclass(frozen=True)
class Registered:
    """One model in the registry: MLflow's number by our version, and what each alias points to, in MLflow's numbers."""

    numbers: dict[int, str]
    aliases: dict[str, str]

    def version(self, number: str | None) -> int | None:
        """Return our version of a number of MLflow's, None if it is none of ours."""
        return next((version for version, known in self.numbers.items() if known == number), None)


def register(client: Any, root: Path, model: str) -> list[int]:
    """Register every version on disk that is not registered yet, and return them.

    A version is the same if place and digest are: a `var` that was begun anew begins again with version 1.
    """
    from mlflow.exceptions import MlflowException

    known = {
        (version.source, version.tags.get(DIGEST_TAG)) for version in client.search_model_versions(f"name='{model}'")
    }
    new: list[int] = []
    for version in versions(root / model):
        manifest = Manifest.read(root / model / str(version))
        source = f"vouch://serving/{model}/{version}"
        if (source, manifest.digest) in known:
            continue
        if not known and not new:
            try:
                client.create_registered_model(model)
            except MlflowException as error:
                if error.error_code != "RESOURCE_ALREADY_EXISTS":
                    raise
        experiment = client.get_experiment_by_name(model)
        run = find_run(client, experiment.experiment_id, manifest.run_id) if experiment else None
        tags = {
            VERSION_TAG: str(version),
            PATH_TAG: str(root / model / str(version)),
            DIGEST_TAG: manifest.digest,
            "data.sha256": manifest.data_digest,
            "mlmd.run_id": manifest.run_id,
            "pushed": manifest.created,
        }
        client.create_model_version(
            model,
            source,
            run.info.run_id if run else None,
            tags=tags,
            description=" ".join(manifest.sentences.values()),
            await_creation_for=0,
        )
        new.append(version)
    return new


def look_up(client: Any, root: Path, model: str) -> Registered | None:
    """Return what the registry has of a model, None if nothing."""
    digests = {version: Manifest.read(root / model / str(version)).digest for version in versions(root / model)}
    numbers: dict[int, str] = {}
    for known in client.search_model_versions(f"name='{model}'"):
        version = known.tags.get(VERSION_TAG, "")
        if version.isdecimal() and known.tags.get(DIGEST_TAG) == digests.get(int(version), known.tags.get(DIGEST_TAG)):
            numbers[int(version)] = str(known.version)
    if not numbers:
        return None
    aliases = client.get_registered_model(model).aliases
    return Registered(numbers, {alias: str(number) for alias, number in aliases.items()})


def note_release(client: Any, registered: Registered, release: Released) -> None:
    """Write on the version that a release made stable or candidate who did it, when and how."""
    number = registered.numbers.get(release.candidate or release.stable)
    for key, value in (("what", release.what), ("who", release.who), ("time", release.time)):
        if number:
            client.set_model_version_tag(release.model, number, f"release.{key}", value)


def point(client: Any, model: str, registered: Registered, alias: str, version: int | None) -> None:
    """Move an alias to a version of ours, or take it away."""
    number = registered.numbers.get(version) if version else None
    if number:
        client.set_registered_model_alias(model, alias, number)
    elif alias in registered.aliases:
        client.delete_registered_model_alias(model, alias)

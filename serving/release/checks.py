"""What a version must show before a label is moved to it: whole, blessed, loaded, and the golden answers."""

from __future__ import annotations

import base64
import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from common.errors import DataError, GateRefused, VouchError
from serving.client.errors import InvalidRequest, ModelNotFound
from serving.client.retry import Clock
from serving.client.types import ModelClient, VersionSpec, VersionStatus
from serving.repository.manifest import FOLDER, Manifest, problems, versions

GOLDEN = f"{FOLDER}/golden.json"
TOLERANCE = 1e-5  # the largest difference in a probability; REST and other processors round in the last digits
BLESSED, UNFIT = "Blessed", "Not fit"
LOOK_EVERY_S = 0.05
STALE_S = 2.0  # how long the error of an earlier attempt may stand before the new one has begun


def newest_vouched(base: Path) -> int | None:
    """Return the newest version that can be vouched for."""
    for version in reversed(versions(base)):
        with suppress(GateRefused):
            vouched(base, version)
            return version
    return None


def why_none(base: Path) -> VouchError:
    """Return why the newest version cannot be vouched for, where none can."""
    try:
        vouched(base, versions(base)[-1])
    except VouchError as error:
        return error
    return GateRefused(f"{base} changed while it was looked at", fix="try again")


def vouched(base: Path, version: int) -> Manifest:
    """Return a version's manifest if it is whole and both gates blessed it.

    Raises DataError if there is no such version, GateRefused if it cannot be vouched for.
    """
    there = versions(base)
    if version not in there:
        raise DataError(
            f"there is no version {version} of {base.name}",
            wanted=f"one of {', '.join(map(str, there)) or 'none'}",
            fix="push it first: python local_runner.py run config/NAME",
        )
    wrong = problems(base / str(version))
    if wrong:
        raise _refused(base, version, "its files are not what was vouched for", "; ".join(wrong[:3]))
    manifest = Manifest.read(base / str(version))
    if (manifest.model, manifest.version) != (base.name, version):
        raise _refused(base, version, "its manifest is another's", f"{manifest.model} version {manifest.version}")
    said = {gate: manifest.sentences.get(gate, "") for gate in ("evaluation", "serving")}
    if not said["evaluation"].startswith(BLESSED) or not said["serving"] or said["serving"].startswith(UNFIT):
        raise _refused(base, version, "its gates did not bless it", " ".join(said.values()).strip() or "no verdict")
    return manifest


def wait_available(
    client: ModelClient, model: str, version: int, *, timeout_s: float, clock: Clock, before: VersionStatus | None
) -> None:
    """Wait until the server has loaded a version.

    `before` is what the server said of it earlier: an old error is no new one. Raises GateRefused if it does not load.
    """
    started = clock.now()
    while True:
        found = status_of(client, model, version)
        waited_s = clock.now() - started
        if found and found.state == "AVAILABLE":
            return
        failed = found if found and found.state == "END" and found.error_code != "OK" else None
        if failed and (failed != before or waited_s > STALE_S):
            raise GateRefused(f"the model server could not load version {version} of {model}", got=failed.error)
        if waited_s > timeout_s:
            raise GateRefused(
                f"version {version} of {model} was not loaded in time",
                wanted=f"loaded within {timeout_s:g} s",
                got=found.state if found else "never seen by the model server",
                fix="look at the model server's log, and whether it sees the same folder",
            )
        clock.sleep(LOOK_EVERY_S)


def status_of(client: ModelClient, model: str, version: int) -> VersionStatus | None:
    """Return what the server says of a version, None if it never saw it."""
    try:
        found = client.status(model)
    except ModelNotFound:
        return None
    return next((status for status in found if status.version == version), None)


def replay_golden(client: ModelClient, base: Path, version: int) -> None:
    """Let a loaded version answer its golden rows by every signature. Raises GateRefused if an answer is wrong."""
    golden = _read_golden(base, version)
    for signature, inputs in golden_inputs(base, version).items():
        try:
            answer = client.predict(base.name, inputs, VersionSpec(version=version), signature=signature)
        except (InvalidRequest, ModelNotFound) as error:
            raise _refused(base, version, f"it does not answer its golden rows by {signature}", error.got) from None
        off = _largest_difference(answer.get("probabilities"), golden["probabilities"])
        if not off <= TOLERANCE:
            raise _refused(base, version, f"its answers by {signature} are wrong", f"off by {off:.1e}")
        if answer.get("label") != golden["labels"]:
            raise _refused(base, version, f"its answers by {signature} are wrong", "other labels")


def golden_inputs(base: Path, version: int) -> dict[str, dict[str, list[Any]]]:
    """Return a version's golden rows as columns, by signature. Raises GateRefused if it carries none."""
    signatures = _read_golden(base, version)["inputs"]
    return {
        signature: {name: _plain(values) for name, values in columns.items()}
        for signature, columns in signatures.items()
    }


def _largest_difference(got: Any, wanted: Any) -> float:
    got, wanted = np.asarray(got, dtype=object), np.asarray(wanted)
    if got.shape != wanted.shape:
        return float("inf")
    return float(np.abs(got.astype(float) - wanted).max(initial=0.0))


def _read_golden(base: Path, version: int) -> dict[str, Any]:
    try:
        found = json.loads((base / str(version) / GOLDEN).read_text(encoding="utf-8"))
        return {key: found[key] for key in ("inputs", "probabilities", "labels")}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _refused(base, version, "it carries no golden rows", str(error)) from None


def _plain(values: list[Any]) -> list[Any]:
    return [base64.b64decode(value["b64"]) if isinstance(value, dict) else value for value in values]


def _refused(base: Path, version: int, why: str, got: object) -> GateRefused:
    return GateRefused(
        f"version {version} of {base.name} cannot be released: {why}", got=got, fix="run the pipeline to push another"
    )

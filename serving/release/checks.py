"""What a version must show before a label is moved to it: whole, blessed, loaded, and the golden answers."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from common.errors import DataError, GateRefused, VouchError
from serving.client.errors import InvalidRequest, ModelNotFound
from serving.client.retry import Clock
from serving.client.types import ModelClient, VersionSpec, VersionStatus
from serving.repository.contents import Golden
from serving.repository.layout import versions
from serving.repository.manifest import GATES, Manifest, problems

TOLERANCE = 1e-5  # the largest difference in a probability; REST and other processors round in the last digits
LOOK_EVERY_S = 0.05
STALE_S = 2.0  # how long the error of an earlier attempt may stand before the new one has begun


def newest_vouched(base: Path) -> int | None:
    return next((version for version in reversed(versions(base)) if is_vouched(base, version)), None)


def is_vouched(base: Path, version: int) -> bool:
    with suppress(DataError, GateRefused):
        vouched(base, version)
        return True
    return False


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
    present = versions(base)
    if version not in present:
        raise DataError(
            f"there is no version {version} of {base.name}",
            wanted=f"one of {', '.join(map(str, present)) or 'none'}",
            fix="push it first: python local_runner.py run config/NAME",
        )
    wrong = problems(base / str(version))
    if wrong:
        raise _refused(base, version, "its files are not what was vouched for", "; ".join(wrong[:3]))
    manifest = Manifest.read(base / str(version))
    if (manifest.model, manifest.version) != (base.name, version):
        raise _refused(base, version, "its manifest is another's", f"{manifest.model} version {manifest.version}")
    if not manifest.is_blessed:
        sentences = (manifest.sentences.get(gate, f"no verdict of the {gate} gate") for gate in GATES)
        raise _refused(base, version, "its gates did not bless it", " ".join(sentences))
    return manifest


def wait_available(
    client: ModelClient, model: str, version: int, timeout_s: float, clock: Clock, before: VersionStatus | None
) -> None:
    """Wait until the server has loaded a version.

    `before` is what the server said of it earlier: an old error is no new one. Raises GateRefused if it does not load.
    """
    started = clock.now()
    while True:
        status = status_of(client, model, version)
        waited_s = clock.now() - started
        if status and status.state == "AVAILABLE":
            return
        failed = status if status and status.state == "END" and status.error_code != "OK" else None
        if failed and (failed != before or waited_s > STALE_S):
            raise GateRefused(f"the model server could not load version {version} of {model}", got=failed.error)
        if waited_s > timeout_s:
            raise GateRefused(
                f"version {version} of {model} was not loaded in time",
                wanted=f"loaded within {timeout_s:g} s",
                got=status.state if status else "never seen by the model server",
                fix="look at the model server's log, and whether it sees the same folder",
            )
        clock.sleep(LOOK_EVERY_S)


def status_of(client: ModelClient, model: str, version: int) -> VersionStatus | None:
    """Return what the server says of a version, None if it never saw it."""
    try:
        return next((status for status in client.status(model) if status.version == version), None)
    except ModelNotFound:
        return None


def replay_golden(client: ModelClient, base: Path, version: int) -> None:
    """Let a loaded version answer its golden rows by every signature. Raises GateRefused if an answer is wrong."""
    for case in read_golden(base, version).cases:
        spec = VersionSpec(version=version)
        try:
            answer = client.predict(base.name, case.inputs, spec, signature=case.signature)
        except (InvalidRequest, ModelNotFound) as error:
            why = f"it does not answer its golden rows by {case.signature}"
            raise _refused(base, version, why, error.got) from None
        off = case.largest_difference(answer)
        if not off <= TOLERANCE:
            raise _refused(base, version, f"its answers by {case.signature} are wrong", f"off by {off:.1e}")
        if case.wrong_texts(answer):
            raise _refused(base, version, f"its answers by {case.signature} are wrong", "other labels")


def read_golden(base: Path, version: int) -> Golden:
    """Return a version's golden rows. Raises GateRefused if it carries none."""
    try:
        return Golden.read(base / str(version))
    except DataError as error:
        raise _refused(base, version, "it carries no golden rows", error.got) from None


def _refused(base: Path, version: int, why: str, got: object) -> GateRefused:
    return GateRefused(
        f"version {version} of {base.name} cannot be released: {why}", got=got, fix="run the pipeline to push another"
    )

"""The serving gate: a fresh process loads the model and replays its golden rows, and its report is judged.

Nothing of the training process can help the model there, and a crash of the loader takes down nobody else. The process
can be started early, so that importing TensorFlow costs no time; `["MODEL", "OUT.json"]` comes on its standard input.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from components.verdict import Finding, Verdict
from config.gate_settings import ProbeSettings
from serving.repository.contents import Case, Golden

CALLS = 30
_waiting: list[subprocess.Popen[str]] = []  # at most one, started by `warm_up` and not yet used


@dataclass(frozen=True)
class SignatureReport:
    """What one signature did: largest difference of a number, labels that differ, median time of one row."""

    signature: str
    error: str | None = None
    largest_difference: float = float("nan")
    wrong_labels: int = 0
    latency_ms: float = float("nan")


@dataclass(frozen=True)
class ProbeReport:
    load_error: str | None
    load_s: float
    memory_mb: float
    signatures: tuple[SignatureReport, ...]


def warm_up() -> None:
    """Start a child that imports TensorFlow and waits for its order."""
    if not _waiting:
        _waiting.append(_start())


def dismiss() -> None:
    """End a child that got no order."""
    while _waiting:
        _end(_waiting.pop())


def run_child(folder: Path, timeout_s: float) -> ProbeReport:
    """Probe a model in a fresh process; one that dies or hangs is reported as a failed load."""
    child = _waiting.pop() if _waiting else _start()
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch) / "report.json"
        try:
            _, errors = child.communicate(json.dumps([str(folder), str(out)]) + "\n", timeout=timeout_s)
        except subprocess.TimeoutExpired:
            return ProbeReport(f"no answer within {timeout_s:g} s", timeout_s, 0.0, ())
        finally:
            _end(child)
        if not out.is_file():
            last = (errors.strip().splitlines() or ["no message"])[-1]
            return ProbeReport(f"the loading process ended with code {child.returncode}: {last}", 0.0, 0.0, ())
        values = json.loads(out.read_text(encoding="utf-8"))
    signatures = tuple(SignatureReport(**signature) for signature in values.pop("signatures"))
    return ProbeReport(signatures=signatures, **values)


def _start() -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "components.probe.process"],
        cwd=Path(__file__).resolve().parents[2],
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def _end(child: subprocess.Popen[str]) -> None:
    child.kill()
    child.wait()
    for stream in (child.stdin, child.stderr):
        if stream:
            stream.close()


def judge(report: ProbeReport, settings: ProbeSettings, row_findings: Iterable[Finding] = ()) -> Verdict:
    findings = list(row_findings)
    if report.load_error:
        sentence = f"The model server could not load the model: {report.load_error}."
        findings.append(Finding("LOAD_FAILED", "error", sentence))
    elif not report.signatures:
        findings.append(Finding("NO_GOLDEN_ROWS", "error", "The model carries no golden rows to replay."))
    for signature in report.signatures:
        findings += _of_signature(signature, settings)
    if report.memory_mb > settings.max_memory_mb:
        sentence = f"Loading it took {report.memory_mb:.0f} MB of memory; {settings.max_memory_mb} MB are allowed."
        findings.append(Finding("TOO_MUCH_MEMORY", "error", sentence))
    failed = [finding.sentence for finding in findings if finding.severity == "error"]
    if failed:
        return Verdict("serving", False, "Not fit to serve: " + " ".join(failed), tuple(findings))
    slowest = max(s.latency_ms for s in report.signatures)
    difference = max(s.largest_difference for s in report.signatures)
    exactness = f"to within {difference:.0e}" if difference else "to the bit"
    sentence = (
        f"Loaded in {report.load_s:.1f} s by the session loader; {len(report.signatures)} signatures gave the golden "
        f"answers {exactness}, one row in at most {slowest:.2f} ms, {report.memory_mb:.0f} MB in all."
    )
    return Verdict("serving", True, sentence, tuple(findings))


def _of_signature(report: SignatureReport, settings: ProbeSettings) -> list[Finding]:
    name = report.signature
    if report.error:
        return [Finding("SIGNATURE_FAILED", "error", f"Signature {name} failed: {report.error}.")]
    numbers = {"largest_difference": report.largest_difference, "latency_ms": report.latency_ms}
    findings = [Finding("SIGNATURE_ANSWERED", "info", f"Signature {name} answered.", details=numbers)]
    if not report.largest_difference <= settings.tolerance:
        differs = f"differs from what was trained by {report.largest_difference:.1e}"
        sentence = f"Signature {name} {differs}, more than {settings.tolerance:.0e}."
        findings.append(Finding("WRONG_VALUES", "error", sentence, details=numbers))
    elif report.wrong_labels:
        findings.append(Finding("WRONG_LABELS", "error", f"Signature {name} gave {report.wrong_labels} other labels."))
    if report.latency_ms > settings.max_latency_ms:
        allowed = f"{settings.max_latency_ms:g} ms are allowed"
        sentence = f"Signature {name} takes {report.latency_ms:.1f} ms for one row; {allowed}."
        findings.append(Finding("TOO_SLOW", "error", sentence, details=numbers))
    return findings


def row_losses(counts: Mapping[str, tuple[int, int]]) -> list[Finding]:
    """Return an error for each step that saw another number of rows than the one before: `step: (wanted, got)`."""
    return [
        Finding("ROW_LOSS", "error", f"{step} saw {got} rows where ExampleGen wrote {wanted}.")
        for step, (wanted, got) in counts.items()
        if wanted != got
    ]


def probe(folder: Path) -> ProbeReport:
    import tensorflow as tf

    from serving.server.core.servable import Servable
    from serving.server.status import StatusError

    golden = Golden.read(folder)
    started = time.monotonic()
    try:
        servable = Servable.load(folder)
    except (StatusError, tf.errors.OpError, RuntimeError, ValueError, OSError, KeyError) as error:
        return ProbeReport(_first_line(error), time.monotonic() - started, memory_mb(), ())
    load_s = time.monotonic() - started
    reports = tuple(_replay(servable, case) for case in golden.cases)
    servable.close()
    return ProbeReport(None, load_s, memory_mb(), reports)


def _replay(servable: Any, case: Case) -> SignatureReport:
    import tensorflow as tf

    from serving.server.core.servable import as_array
    from serving.server.status import StatusError

    signature = case.signature
    try:
        arrays = {name: as_array(v, servable.dtype(signature, name)) for name, v in case.inputs.items()}
        outputs = servable.run(signature, arrays)
        first = {name: array[:1] for name, array in arrays.items()}
        times_ms = []
        for _ in range(CALLS):
            started = time.perf_counter()
            servable.run(signature, first)
            times_ms.append((time.perf_counter() - started) * 1000)
    except (StatusError, tf.errors.OpError, RuntimeError, ValueError, KeyError) as error:
        return SignatureReport(signature, error=_first_line(error))
    return SignatureReport(
        signature,
        largest_difference=case.largest_difference(outputs),
        wrong_labels=case.wrong_texts(outputs),
        latency_ms=float(np.median(times_ms)),
    )


def _first_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else ''}"


def memory_mb() -> float:
    """Return the most memory that this process ever held. `ru_maxrss` would begin with that of whoever started it."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def main() -> None:
    """Import what takes long, then probe the model named by the first line of standard input, if one comes."""
    importlib.import_module("serving.server.core.servable")
    if order := sys.stdin.readline():
        model, out = json.loads(order)
        Path(out).write_text(json.dumps(asdict(probe(Path(model)))), encoding="utf-8")
    os._exit(0)  # TensorFlow takes seconds to tear itself down


if __name__ == "__main__":
    main()

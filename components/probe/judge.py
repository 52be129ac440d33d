"""Judge what the probe saw: the serving gate's verdict in words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from components.probe.child import ProbeReport, SignatureReport
from components.verdict import Finding, Verdict
from config.settings import ProbeSettings


def judge(report: ProbeReport, settings: ProbeSettings, row_findings: Iterable[Finding] = ()) -> Verdict:
    """Return whether the model may be served, and why not."""
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
        sentence = (
            f"Signature {name} differs from Transform and Keras by {report.largest_difference:.1e}, "
            f"more than {settings.tolerance:.0e}."
        )
        findings.append(Finding("WRONG_VALUES", "error", sentence, details=numbers))
    elif report.wrong_labels:
        findings.append(Finding("WRONG_LABELS", "error", f"Signature {name} gave {report.wrong_labels} other labels."))
    if report.latency_ms > settings.max_latency_ms:
        sentence = (
            f"Signature {name} takes {report.latency_ms:.1f} ms for one row; "
            f"{settings.max_latency_ms:g} ms are allowed."
        )
        findings.append(Finding("TOO_SLOW", "error", sentence, details=numbers))
    return findings


def row_losses(counts: Mapping[str, tuple[int, int]]) -> list[Finding]:
    """Return an error for each step that saw another number of rows than the one before: `step: (wanted, got)`."""
    return [
        Finding("ROW_LOSS", "error", f"{step} saw {got} rows where ExampleGen wrote {wanted}.")
        for step, (wanted, got) in counts.items()
        if wanted != got
    ]

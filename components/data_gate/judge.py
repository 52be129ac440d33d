"""Weigh the findings by the settings' severities, and say the result in one sentence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from components.data_gate.export import Key
from components.data_gate.finding import Located
from components.verdict import Finding, Verdict
from config.settings import DataGateSettings

_ORDER = ("error", "warn", "info")


def judge(
    all_located: Sequence[Located],
    files: Mapping[Key, str],
    settings: DataGateSettings,
    rows: Mapping[str, int],
    override: str,
) -> Verdict:
    """Return the verdict; the gravest findings come first. `files` names exported rows by kind and feature."""
    weighed = sorted(((_finding(located, files, settings), _text(located)) for located in all_located), key=_gravity)
    findings = tuple(finding for finding, _ in weighed)
    errors = [text for finding, text in weighed if finding.severity == "error"]
    warnings = sum(finding.severity == "warn" for finding in findings)
    counted = f"{_count(sum(rows.values()), 'row')} ({', '.join(f'{n} {split}' for split, n in rows.items())})"
    warned = f"; {_count(warnings, 'warning')}" if warnings else ""
    if not errors:
        sentence = f"The data passed: {counted}, no error{warned}."
    else:
        more = f" ({_count(len(errors) - 1, 'more error')})" if len(errors) > 1 else ""
        decision = f"were let pass by override ({override})" if override else "were refused"
        sentence = f"The data {decision}: {errors[0]}{more}{warned}."
    return Verdict(
        gate="data",
        passed=not errors or bool(override),
        sentence=sentence,
        findings=findings,
        override=override or None,
    )


def _finding(located: Located, files: Mapping[Key, str], settings: DataGateSettings) -> Finding:
    raw = located.finding
    details = dict(raw.details)
    text = _text(located)
    if raw.counts_rows:
        details["rows"] = located.rows
    if file := files.get((raw.kind, raw.feature)):
        details["rows_file"] = file
    if raw.splits:
        details["splits"] = list(raw.splits)
    return Finding(
        kind=raw.kind,
        severity=settings.severity_of(raw.kind, raw.feature, raw.usual),
        sentence=f"{text}. {raw.cure}." if raw.cure else f"{text}.",
        feature=raw.feature,
        details=details,
    )


def _text(located: Located) -> str:
    text = located.finding.text
    if not located.finding.counts_rows:
        return text
    shown = f": {', '.join(located.values)}" if located.values else ""
    return f"{text}{shown} ({_count(located.rows, 'row')})"


def _gravity(weighed: tuple[Finding, str]) -> int:
    return _ORDER.index(weighed[0].severity)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"

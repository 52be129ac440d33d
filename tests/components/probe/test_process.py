from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import pytest

from components.probe.process import ProbeReport, SignatureReport, judge, row_losses
from config.gate_settings import ProbeSettings
from tests.support.paths import ROOT

GOOD = SignatureReport("serving_default", largest_difference=1e-8, wrong_labels=0, latency_ms=0.2)
REPORT = ProbeReport(None, 0.4, 300.0, (GOOD,))


def test_a_model_that_answers_is_blessed() -> None:
    verdict = judge(REPORT, ProbeSettings())
    assert verdict.passed
    assert "golden answers to within" in verdict.sentence


@pytest.mark.parametrize(
    ("report", "kind"),
    [
        (ProbeReport("FailedPreconditionError: Could not find variable", 0.1, 10.0, ()), "LOAD_FAILED"),
        (replace(REPORT, signatures=()), "NO_GOLDEN_ROWS"),
        (replace(REPORT, memory_mb=1e6), "TOO_MUCH_MEMORY"),
        (replace(REPORT, signatures=(replace(GOOD, largest_difference=1e-3),)), "WRONG_VALUES"),
        (replace(REPORT, signatures=(replace(GOOD, largest_difference=float("nan")),)), "WRONG_VALUES"),
        (replace(REPORT, signatures=(replace(GOOD, wrong_labels=1),)), "WRONG_LABELS"),
        (replace(REPORT, signatures=(replace(GOOD, latency_ms=1e4),)), "TOO_SLOW"),
        (replace(REPORT, signatures=(GOOD, SignatureReport("serving_packed", error="gone"))), "SIGNATURE_FAILED"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_each_fault_is_refused(report: ProbeReport, kind: str) -> None:
    verdict = judge(report, ProbeSettings())
    assert not verdict.passed
    assert kind in {finding.kind for finding in verdict.findings}


def test_a_lost_row_is_refused() -> None:
    rows = row_losses({"Trainer (train)": (10, 9), "Evaluator (test)": (5, 5)})
    assert [finding.kind for finding in rows] == ["ROW_LOSS"]
    assert not judge(REPORT, ProbeSettings(), rows).passed


def test_the_memory_is_the_childs_own_whoever_started_it() -> None:
    """`ru_maxrss` begins with the parent's peak: a run on much data refused a model that needs a third of the limit."""
    code = "from components.probe.process import memory_mb; print(memory_mb())"
    held = bytearray(900 * 2**20)
    held[::4096] = b"x" * len(held[::4096])
    said = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert 10 < float(said.stdout) < 600
    assert len(held) > 600 * 2**20

"""Code that nothing uses is refused, but for names that libraries and templates use."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.paths import ROOT


@pytest.mark.parametrize(
    ("code", "exit_code"),
    [("def orphan() -> int:\n    return 1\n", 3), ('class Example:\n    TYPE_NAME = "Example"\n\n\nExample()\n', 0)],
    ids=["unused", "used-by-a-library"],
)
def test_unused_code_is_refused(code: str, exit_code: int, tmp_path: Path) -> None:
    planted = tmp_path / "planted.py"
    planted.write_text(code, encoding="utf-8")
    vulture = Path(sys.executable).with_name("vulture")
    done = subprocess.run([vulture, planted], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == exit_code, done.stdout
    assert ("unused function 'orphan'" in done.stdout) is (exit_code == 3)

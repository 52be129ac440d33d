from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.collecting import Hospital


@pytest.fixture
def hospital(tmp_path: Path) -> Hospital:
    return Hospital(tmp_path)

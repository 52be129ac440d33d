from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from config.onboard.init import Wishes, onboard
from config.onboard.result import OnboardResult
from tests.support.onboarding import Init


@pytest.fixture
def init(tmp_path: Path) -> Init:
    """Write a table (or text, or bytes) as CSV and onboard it."""

    def run(table: pd.DataFrame | str | bytes, label: str = "y", sep: str = ",", **options: Any) -> OnboardResult:
        file = tmp_path / "toy.csv"
        if isinstance(table, pd.DataFrame):
            table.to_csv(file, index=False, sep=sep)
        else:
            file.write_bytes(table if isinstance(table, bytes) else table.encode())
        rest = {key: options.pop(key) for key in ("name", "force") if key in options}
        options["roles"] = dict.fromkeys(options.pop("ids", ()), "id") | options.get("roles", {})
        return onboard(file, label=label, wishes=Wishes(**options), out=tmp_path / "config", **rest)

    return run

"""Where the reports of the runs are."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

from common.paths import Paths


def reports(var: Path, model: str) -> dict[str, Path]:
    """Return a model's reports, as pages, by the id of the run that wrote them."""
    found = {}
    for facts in Paths(var, model).run_reports.glob("*/report.json"):
        with suppress(OSError, ValueError, KeyError, TypeError):
            page = facts.with_name("report.html")
            if page.is_file():
                found[str(json.loads(facts.read_text(encoding="utf-8"))["run_id"])] = page
    return found

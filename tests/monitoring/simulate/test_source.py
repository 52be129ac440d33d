"""What rows are drawn from, and what none are drawn from."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from common.errors import DataError
from config.data_settings import IMAGE_BYTES
from monitoring.simulate.source import read_table
from serving.repository.layout import SHOWCASE
from tests.support.web.models import garden, make_version
from tests.support.web.pictures import as_golden, picture


def test_pictures_are_not_made_up(tmp_path: Path) -> None:
    folder = make_version(tmp_path, garden(), 1)
    part = {"rows": 1, "columns": {IMAGE_BYTES: [as_golden(picture())]}, "labels": ["red"]}
    (folder / SHOWCASE).write_text(json.dumps({"train": part, "test": part}), encoding="utf-8")
    with pytest.raises(DataError, match="garden reads pictures"):
        read_table(folder)

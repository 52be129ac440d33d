"""The faults of the bench, on a fake model server: the app answers well again, and nothing it answered is lost."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from bench.webapp_faults import faults
from serving.client.types import Addresses
from tests.support.web.fake_model_server import FakeModelServer
from tests.support.web.models import Made


@pytest.mark.exhaustive
def test_no_fault_is_answered_by_a_failure_or_loses_what_was_answered(
    webapp_root: Path, fake: FakeModelServer, made: dict[str, Made], tmp_path: Path
) -> None:
    shutil.copytree(webapp_root / "serving" / "cells", tmp_path / "serving" / "cells")
    table = faults(tmp_path, Addresses(fake.url), "cells", made["cells"].row(), hurt_s=2.0)
    assert {fault.name for fault in table if not fault.is_kept} == set(), table
    by_name = {fault.name: fault for fault in table}
    assert by_name["model server down"].refused
    assert not by_name["model server hanging"].cut
    assert not by_name["disk full"].refused, "a full disk costs rows of the log, never a prediction"
    assert by_name["kill -9 of the supervisor"].cut

"""A process that is killed and a disk that is full: what was written stays whole, what could not be is counted."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from common.records.upkeep import Upkeep, look_after
from tests.support.paths import ROOT
from tests.support.web.logged import read_all, strangers, visible

pytestmark = pytest.mark.slow
BEGIN = """
import sys, time
from datetime import timedelta
from pathlib import Path
from tests.support.web.logged import NOON, Counted, batch, log_settings, minutes
from webapp.predict.log_writer import PredictionLog
drops = Counted()
log = PredictionLog(log_settings(Path(sys.argv[1])), drops)
"""
ENDLESS = """
for number in range(10**9):
    log.append(batch(7, at=NOON + timedelta(milliseconds=number)))
    log.flush(10)
"""
FULL = """
import resource, signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
free = resource.getrlimit(resource.RLIMIT_FSIZE)
log.append(batch(3)); assert log.flush(5)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, free[1]))
answered = [log.append(batch(5, at=NOON + minutes(n))) for n in range(1, 4)]; assert log.flush(5)
resource.setrlimit(resource.RLIMIT_FSIZE, free)
log.append(batch(2, at=NOON + minutes(9))); log.close()
print(answered, drops.rows)
"""


@pytest.fixture
def var(webapp_root: Path, tmp_path: Path) -> Path:
    (tmp_path / "serving").symlink_to(webapp_root / "serving")
    return tmp_path


def start(var: Path, code: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", BEGIN + code, str(var)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("files", [1, 8, *(pytest.param(files, marks=pytest.mark.exhaustive) for files in (3, 20))])
def test_killed_at_any_moment_no_file_is_half_and_only_what_was_in_memory_is_lost(var: Path, files: int) -> None:
    base = var / "predictions" / "cells"
    process = start(var, ENDLESS)
    deadline = time.monotonic() + 30
    while len(visible(base)) < files:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
    process.send_signal(signal.SIGKILL)
    process.communicate()
    rows = read_all(base).sort_by([("time", "ascending"), ("row", "ascending")])
    numbers = [int((moment.timestamp() % 3600) * 1000 + 0.5) for moment in rows["time"].to_pylist()]
    assert rows.num_rows == 7 * len(visible(base))
    assert numbers == [number for number in range(len(visible(base))) for _ in range(7)], "none in between is missing"
    for name in strangers(base):
        os.utime(base / name, (0, 0))
    look_after(base.parent, Upkeep(rows["time"][0].as_py(), 90))
    assert strangers(base) == [], "what it had begun is swept away"


def test_a_full_disk_costs_rows_never_a_prediction_and_is_over_when_it_is(var: Path) -> None:
    process = start(var, FULL)
    output, errors = process.communicate(timeout=60)
    assert output.split("\n")[0] == "[True, True, True] 15", errors
    assert errors.count("the prediction log lost") == 1
    assert sorted(read_all(var / "predictions" / "cells")["row"].to_pylist()) == [0, 0, 1, 1, 2]
    assert strangers(var / "predictions" / "cells") == []

from __future__ import annotations

import os
import stat
from pathlib import Path

from common.files import write_text


def test_a_file_is_as_open_as_the_umask_has_it(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        write_text(tmp_path / "closed", "rows of people")
        os.umask(0o022)
        write_text(tmp_path / "open", "a report")
    finally:
        os.umask(before)
    assert [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("closed", "open")] == [0o600, 0o644]

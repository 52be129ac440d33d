from __future__ import annotations

import os
from pathlib import Path
from typing import BinaryIO

import pytest

from webapp.bulk.result_files import KEPT_S, BatchFiles, NoSuchBatch, Progress, new_token


def finished(files: BatchFiles, owner: str = "ana") -> str:
    token = files.begin(new_token(), owner, "cells")
    with files.new_result(token) as file:
        file.write(b"radius\n1\n")
    files.finish(token, Progress(owner, "cells", 1, 1.0, 7))
    return token


def test_a_result_is_found_by_its_owner_only(tmp_path: Path) -> None:
    files = BatchFiles(tmp_path / "batches")
    token = finished(files)
    path, done = files.result(token, "ana")
    assert (path.read_text(), done.version) == ("radius\n1\n", 7)
    with pytest.raises(NoSuchBatch):
        files.result(token, "budi")


def test_progress_is_told_between_workers(tmp_path: Path) -> None:
    one, other = BatchFiles(tmp_path / "batches"), BatchFiles(tmp_path / "batches")
    token = one.begin(new_token(), "ana", "cells")
    one.reporter(token, "ana", "cells")(500, 40, 80)
    assert other.progress(token, "ana") == Progress("ana", "cells", 500, 0.5)


def test_an_upload_without_a_result_has_none_to_download(tmp_path: Path) -> None:
    files = BatchFiles(tmp_path / "batches")
    token = files.begin(new_token(), "ana", "cells")
    with pytest.raises(NoSuchBatch, match="no result"):
        files.result(token, "ana")


def write_to_a_closed(file: BinaryIO) -> None:
    file.close()
    file.write(b"radius\n")


def test_a_result_that_is_cut_off_leaves_nothing(tmp_path: Path) -> None:
    files = BatchFiles(tmp_path / "batches")
    token = files.begin(new_token(), "ana", "cells")
    with pytest.raises(ValueError, match="closed"), files.new_result(token) as file:
        write_to_a_closed(file)
    assert [path.suffix for path in (tmp_path / "batches").iterdir()] == [".json"]


def test_after_a_day_nothing_is_left(tmp_path: Path) -> None:
    files = BatchFiles(tmp_path / "batches")
    old, recent = finished(files), finished(files)
    for path in (tmp_path / "batches").glob(f"{old}*"):
        os.utime(path, (path.stat().st_atime, path.stat().st_mtime - KEPT_S - 1))
    files.begin(new_token(), "budi", "cells")
    with pytest.raises(NoSuchBatch):
        files.result(old, "ana")
    assert files.result(recent, "ana")
    assert not list((tmp_path / "batches").glob(f"{old}*"))

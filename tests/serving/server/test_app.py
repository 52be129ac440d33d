from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from serving.server.status import failed_precondition
from tests.support.serving.fakes import LIMIT_S, eventually


def test_the_file_is_read_again_and_again_and_a_bad_one_is_passed_over(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    from serving.server.app import follow

    path = tmp_path / "models.config"
    path.write_text('model_config_list { config { name: "a" } }')
    applied: list[str] = []

    def apply(config: Any) -> None:
        applied.append(config.model_config_list.config[0].name)
        if applied[-1] == "refused":
            raise failed_precondition("no such version")

    thread = follow(str(path), 0.005, apply)
    thread.start()
    eventually(lambda: applied.count("a") > 1)
    path.write_text("model_config_list {")
    eventually(lambda: "Failed to read ModelServerConfig file: Invalid protobuf file" in caplog.text)
    path.unlink()
    eventually(lambda: "No such file or directory" in caplog.text)
    path.write_text('model_config_list { config { name: "refused" } }')
    eventually(lambda: "no such version" in caplog.text)
    path.write_text('model_config_list { config { name: "b" } }')
    eventually(lambda: "b" in applied)
    thread.stop(LIMIT_S)
    assert set(applied) == {"a", "refused", "b"}

"""What the flags make of a session."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from serving.server.core.versions import VersionId
from serving.server.flags import parse
from tests.support.serving import models

pytestmark = pytest.mark.slow
MODEL = VersionId("m", 1)


def loaded(folder: Path, *flags: str) -> Any:
    from serving.server.core.loading import Loader
    from serving.server.core.metrics import Registry, ServingMetrics

    return Loader(parse(list(flags))[0], ServingMetrics(Registry()), None)(MODEL, folder)


@pytest.mark.parametrize(
    ("flags", "file", "between"),
    [
        ([], None, -1),
        (["--tensorflow_inter_op_parallelism=3", "--tensorflow_intra_op_parallelism=1"], None, 3),
        (["--tensorflow_session_parallelism=2"], None, 2),
        ([], "inter_op_parallelism_threads: 4", 4),
    ],
    ids=["nothing said", "flag", "flag for both", "file"],
)
def test_a_run_stays_in_the_callers_thread_unless_told_otherwise(
    tmp_path: Path, flags: list[str], file: str | None, between: int
) -> None:
    if file:
        (tmp_path / "session.pbtxt").write_text(file)
        flags = [f"--tensorflow_session_config_file={tmp_path / 'session.pbtxt'}"]
    servable = loaded(models.half_plus(tmp_path / "1"), *flags)
    assert servable.session._config.inter_op_parallelism_threads == between
    assert servable.run("serving_default", {"x": np.float32([2])})["y"].tolist() == [3.0]
    servable.close()


def test_many_turns_of_a_loop_with_several_operations_fit_the_callers_stack(tmp_path: Path) -> None:
    turns = 50_000

    def build(v1: Any) -> dict[str, Any]:
        x = v1.placeholder(v1.float32, [None, 2], name="x")
        start = (v1.constant(0), x, x)
        one = v1.eye(2)
        _, left, right = v1.while_loop(
            lambda i, a, b: i < turns, lambda i, a, b: (i + 1, v1.matmul(a, one), v1.matmul(b, one)), start
        )
        return {"serving_default": models.signature(models.PREDICT, {"x": x}, {"y": left + right})}

    servable = loaded(models.save(tmp_path / "1", build))
    assert servable.run("serving_default", {"x": np.float32([[1, 2]])})["y"].tolist() == [[2.0, 4.0]]
    servable.close()

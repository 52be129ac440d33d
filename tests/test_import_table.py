"""The import table of docs/architecture.md is held: a planted import that it forbids is refused."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.paths import ROOT

LINTER = Path(sys.executable).with_name("lint-imports")
ROOMS = ("common", "config", "components", "pipeline", "serving", "webapp", "monitoring")


@pytest.mark.parametrize(
    ("file", "planted", "contract"),
    [
        ("common/errors.py", "import config.settings", "common imports nothing of ours"),
        ("webapp/services.py", "import components.artifacts", "the web app asks a model server"),
        ("serving/client/types.py", "import tensorflow", "TensorFlow stays in"),
        ("monitoring/drift/check.py", "import tensorflow", "TensorFlow stays in"),
        ("monitoring/drift/check.py", "import webapp.settings", "monitoring reads what others wrote"),
        ("serving/cli.py", "import monitoring.cli", "nothing imports monitoring"),
        ("serving/registry/queue.py", "import mlflow", "MLflow stays with its replayer"),
        ("webapp/http/metrics.py", "import webapp.predict.predictor", "no circles"),
        ("common/files.py", "import common.draw.svg\nimport common.cli", None),
    ],
    ids=["common", "webapp", "tensorflow", "monitoring", "page", "watched", "mlflow", "circle", "allowed"],
)
def test_a_forbidden_import_is_refused_by_the_name_of_its_rule(
    file: str, planted: str, contract: str | None, tmp_path: Path
) -> None:
    for room in ROOMS:
        shutil.copytree(ROOT / room, tmp_path / room, ignore=lambda _, names: {n for n in names if n == "__pycache__"})
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    path = tmp_path / file
    path.write_text(path.read_text(encoding="utf-8").replace("import annotations", f"import annotations\n{planted}", 1))
    done = subprocess.run(
        [LINTER, "--no-cache"], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == (1 if contract else 0), done.stdout
    broken = [line for line in done.stdout.splitlines() if line.endswith("BROKEN")]
    assert any(line.startswith(contract) for line in broken) if contract else not broken

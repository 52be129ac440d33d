"""Where things are: the folders of one model's runs, and the ports of our programs unless they are told otherwise."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from common.errors import EnvironmentProblem

MODEL_SERVER_REST, MODEL_SERVER_GRPC = 8501, 8500  # TensorFlow Serving's own
WEB_PAGE = 8080
CONTROLLER = 8090  # of retraining, which alerts go to
WATCHER = 8091  # its metrics
MLFLOW_PAGE = 5000  # MLflow's own


def var_root() -> Path:
    """Return the root of all run-time state: `$VOUCH_VAR`, else `var/` beside this repository's code."""
    return Path(os.environ.get("VOUCH_VAR") or Path(__file__).resolve().parent.parent / "var").resolve()


def check_letters(var: Path) -> None:
    """Raise EnvironmentProblem where TFX would take letters of the path for a pattern."""
    if odd := sorted(set(str(var)) & set("*?[]")):
        raise EnvironmentProblem(
            f"run-time state cannot lie in {var}",
            got=f"{' '.join(odd)} in the path, which TFX takes for a pattern",
            fix="VOUCH_VAR=/a/path/without/them",
        )


def new_run_id() -> str:
    """Return a name for a run that sorts by time and is fit for a folder: `20261121T054500.123456`."""
    return datetime.now(timezone.utc).strftime("%Y%m%dT%H%M%S.%f")


@dataclass(frozen=True)
class Paths:
    """Name every place that one model's runs write to."""

    var: Path
    model: str

    @property
    def metadata(self) -> Path:
        """ML Metadata's SQLite file, one for all models."""
        return self.var / "metadata.sqlite"

    @property
    def pipeline(self) -> Path:
        """Root of the artifacts that TFX writes: `<component>/<output>/<execution id>/`."""
        return self.var / "pipeline" / self.model

    @property
    def run_reports(self) -> Path:
        """One folder a report, named by the execution that wrote it."""
        return self.pipeline / "RunReport" / "report"

    @property
    def serving(self) -> Path:
        """Base path for the model server: one numeric folder a version."""
        return self.var / "serving" / self.model

    @property
    def reports(self) -> Path:
        """One folder a run: gate verdicts, report, model card, full log."""
        return self.var / "reports" / self.model

    def run(self, run_id: str) -> Path:
        return self.reports / run_id

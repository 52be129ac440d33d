"""A run that has ended, put down for MLflow: in a queue that is told to it later (serving/registry/)."""

from __future__ import annotations

import logging
from datetime import datetime, timezone

from common.paths import Paths
from components import names
from pipeline.history import find_run, verdicts
from serving.registry.queue import RunEnded, announce


def announce_run(paths: Paths, run_id: str, command: str) -> None:
    """Put a run down as ML Metadata has it, however it ended. What goes wrong is logged: no run fails for it."""
    try:
        run = find_run(paths.metadata, run_id, paths.model)
        entry = RunEnded(
            model=run.model,
            run_id=run.run_id,
            started=run.started.isoformat(timespec="milliseconds"),
            time=datetime.now(timezone.utc).isoformat(timespec="milliseconds"),
            state=run.state,
            version=run.pushed_version,
            command=command,
            metadata=str(paths.metadata),
            executions={step.component: step.execution_id for step in run.steps},
            folder=str(paths.run(run_id)),
            report=run.uri(names.REPORT, names.REPORT_FILES),
            schema=run.schema,
            statistics=run.uri(names.STATISTICS_GEN, names.STATISTICS),
            verdicts={verdict.gate: verdict.sentence for verdict in verdicts(run, paths.run(run_id))},
        )
        announce(paths.serving.parent, entry)
    except Exception:  # what the run itself came to is what a person must hear of
        logging.getLogger(__name__).exception("run %s could not be put down for MLflow", run_id)

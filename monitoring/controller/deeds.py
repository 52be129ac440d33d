"""What a retraining does to the world: collects, runs the pipeline, releases, and clears up behind it."""

from __future__ import annotations

import json
import logging
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from common.errors import EnvironmentProblem
from common.files import locked
from common.paths import Paths
from common.records import images, labels
from common.records.retrain import Attempt, Retraining
from common.records.spans import SUMMARY
from config.settings import Settings
from monitoring.collect.collect import Wanted, collectable
from monitoring.collect.image_spans import ImageSpans, collectable_images
from monitoring.collect.kept_images import KeptImages
from monitoring.collect.spans import Spans
from monitoring.controller.machine import Ended
from monitoring.controller.processes import in_order, supervise
from monitoring.controller.trial import Look, look
from monitoring.feedback import reading, with_image_labels
from serving.release import commands as release
from serving.release.servers import ReleaseContext, recorded, release_clients
from serving.release.state import State
from serving.release.upkeep import prune
from serving.repository.layout import versions

COLLECT_LIMIT_S = PRUNE_LIMIT_S = 1800.0
EPOCH = datetime.fromtimestamp(0, timezone.utc)
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Deeds:
    """Of one model. `config`: its folder; `grpc`: where the model servers are (servers.resolve)."""

    var: Path
    config: Path
    settings: Settings
    grpc: str
    who: str

    @property
    def model(self) -> str:
        return self.settings.name

    @property
    def logs(self) -> Path:
        return self.var / "monitoring" / self.model / "retrain"

    def collectable(self) -> int:
        now, rules = datetime.now(timezone.utc), self.settings.retrain
        wanted = Wanted(EPOCH, now, rules.most_per_user, rules.with_synthetic)
        if self.settings.data.is_images:
            with with_image_labels(self.var, writes=False) as connection:
                return collectable_images(KeptImages(self.var, self.settings, connection), wanted)
        with reading(self.var) as labelled:
            feedback = labels.between(labelled, self.model, EPOCH, now) if labelled else {}
        return collectable(self.settings, self.var / "predictions" / self.model, feedback, wanted)

    def is_running(self) -> bool:
        try:
            with locked(Paths(self.var, self.model).pipeline / ".run_lock", "a run is going on"):
                return False
        except EnvironmentProblem:
            return True

    def newest_span(self) -> int:
        return self._spans.newest()

    def rows_of(self, span: int) -> int:
        if isinstance(spans := self._spans, ImageSpans):
            return spans.rows_of(span) if span else 0
        path = spans.folder(span) / SUMMARY
        return int(json.loads(path.read_text(encoding="utf-8"))["added"]) if path.is_file() else 0  # put there by hand

    def collect(self) -> Ended:
        rules = self.settings.retrain
        command = ["-m", "monitoring", "collect", self.model, "--config", str(self.config)]
        command += ["--most-per-user", str(rules.most_per_user)]
        if rules.with_synthetic and not self.settings.data.is_images:
            command.append("--with-synthetic")
        return self._supervise("collect", command, COLLECT_LIMIT_S)

    def newest_version(self) -> int:
        return max(versions(Paths(self.var, self.model).serving), default=0)

    def run(self) -> Ended:
        limit_s = 3600 * self.settings.retrain.time_limit_hours
        return self._supervise("run", ["local_runner.py", "run", str(self.config)], limit_s)

    def withdraw(self, span: int) -> None:
        self._spans.withdraw(span)

    def released(self) -> State | None:
        record = recorded(self.var / "serving", self.model)
        return record.wanted if record else None

    def canary(self, version: int) -> None:
        with self._context() as context:
            release.canary(context, self.model, self.settings.retrain.canary_percent, version)

    def promote(self, version: int) -> None:
        with self._context() as context:
            release.promote(context, self.model, version)

    def rollback(self) -> None:
        with self._context() as context:
            release.rollback(context, self.model)

    def look(self, attempt: Attempt) -> Look:
        state, since = self.released(), attempt.trial_began
        assert state
        assert since
        with reading(self.var) as connection:
            now = datetime.now(timezone.utc)
            feedback = labels.between(connection, self.model, since, now) if connection else {}
        truth = {key: each.label for key, each in feedback.items()}
        with self._context() as context:
            pictures = self.var / images.FOLDER / self.model
            return look(context.clients[0], self.var / "predictions" / self.model, state, since, truth, pictures)

    def clear_up(self) -> None:
        in_order((self._prune_versions, self._prune_runs, self._prune_spans, self._prune_logs), self._tell)

    def _prune_versions(self) -> None:
        prune(self.var / "serving", self.model, self.settings.retrain.keep, self.who)

    def _prune_runs(self) -> None:
        keep = ["--keep", str(self.settings.retrain.keep), "--yes"]
        self._supervise("prune", ["local_runner.py", "prune", "--model", self.model, *keep], PRUNE_LIMIT_S)

    def _prune_spans(self) -> None:
        """Remove old spans that were collected here, never one that a version on disk was trained on."""
        spans, keep = self._spans, self.settings.retrain.keep
        for number in sorted(withdrawn := spans.withdrawn())[:-keep]:
            shutil.rmtree(withdrawn[number])
        if isinstance(spans, ImageSpans):
            return  # each holds what none of the others does
        present = set(versions(Paths(self.var, self.model).serving))
        attempts = Retraining.read(self.var, self.model).attempts
        trained = {attempt.span for attempt in attempts if attempt.version in present}
        ours = {attempt.span for attempt in attempts if attempt.version} - trained
        for number in spans.numbers()[:-keep]:
            if number in ours:
                shutil.rmtree(spans.folder(number))

    def _prune_logs(self) -> None:
        for old in sorted(self.logs.glob("*.log"))[: -self.settings.retrain.keep]:
            old.unlink()

    def _tell(self, error: Exception) -> None:
        log.warning("%s: not all that is old could be removed: %s", self.model, error)

    @property
    def _spans(self) -> Spans | ImageSpans:
        return ImageSpans.of(self.settings) if self.settings.data.is_images else Spans.of(self.settings.data.source)

    def _supervise(self, what: str, arguments: list[str], limit_s: float) -> Ended:
        active = Retraining.read(self.var, self.model).active
        log.info("%s: %s", self.model, " ".join(arguments))
        name = active.id if active else what
        return supervise([sys.executable, *arguments], self.logs / f"{name}.log", limit_s)

    @contextmanager
    def _context(self) -> Iterator[ReleaseContext]:
        with release_clients(self.grpc) as clients:
            yield ReleaseContext(self.var / "serving", clients, self.who)

"""A predictor on hand-made versions and the fake model server, and what it logged and counted."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from serving.client.rest import RestClient
from serving.client.retry import Policy
from webapp.http.metrics import Metrics
from webapp.models.catalog import Catalog
from webapp.models.releases import Router
from webapp.predict.predictor import Predictor
from webapp.types import LoggedBatch, RequestInfo

ASKED = RequestInfo("0" * 32, "somebody", "api")
PATIENT = Policy(budget_s=5.0, tries=2, first_wait_s=0.0)


@dataclass
class Kept:
    """Stands where the log does; what it writes is tested elsewhere."""

    batches: list[LoggedBatch] = field(default_factory=list)

    def append(self, batch: LoggedBatch) -> bool:
        self.batches.append(batch)
        return True


class Bench:
    """A predictor and all around it."""

    def __init__(self, serving: Path, url: str, policy: Policy = PATIENT) -> None:
        self.client, self.kept, self.metrics = RestClient(url, policy), Kept(), Metrics()
        self.catalog = Catalog(serving, serving)
        self.predictor = Predictor(
            self.catalog,
            Router(serving),
            self.client,
            self.kept,
            self.metrics,  # type: ignore[arg-type]
        )

    def counted(self, name: str, **labels: str) -> float:
        return self.metrics.registry.get_sample_value(name, labels) or 0.0

    def close(self) -> None:
        self.client.close()

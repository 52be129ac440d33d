"""What the web app and the model server count, read back from their metrics."""

from __future__ import annotations

import time
import urllib.request
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from http.client import HTTPException
from itertools import pairwise

from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from common.errors import VouchError
from serving.client.errors import BadAnswer, ModelServerDown

SCRAPE_TIMEOUT_S = 1.0
SCRAPE_BYTES = 2 << 20
SERVING = ":tensorflow:serving:"
FAILED = 500
FEWEST_REQUESTS = 50  # for a quantile: it is a guess within a bucket


@dataclass
class Route:
    """Requests to one route since the app started. `seconds`: bucket's upper bound and the requests up to it."""

    requests: float = 0
    failed: float = 0
    seconds: list[tuple[float, float]] = field(default_factory=list)

    def quantile_ms(self, share: float) -> float | None:
        """Return the time within which a share of the requests was answered, None if too few tell."""
        seconds = _quantile(sorted(self.seconds), share) if self.requests >= FEWEST_REQUESTS else None
        return None if seconds is None else seconds * 1000


@dataclass(frozen=True)
class Traffic:
    """The app's requests since it started, by route, and the rows that the prediction log lost."""

    routes: dict[str, Route]
    dropped_rows: float

    @property
    def requests(self) -> float:
        return sum(route.requests for route in self.routes.values())

    @property
    def failed(self) -> float:
        """Those that were answered with a 5xx."""
        return sum(route.failed for route in self.routes.values())


@dataclass(frozen=True)
class Served:
    """What the model server counts for a model since it started."""

    ok: float
    failed: float
    mean_ms: float | None


def traffic(text: str) -> Traffic:
    """Return what the app's own metrics say, in Prometheus' text format."""
    routes: dict[str, Route] = defaultdict(Route)
    dropped = 0.0
    for sample in _samples(text):
        if sample.name == "vouch_http_requests_total":
            route = routes[sample.labels["route"]]
            route.requests += sample.value
            route.failed += sample.value if int(sample.labels["status"]) >= FAILED else 0
        elif sample.name == "vouch_http_request_duration_seconds_bucket":
            routes[sample.labels["route"]].seconds.append((float(sample.labels["le"]), sample.value))
        elif sample.name == "vouch_prediction_log_dropped_rows_total":
            dropped += sample.value
    return Traffic(dict(routes), dropped)


def served(rest_address: str) -> dict[str, Served]:
    """Ask the model server what it counted, by model. Raises ModelServerDown, BadAnswer within a second or so."""
    try:
        samples = list(_samples(_fetched(f"{rest_address.rstrip('/')}/monitoring/prometheus/metrics")))
    except (OSError, HTTPException, VouchError) as error:
        raise ModelServerDown("the model server's metrics cannot be read", got=error) from None
    except ValueError as error:
        raise BadAnswer("the model server's metrics mean nothing", got=str(error)[:200]) from None
    totals: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
    for sample in samples:
        name, model = sample.name.removeprefix(SERVING), sample.labels.get("model_name", "")
        if name == "request_count_total":  # the parser calls every counter so
            totals[model]["ok" if sample.labels.get("status") == "OK" else "failed"] += sample.value
        elif name in ("request_latency_sum", "request_latency_count"):
            totals[model][name] += sample.value
    return {
        model: Served(
            sums["ok"],
            sums["failed"],
            sums["request_latency_sum"] / sums["request_latency_count"] / 1000
            if sums["request_latency_count"]
            else None,
        )
        for model, sums in sorted(totals.items())
    }


def _samples(text: str) -> Iterable[Sample]:
    for family in text_string_to_metric_families(text):
        yield from family.samples


def _fetched(address: str) -> str:
    """Return a page; however slowly it comes, this ends."""
    started, parts = time.monotonic(), []
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # no proxy stands in between
    with opener.open(address, timeout=SCRAPE_TIMEOUT_S) as answer:
        while part := answer.read1(1 << 16):
            parts.append(part)
            if sum(map(len, parts)) > SCRAPE_BYTES or time.monotonic() - started > SCRAPE_TIMEOUT_S:
                raise ModelServerDown("the page is too long, or comes too slowly")
    return b"".join(parts).decode("utf-8")


def _quantile(buckets: list[tuple[float, float]], share: float) -> float | None:
    """Return a quantile as Prometheus estimates it: evenly spread within a bucket."""
    if not buckets or not buckets[-1][1]:
        return None
    wanted = share * buckets[-1][1]
    for (low, before), (high, upto) in pairwise([(0.0, 0.0), *buckets]):
        if upto >= wanted:
            return low if high == float("inf") else low + (high - low) * (wanted - before) / max(upto - before, 1e-9)
    return None

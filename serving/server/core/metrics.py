"""Counters and histograms under TensorFlow Serving's names, and the page Prometheus reads."""

from __future__ import annotations

import re
import threading
from bisect import bisect_right
from collections.abc import Callable
from typing import Generic, TypeVar

MAX_POINTS = 1000  # a client that asks for made-up models must not fill the memory
OTHER = "(other)"  # also stands for all models that are not served: any client can make up names
Labels = tuple[str, ...]


class CounterCell:
    __slots__ = ("_lock", "value")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.value = 0

    def add(self, amount: int = 1) -> None:
        with self._lock:
            self.value += amount

    def lines(self, name: str, labels: str) -> list[str]:
        return [f"{name}{{{labels}}} {self.value}"]


class HistogramCell:
    """One histogram under one set of labels. As TensorFlow has it, a value on a bound counts above it."""

    __slots__ = ("_bounds", "_lock", "counts", "total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self._bounds = bounds
        self._lock = threading.Lock()
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def add(self, value: float) -> None:
        index = bisect_right(self._bounds, value)
        with self._lock:
            self.counts[index] += 1
            self.total += value

    def lines(self, name: str, labels: str) -> list[str]:
        with self._lock:
            counts, total = list(self.counts), self.total
        prefix = f"{name}_bucket{{{labels}{',' if labels else ''}"
        cumulated, lines = 0, []
        for bound, count in zip([*(f"{bound:g}" for bound in self._bounds), "+Inf"], counts, strict=True):
            cumulated += count
            lines.append(f'{prefix}le="{bound}"}} {cumulated}')
        return [*lines, f"{name}_sum{{{labels}}} {total:.15g}", f"{name}_count{{{labels}}} {cumulated}"]


Cell = TypeVar("Cell", CounterCell, HistogramCell)


class Metric(Generic[Cell]):
    """A metric with its points. One without labels has its point from the start."""

    def __init__(self, name: str, kind: str, label_names: Labels, make: Callable[[], Cell]) -> None:
        self.name = re.sub("[^a-zA-Z0-9_]", ":", name)
        self.kind = kind
        self._label_names = label_names
        self._make: Callable[[], Cell] = make
        self._lock = threading.Lock()
        self._cells: dict[Labels, Cell] = {}
        if not label_names:
            self.cell()

    def cell(self, *values: str) -> Cell:
        """Return the point under these label values, made at need; beyond `MAX_POINTS` all share one."""
        cell = self._cells.get(values)
        if cell is not None:
            return cell
        with self._lock:
            if len(self._cells) >= MAX_POINTS:
                values = (OTHER,) * len(self._label_names)
            return self._cells.setdefault(values, self._make())

    def lines(self) -> list[str]:
        with self._lock:
            cells = sorted(self._cells.items())
        lines = [f"# TYPE {self.name} {self.kind}"]
        for values, cell in cells:
            pairs = zip(self._label_names, values, strict=True)
            lines += cell.lines(self.name, ",".join(f'{name}="{_escaped(value)}"' for name, value in pairs))
        return lines


class Registry:
    """All metrics of one server; a test makes its own."""

    def __init__(self) -> None:
        self._metrics: list[Metric[CounterCell] | Metric[HistogramCell]] = []

    def counter(self, name: str, *label_names: str) -> Metric[CounterCell]:
        """Add a counter. `name` is TensorFlow's path, such as `/tensorflow/serving/request_count`."""
        metric = Metric(name, "counter", label_names, CounterCell)
        self._metrics.append(metric)
        return metric

    def histogram(self, name: str, bounds: tuple[float, ...], *label_names: str) -> Metric[HistogramCell]:
        metric = Metric(name, "histogram", label_names, lambda: HistogramCell(bounds))
        self._metrics.append(metric)
        return metric

    def page(self) -> str:
        lines = [line for metric in sorted(self._metrics, key=lambda m: m.name) for line in metric.lines()]
        return "\n".join(lines) + "\n"


def exponential(scale: float, growth: float, count: int) -> tuple[float, ...]:
    return tuple(scale * growth**i for i in range(count))


class ServingMetrics:
    """The server's metrics. Latencies are in microseconds."""

    def __init__(self, registry: Registry) -> None:
        prefix, batching = "/tensorflow/serving/", "/tensorflow/serving/batching_session/"
        latency_us, sizes = exponential(10, 1.8, 33), exponential(1, 2, 14)
        counter, histogram = registry.counter, registry.histogram
        self.request_count = counter(prefix + "request_count", "model_name", "status")
        self.request_latency = histogram(prefix + "request_latency", latency_us, "model_name", "API", "entrypoint")
        self.runtime_latency = histogram(prefix + "runtime_latency", latency_us, "model_name", "API", "runtime")
        self.example_count_total = counter(prefix + "request_example_count_total", "model")
        self.example_counts = histogram(prefix + "request_example_counts", exponential(1, 2, 15), "model")
        self.warmup_latency = histogram(prefix + "model_warmup_latency", latency_us, "model_path", "status")
        self.warmup_records = counter(prefix + "model_warmup_records_read", "model_path", "status")
        self.log_count = counter(prefix + "request_log_count", "model_name", "status_code")
        self.queuing_latency = histogram(batching + "queuing_latency", exponential(100, 1.2, 52), "thread_pool_name")
        self.wrapped_runs = counter(batching + "wrapped_run_count")
        self.padding_size = histogram(batching + "padding_size", sizes, "execution_batch_size")
        self.input_batch_size = histogram(batching + "input_batch_size", sizes)
        self.processed_batch_size = histogram(batching + "processed_batch_size", sizes)


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")

"""BatchingParameters as the server uses them."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from itertools import pairwise

from serving.server.status import invalid_argument


@dataclass(frozen=True)
class BatchingOptions:
    """BatchingParameters, with the defaults of TensorFlow Serving."""

    max_batch_size: int = 1000
    batch_timeout_s: float = 0.0
    max_enqueued_batches: int = 10
    num_batch_threads: int = field(default_factory=lambda: os.cpu_count() or 1)
    thread_pool_name: str = ""
    allowed_batch_sizes: tuple[int, ...] = ()
    pad_variable_length_inputs: bool = False
    enable_large_batch_splitting: bool = False
    max_execution_batch_size: int | None = None  # only with splitting; None: max_batch_size

    def check(self) -> None:
        """Raise StatusError, INVALID_ARGUMENT, for what no batch could be made with."""
        for name, least, is_wrong in (
            ("num_batch_threads", "positive", self.num_batch_threads < 1),
            ("max_batch_size", "positive", self.max_batch_size < 1),
            ("batch_timeout_micros", "non-negative", self.batch_timeout_s < 0),
            ("max_enqueued_batches", "non-negative", self.max_enqueued_batches < 0),
            ("max_execution_batch_size", "positive", self.run_size < 1),
        ):
            if is_wrong:
                raise invalid_argument(f"{name} must be {least}; was {self._given(name)}")
        if self.run_size > self.max_batch_size:
            raise invalid_argument(
                "max_execution_batch_size should be less than or equal to max_batch_size; was "
                f"{self.run_size}, max_batch_size {self.max_batch_size}"
            )
        self._check_allowed()

    def _check_allowed(self) -> None:
        sizes = self.allowed_batch_sizes
        if not sizes:
            return
        limit = "max_execution_batch_size" if self.enable_large_batch_splitting else "max_batch_size"
        if sizes[-1] not in (self.run_size, self.max_batch_size):
            raise invalid_argument(
                f"Last entry in allowed_batch_sizes must match {limit}; last entry was {sizes[-1]}; "
                f"expected {self.run_size}"
            )
        if sizes[0] < 1 or any(a >= b for a, b in pairwise(sizes)):
            raise invalid_argument("allowed_batch_sizes entries must be monotonically increasing")

    def _given(self, name: str) -> int:
        if name == "batch_timeout_micros":
            return round(self.batch_timeout_s * 1e6)
        return self.run_size if name == "max_execution_batch_size" else int(getattr(self, name))

    @property
    def run_size(self) -> int:
        """The rows of the largest run."""
        if self.enable_large_batch_splitting and self.max_execution_batch_size is not None:
            return self.max_execution_batch_size
        return self.max_batch_size

    def padded(self, rows: int) -> int:
        """Return the smallest allowed size that holds so many rows."""
        return next((size for size in self.allowed_batch_sizes if size >= rows), rows)

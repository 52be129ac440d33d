"""People who ask the web app all the time, and tell true labels or wrong ones, while the world may move."""

from __future__ import annotations

import math
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from common.errors import VouchError
from monitoring.simulate.shifts import Shift, draw
from monitoring.simulate.source import read_table
from monitoring.simulate.traffic import Plan, send

RATE, PORTION_ROWS = 400.0, 1600  # rows a second, and drawn at once
LABELS_AFTER_S = 2.5  # by then the log has the prediction


@dataclass(frozen=True)
class World:
    """How rows and labels are: shifted or not, labels told for a share of the rows, all of them wrong if `is_lying`.

    No more than `most_labels` are told: what is left over of right ones would be collected beside the wrong ones.
    """

    name: str
    shift: Shift
    label_share: float = 0.0
    is_lying: bool = False
    most_labels: float = math.inf


CLEAN = World("clean", Shift("none", 0.0))


class People:
    """Ask the web app all the time, as the world is at the moment."""

    def __init__(self, url: str, version: Path, classes: Sequence[str], seed: int) -> None:
        self._url, self._model, self._classes = url, version.parent.name, list(classes)
        self._table, self._chance = read_table(version), np.random.default_rng(seed)
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._ask, name="people", daemon=True)
        self.world, self.rows, self.problem = CLEAN, 0, ""  # the problem: why they have given up, if they have

    @contextmanager
    def asking(self) -> Iterator[People]:
        self._thread.start()
        try:
            yield self
        finally:
            self._ending.set()
            self._thread.join(30)

    def _ask(self) -> None:
        told = Counter[World]()
        try:
            while not self._ending.is_set():
                world = self.world
                share = min(world.label_share, (world.most_labels - told[world]) / PORTION_ROWS)
                columns, labels = draw(self._table, world.shift, PORTION_ROWS, self._chance)
                if world.is_lying:
                    labels = lied(labels, self._classes)
                plan = Plan(self._url, self._model, RATE, world.name, LABELS_AFTER_S, share)
                sent = send(plan, columns, labels, self._chance.random(PORTION_ROWS).tolist())
                told[world] += sent.labels
                self.rows += sent.rows
        except VouchError as error:
            self.problem = str(error)


def lied(labels: Sequence[str], classes: Sequence[str]) -> list[str]:
    """Return wrong labels: each the class before, of numbers low for high."""
    if classes:
        return [classes[classes.index(label) - 1] for label in labels]
    numbers = [float(label) for label in labels]
    return [str(min(numbers) + max(numbers) - number) for number in numbers]

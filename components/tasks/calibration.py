"""Probabilities that mean what they say: a temperature fitted on eval (Guo et al. 2017), part of the exported graph."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import optimize

PRIOR_SPREAD = 0.5  # of the temperature's logarithm: rows that any temperature separates would drive it to 0
Floats = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Calibration:
    """What is done to logits before they become probabilities: `(logits - shift) / temperature`."""

    temperature: float
    shift: float | tuple[float, ...] = 0.0  # of each logit, where there are several

    def apply(self, logits: Any) -> Any:
        """Return calibrated logits of an array or a tensor."""
        return (logits - np.asarray(self.shift, np.float32)) / self.temperature

    def probabilities(self, logits: Floats) -> Floats:
        """Return `[rows, 1]`, the probability of label 1, or `[rows, classes]`."""
        calibrated = self.apply(np.asarray(logits, np.float64))
        if calibrated.shape[1] == 1:
            return 1 / (1 + np.exp(-calibrated))
        weights = np.exp(calibrated - calibrated.max(axis=1, keepdims=True))
        return np.asarray(weights / weights.sum(axis=1, keepdims=True))


AS_TRAINED = Calibration(1.0)


def fit_calibration(logits: Floats, targets: NDArray[np.int64], shift: float | tuple[float, ...] = 0.0) -> Calibration:
    """Return the temperature under which `[rows, 1 or classes]` logits tell the targets best; 1 without rows."""

    def cost(log_temperature: float) -> float:
        scaled = Calibration(float(np.exp(log_temperature)), shift).apply(np.asarray(logits, np.float64))
        if scaled.shape[1] == 1:
            loss = np.logaddexp(0, scaled[:, 0]) - targets * scaled[:, 0]
        else:
            top = scaled.max(axis=1)
            loss = top + np.log(np.exp(scaled - top[:, None]).sum(axis=1)) - scaled[np.arange(len(scaled)), targets]
        return float(loss.sum() + (log_temperature / PRIOR_SPREAD) ** 2 / 2)

    if not len(targets):
        return Calibration(1.0, shift)
    best = optimize.minimize_scalar(cost, bounds=(-3.0, 3.0), method="bounded")
    return Calibration(float(np.exp(best.x)), shift)

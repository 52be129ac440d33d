"""What is predicted, chosen once: a class of two, a class of many, or a number. All that depends on it asks this."""

from __future__ import annotations

from components.tasks.classification import ClassHead, Classification
from components.tasks.regression import NumberHead, Regression
from config.data_settings import DataSettings

Task = Classification | Regression
Head = ClassHead | NumberHead
__all__ = ["ClassHead", "Classification", "Head", "NumberHead", "Regression", "Task", "task_of"]


def task_of(data: DataSettings) -> Task:
    """Return the task that the settings of the data name."""
    if data.is_regression:
        return Regression()
    return Classification(data.classes, data.positive_index if data.is_binary else None)

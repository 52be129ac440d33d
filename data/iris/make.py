"""Write `iris.csv` from scikit-learn's copy of Fisher's iris data, digit for digit.

Run `python data/iris/make.py`; a test checks that it reproduces the checked-in file.
"""

from __future__ import annotations

import csv
from importlib import resources
from pathlib import Path

from sklearn.datasets import load_iris

TARGET = Path(__file__).with_name("iris.csv")
COLUMNS = ("sepal_length", "sepal_width", "petal_length", "petal_width", "species")


def make() -> str:
    """Return the whole CSV, rows in the source's order, numbers as text as they stand there."""
    copy = load_iris()
    source = resources.files(copy.data_module).joinpath(copy.filename).read_text(encoding="utf-8")
    _, *rows = csv.reader(source.splitlines())
    lines = [",".join([*numbers, copy.target_names[int(species)]]) for *numbers, species in rows]
    return "\n".join([",".join(COLUMNS), *lines]) + "\n"


if __name__ == "__main__":
    TARGET.write_text(make(), encoding="utf-8")

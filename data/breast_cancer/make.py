"""Write `breast_cancer.csv` from scikit-learn's copy of the Wisconsin diagnostic data, digit for digit.

Run `python data/breast_cancer/make.py`; a test checks that it reproduces the checked-in file.
"""

from __future__ import annotations

import csv
import io
from importlib import resources
from pathlib import Path

from sklearn.datasets import load_breast_cancer

TARGET = Path(__file__).with_name("breast_cancer.csv")
MEASURES = (
    "radius",
    "texture",
    "perimeter",
    "area",
    "smoothness",
    "compactness",
    "concavity",
    "concave_points",
    "symmetry",
    "fractal_dimension",
)
STATISTICS = ("mean", "se", "worst")
COLUMNS = ("diagnosis", *(f"{measure}_{statistic}" for statistic in STATISTICS for measure in MEASURES))
DIAGNOSIS = {"malignant": "M", "benign": "B"}


def make() -> str:
    """Return the whole CSV: `diagnosis` first, then 30 features, rows in the source's order.

    The numbers are copied as text, because a detour through floats would add or drop digits (1001 → 1001.0).
    """
    copy = load_breast_cancer()
    source = resources.files(copy.data_module).joinpath(copy.filename).read_text(encoding="utf-8")
    _, *rows = csv.reader(io.StringIO(source))
    written = io.StringIO()
    writer = csv.writer(written, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows([DIAGNOSIS[copy.target_names[int(target)]], *features] for *features, target in rows)
    return written.getvalue()


if __name__ == "__main__":
    TARGET.write_text(make(), encoding="utf-8")

"""Write `diabetes.csv` from scikit-learn's copy of the diabetes data of Efron et al., as they were measured.

Run `python data/diabetes/make.py`; a test checks that it reproduces the checked-in file.
"""

from __future__ import annotations

from pathlib import Path

from sklearn.datasets import load_diabetes

TARGET = Path(__file__).with_name("diabetes.csv")
NAMES = {
    "age": "age",
    "sex": "sex",
    "bmi": "bmi",
    "bp": "blood_pressure",
    "s1": "total_cholesterol",
    "s2": "ldl",
    "s3": "hdl",
    "s4": "cholesterol_ratio",
    "s5": "log_triglycerides",
    "s6": "glucose",
}


def make() -> str:
    """Return the whole CSV, rows in the source's order."""
    copy = load_diabetes(scaled=False)
    assert copy.feature_names == [*NAMES]
    rows = [[f"{value:g}" for value in (*numbers, y)] for numbers, y in zip(copy.data, copy.target, strict=True)]
    return "\n".join(",".join(row) for row in [[*NAMES.values(), "progression"], *rows]) + "\n"


if __name__ == "__main__":
    TARGET.write_text(make(), encoding="utf-8")

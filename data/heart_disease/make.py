"""Write `heart_disease.csv` in the codes of the UCI repository, from the copy that Orange carries in words.

Run `python data/heart_disease/make.py heart_disease.tab`; that file is `Orange/datasets/heart_disease.tab` in the wheel
of Orange3 (`pip download --no-deps Orange3`, and unzip it).
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path

TARGET = Path(__file__).with_name("heart_disease.csv")
# name in Orange → name in UCI, and code of each word where Orange has words
COLUMNS: dict[str, tuple[str, dict[str, str]]] = {
    "age": ("age", {}),
    "gender": ("sex", {"female": "0", "male": "1"}),
    "chest pain": ("cp", {"typical ang": "1", "atypical ang": "2", "non-anginal": "3", "asymptomatic": "4"}),
    "rest SBP": ("trestbps", {}),
    "cholesterol": ("chol", {}),
    "fasting blood sugar > 120": ("fbs", {}),
    "rest ECG": ("restecg", {"normal": "0", "ST-T abnormal": "1", "left vent hypertrophy": "2"}),
    "max HR": ("thalach", {}),
    "exerc ind ang": ("exang", {}),
    "ST by exercise": ("oldpeak", {}),
    "slope peak exc ST": ("slope", {"upsloping": "1", "flat": "2", "downsloping": "3"}),
    "major vessels colored": ("ca", {}),
    "thal": ("thal", {"normal": "3", "fixed defect": "6", "reversable defect": "7"}),
    "diameter narrowing": ("num", {}),
}
MISSING = ("?", "")


def make(source: str) -> str:
    """Return the whole CSV from the text of Orange's file: a head of three lines, then tabs between values."""
    names, _types, _roles, *rows = csv.reader(source.splitlines(), delimiter="\t")
    lines = [",".join(COLUMNS[name][0] for name in names)]
    for row in rows:
        codes = [COLUMNS[name][1] for name in names]
        lines.append(
            ",".join("" if v in MISSING else code[v] if code else v for v, code in zip(row, codes, strict=True))
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    TARGET.write_text(make(Path(sys.argv[1]).read_text(encoding="utf-8")), encoding="utf-8")

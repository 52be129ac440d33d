"""Which columns `init` leaves out: ids, and what tells nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from components.data_gate.checks.ids_constants import id_features
from config.load import load_settings
from tests.support.onboarding import ROWS, Init, toy


def test_quantities_of_a_small_table_are_no_ids_but_pointed_at(init: Init) -> None:
    votes = np.random.default_rng(5).permutation(90_000)[:58]
    result = init(toy().head(58).assign(votes=votes))
    assert result.features == ("x", "votes")
    assert "'votes' differs in every row" in str(result)


def test_a_group_is_proposed_where_ids_come_back(init: Init) -> None:
    result = init(toy(ID=[f"p{i % 190}" for i in range(ROWS)]))
    assert "10 of 200 rows repeat one" in result.ignored["ID"]
    assert "--group-by ID" in result.ignored["ID"]


def test_useless_columns_are_ignored_with_the_reason(init: Init) -> None:
    random = np.random.default_rng(2)
    table = toy(
        patient_id=[f"P{i:05d}" for i in range(ROWS)],
        number=range(1000, 1000 + ROWS),
        account=random.permutation(10**6)[:ROWS],
        visitID=np.arange(ROWS) % 50,
        hospital=["Madison"] * ROWS,
        empty=[None] * ROWS,
        seen=pd.date_range("2020-01-01", periods=ROWS).strftime("%Y-%m-%d"),
        day=pd.date_range("2020-01-01", periods=ROWS).strftime("%Y%m%d"),
        price=[f"${i % 90},000.50" for i in range(ROWS)],
        note=[f"the patient number {i} has been well since" for i in range(ROWS)],
        street=[f"street {i % 150}" for i in range(ROWS)],
    )
    result = init(table)
    assert result.features == ("x",)
    said = {column: why.lower() for column, why in result.ignored.items()}
    expected = {
        "patient_id": "an id",
        "number": "counts the rows",
        "account": "like an id",
        "visitID": "split.group_by",
        "hospital": "always the same",
        "empty": "no row has a value",
        "seen": "dates",
        "day": "dates written in one, in the order of the rows",
        "price": "signs",
        "note": "free text",
        "street": "distinct values",
    }
    assert {column: word for column, word in expected.items() if word not in said[column]} == {}
    text = result.config.read_text(encoding="utf-8")
    for column, why in result.ignored.items():
        assert f"    # {why}"[:100] in text
        assert f"    - {column}\n" in text


def quantities(rows: int) -> dict[str, Any]:
    """Return whole numbers that all differ, and yet tell how much."""
    random = np.random.default_rng(4)
    return {
        "price": random.choice(np.unique(random.lognormal(12, 1, 2 * rows).astype(int)), rows, replace=False),
        "grams": random.choice(np.unique(random.normal(7e7, 9e6, 2 * rows).astype(int)), rows, replace=False),
        "day": [int(f"{2000 + n % 22}{n % 11 + 1:02d}{n % 27 + 1:02d}") for n in random.permutation(rows) % 150],
    }


@pytest.mark.parametrize("rows", [ROWS, 5000])
def test_whole_numbers_that_all_differ_are_quantities_unless_they_name_the_rows(init: Init, rows: int) -> None:
    random = np.random.default_rng(3)
    table = pd.DataFrame(
        quantities(rows)
        | {
            "booking": random.integers(10**8, 10**9, rows),
            "admission": np.cumsum(random.integers(1, 10**6, rows)),
            "case": random.permutation(rows) + 1,
            "y": ["yes" if n % 4 == 0 else "no" for n in range(rows)],
        }
    )
    result = init(table)
    assert result.features == ("price", "grams", "day")
    assert {column: why.partition("--")[0] for column, why in result.ignored.items()} == {
        "booking": f"{rows} distinct values in {rows} rows, spread evenly over their range, like an id. If it is a "
        "quantity: ",
        "admission": f"Whole numbers in the order of the rows, {rows} distinct ones in {rows} rows, like an id. If it "
        "is a quantity: ",
        "case": "Counts the rows.",
    }
    said = str(result)
    assert "'price' differs in every row; it is read as a quantity. If it names the row, --id price" in said
    assert "'day' reads as dates written in one (20" in said
    sample = {name: pa.array(table[name]) for name in result.features}
    assert {finding.kind for finding in id_features(sample, 0.99, {})} <= {"POSSIBLE_ID"}


def test_what_looks_like_an_id_and_is_said_to_be_none_passes_the_data_gate(init: Init) -> None:
    result = init(
        toy(number=np.arange(ROWS) * 7, key=[f"k{i}" for i in range(ROWS)]),
        roles={"number": "feature", "key": "feature"},
    )
    gate = load_settings(result.config).data_gate
    assert gate.severity == {"ID_FEATURE:number": "ignore", "ID_FEATURE:key": "ignore"}
    assert gate.severity_of("ID_FEATURE", "number") == "info"
    assert gate.severity_of("ID_FEATURE") == "error"


def test_ids_are_taken_at_their_word(init: Init) -> None:
    result = init(toy(count=np.arange(ROWS) % 37), ids=["x"])
    assert result.ignored == {"x": "Given as an id."}
    assert result.features == ("count",)


def test_an_index_of_body_mass_is_no_id(init: Init) -> None:
    assert "bmi_index" in init(toy(bmi_index=np.linspace(18, 40, ROWS).round(4))).features

"""Dates as people write them."""

from __future__ import annotations

import pytest

from common.tables.dates import Order, is_date, orders_of


@pytest.mark.parametrize(
    ("texts", "orders"),
    [
        (["2026-11-30", "20261130", "2026/1/3 10:15"], ["ymd"]),
        (["30.11.2026", "1.2.2026"], ["dmy"]),
        (["11/30/2026", "1/2/2026"], ["mdy"]),
        (["1.2.2026"], ["dmy", "mdy"]),
        (["1 Jan 2026"], ["dmy"]),
        (["Jan 1, 2026"], ["mdy"]),
        (["30.11.26", "1.2.99"], ["dmy"]),
        (["11/30/26 08:00", "1/2/99"], ["mdy"]),
        (["30.11.26", "1.2.2026"], ["dmy"]),  # a column in which people wrote both
        (["30-Nov-26"], ["dmy"]),
        ([f"{day}.{month}.24" for day in range(1, 29) for month in (3, 4)], ["dmy"]),
        ([f"24-{month:02}-{day:02}" for day in range(1, 29) for month in (3, 4)], []),  # years first: cannot be told
        (["31.02.26"], []),
        (["30.11.226"], []),
    ],
    ids=str,
)
def test_the_order_of_the_parts_is_seen(texts: list[str], orders: list[Order]) -> None:
    assert orders_of(texts) == orders


def test_the_leap_day_of_two_thousand_is_one() -> None:
    assert is_date("29.02.00", "dmy")
    assert not is_date("29.02.99", "dmy")

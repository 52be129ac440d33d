from __future__ import annotations

from typing import Any

import pytest

from webapp.pages.inputs import as_text


@pytest.mark.parametrize(
    ("value", "text"), [(7.0, "7"), (7.5, "7.5"), (7, "7"), ("v1.0", "v1.0"), ("7.0", "7.0"), (None, "")], ids=repr
)
def test_only_a_number_loses_a_fraction_of_nothing(value: Any, text: str) -> None:
    assert as_text(value) == text

from __future__ import annotations

from pathlib import Path

import pytest

from common.errors import EnvironmentProblem
from common.paths import check_letters


def test_a_place_for_state_that_tfx_would_take_for_a_pattern_is_refused() -> None:
    check_letters(Path("/srv/my var (1)"))
    with pytest.raises(EnvironmentProblem, match=r"\[ \] in the path"):
        check_letters(Path("/srv/my var [1]"))

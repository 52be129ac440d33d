from __future__ import annotations

import stat
from pathlib import Path

import pytest

from common.errors import EnvironmentProblem
from tests.support.web.apps import app_settings
from webapp.auth.tokens import DEMO_FILE, Keys, key_ring

SECRET, OLDER = "a secret of this test, 0123456789 abcdefghij", "an older secret of this test, 9876543210 zyx"


def test_each_purpose_has_a_key_of_its_own_and_none_is_the_secret() -> None:
    keys = Keys.of(SECRET)
    assert len({keys.session, keys.csrf, keys.token, SECRET.encode()}) == 4
    assert all(len(key) == 32 for key in (keys.session, keys.csrf, keys.token))
    assert keys == Keys.of(SECRET)
    assert keys.id not in (keys.session.hex()[:16], keys.csrf.hex()[:16], keys.token.hex()[:16])


def test_another_secret_gives_other_keys() -> None:
    one, other = Keys.of(SECRET), Keys.of(OLDER)
    assert not {one.session, one.csrf, one.token, one.id} & {other.session, other.csrf, other.token, other.id}


def test_the_secret_before_is_believed_and_does_not_sign(tmp_path: Path) -> None:
    ring = key_ring(app_settings(var=tmp_path, auth=True, secret_key=SECRET, previous_secret_key=OLDER))
    assert ring == (Keys.of(SECRET), Keys.of(OLDER))


def test_all_workers_of_the_demo_have_one_secret_that_only_the_owner_reads(tmp_path: Path) -> None:
    rings = [key_ring(app_settings(var=tmp_path / "var")) for _ in range(2)]
    assert rings[0] == rings[1]
    assert [path.name for path in (tmp_path / "var").iterdir()] == [DEMO_FILE]
    assert stat.S_IMODE((tmp_path / "var" / DEMO_FILE).stat().st_mode) == 0o600
    assert key_ring(app_settings(var=tmp_path / "other")) != rings[0]


def test_a_demo_that_cannot_keep_its_secret_says_so(tmp_path: Path) -> None:
    (tmp_path / "var").write_text("no folder")
    with pytest.raises(EnvironmentProblem, match="cannot keep its key"):
        key_ring(app_settings(var=tmp_path / "var"))

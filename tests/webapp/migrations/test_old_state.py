"""The state that commit 534fd65 left, taken over by the first start: nothing is lost."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from common.records import labels
from serving.release.state import Store
from tests.support.web.apps import app_settings
from webapp import create_app, make_services
from webapp.auth.throttle import Origin
from webapp.history.search import History
from webapp.migrations import HEAD, revision
from webapp.services import Services
from webapp.types import NotAuthenticated, Role

STATE = Path(__file__).with_name("state_of_534fd65.tar.gz")
PASSWORD = "seven green bicycles"
HERE = Origin("192.0.2.9")


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Services]:
    var = tmp_path_factory.mktemp("old")
    with tarfile.open(STATE) as archive:
        archive.extractall(var, filter="data")
    settings = app_settings(var=var, auth=True, secret_key="a secret of this test, 0123456789 abcdefghij")
    services = make_services(settings)
    create_app(settings, services)
    yield services
    services.close()


def test_the_database_is_brought_up_to_date(old: Services) -> None:
    with old.database.reading() as connection:
        assert revision(connection) == HEAD


def test_users_are_there_with_their_roles_and_old_passwords_work(old: Services) -> None:
    users = {user.name: (user.role, user.is_disabled) for user in old.accounts.users()}
    assert users == {"ada": (Role.ADMIN, False), "otto": (Role.OPERATOR, False), "vera": (Role.VIEWER, True)}
    assert old.accounts.authenticate("ada", PASSWORD, HERE).name == "ada"
    with pytest.raises(NotAuthenticated):
        old.accounts.authenticate("vera", PASSWORD, HERE)


def test_the_audit_log_is_whole_and_goes_on(old: Services) -> None:
    before = old.accounts.audit.verify()
    actions = [entry.action for entry in old.accounts.audit.entries()]
    assert actions[:3] == ["user added"] * 3
    assert actions.count("feedback") == 3
    old.accounts.audit.append("ada", "login")
    assert old.accounts.audit.verify() == before + 1


def test_the_history_shows_the_old_rows_with_their_true_labels(old: Services) -> None:
    rows = History(old).search("cells").rows
    assert [(row.request_id, row.row, row.label) for row in rows] == [
        (f"request-{number}", row, label) for number in (2, 1, 0) for row, label in enumerate("MB")
    ]
    told = {row.key: (row.feedback.label, row.feedback.who) for row in rows if row.feedback}
    assert told == {("request-0", 0): ("M", "ada"), ("request-1", 1): ("B", "ada")}
    assert rows[0].reference is None
    assert rows[0].inputs["radius"] == 18.5


def test_labels_that_were_files_are_files_no_more(old: Services) -> None:
    assert not (old.settings.predictions / "cells" / labels.OLD_FOLDER).exists()


def test_the_release_is_as_it_was(old: Services) -> None:
    record = Store(old.settings.serving, "cells").read()
    assert record is not None
    assert (record.state.stable, record.state.candidate, record.state.weight_percent) == (1, 2, 25.0)
    assert old.catalog.versions("cells") == [1, 2]

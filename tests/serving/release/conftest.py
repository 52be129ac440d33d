from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.serving.release_server import Hall, open_hall


@pytest.fixture(scope="session")
def hall(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hall]:
    with open_hall(tmp_path_factory.mktemp("hall")) as made:
        yield made

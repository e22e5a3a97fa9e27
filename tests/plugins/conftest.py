from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.plugins.support_server import FAB, SIMPLE, Server, create_database


@pytest.fixture(scope="session")
def metadata_database() -> None:
    """The metadata database of this process, which authorization asks about DAGs."""
    create_database()


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Airflow's own server with the plugin, a user of each role, and a lake that is recorded."""
    with Server.started(tmp_path_factory.mktemp("airflow"), SIMPLE) as started:
        yield started


@pytest.fixture(scope="session")
def fab_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The same with the auth manager of Amazon MWAA."""
    with Server.started(tmp_path_factory.mktemp("airflow-fab"), FAB) as started:
        yield started

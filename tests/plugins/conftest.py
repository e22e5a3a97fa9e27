from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator

import pytest

# Airflow reads this when it is first imported, and writes its configuration there.
os.environ.setdefault("AIRFLOW_HOME", tempfile.mkdtemp(prefix="airflow-home-"))
os.environ.setdefault("AIRFLOW__CORE__LOAD_EXAMPLES", "False")

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

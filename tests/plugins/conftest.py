from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator

import pytest

# Airflow reads this when it is first imported, and writes its configuration there.
os.environ.setdefault("AIRFLOW_HOME", tempfile.mkdtemp(prefix="airflow-home-"))
os.environ.setdefault("AIRFLOW__CORE__LOAD_EXAMPLES", "False")

from tests.plugins.support_server import Server


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Airflow's own server with the plugin, an admin, a viewer, and a lake that is recorded."""
    with Server.started(tmp_path_factory.mktemp("airflow")) as started:
        yield started

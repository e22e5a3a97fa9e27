"""The server of Airflow's metadata keeps what it was given, however it ends."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy
import sqlalchemy.exc

from local import postgresql
from local.processes import Process, Processes
from tests.ports import free_ports
from tests.postgresql import needs_postgresql

pytestmark = needs_postgresql
PASSWORD = "only for this test"


@contextmanager
def started(folder: Path, port: int) -> Iterator[Process]:
    with Processes(folder / "logs", folder / "processes.json") as processes:
        server = postgresql.start(processes, port, folder / "postgresql", PASSWORD, dict(os.environ))
        server.wait_until(lambda: postgresql.is_ready(port), 300)
        yield server


def ask(port: int, statement: str, password: str = PASSWORD) -> list[Any]:
    engine = sqlalchemy.create_engine(postgresql.address(port, password))
    try:
        with engine.begin() as connection:
            done = connection.execute(sqlalchemy.text(statement))
            return list(done.scalars()) if done.returns_rows else []
    finally:
        engine.dispose()


def test_what_was_committed_is_there_after_a_kill_and_half_a_cluster_is_made_anew(tmp_path: Path) -> None:
    port = free_ports()
    half = tmp_path / "postgresql-unfinished"
    half.mkdir()
    (half / "PG_VERSION").write_text("16")
    with started(tmp_path, port) as server:
        ask(port, "CREATE TABLE kept AS SELECT 'an Ä' AS text")
        with pytest.raises(sqlalchemy.exc.OperationalError, match="password authentication failed"):
            ask(port, "SELECT 1", password="another")
        os.kill(server.popen.pid, signal.SIGKILL)
        server.popen.wait()
    assert not half.exists()
    with started(tmp_path, port):
        assert ask(port, "SELECT text FROM kept") == ["an Ä"]
        assert ask(port, "SHOW listen_addresses") == ["127.0.0.1"]
    assert not postgresql.is_ready(port)

"""A local Airflow's metadata database, and the client of its REST API."""

from __future__ import annotations

import sqlite3
import stat
import sys
from pathlib import Path
from typing import Any

import pytest

from local import airflow_server
from local.airflow_server import AIRFLOW_VERSION, AirflowClient, AirflowError
from local.processes import ProcessError, Processes
from tests.ports import free_ports

LARGEST_PAGE = 100
"""Airflow's own limit (`[api] maximum_page_limit`), whatever is asked for."""


class Pages(AirflowClient):
    """An Airflow with so many runs."""

    def __init__(self, total: int) -> None:
        super().__init__("http://airflow", {})
        self.total = total
        self.asked: list[dict[str, Any]] = []

    def call(self, method: str, path: str, **options: Any) -> Any:
        assert (method, path) == ("GET", "/dags/transform/dagRuns")
        asked = options["params"]
        self.asked.append(asked)
        end = min(asked["offset"] + min(asked["limit"], LARGEST_PAGE), self.total)
        runs = [{"dag_run_id": number} for number in range(asked["offset"], end)]
        return {"dag_runs": runs, "total_entries": self.total}


@pytest.mark.parametrize(
    ("total", "limit", "pages"), [(0, 100, 1), (100, 100, 1), (320, 320, 4), (320, 150, 2), (5, 1000, 1)]
)
def test_runs_are_gathered_over_as_many_pages_as_it_takes(total: int, limit: int, pages: int) -> None:
    airflow = Pages(total)
    found = airflow.runs("transform", limit=limit, state=["success"])
    assert [run["dag_run_id"] for run in found] == list(range(min(total, limit)))
    assert len(airflow.asked) == pages
    assert all(asked["state"] == ["success"] for asked in airflow.asked)


def test_an_airflow_that_does_not_answer_is_named_in_one_sentence() -> None:
    url = f"http://127.0.0.1:{free_ports(1)}"
    with pytest.raises(AirflowError, match="Airflow does not answer POST /auth/token"):
        AirflowClient(url, {}).dag("transform")


class Home:
    """A home of Airflow, and a program in the place of ``airflow db migrate`` that counts its runs."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder / "home"
        self.folder.mkdir()
        self.empty = folder / "tools" / "empty.db"
        self.empty.parent.mkdir()
        self.env = {
            "AIRFLOW_HOME": str(self.folder),
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{self.folder / 'airflow.db'}",
            "PATH": "/usr/bin:/bin",
        }
        self.processes = Processes(folder / "logs", folder / "processes.json")
        program = folder / "python"
        program.write_text(f"#!{sys.executable}\n{_MIGRATION}")
        program.chmod(stat.S_IRWXU)
        monkeypatch.setattr(airflow_server, "EMPTY_DATABASE", self.empty)
        monkeypatch.setattr("local.airflow_server.sys.executable", str(program))

    def migrate(self, ends: str = "whole") -> None:
        with self.processes:
            env = {**self.env, "ENDS": ends}
            airflow_server.migrated(self.processes, airflow_server.migrate(self.processes, env), env)

    @property
    def migrations(self) -> int:
        """How often the home's database was migrated, 0 where there is none."""
        database = self.folder / "airflow.db"
        if not database.exists():
            return 0
        with sqlite3.connect(database) as connection:
            return int(connection.execute("SELECT count(*) FROM migration").fetchone()[0])


_MIGRATION = """
import os, sqlite3, sys
address = os.environ["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"]
if not address.startswith("sqlite:"):
    sys.exit(f"migrated {address}")
path = address.removeprefix("sqlite:///").partition("?")[0]
connection = sqlite3.connect(path)
connection.execute("CREATE TABLE IF NOT EXISTS migration (at)")
connection.commit()
if os.environ["ENDS"] == "early":
    sys.exit("no room")
connection.execute("INSERT INTO migration VALUES (1)")
connection.commit()
"""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    return Home(tmp_path, monkeypatch)


def test_a_database_is_made_once_and_kept_for_the_next_home(home: Home) -> None:
    home.migrate()
    home.migrate()
    assert home.migrations == 1
    (home.folder / "airflow.db").unlink()
    home.migrate("early")
    assert home.migrations == 1, "a copy, without a migration"


def test_a_migration_that_ended_early_leaves_no_database_and_is_begun_anew(home: Home) -> None:
    with pytest.raises(ProcessError, match="no room"):
        home.migrate("early")
    assert not (home.folder / "airflow.db").exists()
    assert not home.empty.exists()
    home.migrate()
    assert home.migrations == 1


def test_another_airflow_upgrades_the_database_and_tries_again_where_that_failed(home: Home) -> None:
    home.migrate()
    (home.folder / "airflow-version").write_text("3.0.0")
    with pytest.raises(ProcessError, match="no room"):
        home.migrate("early")
    home.migrate()
    assert home.migrations == 2
    assert (home.folder / "airflow-version").read_text() == AIRFLOW_VERSION


def test_a_servers_database_is_migrated_where_it_is_and_no_copy_is_kept(home: Home) -> None:
    home.env["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"] = "postgresql+psycopg2://somewhere"
    with pytest.raises(ProcessError, match=r"migrated postgresql\+psycopg2://somewhere"):
        home.migrate()
    assert home.migrations == 0
    assert not home.empty.exists()

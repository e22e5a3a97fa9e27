"""Airflow's own server in a process of its own: ``python -m tests.plugins.support_server PORT``."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

from local.airflow_server import EMPTY_DATABASE, environment
from local.endpoints import SERVICES, Endpoints
from local.processes import Processes, answers
from tests.credentials import CREDENTIALS
from tests.ports import free_ports

ROOT = Path(__file__).parents[2]
USERS = {"admin": "admin", "reader": "viewer", "editor": "user", "operator": "op"}
"""Names and roles; each one's password is the name."""


@dataclass
class Server:
    """A running server."""

    url: str

    @classmethod
    @contextlib.contextmanager
    def started(cls, home: Path) -> Iterator[Server]:
        """A server on a free port with a metadata database of its own; ended at the end."""
        endpoints = Endpoints(free_ports(len(SERVICES)), CREDENTIALS)
        env = environment(home, endpoints, dict(os.environ))
        passwords = Path(env["AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE"])
        passwords.write_text(json.dumps({name: name for name in USERS}))
        env["AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS"] = ",".join(":".join(user) for user in USERS.items())
        with Processes(home / "logs", home / "processes.json") as processes:
            command = [sys.executable, "-m", "tests.plugins.support_server", str(endpoints.port("airflow"))]
            process = processes.start("airflow", command, env)
            process.wait_until(lambda: answers(f"{endpoints.url('airflow')}/api/v2/version"), 90)
            yield cls(endpoints.url("airflow"))

    def session(self, user: str | None = None) -> requests.Session:
        """A client as that user, or as nobody; its paths begin with ``/``."""
        session = _Session(self.url)
        if user:
            answer = session.post("/auth/token", json={"username": user, "password": user})
            answer.raise_for_status()
            session.cookies.set("_token", answer.json()["access_token"])
        return session


class _Session(requests.Session):
    def __init__(self, url: str) -> None:
        super().__init__()
        self._url = url

    def request(self, method: Any, url: Any, *arguments: Any, **options: Any) -> requests.Response:
        return super().request(method, f"{self._url}{url}", *arguments, timeout=30, **options)


def _database() -> None:
    """An empty metadata database that knows the DAG `coverage`."""
    target = Path(os.environ["AIRFLOW_HOME"]) / "airflow.db"
    if EMPTY_DATABASE.exists():
        shutil.copyfile(EMPTY_DATABASE, target)
    else:
        from airflow.utils.db import initdb

        initdb()
    from airflow.dag_processing.bundles.manager import DagBundlesManager
    from airflow.dag_processing.dagbag import DagBag, sync_bag_to_db

    DagBundlesManager().sync_bundles_to_db()
    dags = DagBag(ROOT / "dags" / "coverage.py", bundle_name="dags-folder", bundle_path=ROOT / "dags")
    assert not dags.import_errors, dags.import_errors
    sync_bag_to_db(dags, "dags-folder", None)


def main() -> None:
    import uvicorn

    _database()
    from airflow.api_fastapi.app import create_app

    app = create_app()
    [plugin] = [route.app for route in app.routes if getattr(route, "path", None) == "/x-opinion"]
    from x_opinion.app import get_lake, get_now

    from tests.plugins.support_lake import NOW, RecordedLake

    lake = RecordedLake()
    plugin.dependency_overrides[get_lake] = lambda: lake
    plugin.dependency_overrides[get_now] = lambda: NOW
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="warning")


if __name__ == "__main__":
    main()

"""Airflow's own server in a process of its own: ``python -m tests.plugins.support_server PORT``."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import requests
from starlette.requests import Request
from starlette.routing import Mount

from local.airflow_server import EMPTY_DATABASE, environment
from local.endpoints import SERVICES, Endpoints
from local.processes import Processes, answers
from tests.credentials import CREDENTIALS
from tests.ports import free_ports

if TYPE_CHECKING:
    from fastapi import FastAPI

ROOT = Path(__file__).parents[2]
PLUGIN = "/x-opinion"
USERS = {"admin": "admin", "reader": "viewer", "editor": "user", "operator": "op"}
"""Names and roles of either auth manager; each one's password is the name."""
OWN_ROLES = {"insights": ("can_read", "DAG:insights"), "menu": ("can_read", "Plugins")}
"""Roles with one permission each, which FAB lets an admin make."""
FAB_USERS = {
    **{name: [role.capitalize()] for name, role in USERS.items()},
    "stranger": ["Public"],
    "analyst": ["insights"],
    "navigator": ["Viewer", "menu"],
}
SIMPLE = "airflow.api_fastapi.auth.managers.simple.simple_auth_manager.SimpleAuthManager"
FAB = "airflow.providers.fab.auth_manager.fab_auth_manager.FabAuthManager"


@dataclass
class Server:
    """A running server."""

    url: str

    @classmethod
    @contextlib.contextmanager
    def started(cls, home: Path, auth_manager: str) -> Iterator[Server]:
        """A server on a free port with a metadata database of its own; ended at the end."""
        endpoints = Endpoints(free_ports(len(SERVICES)), CREDENTIALS)
        env = environment(home, endpoints, dict(os.environ))
        passwords = Path(env["AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE"])
        passwords.write_text(json.dumps({name: name for name in USERS}))
        env["AIRFLOW__CORE__AUTH_MANAGER"] = auth_manager
        events = home / "events.csv"
        day = datetime.now(UTC) - timedelta(days=1)
        events.write_text(f"date,title,link\n{day:%Y-%m-%d},A <b>summit</b>,https://example.org/\n")
        env["OPINION_EVENTS_FILE"] = str(events)
        env["OPINION_TWEET_EMBED_URL"] = ""
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

    def request(self, method: Any, url: Any, **options: Any) -> requests.Response:  # pyrefly: ignore[bad-override]
        given: dict[str, Any] = {"timeout": 30, **options}
        return super().request(method, f"{self._url}{url}", **given)


def create_database() -> None:
    """An empty metadata database in this process's Airflow home, where there is none."""
    target = Path(os.environ["AIRFLOW_HOME"]) / "airflow.db"
    if target.exists():
        return
    if EMPTY_DATABASE.exists():
        shutil.copyfile(EMPTY_DATABASE, target)
    else:
        from airflow.utils.db import initdb

        initdb()


def _create_fab_users() -> None:
    """FAB's tables, its roles and ours, and a user of each."""
    from airflow.providers.fab.auth_manager.cli_commands.utils import get_application_builder
    from airflow.utils.db_manager import RunDBManager
    from airflow.utils.session import create_session

    with create_session() as session:
        RunDBManager().initdb(session)
    with get_application_builder() as builder:
        security: Any = builder.sm
        security.sync_roles()
        for name, permission in OWN_ROLES.items():
            security.add_permission_to_role(security.add_role(name), security.create_permission(*permission))
        for name, roles in FAB_USERS.items():
            found = [security.find_role(role) for role in roles]
            assert security.add_user(name, name, name, f"{name}@example.org", found, name)


def _database() -> None:
    """A metadata database that knows the DAG `coverage` and, under FAB, the users."""
    create_database()
    if os.environ["AIRFLOW__CORE__AUTH_MANAGER"] == FAB:
        _create_fab_users()
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
    [plugin] = [
        cast("FastAPI", route.app)
        for route in app.routes
        if isinstance(route, Mount) and route.path == PLUGIN
    ]
    from x_opinion.access import starts
    from x_opinion.app import DAGS
    from x_opinion.inputs import get_desk, get_lake, get_now, get_objects

    from tests.plugins.support_addresses import PROBE
    from tests.plugins.support_lake import NOW, RecordedLake, desk, objects
    from tests.unit.support_hour import BUCKET, lake

    recorded = RecordedLake()
    plugin.dependency_overrides[get_lake] = lambda: recorded
    judgments = count()

    def now(request: Request) -> datetime:
        """The one moment of the recorded lake; each judgment has its own."""
        return NOW + timedelta(milliseconds=next(judgments) if request.method == "POST" else 0)

    plugin.dependency_overrides[get_now] = now
    method, path = PROBE
    plugin.add_api_route(path, lambda: {}, methods=[method], dependencies=[starts(DAGS["coverage"])])
    with lake() as s3:
        drawn = desk(s3, BUCKET)
        plugin.dependency_overrides[get_desk] = lambda: drawn
        found = objects(s3, BUCKET)
        plugin.dependency_overrides[get_objects] = lambda: found
        uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="warning")


if __name__ == "__main__":
    main()

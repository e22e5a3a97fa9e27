"""A real Airflow on this machine: its environment, its components and a small client of its REST API."""

from __future__ import annotations

import contextlib
import json
import secrets
import shutil
import sqlite3
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.parse import quote

import requests

from local.aws.context import PIPELINE
from local.credentials import USERNAME, write_private
from local.endpoints import Endpoints
from local.processes import Process, Processes, answers

# Airflow's log servers listen on every address and are not needed: the API server reads the files.
_NO_LOG_SERVER = "--skip-serve-logs"
HEALTH = ("metadatabase", "scheduler", "dag_processor", "triggerer")
"""The components by their names in the health route."""
ROOT = Path(__file__).resolve().parent.parent
AIRFLOW_VERSION = version("apache-airflow")
EMPTY_DATABASE = ROOT / ".tools" / f"airflow-{AIRFLOW_VERSION}.db"
"""An empty metadata database, kept for the next home: creating one takes 10 s of CPU."""

_DATABASE, _UNFINISHED, _MIGRATED_TO = "airflow.db", "unfinished.db", "airflow-version"
_PREFIX, _CONNECTION = "AIRFLOW__", "DATABASE__SQL_ALCHEMY_CONN"


class AirflowError(RuntimeError):
    """Airflow rejected a call, or a DAG run failed."""


def environment(
    home: Path, endpoints: Endpoints, base: Mapping[str, str], database: str | None = None
) -> dict[str, str]:
    """The environment of every Airflow component: LocalExecutor, secrets from Secrets Manager.

    ``base`` is what the components inherit; ``database`` is SQLAlchemy's address of the metadata database, by
    default SQLite's under ``home``. Keys are made once, there; the password is that of ``endpoints``.
    """
    home.mkdir(parents=True, exist_ok=True)
    passwords = home / "passwords.json"
    write_private(passwords, json.dumps({USERNAME: endpoints.credentials.password}))
    key = home / "key"
    if not key.exists():
        write_private(key, secrets.token_urlsafe(48))
    settings = {
        "API__BASE_URL": endpoints.url("airflow"),
        "API__HOST": endpoints.host,
        "API__PORT": endpoints.port("airflow"),
        "API__SECRET_KEY": key.read_text(),
        "API__WORKERS": 1,
        "API_AUTH__JWT_SECRET": key.read_text(),
        "CORE__DAGS_FOLDER": ROOT / "dags",
        "CORE__EXECUTION_API_SERVER_URL": f"{endpoints.url('airflow-execution')}/execution/",
        "CORE__EXECUTOR": "LocalExecutor",
        "CORE__LOAD_EXAMPLES": False,
        "CORE__PARALLELISM": 4,
        "CORE__PLUGINS_FOLDER": ROOT / "plugins",
        "CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": passwords,
        "CORE__SIMPLE_AUTH_MANAGER_USERS": f"{USERNAME}:admin",
        "DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": 120,
        "DAG_PROCESSOR__PARSING_PROCESSES": 1,
        "DAG_PROCESSOR__REFRESH_INTERVAL": 60,
        _CONNECTION: database or _address(home / _DATABASE),
        "LOGGING__BASE_LOG_FOLDER": home / "logs",
        # By default the scheduler sleeps for a second between two tasks of a run: as long as many tasks take.
        "SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": 0.2,
        "SECRETS__BACKEND": "airflow.providers.amazon.aws.secrets.secrets_manager.SecretsManagerBackend",
        "SECRETS__BACKEND_KWARGS": json.dumps(
            {"connections_prefix": "airflow/connections", "variables_prefix": None, "config_prefix": None}
        ),
        # A task's end may be noticed only after this many seconds (by default five), during which it keeps
        # its slot; a task that a trigger resumes in that time is treated as failed.
        "WORKERS__MIN_HEARTBEAT_INTERVAL": 1,
    }
    return {
        **base,
        **endpoints.aws_environment(PIPELINE),
        **{f"{_PREFIX}{name}": str(value) for name, value in settings.items()},
        "AIRFLOW_CONN_AIRFLOW_DEFAULT": json.dumps(endpoints.airflow_connection()),
        "AIRFLOW_HOME": str(home),
        "GX_ANALYTICS_ENABLED": "false",
        "PYTHONPATH": f"{ROOT}:{ROOT / 'local' / 'airflow'}",
    }


def migrate(processes: Processes, env: Mapping[str, str]) -> Process | None:
    """Starts creating or upgrading the metadata database if needed; `migrated` waits for the process."""
    home = Path(env["AIRFLOW_HOME"])
    database = home / _DATABASE
    if not _is_file(env):
        return processes.start("airflow-migrate", [sys.executable, "-m", "airflow", "db", "migrate"], env)
    if database.exists():
        if _migrated_to(home) == AIRFLOW_VERSION:
            return None
    elif EMPTY_DATABASE.exists():
        return None
    else:
        # A partial database looks like a complete one, so it is renamed only when it is complete.
        database = home / _UNFINISHED
        database.unlink(missing_ok=True)
    env = {**env, f"{_PREFIX}{_CONNECTION}": _address(database)}
    return processes.start("airflow-migrate", [sys.executable, "-m", "airflow", "db", "migrate"], env)


def migrated(processes: Processes, migration: Process | None, env: Mapping[str, str]) -> None:
    """Waits for the end of `migrate`, if it had anything to do; raises `ProcessError` if it failed."""
    home = Path(env["AIRFLOW_HOME"])
    database, unfinished = home / _DATABASE, home / _UNFINISHED
    if migration is not None:
        if migration.popen.wait():
            migration.check()
        processes.stop(migration)
    if not _is_file(env):
        return
    if not database.exists():
        if migration is None:
            shutil.copyfile(EMPTY_DATABASE, unfinished)
        else:
            partial = EMPTY_DATABASE.with_suffix(f".{migration.popen.pid}")
            shutil.copyfile(unfinished, partial)
            partial.replace(EMPTY_DATABASE)
        unfinished.replace(database)
    with contextlib.closing(sqlite3.connect(database)) as connection:
        # Readers and the writer don't wait for each other; the file remembers it.
        connection.execute("PRAGMA journal_mode=WAL")
    (home / _MIGRATED_TO).write_text(AIRFLOW_VERSION)


def _is_file(env: Mapping[str, str]) -> bool:
    """Whether the metadata database is a SQLite file."""
    return env[f"{_PREFIX}{_CONNECTION}"].startswith("sqlite:")


def _address(database: Path) -> str:
    """On a busy machine a writer may wait for others longer than SQLite's 5 s."""
    return f"sqlite:///{database}?timeout=20"


def _migrated_to(home: Path) -> str | None:
    """The Airflow version of the database in a home; None before the first complete migration."""
    file = home / _MIGRATED_TO
    return file.read_text() if file.exists() else None


def start(processes: Processes, endpoints: Endpoints, env: Mapping[str, str]) -> dict[str, Process]:
    """Starts every component and returns them by name; use them once `is_healthy` returns true.

    Tasks have an API server of their own. A user's call is logged in the server's only event loop: with
    SQLite it would wait there for the lock of a task's call, which the same loop has to commit.
    """
    components = {
        "api-server": ("api-server", "--apps", "core"),
        "execution-api": (
            "api-server",
            *("--apps", "execution"),
            *("--port", str(endpoints.port("airflow-execution"))),
        ),
        "scheduler": ("scheduler", _NO_LOG_SERVER),
        "dag-processor": ("dag-processor",),
        "triggerer": ("triggerer", _NO_LOG_SERVER),
    }
    return {
        name: processes.start(f"airflow-{name}", [sys.executable, "-m", "airflow", *command], env)
        for name, command in components.items()
    }


def is_healthy(endpoints: Endpoints) -> bool:
    """Whether every component reports that it is healthy."""
    if not answers(f"{endpoints.url('airflow-execution')}/execution/health"):
        return False
    try:
        answer = requests.get(f"{endpoints.url('airflow')}/api/v2/monitor/health", timeout=5)
        health = answer.json()
    except requests.RequestException:
        return False
    return answer.status_code == 200 and all(health[part]["status"] == "healthy" for part in HEALTH)


def _content(response: requests.Response) -> Any:
    if not response.ok:
        asked = response.request
        raise AirflowError(f"{asked.method} {asked.path_url}: {response.status_code} {response.text[:500]}")
    return response.json() if response.content else None


def run_seconds(dag_run: Mapping[str, Any]) -> float | None:
    """How long a run took, by the API's answer; None if it has not begun or not ended."""
    start, end = dag_run.get("start_date"), dag_run.get("end_date")
    if start is None or end is None:
        return None
    return (datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds()


@dataclass
class AirflowClient:
    """The few calls that a run needs, as the admin."""

    url: str
    login: Mapping[str, str]
    """Username and password."""
    session: requests.Session = field(default_factory=requests.Session)

    def call(self, method: str, path: str, **options: Any) -> Any:
        """One call of ``/api/v2``; logs in when needed; raises `AirflowError` with Airflow's message."""
        if "Authorization" not in self.session.headers:
            self._log_in()
        response = self._request(method, f"/api/v2{path}", **options)
        if response.status_code == 401:
            self._log_in()
            response = self._request(method, f"/api/v2{path}", **options)
        return _content(response)

    def _log_in(self) -> None:
        token = _content(self._request("POST", "/auth/token", json=self.login))["access_token"]
        self.session.headers["Authorization"] = f"Bearer {token}"

    def _request(self, method: str, path: str, **options: Any) -> requests.Response:
        try:
            return self.session.request(method, f"{self.url}{path}", timeout=60, **options)
        except requests.RequestException as error:
            raise AirflowError(f"Airflow does not answer {method} {path}: {error}") from error

    def has_dag(self, dag_id: str) -> bool:
        """Whether the DAG was parsed; raises `AirflowError` if a DAG file cannot be imported."""
        errors = self.call("GET", "/importErrors")["import_errors"]
        if errors:
            raise AirflowError(
                "; ".join(f"{error['filename']}: {error['stack_trace'][-300:]}" for error in errors)
            )
        return any(
            dag["dag_id"] == dag_id for dag in self.call("GET", "/dags", params={"limit": 100})["dags"]
        )

    def dag(self, dag_id: str) -> dict[str, Any]:
        """One DAG as the API returns it."""
        result: dict[str, Any] = self.call("GET", f"/dags/{dag_id}")
        return result

    def pause(self, dag_id: str, paused: bool) -> None:
        """Pauses or unpauses a DAG."""
        self.call("PATCH", f"/dags/{dag_id}", json={"is_paused": paused})

    def trigger(self, dag_id: str, conf: dict[str, Any] | None = None) -> str:
        """Triggers a manual run and returns its id."""
        run = self.call("POST", f"/dags/{dag_id}/dagRuns", json={"logical_date": None, "conf": conf or {}})
        return str(run["dag_run_id"])

    def clear(self, dag_id: str, run_id: str) -> None:
        """Clears all tasks of one run: one that ran out of time may have failed without a failed task."""
        path = f"/dags/{dag_id}/dagRuns/{quote(run_id, safe='')}/clear"
        self.call("POST", path, json={"dry_run": False})

    def run(self, dag_id: str, run_id: str) -> dict[str, Any]:
        """One run as the API returns it."""
        result: dict[str, Any] = self.call("GET", f"/dags/{dag_id}/dagRuns/{quote(run_id, safe='')}")
        return result

    def runs(self, dag_id: str = "~", limit: int = 100, **parameters: Any) -> list[dict[str, Any]]:
        """The latest ``limit`` runs of a DAG (``~``: of all), newest first."""
        found: list[dict[str, Any]] = []
        while True:
            wanted = {"order_by": "-run_after", **parameters, "limit": limit - len(found)}
            page = self.call("GET", f"/dags/{dag_id}/dagRuns", params={**wanted, "offset": len(found)})
            found += page["dag_runs"]
            # The API returns at most 100 at a time, whatever the limit.
            if not page["dag_runs"] or len(found) >= min(limit, page["total_entries"]):
                return found

    def task_instances(self, dag_id: str, run_id: str) -> list[dict[str, Any]]:
        """The task instances of one run."""
        path = f"/dags/{dag_id}/dagRuns/{quote(run_id, safe='')}/taskInstances"
        result: list[dict[str, Any]] = self.call("GET", path, params={"limit": 200})["task_instances"]
        return result

    def ensure_pool(self, name: str, slots: int) -> None:
        """Creates a pool that counts deferred tasks, unless it exists."""
        pools = self.call("GET", "/pools", params={"limit": 100})["pools"]
        if all(pool["name"] != name for pool in pools):
            pool = {
                "name": name,
                "slots": slots,
                "include_deferred": True,
                "description": "SageMaker jobs at a time",
            }
            self.call("POST", "/pools", json=pool)

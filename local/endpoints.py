"""Addresses and local credentials of everything that runs, and the settings that clients need."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from local.aws.bootstrap import aws_connection
from local.aws.context import ACCOUNT, PIPELINE, REGION
from local.aws.trino import USER, token
from local.credentials import USERNAME, Credentials, write_private
from local.parameters import LOOPBACK

SERVICES = (
    "airflow",
    "x_api",
    "aws",
    "trino",
    "streamer",
    "databricks",
    "mlflow",
    "airflow-execution",
    "postgresql",
)
"""One port each, in this order, from the first port on."""

STAND_INS = ("x_api", "aws", "trino", "databricks", "mlflow")
"""The stand-ins among them."""

QUICKSIGHT_READER = f"arn:aws:quicksight:{REGION}:{ACCOUNT}:user/default/reader"
"""The user whom the dashboards are shared with."""


@dataclass(frozen=True)
class Endpoints:
    """The services' ports, counted from ``first_port``, on ``host``, and what opens them."""

    first_port: int
    credentials: Credentials
    host: str = LOOPBACK

    def port(self, service: str) -> int:
        """The port of a service."""
        return self.first_port + SERVICES.index(service)

    def url(self, service: str) -> str:
        """The address of a service, without a final slash."""
        return f"http://{self.host}:{self.port(service)}"

    @property
    def login(self) -> dict[str, str]:
        """The login of Airflow, MLflow and the stand-ins' pages."""
        return {"username": USERNAME, "password": self.credentials.password}

    def aws_environment(self, user: str | None = None) -> dict[str, str]:
        """The variables that every AWS client reads, with the key of an IAM user or the account's own."""
        key = self.credentials.of_user(user) if user else self.credentials
        return {
            "AWS_ENDPOINT_URL": self.url("aws"),
            "AWS_ACCESS_KEY_ID": key.access_key_id,
            "AWS_SECRET_ACCESS_KEY": key.secret_access_key,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def airflow_connection(self) -> dict[str, Any]:
        """The connection of Airflow's own API, in Airflow's JSON form; containers have another Airflow."""
        login, password = self.login.values()
        return {"conn_type": "http", "host": self.url("airflow"), "login": login, "password": password}

    def connections(self) -> dict[str, dict[str, Any]]:
        """Airflow's connections by id, in its JSON form."""
        databricks = {
            "conn_type": "databricks",
            "host": f"http://{self.host}",
            "port": self.port("databricks"),
            "schema": "http",
            "password": self.credentials.databricks_token,
        }
        return {
            "aws_default": aws_connection(self.url("aws"), self.credentials.of_user(PIPELINE)),
            "databricks_default": databricks,
        }

    def describe(self) -> dict[str, dict[str, str]]:
        """The content of ``endpoints.json``."""
        control = {"control_token": self.credentials.control_token}
        return {
            "airflow": {"url": self.url("airflow"), **self.login},
            "x_api": {"url": self.url("x_api"), "bearer_token": self.credentials.x_bearer_token, **control},
            "aws": {
                "url": self.url("aws"),
                "region": REGION,
                "access_key_id": self.credentials.access_key_id,
                "secret_access_key": self.credentials.secret_access_key,
                **self.login,
                **control,
            },
            "trino": {"url": self.url("trino"), "username": USER, "token": token(self.credentials)},
            "streamer": {"url": self.url("streamer")},
            "databricks": {
                "url": self.url("databricks"),
                "token": self.credentials.databricks_token,
                **self.login,
            },
            "mlflow": {"url": self.url("mlflow"), **self.login},
        }

    def write(self, folder: Path) -> None:
        """Writes ``endpoints.json``, and ``aws.env`` for a shell; both are readable by their owner alone."""
        write_private(folder / "endpoints.json", json.dumps(self.describe(), indent=2) + "\n")
        variables = self.aws_environment().items()
        exports = "".join(f"export {name}={shlex.quote(value)}\n" for name, value in variables)
        write_private(folder / "aws.env", exports)


def write_containers_environment(
    path: Path, endpoints: Endpoints, environment: Mapping[str, str], mode: int = 0o600
) -> None:
    """Writes what Airflow and the streamer in containers need.

    ``endpoints`` name this machine as containers do, ``environment`` is a run's own. Values are in single
    quotes, so that a shell reads them as compose does. The paths of the topics' and the events' files are
    left out: containers have others.
    """
    opinion = {
        name: value
        for name, value in environment.items()
        if name.startswith("OPINION_") and name not in ("OPINION_TOPICS_FILE", "OPINION_EVENTS_FILE")
    }
    connections = {
        f"AIRFLOW_CONN_{name.upper()}": json.dumps(connection)
        for name, connection in endpoints.connections().items()
    }
    variables = {
        **endpoints.aws_environment(),
        **opinion,
        "OPINION_X_API_URL": endpoints.url("x_api"),
        **connections,
    }
    content = "".join(f"{name}={shlex.quote(value)}\n" for name, value in variables.items())
    write_private(path, content, mode)

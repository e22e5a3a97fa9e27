"""Addresses and local credentials of everything that runs, and what points clients at them."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from local.aws.bootstrap import ACCESS_KEY, SECRET_KEY, aws_connection
from local.aws.context import ACCOUNT, REGION
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
)
"""One port each, in this order, from the first port on."""

STAND_INS = ("x_api", "aws", "trino", "databricks", "mlflow")
"""Those of them that stand in for a cloud."""

X_TOKEN = "local-x-bearer-token"  # noqa: S105 - opens nothing but the stand-in on this machine
DATABRICKS_TOKEN = "local-databricks-token"  # noqa: S105 - opens nothing but the stand-in on this machine
QUICKSIGHT_READER = f"arn:aws:quicksight:{REGION}:{ACCOUNT}:user/default/reader"
"""The user whom the dashboards are shared with."""
AIRFLOW_LOGIN = {"username": "admin", "password": "admin"}


@dataclass(frozen=True)
class Endpoints:
    """The services' ports, counted from ``first_port``, on ``host``."""

    first_port: int
    host: str = LOOPBACK

    def port(self, service: str) -> int:
        """The port of a service."""
        return self.first_port + SERVICES.index(service)

    def url(self, service: str) -> str:
        """The address of a service, without a final slash."""
        return f"http://{self.host}:{self.port(service)}"

    def aws_environment(self) -> dict[str, str]:
        """What every AWS client reads by itself."""
        return {
            "AWS_ENDPOINT_URL": self.url("aws"),
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def connections(self) -> dict[str, dict[str, Any]]:
        """Airflow's connections by id, in its JSON form."""
        databricks = {
            "conn_type": "databricks",
            "host": f"http://{self.host}",
            "port": self.port("databricks"),
            "schema": "http",
            "password": DATABRICKS_TOKEN,
        }
        return {"aws_default": aws_connection(self.url("aws")), "databricks_default": databricks}

    def describe(self) -> dict[str, dict[str, str]]:
        """What stands in ``endpoints.json``."""
        return {
            "airflow": {"url": self.url("airflow"), **AIRFLOW_LOGIN},
            "x_api": {"url": self.url("x_api"), "bearer_token": X_TOKEN},
            "aws": {
                "url": self.url("aws"),
                "region": REGION,
                "access_key_id": ACCESS_KEY,
                "secret_access_key": SECRET_KEY,
            },
            "trino": {"url": self.url("trino")},
            "streamer": {"url": self.url("streamer")},
            "databricks": {"url": self.url("databricks"), "token": DATABRICKS_TOKEN},
            "mlflow": {"url": self.url("mlflow")},
        }

    def write(self, path: Path) -> None:
        """Writes ``endpoints.json``, readable by its owner alone."""
        path.touch(mode=0o600)
        path.write_text(json.dumps(self.describe(), indent=2) + "\n")


def write_containers_environment(path: Path, endpoints: Endpoints, environment: Mapping[str, str]) -> None:
    """Writes what Airflow and the streamer in containers need.

    ``endpoints`` name this machine as containers do, ``environment`` is a run's own. Values stand in single
    quotes, so that a shell reads them as compose does. The path of the topics file is left out: containers
    have another. Whoever may run a container may read it; it opens nothing but the stand-ins.
    """
    opinion = {
        name: value
        for name, value in environment.items()
        if name.startswith("OPINION_") and name != "OPINION_TOPICS_FILE"
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
    path.write_text("".join(f"{name}={shlex.quote(value)}\n" for name, value in variables.items()))

"""A local AWS with Athena over a real Trino for the time of a block: a lake without the pipeline."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from include.lake.athena import Athena
from include.lake.views import create_views
from include.provision.lake import ensure_database, ensure_tables, ensure_workgroup
from include.settings import Settings
from include.x.topics import Topics
from local.aws.bootstrap import Clients
from local.aws.trino import HEAP_MIB, is_ready
from local.credentials import CREDENTIALS_FILE, Credentials
from local.endpoints import SERVICES, Endpoints
from local.processes import Process, ProcessError, Processes, answers, port_is_free

_PORTS = range(20_000, 32_000, len(SERVICES))


@dataclass(frozen=True)
class StandaloneAthena(Clients):
    """Clients of the local AWS; ``endpoints`` has free ports for what is to run with it."""

    endpoints: Endpoints
    trino: Process


@contextmanager
def standalone_athena(heap_mib: int = HEAP_MIB) -> Iterator[StandaloneAthena]:
    """A local AWS with Athena, which ends with the block; so does its lake.

    The settings in the environment do not matter to it. ``heap_mib`` is what Trino's heap may take. Raises
    `ProcessError` if a server does not start.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        endpoints = _free_endpoints(Credentials.in_folder(folder))
        shown = ["--credentials", str(folder / CREDENTIALS_FILE)]
        environment = {key: value for key, value in os.environ.items() if not key.startswith("OPINION_")}
        with Processes(folder / "logs", folder / "processes.json") as processes:
            command = [sys.executable, "-m", "local.aws", "--port", str(endpoints.port("aws"))]
            command += ["--state", str(folder / "aws"), "--trino-url", endpoints.url("trino"), *shown]
            aws = processes.start("aws", command, environment)
            aws.wait_until(lambda: answers(f"{endpoints.url('aws')}/_local/health"), 60)
            command = [sys.executable, "-m", "local.aws.trino", "--port", str(endpoints.port("trino"))]
            command += ["--aws-endpoint", endpoints.url("aws"), "--state", str(folder / "trino"), *shown]
            command += ["--heap", str(heap_mib)]
            trino = processes.start("trino", command, environment)
            trino.wait_until(lambda: is_ready(endpoints.url("trino"), endpoints.credentials), 180)
            yield StandaloneAthena(endpoints.url("aws"), endpoints.credentials, endpoints, trino)


def provision_lake(clients: Callable[[str], Any], settings: Settings, topics: Topics) -> Athena:
    """Creates database, workgroup, tables and views over the bucket of ``settings``, as `provision` does."""
    glue, athena = clients("glue"), Athena(clients("athena"), settings)
    ensure_database(glue, settings)
    ensure_workgroup(clients("athena"), settings)
    ensure_tables(athena, glue, settings, topics)
    create_views(athena)
    return athena


def _free_endpoints(credentials: Credentials) -> Endpoints:
    """Addresses on neighboring free ports; each process starts its search at another port."""
    start = os.getpid() % len(_PORTS)
    for first in (*_PORTS[start:], *_PORTS[:start]):
        if all(port_is_free(first + offset) for offset in range(len(SERVICES))):
            return Endpoints(first, credentials)
    raise ProcessError(f"no {len(SERVICES)} neighboring ports are free from {_PORTS.start} to {_PORTS.stop}")

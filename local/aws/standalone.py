"""A local AWS with Athena over a real Trino for the time of a block: a lake without the pipeline."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from local.aws.bootstrap import Clients
from local.aws.trino import is_ready
from local.credentials import CREDENTIALS_FILE, Credentials
from local.processes import Processes, answers, port_is_free


@contextmanager
def standalone_athena() -> Iterator[Clients]:
    """Clients of a local AWS with Athena that is ended, and whose lake is gone, behind the block."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        # Where several start at once, each looks elsewhere first.
        ports = (port for port in range(20_000 + os.getpid() % 10_000, 32_000) if port_is_free(port))
        aws_port, trino_port = next(ports), next(ports)
        endpoint, trino_url = f"http://127.0.0.1:{aws_port}", f"http://127.0.0.1:{trino_port}"
        credentials = Credentials.in_folder(folder)
        shown = ["--credentials", str(folder / CREDENTIALS_FILE)]
        with Processes(folder / "logs", folder / "processes.json") as processes:
            command = [
                sys.executable,
                "-m",
                "local.aws",
                "--port",
                str(aws_port),
                "--state",
                str(folder / "aws"),
                *shown,
            ]
            aws = processes.start("aws", [*command, "--trino-url", trino_url], os.environ)
            aws.wait_until(lambda: answers(f"{endpoint}/_local/health"), 60)
            command = [sys.executable, "-m", "local.aws.trino", "--port", str(trino_port)]
            command += ["--aws-endpoint", endpoint, "--state", str(folder / "trino"), *shown]
            trino = processes.start("trino", command, os.environ)
            trino.wait_until(lambda: is_ready(trino_url, credentials), 120)
            yield Clients(endpoint, credentials)

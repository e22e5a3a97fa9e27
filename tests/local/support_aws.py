"""A local AWS as a process of its own, and clients for it."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import boto3
import requests
from botocore.config import Config

from local.aws import api_faults
from local.processes import dies_with_parent
from tests import credentials
from tests.credentials import CONTROL

ROOT = Path(__file__).parents[2]
CREDENTIALS = {
    "aws_access_key_id": credentials.CREDENTIALS.access_key_id,
    "aws_secret_access_key": credentials.CREDENTIALS.secret_access_key,
    "region_name": "us-east-1",
}


class LocalAws:
    """``python -m local.aws`` on a port of its own; it can be killed and started again on the same state."""

    def __init__(self, state: Path, *options: str) -> None:
        self.state = state
        self.endpoint = ""
        self._options = options
        self._process: subprocess.Popen[str] | None = None
        self._port = "0"

    def start(self) -> LocalAws:
        credentials.written(self.state)
        with (self.state / "server.log").open("a") as log:
            self._process = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "local.aws",
                    "--port",
                    self._port,
                    "--state",
                    str(self.state),
                    *self._options,
                ],
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                cwd=ROOT,
                # Nothing is left of a test run that is killed, or of a fixture that fails.
                preexec_fn=dies_with_parent(signal.SIGKILL),
            )
        assert self._process.stdout
        timer = threading.Timer(60, self._process.kill)
        timer.start()
        line = self._process.stdout.readline()
        timer.cancel()
        assert line.startswith("local AWS at "), (self.state / "server.log").read_text()
        self.endpoint = line.split()[-1]
        self._port = self.endpoint.rsplit(":", 1)[1]
        return self

    def client(self, service: str, **config: Any) -> Any:
        """A client that never tries twice, so that an error is seen as it came."""
        return boto3.client(  # pyrefly: ignore[no-matching-overload]
            service,
            endpoint_url=self.endpoint,
            config=Config(retries={"max_attempts": 0}, max_pool_connections=32, **config),
            **CREDENTIALS,
        )

    def reject(self, service: str, request: str, code: str, status: int = 400, **more: Any) -> str:
        """Has requests answered by an error, once unless said otherwise; see `local.aws.api_faults`."""
        fault = {"kind": "reject", "service": service, "request": request, "code": code, "status": status}
        answer = requests.post(
            f"{self.endpoint}{api_faults.PATH}", json={**fault, **more}, headers=CONTROL, timeout=10
        )
        assert answer.status_code == 201, answer.text
        return str(answer.json()["data"][0]["id"])

    def struck(self, fault: str) -> int:
        """How many requests a fault has struck."""
        found = requests.get(f"{self.endpoint}{api_faults.PATH}", headers=CONTROL, timeout=10).json()["data"]
        return int(next(each["struck"] for each in found if each["id"] == fault))

    def mend(self) -> None:
        """Ends every fault."""
        requests.delete(f"{self.endpoint}{api_faults.PATH}", headers=CONTROL, timeout=10)

    @property
    def pid(self) -> int:
        assert self._process
        return self._process.pid

    def stop(self, by: signal.Signals = signal.SIGTERM) -> int:
        """Ends the server; returns its exit status."""
        assert self._process
        self._process.send_signal(by)
        status = self._process.wait(timeout=60)
        assert self._process.stdout
        self._process.stdout.close()
        return status

    def restart(self, by: signal.Signals) -> None:
        """Ends the server by a signal and starts it on the same port and state."""
        self.stop(by)
        self.start()

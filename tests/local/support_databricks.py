"""A local Databricks as a process of its own, a small wheel for it to run, and clients."""

from __future__ import annotations

import io
import signal
import subprocess
import sys
import threading
import time
import zipfile
from pathlib import Path
from typing import Any

import requests
from databricks.sdk import WorkspaceClient
from databricks.sdk.core import Config

from local.processes import dies_with_parent
from tests import credentials

ROOT = Path(__file__).parents[2]
TOKEN = credentials.CREDENTIALS.databricks_token
VOLUME = "/Volumes/main/x_opinion/training"
WHEEL = f"{VOLUME}/tiny-1.0-py3-none-any.whl"
CLUSTER = {"spark_version": "16.4.x-scala2.12", "node_type_id": "m5.large", "num_workers": 0}
ENDED = ("TERMINATED", "SKIPPED", "INTERNAL_ERROR")

CODE = """
import logging, os, sys, time
from pathlib import Path

def values():
    return dict(word.removeprefix("--").split("=", 1) for word in sys.argv[1:] if word.startswith("--"))

def count():
    given = values()
    with Path(given["folder"], given["name"]).open("a") as file:
        file.write(f"{os.getpid()}\\n")

def echo():
    print("arguments", *sys.argv[1:])
    print("to standard error", file=sys.stderr)
    logging.basicConfig(level=logging.INFO)
    logging.info("aws=%s mlflow=%s", os.environ["AWS_ENDPOINT_URL"], os.environ["MLFLOW_TRACKING_URI"])

def fail():
    print("about to fail")
    raise ValueError("told to")

def fail_once():
    given = values()
    mark = Path(given["folder"], given["name"])
    first = not mark.exists()
    count()
    if first:
        raise ValueError("the first time")

def slow():
    print("sleeping", flush=True)
    count()
    time.sleep(60)

def slow_once():
    given = values()
    first = not Path(given["folder"], given["name"]).exists()
    count()
    if first:
        time.sleep(60)

def die():
    print("these are", flush=True)
    print("last words", flush=True)
    os._exit(3)
"""


def wheel(code: str = CODE, *, requires: str = "") -> bytes:
    """A wheel ``tiny`` with a script for each function of its one module."""
    names = [line[4:].partition("(")[0] for line in code.splitlines() if line.startswith("def ")]
    metadata = "Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n"
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("tiny/__init__.py", code)
        archive.writestr(
            "tiny-1.0.dist-info/METADATA", metadata + (f"Requires-Dist: {requires}\n" if requires else "")
        )
        archive.writestr(
            "tiny-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        scripts = "".join(f"{name}=tiny:{name}\n" for name in names)
        archive.writestr("tiny-1.0.dist-info/entry_points.txt", f"[console_scripts]\n{scripts}")
        archive.writestr("tiny-1.0.dist-info/RECORD", "")
    return content.getvalue()


def task(key: str, entry_point: str, *after: str, **more: Any) -> dict[str, Any]:
    """A task of the wheel on the shared cluster; ``parameters`` may be given as a list."""
    program: dict[str, Any] = {"package_name": "tiny", "entry_point": entry_point}
    for name in ("parameters", "named_parameters"):
        if name in more:
            program[name] = more.pop(name)
    return {
        "task_key": key,
        "job_cluster_key": "shared",
        "libraries": [{"whl": WHEEL}],
        "python_wheel_task": program,
        "depends_on": [{"task_key": other} for other in after],
        **more,
    }


def work(*tasks: dict[str, Any], **more: Any) -> dict[str, Any]:
    """What a job and a one-time run have in common."""
    return {
        "tasks": list(tasks),
        "job_clusters": [{"job_cluster_key": "shared", "new_cluster": CLUSTER}],
        **more,
    }


class LocalDatabricks:
    """``python -m local.databricks`` on a port of its own; killed, it can be started again on its state."""

    def __init__(self, state: Path) -> None:
        self.state = state
        self.url = ""
        self._port = "0"
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> LocalDatabricks:
        credentials.written(self.state)
        command = [sys.executable, "-m", "local.databricks", "--port", self._port, "--state", str(self.state)]
        command += [
            "--aws-endpoint",
            "http://127.0.0.1:9",
            "--mlflow-url",
            "http://127.0.0.1:8",
        ]
        with (self.state / "server.log").open("a") as log:
            self._process = subprocess.Popen(
                command,
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
        assert line.startswith("local Databricks at "), (self.state / "server.log").read_text()
        self.url = line.split()[-1]
        self._port = self.url.rsplit(":", 1)[1]
        return self

    @property
    def port(self) -> int:
        return int(self._port)

    @property
    def client(self) -> WorkspaceClient:
        """The unmodified client."""
        return WorkspaceClient(config=Config(host=self.url, token=TOKEN))

    def stop(self, by: signal.Signals = signal.SIGTERM) -> int:
        """Ends the server; returns its exit status."""
        assert self._process
        self._process.send_signal(by)
        status = self._process.wait(timeout=60)
        assert self._process.stdout
        self._process.stdout.close()
        return status

    def call(self, method: str, path: str, token: str | None = TOKEN, **body: Any) -> requests.Response:
        """One request, as a client without any library makes it."""
        headers = {"Authorization": f"Bearer {token}"} if token is not None else {}
        where = {"params": body} if method == "GET" else {"json": body}
        return requests.request(method, f"{self.url}/api/{path}", headers=headers, timeout=30, **where)  # pyrefly: ignore[bad-argument-type]

    def answer(self, method: str, path: str, **body: Any) -> dict[str, Any]:
        """The answer to a request that must not be rejected."""
        answer = self.call(method, path, **body)
        assert answer.ok, answer.text
        return dict(answer.json())

    def run(self, run_id: int) -> dict[str, Any]:
        return self.answer("GET", "2.2/jobs/runs/get", run_id=run_id, include_history="true")

    def wait(self, run_id: int, *states: str, key: str | None = None, seconds: float = 30) -> dict[str, Any]:
        """The run once it, or its task ``key``, is in one of the states (without any: has ended)."""
        deadline = time.monotonic() + seconds
        while True:
            run = self.run(run_id)
            watched = latest(run)[key] if key else run
            if watched["state"]["life_cycle_state"] in (states or ENDED):
                return run
            assert time.monotonic() < deadline, watched["state"]
            time.sleep(0.05)

    def submit(self, *tasks: dict[str, Any], **more: Any) -> int:
        """Starts a one-time run; its id."""
        return int(self.answer("POST", "2.2/jobs/runs/submit", **work(*tasks, **more))["run_id"])

    def create(self, name: str, *tasks: dict[str, Any], **more: Any) -> int:
        """Creates a job; its id."""
        return int(self.answer("POST", "2.2/jobs/create", name=name, **work(*tasks, **more))["job_id"])


def latest(run: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Each task's latest attempt: a repaired run lists them all."""
    return {task["task_key"]: task for task in sorted(run["tasks"], key=lambda task: task["attempt_number"])}


def results(run: dict[str, Any]) -> dict[str, str | None]:
    """Each task's latest result."""
    return {key: task["state"].get("result_state") for key, task in latest(run).items()}

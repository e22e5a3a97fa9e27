"""The compose file's services as a user has them: started as documented, watched, restarted, taken down."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

import boto3
import requests

from include.insights.quicksight import data_set_ids
from include.lake import sql
from include.lake.athena import Athena
from include.settings import Settings
from include.training.errors import StateError
from include.training.hours import read_outcome
from include.window import Window
from local.airflow_server import AirflowClient, AirflowError
from local.aws.context import ACCOUNT
from local.dag_runs import STALLED_SECONDS
from local.proof.containers.base_images import ROOT, Tell
from local.proof.containers.engine import Engine

PROJECT = "x-opinion-containers-test"
"""Compose's name of it: beside a pipeline that its user has in containers, volumes are kept apart."""
GUIDE = ROOT / "docs" / "deployment.md"
AIRFLOW = "http://127.0.0.1:8080"
SERVICES = (
    "streamer",
    "triggerer",
    "dag-processor",
    "api-server",
    "scheduler",
    "stand-ins",
    "postgres",
)
"""Each is restarted, in this order."""
PAGE = "opinion-over-time"
_POLL_SECONDS = 3.0
_TOLD_SECONDS = 30.0
_HEALTHY_SECONDS = 900.0
_RESTART_SECONDS = 300.0
_ACTIVE = ("queued", "running")


class PipelineError(RuntimeError):
    """The pipeline in containers is not as it should be; the message says what was seen."""


def first_start(guide: str) -> list[str]:
    """The commands of the guide's section Containers, each a line of its first shell block."""
    section = re.search(r"^## Containers$(.*?)^## ", guide, re.MULTILINE | re.DOTALL)
    block = re.search(r"^```sh$\n(.*?)^```$", section[1], re.MULTILINE | re.DOTALL) if section else None
    if block is None:
        raise PipelineError("docs/deployment.md has no section Containers with a block of commands.")
    return [line for line in block[1].splitlines() if line.strip() and not line.startswith("#")]


@dataclass
class Pipeline:
    """The services under a project name of their own."""

    engine: Engine
    logs: Path
    tell: Tell
    begun: datetime = field(default_factory=lambda: datetime.now(UTC))

    @cached_property
    def environment(self) -> dict[str, str]:
        """What the documented commands run in."""
        return {**self.engine.environment, "COMPOSE_PROJECT_NAME": PROJECT}

    def compose(self, *arguments: str, seconds: float = 300.0, log: Path | None = None) -> str:
        """Runs ``docker compose`` for this project."""
        files = ("--file", str(ROOT / "docker-compose.yaml"), "--project-directory", str(ROOT))
        return self.engine.run(
            "compose",
            "--progress",
            "plain",
            "--project-name",
            PROJECT,
            *files,
            *arguments,
            seconds=seconds,
            log=log,
        )

    def say(self, command: str, seconds: float = 300.0) -> None:
        """Runs a documented command as it stands; raises `PipelineError` if it fails."""
        self.tell(f"$ {command}")
        log = self.logs / "commands.log"
        with log.open("ab") as output:
            output.write(f"$ {command}\n".encode())
            output.flush()
            done = subprocess.run(
                shlex.split(command),
                cwd=ROOT,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                timeout=seconds,
                check=False,
            )
        if done.returncode:
            raise PipelineError(f"'{command}' ended with status {done.returncode} (see {log}).")

    @cached_property
    def airflow(self) -> AirflowClient:
        """A client of its Airflow, with the documented login."""
        passwords = json.loads(self.compose("exec", "-T", "scheduler", "cat", "/keys/passwords.json"))
        return AirflowClient(AIRFLOW, {"username": "admin", "password": passwords["admin"]})

    @cached_property
    def endpoints(self) -> dict[str, dict[str, str]]:
        """Addresses and credentials of the stand-ins, as documented."""
        found: dict[str, dict[str, str]] = json.loads(
            self.compose("exec", "-T", "stand-ins", "cat", "/var/lib/x-opinion/endpoints.json")
        )
        return found

    def client(self, service: str) -> Any:
        """A client of an AWS service of the stand-ins."""
        aws = self.endpoints["aws"]
        session: Any = boto3.Session(
            aws["access_key_id"], aws["secret_access_key"], region_name=aws["region"]
        )
        return session.client(service, endpoint_url=aws["url"])

    def containers(self) -> list[dict[str, Any]]:
        """The project's containers as the engine describes them, ended ones too."""
        ids = self.compose("ps", "--all", "--quiet").split()
        found: list[dict[str, Any]] = json.loads(self.engine.run("inspect", *ids)) if ids else []
        return found

    def states(self) -> dict[str, str]:
        """Each service's state and health."""
        return {service(each): _state(each["State"]) for each in self.containers()}

    def wait(self, what: str, ready: Callable[[], bool], seconds: float, signs: Callable[[], object]) -> None:
        """Waits until ``ready()``; raises `PipelineError` when ``signs`` have not changed for ``seconds``.

        A server that does not answer, for it is being restarted, is not ready.
        """
        last, since, told = None, time.monotonic(), time.monotonic()
        while True:
            failure = ""
            try:
                if ready():
                    return
                now_seen: object = signs()
            except (AirflowError, requests.RequestException) as error:
                now_seen, failure = last, f"; {error}"
            now = time.monotonic()
            if now_seen != last:
                last, since = now_seen, now
            if now - since > seconds:
                raise PipelineError(f"{what}: nothing has changed for {seconds:.0f} s: {last}{failure}")
            if now - told > _TOLD_SECONDS:
                self.tell(f"{what}: {last}{failure}")
                told = now
            time.sleep(_POLL_SECONDS)

    def await_healthy(self) -> None:
        """Waits until every service is up and, where it tells its health, healthy."""
        expected = {*SERVICES}

        def ready() -> bool:
            states = self.states()
            return all(states.get(name) == "running, healthy" for name in expected)

        self.wait("healthy", ready, _HEALTHY_SECONDS, self.states)

    def await_run(self, dag_id: str) -> None:
        """Waits for the success of the newest run of a DAG; raises `PipelineError` if it failed."""

        def state() -> str:
            runs = self.airflow.runs(dag_id, limit=1)
            return str(runs[0]["state"]) if runs else "none"

        def ready() -> bool:
            if state() == "failed":
                raise PipelineError(f"a run of {dag_id} failed in {', '.join(self.failed_tasks(dag_id))}")
            return state() == "success"

        self.wait(dag_id, ready, STALLED_SECONDS, lambda: (state(), self.task_states(dag_id)))

    def task_states(self, dag_id: str) -> dict[str, int]:
        """How many tasks of a DAG's unfinished runs are in which state."""
        counted = Counter[str]()
        for run in self.airflow.runs(dag_id, state=list(_ACTIVE)):
            tasks = self.airflow.task_instances(run["dag_id"], run["dag_run_id"])
            counted.update(str(task["state"]) for task in tasks)
        return dict(sorted(counted.items()))

    def failed_tasks(self, dag_id: str = "~") -> list[str]:
        """The failed tasks of failed runs."""
        return [
            f"{run['dag_id']}.{task['task_id']} of {run['dag_run_id']}"
            for run in self.airflow.runs(dag_id, state=["failed"])
            for task in self.airflow.task_instances(run["dag_id"], run["dag_run_id"])
            if task["state"] == "failed"
        ]

    def run_states(self) -> dict[str, dict[str, int]]:
        """How many runs of which DAG are in which state."""
        counted: dict[str, Counter[str]] = {}
        for run in self.airflow.runs(limit=1000):
            counted.setdefault(run["dag_id"], Counter())[str(run["state"])] += 1
        return {dag_id: dict(sorted(states.items())) for dag_id, states in sorted(counted.items())}

    def has_labels(self) -> bool:
        """Whether an hour is labeled and published."""
        return bool(self.airflow.runs("transform", state=["success"], limit=1)) and any(
            self.labeled().values()
        )

    def restart(self, name: str) -> dict[str, Any]:
        """Restarts a service while runs are active, and waits until all is healthy again."""
        if not self.airflow.runs(state=list(_ACTIVE)):
            self.airflow.trigger("coverage", {"dry_run": False})
        self.wait(
            f"runs before {name} is restarted",
            lambda: bool(self.airflow.runs(state=["running"])),
            STALLED_SECONDS,
            self.run_states,
        )
        active = sorted({run["dag_id"] for run in self.airflow.runs(state=["running"])})
        begun = time.monotonic()
        self.compose("restart", name, seconds=_RESTART_SECONDS)
        self.await_healthy()
        self.wait("Airflow", lambda: bool(self.airflow.runs(limit=1)), _HEALTHY_SECONDS, self.states)
        seconds = round(time.monotonic() - begun, 1)
        self.tell(f"{name} restarted while {', '.join(active)} ran; all healthy after {seconds} s")
        return {"service": name, "active": active, "healthy_after_s": seconds}

    def opens_page(self) -> dict[str, int]:
        """The statuses of a page and its figures, without and with the login."""
        asked = {"page": f"{AIRFLOW}/x-opinion/{PAGE}", "figures": f"{AIRFLOW}/x-opinion/data/{PAGE}"}
        self.airflow.call("GET", "/version")
        seen = {}
        for name, url in asked.items():
            seen[f"{name} without a login"] = requests.get(url, timeout=60).status_code
            answer = self.airflow.session.get(url, timeout=120)
            seen[f"{name} with the login"] = answer.status_code
            if name == "figures" and answer.status_code == 200 and not answer.json():
                raise PipelineError(f"{url} has no figures.")
        if seen != {name: 401 if "without" in name else 200 for name in seen}:
            raise PipelineError(f"the page {PAGE} answered {seen}")
        return seen

    def labeled(self) -> dict[str, int]:
        """The labeled tweets of the past hours, read from the lake by Athena."""
        now = datetime.now(UTC)
        windows = list(Window.between(Window.containing(now - timedelta(hours=12)).start, now))
        statement = sql.render(
            "summary/labeled",
            days=sorted({window.date for window in windows}),
            windows=[window.label for window in windows],
        )
        hours = Counter[str]()
        for row in Athena(self.client("athena"), Settings()).run(statement):
            hours[row["window"]] += row["ids"]
        return dict(sorted(hours.items()))

    def student(self) -> dict[str, Any] | None:
        """The last trained model with its alias and scores, or None if none was trained yet."""
        try:
            outcome = read_outcome(self.client("s3"), Settings().bucket, "gate")
        except StateError:
            return None
        return {name: outcome[name] for name in ("version", "alias", "metrics")}

    def refreshes(self) -> dict[str, int]:
        """How often each data set of the dashboards was refreshed."""
        client, done = self.client("quicksight"), Counter[str]()
        for identity in data_set_ids(Settings()):
            for page in client.get_paginator("list_ingestions").paginate(
                AwsAccountId=ACCOUNT, DataSetId=identity
            ):
                done[identity] += sum(each["IngestionStatus"] == "COMPLETED" for each in page["Ingestions"])
        return dict(done)

    def metadata(self) -> dict[str, str]:
        """What the metadata database is, and how many runs it holds."""
        query = "SELECT split_part(version(), ' ', 2), (SELECT count(*) FROM dag_run)"
        answer = self.compose(
            "exec",
            "-T",
            "postgres",
            "psql",
            "--username",
            "airflow",
            "--no-align",
            "--tuples-only",
            "--command",
            query,
        )
        version, runs = answer.strip().split("|")
        return {"postgresql": version, "dag_runs": runs}

    def memory(self) -> dict[str, str]:
        """What each service's container uses now, and its limit."""
        lines = self.compose("stats", "--no-stream", "--format", "{{.Name}}\t{{.MemUsage}}").splitlines()
        return dict(line.removeprefix(f"{PROJECT}-").split("\t", 1) for line in lines if "\t" in line)

    def down(self) -> None:
        """Takes everything down, volumes too; raises `PipelineError` if something is left."""
        self.compose("down", "--volumes", "--remove-orphans", "--timeout", "60", seconds=600)
        label = f"label=com.docker.compose.project={PROJECT}"
        for kind in (("ps", "--all"), ("volume", "ls"), ("network", "ls")):
            if left := self.engine.run(*kind, "--quiet", "--filter", label).split():
                raise PipelineError(f"{' '.join(kind)} still lists {', '.join(left)}.")


def service(container: Mapping[str, Any]) -> str:
    """The name of a container's service."""
    return str(container["Config"]["Labels"]["com.docker.compose.service"])


def _state(state: Mapping[str, Any]) -> str:
    health = state.get("Health", {}).get("Status")
    if state["Status"] == "exited":
        return f"exited {state['ExitCode']}"
    return f"{state['Status']}, {health}" if health else str(state["Status"])


def weaknesses(containers: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """What a running container has that it should not have, a sentence each."""
    for each in containers:
        name, host = service(each), each["HostConfig"]
        # The server of PostgreSQL changes its user itself.
        if each["Config"]["User"].split(":")[0] in ("", "0", "root") and name != "postgres":
            yield f"{name} runs as root"
        if not host["ReadonlyRootfs"]:
            yield f"{name} may write to its image"
        if host["CapDrop"] != ["ALL"]:
            yield f"{name} keeps capabilities"
        if "no-new-privileges:true" not in (host["SecurityOpt"] or []):
            yield f"{name} may gain privileges"
        if not host["Memory"]:
            yield f"{name} has no limit of memory"
        if not host["LogConfig"]["Config"].get("max-size"):
            yield f"{name} has logs without end"
        for binding in (bound for bounds in host["PortBindings"].values() for bound in bounds):
            if binding["HostIp"] != "127.0.0.1":
                yield f"{name} publishes a port on {binding['HostIp'] or 'every address'}"

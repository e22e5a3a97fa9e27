"""One run of the whole pipeline on this machine, step by step, and its summary."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError
from pydantic_settings import EnvSettingsSource
from requests import RequestException
from rich.console import Console

from include.settings import Settings
from include.window import Window
from include.x.rules import rule_hash
from include.x.topics import TopicsError
from include.x.topics import load as load_topics
from local import airflow_server
from local.airflow_server import AirflowClient, AirflowError
from local.aws.bootstrap import bootstrap
from local.aws.trino import is_ready
from local.databricks import mlflow
from local.endpoints import (
    DATABRICKS_TOKEN,
    LOOPBACK,
    QUICKSIGHT_READER,
    SERVICES,
    STAND_INS,
    X_TOKEN,
    Endpoints,
    write_containers_environment,
)
from local.processes import Process, ProcessError, Processes, answers, end_leftovers, port_is_free
from local.summary import Summary, SummaryError, collect

BUFFERING_SECONDS = 5
"""Firehose's buffering interval here: short, so that a run need not wait a minute for its tweets."""
SAGEMAKER_JOBS = 4
POLL_SECONDS = 1.0
RUN_SECONDS = 900
"""How long a DAG run may take where nothing else is said, and how long no run of many may finish."""
SEARCHED_POSTS = 45_000
"""Posts that X's search gives in a quarter of an hour: 450 pages of 100."""
ASSET_SECONDS = 10
"""How long the run that an asset's update starts may take to appear."""
MOST_RUNS = 10_000
"""More than one run of the pipeline makes."""
DAGS = ("provision", "coverage", "transform", "train", "insights")
FINISHED = ("success", "failed")
_CONTAINERS = "containers.env"
_UNANSWERED = (RequestException, BotoCoreError, ClientError)
"""What clients raise where a stand-in does not answer as it should."""


class RunError(RuntimeError):
    """Why a run cannot start or go on, and what to do."""


@dataclass(frozen=True)
class RunOptions:
    """What can be chosen on the command line."""

    once: bool = False
    hours: int = 6
    rate: int = 3000
    archive: Path | None = None
    topics: Path | None = None
    first_port: int = 8080
    run_dir: Path = Path(".run")
    bind: str = LOOPBACK
    """Where the stand-ins listen."""
    gateway: str = "host.docker.internal"
    """The name by which containers reach this machine."""


def _console() -> Console:
    """Wide enough for the summary's tables also where the output is no terminal."""
    console = Console(highlight=False, soft_wrap=True)
    return console if console.is_terminal else Console(highlight=False, soft_wrap=True, width=110)


@dataclass
class Run:
    """A run under way: its processes, its addresses and what each step took."""

    options: RunOptions
    world: Path
    topics: tuple[str, ...]
    settings: Settings
    endpoints: Endpoints
    processes: Processes
    environment: dict[str, str]
    console: Console = field(default_factory=_console)
    begun: datetime = field(default_factory=lambda: datetime.now(UTC))
    steps: list[dict[str, Any]] = field(default_factory=list)
    peak_memory: int = 0
    summary: Summary = field(init=False)

    @cached_property
    def airflow_environment(self) -> dict[str, str]:
        """What Airflow's components run in."""
        return airflow_server.environment(self.world / "airflow", self.endpoints, self.environment)

    @cached_property
    def airflow(self) -> AirflowClient:
        """A client of this run's Airflow."""
        return AirflowClient(self.endpoints.url("airflow"))

    @contextlib.contextmanager
    def step(self, name: str) -> Iterator[Callable[[str], None]]:
        """Tells a step, its progress and its seconds."""
        begin = time.monotonic()
        with self.console.status(f"{name} …") as status:
            yield lambda progress: status.update(f"{name}: {progress}")
        seconds = time.monotonic() - begin
        self.steps.append({"name": name, "s": round(seconds, 1)})
        self.console.print(f"  [green]✓[/] {name:<58}{seconds:7.1f} s")


def run(options: RunOptions) -> int:
    """Runs everything; returns the exit status; raises `RunError` with one sentence that says what to do."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    with started(options) as this:
        if not options.once:
            _wait_for_ever(this)
    return 0 if this.summary.ok else 1


def run_stand_ins(options: RunOptions) -> None:
    """Runs the stand-ins alone, for an Airflow and a streamer elsewhere, until Ctrl-C; raises `RunError`."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    with prepared(options, STAND_INS) as this:
        trino = _start_stand_ins(this)
        await_training_stand_ins = _start_training_stand_ins(this)
        await_training_stand_ins()
        with this.step("Trino up"):
            trino.wait_until(lambda: is_ready(this.endpoints.url("trino")), 120)
        with _containers_environment(this):
            _wait_for_ever(this)


def _wait_for_ever(this: Run) -> None:
    this.console.print("Everything goes on running; Ctrl-C ends it.")
    while True:
        this.processes.check()
        time.sleep(1)


@contextlib.contextmanager
def started(options: RunOptions) -> Iterator[Run]:
    """The pipeline, run up to its summary and still running; ended on leaving."""
    with prepared(options, SERVICES) as this:
        with _containers_environment(this):
            _run(this)
            yield this
        this.console.print("Stopping …")


@contextlib.contextmanager
def _containers_environment(this: Run) -> Iterator[None]:
    """Has ``containers.env`` where the stand-ins listen for more than this machine."""
    if this.options.bind == LOOPBACK:
        yield
        return
    file = this.options.run_dir / _CONTAINERS
    endpoints = Endpoints(this.options.first_port, host=this.options.gateway)
    write_containers_environment(file, endpoints, this.environment)
    this.console.print(f"Containers reach the stand-ins by {file}.")
    try:
        yield
    finally:
        file.unlink(missing_ok=True)


@contextlib.contextmanager
def prepared(options: RunOptions, services: Sequence[str]) -> Iterator[Run]:
    """A run with nothing started yet, for services whose ports are free; what it started ends on leaving."""
    topics_file = options.topics or Settings().topics_file
    try:
        topics = load_topics(topics_file)
        options.run_dir.mkdir(parents=True, exist_ok=True)
        _leave_proxy_aside()
        with _alone(options) as registry:
            endpoints = Endpoints(options.first_port)
            _check_ports(endpoints, services, options.bind)
            world = options.run_dir / "worlds" / _world(options, rule_hash(topics))
            world.mkdir(parents=True, exist_ok=True)
            environment = _environment(options, world, endpoints, topics_file)
            with Processes(world / "logs", registry) as processes:
                try:
                    yield Run(
                        options,
                        world,
                        topics.names,
                        _settings(environment),
                        endpoints,
                        processes,
                        environment,
                    )
                except (AirflowError, *_UNANSWERED):
                    # A process that has ended tells why itself.
                    processes.check()
                    raise
    except (TopicsError, ProcessError, AirflowError, SummaryError) as error:
        raise RunError(str(error)) from error
    except _UNANSWERED as error:
        raise RunError(f"a stand-in did not answer as it should: {error}; see {world / 'logs'}.") from error


def _run(this: Run) -> None:
    this.console.print(f"[bold]Opinion on {' and '.join(this.topics)}[/]; state and logs in {this.world}")
    with _watching_memory(this):
        migration = airflow_server.migrate(this.processes, this.airflow_environment)
        trino = _start_stand_ins(this)
        start_streamer(this)
        _start_airflow(this, trino, migration)
        await_training_stand_ins = _start_training_stand_ins(this)
        run_dag(this, "provision", "tables, workgroup and models provisioned")
        _recover(this)
        _transform(this)
        # Beside the training, which leaves a part of the machine idle.
        measured = _start_run(this, "coverage", {"dry_run": False})
        await_training_stand_ins()
        _train(this)
        with this.step("coverage measured again") as progress:
            wait_for_run(this, "coverage", measured, progress)
        _refresh(this)
        summarise(this)


def _start_stand_ins(this: Run) -> Process:
    """Starts X, AWS and Trino; returns Trino, which takes longer than the others to be ready."""
    python, endpoints, options, env = sys.executable, this.endpoints, this.options, this.environment
    with this.step("X and AWS stand-ins up"):
        x_command = [python, "-m", "local.x_api", "--port", str(endpoints.port("x_api"))]
        x_command += ["--state", str(this.world / "x_api"), "--token", X_TOKEN]
        x_command += ["--host", options.bind]
        x_command += ["--topics", env["OPINION_TOPICS_FILE"], "--rate", str(options.rate)]
        if options.archive:
            x_command += ["--archive", str(options.archive)]
        x_api = this.processes.start("x_api", x_command, env, ends_last=True)
        aws_command = [python, "-m", "local.aws", "--port", str(endpoints.port("aws"))]
        aws_command += ["--host", options.bind]
        aws_command += ["--state", str(this.world / "aws"), "--trino-url", endpoints.url("trino")]
        aws = this.processes.start("aws", aws_command, env, ends_last=True)
        x_api.wait_until(lambda: answers(f"{endpoints.url('x_api')}/_local/health"), 60)
        aws.wait_until(lambda: answers(f"{endpoints.url('aws')}/_local/health"), 30)
        trino_command = [python, "-m", "local.aws.trino", "--port", str(endpoints.port("trino"))]
        trino_command += ["--aws-endpoint", endpoints.url("aws"), "--state", str(this.world / "trino")]
        trino = this.processes.start("trino", trino_command, env, ends_last=True)
        bootstrap(
            endpoints.url("aws"),
            this.settings,
            x_token=X_TOKEN,
            buffering_seconds=BUFFERING_SECONDS,
            connections=endpoints.connections(),
        )
    endpoints.write(this.options.run_dir / "endpoints.json")
    return trino


def _start_training_stand_ins(this: Run) -> Callable[[], None]:
    """Starts Databricks and MLflow; returns what waits for them: they are needed only after the labels."""
    endpoints, host = this.endpoints, this.options.bind
    command = [sys.executable, "-m", "local.databricks", "--port", str(endpoints.port("databricks"))]
    command += ["--state", str(this.world / "databricks"), "--host", host, "--token", DATABRICKS_TOKEN]
    command += ["--aws-endpoint", endpoints.url("aws"), "--mlflow-url", endpoints.url("mlflow")]
    databricks = this.processes.start("databricks", command, this.environment)
    state = this.world / "mlflow"
    state.mkdir(exist_ok=True)
    mlflow_command = mlflow.command(endpoints.port("mlflow"), state, host)
    tracking = this.processes.start("mlflow", mlflow_command, mlflow.environment(this.environment))

    def wait() -> None:
        with this.step("Databricks and MLflow up"):
            databricks.wait_until(lambda: answers(f"{endpoints.url('databricks')}/_local/health"), 60)
            tracking.wait_until(lambda: answers(f"{endpoints.url('mlflow')}/health"), 120)

    return wait


def start_streamer(this: Run) -> Process:
    """Starts the streamer and waits until it is alive."""
    with this.step("streamer collecting"):
        command = [sys.executable, "-m", "streamer", "run", "--spool", str(this.world / "streamer")]
        command += ["--http-port", str(this.endpoints.port("streamer"))]
        streamer = this.processes.start("streamer", command, this.environment)
        streamer.wait_until(lambda: answers(f"{this.endpoints.url('streamer')}/healthz"), 30)
    return streamer


def _start_airflow(this: Run, trino: Process, migration: Process | None) -> None:
    with this.step("Airflow and Trino up") as progress:
        progress("creating the metadata database")
        airflow_server.migrated(this.processes, migration, this.airflow_environment)
        progress("starting the components")
        components = airflow_server.start(this.processes, this.endpoints, this.airflow_environment)
        components["api-server"].wait_until(lambda: airflow_server.is_healthy(this.endpoints), 120)
        progress("waiting for Trino")
        trino.wait_until(lambda: is_ready(this.endpoints.url("trino")), 120)
        components["dag-processor"].wait_until(lambda: all(this.airflow.has_dag(dag) for dag in DAGS), 120)
        this.airflow.ensure_pool(this.settings.sagemaker_pool, SAGEMAKER_JOBS)


def run_dag(
    this: Run, dag_id: str, name: str, conf: dict[str, Any] | None = None, seconds: float = RUN_SECONDS
) -> str:
    """Starts a run by hand, waits for its success and returns its id; raises `AirflowError` otherwise."""
    with this.step(name) as progress:
        run_id = _start_run(this, dag_id, conf)
        wait_for_run(this, dag_id, run_id, progress, seconds)
    return run_id


def _start_run(this: Run, dag_id: str, conf: dict[str, Any] | None = None) -> str:
    return _due_run(this, dag_id) or this.airflow.trigger(dag_id, conf)


def _due_run(this: Run, dag_id: str) -> str | None:
    """Unpauses the DAG; the id of the scheduled run that starts at once because one is due, if any."""
    due = this.airflow.dag(dag_id)["next_dagrun_run_after"]
    this.airflow.pause(dag_id, False)
    if due and datetime.fromisoformat(due) <= datetime.now(UTC):
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            for run in this.airflow.runs(dag_id, state=["queued", "running"]):
                if run["run_type"] == "scheduled":
                    return str(run["dag_run_id"])
            time.sleep(POLL_SECONDS)
    return None


def wait_for_run(
    this: Run,
    dag_id: str,
    run_id: str,
    progress: Callable[[str], None] = lambda _: None,
    seconds: float = RUN_SECONDS,
) -> None:
    """Waits until a run has succeeded; raises `AirflowError` naming the failed tasks."""
    deadline = time.monotonic() + seconds
    airflow = this.airflow
    while (state := airflow.run(dag_id, run_id)["state"]) not in FINISHED:
        this.processes.check()
        if time.monotonic() > deadline:
            raise AirflowError(f"{dag_id} {run_id} is still {state} after {seconds:.0f} s; see {airflow.url}")
        progress(state)
        time.sleep(POLL_SECONDS)
    if state == "failed":
        failed = [
            task["task_id"] for task in airflow.task_instances(dag_id, run_id) if task["state"] == "failed"
        ]
        raise AirflowError(
            f"{dag_id} {run_id} failed in {', '.join(failed) or 'no task'}; its log lies under"
            f" {this.world / 'airflow' / 'logs'}/dag_id={dag_id}"
        )


def _recover(this: Run) -> None:
    """Has coverage recover the past hours, and waits for as long as X's rate limit may hold it up."""
    hours, rate = this.options.hours, this.options.rate
    seconds = RUN_SECONDS * (1 + hours * rate / SEARCHED_POSTS)
    name = f"past {hours} hours measured and recovered"
    run_dag(this, "coverage", name, {"dry_run": False}, seconds)


def _transform(this: Run) -> None:
    """Lets the schedule label every closed hour of the summary, and waits for it."""
    airflow = this.airflow
    airflow.pause("transform", False)
    wanted = {window.label for window in closed_windows(this)}
    with this.step(f"{len(wanted)} hours translated, labelled and published") as progress:
        finished: set[str] = set()
        deadline = time.monotonic() + RUN_SECONDS
        while True:
            runs = airflow.runs("transform", limit=max(100, 2 * len(wanted)))
            states = {label: run["state"] for run in reversed(runs) if (label := window_of(run)) in wanted}
            done = sum(state == "success" for state in states.values())
            if "failed" in states.values():
                failed = sorted(label for label, state in states.items() if state == "failed")
                raise AirflowError(f"transform failed for {', '.join(failed)}; see {airflow.url}")
            if done == len(wanted):
                return
            this.processes.check()
            # The schedule catches up with all hours since the last run, the oldest first, however many.
            before, finished = finished, {run["dag_run_id"] for run in runs if run["state"] in FINISHED}
            if before != finished:
                deadline = time.monotonic() + RUN_SECONDS
            elif time.monotonic() > deadline:
                raise AirflowError(
                    f"no run of transform has ended for {RUN_SECONDS} s, and {len(wanted) - done} hours are"
                    f" missing; see {airflow.url}"
                )
            progress(f"{done} of {len(wanted)} done, {len(states) - done} under way")
            time.sleep(POLL_SECONDS)


def _train(this: Run) -> None:
    """Trains the student; insights is let go just before, so that one run sees labels and predictions."""
    this.airflow.pause("insights", False)
    run_dag(this, "train", "student trained, compared and its predictions published")


def _refresh(this: Run) -> None:
    """Waits for the runs of insights that assets have started; without predictions starts one by hand."""
    with this.step("views, aggregates and dashboards refreshed") as progress:
        deadline = time.monotonic() + ASSET_SECONDS
        while not (runs := this.airflow.runs("insights", queued_at_gte=this.begun.isoformat())):
            if time.monotonic() > deadline:
                runs = [{"dag_run_id": this.airflow.trigger("insights")}]
                break
            time.sleep(POLL_SECONDS)
        while runs:
            for run in runs:
                wait_for_run(this, "insights", run["dag_run_id"], progress)
            runs = this.airflow.runs("insights", state=["queued", "running"])


def window_of(dag_run: dict[str, Any]) -> str | None:
    """The label of the hour that a run of transform is about."""
    if window := (dag_run.get("conf") or {}).get("window"):
        return str(window)
    if start := dag_run.get("data_interval_start"):
        return Window.containing(datetime.fromisoformat(start)).label
    return None


def closed_windows(this: Run) -> list[Window]:
    """The past hours of the summary, oldest first: those that were closed when the run began."""
    first = Window.containing(this.begun - timedelta(hours=this.options.hours))
    return [window for window in Window.between(first.start, this.begun) if window.end <= this.begun]


def summarise(this: Run) -> None:
    """Reads the run's figures back, judges them, shows them and writes ``summary.json``."""
    this.processes.check()
    with this.step("summary collected"):
        summary = collect(
            settings=this.settings,
            endpoints=this.endpoints,
            topics=this.topics,
            windows=[*closed_windows(this), Window.containing(this.begun)],
            begun=this.begun,
            dag_runs=this.airflow.runs(limit=MOST_RUNS, queued_at_gte=this.begun.isoformat()),
        )
    wall = (datetime.now(UTC) - this.begun).total_seconds()
    document = {
        "ok": summary.ok,
        "wall_s": round(wall, 1),
        "steps": this.steps,
        "peak_memory_mib": this.peak_memory // 2**20,
        **summary.figures,
        "problems": summary.problems,
        "notes": summary.notes,
    }
    (this.options.run_dir / "summary.json").write_text(json.dumps(document, indent=2) + "\n")
    summary.show(this.console, wall, this.peak_memory)
    this.summary = summary


@contextlib.contextmanager
def _watching_memory(this: Run) -> Iterator[None]:
    done = threading.Event()

    def watch() -> None:
        while not done.wait(3):
            this.peak_memory = max(this.peak_memory, this.processes.memory())

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        done.set()


def _world(options: RunOptions, rules: str) -> str:
    """A lake of its own for every archive, rate and set of topics with their keywords: they never mix."""
    if options.archive:
        source = options.archive.name.split(".")[0]
        identity = hashlib.sha256(options.archive.read_bytes())
    else:
        source = "synthetic"
        identity = hashlib.sha256(str(options.rate).encode())
    identity.update(rules.encode())
    return f"{source}-{identity.hexdigest()[:8]}"


def _leave_proxy_aside() -> None:
    """Keeps what is asked of this machine from a proxy, in this process and in those that it starts."""
    for name in ("NO_PROXY", "no_proxy"):
        hosts = [host for host in os.environ.get(name, "").split(",") if host]
        os.environ[name] = ",".join(dict.fromkeys([*hosts, LOOPBACK, "localhost"]))


def _environment(options: RunOptions, world: Path, endpoints: Endpoints, topics_file: Path) -> dict[str, str]:
    base = {
        name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW__", "OPINION_"))
    }
    base.pop("PYTHONDONTWRITEBYTECODE", None)
    base.pop("AWS_PROFILE", None)
    return {
        **base,
        **endpoints.aws_environment(),
        "OPINION_GATHER_SECONDS": "5",
        "OPINION_TRAINING_TRIALS": "2",
        "OPINION_QUICKSIGHT_PRINCIPALS": json.dumps([QUICKSIGHT_READER]),
        "OPINION_QUICKSIGHT_URL": f"{endpoints.url('aws')}/_local/quicksight",
        "OPINION_TRAINING_MODEL_URL": f"{endpoints.url('mlflow')}/#/models/{{model}}/versions/{{version}}",
        "OPINION_COLLECTION_START": _collection_start(world, options.hours).isoformat(),
        "OPINION_REACH_HOURS": str(options.hours),
        "OPINION_TOPICS_FILE": str(topics_file.resolve()),
        "OPINION_X_API_URL": endpoints.url("x_api"),
        "PYTHONPATH": str(airflow_server.ROOT),
        "PYTHONUNBUFFERED": "1",
        **{name: value for name, value in os.environ.items() if name.startswith("OPINION_")},
    }


def _collection_start(world: Path, hours: int) -> datetime:
    """The collection's start of this world: the first run's first hour, or an earlier one asked for since."""
    file = world / "collection-start"
    start = Window.containing(datetime.now(UTC) - timedelta(hours=hours)).start
    if file.exists():
        start = min(start, datetime.fromisoformat(file.read_text()))
    file.write_text(start.isoformat())
    return start


def _settings(environment: dict[str, str]) -> Settings:
    """The settings as the run's processes read them."""
    source = EnvSettingsSource(Settings)
    source.env_vars = {name.lower(): value for name, value in environment.items()}
    return Settings.model_validate(source())


def _check_ports(endpoints: Endpoints, services: Sequence[str], bind: str) -> None:
    for service in services:
        if not port_is_free(endpoints.port(service), bind if service in STAND_INS else LOOPBACK):
            raise RunError(
                f"port {endpoints.port(service)} ({service}) is taken; end what listens there, or choose"
                f" another range of {len(SERVICES)} ports with PORT={endpoints.first_port + 100}."
            )


@contextlib.contextmanager
def _alone(options: RunOptions) -> Iterator[Path]:
    """One run at a time in one run directory; what a killed run has left is ended first."""
    lock = options.run_dir / "lock"
    with lock.open("a+") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            handle.seek(0)
            raise RunError(
                f"another run is active here ({handle.read().strip() or 'just starting'}); end it with Ctrl-C"
                " in its terminal, or use its pages."
            ) from error
        handle.truncate(0)
        handle.write(f"process {os.getpid()}, Airflow at http://127.0.0.1:{options.first_port}")
        handle.flush()
        registry = options.run_dir / "processes.json"
        end_leftovers(registry)
        # Whoever waits for it must not find a killed run's.
        (options.run_dir / _CONTAINERS).unlink(missing_ok=True)
        yield registry
        handle.truncate(0)


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt

"""A world: lake, state and logs of one archive, rate, set of topics and models; one run at a time uses it."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError
from pydantic_settings import EnvSettingsSource
from requests import RequestException
from rich.console import Console
from rich.markup import escape

from include.settings import Settings
from include.window import Window
from include.x.rules import rule_hash
from include.x.topics import TopicsError
from include.x.topics import load as load_topics
from local.airflow_server import ROOT, AirflowError
from local.credentials import Credentials, CredentialsError
from local.endpoints import (
    QUICKSIGHT_READER,
    SERVICES,
    STAND_INS,
    Endpoints,
    write_containers_environment,
)
from local.models import Chosen, ChosenModelError, choose
from local.parameters import LOOPBACK, POSTGRESQL, SQLITE
from local.processes import ProcessError, Processes, end_leftovers, port_is_free
from local.summary import SummaryError
from local.x_api import archive_files
from local.x_api.limits import PROJECT_CAP

SYNTHETIC = "These are synthetic tweets: every one is invented, and so is every opinion that is shown."
REPLAYED = (
    "These are tweets of an archive that is replayed: their dates are shifted, so that the last is of now."
)
"""What the pages' banner says of X's stand-in."""
_CONTAINERS = "containers.env"
_UNANSWERED = (RequestException, BotoCoreError, ClientError)
"""What clients raise where a stand-in does not answer as it should."""
FAILURES = (AirflowError, ProcessError, SummaryError, *_UNANSWERED)
"""What a step may raise."""


_REJECTED = (TopicsError, CredentialsError, ChosenModelError)
"""What a run that cannot start raises."""


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
    models: tuple[str, ...] = ()
    """Names of models that are embedded or that `make models` has packed."""
    sentiment: str | None = None
    """The artifact that labels: a path or an address in S3; None: the default one."""
    translation: str | None = None
    """The artifact that translates, as ``sentiment``; None: none does."""
    first_port: int = 8080
    database: str = SQLITE
    """What keeps Airflow's metadata: `SQLITE` or `POSTGRESQL`."""
    run_dir: Path = Path(".run")
    bind: str = LOOPBACK
    """Where the stand-ins listen."""
    gateway: str = "host.docker.internal"
    """The name by which containers reach this machine."""
    handover: Path | None = None
    """The file for containers elsewhere than in ``run_dir``; its folder's group may read it."""

    @property
    def containers(self) -> Path:
        """What containers read."""
        return self.handover or self.run_dir / _CONTAINERS


def _console() -> Console:
    """Wide enough for the summary's tables also where the output is no terminal."""
    console = Console(highlight=False, soft_wrap=True)
    return console if console.is_terminal else Console(highlight=False, soft_wrap=True, width=110)


@dataclass
class Step:
    """A step in progress: called with how far it is; ``seconds`` is given if its wait does not tell them."""

    tell: Callable[[str], None]
    seconds: float | None = None

    def __call__(self, progress: str) -> None:
        """Shows how far it is."""
        self.tell(progress)


@dataclass
class World:
    """What a run works in: its folder, its processes, its addresses, and what each step took."""

    options: RunOptions
    folder: Path
    topics: tuple[str, ...]
    settings: Settings
    endpoints: Endpoints
    processes: Processes
    environment: dict[str, str]
    begun: datetime
    console: Console = field(default_factory=_console)
    steps: list[dict[str, Any]] = field(default_factory=list)

    @contextlib.contextmanager
    def step(self, name: str) -> Iterator[Step]:
        """Tells a step, its progress, its seconds, and whether it failed."""
        begin = time.monotonic()
        step = Step(lambda _: None)
        mark, failed = "[red]✗[/]", True
        try:
            with self.console.status(f"{name} …") as status:
                step.tell = lambda progress: status.update(f"{name}: {progress}")
                yield step
            mark, failed = "[green]✓[/]", False
        finally:
            seconds = time.monotonic() - begin if step.seconds is None else step.seconds
            self.steps.append({"name": name, "s": round(seconds, 1), "failed": failed})
            self.console.print(f"  {mark} {name:<58}{seconds:7.1f} s")

    def reason(self, error: Exception) -> str:
        """Why something failed and where to look: a service that has ended explains what others met."""
        try:
            self.processes.check()
        except ProcessError as ended:
            return str(ended)
        return _unanswered(error, self.folder) if isinstance(error, _UNANSWERED) else str(error)

    @contextlib.contextmanager
    def containers_environment(self) -> Iterator[None]:
        """Has ``containers.env`` where the stand-ins listen for more than this machine."""
        if self.options.bind == LOOPBACK:
            yield
            return
        file = self.options.containers
        endpoints = replace(self.endpoints, host=self.options.gateway)
        mode = 0o640 if self.options.handover else 0o600
        write_containers_environment(file, endpoints, self.environment, mode)
        self.console.print(f"Containers reach the stand-ins by {file}.")
        try:
            yield
        finally:
            file.unlink(missing_ok=True)

    def tell_login(self) -> None:
        """Tells people how to log in. A log, such as a container's, keeps what it is told: no password."""
        login = self.endpoints.login
        password = f", password [bold]{login['password']}[/]" if self.console.is_terminal else ""
        self.console.print(
            f"Log in to Airflow, MLflow and the stand-ins' pages as [bold]{login['username']}[/]{password}."
            f" {self.options.run_dir / 'endpoints.json'} has every credential."
        )

    def wait_for_ever(self) -> None:
        """Keeps everything up until Ctrl-C; a service that ends is told, and the others go on running."""
        self.console.print("Everything keeps running; Ctrl-C ends it.")
        told: set[str] = set()
        while True:
            for process in self.processes.running:
                try:
                    process.check()
                except ProcessError as error:
                    if process.name not in told:
                        self.console.print(f"  [red]✗[/] {escape(str(error))}; the others keep running.")
                        told.add(process.name)
            time.sleep(1)

    def wait_while_whole(self) -> None:
        """Keeps everything up until Ctrl-C; raises `ProcessError` if a service ends."""
        self.tell_login()
        self.console.print("Everything keeps running; Ctrl-C ends it.")
        while True:
            self.processes.check()
            time.sleep(1)


@contextlib.contextmanager
def prepared(options: RunOptions, services: Sequence[str]) -> Iterator[World]:
    """A world with nothing started yet, for services whose ports are free; on leaving, all ends."""
    begun = datetime.now(UTC)
    topics_file = options.topics or Settings().topics_file
    folder = options.run_dir
    try:
        topics = load_topics(topics_file)
        options.run_dir.mkdir(parents=True, exist_ok=True)
        options.run_dir.chmod(0o700)
        _leave_proxy_aside()
        with _alone(options) as registry:
            chosen = choose(
                options.models, options.sentiment, options.translation, options.run_dir / "models"
            )
            folder = options.run_dir / "worlds" / _world(options, rule_hash(topics), chosen)
            folder.mkdir(parents=True, exist_ok=True)
            endpoints = Endpoints(options.first_port, Credentials.in_folder(folder))
            _check_ports(endpoints, services, options.bind, options.database)
            environment = _environment(options, folder, endpoints, topics_file, begun) | chosen.settings()
            with Processes(folder / "logs", registry) as processes:
                try:
                    yield World(
                        options,
                        folder,
                        topics.names,
                        _settings(environment),
                        endpoints,
                        processes,
                        environment,
                        begun,
                    )
                except (AirflowError, *_UNANSWERED):
                    # A process that has ended tells why itself.
                    processes.check()
                    raise
    except (*_REJECTED, ProcessError, AirflowError, SummaryError) as error:
        raise RunError(str(error)) from error
    except _UNANSWERED as error:
        raise RunError(_unanswered(error, folder)) from error


def _unanswered(error: Exception, folder: Path) -> str:
    return f"a stand-in did not answer as it should: {error}; see {folder / 'logs'}."


def _world(options: RunOptions, rules: str, chosen: Chosen) -> str:
    """A lake of its own for every archive, rate, set of topics with their keywords, and choice of models.

    They never mix.
    """
    if options.archive:
        source = options.archive.name.split(".")[0]
        identity = archive_files.identity(options.archive)
    else:
        source = "synthetic"
        identity = hashlib.sha256(str(options.rate).encode())
    identity.update(rules.encode())
    identity.update(chosen.identity)
    return f"{source}-{identity.hexdigest()[:8]}"


def _leave_proxy_aside() -> None:
    """Keeps what is asked of this machine from a proxy, in this process and in those that it starts."""
    for name in ("NO_PROXY", "no_proxy"):
        hosts = [host for host in os.environ.get(name, "").split(",") if host]
        os.environ[name] = ",".join(dict.fromkeys([*hosts, LOOPBACK, "localhost"]))


def _environment(
    options: RunOptions, world: Path, endpoints: Endpoints, topics_file: Path, begun: datetime
) -> dict[str, str]:
    base = {
        name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW__", "OPINION_"))
    }
    base.pop("PYTHONDONTWRITEBYTECODE", None)
    base.pop("AWS_PROFILE", None)
    return {
        **base,
        **endpoints.aws_environment(),
        "OPINION_GATHER_SECONDS": "5",
        "OPINION_LIVE_MINUTES": "2",
        "OPINION_TRAINING_TRIALS": "2",
        # Here no run reads the table beside another for long: what is removed is soon gone.
        "OPINION_TRAINING_HISTORY_SECONDS": "10",
        "OPINION_QUICKSIGHT_PRINCIPALS": json.dumps([QUICKSIGHT_READER]),
        "OPINION_ATHENA_QUERY_URL": f"{endpoints.url('aws')}/_local/athena/queries/{{query}}",
        "OPINION_QUICKSIGHT_URL": f"{endpoints.url('aws')}/_local/quicksight",
        "OPINION_SAGEMAKER_JOB_URL": f"{endpoints.url('aws')}/_local/sagemaker/transform-jobs/{{job}}",
        "OPINION_TRAINING_MODEL_URL": f"{endpoints.url('mlflow')}/#/models/{{model}}/versions/{{version}}",
        # Posts of the stand-in cost nothing: the small default would have the sample lowered.
        "OPINION_MONTHLY_POSTS": str(PROJECT_CAP),
        "OPINION_COLLECTION_START": _collection_start(world, begun, options.hours).isoformat(),
        # One more: coverage counts from its own hour, which may be the one after the run's first.
        "OPINION_UNAPPROVED_HOURS": str(options.hours + 1),
        "OPINION_TOPICS_FILE": str(topics_file.resolve()),
        "OPINION_X_API_URL": endpoints.url("x_api"),
        "OPINION_SOURCE_NOTICE": REPLAYED if options.archive else SYNTHETIC,
        # X does not know the stand-in's ids.
        "OPINION_TWEET_EMBED_URL": "",
        "PYTHONPATH": str(ROOT),
        "PYTHONUNBUFFERED": "1",
        **{name: value for name, value in os.environ.items() if name.startswith("OPINION_")},
    }


def _collection_start(world: Path, begun: datetime, hours: int) -> datetime:
    """The collection's start of this world: the first run's first hour, or an earlier one asked for since."""
    file = world / "collection-start"
    start = Window.containing(begun - timedelta(hours=hours)).start
    if file.exists():
        start = min(start, datetime.fromisoformat(file.read_text()))
    file.write_text(start.isoformat())
    return start


def _settings(environment: dict[str, str]) -> Settings:
    """The settings as the run's processes read them."""
    source = EnvSettingsSource(Settings)
    source.env_vars = {name.lower(): value for name, value in environment.items()}
    return Settings.model_validate(source())


def _check_ports(endpoints: Endpoints, services: Sequence[str], bind: str, database: str) -> None:
    for service in services:
        if service == POSTGRESQL and database != POSTGRESQL:
            continue
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
        options.containers.unlink(missing_ok=True)
        yield registry
        handle.truncate(0)

"""One run of the whole pipeline on this machine, step by step, and its summary."""

from __future__ import annotations

import contextlib
import json
import signal
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property

from include.window import Window
from local import airflow_server
from local.airflow_server import AirflowClient
from local.aws.trino import is_ready
from local.dag_runs import DagRuns
from local.endpoints import SERVICES, STAND_INS
from local.services import Services
from local.summary import Summary, collect
from local.world import RunOptions, World, prepared


@dataclass
class Run:
    """A run under way: its world, its services, the runs of its DAGs and its summary."""

    world: World
    services: Services = field(init=False)
    peak_memory: int = 0
    summary: Summary = field(init=False)

    def __post_init__(self) -> None:
        self.services = Services(self.world)

    @property
    def airflow(self) -> AirflowClient:
        """A client of this run's Airflow."""
        return self.services.airflow

    @cached_property
    def dag_runs(self) -> DagRuns:
        """The runs of its DAGs."""
        return DagRuns(self.world, self.airflow)

    def start(self) -> None:
        """Starts everything that the work needs."""
        self.world.console.print(
            f"[bold]Opinion on {' and '.join(self.world.topics)}[/]; state and logs in {self.world.folder}"
        )
        migration = airflow_server.migrate(self.world.processes, self.services.airflow_environment)
        trino = self.services.start_stand_ins()
        self.services.start_streamer()
        self.services.start_airflow(trino, migration)

    def work(self) -> None:
        """Has every hour measured, recovered, labeled, learned from and shown."""
        await_training_stand_ins = self.services.start_training_stand_ins()
        self.dag_runs.run("provision", "tables, workgroup and models provisioned")
        hours = self.world.options.hours
        self.dag_runs.run("coverage", f"past {hours} hours measured and recovered", {"dry_run": False})
        self.dag_runs.transform()
        # Beside the training, which leaves a part of the machine idle.
        measured = self.dag_runs.start("coverage", {"dry_run": False})
        await_training_stand_ins()
        # Insights is let go just before, so that one run sees labels and predictions.
        self.airflow.pause("insights", False)
        self.dag_runs.run("train", "student trained, compared and its predictions published")
        with self.world.step("coverage measured again") as progress:
            self.dag_runs.wait_for("coverage", measured, progress)
        self.dag_runs.refresh()

    def summarize(self) -> None:
        """Reads the run's figures back, judges them, shows them and writes ``summary.json``."""
        world = self.world
        world.processes.check()
        with world.step("summary collected"):
            summary = collect(
                settings=world.settings,
                endpoints=world.endpoints,
                topics=world.topics,
                windows=[*self.dag_runs.closed_windows(), Window.containing(world.begun)],
                begun=world.begun,
                dag_runs=self.dag_runs.started_since(world.begun),
            )
        wall = (datetime.now(UTC) - world.begun).total_seconds()
        document = {
            "ok": summary.ok,
            "wall_s": round(wall, 1),
            "steps": world.steps,
            "peak_memory_mib": self.peak_memory // 2**20,
            **summary.figures,
            "problems": summary.problems,
            "notes": summary.notes,
        }
        (world.options.run_dir / "summary.json").write_text(json.dumps(document, indent=2) + "\n")
        summary.show(world.console, wall, self.peak_memory)
        self.summary = summary

    @contextlib.contextmanager
    def watching_memory(self) -> Iterator[None]:
        """Keeps the most memory that its processes have held together."""
        done = threading.Event()

        def watch() -> None:
            while not done.wait(3):
                self.peak_memory = max(self.peak_memory, self.world.processes.memory())

        watcher = threading.Thread(target=watch, daemon=True)
        watcher.start()
        try:
            yield
        finally:
            done.set()


def run(options: RunOptions) -> int:
    """Runs everything; returns the exit status; raises `RunError` with one sentence that says what to do."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    with started(options) as this:
        if not options.once:
            this.world.wait_for_ever()
    return 0 if this.summary.ok else 1


def run_stand_ins(options: RunOptions) -> None:
    """Runs the stand-ins alone, for an Airflow and a streamer elsewhere, until Ctrl-C; raises `RunError`."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    with prepared(options, STAND_INS) as world:
        services = Services(world)
        trino = services.start_stand_ins()
        services.start_training_stand_ins()()
        with world.step("Trino up"):
            trino.wait_until(lambda: is_ready(world.endpoints.url("trino"), world.endpoints.credentials), 120)
        with world.containers_environment():
            world.wait_for_ever()


@contextlib.contextmanager
def started(options: RunOptions) -> Iterator[Run]:
    """The pipeline, run up to its summary and still running; ended on leaving."""
    with prepared(options, SERVICES) as world:
        with world.containers_environment():
            this = Run(world)
            with this.watching_memory():
                this.start()
                this.work()
                this.summarize()
            yield this
        world.console.print("Stopping …")


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt

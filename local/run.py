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
from pathlib import Path
from typing import Any

from rich.markup import escape

from include.window import Window
from local.airflow_server import AirflowClient, AirflowError
from local.aws.trino import is_ready
from local.dag_runs import DagRuns
from local.endpoints import SERVICES, STAND_INS
from local.services import Services
from local.summary import Summary, collect
from local.world import FAILURES, RunError, RunOptions, World, prepared

MEMORY_SECONDS = 10
"""How often memory is looked at: one look walks all pages of all processes, and takes 0.2 CPU-seconds."""


@dataclass
class Run:
    """A run in progress: its world, its services, the runs of its DAGs and its summary."""

    world: World
    services: Services = field(init=False)
    peak_memory: int = 0
    failure: str | None = None
    """Why the work ended early, and where to look."""
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

    @property
    def _summary_file(self) -> Path:
        return self.world.options.run_dir / "summary.json"

    def start(self) -> None:
        """Starts everything that the work needs, and removes the summary of an earlier run."""
        self._summary_file.unlink(missing_ok=True)
        self.world.console.print(
            f"[bold]Opinion on {' and '.join(self.world.topics)}[/]; state and logs in {self.world.folder}"
        )
        migration = self.services.begin_migration()
        trino = self.services.start_stand_ins()
        self.services.start_streamer()
        self.services.start_airflow(trino, migration)

    def work(self) -> None:
        """Has every hour measured, recovered, labeled, learned from and shown."""
        await_training_stand_ins = self.services.start_training_stand_ins()
        self.dag_runs.run("provision", "tables, workgroup and models provisioned")
        hours = self.world.options.hours
        self.dag_runs.run("coverage", f"past {hours} hours measured and recovered", {"dry_run": False})
        opened = self.dag_runs.start("live")
        self.dag_runs.transform()
        self.dag_runs.finish("live", opened, "open hour labeled")
        # The training and the summary read labels that no longer change, unless an hour ends meanwhile.
        self.dag_runs.rest("live")
        # Beside the training, which leaves a part of the machine idle.
        measured = self.dag_runs.start("coverage", {"dry_run": False})
        await_training_stand_ins()
        # Insights is let go just before, so that one run sees labels and predictions.
        self.airflow.pause("insights", False)
        trained = self.dag_runs.start("train")
        self.dag_runs.finish("coverage", measured, "coverage measured again")
        self.dag_runs.finish("train", trained, "student trained, compared and its predictions published")
        priced = self.dag_runs.start("costs")
        self.dag_runs.refresh()
        self.dag_runs.finish("costs", priced, "usage measured and priced")

    def attempt(self) -> None:
        """Works and summarizes; a failed step ends the work, and is kept as `failure`, with where to look."""
        try:
            self.work()
        except FAILURES as error:
            self.failure = self.world.reason(error)
        try:
            self.summarize()
        except FAILURES as error:
            # The first failure explains the others.
            self.failure = self.failure or self.world.reason(error)
            self._write_summary({}, [self.failure], [])
        if self.failure:
            self.world.console.print(f"[red]{escape(self.failure)}[/]")

    def resume_schedules(self) -> None:
        """Lets Airflow continue on its schedules, including what a failed step left undone."""
        try:
            for dag_id in ("coverage", "transform", "live", "train", "insights", "costs"):
                self.airflow.pause(dag_id, False)
        except AirflowError as error:
            self.world.console.print(f"[red]{escape(str(error))}[/]")

    def summarize(self) -> None:
        """Reads the run's figures back, judges them, shows them and writes ``summary.json``.

        Where a step failed, these are the figures that were reached, and its failure is the first problem.
        """
        world = self.world
        with world.step("summary collected"):
            summary = collect(
                settings=world.settings,
                endpoints=world.endpoints,
                topics=world.topics,
                windows=[*self.dag_runs.closed_windows(), Window.containing(world.begun)],
                begun=world.begun,
                dag_runs=self.dag_runs.started_since(world.begun),
            )
        if self.failure:
            summary.problems.insert(0, self.failure)
        self._write_summary(summary.figures, summary.problems, summary.notes)
        summary.show(world.console, self._wall(), self.peak_memory)
        self.summary = summary

    def _write_summary(self, figures: dict[str, Any], problems: list[str], notes: list[str]) -> None:
        document = {
            "ok": not problems,
            "wall_s": round(self._wall(), 1),
            "steps": self.world.steps,
            "peak_memory_mib": self.peak_memory // 2**20,
            **figures,
            "problems": problems,
            "notes": notes,
        }
        self._summary_file.write_text(json.dumps(document, indent=2) + "\n")

    def _wall(self) -> float:
        return (datetime.now(UTC) - self.world.begun).total_seconds()

    @contextlib.contextmanager
    def watching_memory(self) -> Iterator[None]:
        """Keeps the most memory that its processes have held together."""
        done = threading.Event()

        def watch() -> None:
            while not done.wait(MEMORY_SECONDS):
                self.peak_memory = max(self.peak_memory, self.world.processes.memory())

        watcher = threading.Thread(target=watch, daemon=True)
        watcher.start()
        try:
            yield
        finally:
            done.set()


def run(options: RunOptions) -> int:
    """Runs everything; returns the exit status; raises `RunError` with one sentence that says what to do.

    Where a step of the work fails, what was reached is summarized, and everything stays up unless
    ``options.once``.
    """
    end_on_signals()
    with started(options) as this:
        this.attempt()
        if not options.once:
            this.resume_schedules()
            this.world.wait_for_ever()
    if this.failure:
        raise RunError(this.failure)
    return 0 if this.summary.ok else 1


def run_stand_ins(options: RunOptions) -> None:
    """Runs the stand-ins alone, for an Airflow and a streamer elsewhere, until Ctrl-C; raises `RunError`."""
    end_on_signals()
    with prepared(options, STAND_INS) as world:
        services = Services(world)
        trino = services.start_stand_ins()
        services.start_training_stand_ins()()
        with world.step("Trino up"):
            trino.wait_until(lambda: is_ready(world.endpoints.url("trino"), world.endpoints.credentials), 120)
        with world.containers_environment():
            world.wait_while_whole()


@contextlib.contextmanager
def started(options: RunOptions) -> Iterator[Run]:
    """The pipeline with everything up and its work not begun; ended on leaving."""
    with prepared(options, SERVICES) as world:
        try:
            with world.containers_environment():
                this = Run(world)
                with this.watching_memory():
                    this.start()
                    yield this
        finally:
            world.console.print("Stopping …")


def end_on_signals() -> None:
    """Has Ctrl-C and SIGTERM raise `KeyboardInterrupt`, also where the shell has them ignored."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt

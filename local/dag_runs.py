"""Runs of the DAGs in a world: started, awaited, and distinguished."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

from include.window import Window
from local.airflow_server import AirflowClient, AirflowError, run_seconds
from local.world import World

POLL_SECONDS = 1.0
STALLED_SECONDS = 1800
"""How long a run may show no progress: X's rate limit alone delays a search by a quarter of an hour.

Work that makes progress is awaited, however slow the machine is.
"""
LOOK_SECONDS = 10
"""How often progress is checked."""
ASSET_SECONDS = 10
"""How long the run that an asset's update starts may take to appear."""
MOST_RUNS = 10_000
"""More than one run of the pipeline makes."""
FINISHED = ("success", "failed")
LAST_TASKS = {"coverage": "report"}
"""After these only approvals are left, and there may be no one to give them."""


def window_of(dag_run: dict[str, Any]) -> str | None:
    """The label of the hour that a run of transform is about."""
    if window := (dag_run.get("conf") or {}).get("window"):
        return str(window)
    if start := dag_run.get("data_interval_start"):
        return Window.containing(datetime.fromisoformat(start)).label
    return None


@dataclass(frozen=True)
class DagRuns:
    """The DAG runs of a world, by a client of its Airflow."""

    world: World
    airflow: AirflowClient

    def closed_windows(self) -> list[Window]:
        """The past hours of the summary, oldest first: those that were closed when the run began."""
        begun = self.world.begun
        first = Window.containing(begun - timedelta(hours=self.world.options.hours))
        return [window for window in Window.between(first.start, begun) if window.end <= begun]

    def started_since(self, begun: datetime) -> list[dict[str, Any]]:
        """The runs of all DAGs that were started, or cleared and started again, since then; newest first."""
        runs = self.airflow.runs(limit=MOST_RUNS, start_date_gte=begun.isoformat())
        # Airflow treats a run without a start as one that starts now, even if it ended long ago.
        return [run for run in runs if datetime.fromisoformat(run["start_date"] or run["run_after"]) >= begun]

    def run(self, dag_id: str, name: str, conf: dict[str, Any] | None = None) -> str:
        """As `start`, and waits for the run's success; raises `AirflowError` otherwise."""
        with self.world.step(name) as progress:
            run_id = self.start(dag_id, conf)
            self.wait_for(dag_id, run_id, progress)
        return run_id

    def run_by_hand(self, dag_id: str, name: str, conf: dict[str, Any] | None = None) -> str:
        """As `run`, never by the scheduled run that is due: that one is about another period."""
        with self.world.step(name) as progress:
            self.airflow.pause(dag_id, False)
            run_id = self.airflow.trigger(dag_id, conf)
            self.wait_for(dag_id, run_id, progress)
        return run_id

    def finish(self, dag_id: str, run_id: str, name: str) -> None:
        """Waits for the success of a run that was started before, and tells how long the run took.

        Raises `AirflowError` if it fails.
        """
        with self.world.step(name) as step:
            self.wait_for(dag_id, run_id, step)
            step.seconds = run_seconds(self.airflow.run(dag_id, run_id))

    def start(self, dag_id: str, conf: dict[str, Any] | None = None) -> str:
        """Starts a run, or takes the scheduled one that is due, and returns its id."""
        return self._due_run(dag_id) or self.airflow.trigger(dag_id, conf)

    def _due_run(self, dag_id: str) -> str | None:
        """Unpauses the DAG; the id of the scheduled run that starts at once because one is due, if any."""
        due = self.airflow.dag(dag_id)["next_dagrun_run_after"]
        self.airflow.pause(dag_id, False)
        if due and datetime.fromisoformat(due) <= datetime.now(UTC):
            deadline = time.monotonic() + 10
            while time.monotonic() < deadline:
                for run in self.airflow.runs(dag_id, state=["queued", "running"]):
                    if run["run_type"] == "scheduled":
                        return str(run["dag_run_id"])
                time.sleep(POLL_SECONDS)
        return None

    def wait_for(self, dag_id: str, run_id: str, progress: Callable[[str], None] = lambda _: None) -> None:
        """Waits until a run has succeeded, as long as it makes progress, but not for an approval.

        Raises `AirflowError` naming the failed tasks, or if nothing has changed for `STALLED_SECONDS`.
        """
        patience = _Patience(lambda: self._signs(dag_id, run_id))
        while (state := self._state(dag_id, run_id)) not in FINISHED:
            self.world.processes.check()
            if patience.is_over():
                raise AirflowError(
                    f"{dag_id} {run_id} is still {state}; for {STALLED_SECONDS} s no task has changed its"
                    f" state and no log has grown; see {self._page(dag_id, run_id)}"
                )
            progress(state)
            time.sleep(POLL_SECONDS)
        if state == "failed":
            tasks = self.airflow.task_instances(dag_id, run_id)
            failed = sorted({task["task_id"] for task in tasks if task["state"] == "failed"})
            raise AirflowError(
                f"{dag_id} {run_id} failed in {', '.join(failed) or 'no task'}; see"
                f" {self._page(dag_id, run_id)} or its log under {self._logs(dag_id)}"
            )

    def _state(self, dag_id: str, run_id: str) -> str:
        """A run's state; that of its last task if only approvals are left."""
        state = str(self.airflow.run(dag_id, run_id)["state"])
        last = LAST_TASKS.get(dag_id)
        if state in FINISHED or last is None:
            return state
        tasks = {task["task_id"]: task["state"] for task in self.airflow.task_instances(dag_id, run_id)}
        if tasks.get(last) not in FINISHED or "awaiting_input" not in tasks.values():
            return state
        self.world.console.print(f"An approval waits: {self._page(dag_id, run_id)}")
        return str(tasks[last])

    def transform(self) -> None:
        """Lets the schedule label every closed hour of the summary, and waits for it.

        An hour that failed in an earlier run is cleared and tried again. Raises `AirflowError` naming the
        hours that fail now, or if nothing has changed for `STALLED_SECONDS`.
        """
        airflow = self.airflow
        wanted = {window.label for window in self.closed_windows()}
        name = f"{len(wanted)} hours translated, labeled and published"
        with self.world.step(name) as progress:
            self._clear_failed(wanted)
            airflow.pause("transform", False)
            patience = _Patience(self._signs_of_transform)
            while True:
                runs = airflow.runs("transform", limit=max(100, 2 * len(wanted)))
                states = {
                    label: run["state"] for run in reversed(runs) if (label := window_of(run)) in wanted
                }
                done = sum(state == "success" for state in states.values())
                if failed := sorted(label for label, state in states.items() if state == "failed"):
                    raise AirflowError(
                        f"transform failed for {', '.join(failed)}; see {airflow.url}/dags/transform"
                    )
                if done == len(wanted):
                    return
                self.world.processes.check()
                if patience.is_over():
                    raise AirflowError(
                        f"for {STALLED_SECONDS} s no task of transform has changed its state and no log has"
                        f" grown, and {len(wanted) - done} hours are missing; see"
                        f" {airflow.url}/dags/transform"
                    )
                progress(f"{done} of {len(wanted)} done, {len(states) - done} under way")
                time.sleep(POLL_SECONDS)

    def rest(self, dag_id: str) -> None:
        """Pauses a DAG, once its runs have ended: a paused DAG's run would stay as it is."""
        while True:
            for run in self.airflow.runs(dag_id, state=["queued", "running"]):
                self.wait_for(dag_id, run["dag_run_id"])
            self.airflow.pause(dag_id, True)
            if not self.airflow.runs(dag_id, state=["queued", "running"]):
                return
            # The schedule has made a run in between.
            self.airflow.pause(dag_id, False)

    def _clear_failed(self, wanted: set[str]) -> None:
        runs = self.airflow.runs("transform", limit=max(100, 2 * len(wanted)), state=["failed"])
        for run in runs:
            if window_of(run) in wanted:
                self.airflow.clear("transform", run["dag_run_id"])

    def refresh(self) -> None:
        """Waits for the runs of insights that assets have started; without predictions starts one."""
        with self.world.step("views, aggregates and dashboards refreshed") as progress:
            deadline = time.monotonic() + ASSET_SECONDS
            begun = self.world.begun.isoformat()
            while not (runs := self.airflow.runs("insights", run_after_gte=begun)):
                if time.monotonic() > deadline:
                    runs = [{"dag_run_id": self.airflow.trigger("insights")}]
                    break
                time.sleep(POLL_SECONDS)
            while runs:
                for run in runs:
                    self.wait_for("insights", run["dag_run_id"], progress)
                runs = self.airflow.runs("insights", state=["queued", "running"])

    def _signs(self, dag_id: str, run_id: str) -> object:
        """What changes while a run makes progress: its tasks' states, and how much was logged."""
        tasks = sorted(
            (task["task_id"], task["map_index"], task["state"] or "", task["try_number"])
            for task in self.airflow.task_instances(dag_id, run_id)
        )
        logs = [self._logs(dag_id) / f"run_id={run_id}"]
        if dag_id == "train":
            logs.append(self.world.folder / "databricks")
        return tasks, sum(_size(folder) for folder in logs)

    def _signs_of_transform(self) -> object:
        """The same of all runs of transform: the schedule catches up with every missed hour, oldest first."""
        active = sorted(
            run["dag_run_id"] for run in self.airflow.runs("transform", state=["queued", "running"])
        )
        return [(run_id, self._signs("transform", run_id)) for run_id in active]

    def _logs(self, dag_id: str) -> Path:
        return self.world.folder / "airflow" / "logs" / f"dag_id={dag_id}"

    def _page(self, dag_id: str, run_id: str) -> str:
        return f"{self.airflow.url}/dags/{dag_id}/runs/{quote(run_id, safe='')}"


class _Patience:
    """Is over when the signs of progress have been the same for `STALLED_SECONDS`."""

    def __init__(self, signs: Callable[[], object]) -> None:
        self._read = signs
        self._signs: object = None
        self._since = self._looked = float("-inf")

    def is_over(self) -> bool:
        now = time.monotonic()
        if now - self._looked < LOOK_SECONDS:
            return False
        self._looked = now
        if (signs := self._read()) != self._signs:
            self._signs, self._since = signs, now
        return now - self._since > STALLED_SECONDS


def _size(folder: Path) -> int:
    """The bytes of all logs below a folder; files may come and go in the meantime."""
    total = 0
    for file in folder.rglob("*.log"):
        with contextlib.suppress(FileNotFoundError):
            total += file.stat().st_size
    return total

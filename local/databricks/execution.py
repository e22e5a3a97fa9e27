"""How runs are carried out: a thread a run and a task, clusters, retries, time limits and early ends."""

from __future__ import annotations

import logging
import shutil
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from local.databricks.cluster import Cluster, ClusterError, ClusterLostError
from local.databricks.errors import ApiError
from local.databricks.files import Files
from local.databricks.order import order_of
from local.databricks.records import Records
from local.databricks.states import decide, has_ended, now, overall, result_of, set_state, set_state_of

WORKLOAD_FAILED = "Workload failed, see run output for details"
CANCELED = "Run cancelled."

type Environment = Callable[[Path, Mapping[str, str], Mapping[str, str]], dict[str, str]]
"""A cluster's environment from its folder, Spark options and variables."""

log = logging.getLogger(__name__)


@dataclass
class _Live:
    """What a run in progress has besides its document."""

    clusters: dict[str, Cluster] = field(default_factory=dict)
    ending: tuple[str, str] | None = None
    """Result and message once the whole run is to end before its time."""
    timed_out: set[int] = field(default_factory=set)
    canceled: set[int] = field(default_factory=set)
    """Attempts, by their run ids, that are to end alone before their time."""


class Execution:
    """Carries out the runs of `Records`; the runs that an earlier server left in progress are lost."""

    def __init__(self, records: Records, files: Files, environment: Environment) -> None:
        self._records = records
        self._files = files
        self._environment = environment
        self._live: dict[int, _Live] = {}
        self._give_up_lost_runs()

    def start(self, run: dict[str, Any]) -> None:
        """Carries out a run in the background, unless the job's limit says to wait or to skip it."""
        run_id = run["run_id"]
        if self._is_crowded(run):
            if (run["settings"].get("queue") or {}).get("enabled"):
                set_state(run, "QUEUED", message="The run waits for another run of the job.")
            else:
                limit = run["settings"]["max_concurrent_runs"]
                message = f"Skipping this run because the limit of {limit} maximum concurrent runs has been"
                for document in (*run["tasks"], run):
                    set_state(document, "SKIPPED", "MAXIMUM_CONCURRENT_RUNS_REACHED", f"{message} reached.")
                self._records.save(run)
                return
        self._live[run_id] = _Live()
        self._records.save(run)
        thread = threading.Thread(target=self._carry_out, args=(run,), name=f"run-{run_id}", daemon=True)
        thread.start()

    def end(self, run: dict[str, Any], result: str, message: str) -> None:
        """Ends a run early; a run that has ended stays as it is."""
        live = self._live.get(run["run_id"])
        if live is None or has_ended(run) or live.ending is not None:
            return
        live.ending = (result, message)
        set_state(run, "TERMINATING", message=message)
        self._records.save(run)
        for cluster in live.clusters.values():
            cluster.stop()
        self._records.changed.notify_all()

    def cancel_attempt(self, run: dict[str, Any], task: dict[str, Any]) -> None:
        """Ends one attempt of a task early; an attempt that has ended stays as it is."""
        live = self._live.get(run["run_id"])
        if live is None or has_ended(task):
            return
        live.canceled.add(task["run_id"])
        identity = task.get("cluster_instance", {}).get("cluster_id")
        if identity is None:
            set_state(task, "SKIPPED", "CANCELED", CANCELED)
        elif task["state"]["life_cycle_state"] == "RUNNING":
            next(each for each in live.clusters.values() if each.identity == identity).stop()
        self._records.save(run)
        self._records.changed.notify_all()

    def close(self) -> None:
        """Ends every cluster; the next server finds the runs in progress lost."""
        with self._records.changed:
            for live in self._live.values():
                for cluster in live.clusters.values():
                    cluster.stop()

    def _give_up_lost_runs(self) -> None:
        lost = "Cluster was lost: the service was restarted while the run was in progress."
        for run in self._records.runs.values():
            if has_ended(run):
                continue
            for task in run["tasks"]:
                if not has_ended(task):
                    set_state(task, "INTERNAL_ERROR", "FAILED", lost, "CLUSTER_ERROR")
                    task["error"] = lost
            set_state(run, "INTERNAL_ERROR", "FAILED", lost, "CLUSTER_ERROR")
            set_state_of(run["repairs"][-1], run)
            self._records.save(run)
            log.warning("lost run_id=%d", run["run_id"])

    def _is_crowded(self, run: Mapping[str, Any]) -> bool:
        if run["run_type"] != "JOB_RUN":
            return False
        active = [
            other
            for other in self._records.runs.values()
            if other["job_id"] == run["job_id"]
            and other is not run
            and not has_ended(other)
            and other["state"]["life_cycle_state"] != "QUEUED"
        ]
        return len(active) >= int(run["settings"]["max_concurrent_runs"])

    def _carry_out(self, run: dict[str, Any]) -> None:
        live = self._live[run["run_id"]]
        try:
            with self._records.changed:
                while run["state"]["life_cycle_state"] == "QUEUED" and live.ending is None:
                    if self._is_crowded(run):
                        self._records.changed.wait(1)
                    else:
                        set_state(run, "PENDING")
            life = "TERMINATED"
            result, message = self._carry_out_tasks(run, live)
        except Exception as error:
            log.exception("failed run_id=%d", run["run_id"])
            life, result, message = "INTERNAL_ERROR", "FAILED", f"Unexpected failure: {error}"
        for cluster in live.clusters.values():
            cluster.stop()
        for folder in (self._records.folder / str(run["run_id"])).glob("clusters/*/scratch"):
            shutil.rmtree(folder, ignore_errors=True)
        with self._records.changed:
            for document in (*run["tasks"], run):
                if not has_ended(document):
                    set_state(document, life, result, message)
            del self._live[run["run_id"]]
            set_state_of(run["repairs"][-1], run)
            self._records.save(run)
            self._records.changed.notify_all()
        log.info("ended run_id=%d result=%s", run["run_id"], result)

    def _carry_out_tasks(self, run: dict[str, Any], live: _Live) -> tuple[str, str]:
        """Starts each task once those that it depends on have ended; returns the run's result and message."""
        settings = {task["task_key"]: task for task in run["settings"]["tasks"]}
        seconds = run["settings"].get("timeout_seconds") or 0
        deadline = time.monotonic() + seconds if seconds else None
        started: set[str] = set()
        with self._records.changed:
            if live.ending is None:
                run["begin_time"] = now()
                set_state(run, "RUNNING", message="In run")
                self._records.save(run)
            while True:
                self._records.changed.notify_all()
                tasks = {task["task_key"]: task for task in run["tasks"]}
                waiting = [
                    task for task in tasks.values() if not has_ended(task) and task["task_key"] not in started
                ]
                if live.ending is not None:
                    for task in waiting:
                        set_state(task, "SKIPPED", "CANCELED", live.ending[1])
                    waiting = []
                progress = False
                for task in waiting:
                    upstream = [tasks[edge["task_key"]] for edge in task["depends_on"]]
                    if not all(has_ended(other) for other in upstream):
                        continue
                    progress = True
                    key = task["task_key"]
                    outcome = decide(settings[key]["run_if"], (result_of(other) for other in upstream))
                    if outcome is None:
                        started.add(key)
                        threading.Thread(
                            target=self._run_task, args=(run, live, settings[key]), name=key, daemon=True
                        ).start()
                    else:
                        life = "TERMINATED" if outcome == "EXCLUDED" else "SKIPPED"
                        set_state(task, life, outcome, "An upstream task failed.")
                        self._records.save(run)
                if progress:
                    continue
                if all(has_ended(task) for task in run["tasks"]):
                    break
                left = None if deadline is None else deadline - time.monotonic()
                if left is not None and left <= 0 and live.ending is None:
                    self.end(run, "TIMEDOUT", f"Run timed out after {seconds} seconds.")
                    continue
                self._records.changed.wait(left if left and left > 0 else 5)
            return live.ending or overall(run["tasks"])

    def _run_task(self, run: dict[str, Any], live: _Live, settings: Mapping[str, Any]) -> None:
        """Carries out one task, attempt after attempt."""
        retries = settings["max_retries"]
        while True:
            with self._records.changed:
                task = next(each for each in run["tasks"] if each["task_key"] == settings["task_key"])
            try:
                self._run_attempt(run, live, settings, task)
            except Exception as error:
                log.exception("failed task_run_id=%d", task["run_id"])
                with self._records.changed:
                    set_state(task, "INTERNAL_ERROR", "FAILED", f"Unexpected failure: {error}")
            with self._records.changed:
                again = result_of(task) == "FAILED" or (
                    result_of(task) == "TIMEDOUT" and settings.get("retry_on_timeout")
                )
                if not again or retries == 0 or live.ending is not None:
                    self._records.save(run)
                    self._records.changed.notify_all()
                    return
                retries -= 1
                [renewed] = self._records.add_attempts(run, [settings["task_key"]])
                set_state(renewed, "PENDING", message="Waiting for retry")
                self._records.save(run)
                self._records.changed.wait(settings["min_retry_interval_millis"] / 1000)

    def _run_attempt(
        self, run: dict[str, Any], live: _Live, settings: Mapping[str, Any], task: dict[str, Any]
    ) -> None:
        try:
            log_path = self._records.log_path(run["run_id"], task["run_id"])
            order = order_of(run, settings, task, self._files, log_path)
            cluster = self._cluster(run, live, settings)
        except ApiError as error:
            self._fail(run, task, "INTERNAL_ERROR", str(error), "LIBRARY_INSTALLATION_ERROR")
            return
        except ClusterError as error:
            self._fail(run, task, "INTERNAL_ERROR", str(error), "CLUSTER_ERROR")
            return
        with self._records.changed:
            task["cluster_instance"] = {"cluster_id": cluster.identity}
            set_state(task, "PENDING", message="Waiting for cluster")
            self._records.save(run)
        with cluster.turn():
            with self._records.changed:
                if live.ending is not None or task["run_id"] in live.canceled:
                    set_state(task, "TERMINATED", "CANCELED", CANCELED)
                    return
                task["begin_time"] = now()
                set_state(task, "RUNNING", message="In run")
                self._records.save(run)
                self._records.changed.notify_all()
            seconds = settings["timeout_seconds"]

            def time_out() -> None:
                live.timed_out.add(task["run_id"])
                cluster.stop()

            timer = threading.Timer(seconds, time_out)
            if seconds:
                timer.start()
            try:
                outcome = cluster.run(order)
            except ClusterLostError as error:
                outcome = {"state": "LOST", "error": str(error)}
            finally:
                timer.cancel()
        with self._records.changed:
            if outcome["state"] == "SUCCESS":
                set_state(task, "TERMINATED", "SUCCESS")
            elif live.ending is not None or task["run_id"] in live.canceled:
                set_state(task, "TERMINATED", "CANCELED", live.ending[1] if live.ending else CANCELED)
            elif task["run_id"] in live.timed_out:
                set_state(task, "TERMINATED", "TIMEDOUT", f"Run timed out after {seconds} seconds.")
                task["error"] = f"The task was ended after {seconds} seconds: {self._last_words(task)}"
            elif outcome["state"] == "LIBRARY":
                message = f"Library installation failed for library due to user error: {outcome['error']}"
                self._fail(run, task, "INTERNAL_ERROR", message, "LIBRARY_INSTALLATION_ERROR")
            elif outcome["state"] == "LOST":
                message = (
                    f"Could not reach driver of cluster {cluster.identity}: {outcome['error']}. The task's"
                    f" last lines: {self._last_words(task)}"
                )
                self._fail(run, task, "INTERNAL_ERROR", message, "DRIVER_ERROR")
            else:
                task["error_trace"] = outcome["trace"]
                task["error"] = outcome["error"]
                set_state(task, "TERMINATED", "FAILED", WORKLOAD_FAILED)

    def _fail(self, run: dict[str, Any], task: dict[str, Any], life: str, message: str, code: str) -> None:
        with self._records.changed:
            task["error"] = message
            set_state(task, life, "FAILED", message, code)
            self._records.save(run)

    def _last_words(self, task: Mapping[str, Any]) -> str:
        text, _ = self._records.log_of(task, 4096)
        return " | ".join(text.strip().splitlines()[-5:]) or "it wrote nothing"

    def _cluster(self, run: Mapping[str, Any], live: _Live, settings: Mapping[str, Any]) -> Cluster:
        """The task's cluster: one for all tasks of the run that name the same."""
        if shared := settings.get("job_cluster_key"):
            key = f"job-{shared}"
            given = next(
                each["new_cluster"]
                for each in run["settings"]["job_clusters"]
                if each["job_cluster_key"] == shared
            )
        elif shared := settings.get("environment_key"):
            key, given = f"serverless-{shared}", {}
        else:
            key, given = f"task-{settings['task_key']}", settings["new_cluster"]
        with self._records.changed:
            if key not in live.clusters:
                name = f"{key}-{len(run['repairs']) - 1}"
                folder = self._records.folder / str(run["run_id"]) / "clusters" / name
                variables = self._environment(
                    folder, given.get("spark_conf") or {}, given.get("spark_env_vars") or {}
                )
                live.clusters[key] = Cluster(folder, variables)
            return live.clusters[key]

"""Jobs and their runs: what is kept of them, and the threads that carry runs out."""

from __future__ import annotations

import hashlib
import json
import logging
import random
import re
import shutil
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from local.databricks.cluster import Cluster, ClusterError, ClusterLostError
from local.databricks.errors import ApiError, invalid, unknown
from local.databricks.files import Files
from local.databricks.settings import check_job, check_submit, check_token, truth, whole
from local.databricks.states import decide, has_ended, now, overall, result_of, set_state
from local.databricks.store import Store

USER = "x-opinion@localhost"
MAXIMUM_OUTPUT = 5 * 2**20
"""Bytes of a task's output that the API returns: the last 5 MB."""
WORKLOAD_FAILED = "Workload failed, see run output for details"
CANCELED = "Run cancelled."

_REFERENCE = re.compile(r"\{\{\s*([\w.]+)\s*\}\}")

type Environment = Callable[[Path, Mapping[str, str], Mapping[str, str]], dict[str, str]]
"""A cluster's environment from its folder, Spark options and variables."""

log = logging.getLogger(__name__)


@dataclass
class Live:
    """What a run under way has beside its document."""

    clusters: dict[str, Cluster] = field(default_factory=dict)
    ending: tuple[str, str] | None = None
    """Result and message once the whole run is to end before its time."""
    timed_out: set[int] = field(default_factory=set)
    canceled: set[int] = field(default_factory=set)
    """Attempts, by their run ids, that are to end alone before their time."""


class Runs:
    """All jobs and runs. Public methods take and return what the Jobs API does; they raise `ApiError`."""

    def __init__(self, folder: Path, files: Files, environment: Environment, url: str) -> None:
        self._folder = folder / "runs"
        self._files = files
        self._environment = environment
        self._url = url
        self._store = Store(folder / "state.sqlite")
        self._changed = threading.Condition(threading.RLock())
        self._jobs = {int(key): body for key, body in self._store.all("job").items()}
        self._runs = {int(key): body for key, body in self._store.all("run").items()}
        self._tokens: dict[str, int] = self._store.all("token")
        self._permissions: dict[str, Any] = self._store.all("permissions")
        self._live: dict[int, Live] = {}
        self._by_task = {
            task["run_id"]: run["run_id"]
            for run in self._runs.values()
            for task in (*run["tasks"], *run["attempts"])
        }
        self._give_up_lost_runs()

    def _give_up_lost_runs(self) -> None:
        lost = "Cluster was lost: the service was restarted while the run was under way."
        for run in self._runs.values():
            if has_ended(run):
                continue
            for task in run["tasks"]:
                if not has_ended(task):
                    set_state(task, "INTERNAL_ERROR", "FAILED", lost, "CLUSTER_ERROR")
                    task["error"] = lost
            set_state(run, "INTERNAL_ERROR", "FAILED", lost, "CLUSTER_ERROR")
            set_state_of(run["repairs"][-1], run)
            self._save(run)
            log.warning("lost run_id=%d", run["run_id"])

    def create_job(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Keeps a job."""
        settings = dict(request)
        access = settings.pop("access_control_list", None)
        checked = check_job(settings)
        with self._changed:
            job_id = self._new_identity()
            self._jobs[job_id] = {"job_id": job_id, "created_time": now(), "settings": checked, "runs": 0}
            self._store.put("job", job_id, self._jobs[job_id])
            if access is not None:
                self.set_permissions(job_id, {"access_control_list": access})
        return {"job_id": job_id}

    def job(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """One job with its settings."""
        return self._public_job(self._job(request), expand=True)

    def list_jobs(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """A page of jobs, the newest first."""
        limit = self._limit(request, 20, 100)
        expand = truth(request.get("expand_tasks", False), "expand_tasks")
        name = request.get("name")
        with self._changed:
            jobs = [
                job
                for job in reversed(self._jobs.values())
                if name is None or job["settings"]["name"].lower() == str(name).lower()
            ]
            page = self._page(jobs, request, limit)
            return {**page, "jobs": [self._public_job(job, expand) for job in page["jobs"]]}

    def reset_job(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Replaces all settings of a job."""
        return self._change_job(request, lambda _: check_job(self._new_settings(request)))

    def update_job(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Changes some settings of a job; tasks and job clusters are merged by their keys."""
        removed = request.get("fields_to_remove") or []
        if any("/" in name for name in removed):
            raise invalid("fields_to_remove of single tasks or clusters is not supported.")

        def change(settings: dict[str, Any]) -> dict[str, Any]:
            changed = {name: value for name, value in settings.items() if name not in removed}
            keys = {"tasks": "task_key", "job_clusters": "job_cluster_key", "parameters": "name"}
            for name, value in (request.get("new_settings") or {}).items():
                if name in keys and name in changed:
                    merged = {entry[keys[name]]: entry for entry in (*changed[name], *value)}
                    changed[name] = list(merged.values())
                else:
                    changed[name] = value
            return check_job(changed)

        return self._change_job(request, change)

    def delete_job(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Deletes a job; its runs stay."""
        with self._changed:
            job_id = self._job(request)["job_id"]
            del self._jobs[job_id]
            self._store.delete("job", job_id)
        return {}

    def permissions(self, job_id: int) -> dict[str, Any]:
        """A job's access control list."""
        with self._changed:
            self._job({"job_id": job_id})
            given = self._permissions.get(str(job_id), [])
        owner = {"user_name": USER, "all_permissions": [{"permission_level": "IS_OWNER", "inherited": False}]}
        listed = [
            {
                **{name: value for name, value in entry.items() if name != "permission_level"},
                "all_permissions": [{"permission_level": entry["permission_level"], "inherited": False}],
            }
            for entry in given
        ]
        has_owner = any(entry["permission_level"] == "IS_OWNER" for entry in given)
        return {
            "object_id": f"/jobs/{job_id}",
            "object_type": "job",
            "access_control_list": listed if has_owner else [owner, *listed],
        }

    def set_permissions(
        self, job_id: int, request: Mapping[str, Any], *, replace: bool = True
    ) -> dict[str, Any]:
        """Replaces a job's access control list, or adds to it."""
        levels = ("CAN_VIEW", "CAN_MANAGE_RUN", "CAN_MANAGE", "IS_OWNER")
        principals = ("user_name", "group_name", "service_principal_name")
        entries = request.get("access_control_list") or []
        for entry in entries:
            if entry.get("permission_level") not in levels:
                raise invalid(f"permission_level must be one of {', '.join(levels)}.")
            if sum(name in entry for name in principals) != 1:
                raise invalid(f"An entry names exactly one of {', '.join(principals)}.")
        with self._changed:
            self._job({"job_id": job_id})
            kept = [] if replace else self._permissions.get(str(job_id), [])
            named = {
                json.dumps([entry.get(name) for name in principals]): entry for entry in (*kept, *entries)
            }
            self._permissions[str(job_id)] = list(named.values())
            self._store.put("permissions", job_id, self._permissions[str(job_id)])
        return self.permissions(job_id)

    def run_now(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Starts a run of a job; the same idempotency token gives the same run."""
        token = check_token(request.get("idempotency_token"))
        overriding = {name: request[name] for name in _OVERRIDING if request.get(name)}
        given = {str(name): str(value) for name, value in (request.get("job_parameters") or {}).items()}
        for name in (
            "jar_params",
            "notebook_params",
            "spark_submit_params",
            "dbt_commands",
            "pipeline_params",
        ):
            if request.get(name):
                raise invalid(f"{name} means a task type that this job does not have.")
        if given and overriding:
            raise invalid("job_parameters cannot be given together with python_params.")
        if any(len(json.dumps(value)) > 10_000 for value in overriding.values()):
            raise invalid("The JSON of python_params must have at most 10,000 bytes.")
        with self._changed:
            job = self._job(request)
            if token and (known := self._tokens.get(f"job {job['job_id']} {token}")):
                return {"run_id": known, "number_in_job": known}
            parameters = self._job_parameters(job["settings"], given)
            run = self._new_run(job["settings"], job["job_id"], "JOB_RUN", overriding, parameters)
            job["runs"] += 1
            run["number_in_job"] = job["runs"]
            self._store.put("job", job["job_id"], job)
            self._start(run, f"job {job['job_id']} {token}" if token else None)
        return {"run_id": run["run_id"], "number_in_job": run["number_in_job"]}

    def submit(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Starts a one-time run; the same idempotency token gives the same run."""
        request = dict(request)
        token = check_token(request.pop("idempotency_token", None))
        request.pop("access_control_list", None)
        settings = check_submit(request)
        with self._changed:
            if token and (known := self._tokens.get(f"submit {token}")):
                return {"run_id": known}
            run = self._new_run(settings, self._new_identity(), "SUBMIT_RUN", {}, {})
            self._start(run, f"submit {token}" if token else None)
        return {"run_id": run["run_id"]}

    def run(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """A run with its latest attempts, or one attempt of a task by its own run id."""
        run_id = whole(request.get("run_id", ""), "run_id")
        with self._changed:
            if run_id in self._by_task:
                return self._public_task(self._attempt(run_id), self._runs[self._by_task[run_id]])
            run = self._run(run_id)
            history = truth(request.get("include_history", False), "include_history")
            return self._public_run(run, request, history=history)

    def list_runs(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """A page of runs, the newest first."""
        limit = self._limit(request, 20, 25)
        flags = {
            name: truth(request.get(name, False), name)
            for name in ("active_only", "completed_only", "expand_tasks")
        }
        if flags["active_only"] and flags["completed_only"]:
            raise invalid("active_only and completed_only cannot both be true.")
        job_id = whole(request["job_id"], "job_id") if request.get("job_id") else None
        first = whole(request.get("start_time_from") or 0, "start_time_from")
        last = whole(request.get("start_time_to") or 2**62, "start_time_to")
        with self._changed:
            runs = [
                run
                for run in sorted(self._runs.values(), key=lambda run: -run["start_time"])
                if (job_id is None or run["job_id"] == job_id)
                and first <= run["start_time"] <= last
                and not (flags["active_only"] and has_ended(run))
                and not (flags["completed_only"] and not has_ended(run))
                and request.get("run_type", run["run_type"]) == run["run_type"]
            ]
            page = self._page(runs, request, limit, "runs")
            listed = [self._public_run(run, {}) for run in page["runs"]]
        if not flags["expand_tasks"]:
            for run in listed:
                run.pop("tasks", None)
        return {**page, "runs": listed}

    def output(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """What one attempt of a task printed, and its error."""
        run_id = whole(request.get("run_id", ""), "run_id")
        with self._changed:
            if run_id not in self._by_task:
                run = self._run(run_id)
                if len(run["tasks"]) > 1:
                    raise invalid(
                        "Retrieving the output of runs with multiple tasks is not supported."
                        " Please retrieve the output of each individual task run instead."
                    )
                run_id = run["tasks"][0]["run_id"]
            task = self._attempt(run_id)
            metadata = self._public_task(task, self._runs[self._by_task[run_id]])
        logs, truncated = self.log_of(task)
        found = {"metadata": metadata, "logs": logs, "logs_truncated": truncated}
        return {**found, **{name: task[name] for name in ("error", "error_trace") if task.get(name)}}

    def log_of(self, task: Mapping[str, Any], limit: int = MAXIMUM_OUTPUT) -> tuple[str, bool]:
        """The end of what an attempt printed, and whether there was more before it."""
        path = self._log_path(self._by_task[task["run_id"]], task["run_id"])
        if not path.exists():
            return "", False
        with path.open("rb") as content:
            size = content.seek(0, 2)
            content.seek(max(0, size - limit))
            return content.read().decode(errors="replace"), size > limit

    def cancel(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Ends a run, or one attempt of a task alone; what has ended stays as it is."""
        run_id = whole(request.get("run_id", ""), "run_id")
        with self._changed:
            if run_id in self._by_task:
                self._cancel_attempt(self._runs[self._by_task[run_id]], self._attempt(run_id))
            else:
                self._end(self._run(run_id), "CANCELED", CANCELED)
        return {}

    def _cancel_attempt(self, run: dict[str, Any], task: dict[str, Any]) -> None:
        live = self._live.get(run["run_id"])
        if live is None or has_ended(task):
            return
        live.canceled.add(task["run_id"])
        identity = task.get("cluster_instance", {}).get("cluster_id")
        if identity is None:
            set_state(task, "SKIPPED", "CANCELED", CANCELED)
        elif task["state"]["life_cycle_state"] == "RUNNING":
            next(each for each in live.clusters.values() if each.identity == identity).stop()
        self._save(run)
        self._changed.notify_all()

    def cancel_all(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Ends every run of a job."""
        with self._changed:
            job_id = self._job(request)["job_id"]
            for run in self._runs.values():
                if run["job_id"] == job_id:
                    self._end(run, "CANCELED", CANCELED)
        return {}

    def delete_run(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Forgets a run that has ended."""
        with self._changed:
            run = self._run(whole(request.get("run_id", ""), "run_id"))
            if not has_ended(run):
                raise ApiError(400, "INVALID_STATE", f"Run {run['run_id']} is active; cancel it first.")
            del self._runs[run["run_id"]]
            self._store.delete("run", run["run_id"])
            for task in (*run["tasks"], *run["attempts"]):
                del self._by_task[task["run_id"]]
        shutil.rmtree(self._folder / str(run["run_id"]), ignore_errors=True)
        return {}

    def repair(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Runs tasks of an ended run again, with the job's present settings, as attempts of their own."""
        with self._changed:
            run = self._run(whole(request.get("run_id", ""), "run_id"))
            latest = run["repairs"][-1]["id"] if len(run["repairs"]) > 1 else None
            given = request.get("latest_repair_id")
            if latest is not None and (given is None or whole(given, "latest_repair_id") != latest):
                raise invalid(
                    f"latest_repair_id must be {latest}, the latest repair of run {run['run_id']}: the run"
                    " may have been repaired by someone else."
                )
            if latest is None and given:
                raise invalid(f"Run {run['run_id']} has not been repaired: leave out latest_repair_id.")
            if not has_ended(run):
                raise ApiError(
                    400, "INVALID_STATE", f"Run {run['run_id']} is active: only an ended run can be repaired."
                )
            keys = self._to_repair(run, request)
            settings = (
                self._jobs[run["job_id"]]["settings"] if run["job_id"] in self._jobs else run["settings"]
            )
            missing = sorted(keys - {task["task_key"] for task in settings["tasks"]})
            if missing:
                raise invalid(f"The job has no task '{missing[0]}' any more.")
            run["settings"] = settings
            for name in _OVERRIDING:
                if request.get(name):
                    run["overriding"][name] = request[name]
            given_parameters = request.get("job_parameters") or {}
            run["job_parameters"].update({str(key): str(value) for key, value in given_parameters.items()})
            renewed = self._attempts_of(run, keys)
            repair = {
                "type": "REPAIR",
                "id": self._new_identity(),
                "start_time": now(),
                "task_run_ids": [task["run_id"] for task in renewed],
            }
            run["repairs"].append(repair)
            set_state(run, "PENDING")
            run.pop("end_time", None)
            set_state_of(repair, run)
            self._start(run, None)
        return {"repair_id": repair["id"]}

    def runs_page(self, run_id: int) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """A run and all its attempts, the latest first, for the page that people see."""
        with self._changed:
            run = self._run(run_id)
            attempts = [self._public_task(task, run) for task in (*run["tasks"], *reversed(run["attempts"]))]
            return self._public_run(run, {}), attempts

    def close(self) -> None:
        """Ends every cluster; what was under way is found lost at the next start."""
        with self._changed:
            for live in self._live.values():
                for cluster in live.clusters.values():
                    cluster.stop()
        self._store.close()

    def _to_repair(self, run: Mapping[str, Any], request: Mapping[str, Any]) -> set[str]:
        known = {task["task_key"]: task for task in run["tasks"]}
        keys = set(request.get("rerun_tasks") or [])
        if request.get("rerun_all_failed_tasks"):
            if keys:
                raise invalid("Only one of rerun_tasks and rerun_all_failed_tasks may be specified.")
            keys = {key for key, task in known.items() if result_of(task) not in ("SUCCESS", "EXCLUDED")}
        if unknown_keys := sorted(keys - known.keys()):
            raise invalid(f"Run {run['run_id']} has no task '{unknown_keys[0]}'.")
        if not keys:
            raise invalid("A repair needs tasks to rerun: rerun_tasks or rerun_all_failed_tasks.")
        if truth(request.get("rerun_dependent_tasks", False), "rerun_dependent_tasks"):
            while more := {
                key
                for key, task in known.items()
                if key not in keys and keys & {edge["task_key"] for edge in task["depends_on"]}
            }:
                keys |= more
        return keys

    def _attempts_of(self, run: dict[str, Any], keys: Iterable[str]) -> list[dict[str, Any]]:
        """Puts a new attempt of each task into a run, in place of an earlier one."""
        keys = set(keys)
        earlier = {task["task_key"]: task for task in run["tasks"]}
        renewed = []
        for settings in run["settings"]["tasks"]:
            if (key := settings["task_key"]) not in keys:
                continue
            attempt = {
                "run_id": self._new_identity(),
                "task_key": key,
                "depends_on": settings["depends_on"],
                "attempt_number": earlier[key]["attempt_number"] + 1 if key in earlier else 0,
                "start_time": now(),
                "setup_duration": 0,
                "execution_duration": 0,
                "cleanup_duration": 0,
            }
            set_state(attempt, "PENDING")
            self._by_task[attempt["run_id"]] = run["run_id"]
            renewed.append(attempt)
            if key in earlier:
                run["attempts"].append(earlier[key])
        latest = {**earlier, **{task["task_key"]: task for task in renewed}}
        run["tasks"] = list(latest.values())
        return renewed

    def _new_run(
        self,
        settings: Mapping[str, Any],
        job_id: int,
        run_type: str,
        overriding: Mapping[str, Any],
        parameters: Mapping[str, str],
    ) -> dict[str, Any]:
        run: dict[str, Any] = {
            "run_id": self._new_identity(),
            "job_id": job_id,
            "run_type": run_type,
            "number_in_job": 1,
            "settings": settings,
            "overriding": dict(overriding),
            "job_parameters": dict(parameters),
            "start_time": now(),
            "setup_duration": 0,
            "execution_duration": 0,
            "cleanup_duration": 0,
            "tasks": [],
            "attempts": [],
            "repairs": [],
        }
        set_state(run, "PENDING")
        tasks = self._attempts_of(run, [task["task_key"] for task in settings["tasks"]])
        run["repairs"].append(
            {"type": "ORIGINAL", "start_time": now(), "task_run_ids": [task["run_id"] for task in tasks]}
        )
        set_state_of(run["repairs"][0], run)
        return run

    def _start(self, run: dict[str, Any], token: str | None) -> None:
        """Keeps a run and carries it out, unless the job's limit says to wait or to skip it."""
        run_id = run["run_id"]
        self._runs[run_id] = run
        if token:
            self._tokens[token] = run_id
            self._store.put("token", token, run_id)
        if self._is_crowded(run):
            if (run["settings"].get("queue") or {}).get("enabled"):
                set_state(run, "QUEUED", message="The run waits for another run of the job.")
            else:
                limit = run["settings"]["max_concurrent_runs"]
                message = f"Skipping this run because the limit of {limit} maximum concurrent runs has been"
                for document in (*run["tasks"], run):
                    set_state(document, "SKIPPED", "MAXIMUM_CONCURRENT_RUNS_REACHED", f"{message} reached.")
                self._save(run)
                return
        self._live[run_id] = Live()
        self._save(run)
        thread = threading.Thread(target=self._carry_out, args=(run,), name=f"run-{run_id}", daemon=True)
        thread.start()

    def _is_crowded(self, run: Mapping[str, Any]) -> bool:
        if run["run_type"] != "JOB_RUN":
            return False
        active = [
            other
            for other in self._runs.values()
            if other["job_id"] == run["job_id"]
            and other is not run
            and not has_ended(other)
            and other["state"]["life_cycle_state"] != "QUEUED"
        ]
        return len(active) >= int(run["settings"]["max_concurrent_runs"])

    def _carry_out(self, run: dict[str, Any]) -> None:
        live = self._live[run["run_id"]]
        try:
            with self._changed:
                while run["state"]["life_cycle_state"] == "QUEUED" and live.ending is None:
                    if self._is_crowded(run):
                        self._changed.wait(1)
                    else:
                        set_state(run, "PENDING")
            life = "TERMINATED"
            result, message = self._carry_out_tasks(run, live)
        except Exception as error:
            log.exception("failed run_id=%d", run["run_id"])
            life, result, message = "INTERNAL_ERROR", "FAILED", f"Unexpected failure: {error}"
        for cluster in live.clusters.values():
            cluster.stop()
        for folder in (self._folder / str(run["run_id"])).glob("clusters/*/scratch"):
            shutil.rmtree(folder, ignore_errors=True)
        with self._changed:
            for document in (*run["tasks"], run):
                if not has_ended(document):
                    set_state(document, life, result, message)
            del self._live[run["run_id"]]
            set_state_of(run["repairs"][-1], run)
            self._save(run)
            self._changed.notify_all()
        log.info("ended run_id=%d result=%s", run["run_id"], result)

    def _carry_out_tasks(self, run: dict[str, Any], live: Live) -> tuple[str, str]:
        """Starts each task once those that it depends on have ended; returns the run's result and message."""
        settings = {task["task_key"]: task for task in run["settings"]["tasks"]}
        seconds = run["settings"].get("timeout_seconds") or 0
        deadline = time.monotonic() + seconds if seconds else None
        started: set[str] = set()
        with self._changed:
            if live.ending is None:
                run["begin_time"] = now()
                set_state(run, "RUNNING", message="In run")
                self._save(run)
            while True:
                self._changed.notify_all()
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
                        self._save(run)
                if progress:
                    continue
                if all(has_ended(task) for task in run["tasks"]):
                    break
                left = None if deadline is None else deadline - time.monotonic()
                if left is not None and left <= 0 and live.ending is None:
                    self._end(run, "TIMEDOUT", f"Run timed out after {seconds} seconds.")
                    continue
                self._changed.wait(left if left and left > 0 else 5)
            return live.ending or overall(run["tasks"])

    def _run_task(self, run: dict[str, Any], live: Live, settings: Mapping[str, Any]) -> None:
        """Carries out one task, attempt after attempt."""
        retries = settings["max_retries"]
        while True:
            with self._changed:
                task = next(each for each in run["tasks"] if each["task_key"] == settings["task_key"])
            try:
                self._run_attempt(run, live, settings, task)
            except Exception as error:
                log.exception("failed task_run_id=%d", task["run_id"])
                with self._changed:
                    set_state(task, "INTERNAL_ERROR", "FAILED", f"Unexpected failure: {error}")
            with self._changed:
                again = result_of(task) == "FAILED" or (
                    result_of(task) == "TIMEDOUT" and settings.get("retry_on_timeout")
                )
                if not again or retries == 0 or live.ending is not None:
                    self._save(run)
                    self._changed.notify_all()
                    return
                retries -= 1
                [renewed] = self._attempts_of(run, [settings["task_key"]])
                set_state(renewed, "PENDING", message="Waiting for retry")
                self._save(run)
                self._changed.wait(settings["min_retry_interval_millis"] / 1000)

    def _run_attempt(
        self, run: dict[str, Any], live: Live, settings: Mapping[str, Any], task: dict[str, Any]
    ) -> None:
        try:
            order = self._order(run, settings, task)
            cluster = self._cluster(run, live, settings)
        except ApiError as error:
            self._fail(run, task, "INTERNAL_ERROR", str(error), "LIBRARY_INSTALLATION_ERROR")
            return
        except ClusterError as error:
            self._fail(run, task, "INTERNAL_ERROR", str(error), "CLUSTER_ERROR")
            return
        with self._changed:
            task["cluster_instance"] = {"cluster_id": cluster.identity}
            set_state(task, "PENDING", message="Waiting for cluster")
            self._save(run)
        with cluster.turn():
            with self._changed:
                if live.ending is not None or task["run_id"] in live.canceled:
                    set_state(task, "TERMINATED", "CANCELED", CANCELED)
                    return
                task["begin_time"] = now()
                set_state(task, "RUNNING", message="In run")
                self._save(run)
                self._changed.notify_all()
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
        with self._changed:
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
        with self._changed:
            task["error"] = message
            set_state(task, life, "FAILED", message, code)
            self._save(run)

    def _last_words(self, task: Mapping[str, Any]) -> str:
        text, _ = self.log_of(task, 4096)
        return " | ".join(text.strip().splitlines()[-5:]) or "it wrote nothing"

    def _order(
        self, run: Mapping[str, Any], settings: Mapping[str, Any], task: Mapping[str, Any]
    ) -> dict[str, Any]:
        """What the driver is told to do."""
        values = self._references(run, task)

        def filled(text: object) -> str:
            return _REFERENCE.sub(lambda found: values.get(found[1], found[0]), str(text))

        libraries = [each["whl"] for each in settings.get("libraries") or []]
        for environment in run["settings"].get("environments") or []:
            if environment["environment_key"] == settings.get("environment_key"):
                libraries += (environment.get("spec") or {}).get("dependencies") or []
        wheels = [self._files.file(path) for path in libraries]
        path = self._log_path(run["run_id"], task["run_id"])
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        order: dict[str, Any] = {
            "log": str(path),
            "wheels": [(str(wheel), hashlib.sha256(wheel.read_bytes()).hexdigest()) for wheel in wheels],
        }
        overriding = run["overriding"].get("python_params")
        if program := settings.get("spark_python_task"):
            parameters = overriding or program.get("parameters") or []
            file = str(self._files.file(program["python_file"]))
            return {
                **order,
                "kind": "file",
                "file": file,
                "parameters": [filled(each) for each in parameters],
            }
        program = settings["python_wheel_task"]
        named = {
            **(program.get("named_parameters") or {}),
            **run["overriding"].get("python_named_params", {}),
        }
        parameters = overriding or program.get("parameters") or []
        if not parameters:
            named = {**run["job_parameters"], **named}
        words = [filled(each) for each in parameters] + [f"--{key}={filled(named[key])}" for key in named]
        names = {name: program[name] for name in ("package_name", "entry_point")}
        return {**order, **names, "kind": "wheel", "parameters": words}

    def _references(self, run: Mapping[str, Any], task: Mapping[str, Any]) -> dict[str, str]:
        """Dynamic value references (docs.databricks.com/en/jobs/dynamic-value-references.html)."""
        started = time.gmtime(run["start_time"] / 1000)
        values = {
            "job.id": run["job_id"],
            "job.name": run["settings"]["name"],
            "job.run_id": run["run_id"],
            "job.repair_count": len(run["repairs"]) - 1,
            "job.start_time.iso_date": time.strftime("%Y-%m-%d", started),
            "job.start_time.iso_datetime": time.strftime("%Y-%m-%dT%H:%M:%S", started),
            "task.name": task["task_key"],
            "task.run_id": task["run_id"],
            "task.execution_count": task["attempt_number"] + 1,
            "job_id": run["job_id"],
            "run_id": task["run_id"],
            "parent_run_id": run["run_id"],
            **{f"job.parameters.{name}": value for name, value in run["job_parameters"].items()},
        }
        return {name: str(value) for name, value in values.items()}

    def _cluster(self, run: Mapping[str, Any], live: Live, settings: Mapping[str, Any]) -> Cluster:
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
        with self._changed:
            if key not in live.clusters:
                name = f"{key}-{len(run['repairs']) - 1}"
                folder = self._folder / str(run["run_id"]) / "clusters" / name
                variables = self._environment(
                    folder, given.get("spark_conf") or {}, given.get("spark_env_vars") or {}
                )
                live.clusters[key] = Cluster(folder, variables)
            return live.clusters[key]

    def _end(self, run: dict[str, Any], result: str, message: str) -> None:
        """Has a run end before its time; nothing happens to one that has ended."""
        live = self._live.get(run["run_id"])
        if live is None or has_ended(run) or live.ending is not None:
            return
        live.ending = (result, message)
        set_state(run, "TERMINATING", message=message)
        self._save(run)
        for cluster in live.clusters.values():
            cluster.stop()
        self._changed.notify_all()

    def _save(self, run: Mapping[str, Any]) -> None:
        self._store.put("run", run["run_id"], run)

    def _new_identity(self) -> int:
        """As the service's: of 15 digits, in no order."""
        while True:
            identity = random.randrange(10**14, 10**15)  # noqa: S311 - no secret
            if identity not in self._jobs and identity not in self._runs and identity not in self._by_task:
                return identity

    def _job(self, request: Mapping[str, Any]) -> dict[str, Any]:
        job_id = whole(request.get("job_id", ""), "job_id")
        if job_id not in self._jobs:
            raise unknown("Job", job_id)
        job: dict[str, Any] = self._jobs[job_id]
        return job

    def _run(self, run_id: int) -> dict[str, Any]:
        if run_id not in self._runs:
            raise unknown("Run", run_id)
        run: dict[str, Any] = self._runs[run_id]
        return run

    def _attempt(self, task_run_id: int) -> dict[str, Any]:
        run = self._runs[self._by_task[task_run_id]]
        return next(task for task in (*run["tasks"], *run["attempts"]) if task["run_id"] == task_run_id)

    def _log_path(self, run_id: int, task_run_id: int) -> Path:
        return self._folder / str(run_id) / f"{task_run_id}.log"

    def _new_settings(self, request: Mapping[str, Any]) -> dict[str, Any]:
        settings = request.get("new_settings")
        if not isinstance(settings, Mapping):
            raise invalid("new_settings must be specified.")
        return {name: value for name, value in settings.items() if name != "access_control_list"}

    def _change_job(
        self, request: Mapping[str, Any], change: Callable[[dict[str, Any]], dict[str, Any]]
    ) -> dict[str, Any]:
        with self._changed:
            job = self._job(request)
            job["settings"] = change(job["settings"])
            self._store.put("job", job["job_id"], job)
        return {}

    def _job_parameters(self, settings: Mapping[str, Any], given: Mapping[str, str]) -> dict[str, str]:
        defined = {each["name"]: str(each["default"]) for each in settings.get("parameters") or []}
        if undefined := sorted(given.keys() - defined.keys()):
            raise invalid(f"Job parameter '{undefined[0]}' is not defined.")
        return {**defined, **given}

    def _public_job(self, job: Mapping[str, Any], expand: bool) -> dict[str, Any]:
        hidden = () if expand else ("tasks", "job_clusters", "environments", "parameters")
        settings = {name: value for name, value in job["settings"].items() if name not in hidden}
        return {
            "job_id": job["job_id"],
            "creator_user_name": USER,
            "run_as_user_name": USER,
            "created_time": job["created_time"],
            "settings": settings,
        }

    def _public_run(
        self, run: Mapping[str, Any], request: Mapping[str, Any], *, history: bool = False
    ) -> dict[str, Any]:
        hidden = ("settings", "overriding", "job_parameters", "tasks", "attempts", "repairs", "begin_time")
        shown = {name: value for name, value in run.items() if name not in hidden}
        first = self._offset(request)
        # Every attempt stands in the list, in no order that says which is the latest.
        attempts = [*run["tasks"], *run["attempts"]]
        tasks = attempts[first : first + 100]
        shown |= {
            "run_name": run["settings"]["name"],
            "creator_user_name": USER,
            "original_attempt_run_id": run["run_id"],
            "format": "MULTI_TASK",
            "trigger": "ONE_TIME",
            "run_page_url": self._page_url(run),
            "run_duration": run.get("end_time", now()) - run["start_time"],
            "overriding_parameters": run["overriding"],
            "job_parameters": [
                {"name": name, "value": value} for name, value in run["job_parameters"].items()
            ],
        }
        # A run that was skipped as a whole has no tasks.
        if run["state"]["life_cycle_state"] != "SKIPPED":
            shown["tasks"] = [self._public_task(task, run, whole_run=False) for task in tasks]
        if clusters := run["settings"].get("job_clusters"):
            shown["job_clusters"] = clusters
        if len(attempts) > first + 100:
            shown["next_page_token"] = str(first + 100)
        if history:
            shown["repair_history"] = run["repairs"]
        return shown

    def _public_task(
        self, task: Mapping[str, Any], run: Mapping[str, Any], *, whole_run: bool = True
    ) -> dict[str, Any]:
        settings: Mapping[str, Any] = next(
            (each for each in run["settings"]["tasks"] if each["task_key"] == task["task_key"]), {}
        )
        shown = {
            name: value for name, value in task.items() if name not in ("begin_time", "error", "error_trace")
        }
        shown = {**settings, **shown, "run_page_url": f"{self._page_url(run)}#{task['run_id']}"}
        if whole_run:
            shown |= {
                "job_id": run["job_id"],
                "run_name": task["task_key"],
                "creator_user_name": USER,
                "original_attempt_run_id": task["run_id"],
                "parent_run_id": run["run_id"],
            }
        return shown

    def _page_url(self, run: Mapping[str, Any]) -> str:
        return f"{self._url}/jobs/{run['job_id']}/runs/{run['run_id']}"

    def _limit(self, request: Mapping[str, Any], default: int, maximum: int) -> int:
        limit = whole(request.get("limit", default), "limit")
        if not 1 <= limit <= maximum:
            raise invalid(f"limit must be between 1 and {maximum}.")
        return limit

    def _offset(self, request: Mapping[str, Any]) -> int:
        given = request.get("page_token", request.get("offset", 0)) or 0
        if not re.fullmatch(r"\d{1,9}", str(given)):
            raise invalid("Invalid page token.")
        return int(given)

    def _page(
        self, found: list[Any], request: Mapping[str, Any], limit: int, name: str = "jobs"
    ) -> dict[str, Any]:
        first = self._offset(request)
        more = len(found) > first + limit
        page: dict[str, Any] = {name: found[first : first + limit], "has_more": more}
        if more:
            page["next_page_token"] = str(first + limit)
        return page


_OVERRIDING = ("python_params", "python_named_params")


def set_state_of(repair: dict[str, Any], run: Mapping[str, Any]) -> None:
    """Gives a run's latest repair the run's own state."""
    repair["state"], repair["status"] = run["state"], run["status"]
    if has_ended(run):
        repair["end_time"] = run["end_time"]

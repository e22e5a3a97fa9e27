"""Runs of jobs and one-time runs: the Jobs API's requests, checked and answered."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from local.databricks.answers import limit_of, page_of, public_run, public_task
from local.databricks.errors import ApiError, invalid
from local.databricks.execution import CANCELED, Execution
from local.databricks.records import Records
from local.databricks.settings import check_submit, check_token, truth, whole
from local.databricks.states import has_ended, now, result_of, set_state, set_state_of

_OVERRIDING = ("python_params", "python_named_params")


class Runs:
    """All runs. Public methods take and return what the Jobs API does; they raise `ApiError`."""

    def __init__(self, records: Records, execution: Execution, url: str) -> None:
        self._records = records
        self._execution = execution
        self._url = url

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
        with self._records.changed:
            job = self._records.job(request)
            if token and (known := self._records.tokens.get(f"job {job['job_id']} {token}")):
                return {"run_id": known, "number_in_job": known}
            parameters = self._job_parameters(job["settings"], given)
            run = self._new_run(job["settings"], job["job_id"], "JOB_RUN", overriding, parameters)
            job["runs"] += 1
            run["number_in_job"] = job["runs"]
            self._records.save_job(job)
            self._start(run, f"job {job['job_id']} {token}" if token else None)
        return {"run_id": run["run_id"], "number_in_job": run["number_in_job"]}

    def submit(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Starts a one-time run; the same idempotency token gives the same run."""
        request = dict(request)
        token = check_token(request.pop("idempotency_token", None))
        request.pop("access_control_list", None)
        settings = check_submit(request)
        with self._records.changed:
            if token and (known := self._records.tokens.get(f"submit {token}")):
                return {"run_id": known}
            run = self._new_run(settings, self._records.new_identity(), "SUBMIT_RUN", {}, {})
            self._start(run, f"submit {token}" if token else None)
        return {"run_id": run["run_id"]}

    def run(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """A run with its latest attempts, or one attempt of a task by its own run id."""
        run_id = whole(request.get("run_id", ""), "run_id")
        with self._records.changed:
            if self._records.is_attempt(run_id):
                run, task = self._records.attempt(run_id)
                return public_task(task, run, self._url)
            run = self._records.run(run_id)
            history = truth(request.get("include_history", False), "include_history")
            return public_run(run, request, self._url, history=history)

    def list_runs(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """A page of runs, the newest first."""
        limit = limit_of(request, 20, 25)
        flags = {
            name: truth(request.get(name, False), name)
            for name in ("active_only", "completed_only", "expand_tasks")
        }
        if flags["active_only"] and flags["completed_only"]:
            raise invalid("active_only and completed_only cannot both be true.")
        job_id = whole(request["job_id"], "job_id") if request.get("job_id") else None
        first = whole(request.get("start_time_from") or 0, "start_time_from")
        last = whole(request.get("start_time_to") or 2**62, "start_time_to")
        with self._records.changed:
            runs = [
                run
                for run in sorted(self._records.runs.values(), key=lambda run: -run["start_time"])
                if (job_id is None or run["job_id"] == job_id)
                and first <= run["start_time"] <= last
                and not (flags["active_only"] and has_ended(run))
                and not (flags["completed_only"] and not has_ended(run))
                and request.get("run_type", run["run_type"]) == run["run_type"]
            ]
            page = page_of(runs, request, limit, "runs")
            listed = [public_run(run, {}, self._url) for run in page["runs"]]
        if not flags["expand_tasks"]:
            for run in listed:
                run.pop("tasks", None)
        return {**page, "runs": listed}

    def output(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """What one attempt of a task printed, and its error."""
        run_id = whole(request.get("run_id", ""), "run_id")
        with self._records.changed:
            if not self._records.is_attempt(run_id):
                run = self._records.run(run_id)
                if len(run["tasks"]) > 1:
                    raise invalid(
                        "Retrieving the output of runs with multiple tasks is not supported."
                        " Please retrieve the output of each individual task run instead."
                    )
                run_id = run["tasks"][0]["run_id"]
            run, task = self._records.attempt(run_id)
            metadata = public_task(task, run, self._url)
        logs, truncated = self._records.log_of(task)
        found = {"metadata": metadata, "logs": logs, "logs_truncated": truncated}
        return {**found, **{name: task[name] for name in ("error", "error_trace") if task.get(name)}}

    def cancel(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Ends a run, or one attempt of a task alone; what has ended stays as it is."""
        run_id = whole(request.get("run_id", ""), "run_id")
        with self._records.changed:
            if self._records.is_attempt(run_id):
                self._execution.cancel_attempt(*self._records.attempt(run_id))
            else:
                self._execution.end(self._records.run(run_id), "CANCELED", CANCELED)
        return {}

    def cancel_all(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Ends every run of a job."""
        with self._records.changed:
            job_id = self._records.job(request)["job_id"]
            for run in self._records.runs.values():
                if run["job_id"] == job_id:
                    self._execution.end(run, "CANCELED", CANCELED)
        return {}

    def delete_run(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Forgets a run that has ended."""
        with self._records.changed:
            run = self._records.run(whole(request.get("run_id", ""), "run_id"))
            if not has_ended(run):
                raise ApiError(400, "INVALID_STATE", f"Run {run['run_id']} is active; cancel it first.")
            self._records.delete_run(run)
        return {}

    def repair(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Runs tasks of an ended run again, with the job's present settings, as attempts of their own."""
        with self._records.changed:
            run = self._records.run(whole(request.get("run_id", ""), "run_id"))
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
                self._records.jobs[run["job_id"]]["settings"]
                if run["job_id"] in self._records.jobs
                else run["settings"]
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
            renewed = self._records.add_attempts(run, keys)
            repair = {
                "type": "REPAIR",
                "id": self._records.new_identity(),
                "start_time": now(),
                "task_run_ids": [task["run_id"] for task in renewed],
            }
            run["repairs"].append(repair)
            set_state(run, "PENDING")
            run.pop("end_time", None)
            set_state_of(repair, run)
            self._start(run, None)
        return {"repair_id": repair["id"]}

    def runs_page(self, run_id: int) -> tuple[dict[str, Any], list[dict[str, Any]], dict[int, str]]:
        """A run, all its attempts (the latest first) and the end of each one's output, for the run's page."""
        with self._records.changed:
            run = self._records.run(run_id)
            attempts = (*run["tasks"], *reversed(run["attempts"]))
            answered = [public_task(task, run, self._url) for task in attempts]
            logs = {task["run_id"]: self._records.log_of(task, 16_384)[0] for task in attempts}
            return public_run(run, {}, self._url), answered, logs

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

    def _new_run(
        self,
        settings: Mapping[str, Any],
        job_id: int,
        run_type: str,
        overriding: Mapping[str, Any],
        parameters: Mapping[str, str],
    ) -> dict[str, Any]:
        run: dict[str, Any] = {
            "run_id": self._records.new_identity(),
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
        tasks = self._records.add_attempts(run, [task["task_key"] for task in settings["tasks"]])
        run["repairs"].append(
            {"type": "ORIGINAL", "start_time": now(), "task_run_ids": [task["run_id"] for task in tasks]}
        )
        set_state_of(run["repairs"][0], run)
        return run

    def _job_parameters(self, settings: Mapping[str, Any], given: Mapping[str, str]) -> dict[str, str]:
        defined = {each["name"]: str(each["default"]) for each in settings.get("parameters") or []}
        if undefined := sorted(given.keys() - defined.keys()):
            raise invalid(f"Job parameter '{undefined[0]}' is not defined.")
        return {**defined, **given}

    def _start(self, run: dict[str, Any], token: str | None) -> None:
        self._records.runs[run["run_id"]] = run
        if token:
            self._records.save_token(token, run["run_id"])
        self._execution.start(run)

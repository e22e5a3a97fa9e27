"""The jobs, runs and attempts that the service knows: in memory under one lock, and in one SQLite file."""

from __future__ import annotations

import random
import shutil
import threading
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from local.databricks.errors import unknown
from local.databricks.settings import whole
from local.databricks.states import now, set_state
from local.databricks.store import Store

MAXIMUM_OUTPUT = 5 * 2**20
"""Bytes of a task's output that the API returns: the last 5 MB."""


class Records:
    """Hold `changed` over every read and change; it is notified of each change that another thread waits for.

    ``jobs``, ``runs``, ``tokens`` and ``permissions`` are the documents by identity. What has changed in a
    document survives a restart once it is saved.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "runs"
        self.changed = threading.Condition(threading.RLock())
        self._store = Store(folder / "state.sqlite")
        self.jobs = {int(key): body for key, body in self._store.all("job").items()}
        self.runs = {int(key): body for key, body in self._store.all("run").items()}
        self.tokens: dict[str, int] = self._store.all("token")
        self.permissions: dict[str, Any] = self._store.all("permissions")
        self._by_attempt = {
            task["run_id"]: run["run_id"]
            for run in self.runs.values()
            for task in (*run["tasks"], *run["attempts"])
        }

    def close(self) -> None:
        """Closes the file."""
        self._store.close()

    def job(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """The job that a request names by ``job_id``; raises `ApiError` if there is none."""
        job_id = whole(request.get("job_id", ""), "job_id")
        if job_id not in self.jobs:
            raise unknown("Job", job_id)
        job: dict[str, Any] = self.jobs[job_id]
        return job

    def save_job(self, job: dict[str, Any]) -> None:
        """Keeps a job, in place of an earlier version."""
        self.jobs[job["job_id"]] = job
        self._store.put("job", job["job_id"], job)

    def delete_job(self, job_id: int) -> None:
        """Deletes a job; its runs stay."""
        del self.jobs[job_id]
        self._store.delete("job", job_id)

    def save_permissions(self, job_id: int, entries: list[Any]) -> None:
        """Replaces a job's access control list."""
        self.permissions[str(job_id)] = entries
        self._store.put("permissions", job_id, entries)

    def save_token(self, token: str, run_id: int) -> None:
        """Keeps the run that an idempotency token started."""
        self.tokens[token] = run_id
        self._store.put("token", token, run_id)

    def run(self, run_id: int) -> dict[str, Any]:
        """A run by its identity; raises `ApiError` if there is none."""
        if run_id not in self.runs:
            raise unknown("Run", run_id)
        run: dict[str, Any] = self.runs[run_id]
        return run

    def save(self, run: Mapping[str, Any]) -> None:
        """Writes a run as it is now."""
        self._store.put("run", run["run_id"], run)

    def delete_run(self, run: Mapping[str, Any]) -> None:
        """Deletes a run with its attempts and their files."""
        del self.runs[run["run_id"]]
        self._store.delete("run", run["run_id"])
        for task in (*run["tasks"], *run["attempts"]):
            del self._by_attempt[task["run_id"]]
        shutil.rmtree(self.folder / str(run["run_id"]), ignore_errors=True)

    def is_attempt(self, run_id: int) -> bool:
        """Whether a run id is that of one attempt of a task."""
        return run_id in self._by_attempt

    def attempt(self, run_id: int) -> tuple[dict[str, Any], dict[str, Any]]:
        """The run of an attempt, and the attempt, by the attempt's own run id."""
        run = self.runs[self._by_attempt[run_id]]
        return run, next(task for task in (*run["tasks"], *run["attempts"]) if task["run_id"] == run_id)

    def add_attempts(self, run: dict[str, Any], keys: Iterable[str]) -> list[dict[str, Any]]:
        """Puts a new attempt of each task into a run, in place of an earlier one."""
        keys = set(keys)
        earlier = {task["task_key"]: task for task in run["tasks"]}
        renewed = []
        for settings in run["settings"]["tasks"]:
            if (key := settings["task_key"]) not in keys:
                continue
            attempt = {
                "run_id": self.new_identity(),
                "task_key": key,
                "depends_on": settings["depends_on"],
                "attempt_number": earlier[key]["attempt_number"] + 1 if key in earlier else 0,
                "start_time": now(),
                "setup_duration": 0,
                "execution_duration": 0,
                "cleanup_duration": 0,
            }
            set_state(attempt, "PENDING")
            self._by_attempt[attempt["run_id"]] = run["run_id"]
            renewed.append(attempt)
            if key in earlier:
                run["attempts"].append(earlier[key])
        latest = {**earlier, **{task["task_key"]: task for task in renewed}}
        run["tasks"] = list(latest.values())
        return renewed

    def new_identity(self) -> int:
        """An unused identity such as the service's: 15 digits, in no order."""
        while True:
            identity = random.randrange(10**14, 10**15)  # noqa: S311 - no secret
            if identity not in self.jobs and identity not in self.runs and identity not in self._by_attempt:
                return identity

    def log_path(self, run_id: int, task_run_id: int) -> Path:
        """The file that an attempt's output goes to."""
        return self.folder / str(run_id) / f"{task_run_id}.log"

    def log_of(self, task: Mapping[str, Any], limit: int = MAXIMUM_OUTPUT) -> tuple[str, bool]:
        """The end of what an attempt printed, and whether there was more before it."""
        path = self.log_path(self._by_attempt[task["run_id"]], task["run_id"])
        if not path.exists():
            return "", False
        with path.open("rb") as content:
            size = content.seek(0, 2)
            content.seek(max(0, size - limit))
            return content.read().decode(errors="replace"), size > limit

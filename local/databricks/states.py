"""The states of runs and of their tasks, in both forms of the Jobs API.

``state`` (life cycle, result, message) is what clients before version 2.2 read, ``status`` its successor:
docs.databricks.com/api/workspace/jobs/getrun.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Any

ENDED = ("TERMINATED", "SKIPPED", "INTERNAL_ERROR")

_CODES = {
    "SUCCESS": ("SUCCESS", "SUCCESS"),
    "SUCCESS_WITH_FAILURES": ("SUCCESS_WITH_FAILURES", "SUCCESS"),
    "FAILED": ("RUN_EXECUTION_ERROR", "CLIENT_ERROR"),
    "TIMEDOUT": ("RUN_EXECUTION_ERROR", "CLIENT_ERROR"),
    "CANCELED": ("USER_CANCELED", "CLIENT_ERROR"),
    "UPSTREAM_FAILED": ("RUN_EXECUTION_ERROR", "CLIENT_ERROR"),
    "UPSTREAM_CANCELED": ("USER_CANCELED", "CLIENT_ERROR"),
    "MAXIMUM_CONCURRENT_RUNS_REACHED": ("MAX_CONCURRENT_RUNS_EXCEEDED", "CLIENT_ERROR"),
    "EXCLUDED": ("SKIPPED", "SUCCESS"),
}


def now() -> int:
    """Milliseconds since 1970."""
    return time.time_ns() // 1_000_000


def set_state(
    document: dict[str, Any], life_cycle: str, result: str | None = None, message: str = "", code: str = ""
) -> None:
    """Puts a run or task into a state; an end also sets its times."""
    state: dict[str, Any] = {
        "life_cycle_state": life_cycle,
        "state_message": message,
        "user_cancelled_or_timedout": result in ("CANCELED", "TIMEDOUT"),
    }
    status: dict[str, Any] = {"state": "TERMINATED" if life_cycle in ENDED else life_cycle}
    if result:
        state["result_state"] = result
        known, kind = _CODES[result]
        status["termination_details"] = {
            "code": code or known,
            "type": "INTERNAL_ERROR" if life_cycle == "INTERNAL_ERROR" else kind,
            "message": message,
        }
    document["state"], document["status"] = state, status
    if life_cycle in ENDED:
        document["end_time"] = now()
        begin = document.get("begin_time") or document["end_time"]
        document["execution_duration"] = document["end_time"] - begin
        document["setup_duration"] = begin - document["start_time"]


def set_state_of(repair: dict[str, Any], run: Mapping[str, Any]) -> None:
    """Gives a run's latest repair the run's own state."""
    repair["state"], repair["status"] = run["state"], run["status"]
    if has_ended(run):
        repair["end_time"] = run["end_time"]


def has_ended(document: Mapping[str, Any]) -> bool:
    """Whether it has ended."""
    return str(document["state"]["life_cycle_state"]) in ENDED


def result_of(document: Mapping[str, Any]) -> str | None:
    """The result, None while there is none."""
    result: str | None = document["state"].get("result_state")
    return result


def decide(run_if: str, upstream: Iterable[str | None]) -> str | None:
    """The result of a task that does not run because of its dependencies' results, None if it runs."""
    results = [result for result in upstream if result != "EXCLUDED"]
    succeeded = [result == "SUCCESS" for result in results]
    failed = [result not in ("SUCCESS", "CANCELED", "UPSTREAM_CANCELED") for result in results]
    canceled = any(result in ("CANCELED", "UPSTREAM_CANCELED") for result in results)
    runs = {
        "ALL_SUCCESS": all(succeeded),
        "ALL_DONE": True,
        "NONE_FAILED": not any(failed) and not canceled,
        "AT_LEAST_ONE_SUCCESS": any(succeeded) or not results,
        "ALL_FAILED": all(failed),
        "AT_LEAST_ONE_FAILED": any(failed) or not results,
    }[run_if]
    if runs:
        return None
    if run_if in ("ALL_FAILED", "AT_LEAST_ONE_FAILED"):
        return "EXCLUDED"
    return "UPSTREAM_CANCELED" if canceled and not any(failed) else "UPSTREAM_FAILED"


def overall(tasks: Iterable[Mapping[str, Any]]) -> tuple[str, str]:
    """The result and message of a run whose tasks have all ended.

    Its leaves decide: if they all succeed after a failure, the result is ``SUCCESS_WITH_FAILURES``.
    """
    tasks = list(tasks)
    inner = {edge["task_key"] for task in tasks for edge in task["depends_on"]}
    bad = [task for task in tasks if result_of(task) not in ("SUCCESS", "EXCLUDED")]
    bad_leaves = [task for task in bad if task["task_key"] not in inner]
    if not bad:
        return "SUCCESS", ""
    if not bad_leaves:
        return "SUCCESS_WITH_FAILURES", "Some tasks failed, but every leaf task succeeded."
    results = [result_of(task) for task in bad]
    cause = next((task for task in bad if result_of(task) in ("FAILED", "TIMEDOUT")), bad[0])
    message = f"Task {cause['task_key']} failed with message: {cause['state']['state_message']}"
    if any(result in ("UPSTREAM_FAILED", "UPSTREAM_CANCELED") for result in results):
        message = f"{message.rstrip('.')}. This caused all downstream tasks to get skipped."
    if "FAILED" in results:
        return "FAILED", message
    return ("TIMEDOUT" if "TIMEDOUT" in results else "CANCELED"), message

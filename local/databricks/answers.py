"""Jobs, runs and attempts in the shapes that the Jobs API answers with, and its pages of lists."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from local.databricks.errors import invalid
from local.databricks.settings import whole
from local.databricks.states import now

USER = "x-opinion@localhost"


def public_job(job: Mapping[str, Any], expand: bool) -> dict[str, Any]:
    """A job with its settings; ``expand`` includes its tasks."""
    hidden = () if expand else ("tasks", "job_clusters", "environments", "parameters")
    settings = {name: value for name, value in job["settings"].items() if name not in hidden}
    return {
        "job_id": job["job_id"],
        "creator_user_name": USER,
        "run_as_user_name": USER,
        "created_time": job["created_time"],
        "settings": settings,
    }


def public_run(
    run: Mapping[str, Any], request: Mapping[str, Any], url: str, *, history: bool = False
) -> dict[str, Any]:
    """A run with a page of its attempts; ``url`` is the service's."""
    hidden = ("settings", "overriding", "job_parameters", "tasks", "attempts", "repairs", "begin_time")
    shown = {name: value for name, value in run.items() if name not in hidden}
    first = _offset(request)
    # Every attempt stands in the list, in no order that says which is the latest.
    attempts = [*run["tasks"], *run["attempts"]]
    tasks = attempts[first : first + 100]
    shown |= {
        "run_name": run["settings"]["name"],
        "creator_user_name": USER,
        "original_attempt_run_id": run["run_id"],
        "format": "MULTI_TASK",
        "trigger": "ONE_TIME",
        "run_page_url": _page_url(run, url),
        "run_duration": run.get("end_time", now()) - run["start_time"],
        "overriding_parameters": run["overriding"],
        "job_parameters": [{"name": name, "value": value} for name, value in run["job_parameters"].items()],
    }
    # A run that was skipped as a whole has no tasks.
    if run["state"]["life_cycle_state"] != "SKIPPED":
        shown["tasks"] = [public_task(task, run, url, whole_run=False) for task in tasks]
    if clusters := run["settings"].get("job_clusters"):
        shown["job_clusters"] = clusters
    if len(attempts) > first + 100:
        shown["next_page_token"] = str(first + 100)
    if history:
        shown["repair_history"] = run["repairs"]
    return shown


def public_task(
    task: Mapping[str, Any], run: Mapping[str, Any], url: str, *, whole_run: bool = True
) -> dict[str, Any]:
    """An attempt, also as a run in its own right unless ``whole_run`` is false."""
    settings: Mapping[str, Any] = next(
        (each for each in run["settings"]["tasks"] if each["task_key"] == task["task_key"]), {}
    )
    shown = {
        name: value for name, value in task.items() if name not in ("begin_time", "error", "error_trace")
    }
    shown = {**settings, **shown, "run_page_url": f"{_page_url(run, url)}#{task['run_id']}"}
    if whole_run:
        shown |= {
            "job_id": run["job_id"],
            "run_name": task["task_key"],
            "creator_user_name": USER,
            "original_attempt_run_id": task["run_id"],
            "parent_run_id": run["run_id"],
        }
    return shown


def limit_of(request: Mapping[str, Any], default: int, maximum: int) -> int:
    """How many entries a request asks for; raises `ApiError` if that is out of range."""
    limit = whole(request.get("limit", default), "limit")
    if not 1 <= limit <= maximum:
        raise invalid(f"limit must be between 1 and {maximum}.")
    return limit


def page_of(found: list[Any], request: Mapping[str, Any], limit: int, name: str = "jobs") -> dict[str, Any]:
    """The page of a list that a request asks for, under ``name``."""
    first = _offset(request)
    more = len(found) > first + limit
    page: dict[str, Any] = {name: found[first : first + limit], "has_more": more}
    if more:
        page["next_page_token"] = str(first + limit)
    return page


def _page_url(run: Mapping[str, Any], url: str) -> str:
    return f"{url}/jobs/{run['job_id']}/runs/{run['run_id']}"


def _offset(request: Mapping[str, Any]) -> int:
    given = request.get("page_token", request.get("offset", 0)) or 0
    if not re.fullmatch(r"\d{1,9}", str(given)):
        raise invalid("Invalid page token.")
    return int(given)

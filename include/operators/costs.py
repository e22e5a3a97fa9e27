"""The tasks of `costs`: measure each service's usage, and report the month."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from airflow.sdk import task
from airflow.sdk.exceptions import AirflowException

from include.operators.inputs import client, databricks_hook, failed_tasks, now, run_day, topics
from include.operators.links import athena
from include.operators.notifications import cost_exceeded, run_link, try_once
from include.settings import settings

MEASURED_SERVICES = ("x", "firehose", "sagemaker", "athena", "databricks", "s3", "quicksight")
"""The services whose usage is measured, each by a task of its own: one that is down stops no other."""

_RUNS = "2.2/jobs/runs/list"
_OUR_JOBS = ("train.", "compliance.")


class UsageError(AirflowException):
    """A service's usage could not be measured; the others' was."""


def _runs(start: datetime, end: datetime) -> Iterator[Mapping[str, Any]]:
    """The runs of this project's jobs on Databricks that started in ``[start, end)``."""
    databricks = databricks_hook()
    asked: dict[str, Any] = {
        "start_time_from": int(start.timestamp() * 1000),
        "start_time_to": int(end.timestamp() * 1000) - 1,
        "limit": 25,
    }
    while True:
        page: Any = databricks._do_api_call(("GET", _RUNS), asked)
        yield from (run for run in page.get("runs", ()) if run["run_name"].startswith(_OUR_JOBS))
        if not page.get("has_more"):
            return
        asked["page_token"] = page["next_page_token"]


@task(map_index_template="{{ task.op_kwargs['service'] }}")
def measure(service: str, ti: Any = None, dag_run: Any = None) -> dict[str, int]:
    """Measures a service's usage of the day, and of earlier days that nobody has measured; rows by day."""
    from include import prices
    from include.costs.measure import Sources, measure
    from include.coverage.measure import collection_start

    sources = Sources(
        s3=client("s3"),
        athena=client("athena"),
        statements=athena(ti),
        sagemaker=client("sagemaker"),
        runs=_runs,
        settings=settings(),
        prices=prices.load(settings().prices_file),
        now=now(),
    )
    return measure(sources, service, run_day(dag_run), collection_start(settings(), topics()).date())


@task(trigger_rule="all_done")
def report(ti: Any = None, dag_run: Any = None) -> dict[str, Any]:
    """The month so far. Notifies people above the limit; fails if a service was not measured."""
    from include import prices
    from include.costs import month

    last = run_day(dag_run)
    found = month.read(athena(ti), client("s3"), settings(), prices.load(settings().prices_file), last)
    limit, projected = settings().monthly_cost_limit, found.projected
    if limit is not None and projected is not None and projected > limit:
        link = run_link(ti.dag_id, ti.run_id, ti.task_id)
        try_once(cost_exceeded(f"{last:%Y-%m}", found.dollars, projected, limit, link), f"cost {last:%Y-%m}")
    _check_measured(ti)
    return found.to_json()


def _check_measured(ti: Any) -> None:
    if failed := failed_tasks(ti):
        raise UsageError(
            f"not every service's usage was measured ({', '.join(failed)}): read the tasks' logs, clear them"
        )

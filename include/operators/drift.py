"""The tasks of `drift`: the mixes of the days in question, their comparison, its check, and the messages."""

from __future__ import annotations

from typing import Any

from airflow.sdk import task

from include.operators.inputs import client, run_day, topics
from include.operators.links import athena
from include.operators.notifications import drift_found, run_link, shift_found, try_once
from include.operators.quality import checking
from include.settings import settings


@task
def outdated(dag_run: Any = None) -> list[str]:
    """The days whose mix is selected: recent and audited ones whose objects have changed since."""
    from include.audit.mix import outdated_days

    return outdated_days(client("s3"), settings(), topics().names, run_day(dag_run))


@task
def mix(day: str, ti: Any = None) -> int:
    """Selects a day's mix on Athena and replaces it; returns its tweets."""
    from include.audit.mix import refresh

    return refresh(athena(ti), client("s3"), settings(), topics().names, day)


@task(trigger_rule="none_failed")
def measure(dag_run: Any = None) -> list[dict[str, Any]]:
    """Compares the recent days with the audited ones; returns the rows of the table `drift`."""
    from include.audit.mix import measure

    return measure(client("s3"), settings(), topics().names, run_day(dag_run))


@task
def check(measured: list[dict[str, Any]], ti: Any = None, dag_run: Any = None) -> dict[str, Any]:
    """The suite ``drift``. What has drifted warns, and is notified once for each audit and dimension."""
    from include.quality.checks import check_drift

    day = run_day(dag_run).isoformat()
    with checking(ti, "drift", day):
        result = check_drift(client("s3"), settings(), day)
    drifted = [each for each in measured if each["drifted"]]
    if drifted:
        known = sorted((each["topic"], each["audit_month"], each["dimension"]) for each in drifted)
        try_once(drift_found(drifted, run_link(ti.dag_id, ti.run_id, ti.task_id)), f"drift {known}")
    return result.summary()


@task
def shifts(ti: Any = None, dag_run: Any = None) -> list[dict[str, Any]]:
    """Compares the day's net sentiment with the days before; each topic's shift is notified once."""
    from include.insights.shifts import find

    found = find(athena(ti), client("s3"), settings(), topics(), run_day(dag_run))
    for shift in found:
        try_once(shift_found(shift), f"shift {shift.topic} {shift.day.isoformat()}")
    return [shift.to_json() for shift in found]

"""
### Coverage: what is missing, and how it is mended

Every quarter of an hour: measures each topic and hour in reach, judges it from its evidence and writes the
gap ledger (table `coverage`); recovers outages by search; has `transform` rerun where tweets are not labeled.

**By hand** it is a dry run unless `dry_run` is switched off: its result is a readable plan, nothing is
changed. `start` and `end` are hours such as `2026-11-20T05`; without them it looks at every hour since the
collection's start that search reaches, and at those of the day before.

| Step | Does |
|---|---|
| `plan` | measures and judges; the plan is its result |
| `approve` | asks a person about what lies beyond the reach or above the month's budget |
| `recover` | one task a topic and stretch; writes `recovered-….json.gz` into raw |
| `decide` | measures again what was recovered; decides which hours are transformed again |
| `rerun` | clears the hour's scheduled run or starts `window__<hour>`; an active run is left alone |
| `report` | fails if a task failed, or if reruns have not mended an hour |

A run of `transform` that a person starts for an hour is seen as active only under the id `window__<hour>`;
under another, the hour may be run a second time beside it, which changes nothing.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pendulum
from airflow.sdk import DAG, CronTriggerTimetable, Param, TriggerRule, XComArg

from include.operators.coverage import (
    RECOVERIES,
    ApproveRecoveriesOperator,
    DecideRerunsOperator,
    PlanCoverageOperator,
    RecoverStretchOperator,
    ReportCoverageOperator,
    RerunTransformOperator,
)
from include.operators.notifications import Notify, approval_key, approval_waits, coverage_failed
from include.window import LABEL_PATTERN

TRANSFORM = "transform"
HOUR: dict[str, Any] = {"type": ["null", "string"], "pattern": LABEL_PATTERN}

with DAG(
    dag_id="coverage",
    description="Finds what was not collected or not labeled, and mends it",
    doc_md=__doc__,
    # The first run waits for the next quarter: with a start date, or False here, one that is over might run.
    schedule=CronTriggerTimetable("*/15 * * * *", timezone="UTC", run_immediately=timedelta(seconds=1)),
    catchup=False,
    max_active_runs=1,
    default_args={
        "owner": "x-opinion",
        "retries": 2,
        "retry_delay": pendulum.duration(seconds=10),
        "execution_timeout": timedelta(hours=2),
    },
    params={
        "start": Param(
            None, title="First hour", description="Such as 2026-11-20T05; empty: what search reaches", **HOUR
        ),
        "end": Param(None, title="End", description="The hour before which it ends; empty: now", **HOUR),
        "dry_run": Param(True, type="boolean", title="Only plan", description="A scheduled run is never dry"),
    },
    tags=["x-opinion", "operations"],
):
    plan = PlanCoverageOperator(task_id="plan", rerun_dag_id=TRANSFORM)
    approve = ApproveRecoveriesOperator(
        task_id="approve",
        subject="May these stretches be recovered by search?",
        recoveries=XComArg(plan, key=RECOVERIES),
        # A plain timedelta: pendulum's durations cannot be sent to the supervisor.
        response_timeout=timedelta(minutes=10),
        notifiers=Notify(approval_waits, approval_key),
    )
    recover = RecoverStretchOperator.partial(
        task_id="recover",
        max_active_tis_per_dagrun=4,
        # The page Coverage tells by it which hour is being recovered.
        map_index_template="{{ task.recovery['topic'] }} {{ task.recovery['window'] }}",
    ).expand(recovery=approve.output)
    # Skipped recoveries and failed ones keep no hour from being transformed again.
    decide = DecideRerunsOperator(
        task_id="decide",
        rerun_dag_id=TRANSFORM,
        plan="plan",
        recover="recover",
        trigger_rule=TriggerRule.ALL_DONE,
    )
    rerun = RerunTransformOperator.partial(
        task_id="rerun", trigger_dag_id=TRANSFORM, retries=0
    ).expand_kwargs(decide.output)
    report = ReportCoverageOperator(
        task_id="report",
        plan="plan",
        decide="decide",
        retries=0,
        trigger_rule=TriggerRule.ALL_DONE,
        # It fails where any task did, so people are told once.
        on_failure_callback=Notify(coverage_failed),
    )
    [plan, recover] >> decide
    rerun >> report

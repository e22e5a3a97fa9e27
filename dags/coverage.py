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
| `select` | takes the recoveries that need no approval |
| `recover` | one task a topic and stretch; writes `recovered-….json.gz` into raw |
| `decide` | measures again what was recovered; decides which hours are transformed again |
| `rerun` | clears the hour's scheduled run or starts `window__<hour>`; an active run is left alone |
| `report` | fails if a task failed, or if reruns have not mended an hour; tells of the month's budget |
| `approve` | asks a person about what lies beyond the reach or above the month's budget |
| `recover_approved` | as `recover`, for what was approved; the next run has its hours transformed again |

Nothing else waits for an approval, the next run neither. Nobody is asked about the same stretch twice.

A run of `transform` that a person starts for an hour is seen as active only under the id `window__<hour>`;
under another, the hour may be run a second time beside it, which changes nothing.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pendulum
from airflow.sdk import DAG, CronTriggerTimetable, Param, TriggerRule, XComArg

from include.operators import notifications as told
from include.operators.coverage import (
    RECOVERIES,
    ApproveRecoveriesOperator,
    DecideRerunsOperator,
    PlanCoverageOperator,
    RecoverStretchOperator,
    ReportCoverageOperator,
    RerunTransformOperator,
    SelectRecoveriesOperator,
)
from include.window import LABEL_PATTERN

TRANSFORM = "transform"
HOUR: dict[str, Any] = {"type": ["null", "string"], "pattern": LABEL_PATTERN}
ONE_STRETCH: dict[str, Any] = {
    "max_active_tis_per_dag": 4,
    # The page Coverage tells by it which hour is being recovered.
    "map_index_template": "{{ task.recovery['topic'] }} {{ task.recovery['window'] }}",
}

with DAG(
    dag_id="coverage",
    description="Finds what was not collected or not labeled, and mends it",
    doc_md=__doc__,
    # The first run waits for the next quarter: with a start date, or False here, one that is over might run.
    schedule=CronTriggerTimetable("*/15 * * * *", timezone="UTC", run_immediately=timedelta(seconds=1)),
    catchup=False,
    # Two may wait for a person (see include/coverage/approvals.py); the others go on.
    max_active_runs=4,
    default_args={
        "owner": "x-opinion",
        "retries": 2,
        "retry_delay": pendulum.duration(seconds=10),
        "execution_timeout": timedelta(hours=2),
    },
    params={
        "start": Param(
            None,
            title="First hour",
            description="Such as 2026-11-20T05; empty: what search reaches",
            **HOUR,
        ),
        "end": Param(None, title="End", description="The hour before which it ends; empty: now", **HOUR),
        "dry_run": Param(True, type="boolean", title="Only plan", description="A scheduled run is never dry"),
    },
    tags=["x-opinion", "operations"],
):
    plan = PlanCoverageOperator(task_id="plan", rerun_dag_id=TRANSFORM)
    planned = XComArg(plan, key=RECOVERIES)
    select = SelectRecoveriesOperator(task_id="select", recoveries=planned)
    recover = RecoverStretchOperator.partial(task_id="recover", **ONE_STRETCH).expand(recovery=select.output)
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
        on_failure_callback=told.Notify(told.coverage_failed, told.coverage_alarm_key),
    )
    [plan, recover] >> decide
    rerun >> report

    approve = ApproveRecoveriesOperator(
        task_id="approve",
        subject="May these stretches be recovered by search?",
        recoveries=planned,
        # A plain timedelta: pendulum's durations cannot be sent to the supervisor.
        response_timeout=timedelta(hours=12),
        notifiers=told.Notify(told.approval_waits, told.approval_key),
    )
    RecoverStretchOperator.partial(task_id="recover_approved", **ONE_STRETCH).expand(recovery=approve.output)

"""### Coverage: find what is missing, and recover it

Runs every quarter of an hour. It measures each topic and hour within reach, judges them from their evidence,
and writes the gap ledger (table `coverage`). It recovers outages by search, and reruns `transform` for hours
whose tweets are not labeled.

**A manual run** is a dry run unless you switch `dry_run` off: the result is a readable plan, and nothing
changes. `start` and `end` are hours such as `2026-11-20T05`. Without them it looks at every hour since the
start of the collection that search still reaches, and at the hours of the day before those.

| Step | What it does |
|---|---|
| `plan` | delivers again what Firehose could not, measures and judges; its result is the plan |
| `select` | selects the recoveries that need no approval |
| `recover` | one mapped task for each topic and stretch; writes `recovered-….json.gz` into raw |
| `decide` | measures the recovered hours again, and decides which hours to transform again |
| `rerun` | clears the hour's scheduled run or starts `window__<hour>`; leaves an active run alone |
| `report` | fails if a task failed or if reruns did not fix an hour; warns about the month's budget |
| `approve` | asks a person about recoveries older than `OPINION_UNAPPROVED_HOURS`, or above the budget |
| `recover_approved` | recovers what was approved; the next run transforms its hours again |

A pending approval blocks neither other recoveries nor the next run. Nobody is asked twice about the same
stretch.

If you start `transform` for an hour manually, use the run id `window__<hour>`: coverage recognizes such a run
as active. With another id the hour may run a second time in parallel, which does no harm.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.sdk import DAG, CronTriggerTimetable, Param, TriggerRule, XComArg

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
from include.operators.defaults import task_defaults
from include.operators.notifications import (
    Notify,
    approval_key,
    approval_waits,
    coverage_alarm_key,
    coverage_failed,
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
    description="Finds tweets that were not collected or not labeled, and recovers them",
    doc_md=__doc__,
    # The first run waits for the next quarter: with a start date, or False here, one that is over might run.
    schedule=CronTriggerTimetable("*/15 * * * *", timezone="UTC", run_immediately=timedelta(seconds=1)),
    catchup=False,
    # Two may wait for a person (see include/coverage/approvals.py); the others go on.
    max_active_runs=4,
    default_args=task_defaults(timedelta(hours=2), retries=2),
    params={
        "start": Param(
            None,
            title="First hour",
            description="Such as 2026-11-20T05; empty: 8 days back, or the start of the collection",
            **HOUR,
        ),
        "end": Param(None, title="End", description="The hour to stop before; empty: now", **HOUR),
        "dry_run": Param(True, type="boolean", title="Only plan", description="Scheduled runs never are"),
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
        on_failure_callback=Notify(coverage_failed, coverage_alarm_key),
    )
    [plan, recover] >> decide
    rerun >> report
    approve = ApproveRecoveriesOperator(
        task_id="approve",
        subject="May these stretches be recovered by search?",
        recoveries=planned,
        # A plain timedelta: pendulum's durations cannot be sent to the supervisor.
        response_timeout=timedelta(hours=12),
        notifiers=Notify(approval_waits, approval_key),
    )
    RecoverStretchOperator.partial(task_id="recover_approved", **ONE_STRETCH).expand(recovery=approve.output)

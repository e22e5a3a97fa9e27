"""### Compliance: remove what X reports as gone, and what a person asks to remove

Runs every day, and manually. X's terms give 24 hours from a request; `coverage` raises an alarm after 12.

| Step | What it does |
|---|---|
| `collect` | divides all tweets and users that the lake holds, of whatever topic, into shards for X |
| `ask` | one mapped task for each shard: a batch compliance job at X, awaited without a worker |
| `find` | writes the tombstones of the open requests, and lists the hours that hold what must go |
| `remove` | one mapped task for some hours: rewrites every object that holds it, in all layers |
| `remove_rest` | pages of searches, Firehose's errors, what has no possible hour, audit, queries' results |
| `delta_holds` | skips all tasks on Databricks if the Delta table holds none of these hours |
| `delta` | the step `sync` of `train` on Databricks: deletes the rows |
| `history` | waits `OPINION_TRAINING_HISTORY_SECONDS`, in which another run may still read old files |
| `vacuum` | `sync` again: VACUUM deletes the old files, and with them the last copy |
| `record` | ends the requests in the table `removals`, or says why they stay open |

**A manual run** is a dry run unless you switch `dry_run` off: `record` returns what would be removed, by
layer, hour and topic, and no tweet is touched. `request` is the name of one request of the page **Removals**;
a run for it that is not dry confirms it. Without a name the run asks X, and carries out all confirmed
requests, as the schedule does. An id is never a parameter: a run's parameters are kept for good.

**Every task can be cleared at any time**, and parallel runs do no harm: an object from which nothing
must go stays as it is, X is not asked twice a day about the same ids, and a request stays open until every
layer is done. Aggregates stay: they name nobody. A tombstone, a keyed hash, keeps a removed tweet from coming
back by a late object, a recovery or a rerun. A run that was killed may still have written one after it was
removed, and `transform` may have rejected one under another hour than its id's: what was removed in the last
two days is removed again, wherever it lies by now, for a request `again-…` of its own.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.sdk import DAG, CronTriggerTimetable, Param

from include.operators import compliance as tasks
from include.operators import training
from include.operators.databricks import DatabricksWorkflow
from include.operators.defaults import task_defaults
from include.operators.notifications import Notify, run_failed
from include.settings import settings

with DAG(
    dag_id="compliance",
    description="Removes what X reports as gone, and what people ask to remove",
    doc_md=__doc__,
    schedule=CronTriggerTimetable("30 2 * * *", timezone="UTC"),
    catchup=False,
    # One may wait for Delta's history; a manual run for a request goes on beside it.
    max_active_runs=4,
    on_failure_callback=Notify(run_failed),
    params={
        "request": Param(
            None,
            type=["null", "string"],
            pattern=tasks.NAME_PATTERN,
            title="Request",
            description="Its name; empty: ask X, and carry out all that are confirmed",
        ),
        "dry_run": Param(True, type="boolean", title="Only count", description="Scheduled runs never are"),
    },
    default_args=task_defaults(timedelta(hours=12)),
    tags=["x-opinion", "operations"],
):
    shards: Any = tasks.collect()
    ask = tasks.AskComplianceOperator.partial(task_id="ask").expand(shard=shards)
    found: Any = tasks.find()
    removed = tasks.remove.override(max_active_tis_per_dagrun=4).expand(part=found)
    rest: Any = tasks.remove_rest()
    held: Any = tasks.delta_holds()
    wheel: Any = training.stage_wheel()
    workflow: dict[str, Any] = {
        "package": training.wheel.NAME,
        "wheel": wheel,
        "maven": training.MAVEN,
        "cluster": training.cluster(settings()),
        "parameters": tasks.delta_parameters(settings()),
        "timeout_seconds": settings().training_timeout_seconds,
    }
    with DatabricksWorkflow(group_id="delta", **workflow) as delta:
        training.StepOperator(task_id="sync", entry_point="sync")
    history = tasks.WaitForDeltaHistory(task_id="history")
    with DatabricksWorkflow(group_id="vacuum", **workflow) as vacuum:
        training.StepOperator(task_id="sync", entry_point="sync")

    ask >> found
    removed >> rest >> held >> wheel
    delta >> history >> vacuum >> tasks.record()

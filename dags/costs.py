"""### Costs: what was used, and what it comes to by list prices

Runs every morning, for the day before; a manual run is for today. What is used is measured at its source,
priced by the price list (`OPINION_PRICES_FILE`), and kept in the table `usage`; the view `costs` multiplies.
No figure is a bill: discounts, free tiers, taxes, and what no row names (Airflow itself, the streamer's
machine, network, logs) are not in it.

| Step | What it does |
|---|---|
| `measure` | one mapped task for each service; replaces its object of the day, and adds missed days |
| `report` | the month, so far and projected; notifies above the limit; fails if a service was not measured |

| Service | Measured by |
|---|---|
| `x` | the ledger of posts bought, for every day of the month so far |
| `firehose` | the day's lines in raw, heartbeats and quarantine: at most what is billed |
| `sagemaker` | the jobs' start and end times; endpoints while they are seen, or have answered |
| `athena` | the statistics of the workgroup's queries |
| `databricks` | the runs' hours; DBUs by the list |
| `s3` | a listing of the bucket: bytes, and objects written on the day |
| `quicksight` | the numbers of users in the settings |

The limit is `OPINION_MONTHLY_COST_LIMIT`.

It is a DAG of its own because it waits for nothing and nothing waits for it: a service that does not answer
fails its own task, and neither labels nor dashboards are late for it.

**Every task can be cleared at any time**: its day stays the same, and its objects are replaced. A day
that a service has forgotten (after 7 days, `s3` after 1) keeps its rows.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.sdk import DAG, CronTriggerTimetable

from include.operators import costs as tasks
from include.operators.defaults import task_defaults
from include.operators.notifications import Notify, run_failed

with DAG(
    dag_id="costs",
    description="Measures what was used, and prices it by the list",
    doc_md=__doc__,
    # The first run waits for the next morning.
    schedule=CronTriggerTimetable("15 6 * * *", timezone="UTC", run_immediately=timedelta(seconds=1)),
    catchup=False,
    max_active_runs=1,
    on_failure_callback=Notify(run_failed),
    default_args=task_defaults(timedelta(hours=1)),
    tags=["x-opinion", "costs"],
):
    measured: Any = tasks.measure.expand(service=list(tasks.MEASURED_SERVICES))
    measured >> tasks.report.override(retries=0)()

"""### Insights: from the labeled lake to the dashboards

Runs when labeled hours or predictions change. A run first waits for further changes, so that a catch-up needs
only a few runs. It creates or replaces the views (`sql/views/`), rewrites the hourly aggregates of the days
that changed, checks them, and has QuickSight ingest its data sets.

| Step | What it does |
|---|---|
| `gather` | waits some minutes after the first change; a manual run does not wait |
| `views` | creates or replaces the views that the dashboards and people read |
| `days` | lists the days whose aggregate does not match the lake, whatever started the run |
| `aggregate` | one mapped task for each day: queries Athena and replaces the day's one object |
| `check` | Great Expectations: sums equal the lake's, shares lie between 0 and 1, no hour occurs twice |
| `data_sets` | lists QuickSight's data sets; skipped where QuickSight is not used |
| `ingest` | one mapped task for each data set, at most every 45 minutes: QuickSight allows 32 in 24 hours |

**Every task can be cleared at any time.** A day that has not changed is left as it is, the same rows give the
same bytes, and an ingestion of the same data is reused. Labeled rows expire; aggregates stay.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.sdk import DAG

from include.operators import insights as tasks
from include.operators.assets import LABELED_ASSET, PREDICTED_ASSET
from include.operators.defaults import task_defaults
from include.operators.links import AthenaLink, add_link
from include.operators.notifications import Notify, run_failed
from include.operators.quality import QualityLink

with DAG(
    dag_id="insights",
    description="Aggregates the lake for the dashboards",
    doc_md=__doc__,
    schedule=LABELED_ASSET | PREDICTED_ASSET,
    catchup=False,
    max_active_runs=1,
    on_failure_callback=Notify(run_failed),
    default_args=task_defaults(timedelta(hours=6)),
    tags=["x-opinion", "dashboards"],
):
    gather = tasks.GatherChangesOperator(task_id="gather")
    views = tasks.views()
    days: Any = tasks.days()
    aggregated: Any = tasks.aggregate.override(max_active_tis_per_dagrun=4).expand(day=days)
    checked = tasks.check(aggregated)
    data_sets: Any = tasks.data_sets()
    ingest = tasks.IngestDataSetOperator.partial(task_id="ingest").expand(data_set=data_sets)

    add_link(QualityLink(), checked)
    add_link(AthenaLink(), views, aggregated, checked)
    gather >> views >> days
    checked >> data_sets

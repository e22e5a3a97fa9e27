"""### Live: the open hour, labeled again every few minutes

Runs every `OPINION_LIVE_MINUTES` minutes; with 0, the default, only when it is started manually. It does what
`transform` does, for the hour that is under way: the same tasks write the same objects, from what has landed
so far. So the dashboards show tweets within minutes, and nothing is counted twice.

| Situation | What happens |
|---|---|
| nothing has landed since the last run | the run is skipped |
| the hour ends | the next run labels its last minutes, unless the scheduled run of `transform` has |
| that scheduled run ends | its objects replace those that are there; a run in flight never does |
| a run takes longer than the interval | the next one starts when it has ended: runs do not queue |
| an hour is labeled many times | a tweet costs each model one call: answers are kept, for `transform`, too |
| `transform` needs SageMaker, too | its tasks take free slots of the pool first |

At its end the day's aggregate is made again, so the pages in Airflow show the open hour. The asset `labeled`
is not updated: `insights`, with QuickSight, runs after the scheduled run, hourly. `coverage` shows the hour
as *in progress* as before.

**Every task can be cleared at any time.** A run that has listed less than another never replaces its objects,
so a task that is cleared after the hour has ended changes nothing that `transform` has written.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.sdk import DAG, CronTriggerTimetable

from include.operators import insights
from include.operators import transform as tasks
from include.operators.defaults import task_defaults
from include.operators.links import AthenaLink, add_link
from include.operators.notifications import Notify, live_key, run_failed
from include.operators.quality import QualityLink
from include.settings import settings

EVERY = settings().live_minutes

with DAG(
    dag_id="live",
    description="Labels the open hour again every few minutes",
    doc_md=__doc__,
    schedule=CronTriggerTimetable(f"*/{EVERY} * * * *", timezone="UTC") if EVERY else None,
    catchup=False,
    max_active_runs=1,
    on_failure_callback=Notify(run_failed, key=live_key),
    # Below every task of `transform`, whose weight counts the tasks after it.
    default_args=task_defaults(timedelta(hours=1), retries=2, priority_weight=1, weight_rule="absolute"),
    tags=["x-opinion", "labeling"],
):
    window: Any = tasks.open_window()
    labeled = tasks.label_hour(window)
    day: Any = tasks.day_of(window)
    aggregated: Any = insights.aggregate(day)
    checked = insights.check([aggregated])

    add_link(QualityLink(), checked)
    add_link(AthenaLink(), aggregated, checked)
    labeled >> aggregated

"""### Drift: whether the tweets are still those that people audited

Runs every morning. An audit corrects the ratios for the errors that a model makes on one mix of tweets; when
the mix changes, the correction no longer fits.

| Step | What it does |
|---|---|
| `outdated` | lists the recent and the audited days whose objects have changed |
| `mix` | one mapped task for each day: counts its tweets by language, country, probability and more |
| `measure` | compares the last `OPINION_DRIFT_DAYS` days with the newest audit; writes the table `drift` |
| `shifts` | compares the day's rectified net sentiment with the `OPINION_SHIFT_DAYS` days before it |
| `check` | warns where a change is larger than `OPINION_DRIFT_TOLERATED` and than chance can make it |

The measure is the population stability index. A warning appears on the pages and is sent once for each audit
and dimension; the answer is a new audit. Without an audit nothing is compared.

A shift is sent once for each topic and day: the net sentiment has left the range that sampling, the audit's
error and the days' own changes explain. An ordinary day does so with the probability `OPINION_SHIFT_CHANCE`.

A scheduled run compares up to the day before, a manual run up to its own day.

**Every task can be cleared at any time**: its days stay the same, and their objects are replaced.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.sdk import DAG, CronTriggerTimetable

from include.operators import drift as tasks
from include.operators.defaults import task_defaults
from include.operators.links import add_link
from include.operators.notifications import Notify, run_failed
from include.operators.quality import QualityLink

with DAG(
    dag_id="drift",
    description="Compares the recent tweets with those that people audited",
    doc_md=__doc__,
    schedule=CronTriggerTimetable("30 5 * * *", timezone="UTC"),
    catchup=False,
    max_active_runs=1,
    on_failure_callback=Notify(run_failed),
    default_args=task_defaults(timedelta(hours=1)),
    tags=["x-opinion", "audit"],
):
    days: Any = tasks.outdated()
    mixes = tasks.mix.expand(day=days)
    measured: Any = tasks.measure()
    mixes >> measured
    checked = tasks.check(measured)
    tasks.shifts()

    add_link(QualityLink(), checked)

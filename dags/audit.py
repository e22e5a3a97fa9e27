"""### Audit: a random sample of labeled tweets for people to judge

Runs every Monday for the week before, ahead of `train`, and manually. The judgments show how far the models'
labels can be trusted.

| Step | What it does |
|---|---|
| `waves` | lists the waves of the requested days; a wave is an ISO week, split where the month changes |
| `draw` | one mapped task for each wave: draws tweets at random, and records each one's chance |

Strata are topic, language and wave. A month has `OPINION_AUDIT_TWEETS` tweets for each topic, of which at
least `OPINION_AUDIT_LANGUAGE_TWEETS` are in each language that makes up `OPINION_AUDIT_LANGUAGE_SHARE` of the
topic. Only hours that have ended and that no check blocks are drawn from.

**Every task can be cleared at any time.** A keyed hash of the ids decides which tweets are drawn, so the same
lake gives the same tweets, and draws are kept after the tweets have expired. If another model labels the
tweets again, the same tweets are drawn with the new labels, and their judgments still count.

On a laptop, `python -m local audit --labels FILE` judges from a file of human labels.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.sdk import DAG, CronTriggerTimetable, Param

from include.operators import audit as tasks
from include.operators.defaults import task_defaults
from include.operators.notifications import Notify, run_failed

with DAG(
    dag_id="audit",
    description="Draws the tweets that people judge",
    doc_md=__doc__,
    schedule=CronTriggerTimetable("0 3 * * 1", timezone="UTC"),
    catchup=False,
    max_active_runs=1,
    on_failure_callback=Notify(run_failed),
    params={
        "first_day": Param(
            None, type=["null", "string"], pattern=tasks.DAY_PATTERN, title="First day, UTC (yyyy-MM-dd)"
        ),
        "last_day": Param(
            None, type=["null", "string"], pattern=tasks.DAY_PATTERN, title="Last day, UTC (yyyy-MM-dd)"
        ),
        "tweets": Param(
            None,
            type=["null", "integer"],
            minimum=1,
            title="Tweets of each topic and wave; empty: the wave's share of the month's number",
        ),
    },
    default_args=task_defaults(timedelta(hours=6)),
    tags=["x-opinion", "audit"],
):
    waves: Any = tasks.waves()
    tasks.draw.expand(wave=waves)

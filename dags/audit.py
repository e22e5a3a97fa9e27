"""
### Audit: a random sample of the lake's tweets, which people judge

Every Monday for the week before, and by hand. What people say of the drawn tweets shows how far the models'
labels can be trusted.

| Step | Does |
|---|---|
| `waves` | the waves of the days asked for: a wave is an ISO week, cut where the month changes |
| `draw` | one task a wave: draws tweets of each topic at random, and keeps each one's chance of being drawn |

Strata are topic, language and wave: a month has `OPINION_AUDIT_TWEETS` tweets a topic, and at least
`OPINION_AUDIT_LANGUAGE_TWEETS` of a language that makes up `OPINION_AUDIT_LANGUAGE_SHARE` of it. Drawn are
hours that have ended and that no check blocks.

**Every task can be cleared at any time**: a keyed hash of their ids decides which tweets are drawn, so the
same lake gives the same tweets, and what was drawn stays where the tweets have expired since. Where tweets
were labeled anew by another model, the same tweets are drawn with its labels, and their judgments count on.

On this machine `python -m local audit --labels FILE` judges as the human labels of a file say.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pendulum
from airflow.sdk import DAG, CronTriggerTimetable, Param

from include.operators import audit as tasks
from include.operators.notifications import Notify, run_failed

with DAG(
    dag_id="audit",
    description="Draws the tweets that people judge",
    doc_md=__doc__,
    schedule=CronTriggerTimetable("0 5 * * 1", timezone="UTC"),
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
            title="Tweets of a topic in each wave; none: the wave's share of the month's",
        ),
    },
    default_args={
        "owner": "x-opinion",
        "retries": 3,
        "execution_timeout": timedelta(hours=6),
        "retry_delay": pendulum.duration(seconds=10),
        "retry_exponential_backoff": True,
        "max_retry_delay": pendulum.duration(minutes=10),
    },
    tags=["x-opinion", "audit"],
):
    waves: Any = tasks.waves()
    tasks.draw.expand(wave=waves)

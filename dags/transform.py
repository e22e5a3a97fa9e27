"""### Transform: one hour of raw tweets becomes labeled Parquet

Runs for every hour (catch-up included), and for any hour manually: trigger it with the parameter `window`,
such as `2026-11-20T05` (UTC). It waits until the hour has passed through Firehose, removes duplicates,
quarantines unusable lines, has SageMaker translate (if a translator is configured) and label the rest, and
publishes one Parquet object for each topic.

**Every task can be cleared at any time, and an hour can be run again as often as you like.** The outputs are
whole objects that are replaced, and each tweet costs each model one call: answers are kept among the work
files, by model and question, and a SageMaker job that is running or has ended is found again. Another model
is asked about all tweets again. An object made from newer raw data is never replaced by one made from older
data. If the work files have expired, clear from `prepare` on. An hour whose raw tweets have expired
(`OPINION_RETENTION_DAYS`) is skipped, and its labels stay. Killing a task stops its job.

**Edited posts**: X gives an edited post a new id, and lists all versions in `edit_history_tweet_ids`. The
newest version counts; older ones are quarantined as `edited`, in whatever order they arrive and whatever
their topic. If a version belongs to the hour before or after (X allows edits for one hour), an object under
`edits/` notifies that hour; `coverage` judges it `late` and reruns it. No model is called again.

Quality: Great Expectations checks the hour before the models are paid for, and again after it is published.
`include/quality/suites.py` says for each expectation whether it blocks or warns, and why; results are kept
under `quality/` in the lake. A published hour that its check blocks stays out of the aggregates and of the
training until it is published again.
"""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import DAG, CronDataIntervalTimetable, Param

from include.operators import transform as tasks
from include.operators.assets import LABELED_ASSET
from include.operators.defaults import task_defaults
from include.operators.delivery import DeliveryWatermarkSensor
from include.operators.notifications import Notify, late_alert, run_failed
from include.settings import settings
from include.window import LABEL_PATTERN
from include.x.topics import load

with DAG(
    dag_id="transform",
    description="Labels one hour of tweets: raw → SageMaker → Parquet",
    doc_md=__doc__,
    schedule=CronDataIntervalTimetable("0 * * * *", timezone="UTC"),
    start_date=settings().collection_start or load(settings().topics_file).collection.start,
    catchup=True,
    max_active_runs=4,
    on_failure_callback=Notify(run_failed),
    deadline=late_alert(),
    params={
        "window": Param(
            None,
            type=["null", "string"],
            pattern=LABEL_PATTERN,
            title="Hour (UTC)",
            description="Such as 2026-11-20T05; if empty, the run's data interval.",
        )
    },
    default_args=task_defaults(timedelta(hours=12)),
    tags=["x-opinion", "labeling"],
):
    window = tasks.window()
    delivered = DeliveryWatermarkSensor(task_id="wait_for_delivery", window=window)
    tasks.label_hour(window, LABELED_ASSET, after=delivered)

"""
### Train: a cheap student learns from what the teacher has labeled

Every Monday and by hand. A Databricks workflow on one job cluster:

| Step | Does |
|---|---|
| `sync` | labeled Parquet into the Delta table: only hours that are new, changed or gone |
| `train` | features with Spark NLP, a small Optuna search over XGBoost's trees, the best as a version |
| `gate` | that version against the champion on one hold-out: promoted if better by a margin |
| `predict` | the champion's predictions, an object an hour: hours that changed, all for a new champion |

Around it `stage_wheel` ships the code of `include/training` by the Files API, `check` compares what was
predicted with what was labeled, and `report` tells what came of it and updates the asset `predicted`.

**Too few tweets, or tweets of one sentiment only, are refused**: `train` and `gate` are then skipped, with
the reason in the log of `train`, and the champion predicts on. Without a champion nothing is predicted.

**Every task can be cleared at any time**: the same data, code and parameters give the model that they gave
before, which is taken again (`retrain` trains it anew), and hours that are predicted already are left alone
(`repredict` does them all). MLflow holds counts, parameters and models, never a text.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pendulum
from airflow.sdk import DAG, CronTriggerTimetable, Param

from include.operators import training as tasks
from include.operators.assets import PREDICTED_ASSET
from include.operators.databricks import DatabricksWorkflow
from include.operators.links import give
from include.operators.notifications import Notify, run_failed
from include.operators.quality import QualityLink
from include.settings import settings

with DAG(
    dag_id="train",
    description="Trains the student on Databricks and predicts with the champion",
    doc_md=__doc__,
    schedule=CronTriggerTimetable("0 4 * * 1", timezone="UTC"),
    catchup=False,
    max_active_runs=1,
    on_failure_callback=Notify(run_failed),
    params={
        "trials": Param(
            settings().training_trials, type="integer", minimum=1, title="Points that the search tries"
        ),
        "retrain": Param(False, type="boolean", title="Train also where the same data has been trained on"),
        "repredict": Param(False, type="boolean", title="Predict all hours, not only the changed ones"),
    },
    default_args={
        "owner": "x-opinion",
        "retries": 3,
        "execution_timeout": timedelta(hours=24),
        "retry_delay": pendulum.duration(seconds=10),
        "retry_exponential_backoff": True,
        "max_retry_delay": pendulum.duration(minutes=10),
    },
    tags=["x-opinion", "training"],
):
    wheel: Any = tasks.stage_wheel()
    with DatabricksWorkflow(
        group_id="model",
        package=tasks.PACKAGE,
        wheel=wheel,
        cluster=tasks.cluster(settings()),
        parameters=tasks.parameters(settings()),
        timeout_seconds=settings().training_timeout_seconds,
    ) as model:
        sync = tasks.StepOperator(task_id="sync", entry_point="sync")
        train = tasks.StepOperator(task_id="train", entry_point="train")
        gate = tasks.StepOperator(task_id="gate", entry_point="gate")
        predict = tasks.StepOperator(task_id="predict", entry_point="predict", trigger_rule="none_failed")
        sync >> train >> gate >> predict
    predicted: Any = predict.output
    gated: Any = gate.output
    checked: Any = tasks.check()
    reported: Any = tasks.report.override(outlets=[PREDICTED_ASSET])(predicted, gated, checked)
    predict >> checked
    give(QualityLink(), checked)
    give(tasks.ModelLink(), reported)

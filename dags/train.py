"""### Train: a small student model learns from the teacher's labels

Runs every Monday, and manually. It is a Databricks workflow on one job cluster:

| Step | What it does |
|---|---|
| `sync` | copies labeled Parquet into the Delta table: only hours that are new, changed or removed |
| `train` | reads texts with Spark NLP, scores n-grams, searches XGBoost's parameters, registers the best |
| `gate` | compares it with the champion on one hold-out; people's judgments decide, else a margin |
| `predict` | writes the champion's predictions for changed hours, or for all hours if it is new |

Around the workflow, `stage_wheel` uploads the code of `include/training`, `check` compares predictions with
labels, `report` shows the outcome and updates the asset `predicted`, and `compare_with_people` notes what the
champion says of the tweets that people judge.

**With too few tweets, or tweets of only one sentiment, no model is trained**: `train` and `gate` are skipped,
the log of `train` has the reason, and the current champion keeps predicting. Without a champion nothing is
predicted.

**Every task can be cleared at any time.** The same data, code and parameters reuse the model that they gave
before (`retrain` trains it again), and hours that are already predicted are left alone (`repredict` predicts
all of them). MLflow holds counts, parameters and models, never text.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.sdk import DAG, CronTriggerTimetable, Param

from include.operators import training as tasks
from include.operators.assets import PREDICTED_ASSET
from include.operators.databricks import DatabricksWorkflow
from include.operators.defaults import task_defaults
from include.operators.links import add_link
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
            settings().training_trials,
            type="integer",
            minimum=1,
            title="Parameter sets to try",
        ),
        "retrain": Param(False, type="boolean", title="Train even if the same data was trained on before"),
        "repredict": Param(False, type="boolean", title="Predict all hours, not only changed ones"),
    },
    default_args=task_defaults(timedelta(hours=24)),
    tags=["x-opinion", "training"],
):
    wheel: Any = tasks.stage_wheel()
    with DatabricksWorkflow(
        group_id="model",
        package=tasks.wheel.NAME,
        wheel=wheel,
        maven=tasks.MAVEN,
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
    tasks.compare_with_people(predicted)
    add_link(QualityLink(), checked)
    add_link(tasks.ModelLink(), reported)

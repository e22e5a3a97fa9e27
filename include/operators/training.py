"""The tasks of `train`: the wheel, the steps of the workflow, the check of the predictions and the report."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator, BaseOperatorLink, task
from airflow.sdk.exceptions import AirflowSkipException

from include.operators.databricks import WorkflowTaskOperator
from include.operators.inputs import client, now
from include.operators.quality import checking
from include.settings import Settings, settings
from include.training import wheel

if TYPE_CHECKING:
    from airflow.providers.databricks.hooks.databricks import DatabricksHook
    from airflow.sdk import Context


MAVEN = ("com.johnsnowlabs.nlp:spark-nlp_2.12:5.5.3",)
"""What Spark NLP needs beside its wheel, by coordinates: libraries of every task."""


def cluster(configured: Settings) -> dict[str, Any]:
    """The job cluster: one machine, as what is trained on fits one.

    Spark NLP's serializer settings are those that its documentation asks for on Databricks.
    """
    machine: dict[str, Any] = {
        "spark_version": configured.training_spark_version,
        "node_type_id": configured.training_node_type,
        "num_workers": 0,
        "data_security_mode": "SINGLE_USER",
        "spark_conf": {
            "spark.master": "local[*, 4]",
            "spark.databricks.cluster.profile": "singleNode",
            "spark.serializer": "org.apache.spark.serializer.KryoSerializer",
            "spark.kryoserializer.buffer.max": "256m",
            # The number of tasks that look for a table's unused files; the default of 10,000 is for many
            # machines.
            "spark.sql.sources.parallelPartitionDiscovery.parallelism": "8",
        },
        "spark_env_vars": {"AWS_DEFAULT_REGION": configured.training_region},
        "custom_tags": {"ResourceClass": "SingleNode", "project": "x-opinion"},
    }
    if configured.training_instance_profile_arn:
        machine["aws_attributes"] = {"instance_profile_arn": configured.training_instance_profile_arn}
    return machine


def parameters(configured: Settings) -> dict[str, str]:
    """The parameters of every step; the templates are the run's own parameters."""
    return {
        "bucket": configured.bucket,
        "model": configured.training_model,
        "experiment": configured.training_experiment,
        "trials": "{{ params.trials }}",
        "seed": str(configured.training_seed),
        "minimum_confidence": str(configured.training_minimum_confidence),
        "minimum_rows": str(configured.training_minimum_rows),
        "margin": str(configured.training_margin),
        **table_parameters(configured),
        "retrain": "{{ params.retrain | lower }}",
        "repredict": "{{ params.repredict | lower }}",
    }


def table_parameters(configured: Settings) -> dict[str, str]:
    """The parameters of the step `sync` beside the bucket."""
    return {
        "retention_days": str(configured.retention_days),
        "history_seconds": str(configured.training_history_seconds),
    }


@task
def stage_wheel() -> str:
    """Builds the training code's wheel and uploads it to the volume if it is missing; returns its path."""
    from include.operators.databricks import upload

    path = f"{settings().training_volume}/wheels/{wheel.file_name()}"
    upload(path, wheel.build())
    return path


class StepOperator(WorkflowTaskOperator):
    """A step of the training: skipped, with the reason, if the step found nothing to do.

    A week without enough tweets is therefore not a failure: train and gate are skipped, and the champion
    still predicts. Returns the step's result with the run's ids.
    """

    def _settle(
        self, context: Context, databricks: DatabricksHook, attempt: dict[str, Any]
    ) -> dict[str, Any]:
        from include.training import hours

        outcome: dict[str, Any] = {}
        if attempt["state"].get("result_state") == "SUCCESS":
            # Before the attempt counts as seen: if S3 fails, the next try finds it and runs nothing again.
            outcome = hours.read_outcome(client("s3"), settings().bucket, self.entry_point)
        found = super()._settle(context, databricks, attempt)
        if outcome.get("rejected"):
            raise AirflowSkipException(str(outcome["rejected"]))
        return {**found, **outcome}


@task
def check(ti: Any = None) -> dict[str, Any]:
    """The suite ``predictions`` on the champion's predictions."""
    from include.quality.checks import check_predictions
    from include.window import Window

    period = Window.containing(now()).label
    with checking(ti, "predictions", period):
        result = check_predictions(client("s3"), settings(), period)
    return result.summary()


@task
def compare_with_people(predicted: dict[str, Any]) -> int:
    """Notes the champion's labels of the tweets drawn for people to judge; how many tweets that are."""
    from include.audit.records import predict

    return predict(client("s3"), settings(), f"v{predicted['version']}", now().date())


class ModelLink(BaseOperatorLink):
    """Links the report to the version in use, in MLflow's registry."""

    name = "Model"

    def get_link(self, operator: BaseOperator, *, ti_key: Any) -> str:
        """The address; none if the settings name no registry."""
        found = ti_key.xcom_pull(task_ids=operator.task_id, key="return_value")
        if not found:
            return ""
        return settings().training_model_url.format(
            model=settings().training_model, version=found["champion"]
        )


@task(trigger_rule="none_failed_min_one_success")
def report(
    predicted: dict[str, Any],
    gated: dict[str, Any] | None,
    checked: dict[str, Any],
    outlet_events: Any = None,
) -> dict[str, Any]:
    """The result of a run: the ``champion`` that predicts, and the ``candidate`` that was trained, if any.

    The asset's event names the model that predicts.
    """
    result = {
        "champion": predicted["version"],
        "candidate": gated
        and {name: gated[name] for name in ("version", "alias", "promoted", "reason", "metrics")},
        "predictions": predicted["total"],
        "checked": checked["checked"],
    }
    for asset in outlet_events or ():
        outlet_events[asset].extra = {"model": f"v{predicted['version']}", "rows": predicted["rows"]}
    return result

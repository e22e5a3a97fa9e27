"""The steps' use of MLflow: counts, parameters and models go there, never a text.

Tracking server and registry are the environment's: Databricks' own on a cluster, else MLFLOW_TRACKING_URI.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import mlflow
from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag
from mlflow.exceptions import MlflowException
from mlflow.tracking.context.registry import resolve_tags
from pyspark.ml import PipelineModel

CHAMPION, CHALLENGER = "champion", "challenger"
"""The aliases: the version that predicts, and the one that was not better."""

_ABSENT = frozenset({"RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE", "NOT_FOUND"})


@dataclass(frozen=True)
class ModelVersion:
    """A registered version and the run that trained it."""

    number: int
    run_id: str
    tags: Mapping[str, str]


class Registry:
    """One registered model and the experiment of its runs."""

    def __init__(self, model: str, experiment: str) -> None:
        self.model = model
        self.client = MlflowClient()
        found = mlflow.set_experiment(experiment)
        self.experiment_id = found.experiment_id
        self._loaded: dict[int, PipelineModel] = {}

    def aliased(self, alias: str) -> ModelVersion | None:
        """The version with an alias; None if there is none."""
        try:
            found = self.client.get_model_version_by_alias(self.model, alias)
        except MlflowException as error:
            if error.error_code in _ABSENT:
                return None
            raise
        return ModelVersion(int(found.version), str(found.run_id), dict(found.tags))

    def set_alias(self, alias: str, version: ModelVersion) -> None:
        """Moves an alias to a version."""
        self.client.set_registered_model_alias(self.model, alias, str(version.number))

    def drop_alias(self, alias: str) -> None:
        """Removes an alias, if it exists."""
        if self.aliased(alias):
            self.client.delete_registered_model_alias(self.model, alias)

    def tag(self, version: ModelVersion, tags: Mapping[str, str]) -> None:
        """Puts tags on a version."""
        for key, value in tags.items():
            self.client.set_model_version_tag(self.model, str(version.number), key, value)

    def trained(self, training: str) -> ModelVersion | None:
        """The version registered by a finished run with this ``training`` tag."""
        runs = self.client.search_runs(
            [self.experiment_id],
            f"tags.training = '{training}' and attributes.status = 'FINISHED'",
            max_results=1,
            order_by=["attributes.start_time DESC"],
        )
        number = runs[0].data.tags.get("model_version") if runs else None
        if number is None:
            return None
        try:
            return self.version(int(number))
        except MlflowException as error:
            if error.error_code in _ABSENT:
                return None  # somebody deleted it
            raise

    def version(self, number: int) -> ModelVersion:
        """A version by its number."""
        found = self.client.get_model_version(self.model, str(number))
        return ModelVersion(int(found.version), str(found.run_id), dict(found.tags))

    def metrics(self, version: ModelVersion) -> dict[str, float]:
        """The metrics of the run that trained a version."""
        return dict(self.client.get_run(version.run_id).data.metrics)

    def load(self, version: ModelVersion) -> PipelineModel:
        """The version's pipeline, fetched once: the gate evaluates it on the hold-out and on judgments."""
        import mlflow.spark

        if version.number not in self._loaded:
            self._loaded[version.number] = mlflow.spark.load_model(f"models:/{self.model}/{version.number}")
        return self._loaded[version.number]

    def trial(
        self, parent: str, name: str, parameters: Mapping[str, object], metrics: Mapping[str, float]
    ) -> None:
        """Records one trial of the search as a child run."""
        tags = {**resolve_tags(), "mlflow.parentRunId": parent, "mlflow.runName": name}
        run = self.client.create_run(self.experiment_id, tags=tags, run_name=name)
        self.client.log_batch(
            run.info.run_id,
            metrics=[Metric(key, value, run.info.start_time, 0) for key, value in metrics.items()],
            params=[Param(key, str(value)) for key, value in parameters.items()],
            tags=[RunTag("kind", "trial")],
        )
        self.client.set_terminated(run.info.run_id)

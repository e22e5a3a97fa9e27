"""The step train: trains the student and registers it as a new version.

Everything that determines the model (data, code, parameters) has a digest, and an existing version with that
digest is reused. The step can therefore be cleared, or killed and repeated, without filling the registry.
"""

from __future__ import annotations

import hashlib
import json
import logging
from dataclasses import dataclass
from importlib.metadata import version as installed
from typing import TYPE_CHECKING

import mlflow
import mlflow.spark
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, DataType, Schema
from pyspark.sql import SparkSession

from include.training import data, hours
from include.training.parameters import Parameters
from include.training.registry import Registry
from include.training.search import Trial
from include.training.student import learn
from include.training.wheel import content_digest

if TYPE_CHECKING:
    from types_boto3_s3.client import S3Client

log = logging.getLogger(__name__)

_SIGNATURE = ModelSignature(
    inputs=Schema([ColSpec(DataType.string, name) for name in ("text", "lang")]),
    outputs=Schema([ColSpec(DataType.double, "prediction")]),
)
_REQUIREMENTS = ("pyspark", "spark-nlp", "xgboost-cpu")


@dataclass(frozen=True)
class TrainResult:
    """The candidate, and its scores on the validation and the hold-out rows."""

    version: int
    reused: bool
    metrics: dict[str, float]


def train(spark: SparkSession, s3: S3Client, parameters: Parameters) -> TrainResult:
    """Trains and registers a version: the candidate.

    Raises `TrainingRejectedError` if there are too few rows; the registry is then unchanged.
    """
    synced = hours.read_synced(s3, parameters.bucket)
    registry = Registry(parameters.model, parameters.experiment)
    training = training_digest(synced.digest, parameters)
    standing = None if parameters.retrain else registry.trained(training)
    if standing:
        log.info("reusing version=%d training=%s", standing.number, training)
        return TrainResult(standing.number, True, registry.metrics(standing))

    if not synced.hours:
        data.require({}, parameters.minimum_rows)
    rows = data.rows(spark, parameters)
    counted = rows.groupBy("split", "label").count().collect()
    counts = {(row["split"], int(row["label"])): row["count"] for row in counted}
    data.require(counts, parameters.minimum_rows)
    with mlflow.start_run(experiment_id=registry.experiment_id, run_name=f"train {training}") as run:
        mlflow.set_tags({"kind": "train", "training": training, "data": synced.digest})
        mlflow.log_params({name: value for name, value in parameters.named().items() if name in _DECISIVE})
        student = learn(
            rows,
            parameters.trials,
            parameters.seed,
            lambda trial: _record(registry, run.info.run_id, trial),
        )
        metrics = {
            **{f"rows_{split}": float(count) for split, count in _by_split(counts).items()},
            **student.metrics,
        }
        mlflow.log_metrics(metrics)
        mlflow.log_params({f"best_{name}": value for name, value in student.parameters.items()})
        registered = mlflow.spark.log_model(
            student.pipeline,
            artifact_path="model",
            registered_model_name=parameters.model,
            signature=_SIGNATURE,
            pip_requirements=[f"{name}=={installed(name)}" for name in _REQUIREMENTS],
        )
        number = int(registered.registered_model_version)
        mlflow.set_tag("model_version", str(number))
    registry.tag(registry.version(number), {"training": training, "data": synced.digest})
    log.info("trained version=%d training=%s metrics=%s", number, training, json.dumps(metrics))
    return TrainResult(number, False, metrics)


_DECISIVE = ("trials", "seed", "minimum_confidence", "minimum_rows")
"""The parameters that the model depends on."""


def training_digest(data_digest: str, parameters: Parameters) -> str:
    """The digest of a model's inputs, 16 hexadecimal digits: the data, this code and the parameters."""
    decisive = {name: value for name, value in parameters.named().items() if name in _DECISIVE}
    text = json.dumps([data_digest, content_digest(), decisive], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _by_split(counts: dict[tuple[str, int], int]) -> dict[str, int]:
    return {split: sum(count for (part, _), count in counts.items() if part == split) for split, _ in counts}


def _record(registry: Registry, parent: str, trial: Trial) -> None:
    registry.trial(parent, f"trial {trial.number}", trial.parameters, trial.metrics)

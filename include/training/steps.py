"""The steps as a wheel's entry points.

Each prints its result as one line of JSON, counts only. Steps that share a cluster also share the Spark
session.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from include.training import hours
from include.training.errors import TrainingRejectedError
from include.training.parameters import Parameters

log = logging.getLogger(__name__)


def sync() -> None:
    """Labeled Parquet into Delta."""
    run("sync", sys.argv[1:])


def train() -> None:
    """A candidate from the synced rows."""
    run("train", sys.argv[1:])


def gate() -> None:
    """The candidate against the champion."""
    run("gate", sys.argv[1:])


def predict() -> None:
    """The champion's predictions."""
    run("predict", sys.argv[1:])


def run(step: str, arguments: Sequence[str]) -> dict[str, Any]:
    """Runs one step with ``--name=value`` arguments; prints, stores and returns its result.

    If there is too little data for a model, train's result is ``{"rejected": why}``, and the run continues
    with the champion. Raises `ParameterError` and `StateError` with what to do.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    for noisy in ("py4j", "botocore", "XGBoost-PySpark"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    parameters = Parameters.parse(arguments)
    begin = time.monotonic()

    from pyspark.sql import SparkSession

    from include import aws

    spark = SparkSession.builder.appName("x-opinion").getOrCreate()
    s3 = aws.client("s3")
    try:
        result = asdict(_function(step)(spark, s3, parameters))
    except TrainingRejectedError as error:
        log.warning("rejected: %s", error)
        result = {"rejected": str(error)}
    finally:
        spark.catalog.clearCache()  # the next step may share the session
    hours.write_outcome(s3, parameters.bucket, step, result)
    log.info("step=%s seconds=%.1f", step, time.monotonic() - begin)
    print(json.dumps(result), flush=True)
    return result


def _function(step: str) -> Any:
    match step:
        case "sync":
            from include.training.sync import sync

            return sync
        case "train":
            from include.training.train import train

            return train
        case "gate":
            from include.training.gate import gate

            return gate
        case "predict":
            from include.training.predict import predict

            return predict
    raise ValueError(f"there is no step {step!r}")

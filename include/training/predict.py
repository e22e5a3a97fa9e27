"""The step predict: the champion's prediction for every labeled tweet, one whole Parquet object per hour.

Only hours that changed since they were predicted are processed, or all of them if the champion has changed.
Tweets that were removed meanwhile leave their predictions again (`second_look`). The predictions of hours
that were deleted from the lake are deleted; those of expired hours contain no text and stay until the
bucket's own rule deletes them, like the labels that they are compared with. The note is written last.
"""

from __future__ import annotations

import io
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pyarrow.parquet as pq
from pyspark.ml.functions import vector_to_array
from pyspark.sql import SparkSession, functions

from include import aws
from include.lake import layout, storage, tables
from include.lake.schemas import PREDICTIONS, SENTIMENTS
from include.training import hours
from include.training.errors import TrainingRejectedError
from include.training.parameters import Parameters
from include.training.registry import CHAMPION, Registry
from include.training.second_look import look_again
from include.training.sync import in_hours, location

if TYPE_CHECKING:
    import pandas as pd
    from types_boto3_s3.client import S3Client

log = logging.getLogger(__name__)

_AT_ONCE = 2_000
"""Hours per Spark job."""


@dataclass(frozen=True)
class PredictResult:
    """The champion, the hours and rows predicted now, and the total rows."""

    version: int
    hours: int
    removed: int
    rows: int
    total: int


def version_name(number: int) -> str:
    """The partition value ``model``: ``v3``."""
    return f"v{number}"


def predict(spark: SparkSession, s3: S3Client, parameters: Parameters) -> PredictResult:
    """Predicts what is not predicted yet.

    Raises `TrainingRejectedError` without a champion, `StateError` if nothing was ever synced.
    """
    registry = Registry(parameters.model, parameters.experiment)
    champion = registry.aliased(CHAMPION)
    if champion is None:
        raise TrainingRejectedError(
            f"nothing was predicted: no version of {parameters.model} is champion yet"
        )
    synced = hours.read_synced(s3, parameters.bucket)
    noted = hours.find_predicted(s3, parameters.bucket)
    same = noted is not None and (noted.model, noted.version) == (parameters.model, champion.number)
    done = noted if noted and same else hours.Predicted(parameters.model, champion.number)
    name = version_name(champion.number)
    todo = hours.difference({} if parameters.repredict else done.hours, synced.hours)
    today = datetime.now(UTC).date()
    gone = [
        hour
        for hour in sorted(done.hours.keys() - synced.hours.keys())
        if hours.parse(hour)[1].is_within(parameters.retention_days, today)
    ]
    counted: dict[str, list[int]] = {}
    if todo.changed:
        model = registry.load(champion)
        rows = spark.read.format("delta").load(location(parameters.bucket))
        for start in range(0, len(todo.changed), _AT_ONCE):
            changed = todo.changed[start : start + _AT_ONCE]
            judged = (
                model.transform(
                    rows.where(in_hours(changed)).select("topic", "hour", "tweet_id", "text", "lang")
                )
                .withColumn("p", vector_to_array("probability"))
                .select(
                    "topic", "hour", "tweet_id", *(functions.col("p")[i].alias(f"p{i}") for i in range(3))
                )
            )
            keys = {hour: layout.predictions_key(name, *hours.parse(hour)) for hour in changed}
            written = judged.groupBy("topic", "hour").applyInPandas(
                _writer(parameters.bucket, keys), "hour string, counts array<bigint>"
            )
            counted |= {row["hour"]: list(row["counts"]) for row in written.collect()}
            for hour in keys.keys() - counted.keys():
                _write_empty(s3, parameters.bucket, keys[hour])
                counted[hour] = [0] * len(SENTIMENTS)
    counted |= look_again(s3, parameters.bucket, name, synced.hours, todo.changed)
    for hour in gone:
        storage.delete(s3, parameters.bucket, layout.predictions_key(name, *hours.parse(hour)))
    kept = {hour: counts for hour, counts in done.counts.items() if hour in synced.hours}
    predicted = hours.Predicted(parameters.model, champion.number, synced.hours, {**kept, **counted})
    hours.write_predicted(s3, parameters.bucket, predicted)
    rows_now, total = (sum(map(sum, some.values())) for some in (counted, predicted.counts))
    log.info(
        "predicted version=%d hours=%d rows=%d total=%d", champion.number, len(todo.changed), rows_now, total
    )
    return PredictResult(champion.number, len(todo.changed), len(gone), rows_now, total)


def _writer(bucket: str, keys: Mapping[str, str]) -> Callable[[tuple[str, str], pd.DataFrame], pd.DataFrame]:
    """Writes the predictions of one topic and hour on the executor that holds them.

    A closure: it is shipped whole, so executors do not need this package.
    """
    schema, sentiments, options = PREDICTIONS, SENTIMENTS, dict(aws.OPTIONS)

    def write(key: tuple[str, str], frame: pd.DataFrame) -> pd.DataFrame:
        import boto3
        import numpy as np
        import pandas as pd
        import pyarrow as pa
        from botocore.config import Config

        frame = frame.sort_values("tweet_id")
        probabilities = frame[["p0", "p1", "p2"]].to_numpy(np.float64)
        best = probabilities.argmax(axis=1)
        names = np.array(sentiments, dtype=object)[best]
        columns = [frame["tweet_id"].to_numpy(), names, *probabilities.T]
        table = pa.table([pa.array(column) for column in columns], schema=schema)
        body = io.BytesIO()
        pq.write_table(table, body, compression="zstd")
        hour = "/".join(key)
        s3 = boto3.client("s3", config=Config(**options))
        s3.put_object(Bucket=bucket, Key=keys[hour], Body=body.getvalue())
        counts = np.bincount(best, minlength=len(sentiments)).tolist()
        return pd.DataFrame({"hour": [hour], "counts": [counts]})

    return write


def _write_empty(s3: S3Client, bucket: str, key: str) -> None:
    """An hour without a labeled tweet has its object too, which proves that the hour was processed."""
    storage.put(s3, bucket, key, tables.encode(PREDICTIONS.empty_table()))

"""The step sync: labeled Parquet into a Delta table, only the hours that have changed.

A changed hour replaces its rows in one MERGE, which inserts, updates and deletes. The note of what is synced
is written after the table, so a step that was killed in between repeats the same MERGE.

Texts expire: hours older than the retention are deleted from the table whether or not their objects still
exist, and a VACUUM deletes the files that the table has not used for a week (Delta's default, which lets
readers of an earlier version finish).
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from delta.tables import DeltaTable
from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, SparkSession, functions

from include.lake import layout, quality, storage
from include.training import hours
from include.training.parameters import Parameters

if TYPE_CHECKING:
    from types_boto3_s3.client import S3Client

log = logging.getLogger(__name__)

_READ = (
    "tag string, tweet_id bigint, text string, lang string, translated_text string, sentiment string,"
    " score double"
)
_IDENTITY = ("topic", "tweet_id")
_VALUES = ("dt", "hour", "lang", "text", "sentiment", "confidence")
_STATISTICS = "topic,hour"
"""Columns whose minimum and maximum are in the table's log: no text, no id, as the log outlives the rows."""
_AT_ONCE = 2_000
"""Hours per MERGE: as many as a statement can name without becoming slow to plan."""
_LOOKS = 3
"""How often the labeled objects are listed and read, if one is replaced in between."""


@dataclass(frozen=True)
class SyncResult:
    """Counts of hours, how many rows left the table, and the digest of the table's hours."""

    changed: int
    gone: int
    hours: int
    rows_removed: int
    digest: str


def location(bucket: str) -> str:
    """The address of the Delta table."""
    return f"s3://{bucket}/{layout.DELTA_LABELED}"


def sync(spark: SparkSession, s3: S3Client, parameters: Parameters) -> SyncResult:
    """Updates the Delta table to the labeled layer's rows with a sentiment.

    Expired hours and those that a check blocks are left out. What the table has not needed for
    ``history_seconds`` is deleted (VACUUM): that long old files hold rows that were removed. If a labeled
    object is replaced while Spark reads it, all are listed and read again.
    """
    look = 1
    while True:
        listed = hours.labeled(s3, parameters.bucket)
        try:
            return _update(spark, s3, parameters, listed)
        except (Py4JJavaError, PySparkException):
            if look == _LOOKS or hours.labeled(s3, parameters.bucket) == listed:
                raise
            log.warning("looking again: a labeled object was replaced while it was read", exc_info=True)
        look += 1


def _update(spark: SparkSession, s3: S3Client, parameters: Parameters, listed: hours.Hours) -> SyncResult:
    bucket, today = parameters.bucket, datetime.now(UTC).date()
    there = {
        hour: etag
        for hour, etag in listed.items()
        if hours.parse(hour)[1].is_within(parameters.retention_days, today)
    }
    stood = exists = _exists(s3, bucket)
    since = _version(spark, bucket) if stood else -1
    done = _done(spark, s3, bucket) if stood else {}
    for hour in _blocked(s3, bucket, hours.difference(done, there).changed):
        # It stays unchanged in the table until it is published again.
        del there[hour]
        there |= {hour: done[hour]} if hour in done else {}
    todo = hours.difference(done, there)
    for start in range(0, len(todo.changed), _AT_ONCE):
        changed = todo.changed[start : start + _AT_ONCE]
        rows = _rows(spark, bucket, changed)
        if exists:
            _merge(DeltaTable.forPath(spark, location(bucket)), rows, changed)
        else:
            writer = rows.write.format("delta").partitionBy("dt")
            writer.options(**_properties(parameters)).save(location(bucket))
            exists = True
    if stood:
        table = DeltaTable.forPath(spark, location(bucket))
        _keep_properties(spark, table, parameters)
        if todo.gone:
            table.delete(in_hours(todo.gone))
        if todo:
            table.optimize().executeCompaction()
        table.vacuum()
    synced = hours.Synced(there)
    hours.write_synced(s3, bucket, synced)
    removed = _rows_removed(spark, bucket, since) if stood else 0
    log.info(
        "synced changed=%d gone=%d hours=%d rows_removed=%d",
        len(todo.changed),
        len(todo.gone),
        len(there),
        removed,
    )
    return SyncResult(len(todo.changed), len(todo.gone), len(there), removed, synced.digest)


def _properties(parameters: Parameters) -> dict[str, str]:
    """The table's: a row that is deleted must leave the files, and not only be marked in them."""
    return {
        "delta.dataSkippingStatsColumns": _STATISTICS,
        "delta.deletedFileRetentionDuration": f"interval {parameters.history_seconds} seconds",
        "delta.enableDeletionVectors": "false",
    }


def _keep_properties(spark: SparkSession, table: DeltaTable, parameters: Parameters) -> None:
    """Brings the properties of a table that was made with others up to date."""
    wanted = _properties(parameters)
    (detail,) = table.detail().select("properties").collect()
    if wanted.items() - detail["properties"].items():
        listed = ", ".join(f"'{name}' = '{value}'" for name, value in sorted(wanted.items()))
        spark.sql(f"ALTER TABLE delta.`{location(parameters.bucket)}` SET TBLPROPERTIES ({listed})")


def _version(spark: SparkSession, bucket: str) -> int:
    """The table's present version."""
    (latest,) = DeltaTable.forPath(spark, location(bucket)).history(1).select("version").collect()
    return int(latest["version"])


def _rows_removed(spark: SparkSession, bucket: str, since: int) -> int:
    """How many rows were deleted after a version, by the table's own history."""
    history = DeltaTable.forPath(spark, location(bucket)).history().where(f"version > {since}")
    counts = [row["operationMetrics"] or {} for row in history.select("operationMetrics").collect()]
    names = ("numTargetRowsDeleted", "numDeletedRows")
    return sum(int(metrics.get(name, 0)) for metrics in counts for name in names)


def _done(spark: SparkSession, s3: S3Client, bucket: str) -> hours.Hours:
    """The hours in the table; without a note of their state, all of them count as changed."""
    note = hours.find_synced(s3, bucket)
    if note:
        return note.hours
    held = spark.read.format("delta").load(location(bucket)).select("topic", "hour").distinct()
    return {f"{row['topic']}/{row['hour']}": "" for row in held.collect()}


def _blocked(s3: S3Client, bucket: str, some: Sequence[str]) -> list[str]:
    """Those of some hours whose check blocks them."""
    windows = {hours.parse(hour)[1] for hour in some}
    verdicts = {window: quality.find(s3, bucket, "labeled", window) for window in windows}
    blocking = {window for window, verdict in verdicts.items() if verdict and verdict.blocks}
    found = [hour for hour in some if hours.parse(hour)[1] in blocking]
    if found:
        log.warning("left out hours whose check blocks: %s", ", ".join(found))
    return found


def _exists(s3: S3Client, bucket: str) -> bool:
    """Whether a version of the table was committed: a first write that failed leaves the log's folder."""
    log_objects = storage.objects(s3, bucket, f"{layout.DELTA_LABELED}/_delta_log/")
    return any(found.key.endswith(".json") for found in log_objects)


def _rows(spark: SparkSession, bucket: str, changed: Sequence[str]) -> DataFrame:
    """The rows with a sentiment of some hours, in the table's columns."""
    paths = [f"s3://{bucket}/{layout.labeled_key(*hours.parse(hour))}" for hour in changed]
    hour = functions.regexp_extract("_metadata.file_path", r"/dt=([0-9-]{10})/tweets-([0-9]{2})\.parquet$", 2)
    day = functions.regexp_extract("_metadata.file_path", r"/dt=([0-9-]{10})/tweets-([0-9]{2})\.parquet$", 1)
    return (
        spark.read.schema(_READ)
        .parquet(*paths)
        .where("sentiment IS NOT NULL")
        .select(
            functions.col("tag").alias("topic"),
            "tweet_id",
            day.alias("dt"),
            functions.concat_ws("T", day, hour).alias("hour"),
            "lang",
            functions.coalesce("translated_text", "text").alias("text"),
            "sentiment",
            functions.col("score").alias("confidence"),
        )
    )


def in_hours(some: Sequence[str], table: str = "") -> str:
    """A condition: rows of some hours; it names their days too, so that only those are read."""
    names = ", ".join(f"'{hour}'" for hour in some)
    dates = ", ".join(f"'{date}'" for date in hours.days(some))
    return f"{table}dt IN ({dates}) AND concat({table}topic, '/', {table}hour) IN ({names})"


def _merge(table: DeltaTable, rows: DataFrame, changed: Sequence[str]) -> None:
    same = " AND ".join(f"held.{name} = fresh.{name}" for name in _IDENTITY)
    differs = " OR ".join(f"NOT held.{name} <=> fresh.{name}" for name in _VALUES)
    (
        table.alias("held")
        .merge(rows.alias("fresh"), f"{same} AND {in_hours(changed, 'held.')}")
        .whenMatchedUpdateAll(differs)
        .whenNotMatchedInsertAll()
        .whenNotMatchedBySourceDelete(in_hours(changed, "held."))
        .execute()
    )

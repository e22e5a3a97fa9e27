"""The step sync: labeled Parquet into a Delta table, only the hours that have changed.

A changed hour replaces its rows in one MERGE, which inserts, updates and deletes. The note of what is synced
names these hours before the table is written, and their states after it: a step that was killed in between
repeats the same MERGE, and no hour that the table may hold is missing from the note.

Texts expire: hours older than the retention are deleted from the table whether or not their objects still
exist, and a VACUUM deletes the files that the table no longer needs, but not before readers of an earlier
version have had time to finish.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
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
_UNKNOWN = ""
"""The state of an hour of which the table may hold any rows: it is read again."""


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

    Expired hours are left out. An hour whose check blocks gains no row and changes none until it is published
    again, but it loses those that its object no longer has: they may have been removed on request. VACUUM
    deletes what the table has not needed for ``history_seconds``: until then old files hold removed rows.

    If a labeled object is replaced while Spark reads it, Spark fails or reads only a part of it: all objects
    are then listed, and what has changed is read again. What is replaced each time is read by the next step.
    """
    bucket = parameters.bucket
    since = _version(spark, bucket) if _exists(s3, bucket) else None
    changed: set[str] = set()
    gone: set[str] = set()
    look = 1
    while True:
        listed = hours.labeled(s3, bucket)
        try:
            done, synced = _update(spark, s3, parameters, listed)
        except (Py4JJavaError, PySparkException):
            if look == _LOOKS or hours.labeled(s3, bucket) == listed:
                raise
            log.warning("looking again: a labeled object was replaced while it was read", exc_info=True)
        else:
            changed.update(done.changed)
            gone.update(done.gone)
            replaced = [hour for hour, state in synced.hours.items() if state == _UNKNOWN]
            if replaced:
                log.warning("replaced while they were read: %s", ", ".join(replaced))
            if look == _LOOKS or not replaced:
                break
        look += 1
    removed = _rows_removed(spark, bucket, since) if since is not None else 0
    log.info(
        "synced changed=%d gone=%d hours=%d rows_removed=%d",
        len(changed),
        len(gone),
        len(synced.hours),
        removed,
    )
    return SyncResult(len(changed), len(gone), len(synced.hours), removed, synced.digest)


def _update(
    spark: SparkSession, s3: S3Client, parameters: Parameters, listed: hours.Hours
) -> tuple[hours.Difference, hours.Synced]:
    """Updates the table to the ``listed`` objects; what was done, and what the table holds then.

    The state of an hour whose object was replaced in the meantime is `_UNKNOWN`.
    """
    bucket, today = parameters.bucket, datetime.now(UTC).date()
    there = {
        hour: etag
        for hour, etag in listed.items()
        if hours.parse(hour)[1].is_within(parameters.retention_days, today)
    }
    stood = exists = _exists(s3, bucket)
    done = _done(spark, s3, bucket) if stood else {}
    blocked = _blocked(s3, bucket, hours.difference(done, there).changed)
    for hour in blocked:
        etag = there.pop(hour)
        if hour in done:
            there[hour] = hours.BLOCKED + etag
    todo = hours.difference(done, there)
    if todo.changed:
        hours.write_synced(s3, bucket, hours.Synced({**done, **dict.fromkeys(todo.changed, _UNKNOWN)}))
    for some in _parts([hour for hour in todo.changed if hour not in blocked]):
        rows = _rows(spark, bucket, some)
        if exists:
            _merge(DeltaTable.forPath(spark, location(bucket)), rows, some)
        else:
            writer = rows.write.format("delta").partitionBy("dt")
            writer.options(**_properties(parameters)).save(location(bucket))
            exists = True
    for some in _parts([hour for hour in todo.changed if hour in blocked]):
        table = DeltaTable.forPath(spark, location(bucket))
        _merge(table, _rows(spark, bucket, some), some, only_delete=True)
    now = hours.labeled(s3, bucket) if todo.changed else listed
    replaced = [hour for hour in todo.changed if now.get(hour) != listed[hour]]
    if stood:
        table = DeltaTable.forPath(spark, location(bucket))
        _keep_properties(spark, table, parameters)
        if todo.gone:
            table.delete(in_hours(todo.gone))
        if todo:
            table.optimize().executeCompaction()
        table.vacuum()
    synced = hours.Synced({**there, **dict.fromkeys(replaced, _UNKNOWN)})
    hours.write_synced(s3, bucket, synced)
    return todo, synced


def _parts(some: Sequence[str]) -> Iterator[Sequence[str]]:
    """Hours divided into as many as a MERGE takes."""
    return (some[start : start + _AT_ONCE] for start in range(0, len(some), _AT_ONCE))


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
    return {f"{row['topic']}/{row['hour']}": _UNKNOWN for row in held.collect()}


def _blocked(s3: S3Client, bucket: str, some: Sequence[str]) -> list[str]:
    """Those of some hours whose check blocks them."""
    windows = {hours.parse(hour)[1] for hour in some}
    verdicts = {window: quality.find(s3, bucket, "labeled", window) for window in windows}
    blocking = {window for window, verdict in verdicts.items() if verdict and verdict.blocks}
    found = [hour for hour in some if hours.parse(hour)[1] in blocking]
    if found:
        log.warning("nothing is taken of hours whose check blocks: %s", ", ".join(found))
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


def _merge(table: DeltaTable, rows: DataFrame, changed: Sequence[str], *, only_delete: bool = False) -> None:
    same = " AND ".join(f"held.{name} = fresh.{name}" for name in _IDENTITY)
    merge = table.alias("held").merge(rows.alias("fresh"), f"{same} AND {in_hours(changed, 'held.')}")
    if not only_delete:
        differs = " OR ".join(f"NOT held.{name} <=> fresh.{name}" for name in _VALUES)
        merge = merge.whenMatchedUpdateAll(differs).whenNotMatchedInsertAll()
    merge.whenNotMatchedBySourceDelete(in_hours(changed, "held.")).execute()

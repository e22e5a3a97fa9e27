"""The facts that the quality suites are about, read from the lake: of a text only its length gets in."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from include.audit.mix import read_drift
from include.compliance.purge import removed_rows
from include.insights import aggregate
from include.labeling.publish import LANGUAGE_UNKNOWN
from include.lake import sql, storage
from include.lake.athena import Athena
from include.lake.layout import labeled_key, predictions_key
from include.lake.schemas import LABELED, SENTIMENTS, UNNAMED_LANGUAGES
from include.settings import Settings
from include.training import hours as training_hours

if TYPE_CHECKING:
    import pandas as pd
    from types_boto3_s3.client import S3Client

    from include.labeling.prepared import Prepared

_IDENTITY = ("tweet_id", "ts", "tag", "sample", "source")
_PROBABILITIES = ("p_negative", "p_neutral", "p_positive")

_FOOTER_BYTES = 256 * 1024
"""What a Parquet footer of ours fits into, unless it has hundreds of row groups."""

Facts = dict[str, Any]


def raw_frames(
    s3: S3Client, settings: Settings, prepared: Prepared, topics: Sequence[str]
) -> dict[str, pd.DataFrame]:
    """Frames of a prepared hour: ``rows`` from its shards, ``topics`` from its counts."""
    keys = [prepared.rows_key(shard) for shard in range(prepared.shards)]
    rows, _ = _read(s3, settings.bucket, dict.fromkeys(keys), _identity, (*_IDENTITY, "text"))
    found = _counts(rows)
    removed: Counter[str] = Counter()
    for key in keys:
        if shard := storage.current(s3, settings.bucket, key):
            removed.update(removed_rows(shard.metadata))
    by_topic = []
    for topic in topics:
        raw, accepted = prepared.raw.get(topic, 0), prepared.accepted.get(topic, 0)
        quarantined = sum(prepared.quarantined.get(topic, {}).values())
        by_topic.append(
            {
                "topic": topic,
                "unaccounted": raw - accepted - quarantined,
                "lost": accepted - found.get(topic, 0) - removed[topic],
                "quarantined_share": quarantined / raw if raw else 0.0,
                "duplicates_share": prepared.duplicates.get(topic, 0) / raw if raw else 0.0,
            }
        )
    return {"rows": rows.to_pandas(), "topics": _frame(by_topic)}


def labeled_frames(
    s3: S3Client, settings: Settings, prepared: Prepared, topics: Sequence[str]
) -> dict[str, pd.DataFrame]:
    """Frames of a published hour: ``rows`` of all topics, ``topics`` from its objects.

    An object that another run replaced by a newer one is checked as it is; only one made from this very
    manifest must hold just the rows that were accepted here, less those that were removed since. Raises
    `storage.ObjectChangedError` where that happens just now.
    """
    parts, by_topic = [], []
    for topic in topics:
        key = labeled_key(topic, prepared.window)
        found = storage.current(s3, settings.bucket, key)
        there = {key: found.etag} if found else {}
        table, schemas = _read(s3, settings.bucket, there, _labeled, LABELED.names)
        removed = removed_rows(found.metadata).get(topic, 0) if found else 0
        ours = found is not None and found.metadata.get("manifest") == prepared.manifest
        by_topic.append(
            {
                "topic": topic,
                "objects": int(found is not None),
                "other_columns": sum(not schema.equals(LABELED) for schema in schemas),
                "lost": prepared.accepted.get(topic, 0) - table.num_rows - removed if ours else 0,
            }
        )
        parts.append(table)
    return {"rows": pa.concat_tables(parts).to_pandas(), "topics": _frame(by_topic)}


def opinion_frames(
    athena: Athena, s3: S3Client, settings: Settings, topics: Sequence[str], days: Sequence[str]
) -> dict[str, dict[str, pd.DataFrame]]:
    """Frames of days with aggregates, by day: ``rows`` from the aggregates, ``topics`` against the lake.

    Only an aggregate that was made from the objects that still stand there must add up to them: any other is
    made again by the run that the change has caused.
    """
    counts = ("tweets", "judged", "negative", "neutral", "positive")
    before = {
        day: aggregate.state(s3, settings.bucket, day)
        for day in days
        if aggregate.is_current(s3, settings, topics, day)
    }
    lake = {
        (row["dt"], row["topic"]): row for row in athena.run(sql.render("insights/lake", days=list(days)))
    }
    frames = {}
    for day in days:
        table = aggregate.read(s3, settings.bucket, day)
        # Before and after the query: while an hour is open, its object may be replaced in between.
        same = before.get(day) == aggregate.state(s3, settings.bucket, day)
        current = same and aggregate.is_current(s3, settings, topics, day)
        by_topic = []
        for topic in topics:
            rows = table.filter(pc.equal(table["topic"], topic))
            sums = {name: pc.sum(rows[name]).as_py() or 0 for name in counts}
            judged = {
                flag: pc.sum(rows.filter(pc.equal(rows["measured"], flag))["judged"]).as_py() or 0
                for flag in (0, 1)
            }
            there = lake.get((day, topic), {})
            by_topic.append(
                {
                    "topic": topic,
                    **{f"{name}_lost": there.get(name, 0) - sums[name] if current else 0 for name in counts},
                    "unmeasured_share": judged[0] / (judged[0] + judged[1]) if sums["judged"] else 0.0,
                }
            )
        frames[day] = {"rows": _opinion(table).to_pandas(), "topics": _frame(by_topic)}
    return frames


def _opinion(table: pa.Table) -> pa.Table:
    parts = {
        "judged_share": ("judged", "tweets"),
        "negative_share": ("negative", "judged"),
        "neutral_share": ("neutral", "judged"),
        "positive_share": ("positive", "judged"),
        "agreed_share": ("agreed", "compared"),
    }
    for share, (part, whole) in parts.items():
        there = pc.greater(table[whole], 0)
        divisor = pc.if_else(there, table[whole], pa.scalar(None, pa.int64())).cast(pa.float64())
        table = table.append_column(share, pc.divide(table[part].cast(pa.float64()), divisor))
    known = pc.add(pc.add(table["negative"], table["neutral"]), table["positive"])
    return table.append_column("unaccounted", pc.subtract(table["judged"], known))


def drift_frames(s3: S3Client, settings: Settings, day: str) -> dict[str, pd.DataFrame]:
    """A day's drift: ``rows`` a topic and dimension each.

    ``beyond_noise`` is the index where it is larger than chance can make it, else 0.
    """
    table = read_drift(s3, settings.bucket, day)
    beyond = pc.if_else(pc.greater(table["stability_index"], table["noise"]), table["stability_index"], 0.0)
    return {"rows": table.append_column("beyond_noise", beyond).to_pandas()}


def prediction_frames(s3: S3Client, settings: Settings) -> dict[str, pd.DataFrame]:
    """Frames of the champion's predictions: ``rows`` an hour each, ``shares`` a sentiment each.

    Rows are counted from the objects' footers. An hour that was labeled again since has no count to compare
    with (null): the next run predicts it.
    """
    predicted = training_hours.read_predicted(s3, settings.bucket)
    by_hour = []
    for hour, etag in predicted.hours.items():
        topic, window = training_hours.parse(hour)
        labels = _footer(s3, settings.bucket, labeled_key(topic, window), etag)
        student = _footer(s3, settings.bucket, predictions_key(f"v{predicted.version}", topic, window))
        judged = labels and labels.num_rows - _nulls(labels, "sentiment")
        by_hour.append(
            {
                "hour": hour,
                "objects": int(student is not None),
                "missing": judged - student.num_rows if student and judged is not None else None,
            }
        )
    nothing = [0] * len(SENTIMENTS)
    counts = [sum(column) for column in zip(nothing, *predicted.counts.values(), strict=True)]
    shares = [
        {"sentiment": sentiment, "share": count / sum(counts) if sum(counts) else 0.0}
        for sentiment, count in zip(SENTIMENTS, counts, strict=True)
    ]
    return {"rows": _frame(by_hour, "hour", "objects", "missing"), "shares": _frame(shares)}


def _footer(s3: S3Client, bucket: str, key: str, etag: str | None = None) -> pq.FileMetaData | None:
    """What a Parquet object says of itself; None if it does not exist, or no longer has that ETag.

    Only its end is read: the footer's length stands in front of the last four bytes (the Parquet format).
    """
    found = storage.current(s3, bucket, key)
    if found is None or (etag and found.etag != etag):
        return None
    for wanted in (_FOOTER_BYTES, found.size):
        end = storage.read(s3, bucket, key, found.etag, start=max(found.size - wanted, 0))
        if int.from_bytes(end[-8:-4], "little") + 8 <= len(end):
            break
    return pq.read_metadata(pa.BufferReader(end))


def _nulls(metadata: pq.FileMetaData, column: str) -> int:
    place = metadata.schema.names.index(column)
    groups = (metadata.row_group(number) for number in range(metadata.num_row_groups))
    # A group without rows has no statistics.
    return sum(int(group.column(place).statistics.null_count) for group in groups if group.num_rows)


def _identity(batch: pa.RecordBatch) -> Facts:
    return {name: batch[name] for name in _IDENTITY} | {"text_length": pc.utf8_length(batch["text"])}


def _labeled(batch: pa.RecordBatch) -> Facts:
    judged = pc.is_valid(batch["sentiment"])
    reason = batch["unlabeled_reason"]
    known = _total(pc.is_valid(batch[name]) for name in _PROBABILITIES)
    unnamed = pc.is_in(pc.fill_null(batch["lang"], ""), value_set=pa.array(sorted(UNNAMED_LANGUAGES)))
    return {
        **_identity(batch),
        "sentiment": batch["sentiment"],
        "answers": _total((judged, pc.is_valid(reason))),
        **{name: batch[name] for name in _PROBABILITIES},
        "p_sum": pc.add(pc.add(batch["p_negative"], batch["p_neutral"]), batch["p_positive"]),
        "probabilities_missing": pc.if_else(judged, pc.subtract(3, known), known),
        "unanswered": pc.fill_null(pc.not_equal(reason, LANGUAGE_UNKNOWN), False).cast(pa.int64()),
        "language_unnamed": unnamed.cast(pa.int64()),
    }


def _total(flags: Iterable[pa.Array]) -> pa.Array:
    total = pa.scalar(0, pa.int64())
    for flag in flags:
        total = pc.add(total, flag.cast(pa.int64()))
    return total


def _read(
    s3: S3Client,
    bucket: str,
    objects: Mapping[str, str | None],
    facts: Callable[[pa.RecordBatch], Facts],
    columns: Sequence[str],
) -> tuple[pa.Table, list[pa.Schema]]:
    """The facts about every row of the objects (ETags by key, None for any), and the objects' schemas.

    Reads batch by batch, so that texts never pile up.
    """
    nothing = pa.RecordBatch.from_pylist([], schema=pa.schema([LABELED.field(name) for name in columns]))
    parts, schemas = [pa.RecordBatch.from_pydict(facts(nothing))], []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.parquet"
        for key, etag in objects.items():
            storage.download(s3, bucket, key, path, etag)
            with pq.ParquetFile(path) as file:
                schemas.append(file.schema_arrow)
                parts += [
                    pa.RecordBatch.from_pydict(facts(batch), schema=parts[0].schema)
                    for batch in file.iter_batches(columns=list(columns))
                ]
    return pa.Table.from_batches(parts), schemas


def _counts(rows: pa.Table) -> Mapping[str, int]:
    counted = rows["tag"].value_counts().to_pylist()
    return {each["values"]: each["counts"] for each in counted}


def _frame(records: list[dict[str, Any]], *columns: str) -> pd.DataFrame:
    """A row a record; ``columns`` are those that are there without any record too."""
    table = pa.Table.from_pylist(records) if records else pa.table({name: [] for name in columns})
    frame: pd.DataFrame = table.to_pandas()
    return frame

"""What each day's tweets are made of, and how far the recent days have drifted from the audited ones.

A day's mix is one object, selected on Athena and replaced whole where the day's objects have changed; labeled
rows expire, mixes stay. A check of drift is one object by the last of its recent days.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from include.audit import records
from include.audit.drift import MixRow, compare
from include.lake import layout, sql, storage, tables
from include.lake.athena import Athena
from include.lake.schemas import DRIFT, MIX
from include.settings import Settings

if TYPE_CHECKING:
    from types_boto3_s3.client import S3Client

_ORDER = [(name, "ascending") for name in ("topic", "engine", "dimension", "bin")]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Audit:
    """The newest month of which people have judged tweets of a topic, and its days that were audited."""

    month: str
    days: tuple[str, ...]


def audits(s3: S3Client, bucket: str, topics: Sequence[str], last: date) -> dict[str, Audit]:
    """The newest audit of each topic that has one, of the month of the day ``last`` or before.

    A wave's days count where at least one of the topic's drawn tweets has a judgment.
    """
    found: dict[str, Audit] = {}
    for wave in reversed(records.drawn_waves(s3, bucket)):
        if wave.first > last:
            continue
        if found.keys() >= set(topics) and wave.month < min(audit.month for audit in found.values()):
            break  # older waves are those of older months
        judged = set(records.read_judged(s3, bucket, wave)["tweet_id"].to_pylist())
        if not judged:
            continue
        rows = records.read_drawn(s3, bucket, wave).select(["tweet_id", "topic"]).to_pylist()
        days = tuple(day.isoformat() for day in wave.days)
        for topic in {row["topic"] for row in rows if row["tweet_id"] in judged}:
            standing = found.get(topic)
            if standing is None:
                found[topic] = Audit(wave.month, days)
            elif standing.month == wave.month:
                found[topic] = Audit(wave.month, days + standing.days)
    return found


def recent_days(settings: Settings, last: date) -> list[str]:
    """The days up to ``last`` that are compared with the audited ones, in order."""
    return [(last - timedelta(days=back)).isoformat() for back in reversed(range(settings.drift_days))]


def outdated_days(s3: S3Client, settings: Settings, topics: Sequence[str], last: date) -> list[str]:
    """The recent and the audited days whose mix is not made from the day's current objects, in order."""
    audited = {day for audit in audits(s3, settings.bucket, topics, last).values() for day in audit.days}
    days = sorted(audited.union(recent_days(settings, last)))
    return [
        day
        for day in days
        if _outdates(
            _Inputs.of(s3, settings, topics, day),
            storage.current(s3, settings.bucket, layout.mix_key(day)),
        )
    ]


def refresh(athena: Athena, s3: S3Client, settings: Settings, topics: Sequence[str], day: str) -> int:
    """Selects a day's mix and replaces it, unless it is made from exactly these objects; its tweets.

    Raises `AthenaError`.
    """

    def decide(found: storage.ObjectVersion | None) -> storage.Content | None:
        now = _Inputs.of(s3, settings, topics, day)
        if not _outdates(now, found):
            return None
        table = athena.table(s3, now.statement).cast(MIX)
        return storage.Content(tables.encode(table.sort_by(_ORDER)), now.metadata())

    swap = storage.compare_and_swap(s3, settings.bucket, layout.mix_key(day), decide)
    rows = read(s3, settings.bucket, day)
    tweets = sum(row.tweets for row in rows if row.dimension == "source")
    log.info("mix day=%s written=%s rows=%d tweets=%d", day, swap.written, len(rows), tweets)
    return tweets


def measure(s3: S3Client, settings: Settings, topics: Sequence[str], last: date) -> list[dict[str, Any]]:
    """Compares the days up to ``last`` with the audited ones, and replaces that day's object of `drift`.

    Returns its rows: none without an audit, or where either period has no tweets.
    """
    recent = recent_days(settings, last)
    now = {day: rows for day in recent if (rows := read(s3, settings.bucket, day))}
    drifts: list[dict[str, Any]] = []
    standing = audits(s3, settings.bucket, topics, last)
    for topic in topics:
        audit = standing.get(topic)
        if audit is None:
            continue
        then = [row for day in audit.days for row in read(s3, settings.bucket, day)]
        drifts += [
            {
                **vars(drift),
                "tolerated": settings.drift_tolerated,
                "drifted": int(drift.exceeds(settings.drift_tolerated)),
                "audit_month": audit.month,
                "audited_days": len(audit.days),
                "recent_days": len(now),
            }
            for drift in compare(topic, then, _all(now.values()))
        ]
    content = tables.encode(pa.Table.from_pylist(drifts, schema=DRIFT))
    storage.overwrite(s3, settings.bucket, layout.drift_key(last.isoformat()), content)
    return drifts


def read(s3: S3Client, bucket: str, day: str) -> list[MixRow]:
    """The mix of a day; empty where there is none."""
    return [MixRow(**row) for row in tables.read(s3, bucket, layout.mix_key(day), MIX).to_pylist()]


def read_drift(s3: S3Client, bucket: str, day: str) -> pa.Table:
    """The drift of the days up to ``day``; without rows where it was not measured."""
    return tables.read(s3, bucket, layout.drift_key(day), DRIFT)


@dataclass(frozen=True)
class _Inputs:
    """What a day's mix is made from now: its statement, and a digest of it and of every object."""

    statement: str
    digest: str
    labeled: int

    @classmethod
    def of(cls, s3: S3Client, settings: Settings, topics: Sequence[str], day: str) -> _Inputs:
        objects = sorted(
            (found.key, found.etag)
            for topic in topics
            for found in storage.list_objects(s3, settings.bucket, layout.labeled_prefix(topic, day)).objects
        )
        aggregate = storage.current(s3, settings.bucket, layout.aggregate_key(day))
        statement = sql.render("audit/mix", day=day)
        decisive = json.dumps([statement, objects, aggregate.etag if aggregate else ""])
        return cls(statement, hashlib.sha256(decisive.encode()).hexdigest()[:32], len(objects))

    def metadata(self) -> dict[str, str]:
        return {"inputs": self.digest, "labeled": str(self.labeled)}


def _outdates(now: _Inputs, found: storage.ObjectVersion | None) -> bool:
    """Whether a mix is to be selected: not of a day without objects, nor of one that has begun to expire."""
    if found is None:
        return now.labeled > 0
    return found.metadata.get("inputs") != now.digest and now.labeled >= int(
        found.metadata.get("labeled", "0")
    )


def _all(days: Iterable[Sequence[MixRow]]) -> Iterator[MixRow]:
    for rows in days:
        yield from rows

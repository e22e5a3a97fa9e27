"""Carries a request to remove tweets, or users' tweets, through every layer of the lake, and records it.

Which hours hold a tweet its id says; which tweets are a user's the labeled table says by the keyed pseudonym.
So only those hours are read, however large the lake is. Each may be removed from twice: what was done stays
done, and a run that was killed is started again.
"""

from __future__ import annotations

import io
import logging
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from include.audit import records as audit
from include.compliance import tombstones
from include.compliance.purge import Purge, Purged, predictions_by_hour
from include.compliance.tombstones import Tombstones
from include.lake import layout, sql, storage
from include.lake.athena import Athena
from include.lake.layout import ALL_TOPICS
from include.lake.pseudonyms import Pseudonyms
from include.lake.schemas import REMOVALS
from include.settings import Settings
from include.window import Window
from include.x.compliance import ComplianceAction
from include.x.snowflake import lowest_id, moment

if TYPE_CHECKING:
    from types_boto3_athena.client import AthenaClient
    from types_boto3_s3.client import S3Client

APPLIED_AGAIN = timedelta(days=2)
"""For so long tombstones are applied again by each removal: a run that read a tweet before it was removed may
write a work file after that."""

_READ_BY_NOW = timedelta(hours=1)
"""After so long nobody reads a query's result any more."""

log = logging.getLogger(__name__)


class VersionedBucketError(RuntimeError):
    """The bucket keeps old versions, so nothing that is removed would be gone."""


class RemovalIncompleteError(RuntimeError):
    """Some objects could not be read; from all others everything was removed."""


@dataclass(frozen=True)
class RemovalRequest:
    """What must go: tweets by id, and users by id with all that they have posted up to ``requested_at``.

    ``name`` names the request, and its object in the ledger, so it is the same when the request is carried
    out again.
    """

    name: str
    reason: str
    requested_at: datetime
    tweets: Mapping[int, ComplianceAction] = field(default_factory=dict, repr=False)
    users: Collection[str] = field(default=(), repr=False)


@dataclass(frozen=True)
class RemovalCount:
    """How many lines or rows went of a layer; without ``hour`` of what lies by no hour of the tweets."""

    hour: str | None
    topic: str
    layer: str
    action: ComplianceAction
    removed: int


@dataclass(frozen=True)
class RemovalReport:
    """What was removed, or would be: counts alone, so it may pass through XCom."""

    request: str
    dry_run: bool
    hours: int
    """Hours whose objects were read."""
    objects: int
    """Objects rewritten or deleted."""
    counts: tuple[RemovalCount, ...]

    def to_json(self) -> dict[str, Any]:
        """As a dict of JSON's types."""
        return {**vars(self), "counts": [vars(each) for each in self.counts]}


def remove(
    s3: S3Client,
    athena: AthenaClient,
    settings: Settings,
    topics: Sequence[str],
    key: bytes,
    request: RemovalRequest,
    clock: Callable[[], datetime],
    *,
    dry_run: bool,
) -> RemovalReport:
    """Removes what was requested, and again what was removed lately (`APPLIED_AGAIN`).

    ``key`` is the secret that ids are hashed with. A dry run writes nothing, and counts what would go. Raises
    `VersionedBucketError` where deleting would not delete, and `RemovalIncompleteError`, after all else is
    done, where an object cannot be read.
    """
    bucket, now = settings.bucket, clock()
    if storage.keeps_versions(s3, bucket):
        raise VersionedBucketError(
            f"the bucket {bucket} keeps, or once kept, old versions of objects, so nothing that is deleted "
            "there is gone: move the lake into a bucket that was never versioned (infra/lake.yaml)"
        )
    pseudonyms = Pseudonyms(key)
    until = lowest_id(request.requested_at)
    by_hour = _by_hour(request.tweets)
    if not dry_run:
        for window, tweets in by_hour.items():
            tombstones.bury(s3, bucket, pseudonyms, window, tweets)
        tombstones.bury_users(s3, bucket, pseudonyms, request.users, until)
    users = {pseudonyms.of(user): until for user in request.users}
    hours = set(by_hour)
    if users:
        hours |= _hours_of_users(s3, athena, settings, topics, Tombstones(pseudonyms, {}, users), now)
    if not dry_run:
        hours |= _buried_lately(s3, bucket, now)

    predictions = predictions_by_hour(s3, bucket)
    done: list[Purged] = []
    everything: dict[str, ComplianceAction] = {}
    for window in sorted(hours):
        stones = (
            Tombstones(pseudonyms, {}, users).with_tweets(by_hour.get(window, {}))
            if dry_run
            else tombstones.read(s3, bucket, pseudonyms, [window])
        )
        if users:
            # Not every layer says whose a tweet is, so their ids are learned, and kept, before any goes.
            theirs = Purged(window)
            reading = Purge(s3, bucket, stones, write=False)
            reading.raw(theirs, topics)
            reading.published(theirs, topics)
            stones = stones.with_tweets(theirs.tweets)
            if not dry_run:
                tombstones.bury(s3, bucket, pseudonyms, window, theirs.tweets, theirs.topics)
        everything |= stones.tweets
        purged = Purged(window)
        Purge(s3, bucket, stones, write=not dry_run).hour(purged, topics, predictions.get(window, ()))
        if purged.tweets and not dry_run:
            # Coverage counts what was removed by the topics in which it was found.
            tombstones.bury(s3, bucket, pseudonyms, window, purged.tweets, purged.topics)
        if not dry_run:
            _record(s3, bucket, request, _counts(purged, window.label), None)
        done.append(purged)
    beside = Purge(s3, bucket, Tombstones(pseudonyms, everything, users), write=not dry_run).beside(
        Window.containing(now), topics
    )
    rest = _counts(beside, None)
    objects = sum(sum(purged.objects.values()) for purged in (*done, beside))
    unreadable = sorted(key for purged in (*done, beside) for key in purged.unreadable)
    if not dry_run:
        judged = audit.remove(s3, bucket, _deleted_everywhere(request, done))
        results = _delete_results(s3, bucket, now)
        # Both also where they are nothing: that is the evidence that the request was carried out.
        rest += [
            RemovalCount(None, ALL_TOPICS, layer, ComplianceAction.DELETE, number)
            for layer, number in (("audit", judged), ("athena-results", results))
        ]
        objects += results
        _record(s3, bucket, request, rest, None if unreadable else clock())
    counts = [each for purged in done for each in _counts(purged, purged.window.label)] + rest
    if unreadable:
        raise RemovalIncompleteError(
            f"{len(unreadable)} objects cannot be read, so nobody can tell what they hold: delete them (what "
            f"writes them makes them anew), then remove again: {', '.join(unreadable)}"
        )
    report = RemovalReport(request.name, dry_run, len(hours), objects, tuple(counts))
    log.info(
        "removal request=%s dry_run=%s hours=%d objects=%d lines=%d",
        request.name,
        dry_run,
        report.hours,
        report.objects,
        sum(each.removed for each in counts),
    )
    return report


def _by_hour(tweets: Mapping[int, ComplianceAction]) -> dict[Window, dict[int, ComplianceAction]]:
    found: dict[Window, dict[int, ComplianceAction]] = {}
    for tweet_id, action in tweets.items():
        found.setdefault(Window.containing(moment(tweet_id)), {})[tweet_id] = action
    return found


def _deleted_everywhere(request: RemovalRequest, done: Iterable[Purged]) -> list[int]:
    found = {own: action for purged in done for own, action in purged.tweets.items()} | dict(request.tweets)
    return sorted(own for own, action in found.items() if action is ComplianceAction.DELETE)


def _hours_of_users(
    s3: S3Client,
    athena: AthenaClient,
    settings: Settings,
    topics: Sequence[str],
    stones: Tombstones,
    now: datetime,
) -> set[Window]:
    """The hours that hold users' tweets: by the labeled table; by quarantine, which is small and is read; and
    all hours whose raw is newer than what was labeled of it."""
    days = [f"{now - timedelta(days=back):%Y-%m-%d}" for back in range(settings.retention_days + 2)]
    executions: set[str] = set()
    rows = Athena(athena, settings, executions.add).run(
        sql.render(
            "compliance/tweets_of_users",
            days=sorted(days),
            authors=sorted(map(str, stones.users)),
        )
    )
    for execution in executions:
        for name in (f"{execution}.csv", f"{execution}.csv.metadata"):
            storage.delete(s3, settings.bucket, layout.ATHENA_RESULTS + name)
    found = {Window.containing(moment(row["tweet_id"])) for row in rows}
    reading = Purge(s3, settings.bucket, stones, write=False)
    for day in days:
        newest: dict[tuple[str, Window], datetime] = {}
        labeled: dict[tuple[str, Window], datetime] = {}
        rejected: set[Window] = set()
        midnight = Window.parse(f"{day}T00")
        for topic in (*topics, layout.NO_TOPIC):
            for layer in (layout.raw_prefix, layout.quarantine_prefix):
                prefix = layout.day_prefix(layer(topic, midnight))
                for each in storage.objects(s3, settings.bucket, prefix):
                    if not (place := layout.partition(each.key)):
                        continue
                    if place[0] == "quarantine":
                        rejected.add(place[2])
                    else:
                        newest[topic, place[2]] = max(
                            newest.get((topic, place[2]), _EVER), each.last_modified
                        )
            for each in storage.objects(s3, settings.bucket, layout.labeled_prefix(topic, day)):
                if hour := layout.labeled_hour(each.key):
                    labeled[hour] = each.last_modified
        found |= {hour[1] for hour, at in newest.items() if labeled.get(hour, _EVER) <= at}
        for window in rejected - found:
            purged = Purged(window)
            reading.quarantine(purged, topics)
            found |= {Window.containing(moment(own)) for own in purged.tweets}
    return found


_EVER = datetime(1970, 1, 1, tzinfo=UTC)


def _buried_lately(s3: S3Client, bucket: str, now: datetime) -> set[Window]:
    found = set()
    for each in storage.objects(s3, bucket, f"{layout.TOMBSTONES}dt="):
        if each.last_modified > now - APPLIED_AGAIN and (window := layout.tombstones_hour(each.key)):
            found.add(window)
    return found


def _counts(purged: Purged, hour: str | None) -> list[RemovalCount]:
    return [
        RemovalCount(hour, topic, layer, action, number)
        for action, counter in (
            (ComplianceAction.DELETE, purged.deleted),
            (ComplianceAction.SCRUB_GEO, purged.scrubbed),
        )
        for (layer, topic), number in sorted(counter.items())
    ]


def _delete_results(s3: S3Client, bucket: str, now: datetime) -> int:
    """Deletes the results of queries that nobody is reading any more; how many objects that were.

    They hold whatever somebody has asked for, so none is looked into.
    """
    old = [
        each.key
        for each in storage.objects(s3, bucket, layout.ATHENA_RESULTS)
        if each.last_modified < now - _READ_BY_NOW
    ]
    for key in old:
        storage.delete(s3, bucket, key)
    return len(old)


def _record(
    s3: S3Client,
    bucket: str,
    request: RemovalRequest,
    counts: Sequence[RemovalCount],
    done_at: datetime | None,
) -> None:
    """Adds to what the ledger has of the request: who goes on after a run that was killed finds the rest.

    ``done_at`` is given when the last layer is done.
    """
    if not counts:
        return
    key = layout.removals_key(f"{request.requested_at:%Y-%m-%d}", request.name)

    def decide(found: storage.ObjectVersion | None) -> storage.Content | None:
        totals: Counter[tuple[str | None, str, str, str]] = Counter()
        if found:
            body = storage.read(s3, bucket, key, found.etag)
            for row in pq.read_table(io.BytesIO(body)).to_pylist():
                totals[row["hour"], row["topic"], row["layer"], row["action"]] += row["removed"]
        for each in counts:
            totals[each.hour, each.topic, each.layer, each.action.value] += each.removed
        rows = [
            {
                "request": request.name,
                "reason": request.reason,
                "hour": hour,
                "topic": topic,
                "layer": layer,
                "action": action,
                "removed": number,
                "requested_at": _naive(request.requested_at),
                "done_at": _naive(done_at) if done_at else None,
            }
            for (hour, topic, layer, action), number in sorted(
                totals.items(), key=lambda item: tuple(map(str, item[0]))
            )
        ]
        sink = io.BytesIO()
        pq.write_table(pa.Table.from_pylist(rows, schema=REMOVALS), sink, compression="zstd")
        return storage.Content(sink.getvalue())

    storage.compare_and_swap(s3, bucket, key, decide)


def _naive(at: datetime) -> datetime:
    return at.astimezone(UTC).replace(tzinfo=None)

"""Carries a request to remove tweets, or users' tweets, through every layer of the lake, and records it.

A tweet's id tells which hour holds it, and a query finds the few rejected lines that are `misplaced`; the
labeled table tells which tweets are a user's, by the keyed pseudonym. So only those hours are read, however
large the lake is. Each may be removed from twice: what was done stays done, and a run that was killed is
started again.
"""

from __future__ import annotations

import io
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import chain
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from include.audit import records as audit
from include.audit.wave import Wave
from include.compliance import listing, misplaced, tombstones
from include.compliance.listing import Place
from include.compliance.misplaced import Misplaced
from include.compliance.purge import Purge, Purged
from include.compliance.queries import forgetting
from include.compliance.requests import RemovalRequest
from include.compliance.tombstones import Tombstones
from include.lake import layout, sql, storage, tables
from include.lake.layout import ALL_TOPICS
from include.lake.pseudonyms import Pseudonyms
from include.lake.schemas import REMOVALS
from include.settings import Settings
from include.window import Window, is_possible
from include.x.compliance import ComplianceAction
from include.x.snowflake import moment

if TYPE_CHECKING:
    from types_boto3_athena.client import AthenaClient
    from types_boto3_s3.client import S3Client

APPLIED_AGAIN = timedelta(days=2)
"""For so long tombstones are applied again by each removal: a run that read a tweet before it was removed may
write a work file after that."""

_AT_ONCE = 4
"""Hours that are purged at once: most of the time an hour waits for S3."""

_READ_BY_NOW = timedelta(hours=1)
"""After so long nobody reads a query's result any more."""

log = logging.getLogger(__name__)


class VersionedBucketError(RuntimeError):
    """The bucket keeps old versions, so nothing that is removed would be gone."""


class RemovalIncompleteError(RuntimeError):
    """Some objects could not be read; from all others everything was removed."""


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


class Removal:
    """Carries one request through the lake by steps, each of which may run again, and beside others.

    `hours` comes first, then `from_hours` for all of them, in any number of parts, then `from_rest`, and last
    `record` with ``done_at``.
    A dry run writes nothing, and counts what would go.
    """

    def __init__(
        self,
        s3: S3Client,
        settings: Settings,
        key: bytes,
        request: RemovalRequest,
        *,
        dry_run: bool,
    ) -> None:
        """``key`` is the secret that ids are hashed with; raises `VersionedBucketError`."""
        self._s3 = s3
        self._settings = settings
        self._bucket = settings.bucket
        self._pseudonyms = Pseudonyms(key)
        self._request = request
        self._dry_run = dry_run
        if storage.keeps_versions(s3, self._bucket):
            raise VersionedBucketError(
                f"the bucket {self._bucket} keeps, or once kept, old versions of objects, so nothing that is "
                "deleted there is gone: move the lake into a bucket that was never versioned "
                "(infra/lake.yaml)"
            )

    def hours(self, athena: AthenaClient, elsewhere: Misplaced | None = None) -> list[Window]:
        """The hours that hold what must go, in order; the tombstones of the request stand then.

        Who has asked where misplaced lines lie ``elsewhere``, once for many requests, has called `bury` of
        all of them before.
        """
        request = self._request
        if elsewhere is None:
            self.bury()
            elsewhere = {}
            if request.tweets_count:
                elsewhere = misplaced.find(self._s3, athena, self._settings, self._pseudonyms)
        there = misplaced.lying(request.tweets, elsewhere)
        self._bury(there)
        found = {*request.tweets, *there}
        if request.users:
            stones = Tombstones(self._pseudonyms, {}, request.users)
            found |= _hours_of_users(self._s3, athena, self._settings, stones)
        return sorted(found)

    def bury(self) -> None:
        """Writes the tombstones of the request, unless this is a dry run; twice changes nothing."""
        self._bury(self._request.tweets)
        if not self._dry_run:
            tombstones.bury_users(self._s3, self._bucket, self._request.users)

    def _bury(self, tweets: Mapping[Window, Mapping[str, ComplianceAction]]) -> None:
        for window, markers in tweets.items() if not self._dry_run else ():
            tombstones.bury_markers(self._s3, self._bucket, window, markers)

    def from_hours(self, hours: Iterable[Window]) -> RemovalReport:
        """Removes from all layers of some hours, and records it.

        Raises `RemovalIncompleteError`, after all else is done, where an object cannot be read. What was
        removed by the time of another error is recorded too.
        """
        windows = sorted(set(hours))
        stones = self._stones_of_each(windows)
        purges = [self._purge(stones[window]) for window in windows]
        done = [Purged(window) for window in windows]
        try:
            for places in (listing.collected, listing.made):
                found = places(self._s3, self._bucket, windows)
                if self._dry_run:
                    found = listing.once(found)  # it leaves everything where it is, to be counted again
                with ThreadPoolExecutor(_AT_ONCE) as workers:
                    # Where one hour fails, no other one is begun.
                    list(workers.map(Purge.apply, purges, done, [found[window] for window in windows]))
        finally:
            counts = [each for purged in done for each in _counts(purged, purged.window.label)]
            if not self._dry_run:
                self.record(counts)
        _check_readable(done)
        return self._report(done, counts)

    def from_rest(self, hours: Iterable[Window], now: datetime) -> RemovalReport:
        """Removes from what lies by no hour of the tweets; ``hours`` are all that the request concerns.

        Raises as `from_hours`.
        """
        concerned = sorted(hours)
        # An hour that cannot hold posts tells of no user how far back to look.
        possible = [window for window in concerned if is_possible(window.start.date(), now)]
        stones = cache(lambda: self._stones(possible))  # many requests, and often there is nothing
        beside = Purged(Window.containing(now))
        places = [*listing.beside(self._s3, self._bucket), *self._astray(concerned, now)]
        if places:
            self._purge(stones()).apply(beside, places)
        counts = _counts(beside, None)
        objects = sum(beside.objects.values())
        if not self._dry_run:
            days = {window.start.date() for window in possible}
            waves = {Wave.of(day) for day in days}

            def must(action: ComplianceAction) -> Callable[[int], bool]:
                return lambda own: stones().of(own, None) is action

            judged = audit.remove(self._s3, self._bucket, waves, must(ComplianceAction.DELETE))
            hidden = audit.hide_places(self._s3, self._bucket, waves, must(ComplianceAction.SCRUB_GEO))
            results = _delete_results(self._s3, self._bucket, now)
            # Both also where they are nothing: that is the evidence that the request was carried out.
            counts += [count_beside("audit", judged), count_beside("athena-results", results)]
            if hidden:
                counts.append(count_beside("audit", hidden, ComplianceAction.SCRUB_GEO))
            objects += results
            self.record(counts)
        _check_readable([beside])
        return replace(self._report([beside], counts), hours=0, objects=objects)

    def _astray(self, concerned: Sequence[Window], now: datetime) -> list[Place]:
        """As `listing.astray`; in a dry run without what was counted in its hour."""
        places = listing.astray(self._s3, self._bucket, now)
        if not self._dry_run:
            return places
        of_hours = [
            (place, layout.partition(place.key.removeprefix(layout.DAMAGED_PREFIX))) for place in places
        ]
        return [place for place, lies in of_hours if not lies or lies[2] not in concerned]

    def record(self, counts: Sequence[RemovalCount], done_at: datetime | None = None) -> None:
        """Adds to what the ledger has of the request; ``done_at`` is given when the last layer is done."""
        _record(self._s3, self._bucket, self._request, counts, done_at)

    def _purge(self, stones: Tombstones) -> Purge:
        return Purge(self._s3, self._bucket, stones, write=not self._dry_run)

    def _stones(self, hours: Sequence[Window]) -> Tombstones:
        """What must go of some hours: all of the request in a dry run, which buries nothing."""
        if not self._dry_run:
            return tombstones.read(self._s3, self._bucket, self._pseudonyms, hours)
        markers = chain.from_iterable(each.items() for each in self._request.tweets.values())
        return Tombstones(self._pseudonyms, dict(markers), self._request.users)

    def _stones_of_each(self, hours: Sequence[Window]) -> dict[Window, Tombstones]:
        """As `_stones`, of each hour alone."""
        if self._dry_run:
            return dict.fromkeys(hours, self._stones(hours))
        return tombstones.read_each(self._s3, self._bucket, self._pseudonyms, hours)

    def _report(self, done: Sequence[Purged], counts: Sequence[RemovalCount]) -> RemovalReport:
        objects = sum(sum(purged.objects.values()) for purged in done)
        report = RemovalReport(self._request.name, self._dry_run, len(done), objects, tuple(counts))
        log.info(
            "removal request=%s dry_run=%s hours=%d objects=%d lines=%d",
            report.request,
            report.dry_run,
            report.hours,
            report.objects,
            sum(each.removed for each in counts),
        )
        return report


def count_beside(
    layer: str, removed: int, action: ComplianceAction = ComplianceAction.DELETE
) -> RemovalCount:
    """How much went of a layer that no purge reads."""
    return RemovalCount(None, ALL_TOPICS, layer, action, removed)


def _check_readable(done: Iterable[Purged]) -> None:
    unreadable = sorted(key for purged in done for key in purged.unreadable)
    if unreadable:
        raise RemovalIncompleteError(
            f"{len(unreadable)} objects cannot be read, so nobody can tell what they hold: delete them (what "
            f"writes them makes them again), then remove again: {', '.join(unreadable)}"
        )


def _hours_of_users(
    s3: S3Client, athena: AthenaClient, settings: Settings, stones: Tombstones
) -> set[Window]:
    """The hours that hold users' tweets: by all that is labeled; by quarantine, which is small and is read;
    and all hours whose raw is newer than what was labeled of it."""
    with forgetting(s3, athena, settings) as queries:
        rows = queries.run(sql.render("compliance/tweets_of_users", authors=sorted(map(str, stones.users))))
    found = {Window.containing(moment(row["tweet_id"])) for row in rows}
    collected_at: dict[tuple[str, Window], datetime] = {}
    labeled_at: dict[tuple[str, Window], datetime] = {}
    for each in storage.objects(s3, settings.bucket, layout.RAW_PREFIX):
        if place := layout.partition(each.key):
            hour = place[1:]
            collected_at[hour] = max(collected_at.get(hour, _EVER), each.last_modified)
    for each in storage.objects(s3, settings.bucket, layout.LABELED_PREFIX):
        if labeled := layout.labeled_hour(each.key):
            labeled_at[labeled] = each.last_modified
    found |= {hour[1] for hour, at in collected_at.items() if labeled_at.get(hour, _EVER) <= at}
    for window, places in listing.all_quarantined(s3, settings.bucket).items():
        if window not in found:
            purged = Purged(window)
            Purge(s3, settings.bucket, stones, write=False).apply(purged, places)
            found |= {Window.containing(moment(own)) for own in purged.tweets}
            if purged.objects:
                found.add(window)  # of a cut line that names the user nothing tells the tweet
    return found


_EVER = datetime(1970, 1, 1, tzinfo=UTC)


def buried_lately(s3: S3Client, bucket: str, now: datetime) -> set[Window]:
    """The hours whose tombstones are applied again by each removal (`APPLIED_AGAIN`)."""
    found = set()
    for each in storage.objects(s3, bucket, f"{layout.TOMBSTONES_PREFIX}dt="):
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
        for each in storage.objects(s3, bucket, layout.ATHENA_RESULTS_PREFIX)
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
    if not counts and done_at is None:
        return
    key = layout.removals_key(f"{request.requested_at:%Y-%m-%d}", request.name)

    def added(body: bytes | None) -> bytes:
        totals: Counter[tuple[str | None, str, str, str]] = Counter()
        if body:
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
        return tables.encode(pa.Table.from_pylist(rows, schema=REMOVALS))

    storage.update(s3, bucket, key, added)


def _naive(at: datetime) -> datetime:
    return at.astimezone(UTC).replace(tzinfo=None)

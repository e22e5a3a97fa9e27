"""Gathers the evidence on an hour of a topic: SQL on the lake, the objects in S3, heartbeats."""

from __future__ import annotations

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import chain
from typing import TYPE_CHECKING

from include.compliance import tombstones
from include.coverage.judge import Evidence, Gap, Measures
from include.coverage.stretch import Stretch, overlap_seconds
from include.lake import sql
from include.lake.athena import ResultRow
from include.lake.layout import (
    ALL_TOPICS,
    TOMBSTONES_PREFIX,
    day_prefix,
    edits_key,
    edits_prefix,
    heartbeats_prefix,
    labeled_hour,
    labeled_key,
    labeled_prefix,
    partition,
    quarantine_prefix,
    raw_prefix,
    recovered_stretch,
    tombstones_hour,
    tombstones_key,
    tombstones_prefix,
)
from include.lake.storage import Object, current, list_objects, manifest, objects
from include.settings import Settings
from include.window import HOUR, Window
from include.x.search import REACH, SEARCH_DELAY
from include.x.snowflake import EPOCH_MS, from_milliseconds, to_milliseconds

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

Key = tuple[str, Window]
"""A topic and an hour."""

ADJACENT = timedelta(seconds=45)
"""How far apart two signs of life of one session may lie to prove what is between them: X sends something
every 20 s (its documentation), the streamer a heartbeat every 15 s, and one may be lost."""

SEARCH_MARGIN = timedelta(minutes=10)
"""What is left between judging and searching, so that a gap is not lost while its search is in progress."""


TOGETHER_BYTES = 256 * 1024 * 1024
"""How much of raw and quarantine, as stored, one statement measures: some million posts, whose ids it holds
in memory. Athena bills at least 10 MB for a statement."""


@dataclass(frozen=True)
class HourInputs:
    """The objects of an hour of a topic.

    ``digest`` is over all of them, ``raw_digest`` over those that `transform` reads; ``recovered`` is what
    search has brought back, by the names of its objects. ``edits`` is the digest of the objects that name
    edited posts (empty: there are none), ``edits_unread`` whether labeled was made without them; ``objects``
    are those of raw and quarantine. ``has_tombstones`` says that tweets of the hour were removed on request,
    ``removed`` how many of this topic's (see `with_removed`).
    """

    digest: str
    raw_digest: str
    raw_newest: datetime | None
    labeled_at: datetime | None
    recovered: tuple[Stretch, ...]
    edits: str = ""
    edits_unread: bool = False
    objects: tuple[Object, ...] = ()
    has_tombstones: bool = False
    removed: int = 0


def _digest(objects: Iterable[Object]) -> str:
    digest = hashlib.sha256()
    for found in objects:
        digest.update(f"{found.key}\0{found.etag}\0".encode())
    return digest.hexdigest()[:16]


def list_inputs(
    s3: S3Client, bucket: str, topics: Sequence[str], windows: Sequence[Window]
) -> dict[Key, HourInputs]:
    """The objects of each topic and hour in raw, labeled and quarantine; a few listings for each topic and
    day."""
    days = {window.date: window for window in windows}.values()
    found: dict[tuple[str, str, Window], list[Object]] = defaultdict(list)
    labeled: dict[str, Object] = {}
    for topic in topics:
        for day in days:
            for prefix in (raw_prefix(topic, day), quarantine_prefix(topic, day)):
                for each in list_objects(s3, bucket, day_prefix(prefix)).objects:
                    if place := partition(each.key):
                        found[place].append(each)
            labels = list_objects(s3, bucket, labeled_prefix(topic, day.date)).objects
            labeled |= {each.key: each for each in labels}
    edits = _list_edits(s3, bucket, windows)
    buried = _list_tombstones(s3, bucket, windows)
    inputs: dict[Key, HourInputs] = {}
    for topic in topics:
        for window in windows:
            edited, stones = edits.get(window, []), buried.get(window, [])
            raw, rejected = found["raw", topic, window], found["quarantine", topic, window]
            label = labeled.get(labeled_key(topic, window))
            stretches = (recovered_stretch(each.key) for each in raw)
            inputs[topic, window] = HourInputs(
                digest=_digest([*raw, *edited, *rejected, *([label] if label else []), *stones]),
                raw_digest=_digest([*raw, *edited]),
                edits=manifest(edited) if edited else "",
                raw_newest=max((each.last_modified for each in raw), default=None),
                labeled_at=label.last_modified if label else None,
                recovered=tuple(Stretch(*stretch) for stretch in stretches if stretch),
                objects=(*raw, *rejected),
                has_tombstones=bool(stones),
            )
    return inputs


def _list_edits(s3: S3Client, bucket: str, windows: Sequence[Window]) -> dict[Window, list[Object]]:
    """The objects that name edited posts, by hour."""
    folders = {edits_key(window, window).rpartition("/")[0]: window for window in windows}
    found: dict[Window, list[Object]] = {}
    for date in sorted({window.date for window in windows}):
        for each in list_objects(s3, bucket, edits_prefix(date)).objects:
            window = folders.get(each.key.rpartition("/")[0])
            if window:
                found.setdefault(window, []).append(each)
    return found


def _list_tombstones(s3: S3Client, bucket: str, windows: Sequence[Window]) -> dict[Window, list[Object]]:
    """The tombstones of tweets, by hour: one listing from the first day on, as there are few."""
    if not windows:
        return {}
    first = tombstones_prefix(min(windows).date)
    found = {tombstones_hour(each.key): each for each in objects(s3, bucket, TOMBSTONES_PREFIX, after=first)}
    return {window: [found[window]] for window in windows if window in found}


def with_removed(s3: S3Client, bucket: str, inputs: Mapping[Key, HourInputs]) -> dict[Key, HourInputs]:
    """The ``inputs`` with how many tweets were removed from raw; only hours with tombstones are read."""
    windows = {key[1] for key, of_hour in inputs.items() if of_hour.has_tombstones}
    counts = {window: tombstones.removed_by_topic(s3, bucket, tombstones_key(window)) for window in windows}
    return {
        (topic, window): replace(of_hour, removed=counts.get(window, {}).get(topic, 0))
        for (topic, window), of_hour in inputs.items()
    }


def with_unread_edits(
    s3: S3Client, bucket: str, inputs: Mapping[Key, HourInputs], keys: Iterable[Key]
) -> dict[Key, HourInputs]:
    """The ``inputs`` of ``keys``, and whether labeled was made before the edits of posts were known.

    The labeled object names in its metadata what it was made from; only hours with edited posts are asked.
    """
    found = {}
    for key in keys:
        of_hour = inputs[key]
        if of_hour.edits and of_hour.labeled_at:
            labeled = current(s3, bucket, labeled_key(*key))
            if labeled and labeled.metadata.get("edits") != of_hour.edits:
                of_hour = replace(of_hour, edits_unread=True)
        found[key] = of_hour
    return found


def heard_hours(windows: Collection[Window], now: datetime) -> list[Window]:
    """The hours whose heartbeats matter for ``windows``: each with its neighbors, and the two up to ``now``.

    An outage may begin in the hour before; heartbeats after the last hour prove that it is complete.
    """
    present = Window.containing(now)
    around = {Window(window.start + step * HOUR) for window in windows for step in (-1, 0, 1)}
    return sorted(hour for hour in around | {present, Window(present.start - HOUR)} if hour <= present)


def list_heartbeats(s3: S3Client, bucket: str, hours: Collection[Window]) -> list[Object]:
    """The objects of heartbeats of some hours."""
    days = {hour.date: hour for hour in hours}.values()
    listed = (list_objects(s3, bucket, day_prefix(heartbeats_prefix(day))).objects for day in days)
    wanted = set(hours)
    places = ((each, partition(each.key)) for each in chain.from_iterable(listed))
    return [each for each, place in places if place and place[2] in wanted]


def together(inputs: Mapping[Key, HourInputs], windows: Collection[Window]) -> list[list[Window]]:
    """The ``windows`` in order, divided into those that one statement measures: one hour at least, and else
    no more than `TOGETHER_BYTES`."""
    sizes: Counter[Window] = Counter()
    for (_, window), of_hour in inputs.items():
        sizes[window] += sum(found.size for found in of_hour.objects)
    groups: list[list[Window]] = []
    size = 0
    for window in sorted(windows):
        size += sizes[window]
        if not groups or size > TOGETHER_BYTES:
            groups.append([])
            size = sizes[window]
        groups[-1].append(window)
    return groups


def measures(windows: Collection[Window], unreadable: Collection[str] = ()) -> str:
    """The statement that measures what raw holds of ``windows``, without the objects at ``unreadable``."""
    return sql.render("coverage/measures", **_read(windows, unreadable), epoch_ms=EPOCH_MS)


def signs_of_life(
    windows: Collection[Window], now: datetime, settings: Settings, unreadable: Collection[str] = ()
) -> dict[str, str]:
    """The statements that tell when the stream was alive around ``windows``, by name.

    They exclude the objects at the addresses ``unreadable``.
    """
    heard = _read(heard_hours(windows, now), unreadable)
    return {
        "heartbeats": sql.render("coverage/heartbeats", **heard),
        "stretches": sql.render(
            "coverage/stretches",
            **heard,
            from_ms=to_milliseconds(min(windows).start - HOUR),
            to_ms=to_milliseconds(now),
            outage_ms=settings.outage_seconds * 1000,
            adjacent_ms=int(ADJACENT.total_seconds() * 1000),
        ),
    }


def _read(hours: Collection[Window], unreadable: Collection[str]) -> dict[str, list[str]]:
    """What a statement reads, as its parameters."""
    return {
        "days": sorted({hour.date for hour in hours}),
        "hours": sorted(hour.label for hour in hours),
        # A list in SQL is never empty.
        "unreadable": sorted(unreadable) or ["none"],
    }


def judged_until(heartbeats: Iterable[ResultRow], now: datetime, settings: Settings) -> datetime:
    """The time up to which hours can be judged.

    Up to the watermark, less a margin for what Firehose may deliver out of order, or up to where the grace
    time is over, if that is later; never into the time that search does not find yet.
    """
    until = to_milliseconds(now - timedelta(seconds=settings.delivery_grace_seconds))
    watermarks = [row["watermark_ms"] for row in heartbeats if row["watermark_ms"] is not None]
    if watermarks:
        until = max(until, max(watermarks) - settings.delivery_margin_seconds * 1000)
    # A watermark may be of a year that no datetime has.
    return from_milliseconds(min(until, to_milliseconds(now - SEARCH_DELAY)))


def sample_at(window: Window, heartbeats: Iterable[ResultRow]) -> int | None:
    """The `sample:` in force in the hour: the streamer's last value before it, else its first one after
    it."""
    said = {Window.parse(f"{row['dt']}T{row['hour']}"): row["sample"] for row in heartbeats}
    known = {hour: int(sample) for hour, sample in said.items() if sample is not None}
    before = [hour for hour in known if hour <= window]
    after = [hour for hour in known if hour > window]
    if before:
        return known[max(before)]
    return known[min(after)] if after else None


def with_what_was_under_way(
    outages: Iterable[Stretch], collection_start: datetime, lateness: timedelta
) -> list[Stretch]:
    """The outages, each with the time before it whose tweets may not have arrived when it began.

    X delivers a tweet seconds after it was posted (its P99 is 6 to 7 s), and no later stream repeats it.
    """
    widened: list[Stretch] = []
    earliest = collection_start
    for outage in sorted(outages):
        widened.append(Stretch(max(outage.start - lateness, earliest), outage.end))
        earliest = outage.end
    return widened


def _measures(row: ResultRow | None, window: Window, until: datetime, overlap_elsewhere: int) -> Measures:
    """The row's counts; the longest silence goes on from the last tweet to where the hour can be judged.

    ``overlap_elsewhere`` tweets of this topic and another lie in raw of the other alone.
    """
    end = min(window.end, until)
    if row is None:
        silence = max((end - window.start).total_seconds(), 0.0)
        return Measures(overlap=overlap_elsewhere, longest_silence_s=silence)
    first_ms, last_ms = row["first_ms"], row["last_ms"]
    silence = (row["longest_silence_ms"] or 0) / 1000
    last = window.start if last_ms is None else from_milliseconds(last_ms)
    return Measures(
        **{
            name: row[name]
            for name in (
                "raw_ids",
                "labeled_ids",
                "missing_ids",
                "quarantined",
                "duplicates",
                "lines_without_id",
                "recovered",
            )
        },
        overlap=row["overlap"] + overlap_elsewhere,
        first_ts=None if first_ms is None else from_milliseconds(first_ms),
        last_ts=None if last_ms is None else last,
        longest_silence_s=max(silence, (end - last).total_seconds()),
    )


def _overlaps_elsewhere(rows: Iterable[ResultRow]) -> Counter[Key]:
    """Tweets in raw of one topic whose rules name others too, for those others."""
    found: Counter[Key] = Counter()
    for row in rows:
        window = Window.parse(f"{row['dt']}T{row['hour']}")
        for named, tweets in json.loads(row["named"] or "{}").items():
            for topic in set(named.split(",")) - {row["topic"]}:
                found[topic, window] += tweets
    return found


def gather(
    rows: Mapping[str, Sequence[ResultRow]],
    keys: Iterable[Key],
    inputs: Mapping[Key, HourInputs],
    former_gaps: Mapping[Key, tuple[Gap, ...]],
    active: Collection[Window],
    collection_start: datetime,
    now: datetime,
    settings: Settings,
    unreadable: Mapping[str, str] | None = None,
) -> list[Evidence]:
    """The evidence on each of ``keys``; ``rows`` are those of `measures` and `signs_of_life`, by name.

    ``former_gaps`` is what the ledger says so far, ``active`` are the hours with an active run of transform.
    ``unreadable`` are the keys of objects that cannot be read, with the reason: of an hour whose heartbeats
    cannot be read nobody knows whether the stream was alive, so it is no outage.
    """
    unread: dict[Key, list[str]] = defaultdict(list)
    unheard: set[Window] = set()
    for object_key in sorted(unreadable or ()):
        if labeled := labeled_hour(object_key):
            unread[labeled].append(object_key)
        elif place := partition(object_key):
            layer, of_topic, hour = place
            unread[of_topic, hour].append(object_key)
            if layer == "heartbeats":
                unheard.add(hour)
    until = judged_until(rows["heartbeats"], now, settings)
    heard = {Window.parse(f"{row['dt']}T{row['hour']}"): row["heartbeats"] for row in rows["heartbeats"]}
    stretches = [
        (row["state"], Stretch(from_milliseconds(row["from_ms"]), from_milliseconds(row["to_ms"])))
        for row in rows["stretches"]
    ]
    alive = [stretch for state, stretch in stretches if state == "alive"]
    # An outage is as long as it is known to be, across hours, before it is cut into them.
    known = (stretch.clipped(collection_start, until) for state, stretch in stretches if state == "silent")
    unknown = [Stretch(hour.start, hour.end) for hour in unheard]
    silences = with_what_was_under_way(
        [
            stretch
            for whole in known
            if whole
            for stretch in whole.without(unknown)
            if stretch.seconds >= settings.outage_seconds
        ],
        collection_start,
        timedelta(seconds=settings.lateness_seconds),
    )
    measured = {(row["topic"], Window.parse(f"{row['dt']}T{row['hour']}")): row for row in rows["measures"]}
    elsewhere = _overlaps_elsewhere(rows["measures"])
    found = []
    for topic, window in keys:
        start, end = max(window.start, collection_start), min(window.end, until)
        parts = (silence.clipped(window.start, window.end) for silence in silences)
        of_hour = inputs[topic, window]
        found.append(
            Evidence(
                topic=topic,
                window=window,
                expected=Stretch(start, end) if start < end else None,
                measures=replace(
                    _measures(measured.get((topic, window)), window, until, elsewhere[topic, window]),
                    removed=of_hour.removed,
                ),
                alive_s=overlap_seconds(alive, start, end),
                heartbeats=heard.get(window, 0),
                silences=tuple(part for part in parts if part),
                recovered=of_hour.recovered,
                former_gaps=former_gaps.get((topic, window), ()),
                raw_digest=of_hour.raw_digest,
                raw_newest=of_hour.raw_newest,
                labeled_at=of_hour.labeled_at,
                active=window in active,
                edits_unread=of_hour.edits_unread,
                unreadable=(*unread[topic, window], *unread[ALL_TOPICS, window]),
                searchable_from=from_milliseconds(to_milliseconds(now - REACH + SEARCH_MARGIN)),
            )
        )
    return found

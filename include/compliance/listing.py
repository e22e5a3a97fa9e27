"""Which objects may hold what must go of some hours: one listing for all hours of a day, where that does.

Whose topics are looked at the lake says, not the topics file: what was collected of a topic stays until it
expires, though nobody asks for it any more.

A listing may become as old as it likes, if the tombstones stood before it: who writes an object after that
reads them again (`tombstones`). What is made from other objects is listed when those are purged already.
"""

from __future__ import annotations

import contextlib
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from include.lake import layout, storage
from include.window import HOUR, Window, is_possible

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

_EMPTY = 20
"""Bytes of a gzip stream of nothing (RFC 1952: a header of 10, 2 of the shortest block, a trailer of 8)."""

_PREDICTED = re.compile(
    r"predictions/model=[^/]+/topic=(?P<topic>[^/]+)/dt=(?P<date>\d{4}-\d\d-\d\d)/tweets-(?P<hour>\d\d)\.parquet"
)
_TOPIC = re.compile(r"topic=(?P<topic>[^/]+)/")
_EDITS = re.compile(r"/edits/(?P<hour>\d{4}-\d\d-\d\dT\d\d)\.json$")
"""A work file of an hour that names edited posts of another one."""


@dataclass(frozen=True)
class Place:
    """One object: what it holds counts to a layer and a topic."""

    layer: str
    topic: str
    key: str


Places = Mapping[Window, Sequence[Place]]
"""By the hour of the tweets; an hour without any is there too."""


def topics(s3: S3Client, bucket: str, layer: str) -> list[str]:
    """The topics of which a layer holds anything, `NO_TOPIC` too."""
    folders = storage.folders(s3, bucket, f"{layer}/")
    return sorted(name.removeprefix("topic=") for name in folders if name.startswith("topic="))


def collected(s3: S3Client, bucket: str, windows: Sequence[Window]) -> Places:
    """What holds tweets as they came, and their labels: all layers that say whose a tweet is."""
    return _merged(raw(s3, bucket, windows), quarantine(s3, bucket, windows), labeled(s3, bucket, windows))


def made(s3: S3Client, bucket: str, windows: Sequence[Window]) -> Places:
    """What is made from objects of `collected`, or kept of them: list it when they are purged."""
    return _merged(
        _predictions(s3, bucket, windows),
        _edits(s3, bucket, windows),
        _work(s3, bucket, windows),
        damaged(s3, bucket, windows),
    )


def once(places: Places) -> Places:
    """Each place under the first of its hours alone, for who applies to every hour what must go of all."""
    seen: set[Place] = set()
    found: dict[Window, list[Place]] = {}
    for window, each in places.items():
        found[window] = [place for place in each if place not in seen]
        seen.update(each)
    return found


def raw(s3: S3Client, bucket: str, windows: Sequence[Window]) -> Places:
    """The raw objects."""
    found = _every(windows)
    for topic in topics(s3, bucket, "raw"):
        prefixes = {window: layout.raw_prefix(topic, window) for window in windows}
        for window, each in _under(s3, bucket, prefixes):
            found[window] += _places("raw", topic, each)
    return found


def quarantine(s3: S3Client, bucket: str, windows: Sequence[Window]) -> Places:
    """The quarantined lines, also those of the next hour.

    What the streamer rejects lies under the hour in which it was received, which may be the next one.
    """
    found = _every(windows)
    for topic in topics(s3, bucket, "quarantine"):
        received = {near for window in windows for near in _around(window, 0, 1)}
        prefixes = {window: layout.quarantine_prefix(topic, window) for window in received}
        for window, each in _under(s3, bucket, prefixes):
            for hour in _around(window, -1, 0) & found.keys():
                found[hour] += _places("quarantine", topic, each)
    return found


def labeled(s3: S3Client, bucket: str, windows: Sequence[Window]) -> Places:
    """The labeled objects, whose hours need no listing: who reads them sees which are there."""
    names = topics(s3, bucket, "labeled")
    return {
        window: [Place("labeled", topic, layout.labeled_key(topic, window)) for topic in names]
        for window in windows
    }


def damaged(s3: S3Client, bucket: str, windows: Sequence[Window]) -> Places:
    """The originals of damaged objects of raw and quarantine; they are few, so all are listed at once."""
    found = _every(windows)
    for each in storage.objects(s3, bucket, layout.DAMAGED_PREFIX):
        place = layout.partition(each.key.removeprefix(layout.DAMAGED_PREFIX))
        if not place:
            continue
        layer, topic, window = place
        hours = {"raw": {window}, "quarantine": _around(window, -1, 0)}.get(layer, set())
        for hour in hours & found.keys():
            found[hour] += _places("damaged", topic, each)
    return found


def beside(s3: S3Client, bucket: str) -> list[Place]:
    """What lies by no hour of the tweets: pages of searches, and what Firehose could not deliver."""
    found = []
    for each in storage.objects(s3, bucket, layout.RECOVERIES_PREFIX):
        topic = each.key.removeprefix(layout.RECOVERIES_PREFIX).partition("/")[0]
        found += _places("work", topic, each)
    for each in storage.objects(s3, bucket, layout.DELIVERY_ERRORS_PREFIX):
        found += _places("delivery-errors", layout.ALL_TOPICS, each)
    return found


def astray(s3: S3Client, bucket: str, now: datetime) -> list[Place]:
    """Lines whose address names no hour that can hold posts, and originals that no hour of raw leads to.

    Days tell that of raw, which is large; quarantine, and what is damaged, is listed as a whole.
    """
    found = [
        each for each in storage.objects(s3, bucket, layout.QUARANTINE_PREFIX) if not _may_hold(each.key, now)
    ]
    for topic in topics(s3, bucket, "raw"):
        days = f"raw/topic={topic}/"
        for day in sorted(storage.folders(s3, bucket, days)):
            if not _may_hold(f"{days}{day}/hour=00/", now):
                found += storage.objects(s3, bucket, f"{days}{day}/")
    places = [place for each in found for place in _places(*_layer_and_topic(each.key), each)]
    for each in storage.objects(s3, bucket, layout.DAMAGED_PREFIX):
        key = each.key.removeprefix(layout.DAMAGED_PREFIX)
        layer, topic = _layer_and_topic(key)
        # What was rejected may be of any hour.
        if layer == "quarantine" or not _may_hold(key, now):
            places += _places("damaged", topic, each)
    return places


def _may_hold(key: str, now: datetime) -> bool:
    """Whether a key names an hour that can hold posts."""
    place = layout.partition(key)
    return place is not None and is_possible(place[2].start.date(), now)


def _layer_and_topic(key: str) -> tuple[str, str]:
    layer, _, rest = key.partition("/")
    named = _TOPIC.match(rest)
    return layer, named["topic"] if named else layout.NO_TOPIC


def all_quarantined(s3: S3Client, bucket: str) -> Places:
    """All quarantined lines, by the hour under which they lie."""
    found: defaultdict[Window, list[Place]] = defaultdict(list)
    for each in storage.objects(s3, bucket, layout.QUARANTINE_PREFIX):
        if place := layout.partition(each.key):
            found[place[2]] += _places("quarantine", place[1], each)
    return found


def _predictions(s3: S3Client, bucket: str, windows: Sequence[Window]) -> Places:
    """The predictions of all models: a listing of each model's day would not be shorter than one of all."""
    found = _every(windows)
    for each in storage.objects(s3, bucket, layout.PREDICTIONS_PREFIX):
        if named := _PREDICTED.fullmatch(each.key):
            window = Window.parse(f"{named['date']}T{named['hour']}")
            if window in found:
                found[window] += _places("predictions", named["topic"], each)
    return found


def _edits(s3: S3Client, bucket: str, windows: Sequence[Window]) -> Places:
    found = _every(windows)
    prefixes = {window: layout.edits_key(window, window).rpartition("/")[0] + "/" for window in windows}
    for window, each in _under(s3, bucket, prefixes):
        found[window] += _places("edits", layout.ALL_TOPICS, each)
    return found


def _work(s3: S3Client, bucket: str, windows: Sequence[Window]) -> Places:
    """The hours' work files, and those of the hours beside that name their edited posts."""
    found = _every(windows)
    around = {near for window in windows for near in _around(window, -1, 0, 1)}
    for window, each in _under(s3, bucket, {near: layout.work_prefix(near) for near in around}):
        edits = _EDITS.search(each.key)
        hour = Window.parse(edits["hour"]) if edits else window
        if hour in found:
            found[hour] += _places("edits" if edits else "work", layout.ALL_TOPICS, each)
    return found


def _around(window: Window, *hours: int) -> set[Window]:
    """The hours that are as many ``hours`` away; at the ends of the calendar there are fewer."""
    found = set()
    for number in hours:
        with contextlib.suppress(OverflowError):
            found.add(Window(window.start + number * HOUR))
    return found


def _places(layer: str, topic: str, found: storage.Object) -> list[Place]:
    """The object's place; none where it holds nothing, or never a tweet."""
    is_empty = found.size <= (_EMPTY if found.key.endswith(".gz") else 0)
    if is_empty or found.key.endswith("/state.json"):
        return []
    return [Place(layer, topic, found.key)]


def _under(
    s3: S3Client, bucket: str, prefixes: Mapping[Window, str]
) -> Iterator[tuple[Window, storage.Object]]:
    """What lies under the prefixes of some hours, which end in the hour; each day is listed once."""
    days: defaultdict[str, dict[str, Window]] = defaultdict(dict)
    for window, prefix in sorted(prefixes.items()):
        days[prefix.removesuffix(f"{window.hour}/")][prefix] = window
    for of_day, hours in days.items():
        length = len(of_day) + len("05/")
        for found in storage.objects(s3, bucket, of_day if len(hours) > 1 else next(iter(hours))):
            if window_found := hours.get(found.key[:length]):
                yield window_found, found


def _every(windows: Sequence[Window]) -> defaultdict[Window, list[Place]]:
    return defaultdict(list, {window: [] for window in windows})


def _merged(*some: Places) -> Places:
    return {window: [place for each in some for place in each[window]] for window in some[0]}

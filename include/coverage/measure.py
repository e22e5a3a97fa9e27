"""Measures hours, judges them and writes the ledger."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from include.coverage import damage, evidence, ledger
from include.coverage.evidence import HourInputs, Key
from include.coverage.judge import judge
from include.coverage.ledger import CoverageRow
from include.lake import athena
from include.lake.athena import Athena
from include.lake.layout import ALL_TOPICS, partition
from include.lake.storage import Object
from include.settings import Settings
from include.window import HOUR, Window, requested_hour
from include.x.search import REACH
from include.x.topics import Topics

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

LONGEST_RANGE = 31 * 24
"""How many hours one run may look at."""

LOOK_BACK = REACH + timedelta(days=1)
"""How far back a run looks without a start: as far as search reaches, and a day more, to say what is lost."""

log = logging.getLogger(__name__)


class RangeError(ValueError):
    """A range of hours that coverage cannot look at."""


@dataclass(frozen=True)
class Measurement:
    """The rows of all requested hours, and what the streamer reported in those that were measured.

    ``damaged`` are the keys of objects that failed Athena's statements and were left out of them, ``alarms``
    tell of pressing verdicts that are new since the hours were measured before.
    """

    rows: tuple[CoverageRow, ...]
    heartbeats: tuple[athena.ResultRow, ...]
    damaged: tuple[str, ...] = ()
    alarms: tuple[str, ...] = ()


def collection_start(settings: Settings, topics: Topics) -> datetime:
    """From when a missing hour counts as a gap."""
    return settings.collection_start or topics.collection.start


def unapproved_start(now: datetime, settings: Settings) -> datetime:
    """The start of the first hour that is recovered without an approval: `unapproved_hours` whole hours
    before this one."""
    return Window.containing(now).start - settings.unapproved_hours * HOUR


def windows(start: str | None, end: str | None, now: datetime, collected_from: datetime) -> list[Window]:
    """The hours from ``start`` up to, but without, ``end`` (labels such as ``2026-11-20T05``).

    Without a start as far as `LOOK_BACK`, without an end with the open hour. Hours before the collection's
    start are left out. Raises `RangeError` for an empty range, one too long or one in the future, and
    `WindowError` for a label that names no hour, or one that cannot hold posts.
    """
    present = Window.containing(now)
    first = requested_hour(start, now) if start else Window.containing(now - LOOK_BACK)
    last = requested_hour(end, now).start if end else present.end
    if not first.start < last:
        raise RangeError(f"the range from {first} to {Window(last)} holds no hour")
    if last > present.end:
        raise RangeError(f"the range ends at {Window(last)}, in the future; the open hour is {present}")
    if (last - first.start) // HOUR > LONGEST_RANGE:
        raise RangeError(f"at most {LONGEST_RANGE} hours can be looked at in one run")
    return [window for window in Window.between(first.start, last) if window.end > collected_from]


def measure(
    database: Athena,
    s3: S3Client,
    settings: Settings,
    topics: Topics,
    hours: Sequence[Window],
    active: Collection[Window],
    now: datetime,
) -> Measurement:
    """Measures and judges each topic in each of ``hours``; ``active`` have a run of transform in progress.

    Hours whose objects have not changed since a verdict that stands keep their row, and are not asked for.
    """
    listed = evidence.list_inputs(s3, settings.bucket, topics.names, hours)
    former = ledger.read_days(s3, settings.bucket, hours)
    lost = damage.aside(s3, settings.bucket)
    reopened = {place[1:] for place in map(partition, lost) if place}
    settled = {
        key: former[key]
        for key, found in listed.items()
        if key in former and former[key].settled(found) and not {key, (ALL_TOPICS, key[1])} & reopened
    }
    keys = [key for key in listed if key not in settled]
    if not keys:
        return Measurement(tuple(settled.values()), ())
    inputs = evidence.with_unread_edits(s3, settings.bucket, listed, keys)
    inputs = evidence.with_removed(s3, settings.bucket, inputs)
    # A statement reads every topic of its hours, also those that keep their row.
    rows, damaged = _rows(database, s3, settings, listed, {window for _, window in keys}, now)
    found = evidence.gather(
        rows,
        keys,
        inputs,
        {key: row.gaps for key, row in former.items()},
        active,
        collection_start(settings, topics),
        now,
        settings,
        damaged | dict.fromkeys(lost, "its original lies aside"),
    )
    measured = []
    for one in found:
        key = one.topic, one.window
        judged = ledger.row(one, judge(one), inputs[key], former.get(key), now)
        log.info(
            "topic=%s hour=%s verdict=%s evidence=%s", one.topic, one.window, judged.verdict, judged.evidence
        )
        measured.append(judged)
    alarms = (
        f"{row.window} {row.topic}: {row.alarm}"
        for row in measured
        if row.verdict.pressing and (row.key not in former or former[row.key].alarm != row.alarm)
    )
    return Measurement(
        (*settled.values(), *measured), tuple(rows["heartbeats"]), tuple(damaged), tuple(alarms)
    )


def _rows(
    database: Athena,
    s3: S3Client,
    settings: Settings,
    inputs: Mapping[Key, HourInputs],
    windows: Collection[Window],
    now: datetime,
) -> tuple[dict[str, list[athena.ResultRow]], dict[str, str]]:
    """The rows of the statements on ``windows``, by name, and why objects were left out of them, by key.

    One group of hours is measured after another, so that memory is bounded.
    """

    def ask(group: Sequence[Window], first: bool) -> tuple[dict[str, list[athena.ResultRow]], dict[str, str]]:
        def statements(unreadable: Collection[str]) -> dict[str, str]:
            asked = {"measures": evidence.measures(group, unreadable)}
            return asked | evidence.signs_of_life(windows, now, settings, unreadable) if first else asked

        def candidates() -> Iterator[Object]:
            for (_, window), of_hour in inputs.items():
                if window in group:
                    yield from of_hour.objects
            if first:
                yield from evidence.list_heartbeats(s3, settings.bucket, evidence.heard_hours(windows, now))

        return damage.run_all(database, statements, s3, settings.bucket, candidates)

    first, *others = evidence.together(inputs, windows)
    rows, damaged = ask(first, True)
    for group in others:
        more, unreadable = ask(group, False)
        rows["measures"] += more["measures"]
        damaged |= unreadable
    return rows, damaged

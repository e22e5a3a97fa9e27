"""Measures hours, judges them and writes the ledger."""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from include.coverage import evidence, ledger
from include.coverage.judge import judge
from include.coverage.ledger import Row
from include.lake import athena
from include.lake.athena import Athena
from include.settings import Settings
from include.window import HOUR, Window, requested_hour
from include.x.topics import Topics

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

LONGEST_RANGE = 31 * 24
"""How many hours one run may look at."""

log = logging.getLogger(__name__)


class RangeError(ValueError):
    """A range of hours that coverage cannot look at."""


@dataclass(frozen=True)
class Measurement:
    """The rows of every hour that was asked for, and what the streamer said in those that were measured."""

    rows: tuple[Row, ...]
    heartbeats: tuple[athena.Row, ...]


def collection_start(settings: Settings, topics: Topics) -> datetime:
    """From when a missing hour counts as a gap."""
    return settings.collection_start or topics.collection.start


def reach_start(now: datetime, settings: Settings) -> datetime:
    """The start of the first hour that is recovered without asking: so many whole hours before this one."""
    return Window.containing(now).start - settings.reach_hours * HOUR


def windows(
    start: str | None, end: str | None, now: datetime, settings: Settings, collected_from: datetime
) -> list[Window]:
    """The hours from ``start`` up to, but without, ``end`` (labels such as ``2026-11-20T05``).

    Without a start as far as the reach, without an end with the open hour. Hours before the collection's
    start are left out. Raises `RangeError` for an empty range, one too long or one in the future, and
    `WindowError` for a label that names no hour, or one that cannot hold posts.
    """
    present = Window.containing(now)
    first = requested_hour(start, now) if start else Window.containing(reach_start(now, settings))
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
    """Measures and judges each topic in each of ``hours``; ``active`` have a run of transform under way.

    Hours whose objects have not changed since a verdict that stands keep their row, and are not asked for.
    """
    inputs = evidence.list_inputs(s3, settings.bucket, topics.names, hours)
    former = ledger.read_days(s3, settings.bucket, hours)
    settled = {
        key: former[key] for key, found in inputs.items() if key in former and former[key].settled(found)
    }
    keys = [key for key in inputs if key not in settled]
    if not keys:
        return Measurement(tuple(settled.values()), ())
    inputs = evidence.with_unread_edits(s3, settings.bucket, inputs, keys)
    rows = database.run_all(evidence.statements({window for _, window in keys}, now, settings))
    found = evidence.gather(
        rows,
        keys,
        inputs,
        {key: row.gaps for key, row in former.items()},
        active,
        collection_start(settings, topics),
        now,
        settings,
    )
    measured = []
    for one in found:
        key = one.topic, one.window
        judged = ledger.row(one, judge(one), inputs[key], former.get(key), now)
        log.info(
            "topic=%s hour=%s verdict=%s evidence=%s", one.topic, one.window, judged.verdict, judged.evidence
        )
        measured.append(judged)
    return Measurement((*settled.values(), *measured), tuple(rows["heartbeats"]))

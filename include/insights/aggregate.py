"""The hourly aggregates: one Parquet object per day, selected on Athena and replaced whole.

The days to select again are determined from the lake itself, never from events, which may be missed: an
aggregate has a digest of the statement and of the objects that it was made from. The same rows make the same
bytes.

Labeled rows expire, aggregates stay: a day beyond the retention, or one that has begun to lose objects, keeps
its aggregate.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from include.lake import cards, layout, quality, sql, storage, tables
from include.lake.athena import Athena
from include.lake.schemas import AGGREGATE_KEYS, OPINION_HOURLY
from include.settings import Settings
from include.window import Window

if TYPE_CHECKING:
    from types_boto3_s3.client import S3Client

NO_MODEL = "none"
"""Stands for the champion before there is one; no partition has this name."""

_NONE = ("none",)
"""Stands for an empty list of pairs of an engine and a language."""
_DAY = re.compile(r"/topic=(?P<topic>[^/]+)/dt=(?P<day>\d{4}-\d\d-\d\d)/tweets-\d\d\.parquet$")

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class DayInputs:
    """The current inputs of a day's aggregate.

    ``labeled`` counts the labeled objects of each topic; ``digest`` covers the statement and every object.
    ``expiring`` says whether the day is beyond the retention.
    """

    day: str
    statement: str
    labeled: Mapping[str, int]
    digest: str
    hours: tuple[Window, ...]
    expiring: bool

    def outdates(self, standing: Mapping[str, str] | None) -> bool:
        """Whether the aggregate with the metadata ``standing`` (None: there is none) has to be replaced."""
        return standing is None or (standing.get("inputs") != self.digest and not self._expired(standing))

    def metadata(self) -> dict[str, str]:
        """The metadata of the aggregate's object: its origin."""
        return {"inputs": self.digest, "labeled": json.dumps(self.labeled, sort_keys=True)}

    def _expired(self, standing: Mapping[str, str]) -> bool:
        """Whether a topic has, or may soon have, fewer hours than the aggregate was made from."""
        former: dict[str, int] = json.loads(standing.get("labeled", "{}"))
        return self.expiring or any(count < former.get(topic, 0) for topic, count in self.labeled.items())


@dataclass(frozen=True)
class Refreshed:
    """A day's aggregate: counts, and whether it was written now."""

    day: str
    written: bool
    rows: int
    tweets: int
    judged: int
    compared: int

    def to_json(self) -> dict[str, Any]:
        """As a dict of JSON's types."""
        return asdict(self)


def champion(s3: S3Client, bucket: str) -> str:
    """The version whose predictions count, such as ``v3``; `NO_MODEL` before the first."""
    try:
        found = json.loads(storage.read(s3, bucket, layout.CHAMPION_KEY))
    except storage.ObjectMissingError:
        return NO_MODEL
    return f"v{found['version']}"


def inputs(s3: S3Client, settings: Settings, topics: Sequence[str], day: str = "") -> dict[str, DayInputs]:
    """The inputs of every day that has labeled objects, or of the one ``day``; by day, in order."""
    model, measured = champion(s3, settings.bucket), cards.measured(s3, settings.bucket)
    partition = f"dt={day}/" if day else ""
    labeled = _by_day(
        s3, settings.bucket, [f"{layout.LABELED_PREFIX}topic={topic}/{partition}" for topic in topics]
    )
    predicted = f"{layout.PREDICTIONS_PREFIX}model={model}/"
    predictions = _by_day(s3, settings.bucket, [f"{predicted}topic={topic}/{partition}" for topic in topics])
    return {
        found: _inputs(found, labeled[found], predictions[found], topics, model, measured, settings)
        for found in sorted(labeled)
    }


def _inputs(
    day: str,
    labeled: Sequence[storage.Object],
    predictions: Sequence[storage.Object],
    topics: Sequence[str],
    model: str,
    measured: cards.Measured,
    settings: Settings,
) -> DayInputs:
    statement = sql.render(
        "insights/opinion",
        day=day,
        model=model,
        measured=measured.sentiment or _NONE,
        measured_translations=measured.translation or _NONE,
    )
    hours = sorted({named[1] for each in labeled if (named := layout.labeled_hour(each.key))})
    kept = hours[0].is_within(settings.retention_days, datetime.now(UTC).date())
    counts = Counter(found["topic"] for each in labeled if (found := _DAY.search(each.key)))
    objects = sorted((each.key, each.etag) for each in (*labeled, *predictions))
    digest = hashlib.sha256(json.dumps([statement, objects]).encode()).hexdigest()[:32]
    return DayInputs(
        day, statement, {topic: counts[topic] for topic in topics}, digest, tuple(hours), expiring=not kept
    )


def changed_days(s3: S3Client, settings: Settings, topics: Sequence[str]) -> list[str]:
    """The days, in order, whose aggregate is out of date or has not passed its check.

    A check that blocked or did not finish is therefore repeated before the data is used.
    """
    days = []
    for day, now in inputs(s3, settings, topics).items():
        found = storage.current(s3, settings.bucket, layout.aggregate_key(day))
        checked = quality.find(s3, settings.bucket, "opinion", day)
        unproved = found is not None and checked != quality.CheckResult(blocks=False, state=found.etag)
        if unproved or _is_due(s3, settings, now, found):
            days.append(day)
    return days


def _is_due(s3: S3Client, settings: Settings, now: DayInputs, found: storage.ObjectVersion | None) -> bool:
    """Whether a day has to be aggregated and may be: not while the check of one of its hours blocks."""
    if not now.outdates(found.metadata if found else None):
        return False
    checks = {hour: quality.find(s3, settings.bucket, "labeled", hour) for hour in now.hours}
    blocked = [hour.label for hour, check in checks.items() if check and check.blocks]
    if blocked:
        log.warning("aggregate day=%s waits for hours whose check blocks: %s", now.day, ", ".join(blocked))
    return not blocked


def is_current(s3: S3Client, settings: Settings, topics: Sequence[str], day: str) -> bool:
    """Whether the day's aggregate was made from exactly the lake's current objects."""
    found = storage.current(s3, settings.bucket, layout.aggregate_key(day))
    now = inputs(s3, settings, topics, day).get(day)
    return found is not None and now is not None and found.metadata.get("inputs") == now.digest


def state(s3: S3Client, bucket: str, day: str) -> str:
    """The version of a day's aggregate: its ETag, empty if there is none."""
    found = storage.current(s3, bucket, layout.aggregate_key(day))
    return found.etag if found else ""


def refresh(athena: Athena, s3: S3Client, settings: Settings, topics: Sequence[str], day: str) -> Refreshed:
    """Selects one day and replaces its aggregate, unless it is made from exactly these objects already.

    The inputs are listed before they are selected, and only the aggregate from before that is replaced: of
    two parallel runs, the one that loses looks at the lake again. Raises `AthenaError`.
    """

    def decide(found: storage.ObjectVersion | None) -> storage.Content | None:
        now = inputs(s3, settings, topics, day).get(day)
        if now is None or not _is_due(s3, settings, now, found):
            return None
        table = athena.table(s3, now.statement).cast(OPINION_HOURLY)
        return storage.Content(_parquet(table), now.metadata())

    key = layout.aggregate_key(day)
    swap = storage.compare_and_swap(s3, settings.bucket, key, decide)
    table = read(s3, settings.bucket, day)
    result = Refreshed(
        day,
        swap.written,
        table.num_rows,
        *(sum(table[name].to_pylist()) for name in ("tweets", "judged", "compared")),
    )
    log.info("aggregate day=%s written=%s rows=%d tweets=%d", day, swap.written, result.rows, result.tweets)
    return result


def read(s3: S3Client, bucket: str, day: str) -> pa.Table:
    """A day's aggregate; without rows if there is none."""
    return tables.read(s3, bucket, layout.aggregate_key(day), OPINION_HOURLY)


def _by_day(s3: S3Client, bucket: str, prefixes: Sequence[str]) -> Mapping[str, list[storage.Object]]:
    days: dict[str, list[storage.Object]] = defaultdict(list)
    for prefix in prefixes:
        for found in storage.list_objects(s3, bucket, prefix).objects:
            if named := _DAY.search(found.key):
                days[named["day"]].append(found)
    return days


def _parquet(table: pa.Table) -> bytes:
    return tables.encode(table.sort_by([(name, "ascending") for name in AGGREGATE_KEYS]))

"""Coverage's measures on the local Athena: a month in which nothing changed, and ten million ids compared.

Both run on the local Athena with a real Trino. A run of coverage measures a month of hours whose objects have
not changed since their verdicts; the peer is a run that measures a single day for the first time. The ids are
those of raw of one day, compared with those of labeled by a run of coverage.
"""

from __future__ import annotations

import contextlib
import gzip
import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.compute as pc

from benchmarks.lake import provisioned
from benchmarks.measure import MeasureError, Row, peak_mib
from include.coverage import ledger
from include.coverage import measure as hours_measured
from include.coverage.measure import Measurement
from include.lake import layout, tables
from include.lake.athena import Athena
from include.lake.schemas import LABELED
from include.settings import Settings
from include.window import HOUR, Window
from include.x.snowflake import lowest_id
from include.x.topics import Topics, load
from local.processes import Process

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

_HEAP_MIB = 1_024
"""What Trino's heap may take."""

_WANTED_PER_SECOND = 10_000_000 // 60
_DAYS, _IDS = 30, 10_000_000
_TWEETS_PER_HOUR = 4
_MISSING_EVERY = 1_000
"""One in as many ids of raw is not labeled."""
_BEAT = timedelta(seconds=30)


def measure(quick: bool = False) -> list[Row]:
    """The rows for this part; ``quick`` measures a tenth of the days and of the ids.

    Raises `MeasureError` if a server does not start or a result does not match the lake.
    """
    days, ids = (_DAYS // 10, _IDS // 10) if quick else (_DAYS, _IDS)
    with _lake(days) as lake:
        return [_unchanged(lake, days), _compared(lake, ids)]


@dataclass(frozen=True)
class _Lake:
    """A provisioned lake whose collection began at midnight, ``days`` days before ``today``."""

    s3: S3Client
    database: Athena
    settings: Settings
    topics: Topics
    today: datetime
    trino: Process

    def hours(self, first_day: int, days: int) -> list[Window]:
        """Every hour of ``days`` days from the day ``first_day`` days before today."""
        start = self.today - timedelta(days=first_day)
        return list(Window.between(start, start + timedelta(days=days)))

    def look(self, hours: list[Window]) -> tuple[float, Measurement]:
        """Seconds that a run of coverage measures for, and what it measured."""
        begun = time.perf_counter()
        found = hours_measured.measure(
            self.database, self.s3, self.settings, self.topics, hours, (), datetime.now(UTC)
        )
        return time.perf_counter() - begun, found

    def put(self, key: str, body: bytes) -> None:
        """Puts an object into the bucket."""
        self.s3.put_object(Bucket=self.settings.bucket, Key=key, Body=body)


def _unchanged(lake: _Lake, days: int) -> Row:
    month, day = lake.hours(days, days), lake.hours(1, 1)
    for hour in [*month, *lake.hours(0, 1)]:
        _hour(lake, hour, posts=hour in month)
    lake.look(day)  # Trino reads the views at its first statement.
    one_day, _ = lake.look(day)
    _, first = lake.look(month)
    if unsettled := [row for row in first.rows if not row.verdict.settled]:
        raise MeasureError(f"{unsettled[0].window} {unsettled[0].topic} is {unsettled[0].verdict}")
    ledger.write(lake.s3, lake.settings.bucket, first.rows)
    seconds, again = lake.look(month)
    if len(again.rows) != len(first.rows):
        raise MeasureError(f"the second run has {len(again.rows)} rows, the first {len(first.rows)}")
    return Row(
        f"coverage of {days} days in which nothing changed",
        round(seconds, 2),
        round(one_day, 2),
        round(one_day / seconds, 2),
        "seconds",
        round(_peak(lake)),
        "peer is a run that measures one day for the first time; memory is Trino's",
    )


def _compared(lake: _Lake, ids: int) -> Row:
    topic, day = lake.topics.names[0], lake.hours(40, 1)
    chance, an_hour = np.random.default_rng(1), ids // len(day)
    packed = 0
    for hour in day:
        first = lowest_id(hour.start)
        step = (lowest_id(hour.end) - first) // an_hour
        found = pa.array(first + step * np.arange(an_hour) + chance.integers(step, size=an_hour))
        body = gzip.compress(_posts(topic, hour, found, chance), 1)
        packed += len(body)
        lake.put(f"{layout.raw_prefix(topic, hour)}a.gz", body)
        is_labeled = pa.array(np.arange(an_hour) % _MISSING_EVERY > 0)
        lake.put(layout.labeled_key(topic, hour), _labeled(topic, found.filter(is_labeled)))
    seconds, measured = lake.look(day)
    memory = _peak(lake)
    compared = sum(row.measures.raw_ids for row in measured.rows)
    missing = sum(row.measures.missing_ids for row in measured.rows)
    if (compared, missing) != (an_hour * len(day), -(-an_hour // _MISSING_EVERY) * len(day)):
        raise MeasureError(f"{missing} of {compared} ids are reported missing")
    return Row(
        f"{compared:,} ids compared",
        round(compared / seconds),
        _WANTED_PER_SECOND,
        round(compared / seconds / _WANTED_PER_SECOND, 3),
        "ids per second",
        round(memory),
        f"a run of coverage over a day of which nothing was known: raw of {packed / 2**20:,.0f} MiB, packed,"
        f" against labeled, {missing:,} missing; peer is ten million in a minute; memory is Trino's, with a"
        f" heap of {_HEAP_MIB:,} MiB and both of Java's compilers",
    )


def _peak(lake: _Lake) -> float:
    """The most memory that Trino held so far, in MiB."""
    root = psutil.Process(lake.trino.popen.pid)
    return sum(peak_mib(each.pid) for each in (root, *root.children(recursive=True)))


def _posts(topic: str, hour: Window, ids: pa.Array, chance: np.random.Generator) -> memoryview:
    """Lines of raw as the streamer writes them, with texts and authors that do not repeat."""
    authors, *words = (pa.array(chance.integers(10**18, size=len(ids))).cast(pa.string()) for _ in range(4))
    at = f"{hour.label}:30:00.000Z"
    ingest = json.dumps(
        {"received_at": at, "session": "s", "rule_hash": "r", "sample": 100, "source": "stream"},
        separators=(",", ":"),
    )
    lines = pc.binary_join_element_wise(
        f'{{"data":{{"created_at":"{at}","lang":"en","id":"',
        ids.cast(pa.string()),
        '","author_id":"',
        authors,
        '","text":"',
        pc.binary_join_element_wise(*words, " on the war, the news of "),
        f'"}},"matching_rules":[{{"id":"1","tag":"{topic}"}}],"ingest":{ingest}}}\n',
        "",
    )
    # The texts of a column lie one after another: the lines are there without a loop.
    return memoryview(lines.buffers()[2])


def _hour(lake: _Lake, hour: Window, *, posts: bool) -> None:
    """An hour in which the streamer ran and every post was labeled."""
    beats = [hour.start + number * _BEAT for number in range(HOUR // _BEAT)]
    said = [
        {
            "kind": "heartbeat",
            "at": at.isoformat(),
            "session": "s",
            "watermark": at.isoformat(),
            "connected": True,
            "last_byte_at": at.isoformat(),
            "last_tweet_at": at.isoformat(),
        }
        for at in beats
    ]
    lake.put(f"{layout.heartbeats_prefix(hour)}h.gz", _ndjson(said))
    for topic in lake.topics.names if posts else ():
        ids = [lowest_id(hour.start + HOUR * part / _TWEETS_PER_HOUR) for part in range(_TWEETS_PER_HOUR)]
        posted = [{"data": {"id": str(each)}, "matching_rules": [{"tag": topic}]} for each in ids]
        lake.put(f"{layout.raw_prefix(topic, hour)}a.gz", _ndjson(posted))
        lake.put(layout.labeled_key(topic, hour), _labeled(topic, pa.array(ids)))


def _ndjson(records: Sequence[Mapping[str, object]]) -> bytes:
    return gzip.compress("".join(f"{json.dumps(record)}\n" for record in records).encode(), 1)


def _labeled(topic: str, ids: pa.Array) -> bytes:
    known = {"tweet_id": ids, "tag": pa.repeat(topic, len(ids))}
    columns = [known.get(field.name, pa.nulls(len(ids), field.type)) for field in LABELED]
    return tables.encode(pa.table(columns, schema=LABELED))


@contextlib.contextmanager
def _lake(days: int) -> Iterator[_Lake]:
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=1)
    settings = Settings(collection_start=today - timedelta(days=max(days, 40)))
    with provisioned(settings, _HEAP_MIB) as (clients, s3, database):
        yield _Lake(s3, database, settings, load(settings.topics_file), today, clients.trino)


def main() -> None:
    """Prints the rows; the argument ``--quick`` measures a tenth."""
    for row in measure(quick="--quick" in sys.argv[1:]):
        print(row)


if __name__ == "__main__":
    main()

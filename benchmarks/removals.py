"""A thousand removals from a month of tweets: only hours that hold one are read, in bounded memory.

The lake is on the local AWS: raw and labeled objects of every hour. Most of what must go is named by tweets'
ids, as X's compliance jobs name it; the rest are all tweets of some users, whose hours Athena finds. The peer
is the same program looking into every hour, as it would have to without a plan.
"""

from __future__ import annotations

import contextlib
import gzip
import json
import random
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import orjson
import pyarrow as pa

from benchmarks import tweets
from benchmarks.lake import provisioned
from benchmarks.measure import MeasureError, Row, in_own_process, report
from include.compliance.removal import Removal, RemovalReport
from include.compliance.requests import RemovalRequest
from include.lake import layout, tables
from include.lake.pseudonyms import Pseudonyms
from include.lake.schemas import LABELED
from include.settings import Settings
from include.window import Window
from include.x import snowflake
from include.x.compliance import ComplianceAction
from local.removal import remove

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

LIMIT_MIB = 512
"""The memory that the removal may take."""

_DAYS, _TWEETS_PER_DAY, _REMOVED = 30, 100_000, 1_000
_USERS = 10
"""So many of the removals are not named by a tweet's id but by its author."""
_OBJECTS_PER_HOUR = 4
_SCANNED = 24
"""Hours that the peer reads; the rest is extrapolated from them."""
_KEY = b"benchmark"
_PSEUDONYMS = Pseudonyms(_KEY)
_DELETE = ComplianceAction.DELETE


def measure(quick: bool = False) -> list[Row]:
    """The row for this part; ``quick`` measures a tenth of the days and of the removals.

    Raises `MeasureError` if a server does not start, or if other tweets or hours are read than those that
    hold what must go.
    """
    days, removed = (_DAYS // 10, _REMOVED // 10) if quick else (_DAYS, _REMOVED)
    with _lake(days, removed) as (environment, todo, holding):
        day = in_own_process("benchmarks.removals", "scan", todo, environment=environment)
        ours = in_own_process("benchmarks.removals", "remove", todo, environment=environment)
    if (ours["hours"], ours["rows"]) != (holding, removed):
        raise MeasureError(
            f"{ours['rows']} tweets were removed from {ours['hours']} hours, not {removed} from {holding}"
        )
    if ours["peak_mib"] > LIMIT_MIB:
        raise MeasureError(f"the removal took {ours['peak_mib']:.0f} MiB; the limit is {LIMIT_MIB}")
    scan = day["seconds"] / _SCANNED * days * 24
    return [
        Row(
            f"{removed:,} removals from {days} days of {_TWEETS_PER_DAY:,} tweets a day",
            round(ours["seconds"], 1),
            round(scan, 1),
            round(scan / ours["seconds"], 2),
            "seconds",
            round(ours["peak_mib"]),
            f"{ours['hours']} of {days * 24} hours hold one and are read; {ours['requests']:,} requests"
            f" to S3, {ours['objects']:,} objects rewritten or deleted; peer reads every"
            f" hour, without a plan, and writes nothing; extrapolated from {_SCANNED} hours",
        )
    ]


@contextlib.contextmanager
def _lake(days: int, removed: int) -> Iterator[tuple[dict[str, str], Path, int]]:
    """A filled lake: the environment of its clients, a file with what must go, and the hours that hold it."""
    midnight = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    settings = Settings(collection_start=midnight - timedelta(days=days))
    hours = list(Window.between(midnight - timedelta(days=days), midnight))
    chosen = random.Random(removed)  # noqa: S311 - synthetic data, no secret
    per_topic = _TWEETS_PER_DAY // 24 // len(tweets.TOPICS)
    places = chosen.sample(range(len(hours) * len(tweets.TOPICS) * per_topic), removed)
    by_object: dict[int, list[int]] = {}
    for place in places:
        by_object.setdefault(place // per_topic, []).append(place % per_topic)
    users = {place: f"9{number:012}" for number, place in enumerate(places[:_USERS])}
    named: list[int] = []
    later: list[tuple[str, Path]] = []
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        clients, s3, _ = stack.enter_context(provisioned(settings))
        for number, (hour, topic) in enumerate((hour, topic) for hour in hours for topic in tweets.TOPICS):
            authors = {
                place: users[number * per_topic + place]
                for place in by_object.get(number, ())
                if number * per_topic + place in users
            }
            ids, labeled = _collected(s3, settings.bucket, topic, hour, per_topic, authors)
            named += [ids[place] for place in by_object.get(number, ()) if place not in authors]
            key = layout.labeled_key(topic, hour)
            (folder / f"{number}.parquet").write_bytes(labeled)
            later.append((key, folder / f"{number}.parquet"))
        # After all of raw: an hour whose raw may be newer than its labels is read for a user's tweets.
        time.sleep(1)
        for key, path in later:
            s3.put_object(Bucket=settings.bucket, Key=key, Body=path.read_bytes())
        todo = folder / "todo.json"
        todo.write_text(json.dumps({"tweets": named, "users": sorted(users.values())}))
        yield (
            clients.endpoints.aws_environment(),
            todo,
            len({number // len(tweets.TOPICS) for number in by_object}),
        )


def _collected(
    s3: S3Client, bucket: str, topic: str, hour: Window, count: int, authors: dict[int, str]
) -> tuple[list[int], bytes]:
    """Puts an hour into raw, with the ``authors`` of some tweets; its ids and its labeled object."""
    lines = list(dict.fromkeys(tweets.lines(topic, count, hour)))
    for place, author in authors.items():
        own = orjson.loads(lines[place])["data"]["author_id"]
        lines[place] = lines[place].replace(b'"%b"' % own.encode(), b'"%b"' % author.encode())
    size = -(-len(lines) // _OBJECTS_PER_HOUR)
    for start in range(0, len(lines), size):
        body = gzip.compress(b"\n".join(lines[start : start + size]) + b"\n", 1)
        s3.put_object(
            Bucket=bucket, Key=f"{layout.raw_prefix(topic, hour)}stream-{start // size}.gz", Body=body
        )
    posts = [orjson.loads(line)["data"] for line in lines]
    ids = [int(post["id"]) for post in posts]
    columns = {
        "ts": [snowflake.moment(own).replace(tzinfo=None) for own in ids],
        "tweet_id": ids,
        "author_id": [_PSEUDONYMS.of(post["author_id"]) for post in posts],
        "text": [post["text"] for post in posts],
        "tag": [topic] * len(ids),
    }
    arrays = [pa.array(columns.get(field.name, [None] * len(ids)), field.type) for field in LABELED]
    table = pa.Table.from_arrays(arrays, schema=LABELED)
    return ids, tables.encode(table)


def _carry_out(step: str, todo: Path) -> dict[str, Any]:
    given = json.loads(todo.read_text())
    s3, settings = boto3.client("s3"), Settings()
    requests = 0

    def count(**_: Any) -> None:
        nonlocal requests
        requests += 1

    s3.meta.events.register("before-send.s3", count)
    named = dict.fromkeys(given["tweets"], _DELETE)
    request = RemovalRequest.of(
        _PSEUDONYMS, "bench", "measured", datetime.now(UTC), named, dict.fromkeys(given["users"], _DELETE)
    )
    begun = time.perf_counter()
    done: RemovalReport
    if step == "remove":
        clock = lambda: datetime.now(UTC)  # noqa: E731
        done = remove(s3, boto3.client("athena"), settings, _KEY, request, clock, dry_run=False)
    else:
        midnight = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        some = Window.between(midnight - timedelta(hours=_SCANNED), midnight)
        done = Removal(s3, settings, _KEY, request, dry_run=True).from_hours(some)
    seconds = time.perf_counter() - begun
    rows = sum(each.removed for each in done.counts if each.layer == "labeled")
    return {
        "seconds": seconds,
        "requests": requests,
        "hours": done.hours,
        "objects": done.objects,
        "rows": rows,
    }


def main() -> None:
    """Prints the row, a tenth of it with ``--quick``; with a step's name and a file, measures that step."""
    if sys.argv[1:2] and sys.argv[1] in ("remove", "scan"):
        step, todo = sys.argv[1], Path(sys.argv[2])
        report(lambda: _carry_out(step, todo))
        return
    for row in measure(quick="--quick" in sys.argv[1:]):
        print(row)


if __name__ == "__main__":
    main()

"""Measures what was used on a day, service by service, from what the services and the lake keep of it.

Days are UTC. What a service forgets (queries after 45 days, objects that have expired) cannot be measured
later: `MEASURED_LATER_DAYS` says how old a day may be.
"""

from __future__ import annotations

import calendar
import logging
import math
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING, Any

import orjson

from include.costs import usage
from include.costs.usage import GB, MEASURED, MODELED, TB, Usage
from include.coverage import ledger
from include.labeling.answers import ENDPOINT
from include.lake import layout, sql, storage
from include.lake.athena import Athena, billed_queries
from include.prices import Prices
from include.settings import Settings
from include.window import HOUR, Window
from include.x.budget import PostsLedger, month_of

if TYPE_CHECKING:
    from types_boto3_athena.client import AthenaClient
    from types_boto3_s3.client import S3Client
    from types_boto3_sagemaker.client import SageMakerClient

_DAY = timedelta(days=1)
BILLED_RECORD_BYTES = 5 * 1024
"""Firehose bills a record as a multiple of so many bytes (https://aws.amazon.com/firehose/pricing/)."""
BILLED_QUERY_BYTES = 10_000_000
"""What Athena bills a query at least (https://aws.amazon.com/athena/pricing/)."""
_MB = 1_000_000
_JOB = re.compile(r"x-opinion-(?P<stage>\w+)-\d{4}-\d\d-\d\dT?\d*")
_MODEL = re.compile(r"x-opinion-(?:live-)?(?P<stage>[a-z]+)-[0-9a-f]+")

log = logging.getLogger(__name__)

type ListRuns = Callable[[datetime, datetime], Iterable[Mapping[str, Any]]]
"""Gives the project's runs on Databricks that started in a stretch of time, as its Jobs API lists them."""


@dataclass(frozen=True)
class Sources:
    """What is asked: the clients, the settings, the price list, and the moment of asking."""

    s3: S3Client
    athena: AthenaClient
    statements: Athena
    sagemaker: SageMakerClient
    runs: ListRuns
    settings: Settings
    prices: Prices
    now: datetime


type UsageByDay = dict[date, list[Usage]]


def posts(sources: Sources, day: date) -> UsageByDay:
    """Posts bought from X, for every day of the month up to ``day``.

    The ledger of posts knows the month. What search bought has the day on which its writer wrote last, or the
    month's last one if that was after its end; what the stream bought is spread over the days by the tweets
    that coverage has counted in raw.
    """
    last = day.replace(day=calendar.monthrange(day.year, day.month)[1])
    days = [day.replace(day=number) for number in range(1, day.day + 1)]
    streamed, searched = 0, Counter[date]()
    for entry in PostsLedger(sources.s3, sources.settings.bucket).entries(month_of(_start(day))):
        if entry.source == "stream":
            streamed += entry.posts
        else:
            searched[min(entry.written.date(), last)] += entry.posts
    weights = [_streamed_lines(sources, each) for each in days]
    streams = dict(zip(days, spread(streamed, weights), strict=True))

    def bought(stage: str, count: int, origin: str) -> list[Usage]:
        return [Usage(stage, "x", "post", "post", count, MEASURED, origin)] if count else []

    return {
        each: [
            *bought("collect", streams[each], "posts ledger of the month, by each day's tweets in raw"),
            *bought("recover", searched[each], "posts ledger"),
        ]
        for each in days
    }


def spread(total: int, weights: Sequence[float]) -> list[int]:
    """``total`` in whole parts that add up to it, by the weights; all to the last without any."""
    if not any(weights):
        weights = [0] * (len(weights) - 1) + [1]
    parts, given, passed = [], 0, 0.0
    for weight in weights:
        passed += weight
        until = round(total * passed / sum(weights))
        parts.append(until - given)
        given = until
    return parts


def _streamed_lines(sources: Sources, day: date) -> int:
    lines = (
        row.measures for row in ledger.read_day(sources.s3, sources.settings.bucket, day.isoformat()).values()
    )
    return sum(
        max(each.raw_ids + each.duplicates + each.lines_without_id + each.removed - each.recovered, 0)
        for each in lines
    )


def firehose(sources: Sources, day: date) -> UsageByDay:
    """What Firehose delivered of the tweets of a day, and of its heartbeats."""
    statement = sql.render(
        "costs/delivered",
        day=day.isoformat(),
        stream=sources.settings.delivery_stream,
        record_bytes=BILLED_RECORD_BYTES,
    )
    (found,) = sources.statements.run(statement)
    if not found["objects"]:
        return {day: []}
    every_line = "lines of the day, as if each were a record of its own: at most so much"

    def used(item: str, unit: str, quantity: float, basis: str, origin: str) -> Usage:
        return Usage("collect", "firehose", item, unit, quantity, basis, origin)

    return {
        day: [
            used("ingestion", "GB", found["billed_bytes"] / GB, MODELED, every_line),
            used("dynamic partitioning", "GB", found["bytes"] / GB, MODELED, "bytes of the day's lines"),
            used(
                "partitioned objects",
                "1,000 objects",
                found["objects"] / 1000,
                MEASURED,
                "objects of the day",
            ),
        ]
    }


def sagemaker(sources: Sources, day: date) -> UsageByDay:
    """Instance hours of the jobs that were created on a day, and of endpoints."""
    hours: defaultdict[tuple[str, str], float] = defaultdict(float)
    for name in _jobs(sources.sagemaker, day):
        job = sources.sagemaker.describe_transform_job(TransformJobName=name)
        begun, resources = job.get("TransformStartTime"), job["TransformResources"]
        if begun is None:
            continue  # it never got an instance
        seconds = (job.get("TransformEndTime") or sources.now) - begun
        found = _JOB.match(name)
        stage = found["stage"] if found else "label"
        hours[stage, resources["InstanceType"]] += seconds / HOUR * resources["InstanceCount"]
    batch = [
        Usage(
            stage, "sagemaker", f"batch {instance}", "hour", total, MEASURED, "the jobs' start and end times"
        )
        for (stage, instance), total in hours.items()
    ]
    return {day: [*batch, *_endpoints(sources, day)]}


def _jobs(client: SageMakerClient, day: date) -> Iterator[str]:
    pages = client.get_paginator("list_transform_jobs").paginate(
        NameContains="x-opinion-",
        # The bounds exclude their own moment.
        CreationTimeAfter=_start(day) - timedelta(milliseconds=1),
        CreationTimeBefore=_start(day) + _DAY,
    )
    for page in pages:
        for each in page["TransformJobSummaries"]:
            if each["TransformJobName"].startswith("x-opinion-"):
                yield each["TransformJobName"]


def _endpoints(sources: Sources, day: date) -> Iterator[Usage]:
    """The hours of each stage's endpoint: while it is seen, and the hours in which one has answered."""
    up: defaultdict[str, dict[Window, float]] = defaultdict(dict)
    windows = [Window(_start(day) + number * HOUR) for number in range(24)]
    seen: set[str] = set()
    pages = sources.sagemaker.get_paginator("list_endpoints").paginate(NameContains="x-opinion-live-")
    for page in pages:
        for each in page["Endpoints"]:
            if not (named := _MODEL.fullmatch(each["EndpointName"])):
                continue
            stage, created = named["stage"], each["CreationTime"].astimezone(UTC)
            for window in windows:
                share = (min(window.end, sources.now) - max(window.start, created)) / HOUR
                if share > 0:
                    up[stage][window] = min(up[stage].get(window, 0.0) + share, 1.0)
                    seen.add(stage)
    for window in windows:
        for stage in _answered(sources, window):
            up[stage].setdefault(window, 1.0)
    item = f"endpoint {sources.settings.sagemaker_instance_type}"
    for stage, hours in up.items():
        instances = sources.settings.live_instances
        basis = MEASURED if stage in seen and instances == 1 else MODELED
        origin = "since the endpoint was created" if stage in seen else "hours in which an endpoint answered"
        if instances > 1:
            origin += f", as if all of its {instances} instances were up"
        yield Usage(stage, "sagemaker", item, "hour", sum(hours.values()) * instances, basis, origin)


def _answered(sources: Sources, window: Window) -> set[str]:
    """The stages whose endpoint has answered about an hour, while its work files have not expired."""
    s3, bucket, prefix = sources.s3, sources.settings.bucket, layout.answers_prefix(window)
    stages = set()
    for entry in storage.objects(s3, bucket, prefix):
        named = _MODEL.fullmatch(entry.key.removeprefix(prefix).partition("/")[0])
        if not named or named["stage"] in stages or not entry.key.endswith("/kept.json"):
            continue
        if orjson.loads(storage.read(s3, bucket, entry.key))["mode"] == ENDPOINT:
            stages.add(named["stage"])
    return stages


def athena(sources: Sources, day: date) -> UsageByDay:
    """What the workgroup's queries of a day have scanned, as Athena bills it."""
    scanned = queries = 0
    for each in billed_queries(sources.athena, sources.settings.workgroup, _start(day), _start(day) + _DAY):
        scanned += max(BILLED_QUERY_BYTES, math.ceil(each / _MB) * _MB)
        queries += 1
    if not queries:
        return {day: []}
    origin = f"{queries:,} queries, each at least 10 MB"
    return {day: [Usage("query", "athena", "scanned", "TB", scanned / TB, MEASURED, origin)]}


def databricks(sources: Sources, day: date) -> UsageByDay:
    """Hours of the runs that started on a day, and the DBUs that the list counts for them."""
    instance = sources.settings.training_node_type
    hours: defaultdict[str, float] = defaultdict(float)
    for run in sources.runs(_start(day), _start(day) + _DAY):
        ended = int(run.get("end_time") or 0) or int(sources.now.timestamp() * 1000)
        # The name is the job's: the DAG's and the task group's.
        hours[run["run_name"].partition(".")[0]] += (ended - int(run["start_time"])) / 3_600_000
    dbus = sources.prices.dbus(instance)
    used = []
    for stage, total in hours.items():
        origin = "the runs' start and end times, one machine each"
        used.append(Usage(stage, "ec2", instance, "hour", total, MEASURED, origin))
        if dbus is not None:
            origin = f"the runs' hours at {dbus:g} DBU an hour"
            used.append(Usage(stage, "databricks", "jobs compute", "DBU", total * dbus, MODELED, origin))
    return {day: used}


def s3(sources: Sources, day: date) -> UsageByDay:
    """What the bucket holds on a day, and what was written on it, by layer."""
    held, written = Counter[str](), Counter[str]()
    start = _start(day)
    for entry in storage.objects(sources.s3, sources.settings.bucket, ""):
        layer = entry.key.partition("/")[0]
        if entry.last_modified < start + _DAY:
            held[layer] += entry.size
            written[layer] += entry.last_modified >= start
    month = calendar.monthrange(day.year, day.month)[1]
    storage_origin = "objects that the bucket holds, for a day"
    writes_origin = "objects written on the day that still stand: at least so many; reads are not known"
    return {
        day: [
            *(
                Usage(layer, "s3", "storage", "GB-month", size / GB / month, MEASURED, storage_origin)
                for layer, size in held.items()
            ),
            *(
                Usage(layer, "s3", "writes", "1,000 requests", count / 1000, MODELED, writes_origin)
                for layer, count in written.items()
                if count
            ),
        ]
    }


def quicksight(sources: Sources, day: date) -> UsageByDay:
    """A day's part of QuickSight's users, as the settings count them; none where it is not used."""
    settings = sources.settings
    if not settings.quicksight_principals:
        return {day: []}
    month = calendar.monthrange(day.year, day.month)[1]
    people = {"author": settings.quicksight_authors, "reader": settings.quicksight_readers}
    return {
        day: [
            Usage(
                "show",
                "quicksight",
                item,
                "user-month",
                count / month,
                MODELED,
                f"OPINION_QUICKSIGHT_{item.upper()}S",
            )
            for item, count in people.items()
            if count
        ]
    }


MEASURES: Mapping[str, Callable[[Sources, date], UsageByDay]] = {
    "x": posts,
    "firehose": firehose,
    "sagemaker": sagemaker,
    "athena": athena,
    "databricks": databricks,
    "s3": s3,
    "quicksight": quicksight,
}
"""How each service's usage of a day is measured."""

MEASURED_LATER_DAYS: Mapping[str, int] = {"s3": 1}
"""How many days old a day may be and still be measured: later it would be measured as less. Otherwise
`USUAL_DAYS`, as long as work files are kept; what `_LASTING` services are measured by is kept for good."""
USUAL_DAYS = 7
_LASTING = frozenset({"x", "quicksight"})


def measure(sources: Sources, service: str, last: date, first: date) -> dict[str, int]:
    """Measures a service's usage of the day ``last`` and writes it; the rows by day.

    Also of the days of the week before it, from ``first`` on, that nobody has measured: a run was missed. A
    day that the service has forgotten keeps its rows.
    """
    client, bucket = sources.s3, sources.settings.bucket
    week = [last - back * _DAY for back in range(USUAL_DAYS - 1, 0, -1)]
    missed = [day for day in week if day >= first and not usage.is_written(client, bucket, day, service)]
    rows = {}
    for day in (*missed, last):
        age = (sources.now.date() - day).days
        if age > MEASURED_LATER_DAYS.get(service, USUAL_DAYS) and service not in _LASTING:
            log.info("usage service=%s day=%s is too long ago to be measured", service, day)
            continue
        for each, used in MEASURES[service](sources, day).items():
            rows[each.isoformat()] = usage.write(client, bucket, each, service, used, sources.prices)
    log.info("usage service=%s rows=%s", service, rows)
    return rows


def _start(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)

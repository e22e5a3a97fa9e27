"""What X is asked about: every id that was collected within the retention, in shards that one job takes.

The ids of a shard are read from the lake when they are needed, and kept nowhere: a retry adopts the job by
the digest of its ids.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from include.compliance.queries import forgetting
from include.compliance.requests import RemovalRequest
from include.lake import layout, sql, storage
from include.lake.pseudonyms import Pseudonyms
from include.settings import Settings
from include.window import Window
from include.x.compliance import IDS_A_JOB, ComplianceAction, Gone, Kind

if TYPE_CHECKING:
    from types_boto3_athena.client import AthenaClient
    from types_boto3_s3.client import S3Client

ANSWERED_LATELY = timedelta(hours=20)
"""For so long a shard is not asked about again; less than a day, as a daily run may start a little early."""

_FULL = 0.9
"""How full a job is made: counts are estimates, and shards differ a little."""
_KINDS: tuple[Kind, ...] = ("tweets", "users")


@dataclass(frozen=True)
class Shard:
    """One part of all collected tweets or users: what one job of X is asked about."""

    kind: Kind
    number: int
    shards: int

    def to_json(self) -> dict[str, Any]:
        """As JSON's types; no id is in it."""
        return asdict(self)

    @property
    def key(self) -> str:
        """The object that says when X answered about it."""
        return layout.compliance_key(self.kind, self.number, self.shards)

    def label(self, day: str) -> str:
        """The name of its job: another one each day, as another answer is wanted."""
        return f"{self.kind}-{self.number}-{self.shards}-{day}"


def shards(
    s3: S3Client,
    athena: AthenaClient,
    settings: Settings,
    topics: Sequence[str],
    now: datetime,
    ids_a_job: int = IDS_A_JOB,
) -> list[Shard]:
    """The shards that X was not asked about lately; none of a kind that nothing was collected of."""
    held = _days_held(s3, settings, topics, now)
    if not held:
        return []
    with forgetting(s3, athena, settings) as queries:
        (counts,) = queries.run(sql.render("compliance/counts", days=held))
    found = []
    for kind in _KINDS:
        number = math.ceil(counts[kind] / (ids_a_job * _FULL))
        found += [Shard(kind, each, number) for each in range(number)]
    return [shard for shard in found if not _answered_lately(s3, settings.bucket, shard, now)]


def ids(
    s3: S3Client,
    athena: AthenaClient,
    settings: Settings,
    topics: Sequence[str],
    shard: Shard,
    now: datetime,
) -> list[str]:
    """The ids of a shard; keep them in memory."""
    held = _days_held(s3, settings, topics, now)
    if not held:
        return []
    statement = sql.render(
        "compliance/ids",
        days=held,
        kind=shard.kind,
        shards=shard.shards,
        shard=shard.number,
    )
    with forgetting(s3, athena, settings) as queries:
        found: list[str] = queries.table(s3, statement)["id"].to_pylist()
    return found


def answered(s3: S3Client, bucket: str, shard: Shard, now: datetime) -> None:
    """Notes that X has answered about a shard."""
    body = json.dumps({"answered_at": now.astimezone(UTC).isoformat()}).encode()
    storage.overwrite(s3, bucket, shard.key, body)


def request_of(
    pseudonyms: Pseudonyms, kind: Kind, result: Iterable[Gone], now: datetime
) -> tuple[RemovalRequest, dict[str, int]]:
    """What an answer of X asks to remove, in the one request of its day; and how often which reason."""
    gone: dict[str, ComplianceAction] = {}
    reasons: Counter[str] = Counter()
    for each in result:
        gone[each.id] = each.action
        reasons[each.reason] += 1
    request = RemovalRequest.of(
        pseudonyms,
        f"x-{now:%Y-%m-%d}",
        "X reports it",
        now,
        {int(own): action for own, action in gone.items()} if kind == "tweets" else {},
        gone if kind == "users" else {},
    )
    return request, dict(reasons)


def days(settings: Settings, now: datetime) -> list[str]:
    """The days of which something may be kept, by the retention, in order."""
    return [f"{now - timedelta(days=back):%Y-%m-%d}" for back in reversed(range(settings.retention_days + 2))]


def _days_held(s3: S3Client, settings: Settings, topics: Sequence[str], now: datetime) -> list[str]:
    """Those of `days` of which there is anything: a query lists every hour of each day that it names."""
    hour = Window.containing(now)
    held = set[str]()
    for topic in (*topics, layout.NO_TOPIC):
        for layer in (layout.raw_prefix, layout.quarantine_prefix):
            held |= storage.folders(s3, settings.bucket, layout.topic_prefix(layer(topic, hour)))
    return [day for day in days(settings, now) if f"dt={day}" in held]


def _answered_lately(s3: S3Client, bucket: str, shard: Shard, now: datetime) -> bool:
    try:
        note = json.loads(storage.read(s3, bucket, shard.key))
    except storage.ObjectMissingError:
        return False
    return datetime.fromisoformat(note["answered_at"]) > now - ANSWERED_LATELY

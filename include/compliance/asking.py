"""What X is asked about: every id that the lake holds, in shards that one job takes.

Topics and days do not matter, as the lake may hold more than both settings say: a topic that was taken out of
the topics file, labels that were made long after the tweet was collected, an audit, which does not expire.

The ids of a shard are read from the lake when they are needed, and kept nowhere: a retry adopts the job by
the digest of its ids.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from include.compliance.queries import forgetting
from include.compliance.requests import RemovalRequest
from include.lake import layout, sql, storage
from include.lake.pseudonyms import Pseudonyms
from include.settings import Settings
from include.x.compliance import IDS_PER_JOB, ComplianceAction, Gone, Kind

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
    """One part of all tweets or users in the lake: what one job of X is asked about."""

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
    now: datetime,
    ids_per_job: int = IDS_PER_JOB,
) -> list[Shard]:
    """The shards that X was not asked about lately; none of a kind of which the lake holds nothing."""
    with forgetting(s3, athena, settings) as queries:
        (counts,) = queries.run(sql.render("compliance/counts"))
    every_shard = []
    for kind in _KINDS:
        number = math.ceil(counts[kind] / (ids_per_job * _FULL))
        every_shard += [Shard(kind, each, number) for each in range(number)]
    return [shard for shard in every_shard if not _answered_lately(s3, settings.bucket, shard, now)]


def ids(s3: S3Client, athena: AthenaClient, settings: Settings, shard: Shard) -> list[str]:
    """The ids of a shard; keep them in memory."""
    statement = sql.render("compliance/ids", kind=shard.kind, shards=shard.shards, shard=shard.number)
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


def _answered_lately(s3: S3Client, bucket: str, shard: Shard, now: datetime) -> bool:
    try:
        note = json.loads(storage.read(s3, bucket, shard.key))
    except storage.ObjectMissingError:
        return False
    return datetime.fromisoformat(note["answered_at"]) > now - ANSWERED_LATELY

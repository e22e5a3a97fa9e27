"""The ids that X is asked about, in the real engine: each once, from raw and from quarantine, in shards."""

from __future__ import annotations

import gzip
import json
from datetime import UTC, datetime

import pytest

from include.compliance import asking
from include.compliance.asking import Shard
from include.lake import layout, storage
from include.lake.athena import Athena
from include.lake.views import create_views
from include.provision.lake import ensure_database, ensure_tables, ensure_workgroup
from include.settings import Settings
from include.window import Window
from include.x.compliance import Kind
from include.x.snowflake import lowest_id
from include.x.topics import load
from tests.local.support_athena import LocalAthena

pytestmark = pytest.mark.trino

TEN = Window.parse("2026-11-20T10")
NOW = datetime(2026, 11, 20, 12, 30, tzinfo=UTC)
TOPICS = ("ukraine", "russia")
TWEETS = [lowest_id(TEN.start) + number for number in range(200)]
REJECTED, EXPIRED = lowest_id(TEN.start) + 500, Window.parse("2026-09-01T10")


class Lake:
    """A lake of raw and quarantined lines, as `provision` makes it."""

    def __init__(self, athena: LocalAthena) -> None:
        name = "compliance_lake"
        self.settings = Settings(bucket="compliance-lake", database=name, workgroup=name)
        self.s3, glue, self.athena = (athena.aws.client(service) for service in ("s3", "glue", "athena"))
        self.s3.create_bucket(Bucket=self.settings.bucket)
        ensure_database(glue, self.settings)
        ensure_workgroup(self.athena, self.settings)
        database = Athena(self.athena, self.settings)
        ensure_tables(database, glue, self.settings, load(self.settings.topics_file))
        create_views(database)

    def put(self, key: str, lines: list[str]) -> None:
        self.s3.put_object(
            Bucket=self.settings.bucket, Key=key, Body=gzip.compress("\n".join(lines).encode())
        )

    def ids(self, kind: Kind, shards: int) -> list[list[str]]:
        found = [Shard(kind, number, shards) for number in range(shards)]
        return [asking.ids(self.s3, self.athena, self.settings, TOPICS, shard, NOW) for shard in found]


def payload(tweet_id: int, author: int) -> str:
    return json.dumps({"data": {"id": str(tweet_id), "author_id": str(author), "text": "text"}})


@pytest.fixture(scope="module")
def lake(athena: LocalAthena) -> Lake:
    made = Lake(athena)
    lines = [payload(own, own % 40 + 1) for own in TWEETS]
    made.put(f"{layout.raw_prefix('ukraine', TEN)}a.gz", [*lines, *lines[:20], '{"data": {"id": "12', "5"])
    made.put(f"{layout.raw_prefix('russia', TEN)}a.gz", lines[-5:])
    made.put(f"{layout.raw_prefix('russia', EXPIRED)}a.gz", [payload(7, 999)])
    rejected = {"stage": "streamer", "reason": "overlap", "tweet_id": str(REJECTED)}
    row = json.dumps({**rejected, "line": payload(REJECTED, 77)})
    cut = json.dumps({**rejected, "tweet_id": None, "line": '{"data": {"id'})
    made.put(f"{layout.quarantine_prefix('ukraine', TEN)}a.gz", [row, cut])
    return made


def test_the_counts_decide_how_many_shards_there_are(lake: Lake) -> None:
    found = asking.shards(lake.s3, lake.athena, lake.settings, TOPICS, NOW, ids_a_job=100)
    kinds = [shard.kind for shard in found]
    assert (2 <= kinds.count("tweets") <= 3, kinds.count("users")) == (True, 1)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("tweets", {str(own) for own in (*TWEETS, REJECTED)}),
        ("users", {str(own % 40 + 1) for own in TWEETS} | {"77"}),
    ],
)
def test_every_id_is_in_one_shard_alone(lake: Lake, kind: Kind, expected: set[str]) -> None:
    shards = lake.ids(kind, 3)
    together = [own for shard in shards for own in shard]
    assert sorted(together) == sorted(expected)
    assert all(len(shard) > len(expected) / 10 for shard in shards)
    assert [sorted(shard) for shard in lake.ids(kind, 3)] == [sorted(shard) for shard in shards]
    results = storage.list_objects(lake.s3, lake.settings.bucket, layout.ATHENA_RESULTS).objects
    assert not [each.key for each in results if ".csv" in each.key]

"""The ids that X is asked about, in the real engine: all that the lake holds, each once, in shards."""

from __future__ import annotations

import gzip
import json
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pytest

from include.compliance import asking
from include.compliance.asking import Shard
from include.compliance.removal import Removal
from include.compliance.requests import RemovalRequest
from include.lake import layout, sql, storage, tables
from include.lake.athena import Athena, ResultRow
from include.lake.pseudonyms import Pseudonyms
from include.lake.schemas import AUDIT_DRAWN, AUDIT_JUDGED, LABELED, PREDICTIONS
from include.lake.views import create_views
from include.provision.lake import ensure_database, ensure_tables, ensure_workgroup
from include.settings import Settings
from include.window import Window
from include.x.compliance import ComplianceAction, Kind
from include.x.payload import is_payload
from include.x.snowflake import lowest_id, moment
from include.x.topics import load
from tests.local.support_athena import LocalAthena

pytestmark = pytest.mark.trino

TEN = Window.parse("2026-11-20T10")
NOW = datetime(2026, 11, 20, 12, 30, tzinfo=UTC)
KEY = b"a key of the tests"
PSEUDONYMS = Pseudonyms(KEY)
RETIRED = "poland"
"""A topic that was taken out of the topics file."""
TWEETS = [lowest_id(TEN.start) + number for number in range(200)]
REJECTED, UNDELIVERED, FOUND = (lowest_id(TEN.start) + number for number in (500, 501, 502))
LONG_AGO = Window.parse("2025-09-01T10")
"""Of what is older than the retention the lake keeps what was made later, and the audit."""
LABELED_LATE, PREDICTED, DRAWN, JUDGED = OLD = [lowest_id(LONG_AGO.start) + number for number in range(4)]


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

    def put_row(self, key: str, schema: pa.Schema, **row: Any) -> None:
        body = tables.encode(pa.Table.from_pylist([row], schema=schema))
        self.s3.put_object(Bucket=self.settings.bucket, Key=key, Body=body)

    def run(self, statement: str) -> list[ResultRow]:
        return Athena(self.athena, self.settings).run(statement)

    def ids(self, kind: Kind, shards: int) -> list[list[str]]:
        found = [Shard(kind, number, shards) for number in range(shards)]
        return [asking.ids(self.s3, self.athena, self.settings, shard) for shard in found]


def payload(tweet_id: int, author: int) -> str:
    return json.dumps({"data": {"id": str(tweet_id), "author_id": str(author), "text": "text"}})


@pytest.fixture(scope="module")
def lake(athena: LocalAthena) -> Lake:
    made = Lake(athena)
    lines = [payload(own, own % 40 + 1) for own in TWEETS]
    made.put(f"{layout.raw_prefix('ukraine', TEN)}a.gz", [*lines, *lines[:20], '{"data": {"id": "12', "5"])
    made.put(f"{layout.raw_prefix(RETIRED, TEN)}a.gz", [*lines[-5:], payload(7, 999)])
    made.put_row(
        layout.labeled_key(RETIRED, LONG_AGO), LABELED, tweet_id=LABELED_LATE, author_id=PSEUDONYMS.of("55")
    )
    made.put_row(layout.predictions_key("v1", RETIRED, LONG_AGO), PREDICTIONS, tweet_id=PREDICTED)
    made.put_row(layout.audit_drawn_key("2025-09-01"), AUDIT_DRAWN, tweet_id=DRAWN)
    made.put_row(layout.audit_judged_key("2025-09-01", "p"), AUDIT_JUDGED, tweet_id=JUDGED)
    rejected = {"stage": "streamer", "reason": "overlap", "tweet_id": str(REJECTED)}
    row = json.dumps({**rejected, "line": payload(REJECTED, 77)})
    cut = json.dumps({**rejected, "tweet_id": None, "line": '{"data": {"id'})
    made.put(f"{layout.quarantine_prefix('ukraine', TEN)}a.gz", [row, cut])
    undelivered = {"stage": "firehose", "tweet_id": None, "line": payload(UNDELIVERED, 78)}
    found = {"stage": "search", "tweet_id": None, "line": f'{{"id": "{FOUND}", "author_id": "79"}}'}
    made.put(
        f"{layout.quarantine_prefix(layout.NO_TOPIC, TEN)}a.gz", list(map(json.dumps, (undelivered, found)))
    )
    return made


def test_the_counts_decide_how_many_shards_there_are(lake: Lake) -> None:
    found = asking.shards(lake.s3, lake.athena, lake.settings, NOW, ids_per_job=100)
    kinds = [shard.kind for shard in found]
    assert (2 <= kinds.count("tweets") <= 3, kinds.count("users")) == (True, 1)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("tweets", {str(own) for own in (*TWEETS, REJECTED, UNDELIVERED, FOUND, 7, *OLD)}),
        ("users", {str(own % 40 + 1) for own in TWEETS} | {"77", "78", "79", "999"}),
    ],
)
def test_every_id_is_in_one_shard_alone(lake: Lake, kind: Kind, expected: set[str]) -> None:
    shards = lake.ids(kind, 3)
    together = [own for shard in shards for own in shard]
    assert sorted(together) == sorted(expected)
    assert all(len(shard) > len(expected) / 10 for shard in shards)
    assert [sorted(shard) for shard in lake.ids(kind, 3)] == [sorted(shard) for shard in shards]
    results = storage.list_objects(lake.s3, lake.settings.bucket, layout.ATHENA_RESULTS_PREFIX).objects
    assert not [each.key for each in results if ".csv" in each.key]


def test_a_users_tweets_are_found_in_all_that_is_labeled(lake: Lake) -> None:
    request = RemovalRequest.of(PSEUDONYMS, "r", "a person asks", NOW, {}, {"55": ComplianceAction.DELETE})
    removal = Removal(lake.s3, lake.settings, KEY, request, dry_run=True)
    # Of the other hour raw is newer than its labels: there are none.
    assert removal.hours(lake.athena) == [LONG_AGO, TEN]


def test_a_tweet_that_lies_under_another_hour_is_found_there(lake: Lake) -> None:
    """As where the line that was rejected names no time, and arrived long after the tweet was made."""
    after, late = (lowest_id(TEN.start) + number for number in (600, 601))
    for tweet_id, window in ((after, TEN.next), (late, TEN.next.next), (8, TEN)):
        row = {"stage": "streamer", "reason": "missing_created_at", "tweet_id": str(tweet_id), "line": "{"}
        lake.put(f"{layout.quarantine_prefix(layout.NO_TOPIC, window)}late.gz", [json.dumps(row)])
    lake.put("quarantine/by-hand.gz", [json.dumps({"tweet_id": str(late), "line": "{"})])

    def hours(*tweets: int) -> list[Window]:
        gone = dict.fromkeys(tweets, ComplianceAction.DELETE)
        request = RemovalRequest.of(PSEUDONYMS, "r", "X reports it", NOW, gone, {})
        return Removal(lake.s3, lake.settings, KEY, request, dry_run=True).hours(lake.athena)

    assert hours(*TWEETS, REJECTED, UNDELIVERED) == [TEN]
    assert hours(after) == [TEN, TEN.next]  # raw of that hour may hold it too
    assert hours(late) == [TEN, TEN.next.next]
    assert hours(8) == [Window.containing(moment(8)), TEN]
    assert hours(9) == [Window.containing(moment(9))]


LONG_NAME, ESCAPES = "n" * 60_000, r"\"" * 60_000
"""Longer than a name of JSON may be in a statement that looks for a field."""


@pytest.mark.parametrize(
    "line",
    [
        f'{{"{LONG_NAME}":1,"data":{{"id":"ID"}}}}',
        f'{{"data":{{"text":"","{ESCAPES}":{{"id":"ID"}}}}}}',
        '{"kind":"quarantine","tweet_id":"ID","line":"{}"}',
        'data: {"data":{"id":"ID"}}',
        '[{"data":{"id": ID}}]',
        '\x00{"data":{"id":"ID"}}',
    ],
    ids=["long name", "long name of escapes", "row in a row", "something before", "list", "null byte"],
)
def test_whatever_a_rejected_line_is_no_other_is_lost_and_its_id_is_found(lake: Lake, line: str) -> None:
    own, other = (lowest_id(TEN.start) + number for number in (700, 701))
    key = f"{layout.quarantine_prefix(layout.NO_TOPIC, TEN.next.next)}hostile.gz"
    rows = [
        {"stage": "firehose", "tweet_id": None, "line": line.replace("ID", str(own))},
        {"stage": "streamer", "tweet_id": str(other), "line": "{"},
    ]
    lake.put(key, list(map(json.dumps, rows)))
    try:
        asked = {each for shard in lake.ids("tweets", 1) for each in shard}
        assert {str(own), str(other)} <= asked
        assert {own, other} <= {each["tweet_id"] for each in lake.run(sql.render("compliance/misplaced"))}
    finally:
        lake.s3.delete_object(Bucket=lake.settings.bucket, Key=key)


def test_a_line_of_raw_with_an_endless_name_fails_no_statement(lake: Lake) -> None:
    """It is a payload all the same: X's own keys are what they must be."""
    long, own = json.loads(payload(lowest_id(TEN.start) + 800, 1)), TWEETS[0]
    assert is_payload(long | {LONG_NAME: 1})
    key = f"{layout.raw_prefix('ukraine', TEN)}hostile.gz"
    lake.put(key, [json.dumps({LONG_NAME: 1} | long), payload(own, 1)])
    try:
        assert str(own) in {each for shard in lake.ids("tweets", 1) for each in shard}
        statement = "SELECT tweet_id FROM raw_tweets WHERE dt = '2026-11-20' AND object LIKE '%hostile.gz'"
        assert {each["tweet_id"] for each in lake.run(statement)} == {own, None}
    finally:
        lake.s3.delete_object(Bucket=lake.settings.bucket, Key=key)

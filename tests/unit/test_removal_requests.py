"""Open requests: what they hold, how they are made, merged, confirmed and forgotten."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest

from include.compliance import asking, requests
from include.compliance.asking import Shard
from include.compliance.requests import RemovalRequest, RequestError
from include.lake import layout, storage
from include.lake.pseudonyms import Pseudonyms
from include.x import snowflake
from include.x.compliance import ComplianceAction, Gone
from tests.unit.support_hour import BUCKET, KEY, SETTINGS, WINDOW, tweet_id

DELETE, SCRUB = ComplianceAction.DELETE, ComplianceAction.SCRUB_GEO
PSEUDONYMS = Pseudonyms(KEY)
NOW = WINDOW.end + timedelta(hours=20)
ONE, TWO = tweet_id(10), tweet_id(20)
USER = "829647236"


def of(
    tweets: dict[int, ComplianceAction] | None = None,
    users: dict[str, ComplianceAction] | None = None,
    at: datetime = NOW,
) -> RemovalRequest:
    return RemovalRequest.of(PSEUDONYMS, "x-2026-11-21", "X reports it", at, tweets or {}, users or {})


def test_a_request_is_kept_as_it_is_and_without_an_id(s3: Any) -> None:
    request = of({ONE: DELETE, TWO: SCRUB}, {USER: DELETE})
    requests.add(s3, BUCKET, request)
    assert requests.pending(s3, BUCKET) == [request] == [requests.find(s3, BUCKET, request.name)]
    body = storage.read(s3, BUCKET, layout.request_key(request.name)).decode()
    assert not any(own in body for own in (str(ONE), str(TWO), USER))
    assert not any(own in repr(request) for own in (str(ONE), PSEUDONYMS.marker(ONE), USER))
    assert request.users == {PSEUDONYMS.of(USER): {DELETE: snowflake.lowest_id(NOW)}}


def test_what_is_added_under_a_name_is_merged_and_a_deletion_outweighs(s3: Any) -> None:
    earlier = NOW - timedelta(hours=1)
    for request in (of({ONE: DELETE, TWO: SCRUB}), of({ONE: SCRUB, TWO: DELETE}, {USER: SCRUB}, earlier)):
        requests.add(s3, BUCKET, request)
    (found,) = requests.pending(s3, BUCKET)
    assert set(found.tweets[WINDOW].values()) == {DELETE}
    assert found.requested_at == earlier
    etag = storage.list_objects(s3, BUCKET, layout.REQUESTS_PREFIX).objects[0].etag
    requests.add(s3, BUCKET, found)
    assert storage.list_objects(s3, BUCKET, layout.REQUESTS_PREFIX).objects[0].etag == etag


def test_a_person_s_request_waits_for_a_run_that_confirms_it(s3: Any) -> None:
    request = requests.asked_for(PSEUDONYMS, "why", NOW, [str(ONE)], [USER])
    requests.add(s3, BUCKET, request)
    assert not requests.find(s3, BUCKET, request.name).confirmed
    requests.confirm(s3, BUCKET, request.name)
    assert requests.find(s3, BUCKET, request.name).confirmed
    requests.drop(s3, BUCKET, request.name)
    with pytest.raises(RequestError, match="no open request"):
        requests.confirm(s3, BUCKET, request.name)
    with pytest.raises(RequestError, match="no open request"):
        requests.find(s3, BUCKET, request.name)


@pytest.mark.parametrize(
    ("tweets", "users", "why"),
    [
        ([], [], "names no tweet and no user"),
        (["12x"], [], "1 of the ids are no ids"),
        ([str(1 << 63)], ["@somebody"], "2 of the ids are no ids"),
        ([str(snowflake.lowest_id(NOW))], [], "made in the future"),
    ],
)
def test_what_is_no_request_is_rejected_and_named_by_no_id(
    tweets: list[str], users: list[str], why: str
) -> None:
    with pytest.raises(RequestError, match=why) as rejected:
        requests.asked_for(PSEUDONYMS, "why", NOW, tweets, users)
    assert not any(own in str(rejected.value) for own in (*tweets, *users))


def test_a_request_is_overdue_after_half_of_its_time(s3: Any) -> None:
    requests.add(s3, BUCKET, of({ONE: DELETE}))
    assert requests.overdue(s3, BUCKET, NOW + timedelta(hours=11)) == []
    assert requests.overdue(s3, BUCKET, NOW + timedelta(hours=13)) == [
        f"the removal request x-2026-11-21, made at {NOW:%Y-%m-%dT%H:%MZ}, is not carried out"
    ]


def test_an_answer_is_a_request_of_its_day_and_counts_reasons() -> None:
    gone = [Gone(str(ONE), DELETE, "deleted"), Gone(str(TWO), SCRUB, "scrub_geo")]
    request, reasons = asking.request_of(PSEUDONYMS, "tweets", gone, NOW)
    assert request == of({ONE: DELETE, TWO: SCRUB})
    assert reasons == {"deleted": 1, "scrub_geo": 1}
    request, reasons = asking.request_of(PSEUDONYMS, "users", [Gone(USER, DELETE, "suspended")], NOW)
    assert request == of(users={USER: DELETE})
    assert reasons == {"suspended": 1}


class CountingAthena:
    """Answers with counts of what was collected."""

    def __init__(self, tweets: int, users: int) -> None:
        self.values = [str(tweets), str(users)]

    def start_query_execution(self, **_: Any) -> dict[str, Any]:
        return {"QueryExecutionId": "e1"}

    def get_query_execution(self, **_: Any) -> dict[str, Any]:
        return {"QueryExecution": {"Status": {"State": "SUCCEEDED"}}}

    def get_paginator(self, _: str) -> CountingAthena:
        return self

    def paginate(self, **_: Any) -> Iterator[dict[str, Any]]:
        rows = [
            {"Data": [{"VarCharValue": each} for each in row]} for row in (["tweets", "users"], self.values)
        ]
        columns = [{"Name": name, "Type": "bigint"} for name in ("tweets", "users")]
        yield {"ResultSet": {"ResultSetMetadata": {"ColumnInfo": columns}, "Rows": rows}}


def test_ids_are_divided_into_as_few_jobs_as_take_them_and_not_asked_about_twice(s3: Any) -> None:
    athena: Any = CountingAthena(2_000, 40)

    def todo(at: datetime) -> list[Shard]:
        return asking.shards(s3, athena, SETTINGS, at, ids_per_job=1_000)

    found = todo(NOW)
    assert found == [*(Shard("tweets", number, 3) for number in range(3)), Shard("users", 0, 1)]
    asking.answered(s3, BUCKET, found[1], NOW)
    assert todo(NOW + timedelta(hours=1)) == [found[0], *found[2:]]
    assert todo(NOW + timedelta(days=1)) == found
    asking.answered(s3, BUCKET, found[1], NOW + timedelta(days=1))
    assert len(todo(NOW + timedelta(days=1))) == 3


def test_nothing_is_asked_about_an_empty_lake(s3: Any) -> None:
    nothing: Any = CountingAthena(0, 0)
    assert asking.shards(s3, nothing, SETTINGS, NOW) == []


def test_the_results_of_queries_for_ids_are_deleted_at_once(s3: Any) -> None:
    for name in ("e1.csv", "e1.csv.metadata", "other.csv"):
        storage.put(s3, BUCKET, layout.ATHENA_RESULTS_PREFIX + name, b"1")
    athena: Any = CountingAthena(1, 1)
    asking.shards(s3, athena, SETTINGS, NOW)
    left = [each.key for each in storage.list_objects(s3, BUCKET, layout.ATHENA_RESULTS_PREFIX).objects]
    assert left == [f"{layout.ATHENA_RESULTS_PREFIX}other.csv"]


def test_a_job_s_name_is_short_and_of_its_day() -> None:
    label = Shard("tweets", 999, 1000).label("2026-11-20")
    assert len(label) <= 40
    assert json.loads(json.dumps(Shard("users", 1, 2).to_json())) == {
        "kind": "users",
        "number": 1,
        "shards": 2,
    }

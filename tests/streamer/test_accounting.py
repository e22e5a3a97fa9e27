"""Posts bought: counted over restarts and writers, stopped at the month's budget."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
import tweepy
from moto import mock_aws

from include.x.budget import PostsLedger
from streamer.accounting import Accounting
from streamer.packs import Pack
from streamer.spool import Spool

AT = 1_795_000_000_000
MONTH = "2026-11"


@pytest.fixture
def ledger(monkeypatch: pytest.MonkeyPatch) -> Iterator[PostsLedger]:
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    with mock_aws():
        s3 = boto3.client("s3", region_name="us-east-1", aws_access_key_id="x", aws_secret_access_key="x")
        s3.create_bucket(Bucket="lake")
        yield PostsLedger(s3, "lake")


def buy(spool: Spool, accounting: Accounting, count: int) -> list[bool]:
    answers = []
    for _ in range(count):
        answers.append(accounting.buy(MONTH))
        spool.put(Pack(AT, "t", b"{}\n", bought=1))
    spool.flush(20)
    return answers


def test_the_last_post_of_the_budget_is_known_as_such(tmp_path: Path, ledger: PostsLedger) -> None:
    ledger.record(MONTH, "search-tea-x", 4)
    spool = Spool(tmp_path)
    accounting = Accounting(ledger, spool.notes, cap=10)
    assert accounting.settle(MONTH)
    assert accounting.left(MONTH) == 6
    assert buy(spool, accounting, 6) == [True] * 5 + [False]
    assert accounting.left(MONTH) == 0
    assert accounting.left("2026-12") == 10
    spool.close()


def test_settling_publishes_our_count_and_does_not_count_it_twice(
    tmp_path: Path, ledger: PostsLedger
) -> None:
    spool = Spool(tmp_path)
    accounting = Accounting(ledger, spool.notes, cap=100)
    for expected in (3, 6):
        buy(spool, accounting, 3)
        assert accounting.settle(MONTH)
        assert ledger.by_source(MONTH) == {"stream": expected, "search": 0}
        assert accounting.left(MONTH) == 100 - expected
        assert accounting.bought(MONTH) == expected
    spool.close()


def test_what_a_killed_session_bought_is_published_by_the_next(tmp_path: Path, ledger: PostsLedger) -> None:
    spool = Spool(tmp_path)
    buy(spool, Accounting(ledger, spool.notes, cap=100), 7)
    spool.close()
    spool = Spool(tmp_path)
    accounting = Accounting(ledger, spool.notes, cap=100)
    assert accounting.left(MONTH) == 93
    assert accounting.settle(MONTH)
    assert ledger.used(MONTH) == 7
    assert accounting.left(MONTH) == 93
    spool.close()


def test_however_often_it_restarts_a_spool_has_one_entry_and_forgets_a_published_month(
    tmp_path: Path, ledger: PostsLedger
) -> None:
    for _ in range(3):
        spool = Spool(tmp_path)
        accounting = Accounting(ledger, spool.notes, cap=100)
        buy(spool, accounting, 5)
        accounting.settle(MONTH)
        spool.close()
    keys = [found["Key"] for found in ledger._s3.list_objects_v2(Bucket="lake")["Contents"]]
    assert len(keys) == 1
    assert ledger.used(MONTH) == 15
    spool = Spool(tmp_path)
    accounting = Accounting(ledger, spool.notes, cap=100)
    accounting.settle("2026-12")
    accounting.settle("2027-01")
    assert spool.notes.bought() == {}
    assert ledger.used(MONTH) == 15
    spool.close()


def test_posts_of_a_months_last_moments_are_added_to_it_after_its_end(
    tmp_path: Path, ledger: PostsLedger
) -> None:
    spool = Spool(tmp_path)
    accounting = Accounting(ledger, spool.notes, cap=100)
    buy(spool, accounting, 5)
    accounting.settle("2026-12")
    buy(spool, accounting, 2)  # received before midnight, committed after it
    accounting.settle("2026-12")
    assert ledger.used(MONTH) == 7
    assert ledger.used("2026-12") == 0
    spool.close()


class Usage:
    """X's usage endpoint as its reference describes it."""

    def __init__(self, billed: int | None) -> None:
        self.billed = billed
        self.asked = 0

    def request(self, method: str, route: str, params: Any = None) -> Any:
        assert (method, route, params["days"]) == ("GET", "/2/usage/tweets", "90")
        self.asked += 1
        if self.billed is None:
            raise tweepy.NotFound(self)
        return self

    status_code, reason = 404, "Not Found"

    def json(self) -> Any:
        days = [
            {"date": "2026-10-31T00:00:00.000Z", "usage": "999"},
            {"date": "2026-11-01T00:00:00.000Z", "usage": "40"},
            {"date": "2026-11-02T00:00:00.000Z", "usage": str((self.billed or 0) - 40)},
        ]
        return {"data": {"project_id": "1", "daily_project_usage": {"project_id": 1, "usage": days}}}


def test_after_a_lost_disk_what_x_has_billed_beyond_the_ledger_is_taken_over_once(
    tmp_path: Path, ledger: PostsLedger
) -> None:
    ledger.record(MONTH, "stream-lost", 70)
    spool = Spool(tmp_path)
    accounting = Accounting(ledger, spool.notes, cap=100)
    x: Any = Usage(85)
    accounting.recount(x, MONTH)
    accounting.settle(MONTH)
    assert accounting.left(MONTH) == 15
    buy(spool, accounting, 5)
    accounting.settle(MONTH)
    accounting.recount(x, MONTH)
    assert (x.asked, accounting.left(MONTH)) == (1, 10)
    spool.close()
    other = Spool(tmp_path / "again")
    Accounting(ledger, other.notes, cap=100).recount(Usage(95), MONTH)
    assert ledger.used(MONTH) == 95
    other.close()


@pytest.mark.parametrize("billed", [None, 60])
def test_where_x_does_not_tell_or_knows_less_the_ledger_stands(
    tmp_path: Path, ledger: PostsLedger, billed: int | None
) -> None:
    ledger.record(MONTH, "stream-lost", 70)
    spool = Spool(tmp_path)
    Accounting(ledger, spool.notes, cap=100).recount(Usage(billed), MONTH)
    assert ledger.used(MONTH) == 70
    spool.close()


def test_an_unreachable_ledger_is_reported_and_counting_continues(
    tmp_path: Path, ledger: PostsLedger
) -> None:
    lost: Any = PostsLedger(ledger._s3, "absent")
    spool = Spool(tmp_path)
    accounting = Accounting(lost, spool.notes, cap=100)
    buy(spool, accounting, 2)
    assert not accounting.settle(MONTH)
    assert accounting.left(MONTH) == 98
    spool.close()

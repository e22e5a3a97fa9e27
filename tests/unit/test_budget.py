"""The posts ledger: writers beside each other, months apart, sums that add up."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from include.x.budget import PostsLedger, PostsLedgerError, Reservations, month_before, month_of, projected


def test_a_writer_replaces_its_own_figure_and_the_months_use_is_the_sum(s3: Any) -> None:
    ledger = PostsLedger(s3, "lake")
    assert ledger.used("2026-11") == 0
    ledger.record("2026-11", "stream-a", 10)
    ledger.record("2026-11", "stream-a", 25)
    ledger.record("2026-11", "stream-b", 3)
    ledger.record("2026-11", "search-ukraine-20261120T050000000Z-20261120T060000000Z-1", 100)
    ledger.record("2026-12", "stream-b", 7)
    assert ledger.by_source("2026-11") == {"stream": 28, "search": 100}
    assert ledger.used("2026-11") == 128
    assert ledger.used("2026-12") == 7


def test_what_another_writer_changes_is_seen(s3: Any) -> None:
    ours, theirs = PostsLedger(s3, "lake"), PostsLedger(s3, "lake")
    theirs.record("2026-11", "search-x", 1)
    assert ours.used("2026-11") == 1
    theirs.record("2026-11", "search-x", 5)
    assert ours.used("2026-11") == 5


@pytest.mark.parametrize("writer", ["", "streamer", "other-x", "stream-a/b"])
def test_an_unknown_kind_of_writer_is_rejected(s3: Any, writer: str) -> None:
    with pytest.raises(PostsLedgerError, match="is not an entry of the ledger"):
        PostsLedger(s3, "lake").record("2026-11", writer, 1)


@pytest.mark.parametrize("body", [b"", b"{}", b'{"posts": "many"}', b"[1]"])
def test_an_object_that_is_no_figure_is_an_error_and_never_a_zero(s3: Any, body: bytes) -> None:
    s3.put_object(Bucket="lake", Key="posts/month=2026-11/stream-a.json", Body=body)
    with pytest.raises(PostsLedgerError, match=r"stream-a\.json holds"):
        PostsLedger(s3, "lake").used("2026-11")


def test_a_foreign_object_in_the_ledger_is_an_error(s3: Any) -> None:
    s3.put_object(Bucket="lake", Key="posts/month=2026-11/notes.txt", Body=b"hello")
    with pytest.raises(PostsLedgerError, match="not an entry of the posts ledger"):
        PostsLedger(s3, "lake").used("2026-11")


def test_a_lake_that_cannot_be_reached_is_an_error(s3: Any) -> None:
    with pytest.raises(PostsLedgerError, match="cannot be read"):
        PostsLedger(s3, "absent").used("2026-11")
    with pytest.raises(PostsLedgerError, match="cannot be written"):
        PostsLedger(s3, "absent").record("2026-11", "stream-a", 1)


def test_a_month_is_named_as_the_ledger_names_it() -> None:
    assert month_of(datetime(2026, 1, 31, 23, 59, tzinfo=UTC)) == "2026-01"


@pytest.mark.parametrize(("month", "before"), [("2026-12", "2026-11"), ("2027-01", "2026-12")])
def test_the_month_before_is_named_across_a_years_end(month: str, before: str) -> None:
    assert month_before(month) == before


def test_a_search_across_a_months_end_buys_of_either_month_what_it_asks_for_then(s3: Any) -> None:
    ledger = PostsLedger(s3, "lake")
    ledger.record("2026-12", "stream-a", 10)
    month = "2026-11"
    purse = Reservations(ledger, lambda: month, "search-x", budget=100)
    assert purse.reserve(10, 90) == 90
    purse.settle(90)
    assert purse.reserve(10, 10) == 10
    month = "2026-12"
    purse.settle(7)  # asked for before midnight
    assert purse.reserve(10, 100) == 90
    purse.settle(50)
    assert (ledger.used("2026-11"), ledger.used("2026-12")) == (97, 60)


MONTH = datetime(2026, 11, 1, tzinfo=UTC)


def test_the_months_posts_are_projected_at_the_rate_so_far() -> None:
    assert projected(1_000, MONTH + timedelta(days=10)) == 3_000
    assert projected(1_000, MONTH + timedelta(days=20)) == 1_500
    assert projected(0, MONTH + timedelta(days=10)) == 0
    assert projected(310, datetime(2026, 12, 11, tzinfo=UTC)) == 961


def test_nothing_is_projected_from_less_than_a_day() -> None:
    assert projected(1_000, MONTH + timedelta(hours=23)) is None
    assert projected(1_000, MONTH + timedelta(days=1)) == 30_000


def test_a_collection_that_began_in_the_month_has_its_rate_since_then() -> None:
    since = MONTH + timedelta(days=10)
    assert projected(1_000, since + timedelta(hours=23), since) is None
    assert projected(1_000, MONTH + timedelta(days=20), since) == 2_000
    assert projected(1_000, MONTH + timedelta(days=10), MONTH - timedelta(days=100)) == 3_000

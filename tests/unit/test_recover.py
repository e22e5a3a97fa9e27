"""Recovering a stretch: one object of just that stretch, replaced on a rerun, within the month's budget."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import pytest
from hypothesis import given
from hypothesis import strategies as st
from moto import mock_aws
from types_boto3_s3 import S3Client

from include.coverage.judge import GapState
from include.coverage.plan import Recovery
from include.coverage.recover import Outcome, recover
from include.coverage.stretch import Stretch
from include.lake.layout import raw_prefix, recovered_key, recovered_stretch
from include.settings import Settings
from include.window import HOUR, Window
from include.x.budget import PostsLedger, month_of
from include.x.search import sampled
from include.x.snowflake import from_milliseconds, lowest_id, to_milliseconds
from include.x.topics import Topics, load

SETTINGS = Settings(bucket="lake")
TOPICS = load(SETTINGS.topics_file)
WINDOW = Window(Window.containing(datetime.now(UTC)).start - 2 * HOUR)
STRETCH = Stretch(WINDOW.start + timedelta(minutes=10), WINDOW.start + timedelta(minutes=20))
RECOVERY = Recovery("ukraine", WINDOW, STRETCH, sample=100, posts=5)
KEY = recovered_key("ukraine", WINDOW, STRETCH.start, STRETCH.end)


class X:
    """Recent search over ids in memory; the topic has one query."""

    def __init__(self, ids: list[int], page: int = 100) -> None:
        self.ids, self.page = ids, page
        self.fails_after: int | None = None
        self.calls = 0

    def search_recent_tweets(self, query: str, **params: Any) -> dict[str, Any]:
        if self.calls == self.fails_after:
            raise ConnectionError("X is gone")
        self.calls += 1
        low, high = int(params["since_id"]), int(params["until_id"])
        found = sorted((number for number in self.ids if low < number < high), reverse=True)
        first = int(params.get("next_token", 0))
        page = found[first : first + self.page]
        more = first + self.page < len(found)
        data = [{"id": str(number), "text": "ukraine", "author_id": "1"} for number in page]
        return {"data": data, "meta": {"next_token": str(first + self.page)} if more else {}}


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Client]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    with mock_aws():
        client = boto3.client("s3", region_name="us-east-1")
        client.create_bucket(Bucket=SETTINGS.bucket)
        yield client


def ids(count: int, start: datetime = STRETCH.start) -> list[int]:
    return [lowest_id(start + timedelta(seconds=second)) for second in range(count)]


def run(
    s3: S3Client, x: X, recovery: Recovery = RECOVERY, topics: Topics = TOPICS, attempt: str = "1"
) -> Outcome:
    one_query = replace(topics, topics=tuple(replace(t, keywords={"en": (t.name,)}) for t in topics.topics))
    return recover(s3, x, SETTINGS, one_query, recovery, attempt)


def written(s3: S3Client) -> list[int]:
    body = s3.get_object(Bucket=SETTINGS.bucket, Key=KEY)["Body"].read()
    return [int(json.loads(line)["data"]["id"]) for line in gzip.decompress(body).splitlines()]


def keys(s3: S3Client, prefix: str) -> list[str]:
    found = s3.list_objects_v2(Bucket=SETTINGS.bucket, Prefix=prefix)
    return [entry["Key"] for entry in found.get("Contents", [])]


def bought(s3: S3Client) -> int:
    return PostsLedger(s3, SETTINGS.bucket).used(month_of(datetime.now(UTC)))


def budget(posts: int) -> Topics:
    return replace(TOPICS, collection=replace(TOPICS.collection, monthly_posts=posts))


def test_just_the_stretch_is_written_into_one_object_and_what_it_cost_is_recorded(s3: S3Client) -> None:
    inside = ids(250)
    before, after = lowest_id(STRETCH.start) - 1, lowest_id(STRETCH.end)
    assert run(s3, X([*inside, before, after])) == Outcome(GapState.FILLED, 250, 250)
    assert sorted(written(s3)) == inside
    assert bought(s3) == 250


def test_a_rerun_replaces_the_object_and_is_paid_again(s3: S3Client) -> None:
    run(s3, X(ids(5)))
    run(s3, X(ids(7)), attempt="2")
    assert keys(s3, raw_prefix("ukraine", WINDOW)) == [KEY]
    assert len(written(s3)) == 7
    assert bought(s3) == 12


def test_only_the_sample_in_force_is_kept_and_all_of_it_paid(s3: S3Client) -> None:
    found = ids(300)
    outcome = run(s3, X(found), replace(RECOVERY, sample=30))
    assert sorted(written(s3)) == [number for number in found if sampled(str(number), 30)]
    assert outcome.bought == 300
    assert outcome.kept == len(written(s3)) < 300


def test_nothing_found_is_written_too_since_it_shows_that_it_was_searched(s3: S3Client) -> None:
    assert run(s3, X([])) == Outcome(GapState.FILLED, 0, 0)
    assert written(s3) == []
    assert bought(s3) == 0


def test_nothing_is_bought_once_the_budget_is_used_up(s3: S3Client) -> None:
    PostsLedger(s3, SETTINGS.bucket).record(month_of(datetime.now(UTC)), "stream-s", 10)
    x = X(ids(5))
    outcome = run(s3, x, topics=budget(10))
    assert (outcome.state, outcome.bought, x.calls) == (GapState.OPEN, 0, 0)
    assert outcome.reason == "the month's budget is used up; a person may approve more"


def test_a_stretch_that_does_not_fit_into_the_budget_is_not_written_in_part(s3: S3Client) -> None:
    outcome = run(s3, X(ids(300)), topics=budget(150))
    assert outcome.state is GapState.OPEN
    assert outcome.bought == bought(s3) == 200
    assert "above the month's budget" in str(outcome.reason)
    assert keys(s3, "raw/") == []


def test_what_a_person_has_approved_may_cost_more_than_the_budget(s3: S3Client) -> None:
    outcome = run(s3, X(ids(300)), replace(RECOVERY, approved=True), topics=budget(150))
    assert outcome == Outcome(GapState.FILLED, 300, 300)


def test_what_was_bought_before_x_failed_is_recorded_and_nothing_written(s3: S3Client) -> None:
    x = X(ids(300))
    x.fails_after = 2
    with pytest.raises(ConnectionError):
        run(s3, x)
    assert bought(s3) == 200
    assert keys(s3, "raw/") == []


def test_what_search_no_longer_reaches_is_given_up(s3: S3Client) -> None:
    old = Stretch(STRETCH.start - timedelta(days=8), STRETCH.end - timedelta(days=8))
    outcome = run(s3, X([]), replace(RECOVERY, stretch=old))
    assert outcome == Outcome(GapState.UNRECOVERABLE, 0, 0, "search reaches back 7 days only")


moments = st.integers(to_milliseconds(WINDOW.start), to_milliseconds(WINDOW.end)).map(from_milliseconds)


@given(moments, moments)
def test_the_name_of_the_object_says_exactly_which_stretch_it_holds(start: datetime, end: datetime) -> None:
    key = recovered_key("ukraine", WINDOW, start, end)
    assert key.startswith(raw_prefix("ukraine", WINDOW))
    assert recovered_stretch(key) == (start, end)


def test_other_objects_name_no_stretch() -> None:
    assert recovered_stretch(f"{raw_prefix('ukraine', WINDOW)}x-opinion-1-2026-11-20-10-00-00-abc.gz") is None

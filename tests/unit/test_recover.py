"""Recovering a stretch: one object of just that stretch, replaced on a rerun, within the month's budget."""

from __future__ import annotations

import gzip
import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from types_boto3_s3 import S3Client

from include.compliance import tombstones
from include.coverage import recover as recovering
from include.coverage.judge import GapState
from include.coverage.plan import Recovery
from include.coverage.recover import RecoveryOutcome, recover
from include.coverage.stretch import Stretch
from include.lake import storage
from include.lake.layout import partition, quarantine_prefix, raw_prefix, recovered_key, recovered_stretch
from include.lake.pseudonyms import Pseudonyms
from include.settings import Settings
from include.window import HOUR, Window
from include.x.budget import PostsLedger, month_of
from include.x.compliance import ComplianceAction
from include.x.search import sampled
from include.x.snowflake import from_milliseconds, lowest_id, to_milliseconds
from include.x.topics import Topics, load

SETTINGS = Settings(bucket="lake")
TOPICS = load(SETTINGS.topics_file)
WINDOW = Window(Window.containing(datetime.now(UTC)).start - 2 * HOUR)
STRETCH = Stretch(WINDOW.start + timedelta(minutes=10), WINDOW.start + timedelta(minutes=20))
RECOVERY = Recovery("ukraine", WINDOW, STRETCH, sample=100, posts=0)
LONGER = replace(RECOVERY, stretch=Stretch(STRETCH.start, STRETCH.end + timedelta(minutes=5)))
"""The same gap a little later, while the hour is open."""
CREATED_AT = "2026-11-20T05:01:00.000Z"
SECRET = b"a key of the tests"
KEY = recovered_key("ukraine", WINDOW, STRETCH.start, STRETCH.end)


class X:
    """Recent search over ids in memory; the topic has one query."""

    def __init__(self, ids: list[int], page: int = 100) -> None:
        self.ids, self.page = ids, page
        self.fails_after: int | None = None
        self.failure: type[BaseException] = ConnectionError
        self.changes: dict[str, Any] = {}
        self.calls = 0

    def search_recent_tweets(self, query: str, **params: Any) -> dict[str, Any]:
        if self.calls == self.fails_after:
            raise self.failure("X is gone")
        self.calls += 1
        low, high = int(params["since_id"]), int(params["until_id"])
        found = sorted((number for number in self.ids if low < number < high), reverse=True)
        first = int(params.get("next_token", 0))
        page = found[first : first + self.page]
        more = first + self.page < len(found)
        data = [
            {"id": str(number), "text": "ukraine", "author_id": "1", "created_at": CREATED_AT} | self.changes
            for number in page
        ]
        return {"data": data, "meta": {"next_token": str(first + self.page)} if more else {}}


def ids(count: int, start: datetime = STRETCH.start) -> list[int]:
    return [lowest_id(start + timedelta(seconds=second)) for second in range(count)]


def run(
    s3: S3Client,
    x: Any,
    recovery: Recovery = RECOVERY,
    topics: Topics = TOPICS,
    attempt: str = "1",
    owner: str = "a run",
) -> RecoveryOutcome:
    return recover(s3, x, SETTINGS, one_query(topics), recovery, SECRET, attempt, owner)


def one_query(topics: Topics) -> Topics:
    return replace(topics, topics=tuple(replace(t, keywords={"en": (t.name,)}) for t in topics.topics))


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
    assert run(s3, X([*inside, before, after])) == RecoveryOutcome(GapState.FILLED, 250, 250, None, 250)
    assert sorted(written(s3)) == inside
    assert bought(s3) == 250


def test_what_was_removed_on_request_does_not_come_back_by_search(s3: S3Client) -> None:
    found = ids(3)
    removed = {found[0]: ComplianceAction.DELETE}
    tombstones.bury(s3, SETTINGS.bucket, Pseudonyms(SECRET), WINDOW, removed)
    outcome = run(s3, X(found))
    assert (outcome.state, outcome.bought) == (GapState.FILLED, 3)
    assert sorted(written(s3)) == found[1:]


@pytest.mark.parametrize("killed", [False, True])
@pytest.mark.parametrize("rejected", [False, True])
def test_what_is_removed_while_a_stretch_is_recovered_does_not_stay(
    s3: S3Client, monkeypatch: pytest.MonkeyPatch, rejected: bool, killed: bool
) -> None:
    """The removal looks before the new object stands; the recovery, or its next try, looks again after."""
    found, put, x = ids(3), storage.put, X(ids(3))
    x.changes = {"text": 5} if rejected else {}

    def late(client: S3Client, bucket: str, key: str, content: Any) -> str:
        if partition(key):
            tombstones.bury(s3, bucket, Pseudonyms(SECRET), WINDOW, {found[0]: ComplianceAction.DELETE})
        return put(client, bucket, key, content)

    monkeypatch.setattr(storage, "put", late)
    if killed:
        with monkeypatch.context() as deadly:
            deadly.setattr(recovering, "purge_written", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
            with pytest.raises(KeyboardInterrupt):
                run(s3, x)
    assert run(s3, x).state is GapState.FILLED
    (key,) = keys(s3, quarantine_prefix("ukraine", WINDOW)) if rejected else [KEY]
    held = b"\n".join(storage.read_lines(s3, SETTINGS.bucket, key))
    assert [str(number).encode() in held for number in found] == [False, True, True]


def test_what_was_recovered_is_not_bought_again(s3: S3Client) -> None:
    """A task that is cleared, or an approval that comes after another run has filled the gap."""
    run(s3, X(ids(5)))
    x = X(ids(7))
    assert run(s3, x, replace(RECOVERY, approved=True), attempt="2") == RecoveryOutcome(GapState.FILLED, 0, 0)
    assert (x.calls, bought(s3), len(written(s3))) == (0, 5, 5)
    assert keys(s3, "work/recovery/") == []


def test_nothing_of_a_partly_recovered_stretch_is_bought_until_it_is_planned_again(s3: S3Client) -> None:
    run(s3, X(ids(5)))
    x = X(ids(5))
    outcome = run(s3, x, LONGER, attempt="2", owner="another run")
    assert (outcome.state, x.calls) == (GapState.OPEN, 0)
    assert "the next run plans the rest" in str(outcome.reason)


def test_only_the_sample_in_force_is_kept_and_all_of_it_paid(s3: S3Client) -> None:
    found = ids(300)
    outcome = run(s3, X(found), replace(RECOVERY, sample=30))
    assert sorted(written(s3)) == [number for number in found if sampled(str(number), 30)]
    assert outcome.bought == 300
    assert outcome.kept == len(written(s3)) < 300


def test_nothing_found_is_written_too_since_it_shows_that_it_was_searched(s3: S3Client) -> None:
    assert run(s3, X([])) == RecoveryOutcome(GapState.FILLED, 0, 0)
    assert written(s3) == []
    assert bought(s3) == 0


def test_nothing_is_bought_once_the_budget_is_used_up(s3: S3Client) -> None:
    PostsLedger(s3, SETTINGS.bucket).record(month_of(datetime.now(UTC)), "stream-s", 10)
    x = X(ids(5))
    outcome = run(s3, x, topics=budget(10))
    assert (outcome.state, outcome.bought, x.calls) == (GapState.OPEN, 0, 0)
    assert "above the month's budget" in str(outcome.reason)


def test_a_stretch_that_does_not_fit_into_the_budget_is_not_written_in_part(s3: S3Client) -> None:
    outcome = run(s3, X(ids(300)), topics=budget(200))
    assert outcome.state is GapState.OPEN
    assert outcome.bought == bought(s3) == 200
    assert "above the month's budget" in str(outcome.reason)
    assert keys(s3, "raw/") == []


def test_what_a_person_has_approved_may_cost_more_than_the_budget(s3: S3Client) -> None:
    outcome = run(s3, X(ids(300)), replace(RECOVERY, approved=True), topics=budget(150))
    assert outcome == RecoveryOutcome(GapState.FILLED, 300, 300, None, 300)


class Killed(BaseException):
    """The process ends here."""


@pytest.mark.parametrize("end", [ConnectionError, Killed])
def test_what_was_bought_before_an_attempt_ended_is_recorded_and_never_bought_again(
    s3: S3Client, end: type[BaseException]
) -> None:
    x = X(ids(300))
    x.fails_after, x.failure = 2, end
    with pytest.raises(end):
        run(s3, x)
    assert bought(s3) >= 200
    assert keys(s3, "raw/") == []
    x.fails_after = None
    outcome = run(s3, x, attempt="2")
    assert (outcome.bought, outcome.found, outcome.kept) == (100, 300, 300)
    assert sorted(written(s3)) == ids(300)


def test_a_kill_while_x_is_asked_leaves_no_bought_post_out_of_the_ledger(s3: S3Client) -> None:
    x = X(ids(300))
    x.fails_after, x.failure = 1, Killed
    with pytest.raises(Killed):
        run(s3, x)
    assert bought(s3) >= 200, "X has sent two pages"


def test_a_rejection_of_s3_after_buying_costs_nothing_more(
    s3: S3Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    x = X(ids(300))
    put = storage.put

    def rejects_raw(client: Any, bucket: str, key: str, content: Any) -> str:
        if key.startswith("raw/"):
            raise OSError("no space left on device")
        return put(client, bucket, key, content)

    with monkeypatch.context() as context:
        context.setattr(storage, "put", rejects_raw)
        with pytest.raises(OSError, match="no space"):
            run(s3, x)
    calls = x.calls
    assert run(s3, x, attempt="2").state is GapState.FILLED
    assert (x.calls, bought(s3)) == (calls, 300)


def test_pages_are_removed_once_the_stretch_is_filled(s3: S3Client) -> None:
    run(s3, X(ids(300)))
    assert keys(s3, "work/recovery/") == []


def test_a_post_that_raw_cannot_hold_is_quarantined_with_its_reason(s3: S3Client) -> None:
    x = X(ids(3))
    x.changes = {"text": 5}
    outcome = run(s3, x)
    assert (outcome.state, outcome.kept, written(s3)) == (GapState.FILLED, 0, [])
    (key,) = keys(s3, quarantine_prefix("ukraine", WINDOW))
    body = s3.get_object(Bucket=SETTINGS.bucket, Key=key)["Body"].read()
    rows = [json.loads(line) for line in gzip.decompress(body).splitlines()]
    assert [(row["stage"], row["reason"]) for row in rows] == [("search", "not_a_payload")] * 3
    assert sorted(int(row["tweet_id"]) for row in rows) == ids(3)


def test_half_an_emoji_in_a_page_stops_nothing(s3: S3Client) -> None:
    x = X(ids(3))
    x.changes = {"text": "ukraine \ud83d", "geo": None}
    assert run(s3, x).kept == 3


def test_a_shortfall_against_x_s_count_is_filled_with_a_reason(s3: S3Client) -> None:
    outcome = run(s3, X([]), replace(RECOVERY, posts=300))
    assert outcome.state is GapState.FILLED
    assert outcome.reason == "X counted 300 posts, and search returned 0 of them, asked twice"


def test_after_so_many_failed_attempts_nothing_more_is_bought_until_a_person_approves(s3: S3Client) -> None:
    x = X(ids(300))
    x.fails_after = 1
    for attempt in range(SETTINGS.max_recovery_attempts):
        with pytest.raises(ConnectionError):
            run(s3, x, attempt=str(attempt))
    x.fails_after = None
    outcome = run(s3, x, attempt="last")
    assert (outcome.state, x.calls) == (GapState.OPEN, 1)
    assert "9 attempts have failed; nothing more is bought until a person approves" in str(outcome.reason)
    assert run(s3, x, replace(RECOVERY, approved=True), attempt="approved").state is GapState.FILLED


def test_a_run_leaves_alone_what_another_is_recovering(s3: S3Client) -> None:
    x = X(ids(300))
    x.fails_after, x.failure = 1, Killed
    with pytest.raises(Killed):
        run(s3, x)
    calls = x.calls
    outcome = run(s3, x, attempt="2", owner="another run")
    assert (outcome.state, outcome.reason, x.calls) == (
        GapState.FILLING,
        "another run is recovering it",
        calls,
    )


def test_a_run_leaves_alone_what_another_is_recovering_a_part_of(s3: S3Client) -> None:
    x = X(ids(300))
    x.fails_after, x.failure = 1, Killed
    with pytest.raises(Killed):
        run(s3, x)
    calls = x.calls
    outcome = run(s3, x, LONGER, attempt="2", owner="another run")
    assert (outcome.state, x.calls) == (GapState.FILLING, calls)
    assert outcome.reason == "another run is recovering a part of it"
    x.fails_after = None
    assert run(s3, x, attempt="3").state is GapState.FILLED


def test_four_recoveries_at_once_do_not_exceed_the_budget(s3: S3Client) -> None:
    stretches = [
        Stretch(STRETCH.start + timedelta(minutes=10 * number), STRETCH.end + timedelta(minutes=10 * number))
        for number in range(4)
    ]
    found = [number for stretch in stretches for number in ids(300, stretch.start)]

    def one(number: int) -> RecoveryOutcome:
        recovery = replace(RECOVERY, stretch=stretches[number])
        return run(s3, X(found), recovery, budget(500), attempt=str(number), owner=str(number))

    with ThreadPoolExecutor(4) as pool:
        outcomes = list(pool.map(one, range(4)))
    assert sum(outcome.bought for outcome in outcomes) == bought(s3) <= 500
    assert all(outcome.state in (GapState.FILLED, GapState.OPEN) for outcome in outcomes)


def test_what_search_no_longer_reaches_is_given_up(s3: S3Client) -> None:
    old = Stretch(STRETCH.start - timedelta(days=8), STRETCH.end - timedelta(days=8))
    outcome = run(s3, X([]), replace(RECOVERY, stretch=old))
    assert outcome == RecoveryOutcome(GapState.UNRECOVERABLE, 0, 0, "search reaches back 7 days only")


moments = st.integers(to_milliseconds(WINDOW.start), to_milliseconds(WINDOW.end)).map(from_milliseconds)


@given(moments, moments)
def test_the_name_of_the_object_says_exactly_which_stretch_it_holds(start: datetime, end: datetime) -> None:
    key = recovered_key("ukraine", WINDOW, start, end)
    assert key.startswith(raw_prefix("ukraine", WINDOW))
    assert recovered_stretch(key) == (start, end)


def test_other_objects_name_no_stretch() -> None:
    assert recovered_stretch(f"{raw_prefix('ukraine', WINDOW)}x-opinion-1-2026-11-20-10-00-00-abc.gz") is None

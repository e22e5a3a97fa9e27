"""Recovery by search: exact ends, every page, each post once, the stream's shape, what it cost."""

from __future__ import annotations

import json
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import requests
import tweepy
from hypothesis import given
from hypothesis import strategies as st

from include.settings import Settings
from include.x import snowflake
from include.x.budget import BudgetError
from include.x.client import RequestRejectedError
from include.x.records import iso
from include.x.rules import rule_hash
from include.x.search import Counts, Memory, PatienceError, Search, SearchError, count, sampled
from include.x.topics import Topics, load

START = datetime(2026, 11, 20, 5, 0, 0, 250_000, tzinfo=UTC)
END = datetime(2026, 11, 20, 5, 4, tzinfo=UTC)
NOW = datetime(2026, 11, 20, 6, tzinfo=UTC)


DATED = {"created_at": "2026-11-20T05:01:00.000Z"}
TOPICS = load(Settings().topics_file)


@pytest.fixture
def topics() -> Topics:
    return TOPICS


class TooMany(tweepy.TooManyRequests):
    def __init__(self, reset_time: int | None) -> None:
        self.reset_time = reset_time
        self.response = requests.Response()
        self.response.status_code = 429


class ArchiveX:
    """Recent search over posts in memory, newest first; each query finds those that hold one of its words."""

    total = "total_post_count"

    def __init__(self, posts: dict[int, str]) -> None:
        self.posts = posts
        self.asked: list[dict[str, Any]] = []
        self.counted: list[str] = []
        self.failures: list[Exception] = []

    def found(self, query: str, since_id: str, until_id: str) -> list[int]:
        wanted = query[1:].partition(") ")[0].split(" OR ")
        ids = [number for number, text in self.posts.items() if any(word in text.split() for word in wanted)]
        return sorted((number for number in ids if int(since_id) < number < int(until_id)), reverse=True)

    def search_recent_tweets(self, query: str, **params: Any) -> dict[str, Any]:
        if self.failures:
            raise self.failures.pop()
        self.asked.append(params)
        assert 10 <= params["max_results"] <= 100
        assert len(query) <= 512
        found = self.found(query, params["since_id"], params["until_id"])
        first = int(params.get("next_token", 0))
        page = found[first : first + params["max_results"]]
        last = first + len(page)
        meta = {"result_count": len(page), **({"next_token": str(last)} if last < len(found) else {})}
        if not page:
            return {"meta": meta}
        return {
            "data": [
                {
                    "id": str(number),
                    "text": self.posts[number],
                    **DATED,
                    "author_id": f"u{number % 3}",
                    **({"geo": {"place_id": "p1"}} if number % 2 else {}),
                }
                for number in page
            ],
            "includes": {
                "users": [{"id": f"u{user}", "location": "here"} for user in range(3)],
                "places": [{"id": "p1", "country_code": "UA"}],
            },
            "meta": meta,
        }

    def get_recent_tweets_count(self, query: str, **params: Any) -> dict[str, Any]:
        found = self.found(query, params["since_id"], params["until_id"])
        self.counted.append(query)
        minutes = Counter(snowflake.from_milliseconds(number) for number in map(_minute_of, found))
        entry = self.total.removeprefix("total_")
        data = [
            {"start": iso(start), "end": iso(start + timedelta(minutes=1)), entry: posts}
            for start, posts in minutes.items()
        ]
        return {"data": data, "meta": {self.total: len(found)}}


def _minute_of(tweet_id: int) -> int:
    milliseconds = snowflake.milliseconds(tweet_id)
    return milliseconds - milliseconds % 60_000


def recovered(x: ArchiveX, topics: Topics, **options: Any) -> Any:
    given: dict[str, Any] = {"clock": lambda: NOW, **options}
    return Search(x, topics, "ukraine", START, END, **given)


LOW, HIGH = snowflake.lowest_id(START), snowflake.lowest_id(END)
id_in_or_near = st.integers(LOW - 2**30, HIGH + 2**30) | st.sampled_from([LOW - 1, LOW, HIGH - 1, HIGH])
texts = st.sampled_from(["ukraine", "київ", "乌克兰 ukraine", "nothing", "ukraine україна 乌克兰"])


@given(st.dictionaries(id_in_or_near, texts, max_size=300))
def test_a_recovery_brings_each_matching_post_of_the_stretch_just_once(posts: dict[int, str]) -> None:
    x = ArchiveX(posts)
    recovery = recovered(x, TOPICS)
    ids = [int(record["data"]["id"]) for record in recovery]
    assert sorted(ids) == sorted(n for n, text in posts.items() if text != "nothing" and LOW <= n < HIGH)
    assert recovery.kept == len(ids)
    assert recovery.bought == count(x, TOPICS, "ukraine", START, END)


def test_a_record_has_the_streams_shape_and_only_its_own_author_and_place(topics: Topics) -> None:
    x = ArchiveX({LOW + 6: "ukraine", LOW + 7: "ukraine"})
    odd, even = recovered(x, topics, session="attempt-1")
    assert odd == {
        "data": {
            "id": str(LOW + 7),
            "text": "ukraine",
            **DATED,
            "author_id": f"u{(LOW + 7) % 3}",
            "geo": {"place_id": "p1"},
        },
        "includes": {
            "users": [{"id": f"u{(LOW + 7) % 3}", "location": "here"}],
            "places": [{"id": "p1", "country_code": "UA"}],
        },
        "matching_rules": [{"tag": "ukraine"}],
        "ingest": {
            "received_at": "2026-11-20T06:00:00.000Z",
            "session": "attempt-1",
            "rule_hash": rule_hash(topics),
            "sample": 100,
            "source": "search",
        },
    }
    assert "places" not in even["includes"]


class PageX(ArchiveX):
    """Recent search that answers one page as it is given."""

    def __init__(self, page: dict[str, Any]) -> None:
        super().__init__({})
        self.page = page

    def search_recent_tweets(self, query: str, **params: Any) -> dict[str, Any]:
        return self.page


def test_half_an_emoji_costs_one_character_and_no_post(topics: Topics) -> None:
    page = {
        "data": [
            {
                "id": str(LOW + 1),
                "text": "ukraine \ud83d",
                **DATED,
                "author_id": "u\ude00",
                "\ud83d": ["\ud83d"],
            }
        ],
        "includes": {"users": [{"id": "u\ude00", "location": "\ud83dere"}]},
        "meta": {"result_count": 1},
    }
    (record,) = recovered(PageX(page), topics)
    assert record["data"] == {
        "id": str(LOW + 1),
        "text": "ukraine \ufffd",
        **DATED,
        "author_id": "u\ufffd",
        "\ufffd": ["\ufffd"],
    }
    assert record["includes"] == {"users": [{"id": "u\ufffd", "location": "\ufffdere"}]}


@pytest.mark.parametrize(
    "includes", [None, {"users": None, "places": None}, {"users": [None, {}], "places": [None]}]
)
def test_a_null_is_as_good_as_an_absent_field(topics: Topics, includes: Any) -> None:
    nulls = {"id": str(LOW + 1), "text": "ukraine", **DATED, "author_id": None, "geo": None}
    recovery = recovered(PageX({"data": [None, nulls], "includes": includes, "meta": None}), topics)
    (record,) = recovery
    assert (record["data"], recovery.kept) == (nulls, 1)
    assert "includes" not in record


def test_a_page_without_posts_may_say_so_by_null(topics: Topics) -> None:
    assert list(recovered(PageX({"data": None, "includes": None, "meta": None}), topics)) == []


@given(st.integers(0, 2**63), st.integers(1, 100))
def test_a_smaller_sample_is_part_of_a_larger_one(tweet_id: int, sample: int) -> None:
    assert sampled(str(tweet_id), 100)
    assert not sampled(str(tweet_id), 0)
    assert sampled(str(tweet_id), sample) or not sampled(str(tweet_id), sample - 1)


def test_a_sample_keeps_about_its_share_and_pays_for_all(topics: Topics) -> None:
    posts = {LOW + number * 7919: "ukraine" for number in range(2000)}
    recovery = recovered(ArchiveX(posts), topics, sample=25)
    kept = [record["data"]["id"] for record in recovery]
    assert 420 < len(kept) < 580
    assert recovery.bought == 2000
    assert kept == [record["data"]["id"] for record in recovered(ArchiveX(posts), topics, sample=25)]


class Purse:
    """A purse with so many posts in it."""

    def __init__(self, posts: int) -> None:
        self.left = posts
        self.reserved = 0

    def reserve(self, smallest: int, largest: int) -> int:
        if self.left < smallest:
            raise BudgetError("empty")
        self.reserved = min(largest, self.left)
        self.left -= self.reserved
        return self.reserved

    def settle(self, posts: int) -> None:
        self.left += self.reserved - posts
        self.reserved = 0


def test_no_more_posts_are_bought_than_the_purse_holds(topics: Topics) -> None:
    x = ArchiveX({LOW + number: "ukraine" for number in range(500)})
    recovery = recovered(x, topics, purse=Purse(250))
    with pytest.raises(BudgetError):
        list(recovery)
    assert recovery.bought == 250


def test_an_attempt_that_starts_again_goes_on_behind_the_pages_kept(topics: Topics) -> None:
    posts = {LOW + number: "ukraine" for number in range(500)}
    x, shelf = ArchiveX(posts), Memory()
    with pytest.raises(BudgetError):
        list(recovered(x, topics, shelf=shelf, purse=Purse(300)))
    again = recovered(x, topics, shelf=shelf)
    assert sorted(int(record["data"]["id"]) for record in again) == sorted(posts)
    assert (again.bought, again.found) == (200, 500)


def test_a_token_that_x_no_longer_takes_is_replaced_by_ids(topics: Topics) -> None:
    posts = {LOW + number: "ukraine" for number in range(250)}
    x, shelf = ArchiveX(posts), Memory()
    with pytest.raises(BudgetError):
        list(recovered(x, topics, shelf=shelf, purse=Purse(100)))
    x.failures = [rejection(400)]
    again = recovered(x, topics, shelf=shelf)
    assert len(list(again)) == 250
    assert again.bought == 150


class CirclingX(ArchiveX):
    """Every page but the last brings the same token."""

    def search_recent_tweets(self, query: str, **params: Any) -> dict[str, Any]:
        token = params.pop("next_token", None)
        answer = super().search_recent_tweets(query, **params, **({"next_token": "100"} if token else {}))
        if "next_token" in answer["meta"]:
            answer["meta"]["next_token"] = "same"
        return answer


class StuckX(ArchiveX):
    """Every page is the first one, and brings a token."""

    def search_recent_tweets(self, query: str, **params: Any) -> dict[str, Any]:
        params |= {"until_id": str(HIGH)}
        params.pop("next_token", None)
        answer = super().search_recent_tweets(query, **params)
        return {**answer, "meta": {"next_token": "same"}}


def test_a_page_that_brings_its_own_token_again_is_not_followed_in_circles(topics: Topics) -> None:
    posts = {LOW + number: "ukraine" for number in range(450)}
    recovery = recovered(CirclingX(posts), topics)
    assert sorted(int(record["data"]["id"]) for record in recovery) == sorted(posts)
    assert recovery.bought == 450


def test_pages_without_anything_new_end_the_search(topics: Topics) -> None:
    recovery = recovered(StuckX({LOW + number: "ukraine" for number in range(150)}), topics, expected=150)
    assert len(list(recovery)) == 100
    assert recovery.bought <= 300


class ForgetfulX(ArchiveX):
    """The first answer holds nothing, and no token."""

    def search_recent_tweets(self, query: str, **params: Any) -> dict[str, Any]:
        if not self.asked:
            self.asked.append(params)
            return {"meta": {"result_count": 0}}
        return super().search_recent_tweets(query, **params)


def test_fewer_posts_than_x_counted_are_asked_for_once_more(topics: Topics) -> None:
    x = ForgetfulX({LOW + number: "ukraine" for number in range(30)})
    assert len(list(recovered(x, topics, expected=30))) == 30


def test_a_shortfall_is_asked_for_once_and_then_left(topics: Topics) -> None:
    x, shelf = ArchiveX({LOW + 5: "ukraine"}), Memory()
    assert len(list(recovered(x, topics, expected=300, shelf=shelf))) == 1
    asked = len(x.asked)
    assert len(list(recovered(x, topics, expected=300, shelf=shelf))) == 1
    assert len(x.asked) == asked


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"text": 5}, "not_a_payload"),
        ({"geo": []}, "not_a_payload"),
        ({"public_metrics": {"like_count": "many"}}, "not_a_payload"),
        ({"id": 5}, "not_a_payload"),
        ({"created_at": None}, "missing_created_at"),
        ({"created_at": "yesterday"}, "missing_created_at"),
    ],
)
def test_what_the_table_cannot_read_is_rejected_with_its_reason(
    topics: Topics, change: dict[str, Any], reason: str
) -> None:
    good = {"id": str(LOW + 1), "text": "ukraine", **DATED}
    bad = {"id": str(LOW + 2), "text": "ukraine", **DATED, **change}
    rejected: list[tuple[str, Any]] = []
    page = PageX({"data": [bad, "text", good], "includes": [], "meta": {"next_token": 7}})
    recovery = recovered(page, topics, reject=lambda *found: rejected.append(found))
    assert [record["data"] for record in recovery] == [good]
    assert (reason, bad) in rejected
    assert ("not_a_payload", "text") in rejected


def rejection(status: int, body: dict[str, Any] | None = None) -> tweepy.HTTPException:
    response = requests.Response()
    response.status_code = status
    response._content = json.dumps(body or {"title": "rejected"}).encode()
    return (tweepy.TooManyRequests if status == 429 else tweepy.HTTPException)(response)


CAPPED = {
    "title": "UsageCapExceeded",
    "period": "Monthly",
    "type": "https://api.twitter.com/2/problems/usage-capped",
}


@pytest.mark.parametrize(
    "error",
    [
        *(rejection(status) for status in (400, 401, 402, 403)),
        *(rejection(429, {name: value}) for name, value in CAPPED.items()),
    ],
)
@pytest.mark.parametrize("ask", [count, lambda *given, **options: list(Search(*given, **options))])
def test_a_failure_that_waiting_does_not_fix_is_never_waited_for(
    topics: Topics, error: tweepy.HTTPException, ask: Any
) -> None:
    x: Any = ArchiveX({})
    x.failures = [error]
    x.get_recent_tweets_count = x.search_recent_tweets
    slept: list[float] = []
    with pytest.raises(RequestRejectedError, match=f"X says {error.response.status_code}"):
        ask(x, topics, "ukraine", START, END, clock=lambda: NOW, sleep=slept.append)
    assert slept == []


def test_a_rate_limit_that_does_not_pass_is_not_waited_for_forever(topics: Topics) -> None:
    x = ArchiveX({LOW: "ukraine"})
    x.failures = [TooMany(None) for _ in range(100)]
    slept: list[float] = []
    with pytest.raises(PatienceError):
        list(recovered(x, topics, sleep=slept.append))
    assert sum(slept) <= 1800


def test_a_page_is_reserved_before_it_is_asked_for_and_stays_so_where_x_may_have_sent_it(
    topics: Topics,
) -> None:
    x, purse = ArchiveX({}), Purse(500)
    x.failures = [requests.ConnectionError()]
    with pytest.raises(requests.ConnectionError):
        list(recovered(x, topics, purse=purse))
    assert purse.left == 400
    purse = Purse(500)
    x.failures = [rejection(402)]
    with pytest.raises(RequestRejectedError):
        list(recovered(x, topics, purse=purse))
    assert purse.left == 500


@pytest.mark.parametrize(
    ("reset_in", "waited"), [(90, [91.0]), (-5, [1.0]), (None, [60.0])], ids=["ahead", "past", "unknown"]
)
def test_a_rate_limit_is_waited_for_as_x_says(
    topics: Topics, reset_in: int | None, waited: list[float]
) -> None:
    x = ArchiveX({LOW: "ukraine"})
    x.failures = [TooMany(None if reset_in is None else int(NOW.timestamp()) + reset_in)]
    slept: list[float] = []
    assert len(list(recovered(x, topics, sleep=slept.append))) == 1
    assert slept == waited


@pytest.mark.parametrize(
    ("start", "end", "reason"),
    [
        (START, NOW - timedelta(seconds=29), "can be found from"),
        (NOW - timedelta(days=7, seconds=1), END, "out of reach"),
        (END, START, "is empty"),
    ],
)
def test_what_search_cannot_reach_is_rejected(
    topics: Topics, start: datetime, end: datetime, reason: str
) -> None:
    with pytest.raises(SearchError, match=reason):
        Search(ArchiveX({}), topics, "ukraine", start, end, clock=lambda: NOW)


def test_other_failures_of_x_are_not_swallowed(topics: Topics) -> None:
    x = ArchiveX({LOW: "ukraine"})
    x.failures = [tweepy.TweepyException("broken")]
    with pytest.raises(tweepy.TweepyException, match="broken"):
        list(recovered(x, topics))


@given(st.dictionaries(id_in_or_near, texts, max_size=100))
def test_many_stretches_are_estimated_by_the_calls_of_one(posts: dict[int, str]) -> None:
    x = ArchiveX(posts)
    counts = Counts(x, TOPICS, START, END)
    step = (END - START) / 4
    quarters = [counts.of("ukraine", START + step * place, START + step * (place + 1)) for place in range(4)]
    calls = len(x.counted)
    assert counts.of("ukraine", START, END) == count(x, TOPICS, "ukraine", START, END)
    assert sum(quarters) >= counts.of("ukraine", START, END)
    assert calls == len(set(x.counted))


@pytest.mark.parametrize("total", ["total_post_count", "total_tweet_count"])
def test_counts_are_read_by_their_new_name_and_by_the_old_one(total: str) -> None:
    x = ArchiveX({LOW: "ukraine", LOW + 6: "ukraine"})
    x.total = total
    assert count(x, TOPICS, "ukraine", START, END) == 2
    assert Counts(x, TOPICS, START, END).of("ukraine", START, END) == 2

"""Recovers a stretch of time by recent search, in the shape in which the stream would have delivered it.

Search differs from the stream (X's documentation): it knows no `sample:`, so the sample is drawn here by a
hash of the id; it pays for every post that it returns, also for those that the sample then leaves out; its
metrics are as of now.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import tweepy

from include.x import snowflake
from include.x.budget import BudgetError
from include.x.client import PAYLOAD_FIELDS
from include.x.records import Ingest, iso
from include.x.rules import rule_hash, search_queries
from include.x.text import well_formed
from include.x.topics import Topics

SETTLED = timedelta(seconds=30)
"""How old a post must be to be found: X's own default for the end of a search."""

REACH = timedelta(days=7)
"""How far back recent search looks."""

_SMALLEST_PAGE, _LARGEST_PAGE = 10, 100
_FIRST_WAIT_SECONDS = 60.0
_LONGEST_WAIT_SECONDS = 900.0

log = logging.getLogger(__name__)


class SearchError(ValueError):
    """A stretch of time that search cannot bring back."""


def sampled(tweet_id: str, sample: int) -> bool:
    """Whether a post belongs to the ``sample`` percent that are kept: the same answer at every recovery."""
    digest = hashlib.blake2b(tweet_id.encode(), digest_size=8).digest()
    return int.from_bytes(digest) % 100 < sample


class Recovery:
    """The posts of one topic in ``[start, end)``: iterate over it once, then read the counts.

    ``bought`` counts what X returned and bills, correct also when the iteration ends with an exception;
    ``kept`` counts the records given out.
    """

    def __init__(
        self,
        client: tweepy.Client,
        topics: Topics,
        topic: str,
        start: datetime,
        end: datetime,
        *,
        sample: int | None = None,
        max_posts: int | None = None,
        session: str = "search",
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        now = clock()
        if not start < end:
            raise SearchError(f"the stretch from {start.isoformat()} to {end.isoformat()} is empty")
        if end > now - SETTLED:
            raise SearchError(
                f"posts up to {end.isoformat()} can be found from {(end + SETTLED).isoformat()} on"
            )
        if start < now - REACH:
            raise SearchError(
                f"{start.isoformat()} is out of reach: recent search looks back {REACH.days} days"
            )
        self.bought = 0
        self.kept = 0
        self._client = client
        self._queries = search_queries(topics, topic)
        self._topic = topic
        self._bounds = (snowflake.lowest_id(start), snowflake.lowest_id(end))
        self._sample = topics.collection.sample if sample is None else sample
        self._max_posts = max_posts
        self._session = session
        self._rule_hash = rule_hash(topics)
        self._clock = clock
        self._sleep = sleep

    def __iter__(self) -> Iterator[dict[str, Any]]:
        low, high = self._bounds
        seen: set[int] = set()
        for query in self._queries:
            for page in self._pages(query):
                includes = page.get("includes") or {}
                users, places = (_by_id(includes.get(kind)) for kind in ("users", "places"))
                for tweet in _objects(page.get("data")):
                    number = int(tweet["id"])
                    if number in seen or not low <= number < high:
                        continue
                    seen.add(number)
                    if sampled(tweet["id"], self._sample):
                        self.kept += 1
                        yield self._record(tweet, users, places)

    def _record(
        self, tweet: dict[str, Any], users: Mapping[str, Any], places: Mapping[str, Any]
    ) -> dict[str, Any]:
        author = users.get(tweet.get("author_id") or "")
        place = places.get((tweet.get("geo") or {}).get("place_id") or "")
        includes = {name: [value] for name, value in (("users", author), ("places", place)) if value}
        return {
            "data": tweet,
            **({"includes": includes} if includes else {}),
            "matching_rules": [{"tag": self._topic}],
            "ingest": Ingest(
                received_at=iso(self._clock()),
                session=self._session,
                rule_hash=self._rule_hash,
                sample=self._sample,
                source="search",
            ),
        }

    def _pages(self, query: str) -> Iterator[dict[str, Any]]:
        low, high = self._bounds
        # Both ends are exclusive; ids, unlike times, cannot be rounded to the second.
        params: dict[str, Any] = {"since_id": str(low - 1), "until_id": str(high)}
        while True:
            left = _LARGEST_PAGE if self._max_posts is None else self._max_posts - self.bought
            if left < _SMALLEST_PAGE:
                raise BudgetError(f"{self.bought} posts were bought for topic {self._topic}: all that may be")
            params["max_results"] = min(left, _LARGEST_PAGE)
            page = self._asked(query, params)
            self.bought += len(_objects(page.get("data")))
            yield page
            token = (page.get("meta") or {}).get("next_token")
            if not token:
                return
            params["next_token"] = token

    def _asked(self, query: str, params: Mapping[str, Any]) -> dict[str, Any]:
        fields = {name.replace(".", "_"): value.split(",") for name, value in PAYLOAD_FIELDS.items()}
        ask = partial(self._client.search_recent_tweets, query, **params, **fields)
        page: dict[str, Any] = well_formed(_patiently(ask, self._clock, self._sleep))
        return page


def _objects(items: list[dict[str, Any] | None] | None) -> list[dict[str, Any]]:
    """A page's objects; null is as good as absent."""
    return [item for item in items or () if item]


def _by_id(items: list[dict[str, Any] | None] | None) -> dict[str, dict[str, Any]]:
    return {item["id"]: item for item in _objects(items) if item.get("id")}


def search(
    client: tweepy.Client, topics: Topics, topic: str, start: datetime, end: datetime, **options: Any
) -> Recovery:
    """The posts of ``topic`` in ``[start, end)`` (aware times) as records in the stream's shape, one a post.

    ``options``: ``sample`` (percent; the topics file's unless given), ``max_posts`` (raises `BudgetError`
    instead of buying more), ``session`` (stands in ``ingest``). Waits where X's rate limit says so. Raises
    `SearchError` for a stretch that search cannot reach, and tweepy's exceptions.
    """
    return Recovery(client, topics, topic, start, end, **options)


def count(
    client: tweepy.Client,
    topics: Topics,
    topic: str,
    start: datetime,
    end: datetime,
    *,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    sleep: Callable[[float], None] = time.sleep,
) -> int:
    """How many posts a recovery of ``[start, end)`` would buy: X's counts, an estimate and no truth.

    One call a query; it costs a fraction of reading the posts (X's price list).
    """
    low, high = snowflake.lowest_id(start), snowflake.lowest_id(end)
    ask = partial(
        client.get_recent_tweets_count, since_id=str(low - 1), until_id=str(high), granularity="hour"
    )
    return sum(
        _total(_patiently(partial(ask, query), clock, sleep)["meta"])
        for query in search_queries(topics, topic)
    )


def _total(meta: Mapping[str, Any]) -> int:
    """The total of counts: `total_post_count` in X's OpenAPI 2.168, `total_tweet_count` before."""
    total = meta.get("total_post_count")
    return int(meta["total_tweet_count"] if total is None else total)


def _patiently(
    ask: Callable[[], Any], clock: Callable[[], datetime], sleep: Callable[[float], None]
) -> dict[str, Any]:
    """Asks, and again after each 429: when X's header says so, else after a minute, doubling."""
    fallback = _FIRST_WAIT_SECONDS
    while True:
        try:
            answer: dict[str, Any] = ask()
        except tweepy.TooManyRequests as error:
            wait = fallback
            if error.reset_time is not None:
                wait = max(error.reset_time - clock().timestamp(), 0) + 1
            wait = min(wait, _LONGEST_WAIT_SECONDS)
            log.warning("rate limit of X reached, waiting seconds=%.0f", wait)
            sleep(wait)
            fallback *= 2
        else:
            return answer

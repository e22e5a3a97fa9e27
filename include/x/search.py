"""Recovers the posts of a time range by recent search, in the form in which the stream delivers them.

Search differs from the stream (X's documentation): it does not support `sample:`, so the sample is drawn here
by a hash of the id; every returned post is billed, including those that the sample then drops; its metrics
are current, not those of the time of posting.

A page is paid for when X sends it. It is therefore reserved before it is requested (`Purse`) and stored
unchanged before it is processed (`Shelf`); a recovery that is started again continues after the stored pages.
"""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Protocol

import tweepy

from include.x import snowflake
from include.x.client import PAYLOAD_FIELDS, RequestRejectedError, rejection
from include.x.payload import is_dated, is_payload
from include.x.records import Ingest, iso
from include.x.rules import rule_hash, topic_queries
from include.x.text import well_formed
from include.x.topics import Topics

SEARCH_DELAY = timedelta(seconds=30)
"""How old a post must be to be found: X's default for the end of a search."""

REACH = timedelta(days=7)
"""How far back recent search goes."""

SMALLEST_PAGE, LARGEST_PAGE = 10, 100
"""The fewest and the most posts per page."""

_FIRST_WAIT_SECONDS = 60.0
_LONGEST_WAIT_SECONDS = 900.0
_PATIENCE_SECONDS = 1800.0
"""How long a request waits for rate limits in total: two of X's windows."""
_EMPTY_PAGES = 10
"""This many consecutive pages without a post end a query, even if they have a next token."""

log = logging.getLogger(__name__)


class SearchError(ValueError):
    """A time range that search cannot recover."""


class PatienceError(RuntimeError):
    """X's rate limit did not pass in time; a later attempt continues from here."""


def never_wait(seconds: float) -> None:
    """Instead of sleeping: an estimate is not worth a wait of up to half an hour. Raises `PatienceError`."""
    raise PatienceError(f"X's rate limit lasts {seconds:.0f} s more; a later run asks again")


@dataclass(frozen=True)
class Page:
    """A page as X sent it, and how it was requested: ``request`` has the parameters besides the query.

    ``query`` is the query's index; ``again`` says that the query was repeated after its last page.
    """

    query: int
    request: Mapping[str, Any]
    answer: Any
    again: bool = False

    @property
    def posts(self) -> list[Any]:
        """The posts on the page, which X bills; null means absent."""
        data = self.answer.get("data") if isinstance(self.answer, dict) else None
        return [post for post in data if post is not None] if isinstance(data, list) else []

    @property
    def next_token(self) -> str | None:
        """The token of the next page; None on the last one."""
        meta = self.answer.get("meta") if isinstance(self.answer, dict) else None
        token = meta.get("next_token") if isinstance(meta, dict) else None
        return token if isinstance(token, str) and token else None


class Shelf(Protocol):
    """Stores pages durably."""

    def pages(self) -> Sequence[Page] | Iterator[Page]:
        """The stored pages, in the order in which they were stored."""

    def keep(self, page: Page) -> None:
        """Stores another page."""


class Purse(Protocol):
    """Pays for pages."""

    def reserve(self, smallest: int, largest: int) -> int:
        """How many posts may be requested, reserved from now on; raises `BudgetError` below ``smallest``."""

    def settle(self, posts: int) -> None:
        """Reports how many of the reserved posts X has sent."""


class Memory:
    """A shelf in memory."""

    def __init__(self) -> None:
        self._pages: list[Page] = []

    def pages(self) -> list[Page]:
        """See `Shelf`."""
        return list(self._pages)

    def keep(self, page: Page) -> None:
        """See `Shelf`."""
        self._pages.append(page)


class Unlimited:
    """A purse without a limit."""

    def reserve(self, smallest: int, largest: int) -> int:  # noqa: ARG002 - see `Purse`
        """See `Purse`."""
        return largest

    def settle(self, posts: int) -> None:
        """See `Purse`."""


def sampled(tweet_id: str, sample: int) -> bool:
    """Whether a post belongs to the ``sample`` percent that are kept: the same in every recovery."""
    digest = hashlib.blake2b(tweet_id.encode(), digest_size=8).digest()
    return int.from_bytes(digest) % 100 < sample


@dataclass
class _Place:
    """How far a query has been read."""

    below: int
    until: int
    token: str | None = None
    used: set[str] = field(default_factory=set)
    empty: int = 0
    ended: bool = False
    again: bool = False


class Search:
    """The posts of one topic in ``[start, end)``: iterate over it once, then read the counts.

    ``bought`` counts the posts that X has sent now, ``found`` those and the posts on stored pages, ``kept``
    the records yielded, ``rejected`` the posts that were passed to ``reject`` with the reason instead. All
    are correct even if the iteration ends with an exception.

    The times are aware; what is yielded are records in the stream's shape, one a post. ``sample`` is a
    percentage (the topics file's unless given), ``expected`` how many posts X counted: fewer are asked for
    once more; ``session`` is written to ``ingest``. Waits for X's rate limit, half an hour at most
    (`PatienceError`). Raises `SearchError` for a time range that search cannot reach, `RequestRejectedError`
    if waiting does not help, the purse's `BudgetError`, and tweepy's and requests' exceptions.
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
        expected: int = 0,
        shelf: Shelf | None = None,
        purse: Purse | None = None,
        reject: Callable[[str, Any], None] = lambda reason, post: None,  # noqa: ARG005 - names the arguments
        session: str = "search",
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        now = clock()
        if not start < end:
            raise SearchError(f"the stretch from {start.isoformat()} to {end.isoformat()} is empty")
        if end > now - SEARCH_DELAY:
            raise SearchError(
                f"posts up to {end.isoformat()} can be found from {(end + SEARCH_DELAY).isoformat()} on"
            )
        if start < now - REACH:
            raise SearchError(
                f"{start.isoformat()} is out of reach: recent search looks back {REACH.days} days"
            )
        self.bought = self.found = self.kept = self.rejected = 0
        self._client = client
        self._queries = topic_queries(topics, topic)
        self._topic = topic
        self._bounds = (snowflake.lowest_id(start), snowflake.lowest_id(end))
        self._sample = topics.collection.sample if sample is None else sample
        self._expected = expected
        self._shelf: Shelf = shelf or Memory()
        self._purse: Purse = purse or Unlimited()
        self._reject = reject
        self._session = session
        self._rule_hash = rule_hash(topics)
        self._clock = clock
        self._sleep = sleep

    def __iter__(self) -> Iterator[dict[str, Any]]:
        low, high = self._bounds
        seen: set[int] = set()
        for page in self._pages():
            answer = well_formed(page.answer)
            includes = answer.get("includes") if isinstance(answer, dict) else None
            includes = includes if isinstance(includes, dict) else {}
            users, places = (_by_id(includes.get(kind)) for kind in ("users", "places"))
            for post in Page(page.query, page.request, answer).posts:
                number = _id(post)
                if number is None:
                    self.rejected += 1
                    self._reject("not_a_payload", post)
                    continue
                if number in seen or not low <= number < high:
                    continue
                seen.add(number)
                record = self._record(post, users, places)
                if reason := _problem(record):
                    self.rejected += 1
                    self._reject(reason, post)
                elif sampled(post["id"], self._sample):
                    self.kept += 1
                    yield record

    def _record(
        self, post: dict[str, Any], users: Mapping[str, Any], places: Mapping[str, Any]
    ) -> dict[str, Any]:
        geo, author_id = post.get("geo"), post.get("author_id")
        place_id = geo.get("place_id") if isinstance(geo, dict) else None
        author = users.get(author_id) if isinstance(author_id, str) else None
        place = places.get(place_id) if isinstance(place_id, str) else None
        includes = {name: [value] for name, value in (("users", author), ("places", place)) if value}
        return {
            "data": post,
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

    def _pages(self) -> Iterator[Page]:
        """The stored pages, then those still to be bought."""
        high = self._bounds[1]
        places = [_Place(high, high) for _ in self._queries]
        for page in self._shelf.pages():
            self._advance(places[page.query], page)
            yield page
        for query, place in enumerate(places):
            while not place.ended:
                yield self._bought(query, place)
        # X's search and its counts may differ for a while. Only posts older than those found are requested
        # again, so nothing is paid for twice.
        for query, place in enumerate(places):
            if self.found < self._expected and not place.again and place.below > self._bounds[0]:
                place.again, place.ended, place.token, place.empty = True, False, None, 0
                while not place.ended:
                    yield self._bought(query, place)

    def _advance(self, place: _Place, page: Page) -> None:
        """Updates the query's position after ``page``."""
        posts = page.posts
        ids = [number for number in map(_id, posts) if number is not None]
        lowest = min(ids, default=place.below)
        progress = lowest < place.below
        place.until = int(page.request["until_id"])
        place.below = min(place.below, max(lowest, self._bounds[0]))
        self.found += len(posts)
        place.empty = 0 if posts else place.empty + 1
        place.again = place.again or page.again
        token = page.next_token
        if token in place.used or (posts and not progress):
            # X returns the same pages again: continue by ids instead, and stop if those bring nothing new.
            place.token, place.ended = None, not progress
            log.warning("X repeats a page topic=%s query=%d ended=%s", self._topic, page.query, place.ended)
        else:
            place.token = token
            place.ended = token is None or place.empty >= _EMPTY_PAGES
        place.ended = place.ended or (place.token is None and place.below <= self._bounds[0])
        if token:
            place.used.add(token)

    def _bought(self, query: int, place: _Place) -> Page:
        """Buys the next page and stores it."""
        number = self._purse.reserve(SMALLEST_PAGE, LARGEST_PAGE)
        sent: int | None = None
        try:
            page = self._asked(query, place, number)
            sent = len(page.posts)
        except (RequestRejectedError, PatienceError, tweepy.HTTPException):
            # X has answered and sent no post. After a broken connection this is unknown, so the posts stay
            # reserved.
            sent = 0
            raise
        finally:
            if sent is not None:
                self.bought += sent
                self._purse.settle(sent)
        self._advance(place, page)
        return page

    def _asked(self, query: int, place: _Place, number: int) -> Page:
        """Requests a page by its token or, if X no longer accepts it, by the remaining ids."""
        # Both ends are exclusive; ids, unlike times, are not rounded to the second.
        request: dict[str, Any] = {"since_id": str(self._bounds[0] - 1), "max_results": number}
        if place.token:
            by_token = request | {"until_id": str(place.until), "next_token": place.token}
            try:
                return self._page(query, by_token, place.again)
            except RequestRejectedError as error:
                if error.status != 400:
                    raise
                log.warning("X no longer takes the token topic=%s query=%d", self._topic, query)
                place.token = None
        place.until = place.below
        return self._page(query, request | {"until_id": str(place.until)}, place.again)

    def _page(self, query: int, request: Mapping[str, Any], again: bool) -> Page:
        fields = {name.replace(".", "_"): value.split(",") for name, value in PAYLOAD_FIELDS.items()}
        ask = partial(self._client.search_recent_tweets, self._queries[query], **request, **fields)
        page = Page(query, request, _patiently(ask, self._clock, self._sleep), again)
        self._shelf.keep(page)
        return page


def _id(post: Any) -> int | None:
    number = post.get("id") if isinstance(post, dict) else None
    return int(number) if isinstance(number, str) and number.isascii() and number.isdigit() else None


def _problem(record: dict[str, Any]) -> str | None:
    """The reason why a record cannot go to raw, by the streamer's name for it; None if it can."""
    if not is_payload({name: value for name, value in record.items() if name != "ingest"}):
        return "not_a_payload"
    return None if is_dated(record["data"]) else "missing_created_at"


def _by_id(items: Any) -> dict[str, dict[str, Any]]:
    objects = [item for item in items if isinstance(item, dict)] if isinstance(items, list) else []
    return {item["id"]: item for item in objects if isinstance(item.get("id"), str) and item["id"]}


def digest(topics: Topics, topic: str, start: datetime, end: datetime) -> str:
    """The name of a recovery of ``[start, end)`` by its requests to X; its pages are stored under it."""
    asked = [snowflake.lowest_id(start), snowflake.lowest_id(end), list(topic_queries(topics, topic))]
    return hashlib.sha256(json.dumps(asked).encode()).hexdigest()[:16]


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
    """How many posts a recovery of ``[start, end)`` would buy, estimated by X's counts.

    One call per query; it costs a fraction of reading the posts (X's price list). `Counts` estimates many
    stretches by as few calls. Raises as `Search` does.
    """
    low, high = snowflake.lowest_id(start), snowflake.lowest_id(end)
    ask = partial(
        client.get_recent_tweets_count, since_id=str(low - 1), until_id=str(high), granularity="hour"
    )
    return sum(
        _total(_patiently(partial(ask, query), clock, sleep)["meta"])
        for query in topic_queries(topics, topic)
    )


class Counts:
    """X's counts of a time span by the minute, requested once per topic for any number of estimates.

    X returns seven days by the minute in one call, and allows 300 calls in 15 minutes (its API reference).
    Raises as `Search` does.
    """

    def __init__(
        self,
        client: tweepy.Client,
        topics: Topics,
        start: datetime,
        end: datetime,
        *,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._client = client
        self._topics = topics
        self._bounds = (snowflake.lowest_id(start), snowflake.lowest_id(end))
        self._clock = clock
        self._sleep = sleep
        self._minutes: dict[str, list[tuple[datetime, datetime, int]]] = {}

    def of(self, topic: str, start: datetime, end: datetime) -> int:
        """How many posts a recovery of ``[start, end)`` would buy; partial minutes count whole."""
        if topic not in self._minutes:
            self._minutes[topic] = self._asked(topic)
        return sum(posts for first, last, posts in self._minutes[topic] if first < end and start < last)

    def _asked(self, topic: str) -> list[tuple[datetime, datetime, int]]:
        low, high = self._bounds
        minutes: list[tuple[datetime, datetime, int]] = []
        for query in topic_queries(self._topics, topic):
            token: str | None = None
            while True:
                more = {"next_token": token} if token else {}
                ask = partial(
                    self._client.get_recent_tweets_count,
                    query,
                    since_id=str(low - 1),
                    until_id=str(high),
                    granularity="minute",
                    **more,
                )
                answer = _patiently(ask, self._clock, self._sleep)
                minutes += [_minute(one) for one in answer.get("data") or ()]
                following = answer.get("meta", {}).get("next_token")
                if not following or following == token:
                    break
                token = following
        return minutes


def _minute(counted: Mapping[str, Any]) -> tuple[datetime, datetime, int]:
    """One entry of X's counts: `post_count` in its OpenAPI 2.168, `tweet_count` before."""
    posts = counted.get("post_count")
    return (
        datetime.fromisoformat(counted["start"]),
        datetime.fromisoformat(counted["end"]),
        int(counted["tweet_count"] if posts is None else posts),
    )


def _total(meta: Mapping[str, Any]) -> int:
    """The total of counts: `total_post_count` in X's OpenAPI 2.168, `total_tweet_count` before."""
    total = meta.get("total_post_count")
    return int(meta["total_tweet_count"] if total is None else total)


def _patiently(ask: Callable[[], Any], clock: Callable[[], datetime], sleep: Callable[[float], None]) -> Any:
    """Sends a request, again after each rate limit: at the header's time, else after a minute, doubling."""
    fallback, waited = _FIRST_WAIT_SECONDS, 0.0
    while True:
        try:
            return ask()
        except tweepy.HTTPException as error:
            rejected = rejection(error)
            if rejected is not None:
                raise rejected from error
            if not isinstance(error, tweepy.TooManyRequests):
                raise
            wait = fallback
            if error.reset_time is not None:
                wait = max(error.reset_time - clock().timestamp(), 0) + 1
            wait = min(wait, _LONGEST_WAIT_SECONDS)
            waited += wait
            if waited > _PATIENCE_SECONDS:
                raise PatienceError(
                    f"X's rate limit has not passed in {_PATIENCE_SECONDS / 60:.0f} minutes; try again later"
                ) from error
            log.warning("rate limit of X reached, waiting seconds=%.0f", wait)
            sleep(wait)
            fallback *= 2
